"""The posterior of the codes is that of Bayesian linear regression, whichever way its sums are taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inr_jax import uncertainty

DRAW = np.random.default_rng(0)
SIZES = {"a": (4, 2), "b": (2, 3)}  # cells, channels
PLACES, DEPTH = 6, 5
NOISE = 0.3
READING = {  # two of each array's cells, in any order
    name: uncertainty.Read(
        jnp.asarray([DRAW.permutation(cells)[:2] for _ in range(PLACES)]),
        jnp.asarray(DRAW.random((PLACES, 2)), jnp.float32),
    )
    for name, (cells, _) in SIZES.items()
}
G = jnp.asarray(DRAW.normal(size=(DEPTH, PLACES, 5)), jnp.float32)
VALID = jnp.asarray(DRAW.random((DEPTH, PLACES)) < 0.7, jnp.float32)
PRIOR = jnp.asarray(DRAW.uniform(0.5, 2.0, sum(cells * channels for cells, channels in SIZES.values())), jnp.float32)


def jacobian():
    """d answer [DEPTH * PLACES] / d codes, written out number by number."""
    out = np.zeros((DEPTH, PLACES, len(PRIOR)))
    start, channel = 0, 0
    for name, (cells, size) in SIZES.items():
        for place, cell in np.ndindex(PLACES, 2):
            begin = start + int(READING[name].cell[place, cell]) * size
            out[:, place, begin : begin + size] = (
                READING[name].weight[place, cell] * G[:, place, channel : channel + size]
            )
        start, channel = start + cells * size, channel + size
    return out.reshape(DEPTH * PLACES, -1)


@pytest.fixture(scope="module")
def found():
    informed = uncertainty.information(
        jnp.zeros((len(PRIOR), len(PRIOR))), READING, uncertainty.curvature(G, VALID), SIZES
    )
    return uncertainty.posterior(informed, PRIOR, NOISE)


@pytest.fixture(scope="module")
def expected():
    j = jacobian() * np.asarray(VALID).reshape(-1, 1)
    return np.linalg.inv(j.T @ j / NOISE + np.diag(1 / np.asarray(PRIOR)))


def test_the_covariance_of_the_codes_is_that_of_bayesian_linear_regression(found, expected):
    np.testing.assert_allclose(found.covariance, expected, atol=2e-5)
    np.testing.assert_allclose(found.factor @ found.factor.T @ expected, np.eye(len(PRIOR)), atol=2e-3)


def test_the_variance_of_an_answer_is_that_of_the_codes_seen_through_the_jacobian(found, expected):
    covariances = uncertainty.at_places(found.covariance, READING, SIZES)
    variance = uncertainty.variance(G, covariances)
    j = jacobian()
    np.testing.assert_allclose(np.ravel(variance), np.einsum("ni,ij,nj->n", j, expected, j), rtol=2e-3)


def test_without_a_measurement_the_variance_is_the_prior_s():
    found = uncertainty.posterior(jnp.zeros((len(PRIOR), len(PRIOR))), PRIOR, NOISE)
    np.testing.assert_allclose(found.covariance, np.diag(PRIOR), rtol=1e-5, atol=1e-6)


def test_a_measurement_never_makes_an_answer_less_sure(found):
    prior = uncertainty.at_places(jnp.diag(PRIOR), READING, SIZES)
    after = uncertainty.at_places(found.covariance, READING, SIZES)
    assert (uncertainty.variance(G, after) < uncertainty.variance(G, prior)).all()


def test_draws_of_the_codes_scatter_as_their_covariance_says(found, expected):
    drawn = uncertainty.draw(jax.random.key(0), found.factor, 40_000)
    np.testing.assert_allclose(np.cov(np.asarray(drawn).T), expected, atol=4 * expected.max() / np.sqrt(20_000))


def test_sensitivity_is_the_derivative_by_the_codes_that_were_read():
    def respond(codes, point):
        return jnp.sin(codes @ jnp.arange(1.0, 4.0) * point[0]) + codes[1] * point[1]

    codes = jnp.asarray(DRAW.normal(size=(4, 3)), jnp.float32)
    coords = jnp.asarray(DRAW.normal(size=(2, 4, 2)), jnp.float32)
    found = uncertainty.sensitivity(respond, codes, coords)
    first = np.cos(np.asarray(codes) @ np.arange(1.0, 4.0) * coords[..., 0])[..., None]
    expected = first * np.arange(1.0, 4.0) * np.asarray(coords)[..., :1]
    expected[..., 1] += coords[..., 1]
    np.testing.assert_allclose(found, expected, atol=1e-4)
