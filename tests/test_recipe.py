"""Stages: what is traced, what is left out, how rates rise and fall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import layered_population

from configs import default
from inr_jax import coordinates, data, entering, measurements, model, recipe, stage_checks, visits
from inr_jax.errors import InputError


def tiny():
    config = default.get_config()
    config.data.phantom_oct.update(people=(1, 1, 1), eyes=1, shape=(5, 48, 24))
    config.model.update(width=8, depth=2)
    config.train.autodecoder.update(steps=4, points=64, subjects=1)
    return config


def test_one_compiled_program_serves_other_numbers_and_other_counts():
    config = tiny()
    population = data.load(config.data, "train")
    half = coordinates.half_extent(population.measured.shape, population.spacing)
    built = model.build(config, model.Signal.of(population))
    state = recipe.initial_state(config, built, 1)
    stage = recipe.stages(config)[0]
    pools = measurements.pools(population.measured)
    run = recipe.make_run(config, stage, built, pools, population.measured.shape)
    on_device = measurements.to_device(population, half)
    still = stage.hyper._replace(rate_field=jnp.float32(0.0), rate_table=jnp.float32(0.0))
    moved, _ = run(state, on_device, stage.hyper, jnp.int32(3))
    kept, _ = run(state, on_device, still, jnp.int32(2))
    assert run._cache_size() == 1
    for before, after, same in zip(
        *map(jax.tree.leaves, (state.params.field, moved.params.field, kept.params.field)), strict=True
    ):
        assert np.array_equal(before, same)
        assert before.size == 0 or not np.array_equal(before, after)


def test_steps_in_place_give_the_same_state_in_the_memory_of_the_one_before():
    config = tiny()
    population = data.load(config.data, "train")
    half = coordinates.half_extent(population.measured.shape, population.spacing)
    built = model.build(config, model.Signal.of(population))
    stage, pools = recipe.stages(config)[0], measurements.pools(population.measured)
    run = recipe.make_run(config, stage, built, pools, population.measured.shape)
    arguments = (measurements.to_device(population, half), stage.hyper, jnp.int32(2))
    state = recipe.initial_state(config, built, 1)
    expected, _ = run(state, *arguments)
    got, _ = recipe.in_place(run)(state, *arguments)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params.field))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_stages_without_steps_are_left_out():
    config = tiny()
    config.train.rule.steps = 0
    found = recipe.stages(config)
    assert [stage.name for stage in found] == ["autodecoder", "joint"]
    assert found[1].first == found[0].end == 4


@pytest.mark.parametrize(
    ("key", "value"), [("autodecoder.subjects", 0), ("joint.steps", -1), ("log_every", 0), ("skipped_in_row", -1)]
)
def test_settings_that_cannot_be_run_are_refused_by_name(key, value):
    config = tiny()
    config.train.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=f"train.{key}"):
        recipe.stages(config)


def test_a_guard_that_leaves_out_every_step_is_refused():
    config = tiny()
    config.hyper.skip_ratio = 1.0
    with pytest.raises(InputError, match=r"hyper\.skip_ratio: expected more than 1; found 1"):
        recipe.stages(config)


def test_a_way_over_the_subjects_that_does_not_exist_is_refused():
    config = tiny()
    config.train.rule.over = "pmap"
    with pytest.raises(InputError, match=r"train\.rule\.over: expected one of vmap, map; found 'pmap'"):
        recipe.stages(config)


def test_calibration_ends_at_the_best_tried_size_of_the_weights_given_the_sizes_of_the_codes():
    config = tiny()
    config.model.modulation.grid.levels = ((2, 2, 4), (4, 4, 2))
    config.train.rule.update(subjects=1, points=256, context=256)
    population = layered_population(people=1, shape=(5, 16, 16))
    built = model.build(config, model.Signal.of(population))
    state = recipe.initial_state(config, built, 2)
    stage = recipe.stages(config)[1]
    device_data = measurements.to_device(population, np.float32([1, 1, 1]))
    pools = measurements.pools(population.measured)
    rule = entering.calibrate(config, stage, state, built, device_data, pools, (5, 16, 16), stage.hyper)
    sizes = {name: {float(np.exp(v)) for v in np.ravel(leaf)} for name, leaf in rule["grid"].items()}
    weights = {float(np.exp(v)) for leaf in jax.tree.leaves(rule["weights"]) for v in np.ravel(leaf)}
    assert all(len(found) == 1 for found in (*sizes.values(), weights))
    loss = recipe.subject_loss(config, stage, built, device_data, pools, (5, 16, 16), stage.hyper)
    keys = jax.random.split(jax.random.key(config.train.seed + 2), 2)  # two eyes

    @jax.jit
    def of(size):
        moved = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.log(size)), rule["weights"])
        parts = {"field": state.params.field, "start": state.params.start, "rule": rule | {"weights": moved}}
        parts |= {"table": state.table}
        return (loss(parts, jnp.int32(0), keys[0])[0] + loss(parts, jnp.int32(1), keys[1])[0]) / 2

    found = {rate: float(of(rate)) for rate in entering.TRIED_WEIGHTS}
    assert np.isclose(min(found, key=found.__getitem__), weights.pop(), rtol=1e-3)


def test_rates_rise_over_the_warmup_and_end_at_their_final_share():
    rates = [float(visits.cosine(jnp.int32(i), 100, 9, 0.1)) for i in range(101)]
    np.testing.assert_allclose(rates[0], 0.1, rtol=1e-5)
    assert np.argmax(rates) == 9
    np.testing.assert_allclose(rates[100], 0.1, rtol=1e-5)


@pytest.mark.parametrize(("first", "expected"), [(0.0, range(9)), (5.0, range(5)), (3.0, range(3))])
def test_a_step_visits_each_of_the_first_scans_once_at_most_and_no_other(first, expected):
    seen = [visits.chosen(jax.random.key(k), 9, 3, jnp.float32(first)).tolist() for k in range(60)]
    assert all(len(set(visit)) == 3 for visit in seen)
    assert {scan for visit in seen for scan in visit} == set(expected)


def test_all_scans_are_visited_in_the_order_of_a_permutation():
    key = jax.random.key(4)
    found = visits.chosen(key, 9, 4, jnp.float32(0.0))
    np.testing.assert_array_equal(found, jax.random.permutation(key, 9)[:4])


def test_the_start_is_the_mean_code_of_the_scans_that_were_learned_from():
    config = tiny()
    config.train.update({"stages": ("autodecoder", "joint"), "calibrate": False, "whiten": 0.0, "table_scale": 1.0})
    config.hyper.training_scans = 2.0
    config.train.joint.subjects = 2
    population = layered_population(people=2, shape=(5, 16, 16))  # four eyes
    built = model.build(config, model.Signal.of(population))
    state = recipe.initial_state(config, built, 4)
    before, after = recipe.stages(config)
    on_device = measurements.to_device(population, np.float32([1, 1, 1]))
    pools = measurements.pools(population.measured)
    entered = entering.make_enter(config, after, before, built, pools, (5, 16, 16))(state, on_device, after.hyper)
    for start, rows in zip(*map(jax.tree.leaves, (entered.params.start, state.table)), strict=True):
        np.testing.assert_allclose(start, np.asarray(rows)[:2].mean(0), atol=1e-6)


@pytest.mark.parametrize(("scans", "draw"), [(1.0, "points"), (4.0, "bscans")])
def test_fewer_training_scans_than_a_step_takes_and_epochs_of_some_are_refused(scans, draw):
    config = tiny()
    config.hyper.training_scans = scans
    config.train.autodecoder.update(subjects=2, draw=draw)
    with pytest.raises(InputError, match=r"hyper\.training_scans: expected 0"):
        recipe.stages(config)


@pytest.mark.parametrize(("swapped", "people", "what"), [(1.0, 1, "two people or more"), (2.0, 2, "0.0 or 1.0")])
def test_another_person_s_slo_wants_another_person(swapped, people, what):
    config = tiny()
    config.hyper.side_swapped = swapped
    with pytest.raises(InputError, match=rf"hyper\.side_swapped: expected.* {what}"):
        stage_checks.check_people(config, layered_population(people=people, eyes=2))
    config.hyper.side_swapped = 1.0
    stage_checks.check_people(config, layered_population(people=2, eyes=2))


@pytest.mark.parametrize(
    ("key", "value", "stages", "said"),
    [
        ("train.whiten_by", "hessian", ("autodecoder", "rule"), "one of curvature, covariance; found 'hessian'"),
        ("train.whiten_by", "covariance", ("rule",), "curvature where train.stages has no autodecoder; found cov"),
    ],
)
def test_a_metric_that_no_population_tells_is_refused(key, value, stages, said):
    config = tiny()
    config.train.stages = stages
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=f"{key}: expected {said}"):
        recipe.stages(config)
