"""Readers of instruments' files: what a file says is what is in memory, in its place."""

import dataclasses
import importlib.util
from pathlib import Path

import imageio.v3
import numpy as np
import pydicom
import pydicom.data
import pytest
import scan_files
import SimpleITK as sitk
import tifffile
from command import say
from real_data import real_data
from scan_files import BORN, ID, NAME, ORDER, dicom, eye_dicom, eye_e2e, eye_vol, eye_xml, item, small_eye, vol_bytes

from inr_jax import slo_registration
from inr_jax.errors import InputError
from inr_jax.phantom import make_eye
from inr_jax.readers import content_name
from inr_jax.scan_io import read_scan, read_scans, with_surfaces

EYE, LEFT = small_eye("R"), small_eye("L")
IDENTITY = tuple(np.eye(3).ravel())
DICOM_FILES = Path(pydicom.data.__file__).parent / "test_files"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "pattern", "spacing", "layers", "quality"),
    [
        ("Willis_B_716_0", "line", (0.0038717, 0.0118206), ("ILM", "BM"), 44.6),
        ("Willis_B_716_4", "circle", (0.0038717, 0.0147220), ("ILM", "RNFL", "BM"), 30.8),
        ("valid", "circle", (0.0038717, 0.0178910), ("ILM", "RNFL", "BM"), 24.4),
    ],
)
def test_a_real_vol_has_what_its_header_says(name, pattern, spacing, layers, quality):
    scan = read_scan(real_data(f"spectralis/{name}.vol"))
    assert scan.voxels.shape == (1, 496, 768)
    np.testing.assert_allclose(scan.spacing[1:], spacing, rtol=1e-5)
    assert (scan.pattern, scan.surface_names, scan.laterality) == (pattern, layers, "R")
    assert scan.surfaces.shape == (len(layers), 1, 768)
    assert scan.slo.shape == (768, 768)
    assert scan.quality == pytest.approx([quality], abs=0.05)
    assert 0 <= scan.voxels.min() < scan.voxels.max() == 1


@pytest.mark.parametrize("name", ["Willis_B_716_0", "Willis_B_716_4", "valid"])
def test_the_vessels_of_a_real_scan_lie_where_its_slo_has_them_and_not_mirrored(name):
    scan = read_scan(real_data(f"spectralis/{name}.vol"))
    backwards = dataclasses.replace(scan, ascans_on_slo=scan.ascans_on_slo[:, ::-1])
    right, wrong = (slo_registration.find(one).correlation for one in (scan, backwards))
    assert right > 0.4
    assert right > wrong + 0.15  # five numbers are fitted: chance reaches 0.4


def test_the_real_circle_is_as_long_as_its_a_scans_and_begins_temporally():
    scan = read_scan(real_data("spectralis/Willis_B_716_4.vol"))
    places = scan.ascans_on_slo[0]
    around = np.linalg.norm(np.diff(places, axis=0), axis=1).sum() * 768 / 767
    assert around == pytest.approx(768 * scan.spacing[2], rel=1e-4)
    middle = places.mean(axis=0)
    assert places[0, 1] < middle[1]  # of a right eye, the SLO has temporal on the left
    assert places[768 // 4, 0] < middle[0]  # and then goes up


def test_the_curves_of_the_real_line_follow_the_bright_edges_of_its_image():
    scan = read_scan(real_data("spectralis/Willis_B_716_0.vol"))
    image, (ilm, bm) = scan.voxels[0], scan.surfaces[:, 0]
    columns = np.flatnonzero(np.isfinite(ilm) & np.isfinite(bm))

    def mean(rows, offset):
        return image[np.rint(rows[columns]).astype(int) + offset, columns].mean()

    assert mean(ilm, 4) > 2 * mean(ilm, -4)  # dark above ILM
    assert mean(bm, -4) > 2 * mean(bm, 4)  # RPE above BM


@pytest.mark.parametrize("eye", [EYE, LEFT], ids="RL")
def test_a_raster_vol_is_the_phantom_it_was_written_from(tmp_path, eye):
    scan = read_scan(written(tmp_path / "a.vol", eye_vol(eye)))
    seen = np.broadcast_to(eye.valid, eye.noisy.shape)
    np.testing.assert_allclose(scan.voxels[seen], eye.noisy[seen], atol=1e-6)
    np.testing.assert_allclose(scan.spacing, eye.spacing, rtol=1e-6)
    np.testing.assert_allclose(scan.ascans_on_slo, eye.ascans_on_slo, atol=1e-6)
    np.testing.assert_allclose(scan.surfaces, eye.surfaces, rtol=1e-6)
    assert (scan.surface_names, scan.pattern, scan.laterality) == (ORDER, "raster", eye.laterality)
    np.testing.assert_allclose(scan.slo, np.rint(255 * eye.slo))
    np.testing.assert_allclose(scan.slo_spacing, eye.slo_spacing)
    assert scan.quality.tolist() == [34, 33, 32, 31, 30]  # written from the bottom of the SLO up
    assert scan.direction == IDENTITY
    np.testing.assert_allclose(scan.origin, (eye.ascans_on_slo[0, 0, 1], 0, eye.ascans_on_slo[0, 0, 0]), atol=1e-6)


def test_the_order_in_which_b_scans_are_written_changes_nothing_but_the_told_order(tmp_path):
    up = read_scan(written(tmp_path / "up.vol", eye_vol(EYE)))
    down = read_scan(written(tmp_path / "down.vol", eye_vol(EYE, bottom_up=False)))
    for name in ("voxels", "surfaces", "ascans_on_slo"):
        np.testing.assert_array_equal(getattr(up, name), getattr(down, name))
    assert (up.turned, down.turned) == ((True, False), (False, False))


def test_a_scan_askew_keeps_its_turn_and_every_a_scan_its_place(tmp_path):
    """A raster at 30 degrees: origin, direction and spacing say where each A-scan is on the SLO."""
    turn, count, width = np.deg2rad(30), 4, 16
    along, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    starts = np.array([2.0, 1.0]) + 0.2 * np.arange(count)[:, None] * across
    voxels = np.random.default_rng(0).random((count, 12, width))
    content = vol_bytes(
        voxels, np.full((17, count, width), np.nan), np.zeros((40, 40)), starts, starts + width * 0.05 * along,
        spacing=(0.2, 0.004, 0.05), slo_spacing=(0.1, 0.1),
    )  # fmt: skip
    scan = read_scan(written(tmp_path / "a.vol", content))
    d, w = np.meshgrid(np.arange(count) * scan.spacing[0], np.arange(width) * scan.spacing[2], indexing="ij")
    axes = np.array(scan.direction).reshape(3, 3)
    places = np.array(scan.origin) + d[..., None] * axes[:, 2] + w[..., None] * axes[:, 0]
    np.testing.assert_allclose(places[..., [2, 0]], scan.ascans_on_slo, atol=1e-5)
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_allclose(scan.voxels, voxels**0.25, atol=1e-6)


def test_voxels_and_rows_that_a_vol_does_not_know_are_told_apart(tmp_path):
    voxels = np.random.default_rng(0).random((2, 12, 10))
    voxels[1, :, 7:] = np.nan
    rows = np.full((17, 2, 10), np.nan)
    rows[0], rows[1, 0] = 3.5, 9.0
    starts, ends = np.array([[1.0, 1.0], [1.5, 1.0]]), np.array([[1.0, 2.0], [1.5, 2.0]])
    facts = {"spacing": (0.5, 0.004, 0.1), "slo_spacing": (0.1, 0.1)}
    scan = read_scan(written(tmp_path / "a.vol", vol_bytes(voxels, rows, np.zeros((40, 40)), starts, ends, **facts)))
    np.testing.assert_array_equal(scan.valid, np.isfinite(voxels))
    assert scan.surface_names == ("ILM", "BM")
    assert np.isnan(scan.surfaces[1, 1]).all()
    assert (scan.surfaces[0] == 3.5).all()


def test_a_radial_scan_and_one_without_a_pattern_are_known_by_their_places(tmp_path):
    angles = np.arange(6) * np.pi / 6
    arms = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    voxels, rows = np.random.default_rng(0).random((6, 12, 20)), np.full((17, 6, 20), np.nan)
    facts = {"spacing": (0.0, 0.004, 0.1), "slo_spacing": (0.1, 0.1)}
    for pattern in (5, 0):
        content = vol_bytes(voxels, rows, np.zeros((60, 60)), 3 - arms, 3 + arms, pattern=pattern, **facts)
        scan = read_scan(written(tmp_path / "a.vol", content))
        assert scan.pattern == "radial"
        np.testing.assert_allclose(scan.ascans_on_slo.mean(axis=1), np.full((6, 2), 2.95), atol=1e-5)
        assert (len(scan.remarks) == 1) == (pattern == 0)


def test_a_left_circle_runs_the_other_way(tmp_path):
    voxels, rows = np.random.default_rng(0).random((1, 12, 40)), np.full((17, 1, 40), np.nan)
    facts = {"spacing": (0.0, 0.004, 2 * np.pi * 1.5 / 40), "slo_spacing": (0.1, 0.1), "pattern": 2}
    middle, slo = np.array([[3.0, 3.0]]), np.zeros((60, 60))
    right = vol_bytes(voxels, rows, slo, middle - [[0, 1.5]], middle, eye="OD", **facts)
    left = vol_bytes(voxels, rows, slo, middle + np.array([[0, 1.5]]), middle, eye="OS", **facts)
    right, left = (read_scan(written(tmp_path / "a.vol", content)).ascans_on_slo for content in (right, left))
    np.testing.assert_allclose(left[..., 0], right[..., 0], atol=1e-5)
    np.testing.assert_allclose(left[..., 1], 5.9 - right[..., 1], atol=1e-5)  # mirrored about the middle


def test_a_heyex_folder_is_the_phantom_it_was_written_from(tmp_path):
    folder = eye_xml(tmp_path / "export", LEFT)
    for path in (folder, folder / "export.xml"):
        scan = read_scan(path)
        np.testing.assert_allclose(scan.voxels, LEFT.noisy, atol=0.5 / 255 + 1e-6)
        np.testing.assert_allclose(scan.surfaces, LEFT.surfaces, rtol=1e-6)
        np.testing.assert_allclose(scan.ascans_on_slo, LEFT.ascans_on_slo, atol=1e-6)
        np.testing.assert_allclose(scan.spacing, LEFT.spacing, rtol=1e-6)
        assert (scan.pattern, scan.laterality, scan.surface_names) == ("raster", "L", ORDER)


def test_an_e2e_in_eyepys_layout_is_the_phantom_it_was_written_from(tmp_path):
    scan = read_scan(written(tmp_path / "a.e2e", eye_e2e(EYE)))
    np.testing.assert_allclose(scan.voxels, EYE.noisy, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(scan.surfaces[0], EYE.surfaces[0], rtol=1e-6)
    scale = np.array(scan.slo_spacing) / EYE.slo_spacing  # its SLO is taken to show 30 degrees
    np.testing.assert_allclose(scan.ascans_on_slo, EYE.ascans_on_slo * scale, atol=1e-4)
    assert scan.spacing[2] == pytest.approx(EYE.spacing[2] * scale[1], rel=1e-5)
    assert (scan.pattern, scan.laterality, scan.surface_names) == ("raster", "R", ("ILM",))


def test_a_topcon_file_says_what_has_to_be_installed(tmp_path):
    if importlib.util.find_spec("oct_converter"):
        pytest.skip("oct-converter is installed")
    with pytest.raises(InputError, match=r"pip install 'inr-jax\[topcon\]'"):
        read_scan(written(tmp_path / "a.fda", b"FOCTFDA"))


def test_a_dicom_oct_is_the_phantom_it_was_written_from(tmp_path):
    scan = read_scan(eye_dicom(tmp_path / "dicom", EYE))
    np.testing.assert_array_equal(scan.voxels, np.rint(255 * EYE.noisy))
    np.testing.assert_allclose(scan.spacing, EYE.spacing, rtol=1e-6)
    np.testing.assert_allclose(scan.ascans_on_slo, EYE.ascans_on_slo, atol=1e-5)
    np.testing.assert_array_equal(scan.slo, np.rint(255 * EYE.slo))
    assert (scan.pattern, scan.laterality) == ("raster", "R")


def test_a_dicom_series_lies_where_simpleitk_has_it(tmp_path):
    """Oblique slices in any order of their files."""
    turn = np.deg2rad(20)
    along, down = np.array([np.cos(turn), np.sin(turn), 0]), np.array([0, 0, -1.0])
    normal = np.cross(along, down)
    pixels = np.random.default_rng(0).integers(0, 4000, (4, 6, 5)).astype(np.uint16)
    series = pydicom.uid.generate_uid()
    for i in (2, 0, 3, 1):
        facts = {
            "ImagePositionPatient": [f"{v:.8f}" for v in np.array([1.0, -2, 3]) + 2.5 * i * normal],
            "ImageOrientationPatient": [f"{v:.10f}" for v in (*along, *down)],
            "PixelSpacing": ["0.5", "0.75"], "SeriesInstanceUID": series,
            "RescaleSlope": "2", "RescaleIntercept": "-1000",
        }  # fmt: skip
        file = dicom(pixels[i], "1.2.840.10008.5.1.4.1.1.2", **facts)
        pydicom.dcmwrite(tmp_path / f"{(7 * i) % 4}.dcm", file, enforce_file_format=True)
    scan = read_scan(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    ours = sitk.GetImageFromArray(scan.voxels)
    ours.SetSpacing(scan.spacing[::-1])
    ours.SetOrigin(scan.origin)
    ours.SetDirection(scan.direction)
    for index in ((0, 0, 0), (4, 5, 3), (1, 4, 2)):
        place = image.TransformIndexToPhysicalPoint(index)
        mine = ours.TransformPhysicalPointToIndex(place)
        assert ours[mine] == image[index]
        np.testing.assert_allclose(ours.TransformIndexToPhysicalPoint(mine), place, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "J2K_pixelrep_mismatch"]
)
def test_pydicoms_own_slices_are_those_of_simpleitk(name):
    path = DICOM_FILES / f"{name}.dcm"
    scan, image = read_scan(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(scan.voxels, sitk.GetArrayFromImage(image).astype(np.float32))
    np.testing.assert_allclose(scan.spacing[1:], image.GetSpacing()[1::-1], rtol=1e-6)
    np.testing.assert_allclose(scan.origin, image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(scan.direction, image.GetDirection(), atol=2e-5)  # ITK makes them orthogonal


def test_pydicoms_own_series_has_the_spacing_of_its_places():
    scan = read_scan(DICOM_FILES / "dicomdirtests" / "98892001" / "CT5N")
    assert scan.voxels.shape == (5, 16, 16)
    np.testing.assert_allclose(scan.spacing, (2.5, 0.488281, 0.488281))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MR_truncated", "not readable as DICOM"),
        ("waveform_ecg", "expected DICOM with pixels; found none"),
        ("SC_rgb_rle", "expected grey values"),
        ("examples_palette", "expected grey values"),
        ("JPEGLSNearLossless_08", "compressed as JPEG-LS"),
        ("badVR", "not readable as DICOM, or damaged"),
    ],
)
def test_other_dicom_files_are_refused_in_one_line(name, expected):
    with pytest.raises(InputError, match=expected) as error:
        read_scan(DICOM_FILES / f"{name}.dcm")
    assert "\n" not in str(error.value)


def test_slices_that_are_unevenly_apart_are_no_volume():
    with pytest.raises(InputError, match=r"expected slices evenly apart; found 1\.25 to 202 mm"):
        read_scan(DICOM_FILES / "dicomdirtests" / "77654033" / "CT2")


def series_at(folder: Path, heights: list[int]) -> Path:
    """A slice a file, by name at these heights; its voxels are brighter by its number."""
    series = pydicom.uid.generate_uid()
    folder.mkdir()
    for i, z in enumerate(heights):
        facts = {"ImagePositionPatient": [0, 0, 2 * z], "PixelSpacing": [0.5, 0.25], "SeriesInstanceUID": series}
        pixels = (np.arange(20).reshape(4, 5) + 20 * i).astype(np.uint8)
        pydicom.dcmwrite(folder / f"{i}.dcm", dicom(pixels, **facts), enforce_file_format=True)
    return folder


def test_layers_of_slices_that_are_filed_backwards_go_to_their_own_slices(tmp_path):
    rows = 1 + np.arange(25, dtype=float).reshape(1, 5, 5) / 10
    path = scan_files.oct_explorer(tmp_path / "s.xml", rows, ("ILM",), ())
    for name, heights, turn in (("falls", [4, 3, 2, 1, 0], -1), ("rises", [0, 1, 2, 3, 4], 1)):
        scan = read_scan(series_at(tmp_path / name, heights))
        assert (np.diff(scan.voxels[:, 0, 0]) == 20 * turn).all()
        np.testing.assert_allclose(with_surfaces(scan, path).surfaces, rows[:, ::turn], rtol=1e-6)


def test_layers_of_slices_that_are_filed_in_another_order_are_refused_in_one_line(tmp_path):
    path = scan_files.oct_explorer(tmp_path / "s.xml", np.ones((1, 5, 5)), ("ILM",), ())
    scan = read_scan(series_at(tmp_path / "mixed", [2, 0, 1, 4, 3]))
    assert scan.turned == (None, False)
    with pytest.raises(InputError, match=r"layers: expected slices along their normal .*; found another order$"):
        with_surfaces(scan, path)


def test_an_enhanced_dicom_says_where_each_frame_lies(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (3, 4, 5)).astype(np.uint8)
    frames = [item(PlanePositionSequence=item(ImagePositionPatient=[0, 0, 3 * (2 - i)]))[0] for i in range(3)]
    shared = item(PixelMeasuresSequence=item(PixelSpacing=[0.5, 0.25], SliceThickness=9))
    file = dicom(
        pixels, PerFrameFunctionalGroupsSequence=pydicom.Sequence(frames), SharedFunctionalGroupsSequence=shared
    )
    pydicom.dcmwrite(tmp_path / "a.dcm", file, enforce_file_format=True)
    scan = read_scan(tmp_path / "a.dcm")
    assert scan.spacing == (3.0, 0.5, 0.25)
    np.testing.assert_array_equal(scan.voxels, pixels[::-1])
    assert scan.origin == (0, 0, 0)


def test_a_tiff_stack_has_the_spacing_that_imagej_wrote_and_needs_it_where_not(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (4, 12, 10)).astype(np.uint16)
    said, silent = tmp_path / "said.tif", tmp_path / "silent.tif"
    resolution = (1 / 0.0118, 1 / 0.0039)  # pixels per mm: columns, rows
    tifffile.imwrite(
        said, voxels, imagej=True, resolution=resolution, metadata={"spacing": 0.24, "unit": "mm", "axes": "ZYX"}
    )
    tifffile.imwrite(silent, voxels)
    scan = read_scan(said)
    np.testing.assert_array_equal(scan.voxels, voxels)
    np.testing.assert_allclose(scan.spacing, (0.24, 0.0039, 0.0118), rtol=1e-5)
    assert np.isnan(read_scans(silent)[0].spacing).all()
    with pytest.raises(InputError, match="spacing: expected three positive mm"):
        read_scan(silent)
    assert read_scan(silent, spacing=(0.2, 0.004, 0.01)).spacing == (0.2, 0.004, 0.01)


def test_a_folder_of_pictures_is_a_stack_by_their_names(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (3, 12, 10)).astype(np.uint8)
    for i, page in enumerate(voxels):
        imageio.v3.imwrite(tmp_path / f"b{i}.png", np.repeat(page[..., None], 3, axis=2) if i else page)
    (tmp_path / "notes.txt").write_text("not a picture")
    scan = read_scan(tmp_path, spacing=(0.2, 0.004, 0.01))
    np.testing.assert_array_equal(scan.voxels, voxels)
    imageio.v3.imwrite(tmp_path / "b9.png", voxels[0, :5])
    with pytest.raises(InputError, match="expected pictures of one size"):
        read_scan(tmp_path)


def test_pictures_are_stacked_by_the_numbers_in_their_names_and_hidden_files_are_none(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (12, 6, 5)).astype(np.uint8)
    for i, page in enumerate(voxels):
        imageio.v3.imwrite(tmp_path / f"scan{i}.png", page)
    (tmp_path / "._scan0.png").write_bytes(b"of another system")
    (tmp_path / ".DS_Store").write_bytes(b"of another system")
    np.testing.assert_array_equal(read_scans(tmp_path)[0].voxels, voxels)


def test_a_hidden_xml_is_not_that_of_a_heyex_folder(tmp_path):
    folder = eye_xml(tmp_path / "xml", EYE)
    name = read_scan(folder).name
    (folder / "._export.xml").write_bytes(b"of another system")
    assert read_scan(folder).name == name


def test_layers_of_octexplorer_and_heyex_go_where_the_scan_has_them(tmp_path):
    scan = read_scan(written(tmp_path / "a.vol", eye_vol(EYE)))
    bottom_up = EYE.surfaces[[0, 1, 10], ::-1] + 0.25  # in the order of the file
    names = ("ILM", "RNFL-GCL", "OB_RPE")
    path = scan_files.oct_explorer(tmp_path / "surfaces.xml", np.round(bottom_up, 2), names, ((3, 1),))
    found = with_surfaces(scan, path)
    assert found.surface_names == ("ILM", "RNFL", "BM")
    hole = np.zeros(found.surfaces.shape, bool)
    hole[:, -2, 3] = True
    np.testing.assert_array_equal(np.isnan(found.surfaces), hole)
    np.testing.assert_allclose(found.surfaces[~hole], (EYE.surfaces[[0, 1, 10]] + 0.25)[~hole], atol=0.006)
    heyex = with_surfaces(scan, eye_xml(tmp_path / "export", EYE) / "export.xml")
    np.testing.assert_allclose(heyex.surfaces, EYE.surfaces, rtol=1e-6)
    assert heyex.surface_names == ORDER


def test_adapt_takes_a_vol_and_answers_where_it_lies(toy_model, tmp_path, capsys):
    eye = make_eye(person=5, laterality="L", shape=(5, 48, 24), motion=0.0, slo_shape=(48, 48))
    path = written(tmp_path / f"{NAME}.vol", eye_vol(eye))
    scan = read_scan(path)
    said = say(capsys, "adapt", f"--workdir={toy_model}", path, f"--output={tmp_path / 'out'}", "--slices=9")
    assert said.code == 0
    image = sitk.ReadImage(str(tmp_path / "out" / content_name(path) / "intensity.nii.gz"))
    assert image.GetSize() == (24, 48, 9)
    np.testing.assert_allclose(image.GetOrigin(), scan.origin, atol=1e-5)
    last = np.array(scan.origin) + (np.array(scan.voxels.shape) - 1)[::-1] * scan.spacing[::-1]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((23, 47, 8)), last, atol=1e-4)
    assert not any(NAME in file.name or NAME.encode() in file.read_bytes() for file in (tmp_path / "out").rglob("*.*"))
    assert NAME not in said.out


def test_layers_of_another_scan_are_refused(tmp_path):
    scan = read_scan(written(tmp_path / "a.vol", eye_vol(EYE)))
    path = scan_files.oct_explorer(tmp_path / "s.xml", np.ones((1, 4, 24)), ("ILM",), ())
    with pytest.raises(InputError, match=r"layers: expected \(5, 24\) B-scans and A-scans; found \(4, 24\)"):
        with_surfaces(scan, path)


@pytest.mark.parametrize("kind", ["vol", "e2e", "xml", "dicom"])
def test_a_scan_is_called_by_its_content_and_nobodys_name_is_kept(tmp_path, kind):
    folder = tmp_path / f"{NAME}_{BORN}"
    folder.mkdir()
    path = {
        "vol": lambda: written(folder / f"{NAME}.vol", eye_vol(EYE)),
        "e2e": lambda: written(folder / f"{NAME}.e2e", eye_e2e(EYE)),
        "xml": lambda: eye_xml(folder / NAME, EYE),
        "dicom": lambda: eye_dicom(folder / NAME, EYE),
    }[kind]()
    scan = read_scan(path)
    assert scan.name == scan.person == content_name(path)
    told = repr([getattr(scan, field.name) for field in dataclasses.fields(scan)])
    assert not any(word.lower() in told.lower() for word in (NAME, BORN, ID, "1951"))
    with pytest.raises(InputError) as error:
        read_scan(written(folder / f"{NAME}.vol", eye_vol(EYE)[:5000]))
    assert NAME not in str(error.value)


def test_an_id_of_other_letters_does_not_keep_a_vol_from_being_read(tmp_path):
    scan = read_scan(written(tmp_path / "a.vol", eye_vol(EYE, person="Müßig-Ø")))
    assert scan.voxels.shape == EYE.noisy.shape
