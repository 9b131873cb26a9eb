"""`inr-jax ablate`: the same table however it is computed and whatever dies; one line where it cannot be."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import environment, say

from inr_jax.main import main
from inr_jax.sweep_results import DIVERGED, FINISHED, read_sweep

TESTS = Path(__file__).parent
AXES = """
def sweep_activation():
    yield {"model.activation": "sine"}
    yield {"model.activation": "relu"}
    yield {"model.activation": "wire"}

def sweep_width():
    yield {"model.width": 16}
    yield {"model.width": 12}

def sweep_seed():
    for seed in range(4):
        yield {"train.seed": seed}

def sweep_points():
    yield {"train.joint.points": 64}
    yield {"train.joint.points": 200_000}

def sweep_nothing():
    yield from ()

def sweep_mistyped():
    yield {"model.widht": 3}

def sweep_again():
    yield {"model.width": 3}
"""
SMALL = (
    f"--config={TESTS / 'toy.py'}",
    "--config.model.modulation.parts=('grid',)",
    "--config.model.depth=1",
    "--config.train.stages=('joint',)",
    "--config.train.calibrate=False",
    "--config.train.whiten=0.0",
)
MIXED = "--sweep=width,seed"  # 2 shapes of 4 seeds
WHOLE = "--sweep=activation,width,seed"  # 6 shapes of 4 seeds


@pytest.fixture(scope="module")
def axes(tmp_path_factory):
    file = tmp_path_factory.mktemp("axes") / "axes.py"
    file.write_text(AXES)
    return f"--axes={file}"


@pytest.fixture(scope="module")
def undisturbed(axes, tmp_path_factory):
    """The folder of a sweep that was computed in one go."""
    return in_one_go(axes, tmp_path_factory.mktemp("undisturbed") / "sweep", MIXED)


def in_one_go(axes, folder, sweep):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["ablate", *SMALL, axes, f"--workdir={folder}", "--over=map", sweep]) == 0
    (folder / "printed.txt").write_text(said.getvalue())
    return folder


def started(axes, folder, *more):
    """The command, in a process of its own; map, so that no time goes into choosing."""
    return subprocess.Popen(
        [sys.executable, "-m", "inr_jax", "ablate", *SMALL, axes, f"--workdir={folder}", "--over=map", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=environment(JAX_DISABLE_MOST_OPTIMIZATIONS="1"),
    )  # fmt: skip


def results(folder):
    return sorted((folder / "results").glob("[0-9]*.json"))


def wait_for_results(folder, process, count):
    until = time.monotonic() + 200
    while len(results(folder)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def table(folder):
    """Of every variant its settings and status, and its scores."""
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    words = {
        row["variant"]: [row[key] for key in ("activation", "width", "seed", "status") if key in row] for row in rows
    }
    scores = [key for key in rows[0] if "psnr" in key or "dice" in key]
    assert scores
    return words, np.array([[float(row[key]) for key in scores] for row in rows])


def same_tables(a, b):
    (words, scores), (other_words, other_scores) = table(a), table(b)
    assert words == other_words
    np.testing.assert_allclose(scores, other_scores, atol=1e-3)


def workers_of(driver):
    """Processes of Ray's workers that compute, among the descendants of a driver."""
    found, children = [], [driver]
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    while children:
        parent = children.pop()
        for pid, ppid, args in rows:
            if int(ppid) == parent:
                children.append(int(pid))
                if args.startswith("ray::Worker"):
                    found.append(int(pid))
    return found


def test_every_variant_of_the_product_is_trained_and_scored(undisturbed):
    done = read_sweep(undisturbed)
    assert len(done.results) == 8
    assert {result.status for result in done.results} == {FINISHED}
    groups = {json.loads(file.read_text())["together"]["variants"] for file in results(undisturbed)}
    assert groups == {4}  # the seeds of a shape
    assert "report: " in (undisturbed / "printed.txt").read_text()


@pytest.mark.slow
def test_ray_gives_the_same_table_although_a_worker_and_then_the_driver_are_killed_in_the_middle(axes, tmp_path):
    pytest.importorskip("ray")
    here, there = in_one_go(axes, tmp_path / "here", WHOLE), tmp_path / "there"
    by_ray = (WHOLE, "--engine=ray", "--workers=2", "--worker-threads=1")
    driver = started(axes, there, *by_ray)
    wait_for_results(there, driver, 4)
    os.kill(workers_of(driver.pid)[0], signal.SIGKILL)
    wait_for_results(there, driver, 12)
    os.kill(driver.pid, signal.SIGKILL)
    _, err = driver.communicate()
    assert "the worker died" in err
    before = {file: file.stat().st_mtime_ns for file in results(there)}
    again = started(axes, there, *by_ray)
    _, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(results(there)) == 24
    same_tables(there, here)


@pytest.mark.slow
def test_after_a_driver_is_killed_the_rest_alone_is_computed(undisturbed, axes, tmp_path, capsys):
    folder = tmp_path / "sweep"
    driver = started(axes, folder, MIXED)
    wait_for_results(folder, driver, 1)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = {file: file.stat().st_mtime_ns for file in results(folder)}
    assert 1 <= len(before) < 8
    half = say(capsys, "report", folder)
    assert f"{8 - len(before)} not finished" in half.out
    said = say(capsys, "ablate", *SMALL, axes, MIXED, "--over=map", f"--workdir={folder}")
    assert said.code == 0, said.err
    assert {file: file.stat().st_mtime_ns for file in before} == before
    same_tables(folder, undisturbed)


def test_the_best_config_trains_as_it_is(undisturbed, tmp_path, capsys):
    said = say(capsys, "train", f"--config={undisturbed / 'best.py'}", f"--workdir={tmp_path / 'best'}")
    assert said.code == 0, said.err


def test_a_sweep_that_is_whole_is_not_computed_again(undisturbed, axes, tmp_path, capsys):
    folder = tmp_path / "sweep"
    shutil.copytree(undisturbed, folder)
    before = {file: file.stat().st_mtime_ns for file in results(folder)}
    assert say(capsys, "ablate", *SMALL, axes, MIXED, "--over=map", f"--workdir={folder}").code == 0
    assert {file: file.stat().st_mtime_ns for file in results(folder)} == before


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--sweep=activation,seed",), "another one (other axes, varied, variants)"),
        ((MIXED, "--config.model.depth=3"), "another one (other base: model.depth was 1, is 3)"),
    ],
)
def test_a_folder_of_another_sweep_is_refused_and_left(more, what, undisturbed, axes, capsys):
    before = (undisturbed / "sweep.json").read_bytes()
    assert what in say(capsys, "ablate", *SMALL, axes, f"--workdir={undisturbed}", *more).error
    assert (undisturbed / "sweep.json").read_bytes() == before


def test_a_folder_of_a_training_is_refused(toy_model, axes, capsys):
    assert "found a training" in say(capsys, "ablate", *SMALL, axes, MIXED, f"--workdir={toy_model}").error


@pytest.mark.parametrize(
    ("sweep", "what"),
    [
        ("--sweep=activaton", "activation"),
        ("--sweep=nothing", "sweep_nothing"),
        ("--sweep=mistyped", "did you mean model.width"),
        ("--sweep=width,again", "model.width"),
        ("--sweep=", "--sweep"),
    ],
)
def test_a_sweep_that_cannot_be_planned_is_one_line_and_no_folder(sweep, what, axes, tmp_path, capsys):
    assert what in say(capsys, "ablate", *SMALL, axes, sweep, f"--workdir={tmp_path / 'sweep'}").error
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_shape_too_large_for_memory_is_told_and_the_others_are_computed(axes, tmp_path, capsys):
    folder = tmp_path / "sweep"
    said = say(capsys, "ablate", *SMALL, axes, "--sweep=points", "--memory=0.02", f"--workdir={folder}")
    assert said.code == 2
    assert "1 of 2 failed" in said.err[-1]
    assert "expected a variant of at most 0.02 GB; one takes" in said.err[-1]
    assert [result.status for result in read_sweep(folder).results] == ["finished", "failed"]


@pytest.mark.slow
def test_a_variant_that_diverges_is_in_the_tables_as_such(axes, tmp_path, capsys):
    folder = tmp_path / "sweep"
    more = ("--config.hyper.step_size=1e30", "--sweep=seed")
    said = say(capsys, "ablate", *SMALL, axes, *more, f"--workdir={folder}")
    assert said.code == 0, said.err
    assert {result.status for result in read_sweep(folder).results} == {DIVERGED}
    assert "4 diverged" in said.out
    assert not (folder / "best.py").exists()


def test_a_dry_run_prints_groups_memory_and_time_and_writes_nothing(axes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = say(capsys, "ablate", *SMALL, axes, "--sweep=width", "--dry-run")
    assert said.code == 0, said.err
    assert "2 variants in 2 groups" in said.out
    planned, groups = said.out.split("2 variants in 2 groups of one shape")
    group, other = (line.split()[0] for line in planned.splitlines() if "width=" in line)
    assert f"{group}  0000 (width=16)" in planned
    assert f"{other}  0001 (width=12)" in planned
    assert [line.split()[:2] for line in groups.splitlines() if "width=" in line] == [[group, "1"], [other, "1"]]
    assert list(tmp_path.iterdir()) == []
