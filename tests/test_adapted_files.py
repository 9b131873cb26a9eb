"""What `inr-jax adapt` writes of layers, single B-scans, DICOM and TIFF, in the scan's place."""

from base64 import b64encode

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
from command import SHAPE, SPACING, layers, say, tree, write_image

from inr_jax.phantom import SURFACES

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
ORIGIN = (3.0, -4.0, 5.0)


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("eye") / "eye.nii.gz", 255 * layers(), SPACING, ORIGIN, OBLIQUE)


@pytest.fixture
def adapted(eye, toy_model, tmp_path, capsys):
    def adapt(*flags: str):
        said = say(capsys, "adapt", f"--workdir={toy_model}", eye, f"--output={tmp_path / 'out'}", "--name=eye", *flags)
        assert said.code == 0, said.err
        return tmp_path / "out" / "eye"

    return adapt


def test_bscans_at_asked_millimetres_lie_there_alone_and_have_a_profile(adapted, eye):
    folder = adapted("--bscan-at=0.5,2.9")
    assert {path.name for path in folder.iterdir()} == {"bscan_0.5mm", "bscan_2.9mm"}
    scan = sitk.ReadImage(str(eye))
    for mm in (0.5, 2.9):
        own = folder / f"bscan_{mm:g}mm"
        image = sitk.ReadImage(str(own / "intensity.nii.gz"))
        assert image.GetSize() == (SHAPE[2], SHAPE[1], 1)
        for corner in ((0, 0), (SHAPE[2] - 1, SHAPE[1] - 1)):
            place = scan.TransformContinuousIndexToPhysicalPoint((*map(float, corner), mm / SPACING[0]))
            np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((*corner, 0)), place, atol=1e-4)
        measured = sitk.GetArrayFromImage(sitk.ReadImage(str(own / "measured.nii.gz")))
        if mm == 0.5:
            assert not measured.any()
        else:  # the scan's own B-scan, but for a row that alignment moved in
            assert (measured == 1).mean() > 0.9
        assert {"thickness_profile.csv", "thickness_profile.png"} <= tree(own)
        assert "a single B-scan covers no area of the macula" in (own / "etdrs.csv").read_text()
    page = (folder / "bscan_0.5mm" / "report.html").read_text()
    assert "not computable" in page
    assert "<title>Adapted scan</title>" in page  # the name may be a person's
    assert b64encode((folder / "bscan_0.5mm" / "thickness_profile.png").read_bytes()).decode() in page
    assert "Across the B-scans" not in page


def test_dicom_and_tiff_hold_the_volumes_of_the_nifti_files_at_the_same_millimetre(adapted):
    folder = adapted("--dicom", "--tiff", "--slices=3")
    for name in ("intensity", "segmentation"):
        nifti = sitk.ReadImage(str(folder / f"{name}.nii.gz"))
        values = sitk.GetArrayFromImage(nifti)
        dicom = sitk.ReadImage(str(folder / f"{name}.dcm"))
        np.testing.assert_allclose(dicom.GetSpacing(), nifti.GetSpacing(), rtol=1e-5)
        np.testing.assert_allclose(dicom.GetOrigin(), nifti.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(dicom.GetDirection(), nifti.GetDirection(), atol=1e-5)
        np.testing.assert_array_equal(tifffile.imread(folder / f"{name}.tiff"), values)
        if name == "segmentation":
            np.testing.assert_array_equal(sitk.GetArrayFromImage(dicom), values)
    files = [pydicom.dcmread(folder / f"{name}.dcm") for name in ("intensity", "segmentation")]
    assert files[0].StudyInstanceUID == files[1].StudyInstanceUID
    assert files[0].SeriesInstanceUID != files[1].SeriesInstanceUID
    assert not any(str(value) for file in files for value in (file.PatientName, file.PatientID))


def test_surfaces_lie_in_the_scans_place_and_are_between_its_rows(adapted, eye):
    folder, scan = adapted(), sitk.ReadImage(str(eye))
    for name in SURFACES:
        image = sitk.ReadImage(str(folder / "surfaces" / f"{name}.nii.gz"))
        for index in ((0, 0, 0), (5, SHAPE[1] - 1, 3)):
            found = image.TransformPhysicalPointToIndex(scan.TransformIndexToPhysicalPoint(index))
            assert found == (index[0], 0, index[2])
        depth = sitk.GetArrayFromImage(image)
        assert ((depth == -1) | ((depth >= 0) & (depth <= SHAPE[1] * SPACING[1] * 1000))).all()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--bscan-at=0.5,9",), "bscan-at: expected mm from 0 to 5.8, where the scan has B-scans; found 9"),
        (("--bscan-at=here",), "--bscan-at: expected mm such as 0.5,1.25; found 'here'"),
        (
            ("--bscan-at=0.5", "--slices=3"),
            "adapt: expected one of --slices, --spacing, --like, --bscan-at; found --slices, --bscan-at",
        ),
    ],
)
def test_bscans_that_cannot_be_are_refused_in_one_line_and_nothing_is_written(
    flags, said, eye, toy_model, tmp_path, capsys
):
    found = say(capsys, "adapt", f"--workdir={toy_model}", eye, f"--output={tmp_path / 'out'}", *flags)
    assert said in found.error
    assert not list(tmp_path.glob("out/*"))
