"""Training at toy size: killed and resumed to the same bits, refused under another config, logged without gaps."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_bit_equal
from real_data import real_data
from synthetic import layered_population, write_folds
from tensorboardX.proto.event_pb2 import Event
from toy import CONFIGS, ROOT, get_config, make_tiny, read_config

from inr_jax import checkpoint, data, entering, measurements, model, recipe, trained, workdir
from inr_jax.errors import InputError
from inr_jax.train import train

NEEDS = {"fundus": "chase_db1", "volumes": "ct"}  # folders of the real data
TOTAL = 12  # steps of the toy config: three stages of four, a checkpoint at every second
# Gets a signal where Orbax would give a finished checkpoint of a step or a later one its name.
DIE_IN_A_WRITE = """
import os, re, signal, sys
def die(event, arguments):
    found = event == "os.rename" and re.search(r"checkpoints/(\\d+)[^/]*tmp[^/]*$", str(arguments[0]))
    if found and int(found[1]) >= {step}:
        os.kill(os.getpid(), signal.{signal})
sys.addaudithook(die)
from inr_jax.main import run
run()
"""


def start(folder, *flags, program=("-m", "inr_jax")):
    """`inr-jax train` of the toy config in a process of its own; its messages go to a file beside the folder."""
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    command = [
        sys.executable,
        *program,
        "train",
        f"--config={ROOT / 'tests' / 'toy.py'}",
        f"--workdir={folder}",
        *flags,
    ]
    with folder.with_suffix(".txt").open("a") as messages:
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=messages, stderr=messages)


def wait_for_step(process, folder, step):
    """Until a checkpoint of that step or a later one is there."""
    deadline = time.monotonic() + 500
    while (checkpoint.latest(folder) or 0) < step:
        assert process.poll() is None, folder.with_suffix(".txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a training that nobody disturbed."""
    return train(get_config(), tmp_path_factory.mktemp("train") / "whole")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The same training stopped by SIGTERM, killed in a checkpoint's write, killed between two, and resumed each time.

    Returns its folder, and what was seen after each: exit code, newest step, other names among the checkpoints.
    """
    folder = tmp_path_factory.mktemp("train") / "interrupted"
    seen = {}

    def note(name, process):
        code = process.wait()
        others = [p.name for p in (folder / checkpoint.FOLDER).iterdir() if not p.name.isdigit()]
        seen[name] = {"code": code, "newest": checkpoint.latest(folder), "others": others}
        seen[name]["said"] = folder.with_suffix(".txt").read_text()

    process = start(folder)
    wait_for_step(process, folder, 2)
    process.send_signal(signal.SIGTERM)
    note("terminated", process)
    note("told in a write", start(folder, program=("-c", DIE_IN_A_WRITE.format(signal="SIGTERM", step=5))))
    note("in a write", start(folder, program=("-c", DIE_IN_A_WRITE.format(signal="SIGKILL", step=7))))
    process = start(folder, "--config.train.steps_per_dispatch=3")
    wait_for_step(process, folder, 10)
    process.kill()
    note("between", process)
    note("resumed", start(folder, "--config.train.steps_per_dispatch=1"))
    return folder, seen


def state_of(folder):
    """The newest state in a folder, and its step."""
    config = get_config()
    facts = json.loads((folder / workdir.MODEL).read_text())
    built = model.build(config, model.Signal(**facts["signal"]))
    like = jax.eval_shape(lambda: recipe.initial_state(config, built, facts["training_scans"]))
    return checkpoint.restore(folder, like)


@pytest.mark.slow
def test_a_training_killed_thrice_and_resumed_equals_the_undisturbed_one_bit_for_bit(whole, interrupted):
    """Also under other numbers of steps per dispatch."""
    (expected, last), (found, step) = state_of(whole), state_of(interrupted[0])
    assert last == step == TOTAL
    assert_bit_equal(found, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_143(interrupted):
    seen = interrupted[1]["terminated"]
    assert seen["code"] == 143
    last = seen["said"].strip().splitlines()[-1]
    assert re.search(rf"stopped and saved at step {seen['newest']}; the same command goes on from there", last)
    assert 2 <= seen["newest"] < TOTAL


@pytest.mark.slow
def test_sigterm_in_the_middle_of_a_checkpoint_s_write_lets_it_end_and_exits_with_143(interrupted):
    seen = interrupted[1]["told in a write"]
    assert seen["code"] == 143
    assert 5 <= seen["newest"] < TOTAL
    assert seen["others"] == []
    assert f"stopped and saved at step {seen['newest']}" in seen["said"].splitlines()[-1]


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_checkpoint_s_write_leaves_the_one_before_it(interrupted):
    seen = interrupted[1]["in a write"]
    assert seen["code"] == -signal.SIGKILL
    assert seen["newest"] < 12
    assert seen["others"]  # what was half-written
    assert interrupted[1]["between"]["newest"] >= 10
    assert interrupted[1]["resumed"] | {"said": ""} == {"code": 0, "newest": TOTAL, "others": [], "said": ""}


def records(folder):
    return [json.loads(line) for line in (folder / workdir.LOG).read_text().splitlines()]


@pytest.mark.slow
def test_logs_have_no_step_twice_and_the_numbers_of_an_undisturbed_training(whole, interrupted):
    def by_step(folder):
        kinds = [(r["step"], "validation_psnr" in r) for r in records(folder)]
        assert len(kinds) == len(set(kinds))
        assert [step for step, _ in kinds] == sorted(step for step, _ in kinds)
        free = ("seconds_per_step",)
        return {
            kind: {k: v for k, v in r.items() if k not in free} for kind, r in zip(kinds, records(folder), strict=True)
        }

    expected, found = by_step(whole), by_step(interrupted[0])
    assert {step for step, validated in expected if not validated} == set(range(2, TOTAL + 1, 2))
    assert {step for step, validated in expected if validated} == set(range(6, TOTAL + 1, 2))
    # a kill between a checkpoint and its validation's line loses that line; nothing else may differ
    assert {kind for kind in expected if not kind[1]} <= set(found) <= set(expected)
    for kind, record in found.items():
        assert record == expected[kind]


def events(folder):
    """What TensorBoard would show: the events of all files, which are length, checksum, bytes, checksum each."""
    for path in sorted((folder / "tensorboard").glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size


def test_a_training_leaves_its_config_a_manifest_and_logs(whole):
    assert json.loads((whole / workdir.CONFIG).read_text()) == workdir.plain(get_config())
    manifest = json.loads((whole / workdir.MANIFEST).read_text())
    population = data.load(get_config().data, "train")
    assert manifest["data"]["train"] == workdir.fingerprint(population)
    assert manifest["data"]["train"] != manifest["data"]["validation"]
    assert manifest["seed"] == 0
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["git"] == workdir.git_state()
    assert manifest["before"] == []
    assert all({"loss", "mse", "psnr", "gradient_norm", "seconds_per_step"} <= set(r) for r in records(whole)
               if "validation_psnr" not in r)  # fmt: skip
    values = [value for event in events(whole) for value in event.summary.value]
    scalars = {(v.tag, round(v.simple_value, 4)) for v in values if v.HasField("simple_value")}
    last = records(whole)[-2]
    assert ("loss", round(float(np.float32(last["loss"])), 4)) in scalars
    assert {v.tag for v in values if v.HasField("image")} == {"validation/given_and_answered"}
    picture = next(v.image for v in values if v.HasField("image"))
    assert (picture.height, picture.width) == (2 * 48, 24)


@pytest.mark.parametrize("seen", workdir.SEEN)
def test_the_fingerprint_of_the_data_sees_every_array_that_a_training_sees(seen):
    population = data.load(get_config().data, "validation")
    assert workdir.fingerprint(population) == workdir.fingerprint(data.load(get_config().data, "validation"))
    changed = getattr(population, seen).copy()
    changed.flat[7 % changed.size] = not changed.flat[0] if changed.dtype == bool else changed.flat[0] + 1
    before = getattr(population, seen).flat[7 % changed.size]
    assert changed.flat[7 % changed.size] != before
    assert workdir.fingerprint(population._replace(**{seen: changed})) != workdir.fingerprint(population)


def test_a_training_in_its_auto_decoder_cannot_adapt_and_says_how_far_it_is(whole, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / checkpoint.FOLDER)
    state = recipe.initial_state(get_config(), model.build(get_config(), model.Signal(3, 1, 13, True)), 2)
    for step in (2, 4):
        checkpoint.save(folder, state._replace(step=jnp.int32(step)), step=step, validation=-100.0)
        with pytest.raises(InputError, match=rf"still in its auto-decoder \(step {step} of {TOTAL}\)"):
            trained.restore(folder)


def test_a_damaged_newest_checkpoint_is_told_and_trained_again_from_the_one_before(whole, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    arrays = (folder / checkpoint.FOLDER / str(TOTAL) / "state" / "d").glob("*")
    largest = max(arrays, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    train(get_config(), folder)
    assert f"checkpoint {TOTAL} is damaged" in caplog.text
    assert_bit_equal(state_of(folder)[0], state_of(whole)[0])


def test_another_config_is_refused_by_its_key_and_allowed_when_told(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    config = get_config()
    config.hyper.segmentation = 0.5
    with pytest.raises(InputError, match=r"hyper\.segmentation was 0\.02, is 0\.5") as caught:
        train(config, folder)
    assert "\n" not in str(caught.value)
    assert json.loads((folder / workdir.CONFIG).read_text()) == workdir.plain(get_config())
    train(config, folder, allow_config_change=True)
    assert json.loads((folder / workdir.CONFIG).read_text())["hyper"]["segmentation"] == 0.5
    assert checkpoint.latest(folder) == TOTAL


def test_other_data_is_refused_by_its_fingerprint_and_allowed_when_told(whole, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(whole, folder)
    manifest = workdir.read_json(folder / workdir.MANIFEST)
    seen = manifest["data"]
    workdir.check_data(folder, seen)
    other = seen | {"validation": "0" * 64}
    with pytest.raises(InputError, match=r"other validation data \(fingerprint .{12}, now 000000000000\)"):
        workdir.check_data(folder, other)
    workdir.write_json(folder / workdir.MANIFEST, manifest | {"data": other})
    with pytest.raises(InputError, match="other validation data"):
        train(get_config(), folder)
    train(get_config(), folder, allow_config_change=True)
    resumed = workdir.read_json(folder / workdir.MANIFEST)
    assert resumed["data"] == seen
    assert [run["data"] for run in resumed["before"]] == [other]


def test_two_trainings_in_one_folder_are_refused_and_the_lock_ends_with_its_holder(whole, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(whole, folder)
    with workdir.locked(folder), pytest.raises(InputError, match="another process is training there"):
        train(get_config(), folder)
    train(get_config(), folder)


def test_a_training_that_moves_no_more_is_stopped_with_advice_in_one_line(tmp_path):
    config = get_config()
    config.train.autodecoder.rates.field = 1e30
    config.train.skipped_in_row = 3
    said = r"^train\.autodecoder\.rates\.field: .* found 1e\+30: 3 steps.*lower it"
    with pytest.raises(InputError, match=said) as caught:
        train(config, tmp_path)
    assert "\n" not in str(caught.value)


def test_keys_that_do_not_change_the_numbers_may_differ(tmp_path):
    config = get_config()
    workdir.write_json(tmp_path / workdir.CONFIG, workdir.plain(config))
    config.train.update({"steps_per_dispatch": 7, "save_every": 5, "log_every": 3, "keep": 9, "skipped_in_row": 7})
    workdir.check_config(tmp_path, config)


def test_a_log_line_cut_short_by_a_kill_is_dropped(tmp_path):
    log = tmp_path / workdir.LOG
    log.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"step": 8, "lo')
    workdir.drop_lines_after(log, 4)
    assert log.read_text() == '{"step": 2}\n{"step": 4}\n'


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train.stages": ("autodecoder", "jiont")}, "train.stages: .* found 'jiont'"),
        ({"train.stages": ()}, "train.stages: .* found none"),
        ({"train.joint.rates.fields": 1.0}, "train.joint.rates: expected field, start, rule, table; found fields"),
    ],
)
def test_stages_and_parts_that_do_not_exist_are_refused_by_name(changes, said):
    config = get_config()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
        for key, value in changes.items():
            if key.startswith("train.joint.rates"):
                config.train.joint.rates[key.rsplit(".", 1)[1]] = value
    with pytest.raises(InputError, match=said):
        recipe.stages(config)


def test_stages_follow_each_other_and_learn_what_their_rates_name():
    stages = recipe.stages(get_config())
    assert [(s.name, s.first, s.end) for s in stages] == [("autodecoder", 0, 4), ("rule", 4, 8), ("joint", 8, 12)]
    assert [set(s.learns) for s in stages] == [{"field", "table"}, {"rule", "start"}, {"field", "start", "rule"}]
    assert float(stages[2].hyper.rate_field) == np.float32(get_config().train.joint.rates.field)
    assert float(stages[2].hyper.rate_table) == 0


def before_and_after(config):
    """The states before and after the auto-decoder's end, and the model."""
    population = layered_population(people=3, shape=(5, 16, 16))
    built = model.build(config, model.Signal.of(population))
    before, after = recipe.stages(config)
    state = recipe.initial_state(config, built, subjects=6)
    device_data = measurements.to_device(population, np.float32([1, 1, 1]))
    pools = measurements.pools(population.measured)
    enter = entering.make_enter(config, after, before, built, pools, (5, 16, 16))
    return state, enter(state, device_data, after.hyper), built


def test_whitening_the_codes_changes_no_subject_s_field():
    config = get_config()
    config.train.update({"stages": ("autodecoder", "joint"), "calibrate": False, "table_scale": 1.0})
    state, entered, built = before_and_after(config)
    at = jnp.float32(np.random.default_rng(0).uniform(-1, 1, (100, 3)))
    hyper = model.hyper_of(config)
    ask = jax.jit(lambda field, codes: built.learner.bind(field, codes, None, hyper)(at)["intensity"])
    for i in range(5):
        pair = [ask(s.params.field, jax.tree.map(lambda rows, i=i: rows[i], s.table)) for s in (state, entered)]
        np.testing.assert_allclose(pair[1], pair[0], atol=1e-4)
    changed = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (state.table, entered.table)), strict=True)]
    assert min(changed) > 0.01


def test_after_the_auto_decoder_a_new_subject_starts_at_its_mean_code():
    config = get_config()
    config.train.update({"stages": ("autodecoder", "joint"), "calibrate": False, "whiten": 0.0})
    state, entered, _ = before_and_after(config)
    for mean, rows in zip(jax.tree.leaves(entered.params.start), jax.tree.leaves(state.table), strict=True):
        np.testing.assert_allclose(mean, np.asarray(rows).mean(0), atol=1e-7)
        assert np.asarray(mean).any()
    np.testing.assert_array_equal(entered.step, state.step)


def config_cases():
    """The slowest to compile are left to the slow tests: default and demo are oct but for sizes."""
    slow = ("default", "demo", "fundus", "volumes")
    return [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in slow else []) for p in CONFIGS]


@pytest.mark.parametrize("path", config_cases())
def test_every_config_trains_through_its_own_loader(path, tmp_path):
    config = make_tiny(read_config(path), steps=4)
    if config.data.name in NEEDS:
        real_data(NEEDS[config.data.name])
    if config.data.name == "interp_oct":
        config.data.path = str(write_folds(tmp_path))
    folder = train(config, tmp_path / path.stem)
    if not config.train.stages:  # one network for each scan: nothing is learned here
        assert checkpoint.latest(folder) == 0
        return
    steps = [r["step"] for r in records(folder) if "validation_psnr" not in r]
    assert steps == list(range(2, 4 * len(config.train.stages) + 1, 2))
    assert all(np.isfinite(r["loss"]) for r in records(folder) if "loss" in r)


ALIGNED_LATER = {"model.modulation.parts": ("grid", "nuisance", "weights"), "adapt.residual.length": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ALIGNED_LATER | {"adapt.labels": True, "hyper.context_labels": 1.0, "loss.intensity": "heteroscedastic"},
        {"loss.intensity": "gamma", "model.intensity": "sigmoid"},
        {"loss.balance": "own size", "hyper.segmentation": 1.0},
    ],
    ids=["motion, labels, variance", "speckle", "own size"],
)
def test_what_is_off_by_default_trains_through_all_stages_and_adapts(changes, tmp_path):
    config = get_config()
    config.update_from_flattened_dict(changes)
    folder = train(config, tmp_path)
    answer = trained.adapt_population(trained.restore(folder), data.load(config.data, "validation"))
    assert np.isfinite(answer.intensity).all()
    assert all(np.isfinite(record["loss"]) and not record["skipped"] for record in records(folder) if "loss" in record)
    moved = answer.adapted[0].modulation.get("nuisance", {})
    assert all(np.asarray(rows).any() for rows in moved.values())
