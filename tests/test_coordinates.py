"""Voxels, millimetres and the model's box: closed forms, round trips, scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from inr_jax import coordinates
from inr_jax.types import Side

SHAPE = (5, 8, 6)
SPACING = np.array([0.24, 0.004, 0.06])
HALF = np.float32([0.7, 0.02, 0.2])


def test_the_box_reaches_the_outer_faces_of_the_largest_scan():
    spacing = np.array([[0.2, 0.004, 0.06], [0.24, 0.003, 0.05]])
    half = coordinates.half_extent(SHAPE, spacing)
    np.testing.assert_allclose(half, [5 * 0.24 / 2, 8 * 0.004 / 2, 6 * 0.06 / 2], rtol=1e-6)


def test_voxels_go_to_millimetres_to_the_box_and_back():
    offset = np.array([0.1, -0.002, 0.03])
    scale, shift = coordinates.index_to_box(SHAPE, SPACING, offset, HALF)
    index = np.random.default_rng(0).uniform(0, 4, (20, 3))
    millimetres = (index - (np.array(SHAPE) - 1) / 2) * SPACING + offset  # the grid's centre is at `offset`
    np.testing.assert_allclose(scale * index + shift, millimetres / HALF, atol=1e-6)
    np.testing.assert_allclose((millimetres / HALF - shift) / scale, index, atol=1e-5)


def test_a_scan_that_fills_the_box_has_its_outer_faces_at_minus_1_and_1():
    half = coordinates.half_extent(SHAPE, SPACING[None])
    scale, shift = coordinates.index_to_box(SHAPE, SPACING, np.zeros(3), half)
    np.testing.assert_allclose(scale * -0.5 + shift, -1, atol=1e-6)
    np.testing.assert_allclose(scale * (np.array(SHAPE) - 0.5) + shift, 1, atol=1e-6)


def test_another_spacing_is_another_part_of_the_same_box():
    """Twice the density has its even voxels where the coarse scan has them; half the field stays inside."""
    coarse = coordinates.index_to_box((5,), SPACING[:1], np.zeros(1), HALF[:1])
    fine = coordinates.index_to_box((9,), SPACING[:1] / 2, np.zeros(1), HALF[:1])
    np.testing.assert_allclose(fine[0] * np.arange(0, 9, 2) + fine[1], coarse[0] * np.arange(5) + coarse[1], atol=1e-6)
    small = coordinates.index_to_box((5,), SPACING[:1] / 2, np.zeros(1), HALF[:1])
    np.testing.assert_allclose(small[0] * 4 + small[1], 0.5 * (coarse[0] * 4 + coarse[1]), atol=1e-6)


def test_grid_holds_the_coordinates_of_every_voxel():
    scale, shift = coordinates.index_to_box(SHAPE, SPACING, np.zeros(3), HALF)
    places = coordinates.grid(SHAPE, jnp.asarray(scale), jnp.asarray(shift))
    assert places.shape == (*SHAPE, 3)
    np.testing.assert_allclose(places[3, 1, 4], scale * [3, 1, 4] + shift, rtol=1e-6)


def test_unravel_is_numpy_s():
    flat = np.arange(np.prod(SHAPE))
    np.testing.assert_array_equal(coordinates.unravel(jnp.asarray(flat), SHAPE), np.argwhere(np.ones(SHAPE)))


def side_and_places():
    random = np.random.default_rng(0)
    affine = np.array([[[20.0, 3.0, 8.0], [-2.0, 30.0, 11.0]]])
    side = Side(jnp.float32(random.normal(size=(17, 23))), jnp.asarray(coordinates.slo_to_pixel(affine, HALF)[0]))
    return side, affine[0], random.uniform(-1.5, 1.5, (200, 3))


def test_side_values_are_scipy_s_at_the_affine_s_pixels():
    side, affine, places = side_and_places()
    en_face = places[:, [0, 2]] * HALF[[0, 2]]  # mm
    pixel = affine @ np.concatenate([en_face, np.ones((200, 1))], -1).T
    expected = map_coordinates(np.float64(side.image), pixel, order=1, mode="nearest")
    inside = ((pixel >= 0) & (pixel <= np.array([[16], [22]]))).all(0)
    assert 20 < inside.sum() < 180
    np.testing.assert_allclose(coordinates.sample_side(side, jnp.float32(places)), expected, atol=2e-5)


def test_side_values_do_not_depend_on_depth_and_keep_the_points_axes():
    side, _, places = side_and_places()
    values = coordinates.sample_side(side, jnp.float32(places).reshape(20, 10, 3))
    deeper = coordinates.sample_side(side, jnp.float32(places + np.array([0, 0.5, 0])))
    np.testing.assert_array_equal(values.reshape(-1), deeper)


def test_points_are_drawn_uniformly_from_the_pool_alone():
    pool = np.array([3, 5, 8, 13])
    drawn = np.asarray(coordinates.draw_points(jax.random.key(0), pool, 4000))
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, pool)
    np.testing.assert_allclose(counts, 1000, atol=120)  # four standard deviations
    again = coordinates.draw_points(jax.random.key(1), pool, 4000)
    assert (drawn != np.asarray(again)).any()


@pytest.mark.parametrize(("pool", "length"), [([4, 5, 6, 7, 20, 21, 22, 23], 4), ([0, 1, 2, 9], 1), (range(12), 12)])
def test_a_pool_of_whole_runs_is_drawn_from_by_their_starts(pool, length):
    pool = np.array(pool)
    starts, found = coordinates.runs(pool)
    assert found == length
    np.testing.assert_array_equal((starts[:, None] + np.arange(length)).ravel(), pool)
    places = jax.random.randint(jax.random.key(3), (500,), 0, len(pool))
    np.testing.assert_array_equal(coordinates.draw_points(jax.random.key(3), pool, 500), pool[np.asarray(places)])


@pytest.mark.parametrize("patch", [(1, 8, 6), (2, 3, 4), (5, 8, 6)])
def test_patches_are_whole_boxes_of_neighbouring_voxels(patch):
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    corners = set()
    for seed in range(12):
        drawn = np.asarray(coordinates.draw_patch(jax.random.key(seed), SHAPE, patch))
        d, h, w = np.argwhere(voxels == drawn.ravel()[0])[0]
        np.testing.assert_array_equal(drawn, voxels[d : d + patch[0], h : h + patch[1], w : w + patch[2]])
        corners.add((d, h, w))
    assert (len(corners) > 1) == (patch != SHAPE)
