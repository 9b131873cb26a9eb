"""Encodings against independent NumPy computations in float64, and against published reference outputs."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import fixture

from inr_jax import encodings
from inr_jax.encodings import ENCODINGS

PLACES = np.random.default_rng(0).uniform(-1, 1, (40, 3))
SMALL = {
    "identity": {},
    "pi": {},
    "fourier": {"features": 8, "scale": 2.0},
    "hashgrid": {"levels": 4, "features": 2, "log2_size": 8, "coarsest": 4, "finest": 32},
}


def hash_level(table, unit, resolution):
    """One level by the definition, with Python's unbounded integers: sum over corners of weight * table[hash]."""
    rows = []
    for place in np.asarray(unit, np.float64) * resolution:
        low = np.floor(place).astype(int)
        row = np.zeros(table.shape[1])
        for corner in product((0, 1), repeat=len(place)):
            hashed = 0
            for cell, prime in zip(low + np.array(corner), (1, 2654435761, 805459861), strict=False):
                hashed ^= int(cell) * prime % 2**32
            weight = np.prod(np.where(np.array(corner) == 1, place - low, 1 - (place - low)))
            row += weight * table[hashed % len(table)]
        rows.append(row)
    return np.array(rows)


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


def test_fourier_features_agree_with_a_float64_computation():
    params = encodings.fourier_init(jax.random.key(0), 3, **SMALL["fourier"])
    angle = 2 * np.pi * PLACES @ np.asarray(params["matrix"], np.float64).T
    got = encodings.fourier(params, jnp.float32(PLACES), **SMALL["fourier"])
    np.testing.assert_allclose(got, np.concatenate([np.sin(angle), np.cos(angle)], -1), atol=1e-5)


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


def test_hash_levels_agree_with_the_published_outputs():
    stored = np.load(fixture("encoding_hashgrid.npz"))
    found = [
        encodings._hash_level(jnp.asarray(stored[f"table_{i}"]), jnp.asarray(stored["x"]), int(resolution))
        for i, resolution in enumerate(stored["resolutions"])
    ]
    np.testing.assert_allclose(np.concatenate(found, -1), stored["y"], atol=1e-5 * np.abs(stored["y"]).max())


def test_fourier_features_agree_with_the_published_outputs():
    stored = np.load(fixture("encoding_fourier.npz"))
    got = encodings.fourier({"matrix": jnp.asarray(stored["B"])}, jnp.asarray(stored["x"]))
    np.testing.assert_allclose(got, stored["y"], atol=1e-5)
