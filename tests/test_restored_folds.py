"""What comes of prepared folds lies where, and is what, the scans were that were prepared."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command import write_image
from ml_collections import ConfigDict
from toy import ROOT

from configs.default import data
from inr_jax import evaluate
from inr_jax.config_script import load_config
from inr_jax.data import load
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.phantom import CLASSES, make_eye
from inr_jax.prepare import prepare
from inr_jax.records import find_manifest, known_region, read_records
from inr_jax.trained import Answers
from inr_jax.types import Population

SHAPE, CROP, EVERY = (33, 72, 40), (68, 32), 8  # 5 fitted B-scans, 9 scored
TURNED = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
EYES = ("a_OD", "b_OS", "c_OS")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dense eyes in units of their own, turned and away from the origin."""
    folder = tmp_path_factory.mktemp("dense")
    for person, name in enumerate(EYES):
        scan = scan_of(make_eye(person=person, laterality="R" if name.endswith("OD") else "L", shape=SHAPE))
        place = {"spacing": scan.spacing, "origin": (10.0 * person, -2.0, 3.0), "direction": TURNED}
        write_image(folder / f"{name}.nii.gz", 100 + 900 * scan.voxels, **place)
        write_image(folder / f"{name}_labels.nii.gz", scan.labels.astype(np.uint8), **place)
    return folder


@pytest.fixture(scope="module")
def folds(dense: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = load_config(ROOT / "configs" / "prepare_oct.py")
    config.update({"path": str(dense), "fitted_every": EVERY, "crop": CROP, "folds": 3, "percentiles": (1.0, 99.5)})
    config.flatten.target = 0.5  # rows move in from below
    return prepare(config, tmp_path_factory.mktemp("prepared") / "folds")


def options(folds: Path, **changes: object) -> ConfigDict:
    config = data()
    config.name, config.path = "interp_oct", str(folds)
    config.interp_oct.update({"classes": CLASSES, "validation_people": 0.5} | changes)
    return config


def loaded(folds: Path) -> list[Population]:
    return [load(options(folds, fold=fold), "test") for fold in (1, 2, 3)]


def test_intensities_and_labels_of_loaded_folds_go_back_to_the_scan_that_was_prepared(dense: Path, folds: Path) -> None:
    """Through crop, flattening, both scalings and the mirror; labels to the last voxel."""
    records = read_records(folds, "test")
    for population in loaded(folds):
        (name,) = population.names
        image, labels = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(dense / f"{name}{s}.nii.gz"))) for s in ("", "_labels")
        )
        frame, index, record = population.frames[0], np.arange(9.0), records[name]
        known = frame.known(index)
        back = frame.undo(population.intensity[0, ..., 0], index)
        chosen = image[:: EVERY // 2]
        assert back.shape == known.shape == chosen.shape
        assert 0.4 < known.mean() < CROP[0] * CROP[1] / (SHAPE[1] * SHAPE[2])
        low, high = record.low[:, None, None], record.high[:, None, None]
        unclipped = known & (chosen >= low) & (chosen <= high)
        assert unclipped[known].mean() > 0.9
        np.testing.assert_allclose(back[unclipped], chosen[unclipped], rtol=1e-5)
        np.testing.assert_allclose(back[known], np.clip(chosen, low, high)[known], rtol=1e-5)
        assert (back[~known] == 0).all()
        found = frame.undo(population.labels[0], index, labels=True)
        np.testing.assert_array_equal(found[known], labels[:: EVERY // 2][known])
        assert (found[~known] == 0).all()


def test_what_evaluate_writes_lies_where_the_dense_scan_lies(dense: Path, folds: Path, tmp_path: Path) -> None:
    for population in loaded(folds):
        echoed = Answers(population.intensity, population.intensity, population.labels, [], [])
        evaluate.write_scan(tmp_path, population, echoed, CLASSES, 0)
        original = sitk.ReadImage(str(dense / f"{population.names[0]}.nii.gz"))
        written = {n: sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("intensity", "segmentation", "known")}
        for image in written.values():
            assert image.GetSize() == (SHAPE[2], SHAPE[1], 9)
            for w, h, d in ((0, 0, 0), (39, 71, 8), (5, 60, 3)):
                place = original.TransformIndexToPhysicalPoint((w, h, d * EVERY // 2))
                np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((w, h, d)), place, atol=1e-4)
        known = sitk.GetArrayFromImage(written["known"])
        np.testing.assert_array_equal(known, population.frames[0].known(np.arange(9.0)))
        assert "known" in (tmp_path / "known.txt").read_text()


def test_rendered_b_scans_between_two_go_back_to_where_they_lie(folds: Path) -> None:
    population = loaded(folds)[0]
    record = read_records(folds, "test")[population.names[0]]
    np.testing.assert_array_equal(population.frames[0].known(np.array([1.5])), known_region(record, np.array([6.0])))


def test_rows_that_flattening_moves_in_are_not_measured(folds: Path) -> None:
    """Each valid voxel of the fold has one known voxel of the scan, and no other has."""
    hole = 0
    for population in loaded(folds):
        known = population.frames[0].known(np.arange(9.0))
        assert population.valid.sum() == known.sum()
        hole += (~population.valid).sum()
    assert hole > 0


def test_scans_and_records_that_do_not_belong_together_are_one_line(folds: Path, tmp_path: Path) -> None:
    for file in folds.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    good = json.loads((folds / "manifest.json").read_text())

    def refused(content: object, said: str) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=said) as error:
            load(options(tmp_path), "test")
        assert "\n" not in str(error.value)

    shape = r"expected the record of a volume of shape \(9, 68, 32\)"
    refused(good | {"volumes": []}, rf"manifest.json: ._O. \(test\): {shape}, found None")
    other = json.loads(json.dumps(good))
    for volume in other["volumes"]:
        volume["record"]["crop_shape"] = [9, 9]
    refused(other, rf"{shape}, found \(9, 9, 9\)")
    refused("{ cut", "manifest.json: expected the manifest of prepared folds; found: JSONDecodeError")
    refused(good | {"volumes": [{}]}, "found: KeyError: 'record'")
    refused({k: v for k, v in good.items() if k != "note"}, "found: KeyError: 'note'")


def test_a_manifest_of_something_else_says_nothing_of_the_folds(folds: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert find_manifest(tmp_path) is None
    assert find_manifest(folds) is not None
    with pytest.raises(InputError, match="expected the manifest of prepared folds; found none"):
        read_records(tmp_path, "test")
    with pytest.raises(InputError, match="part: expected one of train, test; found validation"):
        read_records(folds, "validation")


def test_without_a_manifest_results_lie_in_the_file_s_own_geometry_and_units(tmp_path: Path, folds: Path) -> None:
    for file in folds.glob("*.npz"):
        with np.load(file) as arrays:
            brighter = {k: v * 7.0 if k == "oct_vols" else v for k, v in arrays.items()}
        np.savez(tmp_path / file.name, **brighter)
    population = load(options(tmp_path), "test")
    frame = population.frames[0]
    assert frame.known is None
    stored = np.load(tmp_path / f"dataset_flat_subsmpl{EVERY // 2}_test_fold1.npz")["oct_vols"][0].transpose(2, 0, 1)
    back = frame.undo(population.intensity[0, ..., 0], np.arange(9.0))
    np.testing.assert_allclose(back[::2][population.valid[0][::2][..., ::-1]].max(), 7.0, rtol=1e-6)
    assert back.shape == stored.shape
    np.testing.assert_allclose(back[::2], np.clip(stored[::2], back[::2].min(), None), atol=1e-5)
