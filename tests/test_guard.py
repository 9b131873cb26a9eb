"""Which gradients are left out: by those before them, on sequences whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inr_jax import guard

RATIO = 10.0


@jax.jit
def judged(norms, ratio=RATIO):
    """Of a sequence of norms: which are taken, and what is known after each."""

    def one(known, norm):
        taken, known = guard.judge(known, norm, ratio)
        return known, (taken, known)

    return jax.lax.scan(one, guard.begin(), norms)[1]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_gradient_is_judged_by_those_before_it_whatever_their_scale(scale):
    norms = scale * np.float32([1, 2, 0.5, 9, 200, 1, 0.01])
    taken, _ = judged(jnp.asarray(norms))
    np.testing.assert_array_equal(taken, [True, True, True, True, False, True, True])


def test_the_level_is_the_mean_log_norm_of_as_many_steps_as_are_remembered():
    logs = np.random.default_rng(0).normal(size=guard.MEMORY)
    _, known = judged(jnp.asarray(np.exp(logs), jnp.float32))
    np.testing.assert_allclose(known.level, np.cumsum(logs) / np.arange(1, len(logs) + 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_what_is_not_finite_is_left_out_and_leaves_no_trace(first):
    norms = np.float32([np.nan, np.inf, 1.0, 2.0] if first else [1.0, np.nan, np.inf, 2.0])
    taken, known = judged(jnp.asarray(norms))
    np.testing.assert_array_equal(taken, np.isfinite(norms))
    np.testing.assert_allclose(known.level[-1], np.log(2) / 2, rtol=1e-6)
    assert known.row.tolist() == ([1, 2, 0, 0] if first else [0, 1, 2, 0])


def test_gradients_that_stay_long_are_taken_again_after_the_steps_that_the_formula_says():
    """By a factor of 1000: MEMORY log(1000 / 10) / log 10 = 2 MEMORY steps."""
    norms = jnp.concatenate([jnp.ones(guard.MEMORY), jnp.full(4 * guard.MEMORY, 1000.0)])
    taken, known = judged(norms)
    left_out = np.flatnonzero(~np.asarray(taken))
    assert left_out[0] == guard.MEMORY
    assert abs(len(left_out) - 2 * guard.MEMORY) <= 1
    assert np.asarray(taken)[left_out[-1] + 1 :].all()
    assert int(known.row.max()) == len(left_out)


def test_an_infinite_ratio_takes_every_finite_gradient():
    taken, _ = judged(jnp.float32([1e-9, 1e9, 0.0, 1e-30, 1e30]), jnp.inf)
    assert np.asarray(taken).all()


def test_a_gradient_of_length_0_is_taken_and_not_learned_from():
    taken, known = judged(jnp.float32([0.0, 3.0, 0.0, 4.0]))
    assert np.asarray(taken).all()
    np.testing.assert_allclose(known.level[-1], np.log(12) / 2, rtol=1e-6)
