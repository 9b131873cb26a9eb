"""Modulations: what a place reads of them, against closed forms and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from inr_jax import modulations

PLACES = np.random.default_rng(0).uniform(-1, 1, (60, 3))
OPTIONS = {"vector": {"size": 7}, "grid": {"levels": ((2, 3, 4), (4, 6, 2))}, "lowrank": {"rank": 3}}


def centres(cells):
    """Coordinates in [-1, 1] of the centres of so many equal cells."""
    return (2 * np.arange(cells) + 1) / cells - 1


def test_zeros_have_the_shapes_and_the_size_of_their_options():
    zero = modulations.zero(("vector", "grid", "lowrank", "weights"), OPTIONS, layers=5)
    shapes = jax.tree.map(np.shape, zero, is_leaf=lambda x: hasattr(x, "shape"))
    assert shapes == {"vector": (7,), "grid": {"level_0": (2, 3, 4), "level_1": (4, 6, 2)}, "lowrank": (5, 3)}
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(zero))
    assert modulations.size(zero) == 7 + 24 + 48 + 15


def test_size_leaves_the_weights_own_changes_out():
    zero = modulations.zero(("vector",), OPTIONS, layers=5)
    assert modulations.size(zero | {"weights": {"w": jnp.zeros((10, 10))}}) == 7


def test_linear_read_reproduces_an_affine_function_between_cell_centres():
    cells, slope = (5, 4), np.array([0.7, -1.3])
    at = np.stack(np.meshgrid(*map(centres, cells), indexing="ij"), -1)
    grid = jnp.float32((at @ slope + 0.2)[..., None])
    places = PLACES[:, :2] * (1 - 1 / np.array(cells))  # between the outermost centres
    got = modulations.read_linear(grid, jnp.float32(places))
    np.testing.assert_allclose(got[:, 0], places @ slope + 0.2, atol=1e-6)


@pytest.mark.parametrize("cells", [(6,), (1,), (4, 5), (1, 3), (3, 4, 2)])
def test_linear_read_agrees_with_scipy_everywhere(cells):
    grid = np.random.default_rng(1).normal(size=(*cells, 3))
    places = PLACES[:, : len(cells)]
    index = ((places + 1) * np.array(cells) - 1) / 2
    expected = [map_coordinates(grid[..., c], index.T, order=1, mode="nearest") for c in range(3)]
    got = modulations.read_linear(jnp.float32(grid), jnp.float32(places))
    np.testing.assert_allclose(got, np.stack(expected, -1), atol=2e-6)


def test_nearest_read_is_the_cell_a_place_lies_in_with_local_coordinates():
    cells = (4, 3)
    grid = np.random.default_rng(1).normal(size=(*cells, 2))
    position = (PLACES[:, :2] + 1) / 2 * cells  # in cells from the lower face
    index = np.floor(position).astype(int)
    code, local = modulations.read_nearest(jnp.float32(grid), jnp.float32(PLACES[:, :2]))
    np.testing.assert_allclose(code, grid[index[:, 0], index[:, 1]], rtol=1e-6)
    np.testing.assert_allclose(local, 2 * (position - index) - 1, atol=2e-6)


def test_local_coordinates_span_a_cell_from_minus_1_to_1():
    edges = np.array([[-1.0], [-0.5 - 1e-6], [-0.5 + 1e-6], [-0.25], [1.0]])
    _, local = modulations.read_nearest(jnp.zeros((4, 1)), jnp.float32(edges))
    np.testing.assert_allclose(local[:, 0], [-1, 1, -1, 0, 1], atol=1e-5)


@pytest.mark.parametrize("read", ["linear", "nearest"])
def test_levels_are_read_side_by_side_and_the_third_axis_does_not_matter(read):
    random = np.random.default_rng(0)
    levels = {
        "level_0": jnp.float32(random.normal(size=(2, 3, 4))),
        "level_1": jnp.float32(random.normal(size=(4, 6, 2))),
    }
    code, local = modulations.read_grid(levels, jnp.float32(PLACES), axes=(0, 2), read=read)
    assert code.shape == (60, 6)
    one = {"linear": modulations.read_linear, "nearest": lambda g, x: modulations.read_nearest(g, x)[0]}[read]
    for part, level in zip((code[:, :4], code[:, 4:]), ("level_0", "level_1"), strict=True):
        np.testing.assert_array_equal(part, one(levels[level], jnp.float32(PLACES[:, [0, 2]])))
    assert local.shape == (60, 2 if read == "nearest" else 0)
    if read == "nearest":
        np.testing.assert_array_equal(
            local, modulations.read_nearest(levels["level_1"], jnp.float32(PLACES[:, [0, 2]]))[1]
        )
    deeper = PLACES + np.array([0.0, 0.3, 0.0])
    np.testing.assert_array_equal(code, modulations.read_grid(levels, jnp.float32(deeper), axes=(0, 2), read=read)[0])


def test_weights_are_moved_by_the_modulation_that_has_them_and_shared_otherwise():
    shared = {"layer": {"w": jnp.float32([[1.0, 2.0]])}}
    assert modulations.add_weights(shared, {"vector": jnp.ones(3)}) is shared
    moved = modulations.add_weights(shared, {"weights": {"layer": {"w": jnp.float32([[0.5, -2.0]])}}})
    np.testing.assert_array_equal(moved["layer"]["w"], [[1.5, 0.0]])


def small_field():
    draw = np.random.default_rng(4)
    shapes = {"layer_0": {"weight_0": (3, 5), "bias_0": (5,)}, "layer_1": {"weight_0": (5, 5), "weight_1": (5, 5)}}
    heads = {"intensity_weight": (5, 1), "intensity_bias": (1,), "encoding": {}}
    return jax.tree.map(
        lambda shape: jnp.float32(draw.normal(size=shape)), shapes | heads, is_leaf=lambda s: isinstance(s, tuple)
    )


@pytest.mark.parametrize("parts", [("weights",), ("head",), ("factors",), ("weights", "encoding", "head", "factors")])
def test_what_changes_shared_parameters_begins_as_no_change(parts):
    field = small_field()
    field["factors"] = modulations.shared_factors(field, rank=2, key=jax.random.key(0))
    same = modulations.add_weights(field, modulations.no_change(field, parts))
    assert jax.tree.structure(same) == jax.tree.structure(field)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(field), strict=True):
        np.testing.assert_array_equal(a, b)


def test_factors_change_every_hidden_matrix_by_a_product_of_their_rank_and_nothing_else():
    field = small_field()
    field["factors"] = modulations.shared_factors(field, rank=2, key=jax.random.key(0))
    draw = np.random.default_rng(5)
    own = jax.tree.map(lambda m: jnp.float32(draw.normal(size=m.shape)), modulations.no_change(field, ("factors",)))
    moved = modulations.add_weights(field, own)
    for layer, name in (("layer_0", "weight_0"), ("layer_1", "weight_0"), ("layer_1", "weight_1")):
        change = np.asarray(moved[layer][name] - field[layer][name], np.float64)
        product = np.asarray(field["factors"][layer][name], np.float64) @ np.asarray(own["factors"][layer][name])
        np.testing.assert_allclose(change, product, atol=1e-6)
        assert np.linalg.matrix_rank(change, tol=1e-5) == 2
    for name in ("intensity_weight", "intensity_bias"):
        np.testing.assert_array_equal(moved[name], field[name])
    np.testing.assert_array_equal(moved["layer_0"]["bias_0"], field["layer_0"]["bias_0"])


def test_the_head_s_change_is_that_of_the_intensity_s_map_alone():
    field = small_field()
    change = {"head": {"intensity_weight": jnp.ones((5, 1)), "intensity_bias": jnp.full(1, 2.0)}}
    moved = modulations.add_weights(field, change)
    np.testing.assert_allclose(moved["intensity_weight"] - field["intensity_weight"], 1, rtol=1e-6)
    np.testing.assert_allclose(moved["intensity_bias"] - field["intensity_bias"], 2, rtol=1e-6)
    np.testing.assert_array_equal(moved["layer_1"]["weight_0"], field["layer_1"]["weight_0"])
