"""The generalizable INR through the program: epochs, early stopping, resuming, and the test-time fit."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_bit_equal
from ml_collections import ConfigDict
from synthetic import layered_population, write_folds
from toy import ROOT, hyper, read_config

from inr_jax import adaptation, checkpoint, data, epochs, losses, measurements, recipe, trained, visits
from inr_jax.epochs import Course
from inr_jax.errors import InputError
from inr_jax.tasks import reconstruction
from inr_jax.train import train
from inr_jax.types import Batch, MetaParams

STOP = ConfigDict(dict(epochs=0, patience=2, min_delta=0.1, first_epoch=3))
EPOCHS, EYES, FITTED = 3, 10, 4  # 5 training people, 2 eyes each; 4 of 7 B-scans


def tiny(folder, **stop):
    config = read_config(ROOT / "configs" / "interp_oct_general.py")
    config.data.path = str(folder)
    config.data.interp_oct.classes = ("background", "inner", "middle", "outer")
    config.model.update(width=8, depth=2)
    config.model.modulation.vector.size = 4
    config.train.autodecoder.rates = {"field": 1e-3, "table": 1e-3}
    config.train.update(save_every=20, log_every=10)
    config.train.stop.update({"epochs": EPOCHS} | stop)
    config.adapt.update(epochs=3)
    return config


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    return write_folds(tmp_path_factory.mktemp("folds"))


@pytest.fixture(scope="module")
def folder(folds, tmp_path_factory):
    return train(tiny(folds), tmp_path_factory.mktemp("runs") / "whole")


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_an_epoch_visits_every_b_scan_of_every_eye_once_and_each_in_another_order():
    order = [int(visits.visited(jax.random.key(0), jnp.int32(step), 12, 1)[0]) for step in range(24)]
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12))
    assert order[:12] != order[12:] != list(range(12))


def test_a_last_batch_that_is_not_full_begins_the_epoch_again():
    seen = np.concatenate([visits.visited(jax.random.key(0), jnp.int32(step), 10, 4) for step in range(3)])
    assert set(seen[:10].tolist()) == set(range(10))
    np.testing.assert_array_equal(seen[10:], seen[:2])


def test_rates_fall_by_their_share_after_every_epoch():
    rates = [float(visits.exponential(jnp.int32(step), 4, 0.5)) for step in range(9)]
    assert rates == [1.0] * 4 + [0.5] * 4 + [0.25]


def test_waiting_begins_with_the_first_epoch_that_counts_and_small_gains_are_none():
    course, seen = Course(), []
    for loss in (9.0, 0.1, 5.0, 4.95, 4.8, 4.79, 4.75, 1.0):
        course = epochs.after_epoch(course, loss, STOP)
        seen.append((course.waited, epochs.is_over(course, STOP)))
    assert seen == [(0, False)] * 3 + [(1, False), (0, False), (1, False), (2, True), (0, False)]
    assert course.best == 0.1
    assert not epochs.is_over(Course(waited=10**6, epoch=10**6), ConfigDict(dict(STOP, patience=0)))


def test_a_training_ends_after_its_epochs_and_logs_the_mean_loss_of_each(folder):
    logged = [line for line in lines(folder) if "epoch_loss" in line]
    assert [line["epoch"] for line in logged] == [1, 2, 3]
    assert [line["step"] for line in logged] == [EYES * FITTED * e for e in (1, 2, 3)]
    assert checkpoint.latest(folder) == EYES * FITTED * EPOCHS
    found = [line["epoch_loss"] for line in logged]
    assert found[0] > found[1] > found[2]


def test_a_training_that_was_cut_in_an_epoch_goes_on_to_the_same_numbers(folds, folder, tmp_path):
    class Cut(Exception):
        pass

    def cut(folder, state, *, step, **rest):
        save(folder, state, step=step, **rest)
        if step >= 40:
            raise Cut

    save = checkpoint.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", cut)
        with pytest.raises(Cut):
            train(tiny(folds), tmp_path / "cut")
    assert checkpoint.latest(tmp_path / "cut") == 40
    train(tiny(folds), tmp_path / "cut")
    both = [trained.restore(place) for place in (folder, tmp_path / "cut")]
    assert_bit_equal(both[0].params, both[1].params)
    kept = [[line for line in lines(place) if "epoch_loss" in line] for place in (folder, tmp_path / "cut")]
    assert kept[0] == kept[1]


def test_a_training_that_is_over_stays_as_it_is(folds, folder):
    before = lines(folder)
    train(tiny(folds), folder)
    assert lines(folder) == before


def test_without_progress_the_training_stops_and_the_best_epoch_is_what_is_restored(folds, tmp_path):
    config = tiny(folds, epochs=0, patience=2, first_epoch=1, min_delta=1e3)
    folder = train(config, tmp_path / "stopped")
    logged = [line["epoch_loss"] for line in lines(folder) if "epoch_loss" in line]
    assert len(logged) == 3  # the first is better than none; two that are not
    steps = [EYES * FITTED * (1 + int(np.argmin(logged))), EYES * FITTED * 3]
    kept = {int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == set(steps)


def test_a_new_eye_is_fitted_from_its_measured_b_scans_without_labels_and_rendered_whole(folder):
    restored = trained.restore(folder)
    scans = data.load(restored.config.data, "test")
    answers = trained.adapt_population(restored, scans)
    assert answers.intensity.shape == scans.intensity.shape
    assert answers.intensity.min() > 0  # a sigmoid
    spoiled = scans._replace(
        intensity=np.where(scans.measured[..., None], scans.intensity, 0.5), labels=np.zeros_like(scans.labels)
    )
    again = trained.adapt_population(restored, spoiled)
    np.testing.assert_array_equal(again.intensity, answers.intensity)


def test_loose_points_are_refused_by_name_where_the_loss_needs_b_scans(folder):
    restored = trained.restore(folder)
    scans = data.load(restored.config.data, "test")
    with pytest.raises(InputError, match=r"fit: expected a model whose loss.intensity is mse, .* found combined"):
        trained.adapt_population(restored, scans, fit=True)
    config = restored.config.copy_and_resolve_references()
    config.adapt.epochs = 0
    with pytest.raises(InputError, match=r"adapt.epochs: expected 1 or more with loss.intensity combined.* found 0"):
        trained.adapt_population(replace(restored, config=config), scans)


def test_a_training_of_a_version_with_fewer_keys_is_refused_by_their_names(folder, tmp_path):
    for name in ("config.json", "model.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["hyper"]["spread"], config["data"]["interp_oct"], config["train"]["rule"]["rates"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"config.json: .* it lacks data\.interp_oct\.classes, .*, hyper\.spread: add"
    ) as said:
        trained.restore(tmp_path)
    assert "rates" not in str(said.value)
    assert "\n" not in str(said.value)


def fit_numbers(targets, penalty, steps=60, rate=0.05):
    """Epochs on (m - target)^2, one target a visit: the end of the best epoch, and the losses."""
    targets = jnp.asarray(targets)

    def batch(visit, key):
        none = jnp.zeros(1)
        return Batch(none[:, None], targets[visit][None, None], jnp.zeros(1, int), none)

    def loss(value, batch, _):
        return ((value - batch.intensity[0]) ** 2).mean(), {}

    @jax.jit
    def epoch(fitting):
        return adaptation.fit_epoch(
            loss, lambda field, modulation, _: modulation["vector"], MetaParams({}, {}, {}), batch,
            hyper(penalty=penalty), fitting, visits=len(targets), rate=rate, decay=0.95, key=jax.random.key(0),
        )  # fmt: skip

    fitting, curve = adaptation.begin_fitting({"vector": jnp.zeros(1)}), []
    for _ in range(steps):
        fitting, mean = epoch(fitting)
        curve.append(float(mean))
    return fitting.best, np.array(curve)


def test_fit_by_epochs_finds_the_penalised_mean():
    """The least of ((m - 1)^2 + (m - 3)^2) / 2 + p m^2 is at 2 / (1 + p)."""
    for penalty, expected in ((1.0, 1.0), (0.0, 2.0)):
        found, curve = fit_numbers([1.0, 3.0], penalty, rate=0.2)
        np.testing.assert_allclose(found["vector"], expected, atol=0.2)
        assert curve.shape == (60,)


def test_fit_by_epochs_keeps_the_end_of_its_best_epoch():
    found, curve = fit_numbers([0.3, 0.2], 0.0, rate=0.3)  # too large a rate: it overshoots
    best = int(np.argmin(curve))
    assert 0 < best < 59
    ended, _ = fit_numbers([0.3, 0.2], 0.0, steps=best + 1, rate=0.3)
    np.testing.assert_allclose(found["vector"], ended["vector"], rtol=1e-6)


@pytest.mark.parametrize("intensity", losses.NEED_PATCHES)
def test_ssim_is_refused_on_loose_points(intensity):
    inner, _ = reconstruction.make_losses(intensity=intensity, segmentation="cross_entropy")
    batch = Batch(jnp.zeros((9, 3)), jnp.zeros((9, 1)), jnp.zeros(9, int), jnp.ones(9))
    with pytest.raises(ValueError, match="loose points"):
        inner(lambda coords: {"intensity": coords[..., :1]}, batch, hyper())


def test_what_ssim_does_not_know_does_not_count():
    a, b = np.random.default_rng(0).random((2, 20, 24, 1)).astype(np.float32)
    known = np.ones((20, 24), np.float32)
    known[:, :6] = 0
    spoiled = np.where(known[..., None] > 0, a, 7.0)
    for name in losses.NEED_PATCHES:
        got = [
            float(losses.INTENSITY[name]({"intensity": jnp.asarray(x)}, jnp.asarray(b), jnp.asarray(known)))
            for x in (a, spoiled)
        ]
        assert got[0] == got[1] > 0
        pull = jax.grad(
            lambda x, name=name: losses.INTENSITY[name]({"intensity": x}, jnp.asarray(b), jnp.asarray(known))
        )(a)
        np.testing.assert_array_equal(pull[..., 0] != 0, known > 0)


def test_patches_lie_in_one_fitted_b_scan():
    scans = layered_population(people=1, eyes=1, shape=(5, 12, 10))
    bscans = jnp.asarray(measurements.pools(scans.measured).measured)
    for seed in range(20):
        flat = measurements.draw_patch(bscans, (5, 12, 10), (4, 3), key=jax.random.key(seed))
        where, rows, columns = np.unravel_index(np.asarray(flat), (5, 12, 10))
        assert len(np.unique(where)) == 1
        assert where[0, 0] % 2 == 0
        np.testing.assert_array_equal(rows - rows[0, 0], np.arange(4)[:, None] + np.zeros((4, 3), int))
        np.testing.assert_array_equal(columns - columns[0, 0], np.arange(3) + np.zeros((4, 3), int))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train.autodecoder.draw": "points"}, "loss.intensity: .* found 'combined'"),
        ({"train.autodecoder.draw": "lines"}, "train.autodecoder.draw: expected points, patches or bscans"),
        ({"train.autodecoder.targets": "some"}, "train.autodecoder.targets: expected all or measured"),
        ({"train.autodecoder.draw": "patches"}, "train.stop: "),
        ({"train.schedule": "linear"}, "train.schedule: expected cosine or exponential"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_by_name(changes, said):
    config = tiny("")
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=said):
        recipe.stages(config)
