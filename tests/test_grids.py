"""A voxel of any rendered grid lies at the millimetre that SimpleITK gives it, and at that of the scan."""

import numpy as np
import pytest
import SimpleITK as sitk

from inr_jax import grids
from inr_jax.errors import InputError
from inr_jax.scan import Scan

SHAPE, SPACING, ORIGIN = (5, 9, 7), (0.24, 0.004, 0.06), (-3.0, 5.5, 12.25)
TURNED = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)
SCAN = grids.Grid(SHAPE, SPACING, ORIGIN, TURNED)


def itk(grid: grids.Grid, values: np.ndarray | None = None) -> sitk.Image:
    image = sitk.GetImageFromArray(np.zeros(grid.shape, np.float32) if values is None else values)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def other() -> Scan:
    """An image elsewhere, turned and of another spacing, that meets the scan."""
    a, b = np.cos(0.3), np.sin(0.3)
    turn = np.array(TURNED).reshape(3, 3) @ [[a, 0, b], [0, 1, 0], [-b, 0, a]]
    origin = tuple(grids.lps(SCAN, np.array([1.0, 1.0, 2.0])).tolist())
    return Scan(np.zeros((4, 6, 11), np.float32), (0.1, 0.006, 0.03), origin, tuple(turn.ravel().tolist()))


GRIDS = {
    "own": SCAN,
    "spacing": grids.of_spacing(SCAN, (0.1, 0.003, 0.05)),
    "bscan-at": grids.of_bscans(SCAN, (0.3, 0.9))[1],
    "like": grids.like(SCAN, other(), "other.nii.gz"),
    "en face": grids.en_face(SCAN),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_voxel_lies_where_simpleitk_has_it_and_in_the_scan_at_the_same_millimetre(name):
    grid, image, scan = GRIDS[name], itk(GRIDS[name]), itk(SCAN)
    for p in (0, grid.shape[0] - 1):
        coords = grids.coords_mm(SCAN, grid, p)
        for h, w in ((0, 0), (grid.shape[1] - 1, grid.shape[2] - 1)):
            point = image.TransformIndexToPhysicalPoint((w, h, p))
            np.testing.assert_allclose(grids.lps(grid, np.array([p, h, w])), point, atol=1e-9)
            index = scan.TransformPhysicalPointToContinuousIndex(point)[::-1]
            np.testing.assert_allclose(coords[h, w], np.array(index) * SPACING, atol=1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_voxels_is_the_way_back_from_lps(name):
    index = np.random.default_rng(0).uniform(-5, 20, (4, 3))
    np.testing.assert_allclose(grids.voxels(GRIDS[name], grids.lps(GRIDS[name], index)), index, atol=1e-6)


@pytest.mark.parametrize("name", ["spacing", "like"])
def test_a_field_of_the_scans_mm_frame_on_a_grid_is_what_simpleitk_resamples_there(name):
    """A linear field, which SimpleITK's linear interpolation gives exactly; what it finds outside is outside here."""
    rate = np.array([2.0, -30.0, 5.0])
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    field = ((index * SPACING) @ rate).astype(np.float32)
    grid = GRIDS[name]
    expected = sitk.GetArrayFromImage(
        sitk.Resample(itk(SCAN, field), itk(grid), sitk.Transform(), sitk.sitkLinear, -100.0)
    )
    coords = np.stack([grids.coords_mm(SCAN, grid, p) for p in range(grid.shape[0])])
    known = (expected > -99) & grids.inside(SCAN, coords)
    between = ((coords >= -1e-6) & (coords <= (np.array(SHAPE) - 1) * SPACING + 1e-6)).all(-1)
    np.testing.assert_array_equal(known[between], True)
    np.testing.assert_allclose((coords @ rate)[between], expected[between], atol=1e-4)
    assert not (grids.inside(SCAN, coords) & (expected <= -99)).any()


def test_another_spacing_reaches_from_the_first_voxel_to_the_last():
    grid = GRIDS["spacing"]
    np.testing.assert_allclose(grids.coords_mm(SCAN, grid, 0)[0, 0], 0, atol=1e-9)
    last = grids.coords_mm(SCAN, grid, grid.shape[0] - 1)[-1, -1]
    extent = (np.array(SHAPE) - 1) * SPACING
    assert (last <= extent + 1e-9).all()
    assert (extent - last < grid.spacing).all()


def test_the_scans_own_spacing_is_the_scans_own_grid():
    grid = grids.of_spacing(SCAN, SPACING)
    assert grid.shape == SHAPE
    np.testing.assert_allclose(grid.origin, ORIGIN)
    assert grids.of_spacing(SCAN, (0.12, None, None)).shape == (9, *SHAPE[1:])


def test_a_bscan_lies_at_the_asked_millimetre_from_the_first_one():
    for place, grid in zip((0.0, 0.3, 0.96), grids.of_bscans(SCAN, (0.0, 0.3, 0.96)), strict=True):
        assert grid.shape == (1, *SHAPE[1:])
        np.testing.assert_allclose(grids.coords_mm(SCAN, grid, 0)[..., 0], place, atol=1e-9)


def test_what_lies_beyond_the_scan_is_outside():
    coords = np.array([[0, 0, 0], [0.96, 0.032, 0.36], [-0.01, 0, 0], [0, -0.003, 0], [0, -0.001, 0.38], [0, 0, 0.4]])
    np.testing.assert_array_equal(grids.inside(SCAN, coords), [True, True, False, False, True, False])


def test_an_en_face_grid_covers_the_depth_of_the_scan_with_one_voxel():
    grid = grids.en_face(SCAN)
    assert grid.shape == (5, 1, 7)
    image = itk(grid)
    for row in (0, 4, 8):
        point = tuple(grids.lps(SCAN, np.array([2.0, row, 3.0])).tolist())
        assert image.TransformPhysicalPointToIndex(point) == (3, 0, 2)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: grids.of_spacing(SCAN, (0.1, 0.0, 0.1)), "spacing: expected three positive mm"),
        (lambda: grids.of_spacing(SCAN, (0.1, 0.1)), "spacing: expected three positive mm"),
        (lambda: grids.of_spacing(SCAN, (0.1, float("nan"), 0.1)), "found 0.1, nan, 0.1"),
        (lambda: grids.of_spacing(SCAN, (1e-6, 1e-6, 1e-6)), "expected at most"),
        (lambda: grids.of_bscans(SCAN, (0.5, 1.2)), "bscan-at: expected mm from 0 to 0.96, .*; found 1.2"),
        (lambda: grids.of_bscans(SCAN, (-0.1,)), "found -0.1"),
        (lambda: grids.of_bscans(SCAN, (float("nan"),)), "found nan"),
        (lambda: grids.of_bscans(SCAN, ()), "found none"),
        (lambda: grids.like(SCAN, Scan(np.zeros((2, 2, 2), np.float32), SPACING), "far.nii"), "far.nii: like: .* none"),
    ],
)
def test_what_cannot_be_rendered_is_refused_in_one_line(ask, said):
    with pytest.raises(InputError, match=said) as error:
        ask()
    assert "\n" not in str(error.value)
