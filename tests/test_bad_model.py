"""No model, a damaged one or one of another kind, an output that cannot be written: one line, nothing half-written."""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import toy
from command import cut, environment, say, tree, untrained, write_npz, write_population

from inr_jax.main import main
from inr_jax.model import Signal

# A full disk cuts the programs, too, that the tests share: half of one is there to the end, and compiled at every use.
KEPT_FROM, NEVER = "jax_persistent_cache_min_compile_time_secs", "1e9"  # seconds
TOY = f"--config={toy.ROOT / 'tests' / 'toy.py'}"


def without_checkpoints(toy_model: Path, folder: Path) -> Path:
    return shutil.copytree(toy_model, folder / "w", ignore=shutil.ignore_patterns("checkpoints"))


def damage(folder: Path) -> None:
    """Cuts the arrays of a checkpoint in half."""
    for file in [f for f in folder.rglob("*") if f.is_file() and f.parent.name == "d"]:
        cut(file)


def of_images(toy_model: Path, folder: Path) -> Path:
    config = toy.make_tiny(toy.read_config(toy.ROOT / "configs" / "fundus.py"), steps=1)
    return untrained(folder / "w", config, Signal(2, 3, 0, slo=False), (1.0, 1.0))


def cut_config(toy_model: Path, folder: Path) -> Path:
    shutil.copytree(toy_model, folder / "w")
    cut(folder / "w" / "config.json")
    return folder / "w"


MODELS = {
    "no folder": (lambda model, folder: folder / "absent", ("absent", "expected a trained model")),
    "not a training": (lambda model, folder: folder, ("expected a trained model (config.json)",)),
    "config cut short": (cut_config, ("config.json", "expected JSON")),
    "no checkpoint": (without_checkpoints, ("expected a trained model (checkpoints/)", "found no checkpoint")),
    "a model of images": (of_images, ("expected a model of volumes", "2D images")),
}


@pytest.mark.parametrize("kind", MODELS)
def test_adapt_refuses_what_is_no_model_for_the_scan(kind, toy_model, tmp_path, capsys):
    make, words = MODELS[kind]
    model, eye = make(toy_model, tmp_path), write_npz(tmp_path / "eye.npz")
    said = say(capsys, "adapt", f"--workdir={model}", eye, f"--output={tmp_path / 'out'}")
    assert all(word in said.error for word in words), said.error
    assert not any(name.startswith("out/") for name in tree(tmp_path))


@pytest.mark.parametrize("kind", ["not a training", "no checkpoint"])
def test_evaluate_refuses_what_is_no_model(kind, toy_model, tmp_path, capsys):
    make, words = MODELS[kind]
    said = say(capsys, "evaluate", f"--workdir={make(toy_model, tmp_path)}", f"--output={tmp_path / 'out'}")
    assert all(word in said.error for word in words), said.error
    assert not (tmp_path / "out").exists()


def adapt_aloud(capfd, model: Path, folder: Path) -> tuple[int, list[str]]:
    """Exit code, and all that stands on stderr but progress."""
    eye = write_npz(folder / "eye.npz")
    capfd.readouterr()
    code = main(["adapt", f"--workdir={model}", str(eye), f"--output={folder / 'out'}", "--name=eye"])
    said = capfd.readouterr().err.splitlines()
    remarks = ("laterality", "SLO", "not calibrated", "unlike those it knows", "trained on a phantom")
    return code, [line for line in said if not any(remark in line for remark in remarks)]


def test_a_damaged_checkpoint_is_told_in_one_line_and_another_used(toy_model, tmp_path, capfd):
    model = shutil.copytree(toy_model, tmp_path / "w")
    logged = map(json.loads, (model / "metrics.jsonl").read_text().splitlines())
    validated = {line["step"]: line["validation_psnr"] for line in logged if "validation_psnr" in line}
    assert len(validated) > 1
    best = max(sorted(validated, reverse=True), key=validated.__getitem__)  # the newest of equals
    damage(model / "checkpoints" / str(best))
    code, said = adapt_aloud(capfd, model, tmp_path)
    assert code == 0
    assert len(said) == 1
    assert re.search(rf"checkpoint {best} is damaged .* trying the one before", said[0])
    assert (tmp_path / "out" / "eye" / "intensity.nii.gz").is_file()


def test_a_model_without_a_whole_checkpoint_is_refused(toy_model, tmp_path, capfd):
    model = shutil.copytree(toy_model, tmp_path / "w")
    steps = list((model / "checkpoints").iterdir())
    for step in steps:
        damage(step)
    code, said = adapt_aloud(capfd, model, tmp_path)
    assert code == 2
    assert len(said) == len(steps) + 1
    assert f"none of the {len(steps)} checkpoints could be read" in said[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["adapt", "evaluate"])
def test_an_output_that_cannot_be_a_folder_is_told_before_any_work(command, toy_model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    scans = [write_npz(tmp_path / "eye.npz")] if command == "adapt" else []
    before = tree(tmp_path)
    said = say(capsys, command, f"--workdir={toy_model}", *scans, f"--output={tmp_path / 'file' / 'out'}")
    assert "file/out: expected a folder that can be made" in said.error
    assert tree(tmp_path) == before


def test_train_tells_that_its_folder_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    said = say(capsys, "train", TOY, f"--workdir={tmp_path / 'file' / 'run'}")
    assert f"expected a folder that can be made; found the file {tmp_path / 'file'}" in said.error
    assert tree(tmp_path) == {"file"}


def test_a_full_disk_leaves_nothing_half_written(toy_model, tmp_path, capsys):
    eye = write_npz(tmp_path / "eye.npz")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update(KEPT_FROM, float(NEVER))
    try:
        said = say(capsys, "adapt", f"--workdir={toy_model}", eye, f"--output={tmp_path / 'out'}", "--name=eye")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        jax.config.update(KEPT_FROM, before)
    assert f"{tmp_path / 'out' / 'eye'}" in said.error
    assert "cannot be written" in said.error
    assert tree(tmp_path) == {"eye.npz", "out"}


@pytest.fixture
def unlabelled(toy_model, tmp_path) -> tuple:
    """Arguments of an evaluation of seconds: four people without labels, of whom one is tested."""
    slo = np.random.default_rng(0).random((4, 24, 5))
    file = write_population(tmp_path / "eyes.npz", 4, slo_imgs=slo)
    return (
        f"--workdir={toy_model}", "--config.data.name=interp_oct", f"--config.data.path={file}",
        "--config.adapt.epochs=1", "--nobaselines", f"--output={tmp_path / 'out'}",
    )  # fmt: skip


def test_an_evaluation_replaces_the_one_before_and_leaves_all_else(unlabelled, tmp_path, capsys):
    assert say(capsys, "evaluate", *unlabelled).code == 0
    out = tmp_path / "out"
    written = tree(out)
    (subject,) = (path.name for path in out.iterdir() if (path / "intensity.nii.gz").is_file())
    before = ("metrics.csv", "layers.csv", "figures/thickness.png", f"{subject}/segmentation.ctbl")
    others = ("notes.txt", "segmentation.ctbl", "paper/layers.csv", "figures/notes.txt", f"{subject}/notes.txt")
    for name in before + others:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("before")
    assert say(capsys, "evaluate", *unlabelled).code == 0
    assert tree(out) == written | set(others) | {"paper"}
    assert (out / "metrics.csv").read_text() != "before"


def test_an_evaluation_that_cannot_be_written_writes_nothing_and_keeps_its_fits(unlabelled, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "report.html").mkdir(parents=True)
    said = say(capsys, "evaluate", *unlabelled)
    assert f"{out / 'report.html'}: expected a file or none; found a folder" in said.error
    assert {path.name for path in out.iterdir()} == {"report.html", ".fits"}
    assert len(list((out / ".fits").iterdir())) == 1
    (out / "report.html").rmdir()
    assert say(capsys, "evaluate", *unlabelled).code == 0
    assert not (out / ".fits").exists()
    assert (out / "metrics.csv").is_file()


@pytest.mark.parametrize("word", ["data.interp_oct.fold=7", "data.path=/absent"])
def test_an_evaluation_of_data_that_are_not_there_leaves_no_folder(word, unlabelled, tmp_path, capsys):
    (tmp_path / "folds").mkdir()
    more = (f"--config.data.path={tmp_path / 'folds'}", f"--config.{word}")
    assert say(capsys, "evaluate", *unlabelled, *more).error
    assert tree(tmp_path) == {"eyes.npz", "folds"}


@pytest.mark.parametrize("command", [pytest.param("train", marks=pytest.mark.slow), "evaluate"])
def test_a_disk_that_fills_up_ends_with_a_line_that_says_so_and_no_half_written_file(command, toy_model, tmp_path):
    output = tmp_path / "out"
    flags = [f"--workdir={toy_model}", f"--output={output}"] if command == "evaluate" else [TOY, f"--workdir={output}"]
    done = subprocess.run(
        [sys.executable, "-m", "inr_jax", command, *flags], capture_output=True, text=True,
        env=environment(**{KEPT_FROM.upper(): NEVER}), check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(rf"^inr-jax: error: {output}.*(cannot be written|expected a writable place)", done.stderr, re.M)
    assert not [name for name in tree(output) if "tmp" in name or re.search(r"/\.(?!lock)", f"/{name}")]
