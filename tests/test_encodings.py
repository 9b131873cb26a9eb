"""Encodings against an independent NumPy computation in float64, and against the reference's outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from make_fixtures import hash_level
from parity import agree, cast, read

from inr_jax import encodings
from inr_jax.encodings import ENCODINGS

PLACES = np.random.default_rng(0).uniform(-1, 1, (40, 3))
SMALL = {
    "identity": {},
    "pi": {},
    "fourier": {"features": 8, "scale": 2.0},
    "hashgrid": {"levels": 4, "features": 2, "log2_size": 8, "coarsest": 4, "finest": 32},
}
OPTIONS = {  # of the reference's hash grids
    "own": {"levels": 5, "coarsest": 4, "finest": 48, "log2_size": 6},
    "published": {"levels": 6, "coarsest": 4, "finest": 64, "log2_size": 8},
}


@pytest.mark.parametrize("k", [2, 3])
def test_hash_grid_agrees_with_a_float64_computation(k):
    options = SMALL["hashgrid"]
    x = np.concatenate([PLACES[:, :k], np.ones((1, k)), -np.ones((1, k))])
    sizes = [min(r**k, 256) for r in (4, 8, 16, 32)]
    tables = [np.random.default_rng(i).normal(size=(n, 2)) for i, n in enumerate(sizes)]
    params = {f"table_{i}": jnp.float32(t) for i, t in enumerate(tables)}
    expected = [hash_level(t, (x + 1) / 2, r) for t, r in zip(tables, (4, 8, 16, 32), strict=True)]
    got = jax.jit(lambda x: encodings.hashgrid(params, x, **options))(jnp.float32(x))
    np.testing.assert_allclose(got, np.concatenate(expected, -1), atol=3e-5)


def test_unshifted_the_hash_grid_takes_coordinates_as_they_are_and_hashes_cells_below_0_modulo_2_to_the_32():
    options = SMALL["hashgrid"] | {"shift": False}
    x = np.concatenate([PLACES, np.ones((1, 3)), -np.ones((1, 3))])
    tables = [np.random.default_rng(i).normal(size=(n, 2)) for i, n in enumerate((64, 256, 200, 256))]
    params = {f"table_{i}": jnp.float32(t) for i, t in enumerate(tables)}
    expected = [hash_level(t, x, r) for t, r in zip(tables, (4, 8, 16, 32), strict=True)]
    got = jax.jit(lambda x: encodings.hashgrid(params, x, **options))(jnp.float32(x))
    np.testing.assert_allclose(got, np.concatenate(expected, -1), atol=3e-5)


def test_hash_grid_has_a_table_per_level_no_larger_than_its_grid():
    params = encodings.hashgrid_init(jax.random.key(0), 3, **SMALL["hashgrid"])
    assert {name: table.shape for name, table in params.items()} == {
        "table_0": (64, 2), "table_1": (256, 2), "table_2": (256, 2), "table_3": (256, 2),
    }  # fmt: skip
    assert all(0 < np.abs(table).max() <= 1e-4 for table in params.values())


def test_default_resolutions_are_geometric_from_16_to_512():
    resolutions = encodings.hashgrid_resolutions(16, 16, 512)
    assert resolutions[0] == 16
    assert resolutions[-1] == 512
    np.testing.assert_allclose(np.diff(np.log(resolutions)), np.log(32) / 15, atol=0.06)


def test_hash_grid_is_continuous_across_its_cells():
    options = SMALL["hashgrid"]
    params = {name: 1e4 * t for name, t in encodings.hashgrid_init(jax.random.key(1), 3, **options).items()}
    border = np.array([[0.25, -0.5, 0.0]])  # on cell faces of every level
    both = encodings.hashgrid(params, jnp.float32(np.concatenate([border - 1e-6, border + 1e-6])), **options)
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_fourier_matrix_is_normal_of_the_given_scale_and_stays_as_it_is():
    params = encodings.fourier_init(jax.random.key(0), 3, features=4000, scale=2.0)
    np.testing.assert_allclose(np.std(params["matrix"]), 2.0, rtol=0.02)
    gradient = jax.grad(lambda p: encodings.fourier(p, jnp.float32(PLACES)).sum())(params)
    assert not np.asarray(gradient["matrix"]).any()


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_has_finite_gradients_and_keeps_the_points_axes(name):
    encoding = ENCODINGS[name]
    params = encoding.init(jax.random.key(0), 3, **SMALL[name])
    x = jnp.float32(PLACES).reshape(8, 5, 3)
    out = encoding.apply(params, x, **SMALL[name])
    assert out.shape[:-1] == (8, 5)
    np.testing.assert_allclose(out.reshape(40, -1), encoding.apply(params, x.reshape(40, 3), **SMALL[name]))
    gradients = jax.grad(lambda p, x: encoding.apply(p, x, **SMALL[name]).sum(), argnums=(0, 1))(params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_hash_levels_are_the_reference_s(source, precision):
    stored = read(source, "encoding_hashgrid")
    found = [
        encodings._hash_level(*cast((stored[f"table_{level}"], stored["x"]), precision), int(resolution))
        for level, resolution in enumerate(stored["resolutions"])
    ]
    assert agree(np.concatenate(found, -1), stored["y"], precision)


def test_hash_grid_has_the_reference_s_resolutions_and_tables_but_for_a_cell_that_its_rounding_loses(source):
    """4 b^5 = 64 is 63.99999999999996 in floating point: the reference's floor makes 63 of it, ours 64."""
    stored, options = read(source, "encoding_hashgrid"), OPTIONS[source]
    levels, coarsest, finest = options["levels"], options["coarsest"], options["finest"]
    lost = encodings.hashgrid_resolutions(levels, coarsest, finest) - stored["resolutions"]
    assert list(lost) == [0] * (levels - 1) + [1 if source == "published" else 0]
    new = encodings.hashgrid_init(jax.random.key(0), 3, **options)
    assert [len(new[f"table_{level}"]) for level in range(levels)] == list(stored["table_sizes"])


def test_fourier_features_are_the_reference_s(source, precision):
    stored = read(source, "encoding_fourier")
    matrix, x = cast((stored["B"], stored["x"]), precision)
    assert agree(encodings.fourier({"matrix": matrix}, x), stored["y"], precision)
