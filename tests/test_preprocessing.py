"""Preparing scans: what was done can be undone, motion is found from the picture, populations are consistent."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from inr_jax.errors import InputError
from inr_jax.preprocessing import (
    Undo,
    from_unit_range,
    mirrored_scan,
    motion_field,
    prepare,
    slo_affine,
    stack,
    to_unit_range,
)
from inr_jax.scan_io import Scan

SPACING = (0.38, 0.007, 0.06)
SHAPE = (16, 128, 96)


def random_motion(seed: int, rows: float) -> tuple[np.ndarray, np.ndarray]:
    """Shift and tilt with no parabola over the B-scans: that could not be told from the eye's shape."""
    motion = np.random.default_rng(seed).normal(size=(SHAPE[0], 2)) * (rows, rows / 3)
    parabola = np.vander(np.linspace(-1, 1, SHAPE[0]), 3)
    shift, tilt = (motion - parabola @ np.linalg.lstsq(parabola, motion, rcond=None)[0]).T
    return shift, tilt


def layered_scan(shift: np.ndarray, tilt: np.ndarray, looks: float = 4.0, seed: int = 0) -> Scan:
    """A curved retina with a pit, displaced rows and speckle; its surfaces are ILM and BM."""
    D, H, W = SHAPE
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in ((D, SPACING[0]), (W, SPACING[2]))), indexing="ij"
    )
    motion = (shift[:, None] + tilt[:, None] * np.linspace(-1, 1, W)) * SPACING[1]
    bm = 0.62 - (y**2 + x**2) / 160 + 0.03 * y + 0.02 * x + motion
    ilm = bm - 0.3 + 0.12 * np.exp(-(y**2 + x**2) / 0.35)
    z = np.arange(H)[None, :, None] * SPACING[1]
    ilm, bm = ilm[:, None], bm[:, None]
    bands = [
        (ilm, ilm + 0.04, 0.35),
        (ilm + 0.04, bm - 0.15, 0.12),
        (bm - 0.15, bm - 0.06, 0.05),
        (bm - 0.045, bm, 0.6),
    ]
    linear = sum(np.where((z >= top) & (z < bottom), level, 0.0) for top, bottom, level in bands)
    linear = linear + np.where(z >= bm, 0.25 * np.exp(-(z - bm) / 0.12), 0.0) + 0.01
    speckle = rng.gamma(looks, 1 / looks, SHAPE)
    return Scan(
        voxels=np.clip(linear * speckle, 0, 1).astype(np.float32) ** 0.25,
        spacing=SPACING,
        labels=((z >= ilm) & (z < bm)).astype(np.int32),
        surfaces=(np.stack([ilm[:, 0], bm[:, 0]]) / SPACING[1]).astype(np.float32),
        valid=np.ones(SHAPE, bool),
        slo=rng.random((64, 64)).astype(np.float32),
        slo_spacing=(0.1, 0.1),
        ascans_on_slo=np.stack([0.2 + y - y.min(), 0.1 + x - x.min()], -1).astype(np.float32),
        laterality="L",
        name="eye",
        person="someone",
    )


def parts(motion: np.ndarray) -> np.ndarray:
    """Shift and tilt of B-scans whose A-scans lie along lines."""
    return np.stack([0.5 * (motion[:, 0] + motion[:, -1]), 0.5 * (motion[:, -1] - motion[:, 0])])


def still() -> Scan:
    return layered_scan(np.zeros(SHAPE[0]), np.zeros(SHAPE[0]))


def test_mirroring_twice_is_nothing_and_keeps_every_voxel_at_its_place() -> None:
    scan = still()
    once = mirrored_scan(scan)
    twice = mirrored_scan(once)
    assert (once.laterality, twice.laterality) == ("R", "L")
    for key in ("voxels", "labels", "surfaces", "valid", "ascans_on_slo", "slo"):
        np.testing.assert_array_equal(getattr(twice, key), getattr(scan, key), err_msg=key)
    np.testing.assert_allclose(twice.origin, scan.origin, atol=1e-12)
    np.testing.assert_array_equal(twice.direction, scan.direction)

    def place(of: Scan, column: int) -> np.ndarray:
        return np.array(of.origin) + np.array(of.direction).reshape(3, 3) @ (column * of.spacing[2], 0.0, 0.0)

    np.testing.assert_allclose(place(once, 95 - 7), place(scan, 7), atol=1e-12)
    assert once.voxels[3, 50, 95 - 7] == scan.voxels[3, 50, 7]


def test_only_left_eyes_are_mirrored() -> None:
    scan = still()
    for eye, expected in (("L", True), ("R", False), (None, False)):
        prepared, undo = prepare(replace(scan, laterality=eye), mirror=True, align=False)
        assert undo.mirrored is expected
        np.testing.assert_array_equal(prepared.voxels, scan.voxels[..., ::-1] if expected else scan.voxels)
    assert not prepare(scan, mirror=False, align=False)[1].mirrored


def test_undoing_the_mirror_is_exact() -> None:
    scan = still()
    prepared, undo = prepare(scan, mirror=True, align=False)
    index = np.arange(16.0)
    np.testing.assert_array_equal(undo(prepared.labels, index, labels=True), scan.labels)
    np.testing.assert_allclose(undo(prepared.voxels, index), scan.voxels, atol=1e-6)


@pytest.mark.parametrize("rows", [1.0, 3.0, 6.0])
def test_motion_is_found_within_half_a_row(rows: float) -> None:
    for seed in range(3):
        shift, tilt = random_motion(seed, rows)
        scan = replace(layered_scan(shift, tilt, seed=seed), laterality="R")
        _, undo = prepare(scan, mirror=True, align=True)
        assert np.abs(parts(undo.motion) - (shift, tilt)).max() < 0.5


def test_motion_of_a_left_eye_is_found_in_the_mirrored_frame() -> None:
    shift, tilt = random_motion(0, 2.0)
    _, undo = prepare(layered_scan(shift, tilt), mirror=True, align=True)
    assert np.abs(parts(undo.motion)[1] + tilt).max() < 0.5


def test_a_voxel_of_the_scan_lies_in_the_prepared_one_where_it_was_moved_to() -> None:
    """Against the moving itself: the prepared scan, read at these places, is the scan."""
    shift, tilt = random_motion(0, 3.0)
    scan = layered_scan(shift, tilt)  # a left eye
    scan = replace(scan, voxels=ndimage.gaussian_filter(scan.voxels, (0, 2, 2)))
    prepared, undo = prepare(scan, mirror=True, align=True)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1).astype(float)
    seen = undo.seen_at(index, SHAPE)
    back = ndimage.map_coordinates(prepared.voxels, np.moveaxis(seen, -1, 0), order=1, mode="nearest")
    np.testing.assert_allclose(back[:, 20:-20], scan.voxels[:, 20:-20], atol=0.02)
    np.testing.assert_allclose(seen[..., 2], SHAPE[2] - 1 - index[..., 2])
    assert (seen[..., 1] >= 0).all()
    assert (seen[..., 1] <= SHAPE[1] - 1).all()
    between = undo.seen_at(np.array([[3.5, 60.0, 7.0]]), SHAPE)[0, 1]
    assert between == pytest.approx(seen[3:5, 60, 7, 1].mean())
    assert undo.seen_at(np.array([[3.0, -9.0, 7.0]]), SHAPE)[0, 1] < 0  # beyond the scan stays beyond


def test_one_jump_does_not_move_the_other_b_scans() -> None:
    shift = np.zeros(SHAPE[0])
    shift[5] = 12.0
    scan = layered_scan(shift, np.zeros(SHAPE[0]))
    aligned, undo = prepare(scan, mirror=False, align=True)
    parabola = np.vander(np.linspace(-1, 1, SHAPE[0]), 3)
    expected = shift - parabola @ np.linalg.lstsq(parabola, shift, rcond=None)[0]
    assert np.abs(parts(undo.motion)[0] - expected).max() < 0.5
    assert aligned.voxels.shape == scan.voxels.shape


def test_missing_a_scans_do_not_disturb_the_motion() -> None:
    shift, tilt = random_motion(3, 2.0)
    scan = layered_scan(shift, tilt)
    valid = np.ones(SHAPE, bool)
    valid[:, :, 30:45] = False
    valid[7] = False
    voxels = np.where(valid, scan.voxels, np.random.default_rng(1).random(SHAPE)).astype(np.float32)
    _, undo = prepare(replace(scan, voxels=voxels, valid=valid, laterality="R"), mirror=False, align=True)
    others = np.arange(SHAPE[0]) != 7
    assert np.abs(parts(undo.motion)[0] - shift)[others].mean() < 0.25


def test_aligned_surfaces_lie_where_aligned_labels_do() -> None:
    aligned, _ = prepare(layered_scan(*random_motion(1, 3.0)), mirror=True, align=True)
    top = np.argmax(aligned.labels == 1, axis=1)
    assert np.abs(top - aligned.surfaces[0]).max() <= 1.5


def test_rows_that_move_in_are_invalid() -> None:
    shift = np.where(np.arange(16) % 2 == 0, 4.0, -4.0)
    aligned, undo = prepare(layered_scan(shift, np.zeros(16)), mirror=False, align=True)
    found = parts(undo.motion)[0]
    edge = np.abs(found).round().astype(int)
    for d in range(16):
        inside = aligned.valid[d, :, 48]
        assert not inside[-edge[d] + 1 :].any() if found[d] > 0 else not inside[: edge[d] - 1].any()
        assert inside[10:-10].all()


def test_unaligning_brings_the_measured_picture_back() -> None:
    scan = layered_scan(*random_motion(2, 3.0))
    scan = replace(scan, voxels=ndimage.gaussian_filter(scan.voxels, (0, 2.0, 1.0)))  # cubic splines suffice
    aligned, undo = prepare(scan, mirror=True, align=True)
    back = undo(aligned.voxels, np.arange(16.0))
    assert np.abs(back - scan.voxels)[:, 16:-16].max() < 0.01
    labels = undo(aligned.labels, np.arange(16.0), labels=True)
    assert (labels != scan.labels)[:, 16:-16].mean() < 0.01


def test_between_b_scans_the_motion_is_interpolated() -> None:
    undo = Undo(False, motion_field(np.array([0.0, 4.0]), np.array([0.0, 2.0]), 5))
    rows = np.broadcast_to(np.arange(40.0)[None, :, None], (3, 40, 5)).copy()
    moved = undo(rows, np.array([0.0, 0.5, 3.0]))
    np.testing.assert_allclose(moved[0, 10:30, 2], np.arange(10, 30), atol=1e-5)
    np.testing.assert_allclose(moved[1, 10:30, 2], np.arange(10, 30) - 2.0, atol=1e-5)
    np.testing.assert_allclose(moved[1, 10:30, 4], np.arange(10, 30) - 3.0, atol=1e-5)
    np.testing.assert_allclose(moved[2, 10:30, 0], np.arange(10, 30) - 2.0, atol=1e-5)


def test_the_unit_range_has_a_way_back() -> None:
    hounsfield = np.linspace(-1000, 1000, 50).astype(np.float32)
    unit = to_unit_range(hounsfield, -1000.0, 1000.0)
    assert (unit.min(), unit.max(), unit.dtype) == (0.0, 1.0, np.float32)
    np.testing.assert_allclose(from_unit_range(unit, -1000.0, 1000.0), hounsfield, atol=1e-3)
    np.testing.assert_array_equal(to_unit_range(np.array([-5.0, 9.0]), 0.0, 1.0), [0.0, 1.0])


def test_the_slo_map_puts_every_a_scan_on_its_pixel() -> None:
    for scan in (still(), mirrored_scan(still())):
        D, _, W = scan.voxels.shape
        y, x = (np.arange(D) - (D - 1) / 2) * SPACING[0], (np.arange(W) - (W - 1) / 2) * SPACING[2]
        row, column = slo_affine(scan) @ np.array([y[3], x[20], 1.0])
        np.testing.assert_allclose((row, column), scan.ascans_on_slo[3, 20] / 0.1, atol=1e-3)


def test_an_slo_without_places_is_refused() -> None:
    with pytest.raises(InputError, match="eye: has an SLO but not where"):
        stack([replace(still(), ascans_on_slo=None)], measured=np.ones(16, bool), classes=(), note="")


def test_a_population_holds_its_scans_side_by_side() -> None:
    first, second = still(), replace(still(), name="other", spacing=(0.3, 0.007, 0.05))
    measured = np.arange(16) % 2 == 0
    population = stack([first, second], measured=measured, classes=("outside", "retina"), note="synthetic")
    assert population.names == ("eye", "other")
    np.testing.assert_array_equal(population.intensity[1, ..., 0], second.voxels)
    np.testing.assert_array_equal(population.measured.all(axis=(1, 2)), measured)
    np.testing.assert_array_equal(population.measured.any(axis=(1, 2)), measured)
    np.testing.assert_allclose(population.spacing, [first.spacing, second.spacing], rtol=1e-6)
    assert (population.offset == 0).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"voxels": np.zeros((16, 128, 95), np.float32)}, "other: shape"),
        ({"slo": None}, "other: SLO shape"),
        ({"labels": None}, "other: has labels"),
    ],
)
def test_scans_that_disagree_are_named(change: dict, expected: str) -> None:
    bare = Scan(still().voxels, SPACING, labels=still().labels, name="eye")
    bare = replace(bare, slo=still().slo, slo_spacing=(0.1, 0.1))
    if "voxels" in change:
        change = change | {"labels": np.zeros((16, 128, 95), np.int32)}
    with pytest.raises(InputError, match=expected):
        stack([bare, replace(bare, name="other", **change)], measured=np.ones(16, bool), classes=(), note="")
