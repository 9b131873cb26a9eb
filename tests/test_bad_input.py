"""Whatever a user gets wrong is told in one line on stderr, with exit code 2 and nothing half-written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
import toy
from command import SHAPE, SPACING, cut, layers, run, say, tree, write_image, write_npz, write_population

TOY = f"--config={toy.ROOT / 'tests' / 'toy.py'}"
H, W, D = SHAPE[1], SHAPE[2], SHAPE[0]
NOISE = np.random.default_rng(0).random((1, 200, 64), np.float32)


class Case(NamedTuple):
    """`make` writes the input into a folder and returns the arguments; the line must hold all `words`."""

    name: str
    make: Callable[[Path], tuple]
    words: tuple[str, ...]


def scan(make: Callable[[Path], object]) -> Callable[[Path], tuple]:
    return lambda folder: (make(folder),)


def scan_of(**changes: object) -> Callable[[Path], tuple]:
    return lambda folder: (write_npz(folder / "eye.npz", **changes),)


def population_of(count: int = 2, shape: tuple[int, int, int] = SHAPE, **changes: object) -> Callable[[Path], tuple]:
    return lambda folder: (write_population(folder / "eyes.npz", count, shape, **changes),)


def text(name: str, content: str = "nothing to see") -> Callable[[Path], tuple]:
    def make(folder: Path) -> tuple:
        (folder / name).write_text(content)
        return (folder / name,)

    return make


def changed(index: tuple[int, ...], value: float) -> np.ndarray:
    voxels = layers()
    voxels[index] = value
    return voxels


def colour(folder: Path) -> tuple:
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 9, (*SHAPE, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(folder / "colour.nrrd"))
    return (folder / "colour.nrrd",)


LABELS = np.zeros(SHAPE, int)
SQUARE = (W, H, W)

SCANS = [
    Case("missing file", lambda folder: (folder / "absent.nii.gz",), ("absent.nii.gz", "no such file")),
    Case("missing npz", lambda folder: (folder / "absent.npz",), ("absent.npz", "no such file")),
    Case("a folder without scans", lambda folder: (folder,), ("expected a folder with", "found none of them")),
    Case("unknown kind", text("eye.png"), ("eye.png", "expected one of", ".nii.gz")),
    Case("not an npz", text("eye.npz"), ("eye.npz", "not an .npz file")),
    Case("not a NIfTI", text("eye.nii.gz"), ("eye.nii.gz", "not readable as an image")),
    Case("npz cut short", scan(lambda f: cut(write_npz(f / "eye.npz"))), ("eye.npz", "cut short")),
    Case("NIfTI cut short", scan(lambda f: cut(write_image(f / "eye.nii.gz", layers()))), ("eye.nii.gz", "cut short")),
    Case("second of two is missing", lambda f: (write_npz(f / "b.npz"), f / "c.npz"), ("c.npz", "no such file")),
    Case(
        "no known key", lambda f: (write_npz(f / "eye.npz", voxels=None, x=1),), ("missing key", "oct_vols or voxels")
    ),
    Case("missing spacing", scan_of(spacing=None), ("missing key", "spacing")),
    Case("missing spacing of several", population_of(spacing_oct=None), ("missing key", "spacing_oct")),
    Case("wrong rank", scan_of(voxels=np.ones((4, 4))), ("voxels", "3 axes", "(4, 4)")),
    Case("wrong rank of several", population_of(oct_vols=np.ones((4, 4, 4))), ("oct_vols", "4 axes", "(4, 4, 4)")),
    Case("colour", colour, ("colour.nrrd", "1 channel", "3 channels")),
    Case("text as voxels", scan_of(voxels=np.full(SHAPE, "a")), ("voxels", "numbers")),
    Case("pickled voxels", scan_of(voxels=np.full(SHAPE, None)), ("eye.npz", "allow_pickle")),
    Case("shapes disagree", scan_of(labels=np.zeros((5, 48, 23), int)), ("labels", "(5, 48, 24)", "(5, 48, 23)")),
    Case("shapes of several disagree", population_of(seg_vols=np.zeros((2, H, W, 4), int)), ("seg_vols", "expected")),
    Case("SLO of another shape", population_of(slo_imgs=np.ones((2, 3, 3))), ("slo_imgs", "(2, 3, 3)")),
    Case("names disagree", population_of(subject_names=np.array(["a", "a"])), ("subject_names", "2 different")),
    Case("labels outside the classes", scan_of(labels=LABELS + 99), ("labels", "-1 to 12", "99")),
    Case("labels below zero", scan_of(labels=LABELS - 1), ("labels", "0 or above", "-1")),
    Case("labels that are no integers", scan_of(labels=LABELS + 0.5), ("labels", "integers")),
    Case("NaN", scan_of(voxels=changed((2, 3, 4), np.nan)), ("voxels", "finite", "1 NaN")),
    Case("infinite", scan_of(voxels=changed((2, 3), np.inf)), ("voxels", "finite", "24 NaN or infinite")),
    Case("constant", scan_of(voxels=np.ones(SHAPE)), ("voxels", "one value everywhere")),
    Case("empty", scan_of(voxels=np.ones((0, H, W))), ("voxels", "one value everywhere", "(0, 48, 24)")),
    Case("another word for an eye", scan_of(laterality="OS"), ("laterality", "expected one of R, L", "'OS'")),
    Case("axes in a plane", scan_of(direction=np.zeros(9)), ("direction", "expected three axes")),
    Case("an origin that is none", scan_of(origin=np.array([0, np.nan, 0])), ("origin", "three finite mm")),
    Case("spacing of zero", scan_of(spacing=np.array([1, 0, 1])), ("spacing", "positive")),
    Case("W == D", population_of(shape=SQUARE, slo_imgs=np.ones((2, W, W))), ("slo_imgs", "W == D == 24", "slo_axes")),
    Case("noise larger than the box", scan_of(voxels=NOISE, spacing=np.array([1.45, 0.05, 0.25])), ("retina", "found")),
    Case("in um instead of mm", scan_of(spacing=np.array(SPACING) * 1000), ("extent", "crop the scan")),
    Case("few rows", scan_of(voxels=layers((5, 4, 24))), ("8 or more rows", "(4, 24)")),
    Case("a name with a slash", scan_of(name="../eye"), ("name", "../eye")),
    Case("a name with a slash among several", population_of(subject_names=np.array(["a", "../b"])), ("name", "'../b'")),
    Case("a name of no letters", scan_of(name=""), ("name",)),
    Case("slices of one", lambda f: ("--slices=3", write_npz(f / "a.npz", voxels=layers()[:1])), ("--slices=3",)),
]


@pytest.mark.parametrize("case", SCANS, ids=lambda case: case.name)
def test_adapt_refuses_a_bad_scan(case, toy_model, tmp_path, capsys):
    arguments = case.make(tmp_path)
    before = tree(tmp_path)
    said = say(capsys, "adapt", f"--workdir={toy_model}", *arguments, f"--output={tmp_path / 'out'}")
    assert all(word in said.error for word in case.words), said.error
    assert tree(tmp_path) - before <= {"out"}


def test_two_scans_of_one_name_are_refused_before_the_second_overwrites_the_first(toy_model, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    first, second = write_npz(tmp_path / "eye.npz"), write_npz(tmp_path / "other" / "eye.npz", voxels=layers(seed=1))
    out = tmp_path / "out"
    said = say(capsys, "adapt", f"--workdir={toy_model}", first, second, f"--output={out}", "--names=stem")
    assert said.code == 3
    assert said.err[0].startswith(f"inr-jax: error: {second}: name: eye is that of another scan here, too")
    assert said.err[1:] == [f"inr-jax: 1 of 2 scans written; 1 failed: {second}"]
    assert f"scan 1: {out / 'eye'} (" in said.out


def flag(*arguments: str) -> Callable[[Path], tuple]:
    return lambda folder: (TOY, *arguments)


def script(content: str) -> Callable[[Path], tuple]:
    def make(folder: Path) -> tuple:
        (folder / "mine.py").write_text(content)
        return (f"--config={folder / 'mine.py'}",)

    return make


def volumes(count: int, *more: str, shape: tuple[int, int, int] = (8, 16, 16)) -> Callable[[Path], tuple]:
    def make(folder: Path) -> tuple:
        (folder / "data").mkdir()
        for i in range(count):
            write_image(folder / "data" / f"p{i}.nii.gz", layers(shape, i), (1, 1, 1))
        window = ("--config.data.volumes.window=(0.0,1.0)", "--config.data.volumes.mode=patches")
        return (TOY, "--config.data.name=volumes", f"--config.data.path={folder / 'data'}", *window, *more)

    return make


def interp(make: Callable[[Path], tuple], *more: str) -> Callable[[Path], tuple]:
    return lambda folder: (TOY, "--config.data.name=interp_oct", f"--config.data.path={make(folder)[0]}", *more)


PATCH = "--config.data.volumes.patch=(8,16,16)"
TRAININGS = [
    Case("no config", lambda folder: (), ("--config=FILE", "none")),
    Case(
        "no such config", lambda f: (f"--config={f / 'absent.py'}",), ("absent.py", "found no file", "configs/oct.py")
    ),
    Case("config that raises", script("\n\nx = 1 / 0\n"), ("mine.py: line 3", "ZeroDivisionError")),
    Case("config of bad syntax", script("def get_config(:\n"), ("mine.py: line 1", "SyntaxError")),
    Case("config without get_config", script("x = 1\n"), ("mine.py", "get_config()")),
    Case("config of another type", script("def get_config():\n    return {}\n"), ("mine.py", "ConfigDict")),
    Case("mistyped key", flag("--config.train.sed=1"), ("--config.train.sed", "did you mean --config.train.seed?")),
    Case("mistyped section", flag("--config.modle.width=1"), ("did you mean --config.model.width?",)),
    Case("a section", flag("--config.train=1"), ("--config.train:",)),
    Case("no model to go on from", flag("--config.train.start_from=absent"), ("train.start_from", "absent", "model")),
    Case(
        "a model of other networks to go on from",
        flag("--config.train.start_from=phantom"),
        ("train.start_from: phantom", "model.depth was", "is 1"),
    ),
    Case(
        "text for a number",
        flag("--config.train.seed=abc"),
        ("--config.train.seed: expected a whole number; found 'abc'",),
    ),
    Case(
        "a fraction for a count",
        flag("--config.model.depth=2.5"),
        ("--config.model.depth: expected a whole number; found '2.5'",),
    ),
    Case(
        "text for a switch",
        flag("--config.model.bfloat16=maybe"),
        ("--config.model.bfloat16: expected true or false; found 'maybe'",),
    ),
    Case("text for numbers", flag("--config.data.phantom_oct.people=('a','b','c')"), ("phantom_oct.people", "numbers")),
    Case(
        "text for a fraction", flag("--config.hyper.side=abc"), ("--config.hyper.side: expected a number; found 'abc'",)
    ),
    Case(
        "a fraction among counts",
        flag("--config.data.phantom_oct.people=(2,1.5,1)"),
        ("phantom_oct.people: expected whole numbers, as in (2, 1, 1); found (2, 1.5, 1)",),
    ),
    Case("mistyped flag", flag("--workdri=w"), ("--workdri", "did you mean --workdir?")),
    Case("unknown data", flag("--config.data.name=phantom_otc"), ("data.name", "did you mean phantom_oct?")),
    Case(
        "absent data",
        flag("--config.data.name=volumes", "--config.data.path=/absent/ct"),
        ("data.path: expected a file or folder; found none at /absent/ct",),
    ),
    Case("unknown activation", flag("--config.model.activation=sin"), ("activation", "sine", "found 'sin'")),
    Case("unknown encoding", flag("--config.model.encoding=hash"), ("encoding", "hashgrid", "found 'hash'")),
    Case("unknown modulation", flag("--config.model.modulation.parts=('gird',)"), ("modulation.parts", "grid", "gird")),
    Case(
        "nothing to learn",
        flag("--config.model.modulation.parts=('weights',)"),
        ("train.stages: expected codes for an auto-decoder", "weights"),
    ),
    Case("unknown stage", flag("--config.train.stages=('meta',)"), ("train.stages", "autodecoder", "'meta'")),
    Case("no people", flag("--config.data.phantom_oct.people=(2,1,0)"), ("phantom_oct.people", "1 or more")),
    Case("two splits", flag("--config.data.phantom_oct.people=(2,1)"), ("phantom_oct.people", "three")),
    Case("seed below zero", flag("--config.data.phantom_oct.seed=-1"), ("phantom: seed: expected 0 or more", "-1")),
    Case(
        "a patch larger than a B-scan",
        flag("--config.train.autodecoder.draw=patches", "--config.train.autodecoder.patch=(64,8)"),
        ("train.autodecoder.patch: expected 1 to 48 rows and 1 to 24 A-scans; found (64, 8)",),
    ),
    Case("too few people", volumes(2, PATCH), ("data.volumes.people", "at least 3 people", "found 2")),
    Case("too few people in npz", interp(population_of(2)), ("interp_oct", "at least 3 people", "found 2")),
    Case(
        "unparsable name",
        volumes(3, PATCH, r"--config.data.volumes.subject_pattern=(?P<person>\d+)"),
        ("p0", "subject_pattern"),
    ),
    Case("not a pattern", volumes(3, PATCH, "--config.data.volumes.subject_pattern=(?P<"), ("subject_pattern",)),
    Case("smaller than a patch", volumes(3, "--config.data.volumes.patch=(16,16,16)"), ("patch", "(16, 16, 16)")),
    Case("no volumes", volumes(0, PATCH), ("data", "expected files of .nii", "found none")),
    Case("outside the window", volumes(3, PATCH, "--config.data.volumes.window=(5.0,9.0)"), ("window", "(5, 9)")),
    Case("missing key", interp(population_of(spacing_oct=None)), ("missing key", "spacing_oct")),
    Case("W == D", interp(population_of(shape=SQUARE, slo_imgs=np.ones((2, W, W)))), ("W == D == 24", "slo_axes")),
    Case(
        "a name that leaves the folder",
        interp(population_of(4, subject_names=np.array(["a", "b", "c", "../../../esc_OD"]))),
        ("eyes.npz: name: expected one that can name a folder; found '../../../esc_OD'",),
    ),
    Case("labels outside", interp(population_of(4, seg_vols=np.full((4, H, W, D), 13))), ("classes", "0 to 12", "13")),
]


@pytest.mark.parametrize("case", TRAININGS, ids=lambda case: case.name)
def test_train_refuses_a_bad_config_or_bad_data(case, tmp_path, capsys):
    arguments = case.make(tmp_path)
    before = tree(tmp_path)
    said = say(capsys, "train", *arguments, f"--workdir={tmp_path / 'run'}")
    assert all(word in said.error for word in case.words), said.error
    assert tree(tmp_path) == before


ESCAPES = ("../../../esc_OD", "/absolute", "..", ".", "a/b", "a\nb", "")


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("command", ["evaluate", "validate", "prepare"])
def test_no_scan_is_named_out_of_the_output(command, name, toy_model, tmp_path, capsys):
    names = np.array(["a", "b", "c", name])
    file = write_population(tmp_path / "eyes.npz", 4, subject_names=names)
    arguments = {
        "evaluate": (f"--workdir={toy_model}", "--config.data.name=interp_oct", f"--config.data.path={file}"),
        "validate": (f"--workdir={toy_model}", file),
        "prepare": (f"--config={toy.ROOT / 'configs' / 'prepare_oct.py'}", f"--config.path={file}"),
    }[command]
    said = say(capsys, command, *arguments, f"--output={tmp_path / 'deep' / 'out'}")
    assert f"{file}: name: expected one that can name a folder; found {name!r}" in said.error
    assert tree(tmp_path) == {"eyes.npz"}


def test_a_single_scan_is_not_named_out_of_the_output(toy_model, tmp_path, capsys):
    file = write_npz(tmp_path / "eye.npz", name="../eye")
    said = say(capsys, "validate", f"--workdir={toy_model}", file, f"--output={tmp_path / 'out'}")
    assert f"{file}: name: expected one that can name a folder; found '../eye'" in said.error
    assert tree(tmp_path) == {"eye.npz"}


def test_no_scan_is_named_as_what_an_evaluation_writes_beside_it(toy_model, tmp_path, capsys):
    file = write_population(tmp_path / "eyes.npz", 3, subject_names=np.array(["figures", "report.html", ".fits"]))
    data = ("--config.data.name=interp_oct", f"--config.data.path={file}")
    for split in ("train", "validation", "test"):
        said = say(
            capsys, "evaluate", f"--workdir={toy_model}", *data, f"--split={split}", f"--output={tmp_path / 'o'}"
        )
        assert "evaluate: name: expected another than metrics.csv, " in said.error
    assert tree(tmp_path) == {"eyes.npz"}


ADAPT = {
    "together=0": "adapt.together: expected 1 or more; found 0",
    "epochs=-1": "adapt.epochs: expected 0 or more; found -1",
    "draws=-1": "adapt.draws: expected 0 or more; found -1",
    "points=0": "adapt.points: expected 1 or more; found 0",
    "patch=(8,64)": "adapt.patch: expected 1 to 48 rows and 1 to 24 A-scans; found (8, 64)",
    "patch=(0,8)": "adapt.patch: expected 1 to 48 rows and 1 to 24 A-scans; found (0, 8)",
}


@pytest.mark.parametrize("word", ADAPT)
def test_evaluate_refuses_an_adaptation_that_cannot_be(word, toy_model, tmp_path, capsys):
    patches = ("--config.adapt.epochs=1", "--config.adapt.draw=patches") if "patch" in word else ()
    more = (*patches, f"--config.adapt.{word}", "--nobaselines", f"--output={tmp_path / 'out'}")
    assert ADAPT[word] in say(capsys, "evaluate", f"--workdir={toy_model}", *more).error
    assert not tree(tmp_path)


def test_a_data_folder_that_is_not_there_is_told_by_the_name_it_was_set_with(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("INR_JAX_DATA", "/absent")
    command = ("train", TOY, "--config.data.name=fundus", f"--workdir={tmp_path / 'run'}")
    assert re.search("INR_JAX_DATA: expected .* found none at /absent/", say(capsys, *command).error)
    error = say(capsys, *command, "--config.data.path=/absent/photographs").error
    assert error.endswith("data.path: expected a file or folder; found none at /absent/photographs")
    assert not tree(tmp_path)


def test_a_process_ends_with_code_2_and_one_line(tmp_path):
    said = run("adapt", f"--workdir={tmp_path}", "eye.nii.gz", f"--output={tmp_path / 'out'}", cwd=tmp_path)
    assert "expected a trained model" in said.error
    assert run("train", TOY, f"--workdir={tmp_path / 'run'}", "--config.train.sed=1").error.endswith("train.seed?)")
    assert not tree(tmp_path)
