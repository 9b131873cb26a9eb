"""inr-jax prepare: folds by person that load as they are, the same ones every time, and the way back."""

import ast
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import say, tree
from ml_collections import ConfigDict
from toy import ROOT, read_config

from configs.default import data
from inr_jax import prepare as command
from inr_jax import workdir
from inr_jax.config_script import load_config
from inr_jax.data import load
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.flattening import membrane_of_labels
from inr_jax.main import COMMANDS
from inr_jax.npz_io import read_npz, read_npz_scans
from inr_jax.phantom import make_eye
from inr_jax.prepare import prepare
from inr_jax.records import read_records, restored_scan

SCRIPT = ROOT / "configs" / "prepare_oct.py"
SHAPE = (97, 64, 40)  # 4 fitted B-scans, 7 scored


def toy_config(**changes: object) -> ConfigDict:
    config = load_config(SCRIPT)
    config.phantom.update({"people": 6, "shape": SHAPE})
    config.update(changes)
    return config


def loading(folder: Path, **changes: object) -> ConfigDict:
    config = data()
    config.name, config.path = "interp_oct", str(folder)
    config.interp_oct.update(changes)
    return config


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(toy_config(), tmp_path_factory.mktemp("prepared") / "folds")


def test_all_five_folds_load_as_they_are_and_no_person_is_in_two_splits(folds: Path) -> None:
    tested = []
    for fold in range(1, 6):
        splits = [load(loading(folds, fold=fold), split) for split in ("train", "validation", "test")]
        people = [set(split.people) for split in splits]
        assert sum(map(len, people)) == len(set.union(*people)) == 6
        for split in splits:
            assert split.intensity.shape[1:] == (7, 64, 40, 1)
            assert len(split.names) == 2 * len(set(split.people))  # both eyes stay together
            assert split.labels is not None
            assert split.slo.shape[1:] == (7, 40)
            assert split.measured[::2].all()
            assert not split.measured[1::2].any()
            assert split.note == "phantom"  # a number from it will be called so
        tested.append(people[2])
    assert sorted(person for group in tested for person in group) == [f"phantom-{i:04d}" for i in range(6)]


def test_files_names_keys_axes_and_spacing_are_those_of_the_contract(folds: Path) -> None:
    names = {
        f"dataset_flat_subsmpl{e}_{p}_fold{k}.npz" for e in (16, 32) for p in ("train", "test") for k in range(1, 6)
    }
    assert tree(folds) == names | {"manifest.json"}
    dense = make_eye(person=0, laterality="R", shape=SHAPE).spacing
    for every, count in ((16, 7), (32, 4)):
        arrays = read_npz(folds / f"dataset_flat_subsmpl{every}_train_fold1.npz")
        eyes = len(arrays["subject_names"])
        assert set(arrays) == {"oct_vols", "seg_vols", "slo_imgs", "subject_names", "spacing_oct", "valid_vols"}
        shapes = {arrays[key].shape for key in ("oct_vols", "seg_vols", "valid_vols")}
        assert shapes == {(eyes, 64, 40, count)}
        assert arrays["slo_imgs"].shape == (eyes, 40, count)
        np.testing.assert_allclose(arrays["spacing_oct"][0], (dense[1], dense[2], dense[0] * every))
        assert arrays["seg_vols"].dtype == np.uint8
        assert (arrays["oct_vols"].min(), arrays["oct_vols"].max()) == (0, 1)


def test_other_spacings_name_other_files(tmp_path: Path) -> None:
    config = toy_config(fitted_every=4, folds=2)
    config.phantom.update({"people": 2, "eyes": 1, "shape": (9, 64, 24)})
    found = prepare(config, tmp_path / "out")
    assert (found / "dataset_flat_subsmpl4_test_fold2.npz").is_file()
    assert (found / "dataset_flat_subsmpl2_test_fold2.npz").is_file()
    assert len(tree(found)) == 9


def test_the_same_config_gives_the_same_bytes_and_another_seed_other_folds(folds: Path, tmp_path: Path) -> None:
    again = prepare(toy_config(), tmp_path / "again")
    assert tree(again) == tree(folds)
    for name in tree(again):
        assert (again / name).read_bytes() == (folds / name).read_bytes(), name
    other = prepare(toy_config(seed=1), tmp_path / "other")
    dealt = [json.loads((f / "manifest.json").read_text())["folds"] for f in (folds, other)]
    assert dealt[0] != dealt[1]


def test_everything_written_goes_back_to_the_scan_it_came_from(folds: Path) -> None:
    """Through the files alone: folds and manifest."""
    for part in ("train", "test"):
        records = read_records(folds, part)
        for scan in read_npz_scans(folds / f"dataset_flat_subsmpl16_{part}_fold2.npz"):
            record = records[scan.name]
            dense = scan_of(make_eye(person=int(record.person[-4:]), laterality=record.laterality, shape=SHAPE))
            back = restored_scan(scan.voxels, scan.labels, record)
            chosen = dense.voxels[::16]
            inside = (chosen >= record.low[:, None, None]) & (chosen <= record.high[:, None, None]) & back.valid
            assert inside.mean() > 0.85
            np.testing.assert_allclose(back.voxels[inside], chosen[inside], atol=1e-6)
            np.testing.assert_array_equal(back.labels[back.valid], dense.labels[::16][back.valid])
            np.testing.assert_allclose(back.spacing, np.multiply(dense.spacing, (16, 1, 1)))


def test_labels_flatten_what_is_learned_and_never_what_is_tested(folds: Path) -> None:
    """The rows below a flat volume's BM tell nothing about a test eye that its fitted B-scans did not."""
    for part, on_one_row in (("train", True), ("test", False)):
        scans = read_npz_scans(folds / f"dataset_flat_subsmpl16_{part}_fold1.npz")
        spread = np.nanstd([membrane_of_labels(scan.labels) for scan in scans])
        assert (spread == 0) == on_one_row
        records = read_records(folds, part).values()
        assert {r.membrane for r in records} == {"labels of every B-scan" if on_one_row else "image of fitted B-scans"}


def test_the_other_column_flattens_test_eyes_by_their_own_labels(tmp_path: Path) -> None:
    config = toy_config(folds=2)
    config.phantom.update({"people": 2, "eyes": 1})
    config.flatten.test.update({"membrane": "labels", "bscans": "every"})
    found = prepare(config, tmp_path / "out")
    (scan,) = read_npz_scans(found / "dataset_flat_subsmpl16_test_fold1.npz")
    np.testing.assert_array_equal(membrane_of_labels(scan.labels), np.full((7, 40), int(0.65 * 64)))
    assert len(json.loads((found / "manifest.json").read_text())["volumes"]) == 4


def test_a_failure_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    config = toy_config(folds=2)
    config.phantom.update({"people": 2, "eyes": 1})
    monkeypatch.setattr(command, "fold_arrays", fail)
    with pytest.raises(ValueError, match="out: cannot be written: No space left on device"):
        prepare(config, tmp_path / "new" / "out")
    assert tree(tmp_path) == set()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    monkeypatch.setattr(command, "fold_arrays", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, tmp_path / "kept", overwrite=True)
    assert tree(tmp_path) == {"kept", "kept/mine.txt"}


def test_the_manifest_comes_last_and_an_older_one_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where moving stops half-way, no manifest speaks of files that are not there."""
    (tmp_path / "manifest.json").write_text("of older folds")
    config = toy_config(folds=2)
    config.phantom.update({"people": 2, "eyes": 1})
    moved: list[str] = []
    move = os.replace

    def watched(source: Path, goal: Path) -> None:
        assert not (tmp_path / "manifest.json").exists()
        moved.append(goal.name)
        move(source, goal)

    monkeypatch.setattr(command.os, "replace", watched)
    prepare(config, tmp_path, overwrite=True)
    assert moved[-1] == "manifest.json"
    assert len(moved) == 9


def test_of_two_at_the_same_time_the_second_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "out"
    with workdir.locked(output, "preparing volumes"):
        for more in ((), ("--overwrite",)):
            said = say(capsys, "prepare", f"--config={SCRIPT}", f"--output={output}", *more)
            assert f"{output}: another process is preparing volumes there; wait, or take another --output" in said.error
    assert tree(tmp_path) == {"out", "out/.lock"}  # the other's


def test_a_lock_whose_file_its_holder_removes_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = workdir.fcntl.flock

    def late(file: object, how: int) -> None:
        (tmp_path / workdir.LOCK).unlink()
        lock(file, how)

    monkeypatch.setattr(workdir.fcntl, "flock", late)
    with pytest.raises(InputError, match="another process is training there"), workdir.locked(tmp_path):
        pass


def test_a_folder_with_other_content_is_refused_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    small = (
        "--config.phantom.people=2",
        "--config.phantom.eyes=1",
        f"--config.phantom.shape={SHAPE}",
        "--config.folds=2",
    )
    arguments = ("prepare", f"--config={SCRIPT}", *small, f"--output={tmp_path}")
    assert "expected an empty folder (or --overwrite); found mine.txt" in say(capsys, *arguments).error
    assert tree(tmp_path) == {"mine.txt"}
    done = say(capsys, *arguments, "--overwrite")
    assert (done.code, done.out.strip(), done.err) == (0, f"prepared: {tmp_path}", [])
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert len(tree(tmp_path)) == 10


def test_the_command_in_the_config_s_docstring_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ast.get_docstring(ast.parse(SCRIPT.read_text(encoding="utf-8"))) or ""
    program, name, *flags = shlex.split(re.search(r"^inr-jax .*$", text, re.MULTILINE)[0])
    assert (program, name, flags[0]) == ("inr-jax", "prepare", "--config=configs/prepare_oct.py")
    names = [flag.removeprefix("--").split("=")[0] for flag in flags[1:]]
    known = {*COMMANDS["prepare"].flags, *(f"config.{key}" for key in read_config(SCRIPT))}
    assert set(names) <= known
