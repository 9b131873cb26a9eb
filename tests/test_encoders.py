"""A start that an encoder reads off the scan: what it sees, what it leaves alone, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from synthetic import layered_population

from inr_jax import measurements, model, population, recipe
from inr_jax.errors import InputError
from inr_jax.networks import encoders
from inr_jax.types import Context, Side

GRID = (5, 16, 12)
HYPER = toy.hyper()
RANDOM = np.random.default_rng(0)
OPTIONS = dict(rows=16, cells=(4, 8), channels=(4, 4), features=5, width=6)
LEVELS = ((2, 3, 4), (4, 8, 2))


def a_context(*, bscans=(-0.8, 0.0, 0.8), side=True, seed=1):
    random = np.random.default_rng(seed)
    places = (jnp.float32(bscans), jnp.linspace(-0.9, 0.9, 20), jnp.linspace(-0.95, 0.95, 12))
    image = Side(jnp.float32(random.uniform(-1, 1, (10, 10))), jnp.float32([[5, 0, 4.5], [0, 5, 4.5]]))
    intensity = jnp.float32(random.uniform(0, 1, (len(bscans), 20, 12, 1)))
    return Context(intensity, jnp.ones(intensity.shape[:-1], bool), places, image if side else None)


@pytest.fixture(scope="module")
def encoder():
    """(random params, apply) of a small encoder with an SLO."""
    init, apply = encoders.encoder(**OPTIONS, levels=LEVELS, intensities=1, side=True)
    shapes = jax.eval_shape(init, jax.random.key(0))
    random = np.random.default_rng(5)
    params = jax.tree.map(lambda leaf: jnp.float32(0.3 * random.normal(size=leaf.shape)), shapes)
    return params, jax.jit(apply)


def same(a, b, atol=1e-5):
    return all(np.allclose(x, y, atol=atol) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_hats_interpolate_linearly_between_samples_a_reach_apart():
    of = jnp.linspace(-1, 1, 9)
    at = jnp.float32(RANDOM.uniform(-1, 1, 30))
    values = RANDOM.normal(size=(9, 2)).astype(np.float32)
    mean, known = encoders.spread(encoders.hats(at, of, 0.25), jnp.asarray(values), jnp.ones((9, 2)))
    for c in range(2):
        np.testing.assert_allclose(mean[:, c], np.interp(at, of, values[:, c]), atol=1e-5)
    np.testing.assert_allclose(known, 1, atol=1e-5)


def test_what_is_not_known_has_no_part_in_the_means_of_what_is():
    """Against the weighted means of the known samples, one by one in float64."""
    of, at = RANDOM.uniform(-1, 1, 12), np.linspace(-1, 1, 7)
    values, known = RANDOM.normal(size=12), RANDOM.uniform(size=12) > 0.4
    mean, amount = encoders.spread(
        encoders.hats(jnp.float32(at), jnp.float32(of), 0.3),
        jnp.float32(np.where(known, values, 1e3)),
        jnp.float32(known),
    )
    for i, place in enumerate(at):
        weight = np.maximum(1 - np.abs(place - of) / 0.3, 0) * known
        np.testing.assert_allclose(amount[i], min(weight.sum(), 1), atol=1e-5)
        if weight.sum() > 0.01:
            np.testing.assert_allclose(mean[i], (weight * values).sum() / weight.sum(), rtol=1e-3)


def test_a_cell_s_part_of_the_side_image_is_sampled_within_that_cell():
    image = jnp.arange(96, dtype=jnp.float32)[None] * jnp.ones((2, 1))  # its column, which is the place
    side = Side(image, jnp.float32([[0, 0, 0], [0, 48, 47.5]]))
    found = encoders.side_cells(side, (4, 6))
    assert found.shape == (4, 6, 16)
    for x in range(6):
        expected = 16 * x - 0.5 + 16 * (np.arange(4) + 0.5) / 4
        np.testing.assert_allclose(np.unique(np.round(found[:, x], 3)), expected, atol=1e-2)


def test_codes_have_the_shapes_of_their_levels_for_any_number_of_b_scans_rows_and_a_scans(encoder):
    params, apply = encoder
    for bscans in ((-0.5, 0.5), (-0.8, -0.1, 0.2, 0.9)):
        found = apply(params, a_context(bscans=bscans))
        assert {name: code.shape for name, code in found.items()} == {"level_0": (2, 3, 4), "level_1": (4, 8, 2)}


def test_b_scans_are_placed_by_their_coordinates_whatever_their_order(encoder):
    params, apply = encoder
    context = a_context()
    order = jnp.array([2, 0, 1])
    turned = context._replace(
        intensity=context.intensity[order], valid=context.valid[order],
        places=(context.places[0][order], *context.places[1:]),
    )  # fmt: skip
    assert same(apply(params, turned), apply(params, context))
    moved = context._replace(places=(context.places[0] + 0.2, *context.places[1:]))
    assert not same(apply(params, moved), apply(params, context), atol=1e-3)


def test_what_is_not_valid_is_not_seen(encoder):
    params, apply = encoder
    context = a_context()
    hidden = context.valid.at[1].set(False).at[0, :, 3:6].set(False)
    noise = jnp.where(hidden[..., None], context.intensity, 0.77)
    masked = apply(params, context._replace(valid=hidden))
    assert same(apply(params, context._replace(valid=hidden, intensity=noise)), masked)
    assert not same(masked, apply(params, context), atol=1e-3)


def test_the_side_image_is_seen(encoder):
    params, apply = encoder
    one, other = a_context(), a_context(seed=2)
    assert not same(apply(params, one._replace(side=other.side)), apply(params, one), atol=1e-3)


def small():
    config = toy.get_config()
    config.model.update({"start": "encoder"})
    config.model.encoder.update(OPTIONS)
    config.model.modulation.grid.levels = LEVELS
    config.train.stages = ("autodecoder", "encoder", "joint")
    config.train.encoder.update({"steps": 120, "subjects": 2, "context": 32, "warmup": 0})
    return config


@pytest.fixture(scope="module")
def eyes():
    """(config, model, data, pools) of two eyes of two people, with an SLO."""
    scans = layered_population(people=2, eyes=1, shape=GRID)
    affine = np.tile(np.float32([[8, 0, 8], [0, 8, 8]]), (2, 1, 1))
    scans = scans._replace(slo=RANDOM.uniform(0, 1, (2, 16, 16)).astype(np.float32), slo_affine=affine)
    config = small()
    return (
        config, model.build(config, model.Signal.of(scans)),
        measurements.to_device(scans, np.float32([0.7, 0.04, 0.4])), measurements.pools(scans.measured),
    )  # fmt: skip


def test_the_context_of_a_subject_is_its_measured_b_scans_where_they_lie(eyes):
    _, _, data, pools = eyes
    found = measurements.context_of(data, jnp.int32(1), pools.context, GRID, HYPER._replace(side=jnp.float32(0.5)))
    whole = np.asarray(data.intensity[1]).reshape(*GRID, 1)
    np.testing.assert_array_equal(found.intensity, whole[::2])
    for axis, index in enumerate((np.arange(0, 5, 2), np.arange(16), np.arange(12))):
        np.testing.assert_allclose(found.places[axis], data.scale[1, axis] * index + data.shift[1, axis], atol=1e-6)
    assert found.valid.all()
    np.testing.assert_allclose(found.side.image, 0.5 * (2 * data.slo.image[1] - 1), atol=1e-6)
    held_out = measurements.context_of(data, jnp.int32(1), pools.training, GRID, HYPER)
    seen = np.flatnonzero(np.pad(np.asarray(held_out.valid), ((0, 0), (0, 0), (0, 0))))
    assert seen.size == pools.training.size  # held-out A-scans stop a fit: its start must not know them


def test_context_of_another_s_slo_has_the_other_s(eyes):
    _, _, data, pools = eyes
    swapped = measurements.context_of(
        data, jnp.int32(0), pools.context, GRID, HYPER._replace(side_swapped=jnp.float32(1))
    )
    np.testing.assert_allclose(swapped.side.image, 2 * data.slo.image[1] - 1, atol=1e-6)


def test_a_new_encoder_starts_where_the_learned_codes_are(eyes):
    _, built, data, pools = eyes
    codes = jax.tree.map(lambda leaf: leaf + 0.3, built.codes)

    @jax.jit
    def begun():
        context = measurements.context_of(data, jnp.int32(0), pools.context, GRID, HYPER)
        return built.learner.start(built.init(jax.random.key(0), HYPER).start | codes, context)

    found = begun()
    assert same({part: found[part] for part in codes}, codes)
    assert jax.tree.structure(found) == jax.tree.structure(built.modulation(built.codes))


def test_the_encoder_s_stage_learns_every_subject_s_own_codes_and_nothing_else_moves(eyes):
    config, built, data, pools = eyes
    stage = next(stage for stage in recipe.stages(config) if stage.name == "encoder")
    state = jax.jit(lambda: recipe.initial_state(config, built, 2))()
    table = jax.tree.map(lambda leaf: jnp.float32(RANDOM.normal(size=leaf.shape)), state.table)
    state = state._replace(table=table, step=jnp.int32(stage.first))
    run = recipe.make_run(config, stage, built, pools, GRID)
    hyper = stage.hyper._replace(rate_start=jnp.float32(1e-2))
    once, first = run(state, data, hyper, jnp.int32(1))
    after, last = run(once, data, hyper, jnp.int32(119))
    assert float(last["loss"]) < 0.2 * float(first["loss"])
    assert same(after.params.field, state.params.field, atol=0)
    assert same(after.table, table, atol=0)

    @jax.jit
    def begun(i):
        context = measurements.context_of(data, i, pools.context, GRID, hyper)
        return built.learner.start(after.params.start, context)["grid"]

    starts = [begun(jnp.int32(i)) for i in range(2)]
    for i in range(2):
        own = jax.tree.map(lambda rows, i=i: rows[i], table["grid"])
        distances = [sum(((a - b) ** 2).sum() for a, b in zip(*map(jax.tree.leaves, (start, own)), strict=True))
                     for start in starts]  # fmt: skip
        assert np.argmin(distances) == i


def test_the_outer_loss_reaches_the_encoder_through_the_inner_loop(eyes):
    _, built, data, pools = eyes
    params = jax.jit(built.init)(jax.random.key(0), HYPER)

    def loss(start):
        subject = recipe.subject_of(
            data, pools, GRID, built, jnp.int32(0), HYPER,
            context=32, target=32, context_has_labels=False, learned=built.codes,
        )  # fmt: skip
        moved = params._replace(start=start)
        return population.meta_loss(built.learner, moved, subject, HYPER, steps=1, key=jax.random.key(1))[0]

    found = jax.jit(jax.grad(loss))(params.start)["encoder"]
    assert all(np.asarray(found[name]["kernel"]).any() for name in ("level_0", "level_1"))  # the rest waits for these


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.modulation.parts": ("vector",)}, "model.start: expected learned where .* found 'encoder'"),
        ({"model.modulation.axes": (0, 1)}, "model.start: expected learned where"),
        ({"model.encoder.rows": 18}, "model.encoder.rows: expected a multiple of 4; found 18"),
        ({"model.encoder.cells": (2, 8)}, r"model.encoder.cells: expected two numbers of 4 or more; found \(2, 8\)"),
        ({"model.encoder.width": 0}, "model.encoder.width: expected 1 or more; found 0"),
        ({"model.start": "encoded"}, "model.start: expected one of encoder, learned; found 'encoded'"),
    ],
)
def test_encoders_that_cannot_be_are_refused_naming_the_key(changes, said):
    config = small()
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=said):
        model.build(config, model.Signal(3, 1, 4, True))


@pytest.mark.parametrize(
    ("stages", "start", "said"),
    [
        (("autodecoder", "rule", "encoder"), "encoder", "expected autodecoder right before encoder; found rule"),
        (("encoder", "joint"), "encoder", "expected autodecoder right before encoder; found nothing"),
        (("autodecoder", "encoder", "rule"), "learned", "model.start: expected encoder for the stage encoder"),
    ],
)
def test_an_encoder_s_stage_wants_an_encoder_and_codes_to_learn_from(stages, start, said):
    config = small()
    config.model.start, config.train.stages = start, stages
    with pytest.raises(InputError, match=said):
        recipe.stages(config)
