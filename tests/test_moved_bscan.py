"""Motion of B-scans: seen where it says, in no field, less its mean, and recovered where it is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from synthetic import layered_population
from toy import get_config, hyper

from inr_jax import adaptation, coordinates, measurements, model, recipe, render, subjects
from inr_jax.errors import InputError
from inr_jax.modulations import zero_nuisance
from inr_jax.operators import moved_bscan
from inr_jax.types import Batch, MetaParams

GRID = (6, 24, 20)
SCALE, SHIFT = 2 / jnp.float32(GRID), -1 + 1 / jnp.float32(GRID)
COORDS = coordinates.grid(GRID, SCALE, SHIFT)
EVERY = np.ones(GRID[0], bool)


def eye(coords):
    """A field with detail along every axis, brighter than 0."""
    d, h, w = jnp.moveaxis(coords, -1, 0)
    return {"intensity": (2 + jnp.sin(5 * h + d) + jnp.cos(4 * w - 2 * h))[..., None]}


def some_motion(seed, bscans=GRID[0], size=0.1):
    random = np.random.default_rng(seed)
    return {kind: jnp.float32(size * random.normal(size=bscans)) for kind in zero_nuisance(bscans=1)}


def seen(motion, measured=EVERY):
    return moved_bscan.as_seen(eye, motion, measured, scale=SCALE, shift=SHIFT)(COORDS)["intensity"]


def test_a_moved_b_scan_shows_the_eye_where_its_own_motion_says():
    motion = moved_bscan.centred(some_motion(0), EVERY)
    b, h, w = 4, COORDS[4, ..., 1], COORDS[4, ..., 2]
    down = motion["axial"][b] + motion["tilt"][b] * w
    place = jnp.stack([COORDS[4, ..., 0], h - down, w - motion["lateral"][b]], -1)
    np.testing.assert_allclose(seen(motion)[4], jnp.exp(motion["gain"][b]) * eye(place)["intensity"], rtol=1e-5)


def test_what_all_measured_b_scans_share_is_no_motion():
    """B-scans 0, 2, 4 are measured; rows beyond the scan's own B-scans count for nothing."""
    measured, motion = np.arange(GRID[0]) % 2 == 0, some_motion(1, bscans=9)
    shared = {kind: rows + 0.3 for kind, rows in motion.items()}
    np.testing.assert_allclose(seen(shared, measured), seen(motion, measured), rtol=1e-4)
    for rows in moved_bscan.centred(motion, measured).values():
        np.testing.assert_allclose(rows[:6][measured].mean(), 0, atol=1e-7)


def test_a_known_motion_is_found_from_the_measurement_alone():
    motion = moved_bscan.centred(some_motion(2), EVERY)
    batch = Batch(COORDS, seen(motion), jnp.full(GRID, -1), jnp.ones(GRID))

    def bind(field, modulation, numbers):
        return moved_bscan.as_seen(eye, modulation, EVERY, scale=SCALE, shift=SHIFT)

    def loss(field, batch, numbers):
        return ((field(batch.coords)["intensity"] - batch.intensity) ** 2).mean(), {}

    found = adaptation.fit(
        loss, bind, MetaParams({}, {}, {}), lambda key: batch, hyper(), modulation=zero_nuisance(bscans=GRID[0]),
        optimizer=optax.adam(optax.cosine_decay_schedule(0.02, 300)), moves=("modulation",), steps=300,
        key=jax.random.key(0), held_out=batch, patience=60,
    )  # fmt: skip
    for kind, rows in moved_bscan.centred(found.modulation, EVERY).items():
        np.testing.assert_allclose(rows, motion[kind], atol=1e-3, err_msg=kind)


@pytest.fixture(scope="module")
def scene():
    """A toy model with motion, its data, and what is measured."""
    config = get_config()
    config.model.modulation.parts = ("grid", "nuisance", "weights")
    config.adapt.residual.length = 0.0
    population = layered_population(people=2, eyes=1, shape=(5, 16, 12))
    built = model.build(config, model.Signal.of(population))
    state = recipe.initial_state(config, built, 2)
    data = measurements.to_device(population, np.float32([1, 1, 1]))
    return config, built, state, data, measurements.pools(population.measured)


def test_a_scan_starts_at_rest_with_one_step_size_for_each_kind_of_motion(scene):
    config, built, state, _, _ = scene
    for leaf in jax.tree.leaves((state.table["nuisance"], built.modulation(state.params.start)["nuisance"])):
        assert not np.asarray(leaf).any()
    assert {leaf.shape for leaf in state.params.rule["nuisance"].values()} == {(config.adapt.steps,)}


def test_motion_is_in_the_measurement_and_not_in_what_is_rendered(scene):
    _, built, state, data, pools = scene
    modulation = built.modulation(state.params.start)
    moved = modulation | {"nuisance": some_motion(3, bscans=64, size=0.3)}
    bind = subjects.make_bind(built.learner.bind, data, jnp.int32(0), pools.context, (5, 16, 12), hyper())
    at = measurements.gather(data, jnp.int32(0), jnp.arange(960), (5, 16, 12), labelled=False).coords
    still, other = (bind(state.params.field, m, hyper())(at)["intensity"] for m in (modulation, moved))
    assert np.abs(still - other).max() > 0.01
    draw = render.make_render(built, (5, 16, 12))
    shown = [draw(state.params.field, m, data, jnp.int32(0), hyper())[0] for m in (modulation, moved)]
    np.testing.assert_array_equal(*shown)
    np.testing.assert_allclose(shown[0].ravel(), still.ravel(), atol=1e-5)


def test_targets_are_scored_under_the_motion_that_the_auto_decoder_knows(scene):
    _, built, state, data, pools = scene
    known = {"nuisance": some_motion(4, bscans=64)}
    subject = recipe.subject_of(
        data, pools, (5, 16, 12), built, jnp.int32(0), hyper(), context=8, target=8, context_has_labels=False,
        learned=known,
    )  # fmt: skip
    own = built.modulation(state.params.start)
    at = subject.draw_target(jax.random.key(0)).coords
    target = subject.bind_target(state.params.field, own, hyper())(at)
    expected = subject.bind(state.params.field, own | known, hyper())(at)
    np.testing.assert_array_equal(target["intensity"], expected["intensity"])


def test_a_scan_of_more_b_scans_than_have_motion_is_refused(scene):
    _, built, state, data, pools = scene
    modulation = built.modulation(state.params.start) | {"nuisance": zero_nuisance(bscans=4)}
    bind = subjects.make_bind(built.learner.bind, data, jnp.int32(0), pools.context, (5, 16, 12), hyper())
    with pytest.raises(InputError, match=r"nuisance\.bscans: expected 5 or more.*found 4"):
        bind(state.params.field, modulation, hyper())


def test_motion_without_an_auto_decoder_is_refused():
    config = get_config()
    config.model.modulation.parts = ("grid", "nuisance")
    config.train.stages = ("rule", "joint")
    with pytest.raises(InputError, match=r"train\.stages: expected autodecoder first with nuisance"):
        recipe.stages(config)
