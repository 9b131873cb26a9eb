"""Many scans in one call of adapt: programs are shared, a bad one stops no other, what is there is not made again."""

import json
import os
from contextlib import suppress
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from command import Said, layers, say, tree, untrained, write_image, write_npz

import inr_jax
from inr_jax import programs
from inr_jax.main import main
from inr_jax.model import Signal
from inr_jax.scan import Scan, content_name
from inr_jax.scan_io import all_or_none
from inr_jax.types import MetaParams

SECRET = "Novak_Ada_19711231"
OTHER = (3, 32, 24)  # another shape


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model of intensities alone, with the weights it began with."""
    config = toy.get_config()
    config.train.stages = ("joint",)
    config.hyper.step_size = 0.1
    return untrained(tmp_path_factory.mktemp("many") / "model", config, Signal(3, 1, 0, False), (4.0, 0.5, 3.1))


def adapt(capsys, model: Path, out: Path, *more: object) -> Said:
    return say(capsys, "adapt", f"--workdir={model}", f"--output={out}", *more)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[list[Path], Path]:
    """Eleven scans of two shapes in two formats, and in their midst one that is none."""
    folder = tmp_path_factory.mktemp("scans")
    found = [write_npz(folder / f"{SECRET}_{i}.npz", voxels=layers(seed=i)) for i in range(8)]
    found += [write_image(folder / f"{SECRET}_{i}.nii.gz", layers(OTHER, seed=i)) for i in range(8, 11)]
    bad = folder / "bad.nii.gz"
    bad.write_text("no image")
    return [*found[:4], bad, *found[4:]], bad


def compilations(run) -> list[float]:
    """The seconds of every compilation while something runs."""
    found = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if "backend_compile" in event:
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return found


def test_of_twelve_scans_one_is_bad_and_eleven_are_written_and_a_rerun_computes_none(model, files, tmp_path, capsys):
    (scans, bad), out = files, tmp_path / "out"
    said = adapt(capsys, model, out, *scans)
    assert said.code == 3
    assert said.err == [said.err[0], f"inr-jax: 11 of 12 scans written; 1 failed: {bad}"]
    assert said.err[0].startswith(f"inr-jax: error: {bad}: ")
    written = dict(line.split(" (")[0].split(": ") for line in said.out.splitlines())
    assert list(written) == [f"scan {i}" for i, file in enumerate(scans, start=1) if file != bad]
    assert SECRET not in said.out
    assert all((Path(folder) / "intensity.nii.gz").is_file() for folder in written.values())
    assert len(set(written.values())) == len(list(out.iterdir())) == 11

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = adapt(capsys, model, out, *scans)
    assert again.code == 3
    assert again.err[1:] == [f"inr-jax: 11 of 12 scans written (11 before); 1 failed: {bad}"]
    assert [line.endswith("(written before)") for line in again.out.splitlines()] == [True] * 11
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before

    named = [path for path in out.rglob("*") if SECRET in path.name]
    assert named == []
    assert not any(SECRET.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_a_second_scan_of_a_shape_compiles_nothing_and_one_of_another_does(model, tmp_path):
    restored = inr_jax.restore(model)

    def run(name: str, shape: tuple[int, int, int], seed: int) -> list[float]:
        scan = inr_jax.load(write_npz(tmp_path / f"{name}.npz", voxels=layers(shape, seed)))
        return compilations(lambda: restored.adapt(scan).save(tmp_path / name))

    assert len(run("first", (4, 40, 24), 0)) > 0
    assert run("second", (4, 40, 24), 1) == []
    assert len(run("third", (4, 32, 24), 2)) > 0


def test_scans_that_are_adapted_at_once_have_the_answers_that_each_has_alone(model):
    restored = inr_jax.restore(model)
    shapes = {0: (5, 48, 24), 1: (3, 32, 24), 2: (5, 48, 24), 3: (5, 48, 24)}
    scans = [
        Scan(layers(shape, i), (1.0 + 0.1 * i, 0.0191, 0.252), laterality="RL"[i % 2]) for i, shape in shapes.items()
    ]
    found = restored.adapt_all(scans)
    assert [result.scan.name for result in found] == [content_name(scan) for scan in scans]
    for scan, result in zip(scans, found, strict=True):
        alone = restored.adapt(scan)
        np.testing.assert_allclose(result.own.intensity, alone.own.intensity, atol=1e-4)
        np.testing.assert_allclose(result.losses, alone.losses, rtol=1e-4)
        assert result.rows[0]["psnr"] == pytest.approx(alone.rows[0]["psnr"], abs=1e-3)
        assert result.remarks == alone.remarks
    others = found[0].own.intensity - found[2].own.intensity
    assert np.abs(others).max() > 0.05  # so that a mix-up would be seen


def test_scans_at_once_that_have_no_finite_answer_are_each_told(tmp_path, capsys):
    config = toy.get_config()
    config.train.stages = ("joint",)

    def lost(params: MetaParams) -> MetaParams:
        return params._replace(start=jax.tree.map(lambda leaf: leaf * jnp.nan, params.start))

    half = (4.0, 0.5, 3.1)
    folder = untrained(tmp_path / "model", config, Signal(3, 1, 0, False), half, change=lost)
    files = [write_npz(tmp_path / f"{i}.npz", voxels=layers(seed=i)) for i in range(2)]
    said = adapt(capsys, folder, tmp_path / "out", *files)
    assert said.code == 3
    assert said.err[-1] == f"inr-jax: 0 of 2 scans written; 2 failed: {files[0]}, {files[1]}"
    for line, file in zip(said.err[:-1], files, strict=True):
        name = content_name(inr_jax.load(file))
        assert line.startswith(f"inr-jax: error: {file}: {name}: expected steps that converge; found an answer")
    assert not (tmp_path / "out").exists()


def test_so_many_programs_are_kept_and_no_more(monkeypatch):
    monkeypatch.setattr(programs, "MOST", 2)
    kept, made = programs.Programs(), []
    for key in ("a", "b", "a", "c", "a", "b"):
        kept.kept(key, lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "b"]


@pytest.fixture
def once(model, tmp_path, capsys):
    """One scan that was adapted, and how to ask again: what was said, and whether it was written anew."""
    scan, out = write_npz(tmp_path / "a.npz"), tmp_path / "out"
    assert adapt(capsys, model, out, scan).code == 0
    (folder,) = out.iterdir()

    def again(*flags: str, of: Path = model) -> tuple[str, bool]:
        before = (folder / "intensity.nii.gz").stat().st_ino if (folder / "intensity.nii.gz").exists() else 0
        capsys.readouterr()
        code = main(["adapt", f"--workdir={of}", f"--output={out}", str(scan), *flags])
        assert code == 0
        assert {path.name for path in out.iterdir()} == {folder.name}
        return capsys.readouterr().err, (folder / "intensity.nii.gz").stat().st_ino != before

    return folder, again


def test_another_flag_or_a_missing_file_makes_it_again_and_says_why(once):
    folder, again = once
    assert again() == (again()[0], False)
    said, is_new = again("--steps=1")
    assert is_new
    assert "written before, and again: steps was None, is 1" in said
    assert not again("--steps=1")[1]
    assert again("--steps=1", "--overwrite")[1]
    (folder / "metrics.csv").unlink()
    said, is_new = again("--steps=1")
    assert is_new
    assert "metrics.csv is missing" in said
    (folder / "adapted.json").write_text("{")
    assert "its record is damaged" in again("--steps=1")[0]
    record = json.loads((folder / "adapted.json").read_text())
    (folder / "adapted.json").write_text(json.dumps(record | {"model": "0" * 64}))
    assert "another model" in again("--steps=1")[0]


def test_files_that_an_earlier_run_alone_wrote_go_with_their_folder_and_the_user_s_own_stay(tmp_path):
    for name in ("maps/old.nii.gz", "maps.png", "own/notes.nii.gz", "mixed/old.csv", "mixed/mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    with all_or_none(tmp_path, ("maps/*.nii.gz", "*.png", "mixed/*.csv", "*/notes.*")) as part:
        (part / "new.txt").write_text("now")
    assert tree(tmp_path) == {"new.txt", "own", "own/notes.nii.gz", "mixed", "mixed/mine.txt"}


def test_a_folder_that_was_not_wholly_moved_into_place_has_no_record(tmp_path, monkeypatch):
    (tmp_path / "last.json").write_text("before")
    real = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).name == "z.txt":
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with suppress(KeyboardInterrupt), all_or_none(tmp_path, last="last.json") as part:
        for name in ("a.txt", "last.json", "z.txt"):
            (part / name).write_text("now")
    assert tree(tmp_path) == {"a.txt"}


def test_results_are_called_by_the_content_unless_asked_otherwise(model, tmp_path, capsys):
    files = [write_npz(tmp_path / f"{name}.npz", voxels=layers(seed=i)) for i, name in enumerate(("ann", "bob"))]
    own = [content_name(inr_jax.load(file)) for file in files]
    assert own[0] != own[1]
    for folder, flags, names in (
        ("stem", ("--names=stem",), ["ann", "bob"]),
        ("hash", (), own),
    ):
        assert adapt(capsys, model, tmp_path / folder, *files, *flags).code == 0
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(names)
    page = (tmp_path / "hash" / own[0] / "report.html").read_text()
    assert f"<title>Adapted {own[0]}</title>" in page
    assert adapt(capsys, model, tmp_path / "one", files[0], "--name=eye-7").code == 0
    with np.load(tmp_path / "one" / "eye-7" / "modulation.npz") as file:
        assert file["names"].tolist() == ["eye-7"]
    assert "--name: expected one scan; found 2" in adapt(capsys, model, tmp_path / "two", *files, "--name=e").error
    assert (
        "--name: name: expected one that can name a folder" in adapt(capsys, model, "x", files[0], "--name=a/b").error
    )
