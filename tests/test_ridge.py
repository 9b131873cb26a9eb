"""The last layer in closed form: against least squares, Gaussian processes, and the objective it is the minimum of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from test_model import OCT, tiny
from toy import hyper

from inr_jax import adaptation, model, ridge
from inr_jax.types import Batch

N, WIDTH, CHANNELS, PENALTY = 40, 6, 2, 0.7
DRAW = np.random.default_rng(0)
HIDDEN, LEFT = DRAW.normal(size=(N, WIDTH)), DRAW.normal(size=(N, CHANNELS))
VALID = (DRAW.random(N) < 0.8).astype(float)
INPUTS = np.concatenate([HIDDEN, np.ones((N, 1))], 1)


def single(*arrays):
    return [jnp.asarray(a, jnp.float32) for a in arrays]


def solved():
    return ridge.solve(*single(HIDDEN, LEFT, VALID, PENALTY))


def test_the_mean_is_the_least_squares_solution_of_the_valid_rows_and_those_of_the_penalty():
    rows = np.concatenate([INPUTS[VALID == 1], PENALTY**0.5 * np.eye(WIDTH + 1)])
    wanted = np.concatenate([LEFT[VALID == 1], np.zeros((WIDTH + 1, CHANNELS))])
    np.testing.assert_allclose(solved().mean, np.linalg.lstsq(rows, wanted)[0], rtol=1e-4, atol=1e-6)


def test_the_variance_is_that_of_the_gaussian_process_of_the_same_kernel():
    """s^2 / lambda (k(x, x) - k(x, X) (k(X, X) + lambda I)^-1 k(X, x)), k(x, x') = [h 1] . [h' 1]"""
    posterior = solved()
    at = DRAW.normal(size=(5, WIDTH))
    x, known = np.concatenate([at, np.ones((5, 1))], 1), INPUTS[VALID == 1]
    kernel = known @ known.T + PENALTY * np.eye(len(known))
    prior = (x**2).sum(1) - np.einsum("ai,ij,aj->a", x @ known.T, np.linalg.inv(kernel), x @ known.T)
    noise = ((LEFT - INPUTS @ np.asarray(posterior.mean)) ** 2)[VALID == 1].mean(0)
    expected = prior[:, None] * noise / PENALTY
    np.testing.assert_allclose(ridge.variance(posterior, *single(at)), expected, rtol=1e-3)


def test_the_solution_has_the_derivatives_of_finite_differences():
    with jax.enable_x64(True):

        @jax.jit
        def answer(hidden, left, log_penalty):
            return ridge.solve(hidden, left, jnp.asarray(VALID), jnp.exp(log_penalty)).mean

        check_grads(answer, (jnp.asarray(HIDDEN), jnp.asarray(LEFT), jnp.log(PENALTY)), order=1, modes=["rev"])


@pytest.fixture(scope="module", params=[("grid",), ("grid", "head")], ids="+".join)
def toy(request):
    """A model with a ridge, adapted by two steps: (field of a modulation, finished modulation, lambda, batch)."""
    config = tiny(**{"adapt.ridge": 0.5, "model.modulation.parts": request.param})
    built = model.build(config, OCT._replace(slo=False))
    params = built.init(jax.random.key(0), hyper())
    draw = np.random.default_rng(1)
    coords = jnp.asarray(draw.uniform(-1, 1, (200, 3)), jnp.float32)
    batch = Batch(coords, jnp.sin(3 * coords[:, :1]), jnp.full(200, -1), jnp.asarray(draw.random(200) < 0.9, float))

    def bind(field, modulation, numbers):
        return built.learner.bind(field, modulation, None, numbers)

    def adapted(finish):
        return adaptation.adapt(
            built.learner.inner_loss, bind, params, lambda key: batch, hyper(), start=built.learner.start,
            rule=built.learner.rule, steps=2, key=jax.random.key(0), finish=finish,
        )[0]  # fmt: skip

    def field(modulation):
        return bind(params.field, modulation, hyper())

    return field, adapted(adaptation.as_stepped), adapted(built.learner.finish), batch


def test_after_the_last_step_no_change_of_the_head_lowers_the_penalised_error(toy):
    field, stepped, finished, batch = toy
    zero = {"head": jax.tree.map(jnp.zeros_like, finished["head"])}
    before = zero | stepped
    change = jax.tree.map(jnp.subtract, finished["head"], before["head"])

    def objective(change):
        modulation = before | {"head": jax.tree.map(jnp.add, before["head"], change)}
        error = ((field(modulation)(batch.coords)["intensity"] - batch.intensity) ** 2)[:, 0] @ batch.valid
        return error + 0.5 * sum((leaf**2).sum() for leaf in jax.tree.leaves(change))

    still = jax.tree.map(jnp.zeros_like, change)
    value, gradient = jax.value_and_grad(objective)(change)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(jax.grad(objective)(still)))
    assert value < 0.9 * objective(still)
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0, atol=1e-3 * scale)


def test_the_ridge_leaves_all_else_as_the_steps_left_it(toy):
    _, stepped, finished, _ = toy
    assert set(finished) == set(stepped) | {"head"}
    for part in set(stepped) - {"head"}:
        for a, b in zip(jax.tree.leaves(stepped[part]), jax.tree.leaves(finished[part]), strict=True):
            np.testing.assert_array_equal(a, b)
