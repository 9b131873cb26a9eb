"""Variants in one program: the numbers of each alone, whatever stands beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from inr_jax import data, evaluate, sweeps, trained, variant_runs
from inr_jax.baselines import Prediction
from inr_jax.batched import WORST, Course, check
from inr_jax.chunks import LONGEST, Cost, choose, in_chunks
from inr_jax.engines import Work
from inr_jax.errors import InputError
from inr_jax.sweeps import Variant
from inr_jax.train import train
from inr_jax.types import MetaParams

GB = 2**30
CHANGES = (
    {"train.seed": 1, "hyper.omega_first": 20.0},
    {"train.seed": 1, "train.joint.rates.field": 1e30},  # diverges
    {"train.seed": 2, "hyper.side": 0.0},
    {"train.seed": 1, "hyper.omega_first": 20.0, "hyper.side_swapped": 1.0, "hyper.labelled_bscans": 1.0},
)


def small():
    config = toy.get_config()
    config.model.depth = 1
    config.model.modulation.parts = ("grid",)
    config.train.update({"stages": ("autodecoder", "joint"), "validation_scans": 2})
    config.data.phantom_oct.people = (2, 2, 1)
    return config


def work_of(changes):
    variants = tuple(Variant(f"{i:04d}", {"case": str(i)}, change) for i, change in enumerate(changes))
    return Work("one shape", variants, small().to_dict())


@pytest.fixture(scope="module")
def at_once():
    return list(variant_runs.run(work_of(CHANGES), lambda _: None, over="vmap"))


@pytest.fixture(scope="module")
def in_turn():
    return list(variant_runs.run(work_of(CHANGES), lambda _: None, over="map"))


def close(a, b):
    """Two results of one variant: losses to float32's rounding over the steps, scores to a thousandth."""
    np.testing.assert_allclose([e["loss"] for e in a["curve"]], [e["loss"] for e in b["curve"]], rtol=2e-4)
    for x, y in zip(a["rows"], b["rows"], strict=True):
        assert (x["subject"], x["kind"]) == (y["subject"], y["kind"])
        np.testing.assert_allclose([x["psnr"], x["dice"]], [y["psnr"], y["dice"]], atol=1e-3)


@pytest.mark.parametrize("v", [0, 2, 3])
def test_a_variant_has_the_same_numbers_with_others_as_by_itself(at_once, in_turn, v):
    (alone,) = variant_runs.run(work_of([CHANGES[v]]), lambda _: None)
    assert at_once[v]["status"] == in_turn[v]["status"] == alone["status"] == "finished"
    close(at_once[v], alone)
    close(in_turn[v], alone)


def test_a_variant_has_the_numbers_of_the_train_command_and_of_the_model_it_restores(at_once, tmp_path):
    config = sweeps.configured(small(), CHANGES[0])
    model = trained.restore(train(config, tmp_path / "alone"))
    scans = data.load(config.data, "validation")
    answer = trained.adapt_population(model, scans)
    predictions = {"inr_jax, 2 steps": Prediction(answer.intensity, answer.labels, "")}
    rows, _ = evaluate.score_all(scans, predictions, split="validation", layered=True)
    assert [row["method"] for row in rows] == [row["method"] for row in at_once[0]["rows"]]
    close({"curve": [], "rows": rows}, {"curve": [], "rows": at_once[0]["rows"]})


def test_a_variant_that_diverges_is_told_and_has_no_scores(at_once):
    assert [result["status"] for result in at_once] == ["finished", "diverged", "finished", "finished"]
    assert at_once[1]["rows"] == []
    assert at_once[1]["reason"]
    assert all(entry["loss"] is None or np.isfinite(entry["loss"]) for entry in at_once[1]["curve"])


def test_a_training_that_loses_what_it_had_learned_has_diverged():
    seen = [None, np.array([25.0, 25.0, 25.0]), np.array([23.0, 15.0, WORST])]
    curve = [{"step": i, "loss": np.ones(3), "validation_psnr": psnr} for i, psnr in enumerate(seen)]
    course = Course(MetaParams({}, {}, {}), curve, {"joint": np.zeros(3)}, 1.0)
    reasons = [variant_runs.diverged(course, v) for v in range(3)]
    assert reasons == ["", "its validation fell from 25.0 to 15.0 dB", "its validation is not finite at step 2"]


def test_results_tell_sizes_and_times(at_once):
    result = at_once[0]
    assert result["modulation_size"] == 2 * 2 * 4
    assert result["note"] == "phantom"
    assert result["skipped"] == {"autodecoder": 0.0, "joint": 0.0}
    assert at_once[1]["skipped"]["joint"] > 0
    assert result["together"]["variants"] == len(CHANGES)
    seconds = [entry["seconds"] for entry in result["curve"]]
    assert 0 < seconds[0] < seconds[-1] == result["seconds_training"]
    assert [entry["step"] for entry in result["curve"]] == [2, 4, 6, 8]
    assert [entry["validation_psnr"] is None for entry in result["curve"]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.stages", (), "found none"),
        ("train.stop.epochs", 3, r"train\.stop"),
        ("adapt.epochs", 3, r"adapt\.epochs: expected 0"),
    ],
)
def test_a_training_that_is_none_of_fixed_steps_is_refused(key, value, message):
    config = small()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=message):
        check(config)


def cost(**changes):
    return Cost(GB, GB // 2, GB // 100, 1.0, 0.5, 10.0, 0.0)._replace(**changes)


@pytest.mark.parametrize(("variants", "size"), [(1, 1), (5, 5), (7, 7), (8, 4), (64, 7)])
def test_as_many_at_once_as_memory_holds_in_chunks_of_like_size(variants, size):
    assert choose(cost(), variants, 4 * GB) == (size, "vmap")
    assert cost().bytes_of(7, "vmap") == 4 * GB


def test_the_faster_way_is_taken_unless_one_is_asked_for():
    assert choose(cost(step_vmap=1.5), 3, 4 * GB) == (3, "map")
    assert choose(cost(step_vmap=float("nan")), 1, 4 * GB) == (1, "map")
    assert choose(cost(step_vmap=1.5), 3, 4 * GB, "vmap") == (3, "vmap")


def test_one_after_the_other_no_more_are_begun_than_end_in_good_time():
    assert choose(cost(step_vmap=2.0, training=LONGEST / 3.5), 12, 10**15) == (3, "map")
    assert choose(cost(step_vmap=2.0, training=LONGEST * 2), 12, 10**15) == (1, "map")


def test_a_variant_that_is_too_large_by_itself_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"at most 0\.50 GB; one takes 1\.00 GB"):
        choose(cost(), 4, GB // 2)


def test_where_memory_gives_out_chunks_are_halved_and_every_item_is_computed_once(caplog):
    @jax.jit
    def sorted_sum(x):  # a sort of the whole has to hold it: 2^46 bytes
        return jnp.sort(jnp.broadcast_to(x, (2**19, 2**19, 64)) + jnp.arange(64), axis=0).sum()

    seen = []

    def compute(chunk):
        seen.append(len(chunk))
        if len(chunk) > 2:
            sorted_sum(jnp.float32(1.0)).block_until_ready()
        return [10 * item for item in chunk]

    assert list(in_chunks(compute, [1, 2, 3, 4, 5, 6, 7], 7)) == [10, 20, 30, 40, 50, 60, 70]
    assert seen == [7, 4, 2, 2, 2, 1]
    assert "going on with 4 at once" in caplog.text


def test_another_error_is_no_want_of_memory():
    def compute(chunk):
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        list(in_chunks(compute, [1, 2], 2))
