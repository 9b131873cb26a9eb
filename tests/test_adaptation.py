"""The inner loops: closed forms on quadratics, gradients against finite differences, early stopping."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import hyper

from inr_jax.adaptation import adapt, distance, fit
from inr_jax.errors import InputError
from inr_jax.rules import gradient_rule, rule_params
from inr_jax.types import Batch, MetaParams

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]])
START = np.array([1.0, -2.0, 0.5])
KEY = jax.random.key(0)


def batch_of(values):
    values = jnp.atleast_1d(jnp.asarray(values, float))
    n = values.shape[0]
    return Batch(jnp.zeros((n, 1)), values[:, None], jnp.full(n, -1), jnp.ones(n))


def bind(field, modulation, numbers):
    return lambda: (field, modulation)


def quadratic(field, batch, numbers):
    """m' H m / 2"""
    m = field()[1]["m"]
    return 0.5 * m @ jnp.asarray(H, m.dtype) @ m, {}


def params_of(rates, start=START):
    return MetaParams({}, {"m": jnp.float32(start)}, {"m": jnp.log(jnp.float32(rates))})


def adapted(params, *, loss=quadratic, draw=lambda key: batch_of(0.0), steps=4, key=KEY, prior=0.0, **options):
    return adapt(
        loss,
        bind,
        params,
        draw,
        hyper(prior=prior),
        start=lambda s, context: s,
        rule=gradient_rule(),
        steps=steps,
        key=key,
        **options,
    )


def shrink(rates):
    """The product of (I - rate H) over the steps."""
    return reduce(lambda product, rate: (np.eye(3) - rate * H) @ product, rates, np.eye(3))


def test_steps_on_a_quadratic_are_powers_of_i_minus_rate_h():
    modulation, losses = adapted(params_of([0.3]))
    np.testing.assert_allclose(modulation["m"], shrink([0.3] * 4) @ START, rtol=1e-5)
    states = [shrink([0.3] * k) @ START for k in range(4)]
    np.testing.assert_allclose(losses, [0.5 * m @ H @ m for m in states], rtol=1e-5)


def test_steps_beyond_those_learned_are_ever_smaller_parts_of_the_last_one():
    modulation, _ = adapted(params_of([0.1, 0.4]), steps=4)
    np.testing.assert_allclose(modulation["m"], shrink([0.1, 0.4, 0.4 / 2, 0.4 / 3]) @ START, rtol=1e-5)
    modulation, _ = adapted(params_of([0.4]), steps=4)  # one row: for however many steps
    np.testing.assert_allclose(modulation["m"], shrink([0.4] * 4) @ START, rtol=1e-5)


def test_many_more_steps_than_learned_come_nearer_where_the_last_step_repeated_would_run_away():
    too_long = 2.5 / np.linalg.eigvalsh(H).max()
    rates = [0.1, too_long]
    after_two, _ = adapted(params_of(rates), steps=2)
    after_100, losses = adapted(params_of(rates), steps=100)
    assert np.linalg.norm(shrink([0.1] + [too_long] * 99) @ START) > 1e6
    assert np.linalg.norm(after_100["m"]) < 0.2 * np.linalg.norm(after_two["m"])
    assert losses[-1] == min(losses)


def test_step_sizes_per_element_scale_each_gradient_by_its_own():
    rates = np.array([[0.1, 0.2, 0.3]])
    modulation, _ = adapted(params_of(rates), steps=1)
    np.testing.assert_allclose(modulation["m"], START - rates[0] * (H @ START), rtol=1e-5)


@pytest.mark.parametrize("first_order", [False, True])
def test_outer_gradients_have_their_closed_forms(first_order):
    """Of |m_K|^2 / 2: through the start, prod(I - rate H)' m_K, or m_K where the inner gradient is held still."""
    rates = np.array([0.1, 0.3, 0.2])

    def outer(params):
        m = adapted(params, steps=3, first_order=first_order)[0]["m"]
        return 0.5 * m @ m

    gradient = jax.grad(outer)(params_of(rates))
    states = [shrink(rates[:k]) @ START for k in range(4)]
    after = [shrink(rates[k + 1 :]) if not first_order else np.eye(3) for k in range(3)]
    through_start = shrink(rates).T @ states[3] if not first_order else states[3]
    through_rates = [-rates[k] * (H @ states[k]) @ after[k].T @ states[3] for k in range(3)]
    np.testing.assert_allclose(gradient.start["m"], through_start, rtol=1e-4)
    np.testing.assert_allclose(gradient.rule["m"], through_rates, rtol=1e-4)
    assert (np.asarray(gradient.rule["m"]) != 0).all()  # the rule is still trained


def test_the_prior_draws_the_steps_to_the_start():
    """Of m' H m / 2 + p mean (m - m_0)^2: each step's gradient is H m + 2 p (m - m_0) / 3."""
    modulation, losses = adapted(params_of([0.2]), steps=5, prior=1.5)
    m, seen = START, []
    for _ in range(5):
        seen.append(0.5 * m @ H @ m + 1.5 * ((m - START) ** 2).mean())
        m = m - 0.2 * (H @ m + 2 * 1.5 * (m - START) / 3)
    np.testing.assert_allclose(modulation["m"], m, rtol=1e-5)
    np.testing.assert_allclose(losses, seen, rtol=1e-5)


def test_the_prior_is_on_codes_alone():
    codes, origin = ({"grid": jnp.full(4, a), "weights": jnp.full(9, 5 * a)} for a in (3.0, 1.0))
    assert float(distance(codes, origin)) == 4.0
    assert distance({"weights": jnp.ones(3)}, {"weights": jnp.zeros(3)}) == 0


def test_what_follows_the_last_step_has_the_rule_the_field_and_a_batch_of_its_own():
    def finish(rule, field, modulation, batch):
        return {"m": field()[1]["m"] + batch.intensity.sum(), "rule": rule["m"]}

    def draw(key):
        return batch_of(jax.random.uniform(key, (1,)))

    stepped = adapted(params_of([0.1]), draw=draw, steps=2)[0]["m"]
    finished = adapted(params_of([0.1]), draw=draw, steps=2, finish=finish)[0]
    last = jax.random.uniform(jax.random.fold_in(KEY, 2), (1,))
    np.testing.assert_allclose(finished["m"], stepped + last, rtol=1e-6)
    np.testing.assert_allclose(finished["rule"], jnp.log(0.1), rtol=1e-6)


def test_recomputing_steps_on_the_way_back_changes_nothing():
    def outer(params, checkpoint):
        m = adapted(params, checkpoint=checkpoint)[0]["m"]
        return jnp.sin(m).sum()

    plain, recomputed = (jax.value_and_grad(outer)(params_of([0.3]), c) for c in (False, True))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_every_step_draws_a_new_batch_and_the_key_decides_which():
    def loss(field, batch, numbers):
        return batch.intensity.mean() + 0 * field()[1]["m"].sum(), {}

    def draws(key):
        return np.asarray(
            adapted(
                params_of([0.1]), loss=loss, draw=lambda k: batch_of(jax.random.uniform(k, (3,))), steps=6, key=key
            )[1]
        )

    assert len(np.unique(draws(KEY))) == 6
    np.testing.assert_array_equal(draws(KEY), draws(KEY))
    assert not np.isin(draws(jax.random.key(1)), draws(KEY)).any()


def test_meta_gradients_agree_with_finite_differences_in_float64():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        x = random.uniform(-1, 1, 20)

        def loss(field, batch, numbers):
            shared, own = field()
            prediction = jnp.tanh(jnp.outer(x, shared["w"]) + own["m"]) @ shared["v"]
            return ((prediction - batch.intensity[:, 0]) ** 2).mean(), {}

        def outer(params):
            m, _ = adapted(params, loss=loss, draw=lambda key: batch_of(jnp.sin(3 * x)), steps=3)
            return loss(bind(params.field, m, None), batch_of(jnp.cos(2 * x)), None)[0]

        params = MetaParams(
            {"w": random.normal(size=4), "v": random.normal(size=4)},
            {"m": random.normal(size=4)},
            {"m": np.log([[0.3], [0.2], [0.1]]) + 0.1 * random.normal(size=(3, 4))},
        )
        params = jax.tree.map(jnp.asarray, params)
        gradient = jax.jit(jax.grad(outer))(params)
        value = jax.jit(outer)
        for seed in range(3):
            draw = np.random.default_rng(seed)
            direction = jax.tree.map(lambda p, d=draw: jnp.asarray(d.normal(size=p.shape)), params)
            ahead, behind = (jax.tree.map(lambda p, d, s=sign: p + s * 1e-5 * d, params, direction) for sign in (1, -1))
            slope = (value(ahead) - value(behind)) / 2e-5
            products = jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)
            np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("per", "per_step", "codes_shape", "weights_shape"),
    [
        ("leaf", True, (5,), (5,)),
        ("leaf", False, (1,), (1,)),
        ("channel", True, (5, 3), (5,)),
        ("element", True, (5, 2, 3), (5, 2, 3)),
    ],
)
def test_rules_start_with_a_step_size_of_its_own_for_the_weights(per, per_step, codes_shape, weights_shape):
    codes = {"grid": {"level_0": jnp.zeros((2, 3))}, "weights": {"w": jnp.zeros((2, 3))}}
    rule = rule_params(codes, hyper(step_size=0.5, step_size_weights=0.01), steps=5, per=per, per_step=per_step)
    for leaf, rate, shape in (
        (rule["grid"]["level_0"], 0.5, codes_shape),
        (rule["weights"]["w"], 0.01, weights_shape),
    ):
        assert leaf.shape == shape
        np.testing.assert_allclose(np.exp(leaf), rate, rtol=1e-5)


RATE = 0.02


def square(field, batch, numbers):
    """(f + m - target)^2, meaned over the batch."""
    shared, own = field()
    return ((shared["f"] + own["m"] - batch.intensity) ** 2).mean(), {}


def fitted(*, moves=("modulation",), held_out=0.4, steps=60, penalty=0.0, start=0.0, **options):
    params = MetaParams({"f": jnp.float32(0)}, {}, {})
    return fit(
        square, bind, params, lambda key: batch_of(1.0), hyper(penalty=penalty), modulation={"m": jnp.float32(start)},
        optimizer=optax.sgd(RATE), moves=moves, steps=steps, key=KEY, held_out=batch_of(held_out), **options,
    )  # fmt: skip


def descent(n, rate=RATE):
    return 1 - (1 - 2 * rate) ** np.asarray(n)


def test_fit_returns_the_best_held_out_state_and_stops_after_its_patience():
    result = fitted(check_every=5, patience=2)
    curve = (descent(np.arange(5, 61, 5)) - 0.4) ** 2
    best = int(curve.argmin())
    assert 0 < best < 8
    assert int(result.steps) == 5 * (best + 1)
    np.testing.assert_allclose(result.modulation["m"], descent(5 * (best + 1)), rtol=1e-5)
    np.testing.assert_allclose(result.held_out[: best + 3], curve[: best + 3], atol=1e-6)
    assert np.isnan(result.held_out[best + 3 :]).all()
    assert np.isnan(result.losses[best + 3 :]).all()
    assert float(result.field["f"]) == 0


def test_fit_returns_the_initial_state_where_no_step_helps():
    result = fitted(held_out=0.0)
    assert int(result.steps) == 0
    assert float(result.modulation["m"]) == 0


@pytest.mark.parametrize("steps", [20, 23, 1])
def test_fit_uses_all_its_steps_and_no_more_while_they_help(steps):
    result = fitted(held_out=1.0, steps=steps)
    assert int(result.steps) == steps
    np.testing.assert_allclose(result.modulation["m"], descent(steps), rtol=1e-5)


def test_fit_moves_what_it_is_told_to_and_nothing_else():
    weights = fitted(moves=("field",), held_out=1.0, steps=10)
    assert float(weights.modulation["m"]) == 0
    np.testing.assert_allclose(weights.field["f"], descent(10), rtol=1e-5)
    both = fitted(moves=("modulation", "field"), held_out=1.0, steps=10)
    np.testing.assert_allclose(both.field["f"] + both.modulation["m"], descent(10, 2 * RATE), rtol=1e-5)


def test_the_penalty_of_fit_draws_the_modulation_to_where_it_began():
    """Minimum of (m - 1)^2 + p (m - m0)^2: (1 + p m0) / (1 + p)."""
    result = fitted(penalty=3.0, start=0.2, held_out=0.4, steps=200, patience=40)
    np.testing.assert_allclose(result.modulation["m"], (1 + 3 * 0.2) / 4, rtol=1e-4)


@pytest.mark.parametrize(("moves", "found"), [((), "nothing"), (("codes",), "codes")])
def test_a_fit_of_nothing_or_of_the_unknown_is_refused(moves, found):
    with pytest.raises(InputError, match=f"fit.moves: expected modulation and/or field; found {found}"):
        fitted(moves=moves)
