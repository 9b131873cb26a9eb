"""What can be wrong with what `inr-jax prepare` takes: one line, exit code 2, and nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command import cut, environment, layers, run, say, tree, write_image, write_npz, write_population
from toy import ROOT

SCRIPT = ROOT / "configs" / "prepare_oct.py"
SHAPE = (9, 48, 24)  # B-scans, rows, A-scans: 3 fitted, 5 scored
H, W, D = SHAPE[1], SHAPE[2], SHAPE[0]
RIGHT = dict(label_suffix="_labels", fitted_every=4, folds=5)


class Case(NamedTuple):
    """`make` writes into a folder `in`; the line must hold all `words`."""

    name: str
    make: Callable[[Path], object]
    words: tuple[str, ...]
    more: tuple[str, ...] = ()  # arguments


def people(count: int = 5, **changes: object) -> Callable[[Path], object]:
    return lambda folder: write_population(folder / "eyes.npz", count, SHAPE, **changes)


def good(folder: Path) -> None:
    for i in range(5):
        write_image(folder / f"p{i}.nii.gz", layers(SHAPE, i))


def beside(suffix: str, shape: tuple[int, int, int] = SHAPE, value: float = 0.0) -> Callable[[Path], object]:
    """Five good scans; beside the third lies another image."""

    def make(folder: Path) -> None:
        good(folder)
        write_image(folder / f"p2{suffix}", np.full(shape, value, np.float32) + (layers(shape) > 0.5))

    return make


def one_other(**changes: object) -> Callable[[Path], object]:
    """Five scans, each in its .npz, of which the last one is changed."""

    def make(folder: Path) -> None:
        for i in range(5):
            write_npz(folder / f"p{i}.npz", **{"voxels": layers(SHAPE, i)} | (changes if i == 4 else {}))

    return make


def damaged(folder: Path) -> None:
    good(folder)
    cut(folder / "p3.nii.gz")


def short_slo(folder: Path) -> None:
    beside("_slo.nii.gz", (1, 30, 30))(folder)
    cut(folder / "p2_slo.nii.gz")


def text(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("nothing to see")


def noise(folder: Path) -> None:
    for i in range(5):
        voxels = np.random.default_rng(i).gamma(4, 0.25, (5, 128, 96)) ** 0.25
        write_image(folder / f"p{i}.nii.gz", voxels.astype(np.float32), (0.2, 0.007, 0.06))


def changed(index: tuple[int, ...], value: float) -> np.ndarray:
    voxels = layers(SHAPE)
    voxels[index] = value
    return voxels


def square(folder: Path) -> None:
    write_population(folder / "eyes.npz", 5, (24, 48, 24), slo_imgs=np.ones((5, 24, 24)))


TWO_EYES = ["a_R", "a_L", "b_R", "b_L", "c_R"]
CASES = [
    Case("empty folder", lambda folder: None, ("expected scans of", "found none")),
    Case("no scan", text("eye.txt"), ("expected scans of", "found none")),
    Case("no such path", good, ("path: expected a file or folder", "/absent"), ("--config.path=/absent",)),
    Case("not a NIfTI", text("p1.nii.gz"), ("folds", "found 1")),
    Case("damaged scan", damaged, ("p3.nii.gz", "cut short")),
    Case("damaged npz", lambda f: cut(people()(f)), ("eyes.npz", "cut short")),
    Case("too few people", people(4), ("expected at least 5 people for 5 folds", "found 4")),
    Case(
        "two eyes of few people", people(5, subject_names=np.array(["a_R", "a_L", "b_R", "b_L", "c_R"])), ("found 3",)
    ),
    Case("unparsable name", good, ("name p0", "subject_pattern"), ("--config.subject_pattern=(?P<person>x.*)",)),
    Case("pattern without a person", good, ("subject_pattern", "'person'"), ("--config.subject_pattern=.*",)),
    Case("bad pattern", good, ("subject_pattern: not a regular expression",), ("--config.subject_pattern=(",)),
    Case("names twice", people(5, subject_names=np.array(["a"] * 5)), ("expected every name once", "found a")),
    Case("labels of another shape", beside("_labels.nii.gz", (9, 48, 23)), ("p2_labels", "(9, 48, 24)", "(9, 48, 23)")),
    Case("labels that are no integers", beside("_labels.nii.gz", value=0.5), ("p2_labels", "integers")),
    Case("too many labels", beside("_labels.nii.gz", value=300.0), ("p2_labels", "0 to 255", "301")),
    Case("labels of one alone", beside("_labels.nii.gz"), ("p2: has labels", "False as in p0", "True")),
    Case("SLO of one alone", beside("_slo.nii.gz", (1, 30, 30)), ("p2: has an SLO", "False as in p0", "True")),
    Case("SLO cut short", short_slo, ("p2_slo.nii.gz", "cut short")),
    Case("SLO of many slices", beside("_slo.nii.gz"), ("p2_slo", "one slice of 1 channel")),
    Case("empty SLO", people(slo_imgs=np.ones((5, W, D))), ("eyes.npz", "SLO", "the value 1 everywhere")),
    Case("labels of an npz disagree", people(seg_vols=np.zeros((5, H, W, 4), int)), ("seg_vols", "expected shape")),
    Case(
        "labels without a membrane", people(seg_vols=np.zeros((5, H, W, D), int)), ("p0_OD", "membrane", "found none")
    ),
    Case("no membrane in the image", noise, ("p0.nii.gz", "Bruch's membrane", "image", "found none")),
    Case("no labels where they are asked for", good, ("membrane: expected labels", "none"), ("labels",)),
    Case("no surfaces", good, ("membrane: expected surfaces", "none"), ("surfaces",)),
    Case("W == D", square, ("eyes.npz", "W == D == 24", "slo_axes WD or DW")),
    Case("SLO of another shape", people(slo_imgs=np.ones((5, 3, 3))), ("slo_imgs", "(5, 3, 3)")),
    Case("NaN", one_other(voxels=changed((2, 3, 4), np.nan)), ("p4.npz", "1 NaN")),
    Case("an empty B-scan", one_other(voxels=changed((4,), 0.25)), ("p4", "B-scan 4", "the value 0.25 alone")),
    Case("another shape", one_other(voxels=layers((13, 48, 24))), ("p4: shape", "as in p0", "(7, 48, 24)")),
    Case("spacing of zero", one_other(spacing=np.array([1, 0, 1])), ("p4.npz", "spacing", "positive")),
    Case("wrong rank", one_other(voxels=np.ones((4, 4))), ("p4.npz", "3 axes")),
    Case("missing key", one_other(spacing=None), ("p4.npz", "missing key", "spacing")),
    Case("few B-scans", good, ("more than 32 B-scans", "found 9"), ("--config.fitted_every=32",)),
    Case("odd spacing", good, ("fitted_every: expected an even number",), ("--config.fitted_every=3",)),
    Case("large crop", good, ("crop: expected at most 48 rows",), ("--config.crop=(49,0)",)),
    Case("crop of one number", good, ("crop: expected rows and A-scans",), ("--config.crop=(20,)",)),
    Case("unknown membrane", good, ("train volumes", "membrane", "bm"), ("--config.flatten.train.membrane=bm",)),
    Case("unknown B-scans", good, ("test volumes", "bscans", "all"), ("--config.flatten.test.bscans=all",)),
    Case("target in rows", good, ("target", "65"), ("--config.flatten.target=65.0",)),
    Case("target beyond", good, ("target", "between 0.05 and 0.95, found 0.99"), ("--config.flatten.target=0.99",)),
    Case("seed below zero", good, ("seed: expected 0 or more, found -1",), ("--config.seed=-1",)),
    Case(
        "seed of phantoms below zero",
        good,
        ("phantom: seed: expected 0 or more, found -3",),
        ("--config.path=", "--config.phantom.seed=-3"),
    ),
    Case("falling percentiles", good, ("percentiles",), ("--config.percentiles=(99.0,1.0)",)),
    Case("unknown ranges", good, ("normalise_by", "fitted, all", "own"), ("--config.normalise_by=own",)),
    Case("one fold", good, ("folds: expected 2 or more",), ("--config.folds=1",)),
    Case("mistyped key", good, ("did you mean --config.folds?",), ("--config.fold=3",)),
    Case("mistyped flag", good, ("did you mean --overwrite?",), ("--overwrit",)),
    Case("a scan as an argument", good, ("expected flags alone", "eye.nii"), ("eye.nii",)),
]


def arguments(case: Case, folder: Path, output: Path) -> list[str]:
    right = [f"--config.{key}={value}" for key, value in RIGHT.items()]
    more = list(case.more)
    if more in (["labels"], ["surfaces"]):
        more = [f"--config.flatten.{part}.membrane={more[0]}" for part in ("train", "test")]
    return ["prepare", f"--config={SCRIPT}", f"--output={output}", f"--config.path={folder}", *right, *more]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_line_and_leaves_nothing(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    case.make(tmp_path / "in")
    before = tree(tmp_path)
    said = say(capsys, *arguments(case, tmp_path / "in", tmp_path / "out"))
    assert all(word in said.error for word in case.words), said.error
    assert tree(tmp_path) == before
    assert said.out == ""


def test_the_scans_that_the_corpus_spoils_are_right_before(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number, make in enumerate((good, people(), one_other())):
        folder = tmp_path / f"in{number}"
        folder.mkdir()
        make(folder)
        said = say(capsys, *arguments(Case("", make, ()), folder, tmp_path / f"out{number}"))
        assert (said.code, said.err) == (0, [])
        assert len(tree(tmp_path / f"out{number}")) == 21


def test_places_that_cannot_be_written_are_told_before_work(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "in").mkdir()
    good(tmp_path / "in")
    before = tree(tmp_path)
    for output, words in ((tmp_path / "file", "file"), (tmp_path / "file" / "out", "file"), ("/proc/out", "/proc")):
        said = say(capsys, *arguments(Case("", good, ()), tmp_path / "in", Path(output)))
        assert words in said.error
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    good(tmp_path / "in")
    (tmp_path / "locked").mkdir(mode=0o500)
    said = say(capsys, *arguments(Case("", good, ()), tmp_path / "in", tmp_path / "locked" / "out"))
    assert "locked" in said.error


def test_configs_of_other_commands_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    said = say(capsys, "prepare", f"--config={ROOT / 'configs' / 'oct.py'}", f"--output={tmp_path / 'out'}")
    assert "expected the keys of configs/prepare_oct.py; found none of" in said.error
    said = say(capsys, "train", f"--config={SCRIPT}", f"--workdir={tmp_path / 'run'}")
    assert "expected the config of a training" in said.error
    assert "--config=configs/prepare_oct.py" in say(capsys, "prepare").error
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_command_that_is_stopped_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    output = tmp_path / "new" / "out"
    words = ["prepare", f"--config={SCRIPT}", f"--output={output}", "--config.phantom.people=500"]
    process = subprocess.Popen([sys.executable, "-m", "inr_jax", *words], stderr=subprocess.PIPE, env=environment())
    begun = time.monotonic()
    while not list(output.glob(".partial-*/volumes/*.npz")) and time.monotonic() < begun + 60:
        time.sleep(0.05)
    process.send_signal(number)
    error = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 128 + number
    assert "inr-jax: stopped" in error
    assert "Traceback" not in error
    assert tree(tmp_path) == set()


def test_a_process_of_its_own_ends_with_code_2(tmp_path: Path) -> None:
    said = run("prepare", f"--config={SCRIPT}", f"--output={tmp_path / 'out'}", "--config.path=/absent")
    assert "path: expected a file or folder; found none at /absent" in said.error
    assert tree(tmp_path) == set()
