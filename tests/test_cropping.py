"""A scan larger than a model's box is cropped to its retina, and everything stays at its millimetre."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from command import say
from real_data import real_data

from inr_jax import cropping, scan_io
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.new_scan import bscan_index
from inr_jax.phantom import make_eye
from inr_jax.scan import Scan, mm_of
from inr_jax.scan_io import read_scan

HALF = np.array([3.0812502, 0.4547368, 2.9460318])  # of the shipped model
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
LINE, CIRCLE, DISEASED = "Willis_B_716_0", "Willis_B_716_4", "valid"


def padded(above, below, *, seed=0, keep=()):
    """A phantom eye with noise as its vitreous has above and below, and its labels' rows."""
    eye = scan_of(make_eye(seed=seed, person=40 + seed, laterality="R", shape=(5, 96, 48)))
    random = np.random.default_rng(seed)
    noise = [random.choice(eye.voxels[:, :12].ravel(), (5, rows, 48)) for rows in (above, below)]
    labels = np.pad(eye.labels, ((0, 0), (above, below), (0, 0)))
    voxels = np.concatenate([noise[0], eye.voxels, noise[1]], axis=1).astype(np.float32)
    return replace(eye, voxels=voxels, labels=labels if "labels" in keep else None, surfaces=None, valid=None), labels


@pytest.mark.parametrize("keep", [(), ("labels",)], ids=["image", "labels"])
@pytest.mark.parametrize(("above", "below"), [(100, 100), (20, 250), (250, 10)])
def test_the_rows_kept_of_a_padded_eye_hold_all_its_layers(above, below, keep):
    scan, labels = padded(above, below, keep=keep)
    found, remarks = cropping.to_box(scan, HALF)
    first = round(float(found.origin[1] - scan.origin[1]) / scan.spacing[1])
    rows = np.flatnonzero((labels > 0).any(axis=(0, 2)))
    assert found.voxels.shape == (5, 96, 48)
    assert first <= rows.min()
    assert rows.max() < first + 96
    total = scan.voxels.shape[1] - 1
    assert remarks == [f"rows {first} to {first + 95} of 0 to {total} were kept: the model knows a box of 0.91 mm"]


def test_a_scan_that_fits_is_not_touched():
    eye = scan_of(make_eye(seed=1, person=41, laterality="R", shape=(5, 96, 48)))
    assert cropping.to_box(eye, HALF) == (eye, [])


def test_noise_has_no_retina_to_crop_to():
    noise = np.random.default_rng(0).random((1, 496, 200), np.float32)
    with pytest.raises(InputError, match="noise: retina: expected a band that is brighter"):
        cropping.to_box(Scan(noise, (0.012, 0.0039, 0.012), name="noise"), HALF)


def test_a_tall_retina_is_told_as_left_out():
    surfaces = np.stack([np.full((1, 200), 50.0), np.full((1, 200), 449.0)])  # 400 rows of which 233 fit
    scan = Scan(np.zeros((1, 496, 200), np.float32), (0.012, 0.0039, 0.012), surfaces=surfaces)
    assert "42% of the retina lies beyond" in cropping.to_box(scan, HALF)[1][0]


def test_a_marked_voxel_lies_at_its_millimetre_after_cropping_every_axis_by_simpleitk(tmp_path):
    random = np.random.default_rng(0)
    voxels = random.random((9, 40, 60), np.float32)
    voxels[5, 22, 31] = 9
    surfaces = np.stack([np.full((9, 60), 12.0), np.full((9, 60), 30.0)])
    valid = np.ones(voxels.shape, bool)
    valid[5, 22, 32] = False
    scan = Scan(
        voxels, (1.0, 0.04, 0.2), (3.0, -4.0, 5.0), OBLIQUE, surfaces=surfaces, valid=valid, quality=np.arange(9.0),
        labels=(voxels > 8).astype(int), ascans_on_slo=np.stack(np.mgrid[:9, :60], -1).astype(np.float32),
    )  # fmt: skip
    found, remarks = cropping.to_box(scan, HALF)
    assert found.voxels.shape == (6, 22, 29)
    assert [remark.split()[0] for remark in remarks] == ["B-scans", "rows", "A-scans"]
    for name, one in (("all", scan), ("part", found)):
        scan_io.write_volume(tmp_path / f"{name}.nii.gz", one.voxels, one.spacing, one.origin, one.direction)
    whole, part = (sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("all", "part"))
    at = part.TransformPhysicalPointToIndex(whole.TransformIndexToPhysicalPoint((31, 22, 5)))
    assert part[at] == 9
    x, y, z = at
    assert found.labels[z, y, x] == 1
    assert not found.valid[z, y, x + 1]
    assert found.surfaces[0, z, x] == y - 10
    assert found.quality[z] == 5
    np.testing.assert_array_equal(found.ascans_on_slo[z, x], (5, 31))


def test_a_place_in_mm_from_the_files_first_bscan_is_the_same_after_cropping():
    scan = Scan(np.zeros((9, 40, 60), np.float32), (1.0, 0.04, 0.2), name="eye")
    kept = cropping.cropped(scan, slice(2, 8), slice(0, 40), slice(0, 60))
    assert bscan_index(scan, kept, 3.5) == pytest.approx(1.5)
    np.testing.assert_allclose(mm_of(kept, np.array([1.5, 0, 0])), mm_of(scan, np.array([3.5, 0, 0])))
    with pytest.raises(InputError, match=r"bscan-at: .*\(2 to 7\); found 1.5"):
        bscan_index(scan, kept, 1.5)


@pytest.mark.parametrize("known", [True, False], ids=["surfaces", "image"])
@pytest.mark.parametrize(("name", "reach"), [(LINE, (32, 184)), (CIRCLE, (156, 295))])
def test_the_rows_kept_of_real_eyes_hold_the_surfaces_of_the_file(name, reach, known):
    scan = read_scan(real_data(f"spectralis/{name}.vol"))
    found, _ = cropping.to_box(scan if known else replace(scan, surfaces=None), HALF)
    first = (found.origin[1] - scan.origin[1]) / scan.spacing[1]
    assert first <= reach[0]
    assert reach[1] < first + found.voxels.shape[1]


def test_a_real_line_is_kept_round_its_pit():
    scan = read_scan(real_data(f"spectralis/{LINE}.vol"))
    middle = cropping.pit(scan)
    assert abs(middle - np.nanargmax(scan.surfaces[0][0])) * scan.spacing[2] < 0.15  # where the ILM is deepest
    assert cropping.pit(replace(scan, surfaces=None)) == 383.5


@pytest.mark.parametrize("name", [LINE, *(pytest.param(n, marks=pytest.mark.slow) for n in (CIRCLE, DISEASED))])
def test_a_real_scan_is_adapted_by_the_shipped_model_at_its_own_place(name, tmp_path, capsys):
    """The answer holds what was measured: it looks like the file's own voxels at the same millimetres, by SimpleITK."""
    path = real_data(f"spectralis/{name}.vol")
    scan = read_scan(path)
    scan_io.write_volume(tmp_path / "all.nii.gz", scan.voxels, scan.spacing, scan.origin, scan.direction)
    said = say(capsys, "adapt", "--model=phantom", path, f"--output={tmp_path / 'out'}")
    assert said.code == 0
    out = tmp_path / "out" / scan.name
    assert {"segmentation.nii.gz", "surfaces.csv", "report.html", "likeness.csv"} <= {p.name for p in out.iterdir()}
    answer, whole = sitk.ReadImage(str(out / "intensity.nii.gz")), sitk.ReadImage(str(tmp_path / "all.nii.gz"))
    np.testing.assert_allclose(answer.GetSpacing(), scan.spacing[::-1], rtol=1e-5)
    np.testing.assert_allclose(answer.GetDirection(), scan.direction, atol=1e-6)
    assert answer.GetSize()[1] == 234
    with (out / "places.csv").open(newline="") as file:
        rows = [[float(row["slo_y_mm"]), float(row["slo_x_mm"])] for row in csv.DictReader(file)]
    first = np.flatnonzero(np.isclose(scan.ascans_on_slo[0], rows[0], atol=1e-4).all(-1))[0]
    np.testing.assert_allclose(rows, scan.ascans_on_slo[0, first : first + answer.GetSize()[0]], atol=1e-5)
    there = sitk.GetArrayFromImage(sitk.Resample(whole, answer, sitk.Transform(), sitk.sitkNearestNeighbor))
    error = np.sqrt(np.mean((sitk.GetArrayFromImage(answer) - there) ** 2))
    assert error < 0.35 * there.std()
