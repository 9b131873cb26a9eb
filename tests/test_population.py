"""The outer loops: which parts move, by how much, and that they learn a family of sinusoids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import hyper

from inr_jax import guard, population
from inr_jax.population import Learner, State, Subject
from inr_jax.rules import gradient_rule
from inr_jax.types import Batch, MetaParams

SUBJECTS, WIDTH, STEPS = 6, 24, 3
RATES = {"rate_field": 1e-2, "rate_start": 3e-3, "rate_rule": 2e-2, "rate_table": 5e-2}
OPTIMIZER = population.outer_optimizer(clip=1e6)


def bind(field, modulation, numbers):
    def at(x):
        hidden = jnp.sin(x @ field["w"] + field["b"] + modulation["m"])
        return {"intensity": hidden @ field["v"]}

    return at


def loss(field, batch, numbers):
    mse = ((field(batch.coords)["intensity"] - batch.intensity) ** 2).mean()
    return mse, {"mse": mse}


LEARNER = Learner(bind, lambda start, context: start, gradient_rule(), loss, loss)


def sinusoid(i):
    """Subject i of the family A sin(3 x + p): its measurements at random places."""

    def draw(key):
        x = jax.random.uniform(key, (32, 1), minval=-1.0, maxval=1.0)
        y = (1 + 0.1 * i) * jnp.sin(3 * x + 0.5 * i)
        return Batch(x, y, jnp.full(32, -1), jnp.ones(32))

    return Subject(bind, draw, draw, bind)


def meta(parts, i, key):
    params = MetaParams(parts["field"], parts["start"], parts["rule"])
    return population.meta_loss(LEARNER, params, sinusoid(i), hyper(), steps=STEPS, key=key)


def decoder(parts, i, key):
    params = MetaParams(parts["field"], parts["start"], parts["rule"])
    own = jax.tree.map(lambda rows: rows[i], parts["table"])
    return population.decoder_loss(LEARNER, params, own, sinusoid(i), hyper(penalty=0.01), key=key)


def fresh_state():
    random = np.random.default_rng(0)
    field = {
        "w": jnp.float32(random.uniform(-3, 3, (1, WIDTH))),
        "b": jnp.float32(random.uniform(-1, 1, WIDTH)),
        "v": jnp.float32(random.normal(size=(WIDTH, 1)) / WIDTH**0.5),
    }
    params = MetaParams(field, {"m": jnp.zeros(WIDTH)}, {"m": jnp.full((STEPS,), jnp.log(0.5))})
    table = {"m": jnp.float32(0.01 * random.normal(size=(SUBJECTS, WIDTH)))}
    parts = population.as_parts(params, table)
    return State(jnp.int32(0), params, table, OPTIMIZER.init(parts), guard.begin())


def stepper(loss, learns, over="vmap"):
    @jax.jit
    def step(state, subjects, decay, key):
        rates = hyper(**RATES)
        return population.batch_step(loss, state, subjects, OPTIMIZER, learns, rates, decay, key, over=over)

    return step


@pytest.fixture(scope="module")
def steps():
    """Compiled once: the auto-decoder's step, and the meta-learning steps of all parts and of two."""
    return {
        "decoder": stepper(decoder, ("field", "table")),
        "meta": stepper(meta, ("field", "start", "rule")),
        "rule": stepper(meta, ("rule", "start")),
    }


DRAWN = jnp.array([4, 1])
KEY = jax.random.key(0)


def moved(before, after):
    """The change of every part, as a pytree."""
    parts = (population.as_parts(s.params, s.table) for s in (before, after))
    return jax.tree.map(lambda a, b: np.asarray(b) - np.asarray(a), *parts)


def test_the_auto_decoder_moves_the_drawn_subjects_rows_alone(steps):
    state = fresh_state()
    after, _ = steps["decoder"](state, DRAWN, jnp.float32(1), KEY)
    change = moved(state, after)
    rows = np.abs(change["table"]["m"]).max(-1) > 0
    np.testing.assert_array_equal(np.flatnonzero(rows), [1, 4])
    assert int(after.step) == 1


@pytest.mark.parametrize(
    ("name", "still"), [("decoder", ("start", "rule")), ("meta", ("table",)), ("rule", ("field", "table"))]
)
def test_parts_that_are_not_learned_stay_bit_equal(steps, name, still):
    state = after = fresh_state()
    for i in range(3):
        after, _ = steps[name](after, DRAWN, jnp.float32(1), jax.random.key(i))
    before, now = (population.as_parts(s.params, s.table) for s in (state, after))
    for part in population.PARTS:
        equal = [np.array_equal(a, b) for a, b in zip(*(jax.tree.leaves(p[part]) for p in (before, now)), strict=True)]
        assert all(equal) if part in still else not any(equal)


@pytest.mark.parametrize("decay", [1.0, 0.25])
def test_every_part_moves_by_its_own_rate_times_the_schedule(steps, decay):
    """Adam's first update is the gradient's sign: the change of an element is its part's rate."""
    state = fresh_state()
    for name, parts in {"decoder": ("table",), "meta": ("field", "start", "rule")}.items():
        after, _ = steps[name](state, DRAWN, jnp.float32(decay), KEY)
        change = moved(state, after)
        for part in parts:
            sizes = np.concatenate([np.abs(leaf).ravel() for leaf in jax.tree.leaves(change[part])])
            np.testing.assert_allclose(np.median(sizes[sizes > 0]), decay * RATES[f"rate_{part}"], rtol=1e-3)


def test_each_part_s_gradient_is_clipped_on_its_own():
    """Adam does not see a scale; what it keeps of the gradient, its first moment, shows the clipped norm."""
    optimizer = population.outer_optimizer(clip=0.5)
    state = fresh_state()
    parts = population.as_parts(state.params, state.table)
    gradient = {part: jax.tree.map(lambda x, s=s: jnp.full_like(x, s), parts[part]) for part, s in
                zip(population.PARTS, (100.0, 1e-4, 1e-4, 100.0), strict=True)}  # fmt: skip
    _, kept = optimizer.update(gradient, optimizer.init(parts), parts)
    norms = {}
    for part in population.PARTS:
        leaves = jax.tree.leaves(kept.inner_states[part])
        first = [leaf for leaf in leaves if leaf.ndim][: len(jax.tree.leaves(parts[part]))]
        norms[part] = float(np.sqrt(sum((np.asarray(leaf) ** 2).sum() for leaf in first)) / 0.1)
    assert norms["field"] == pytest.approx(0.5, rel=1e-4)
    assert norms["table"] == pytest.approx(0.5, rel=1e-4)
    assert norms["start"] == pytest.approx(1e-4 * WIDTH**0.5, rel=1e-3)


def test_decoder_loss_adds_the_penalty_on_the_code_s_mean_square():
    state = fresh_state()
    parts = population.as_parts(state.params, state.table)
    value, metrics = decoder(parts, jnp.int32(2), KEY)
    np.testing.assert_allclose(value - metrics["mse"], 0.01 * (np.asarray(state.table["m"][2]) ** 2).mean(), atol=1e-7)


def test_the_loss_of_a_batch_is_the_mean_over_its_subjects(steps):
    state = fresh_state()
    parts = population.as_parts(state.params, state.table)
    keys = jax.random.split(KEY, 2)
    single = [float(decoder(parts, i, k)[0]) for i, k in zip(DRAWN, keys, strict=True)]
    _, metrics = steps["decoder"](state, DRAWN, jnp.float32(1), KEY)
    np.testing.assert_allclose(metrics["loss"], np.mean(single), rtol=1e-5)


def test_subjects_one_after_the_other_give_the_step_of_all_at_once():
    state = fresh_state()
    one, all_ = (stepper(meta, ("field", "start", "rule"), over=over) for over in ("map", "vmap"))
    first, second = (step(state, DRAWN, jnp.float32(1), KEY)[0] for step in (one, all_))
    for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("factor", [1e3, float("nan")])
def test_a_step_whose_gradient_is_too_long_or_not_finite_moves_nothing_and_is_told(factor):
    """A thousand times the loss after one step as it is has a gradient too long by the ratio of 10."""

    def broken(parts, i, key):
        value, metrics = meta(parts, i, key)
        return value * factor, metrics

    rates, learns = hyper(**RATES), ("field", "rule")
    state, metrics = population.batch_step(meta, fresh_state(), DRAWN, OPTIMIZER, learns, rates, jnp.float32(1), KEY)
    assert float(metrics["skipped"]) == 0
    after, metrics = population.batch_step(broken, state, DRAWN, OPTIMIZER, learns, rates, jnp.float32(1), KEY)
    assert float(metrics["skipped"]) == float(metrics["skipped_in_row"]) == 1
    assert int(after.step) == 2
    kept = after._replace(step=state.step, guard=state.guard)
    for a, b in zip(*map(jax.tree.leaves, (kept, state)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_that_is_taken_is_told_so(steps):
    _, metrics = steps["meta"](fresh_state(), DRAWN, jnp.float32(1), KEY)
    assert float(metrics["skipped"]) == 0


def test_the_outer_loss_is_scored_on_the_target_not_on_the_context():
    """Targets that are the context's negative: what adapts to the one answers the other with four times its square."""

    def negative(key):
        batch = sinusoid(0).draw_target(key)
        return batch._replace(intensity=-batch.intensity)

    subject = sinusoid(0)._replace(draw_target=negative)
    params = fresh_state().params
    params = params._replace(field=params.field | {"v": jnp.zeros((WIDTH, 1))})  # answers 0, whatever is adapted
    key = jax.random.split(KEY)[1]
    value, metrics = population.meta_loss(LEARNER, params, subject, hyper(), steps=1, key=KEY)
    np.testing.assert_allclose(value, (np.asarray(negative(key).intensity) ** 2).mean(), rtol=1e-5)
    assert abs(float(metrics["inner_first"]) - float(value)) > 1e-3  # other places than the context's


def test_meta_learning_makes_three_steps_fit_a_sinusoid(steps):
    state = fresh_state()
    everyone = jnp.arange(SUBJECTS)
    losses = []
    for i in range(150):
        state, metrics = steps["meta"](state, everyone, jnp.float32(1), jax.random.key(i))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < 0.1 * np.mean(losses[:10])
    assert float(metrics["inner_first"]) > 3 * float(metrics["loss"])  # it is the steps that fit, not the start


def test_the_auto_decoder_fits_every_subject_with_its_own_row(steps):
    state = fresh_state()
    losses = []
    for i in range(150):
        state, metrics = steps["decoder"](state, jnp.arange(SUBJECTS), jnp.float32(1), jax.random.key(i))
        losses.append(float(metrics["mse"]))
    assert np.mean(losses[-10:]) < 0.1 * np.mean(losses[:10])
