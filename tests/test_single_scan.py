"""The single-scan INR: nothing learned before, one network for each scan, with or without labels and SLO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import layered_population, write_folds
from toy import ROOT, hyper, read_config

from inr_jax import (
    adaptation,
    checkpoint,
    coordinates,
    evaluate,
    measurements,
    modulations,
    recipe,
    render,
    trained,
    visits,
)
from inr_jax.errors import InputError
from inr_jax.kept_fits import KeptFits, kept_fits
from inr_jax.model import Signal, build, hyper_of
from inr_jax.train import train
from inr_jax.trained import Trained
from inr_jax.types import Batch, MetaParams

EPOCHS = 60
SHAPE = (5, 16, 12)


def tiny():
    config = read_config(ROOT / "configs" / "interp_oct_single.py")
    config.model.width, config.model.depth = 32, 2
    config.adapt.update(epochs=EPOCHS, rate=1e-3)
    return config


@pytest.fixture(scope="module")
def scans():
    return layered_population(people=3, eyes=1, shape=SHAPE, noise=0.02)


def answers(config, scans):
    return trained.adapt_population(trained.untrained(config, scans), scans)


@pytest.fixture(scope="module")
def fitted(scans):
    return answers(tiny(), scans)


def test_a_network_is_fitted_to_what_was_measured_and_its_labels(scans, fitted):
    there = scans.measured
    errors = [float(np.abs(fitted.field[i] - scans.intensity[i])[there].mean()) for i in range(3)]
    assert max(errors) < 0.05
    agreement = (fitted.labels == scans.labels)[:, there].mean()
    assert agreement > 0.9


def test_several_scans_under_vmap_are_fitted_as_one_by_one(scans, fitted):
    """The last dispatch is filled up: three scans, two at once."""
    config = tiny()
    config.adapt.together = 2
    together = answers(config, scans)
    assert len(together.adapted) == 3
    np.testing.assert_allclose(together.field, fitted.field, atol=2e-2)
    np.testing.assert_allclose(together.field.mean(), fitted.field.mean(), atol=1e-3)


def test_each_scan_has_a_network_of_its_own(fitted):
    weights = [jax.tree.leaves(one.modulation["weights"]) for one in fitted.adapted]
    assert set(fitted.adapted[0].modulation) == {"weights"}
    assert not np.allclose(weights[0][0], weights[1][0], atol=1e-5)


def test_what_was_not_measured_neither_moves_the_fit_nor_its_labels(scans, fitted):
    there = scans.measured
    spoiled = scans._replace(
        intensity=np.where(there[..., None], scans.intensity, 0.5).astype(np.float32),
        labels=np.where(there, scans.labels, 0),
    )
    again = answers(tiny(), spoiled)
    np.testing.assert_array_equal(again.field, fitted.field)
    np.testing.assert_array_equal(again.labels, fitted.labels)


def test_labels_are_learned_from_only_where_the_config_says_so(scans):
    config = tiny()
    config.adapt.labels = False
    relabelled = scans._replace(labels=(scans.labels + 1) % 4)
    one, other = answers(config, scans), answers(config, relabelled)
    np.testing.assert_array_equal(one.field, other.field)
    assert one.labels is None  # nothing taught the head


def test_a_scan_without_labels_or_slo_is_fitted_and_has_no_labels(scans):
    found = answers(tiny(), scans._replace(labels=None, truth_labels=None, classes=()))
    assert found.labels is None
    assert found.intensity.shape == scans.intensity.shape


def test_a_model_with_a_head_for_labels_says_none_of_a_scan_that_has_none(scans):
    model = trained.untrained(tiny(), scans)
    assert trained.adapt_population(model, scans._replace(labels=None, truth_labels=None)).labels is None


def test_a_fit_stops_where_its_loss_is_no_longer_better(scans):
    """With a step of nothing no epoch is better than the first that counts: it and `patience` more."""
    config = tiny()
    config.adapt.rate = 0.0
    config.adapt.stop.update(patience=3, first_epoch=4)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation, "fit_epoch", counted(adaptation.fit_epoch, seen))
        answers(config, first_of(scans))
    assert seen == list(range(4 + 3))


def first_of(scans):
    """The first scan as a population of its own."""
    return type(scans)(
        *(
            value[:1] if value is not None and name not in ("measured", "classes", "note") else value
            for name, value in scans._asdict().items()
        )
    )


def counted(fit_epoch, seen):
    """fit_epoch that tells at run time which epoch it does."""

    def told(*arguments, **options):
        jax.debug.callback(lambda epoch: seen.append(int(epoch)), arguments[5].epoch)
        return fit_epoch(*arguments, **options)

    return told


@pytest.mark.slow
def test_a_fit_that_is_over_stays_as_it_is_while_others_go_on(scans):
    """One scan is of one value: its loss is soon as good as it gets; fitted beside another it ends at the same best."""
    flat = scans.intensity.copy()
    flat[0] = 0.5
    both = scans._replace(intensity=flat, labels=None, truth_labels=None, classes=())
    config = tiny()
    config.adapt.update(epochs=60, together=3)
    config.adapt.stop.update(patience=2, first_epoch=1, min_delta=1e-2)
    together = answers(config, both)
    config.adapt.together = 1
    alone = answers(config, first_of(both))
    np.testing.assert_allclose(together.field[0], alone.field[0], atol=5e-3)


@pytest.mark.parametrize("draw", ["points", pytest.param("patches", marks=pytest.mark.slow)])
def test_loose_points_and_patches_can_be_fitted_too(scans, fitted, draw):
    config = tiny()
    config.adapt.update(draw=draw, points=192, patch=(12, 10))
    config.loss.intensity = "mse" if draw == "points" else "combined"
    error = np.abs(answers(config, scans).field - scans.intensity)[:, scans.measured].mean()
    assert error < 0.08


def test_an_epoch_of_points_takes_as_many_as_were_measured(scans):
    config = tiny()
    pools = measurements.pools(scans.measured)
    config.adapt.update(draw="points", points=96)
    assert visits.draws_per_epoch(config.adapt, pools, SHAPE, len(pools.context)) == 3 * 16 * 12 // 96
    config.adapt.draw = "bscans"
    assert visits.draws_per_epoch(config.adapt, pools, SHAPE, len(pools.context)) == 3


def test_training_it_learns_nothing_and_leaves_a_model_that_can_be_restored(tmp_path, scans, monkeypatch):
    config = tiny()
    monkeypatch.setattr("inr_jax.data.load", lambda options, split: scans)
    folder = train(config, tmp_path / "w")
    assert checkpoint.latest(folder) == 0
    found = trained.restore(folder)
    assert isinstance(found, Trained)
    assert not recipe.stages(found.config)
    weights = jax.tree.leaves(trained.untrained(config, scans).params.field)
    for new, old in zip(jax.tree.leaves(found.params.field), weights, strict=True):
        np.testing.assert_array_equal(new, old)


def test_without_stages_codes_have_nobody_to_learn_them():
    config = tiny()
    config.model.modulation.parts = ("vector", "weights")
    with pytest.raises(InputError, match=r"train.stages: expected at least one of .* modulation of vector, weights"):
        recipe.stages(config)


def test_an_auto_decoder_without_codes_is_refused():
    config = tiny()
    config.train.stages = ("autodecoder",)
    with pytest.raises(InputError, match=r"train.stages: expected codes for an auto-decoder; found weights"):
        recipe.stages(config)


def test_a_fit_without_a_finite_loss_is_told_with_the_scan(scans):
    config = tiny()
    config.adapt.rate = float("nan")
    config.adapt.epochs = 2
    spoiled = scans._replace(intensity=np.full_like(scans.intensity, np.nan))
    with pytest.raises(InputError, match=r"p0-R: adapt.rate: expected a finite loss"):
        answers(config, spoiled)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapt.draw": "lines"}, "adapt.draw: expected points, patches or bscans; found 'lines'"),
        ({"adapt.draw": "points"}, r"loss.intensity: expected mse for loose points \(adapt.draw\); found 'combined'"),
    ],
)
def test_a_draw_that_cannot_be_taken_is_refused_by_name(scans, changes, said):
    config = tiny()
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=said):
        answers(config, scans)


def test_whole_b_scans_need_some_that_were_measured_whole(scans):
    holes = scans.measured.copy()
    holes[:, :, 3] = False
    with pytest.raises(InputError, match=r"adapt.draw: expected B-scans that were measured whole; found none"):
        answers(tiny(), scans._replace(measured=holes))


def test_fit_after_epochs_is_refused(scans):
    config = tiny()
    config.loss.intensity = "mse"
    model = trained.untrained(config, scans)
    with pytest.raises(InputError, match=r"fit: expected learned steps to go on from; found adapt.epochs 60"):
        trained.adapt_population(model, scans, fit=True)


def test_hash_tables_can_move_at_test_time_while_the_rest_stays(scans):
    """The reference's behaviour, `encoding` among the modulation's parts: the field differs in its tables alone."""
    config = read_config(ROOT / "configs" / "interp_oct_general.py")
    config.model.update(width=8, depth=2, encoding="hashgrid")
    config.model.encodings.hashgrid.update(levels=1, log2_size=6, coarsest=4, finest=4)
    config.model.modulation.parts = ("vector", "encoding")
    config.adapt.epochs = 2
    model = model_of(config, scans)
    found = trained.adapt_population(model, first_of(scans)).adapted[0]
    moved = modulations.add_weights(found.field, found.modulation)
    changed = [
        jax.tree_util.keystr(place)
        for (place, new), old in zip(
            jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(model.params.field), strict=True
        )
        if not np.array_equal(new, old)
    ]
    assert changed
    assert all("encoding" in place for place in changed)


def model_of(config, scans):
    """A model with random weights, as if it had been trained."""
    built = build(config, Signal.of(scans))
    params = built.init(jax.random.key(0), hyper_of(config))
    half = coordinates.half_extent(scans.measured.shape, scans.spacing)
    return Trained(config, built, params, Signal.of(scans), half, scans.classes, "")


def test_the_penalty_is_on_codes_and_not_on_changes_of_the_weights():
    """Adam's first step is against the sign of the gradient: the loss asks for more, the penalty for less."""
    batch = Batch(jnp.zeros((1, 3)), jnp.zeros((1, 1)), jnp.zeros(1, int), jnp.ones(1))
    both = {"vector": jnp.ones(1), "weights": jnp.ones(1)}
    fitting, _ = adaptation.fit_epoch(
        lambda value, *_: (-value, {}), lambda _, modulation, __: (modulation["vector"] + modulation["weights"]).sum(),
        MetaParams({}, {}, {}), lambda visit, key: batch, hyper(penalty=10.0), adaptation.begin_fitting(both),
        visits=1, rate=0.1, decay=1.0, key=jax.random.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(
        [fitting.modulation["vector"][0], fitting.modulation["weights"][0]], [0.9, 1.1], rtol=1e-5
    )


def test_the_first_epoch_begins_with_the_network_as_it_is(scans):
    config = tiny()
    model = trained.untrained(config, scans)
    pools = measurements.pools(scans.measured)
    begun = render.make_epochs(config, model.built, SHAPE, pools, pools.context).begin(jnp.int32(0))
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(begun.modulation))


@pytest.mark.parametrize("without", [("slo_imgs",), ("seg_vols", "slo_imgs")])
def test_folds_without_labels_or_slo_are_evaluated_and_what_cannot_be_scored_is_said(without, tmp_path, capsys):
    config = tiny()
    config.data.path = str(write_folds(tmp_path, people=(3, 1), without=without))
    config.data.interp_oct.update(classes=("background", "inner", "middle", "outer"), validation_people=0.3)
    config.adapt.epochs = 2
    folder = train(config, tmp_path / "w")
    found = evaluate.evaluate(folder, tmp_path / "out", compared=False)
    out = capsys.readouterr().out
    assert ("no labels in these scans" in out) == ("seg_vols" in without)
    assert (tmp_path / "out" / "layers.csv").exists() == ("seg_vols" not in without)
    assert (tmp_path / "out" / "p3_OD" / "segmentation.nii.gz").exists() == ("seg_vols" not in without)
    assert all(np.isnan(row["dice"]) == ("seg_vols" in without) for row in found.rows)
    assert all(np.isfinite(row["psnr"]) for row in found.rows)
    assert trained.restore(folder).signal.slo == ("slo_imgs" not in without)
    assert set(found.predictions) == {"inr_jax, 2 epochs"}  # not compared, and no residual put back


def test_an_evaluation_that_is_stopped_goes_on_with_the_scans_that_are_left(scans, tmp_path, monkeypatch):
    """Stopped after two of three: the third alone is fitted, and all are as if nothing had happened."""
    config, keep = tiny(), tmp_path / "fits"
    config.adapt.epochs = 2
    model, whole = trained.untrained(config, scans), answers(config, scans)
    write, written = KeptFits.write, []

    def stopping(kept, name, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        write(kept, name, *rest)
        written.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(KeptFits, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            trained.adapt_population(model, scans, keep=keep)
    assert written == ["p0-R", "p1-R"]
    begun = []
    with monkeypatch.context() as patch:
        patch.setattr(KeptFits, "write", lambda kept, name, *rest: begun.append(name))
        again = trained.adapt_population(model, scans, keep=keep)
    assert begun == ["p2-R"]
    np.testing.assert_array_equal(again.field, whole.field)
    config.adapt.rate *= 2
    assert not [name for name in scans.names if kept_fits(keep, config, model.params, scans).path(name).exists()]
