"""A scan rendered on the grid of another image lies where it was measured, voxel for voxel."""

import numpy as np
import pytest
import SimpleITK as sitk
from command import layers, say, write_image

import inr_jax
from inr_jax import between
from inr_jax.errors import InputError
from inr_jax.scan import Scan

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
TILTED = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def result(calibrated_model):
    """A scan that lies obliquely in space."""
    voxels = layers((9, 16, 12))
    model = inr_jax.restore(calibrated_model)
    return model.adapt(Scan(voxels, (0.25, 0.004, 0.06), (3.0, -4.0, 5.0), OBLIQUE, laterality="R", name="eye"))


def image(folder, shape, spacing, origin, direction):
    return write_image(folder / "like.nii.gz", layers(shape), spacing, origin, direction)


def lies_as(path, other) -> bool:
    """Whether two images share a grid: to the bit, but for the direction, a quaternion of float32 in NIfTI."""
    a, b = (sitk.ReadImage(str(place)) for place in (path, other))
    is_same = all(getattr(a, f"Get{what}")() == getattr(b, f"Get{what}")() for what in ("Size", "Spacing", "Origin"))
    return is_same and np.allclose(a.GetDirection(), b.GetDirection(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("direction", "shape"), [(OBLIQUE, (4, 16, 12)), (TILTED, (4, 10, 8))], ids=["parallel", "across"]
)
def test_what_is_written_has_the_other_image_s_geometry_and_answers_as_a_point_does(direction, shape, result, tmp_path):
    scan = result.scan
    place = np.array(scan.origin) + np.array([0.05, 0.008, 0.3])
    other = image(tmp_path, shape, (0.4, 0.005, 0.05), tuple(place.tolist()), direction)
    folder = result.save(tmp_path / "out", result.render(like=other))
    for name in ("intensity", "segmentation", "measured", "uncertainty", "label_uncertainty"):
        assert lies_as(folder / f"{name}.nii.gz", other), name
    written = sitk.ReadImage(str(folder / "intensity.nii.gz"))
    origin = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "measured.nii.gz")))
    values, doubt = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.nii.gz"))) for name in ("intensity", "uncertainty")
    )
    places = np.array([written.TransformIndexToPhysicalPoint((x, y, z)) for z, y, x in np.ndindex(*shape)])
    found = result.at(places)
    inside = np.isfinite(found.intensity).reshape(shape) & (values > scan.voxels.min())
    assert inside.sum() > 10
    np.testing.assert_allclose(values[inside], found.intensity.reshape(shape)[inside], atol=2e-4)
    estimable = origin != between.ORIGINS.index("not estimable")
    np.testing.assert_allclose(doubt[estimable], found.half_interval.reshape(shape)[estimable], atol=2e-4)
    assert (doubt[~estimable] == -1).all()
    assert not (folder / "surfaces.csv").exists()
    assert "another image" in (folder / "report.html").read_text()


def test_outside_of_the_scan_nothing_is_estimable_and_there_is_no_label(result, tmp_path):
    other = image(tmp_path, (9, 16, 30), (0.25, 0.004, 0.06), result.scan.origin, OBLIQUE)
    found = result.render(like=inr_jax.load(other))
    beyond = np.arange(30) > 11.5
    assert (found.intensity[..., beyond] == result.scan.voxels.min()).all()
    assert (found.labels[..., beyond] == 0).all()
    assert (found.origin[..., beyond] == between.ORIGINS.index("not estimable")).all()
    np.testing.assert_allclose(found.intensity[..., ~beyond], result.own.intensity, atol=1e-5)
    np.testing.assert_array_equal(found.origin[..., ~beyond], result.own.origin)


def test_a_grid_elsewhere_or_two_grids_at_once_are_refused(result, tmp_path):
    other = image(tmp_path, (4, 16, 12), (0.4, 0.005, 0.05), (300.0, 0.0, 0.0), OBLIQUE)
    with pytest.raises(InputError, match=r"like\.nii\.gz: like: expected a grid that meets the scan in space"):
        result.render(like=other)
    with pytest.raises(InputError, match="expected one of slices, spacing and like; found several"):
        result.render(3, like=other)


def test_the_command_renders_like_another_image_and_keeps_its_name_to_itself(toy_model, tmp_path, capsys):
    eye = write_image(tmp_path / "eye.nii.gz", layers(), origin=(1.0, 2.0, 3.0))
    other = write_image(tmp_path / "Novak.nii.gz", layers((3, 20, 10)), (1.0, 0.03, 0.3), (1.5, 2.0, 4.0))
    flags = (f"--workdir={toy_model}", f"--output={tmp_path / 'out'}", "--name=e", f"--like={other}")
    assert say(capsys, "adapt", eye, *flags).code == 0
    out = tmp_path / "out" / "e"
    assert lies_as(out / "intensity.nii.gz", other)
    assert not any(b"Novak" in path.read_bytes() for path in out.rglob("*") if path.is_file())
    two = say(capsys, "adapt", eye, *flags, "--slices=3")
    assert "expected one of --slices, --spacing, --like, --bscan-at; found --slices, --like" in two.error
