"""Every linear operator has the adjoint that autodiff gives it; found by walking the folder."""

import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inr_jax import operators
from inr_jax.modulations import zero_nuisance
from inr_jax.operators import points

NAMES = [module.name for module in pkgutil.iter_modules(operators.__path__)]
CENTRES = jnp.float32(np.random.default_rng(0).uniform(-1, 1, (12, 3)))
PLACES = jnp.float32(np.random.default_rng(1).uniform(-1, 1, (7, 3)))
MOTION = {kind: jnp.float32(np.random.default_rng(3).uniform(-0.2, 0.2, 7)) for kind in zero_nuisance(bscans=1)}
GEOMETRY = {"points": PLACES, "moved_bscan": (PLACES, MOTION)}


def field_of(weights):
    """A field that is linear in its weights: a sum of bumps."""

    def at(coords):
        squares = ((coords[..., None, :] - CENTRES) ** 2).sum(-1)
        return {"intensity": (jnp.exp(-squares) @ weights)[..., None]}

    return at


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_is_linear_and_passes_the_adjoint_test(name):
    """<A x, y> = <x, A' y>, and A (a x + b y) = a A x + b A y."""
    measure = importlib.import_module(f"inr_jax.operators.{name}").measure

    def forward(weights):
        return measure(field_of(weights), GEOMETRY[name])["intensity"]

    x, z = jax.random.normal(jax.random.key(0), (2, 12))
    out, adjoint = jax.vjp(forward, x)
    y = jax.random.normal(jax.random.key(1), out.shape)
    np.testing.assert_allclose((out * y).sum(), (x * adjoint(y)[0]).sum(), rtol=1e-5)
    np.testing.assert_allclose(forward(2 * x - 3 * z), 2 * forward(x) - 3 * forward(z), atol=1e-5)


def test_points_measure_the_field_where_they_are():
    field = field_of(jnp.ones(12))
    np.testing.assert_array_equal(points.measure(field, PLACES)["intensity"], field(PLACES)["intensity"])


@pytest.mark.parametrize("size", [0, 4, 5, 64])
def test_a_field_asked_in_blocks_answers_and_learns_as_one_that_is_asked_at_once(size):
    """20 points [4, 5]: blocks that fit, that do not, and one that is larger than all of them."""
    places = jnp.float32(np.random.default_rng(2).uniform(-1, 1, (4, 5, 3)))

    def loss(weights, ask):
        return (ask(field_of(weights))(places)["intensity"] ** 2).sum()

    weights = jax.random.normal(jax.random.key(2), (12,))
    whole, parts = field_of(weights)(places), points.in_blocks(field_of(weights), size)(places)
    np.testing.assert_allclose(parts["intensity"], whole["intensity"], rtol=1e-5, atol=1e-6)
    wanted = jax.grad(loss)(weights, lambda field: field)
    got = jax.grad(loss)(weights, lambda field: points.in_blocks(field, size))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
