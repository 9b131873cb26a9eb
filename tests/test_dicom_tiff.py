"""B-scans as DICOM and TIFF, read back by pydicom, SimpleITK and tifffile at the same millimetre."""

import re

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile

from inr_jax import grids
from inr_jax.dicom_files import new_study, write_dicom
from inr_jax.errors import InputError
from inr_jax.tiff_files import write_tiff

TURNED = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)
MIRRORED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = grids.Grid((4, 9, 7), (0.24, 0.00387167, 0.0117), (-3.0, 5.5, 12.25), TURNED)
FRAMES = ["measured", "synthesised"] * 2  # what is said of each B-scan


def values() -> np.ndarray:
    return (np.random.default_rng(0).random(GRID.shape) * 300 - 20).astype(np.float32)


def written(path, volume, grid=GRID, **changes):
    said = {"said": "intensity", "frames": FRAMES, "laterality": "L"} | changes
    write_dicom(path, volume, grid, new_study(), **said)
    return path


@pytest.mark.parametrize("direction", [TURNED, MIRRORED], ids=["right-handed", "left-handed"])
def test_simpleitk_finds_every_voxel_of_a_dicom_file_at_its_millimetre(direction, tmp_path):
    grid = GRID._replace(direction=direction)
    labels = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(np.uint16)
    image = sitk.ReadImage(str(written(tmp_path / "a.dcm", labels, grid)))
    assert image.GetSize() == grid.shape[::-1]
    np.testing.assert_allclose(image.GetSpacing(), grid.spacing[::-1], rtol=1e-6)
    for index in ((0, 0, 0), (3, 8, 6), (1, 5, 2)):
        point = tuple(grids.lps(grid, np.array(index)).tolist())
        np.testing.assert_allclose(image[image.TransformPhysicalPointToIndex(point)], labels[index])
        near = image.TransformPhysicalPointToContinuousIndex(point)
        np.testing.assert_allclose(near, np.rint(near), atol=1e-5)


def test_a_dicom_file_is_derived_of_nobody_and_each_frame_says_whether_it_was_measured(tmp_path):
    first, second = (pydicom.dcmread(written(tmp_path / name, values())) for name in ("a.dcm", "b.dcm"))
    assert list(first.ImageType) == ["DERIVED", "SECONDARY"]
    assert first.PatientIdentityRemoved == "YES"
    assert not any(first[k].value for k in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate"))
    assert first.ImageLaterality == "L"
    assert "not for diagnosis" in first.ImageComments
    said = [f.FrameContentSequence[0].FrameComments for f in first.PerFrameFunctionalGroupsSequence]
    assert said == ["measured", "synthesised"] * 2
    uids = [{ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID} for ds in (first, second)]
    assert not uids[0] & uids[1]
    assert all(len(found) == 3 for found in uids)


def test_frames_of_a_left_handed_scan_keep_what_is_said_of_them(tmp_path):
    grid, volume = GRID._replace(direction=MIRRORED), np.arange(4 * 63).reshape(4, 9, 7).astype(np.uint16)
    found = pydicom.dcmread(written(tmp_path / "a.dcm", volume, grid, frames=["a", "b", "c", "d"]))
    for frame, pixels in zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array, strict=True):
        own = "abcd".index(frame.FrameContentSequence[0].FrameComments)
        np.testing.assert_array_equal(pixels, volume[own])
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(place, grids.lps(grid, np.array([own, 0, 0])), atol=1e-9)


def test_intensities_come_back_by_the_real_world_mapping_and_labels_as_they_are(tmp_path):
    found = pydicom.dcmread(written(tmp_path / "a.dcm", values()))
    way = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    back = found.pixel_array * way.RealWorldValueSlope + way.RealWorldValueIntercept
    np.testing.assert_allclose(back, values(), atol=300 / 65535)
    labels = np.random.default_rng(0).integers(0, 13, GRID.shape).astype(np.uint8)
    np.testing.assert_array_equal(pydicom.dcmread(written(tmp_path / "b.dcm", labels)).pixel_array, labels)


def test_decimal_strings_are_as_long_as_the_standard_allows(tmp_path):
    odd = GRID._replace(spacing=(1 / 3, 1 / 700, 1e-4 / 3), origin=(-1 / 3e5, 2e5 / 3, -12345.6789012345))
    found = pydicom.dcmread(written(tmp_path / "a.dcm", values(), odd))
    for element in found.iterall():
        if element.VR == "DS":
            values_of = element.value if element.VM > 1 else [element.value]
            assert all(len(str(value)) <= 16 for value in values_of), element
    spacing = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    np.testing.assert_allclose(list(map(float, spacing)), odd.spacing[1:], rtol=1e-9)


def test_one_bscan_of_one_value_is_written(tmp_path):
    grid = GRID._replace(shape=(1, 9, 7))
    found = pydicom.dcmread(
        written(tmp_path / "a.dcm", np.full(grid.shape, 2.5, np.float32), grid, frames=["measured"])
    )
    way = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert way.RealWorldValueIntercept == 2.5
    assert not found.pixel_array.any()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16, np.int32])
def test_a_tiff_stack_reads_back_with_its_resolution_and_the_distance_of_its_pages(dtype, tmp_path):
    volume = (values() + 20).astype(dtype)
    write_tiff(tmp_path / "a.tiff", volume, GRID, frames=FRAMES)
    with tifffile.TiffFile(tmp_path / "a.tiff") as file:
        np.testing.assert_array_equal(file.asarray(), volume.astype(np.float32) if dtype == np.int32 else volume)
        assert len(file.pages) == 4
        assert file.imagej_metadata["unit"] == "cm"
        assert file.imagej_metadata["Labels"] == FRAMES
        assert 10 * file.imagej_metadata["spacing"] == pytest.approx(0.24)
    image = sitk.ReadImage(str(tmp_path / "a.tiff"))
    np.testing.assert_allclose(image.GetSpacing()[:2], GRID.spacing[:0:-1], rtol=1e-5)


@pytest.mark.parametrize(
    "write",
    [lambda path: written(path, values()), lambda path: write_tiff(path, values(), GRID, frames=FRAMES)],
    ids=["dicom", "tiff"],
)
def test_where_nothing_can_be_written_it_is_said_in_one_line_and_nothing_is_left(write, tmp_path):
    path = tmp_path / "none" / "a.out"
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be written")) as error:
        write(path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
