"""OCT populations in folds: split by person, scaled by what is fitted, mirrored by name."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.default import data
from inr_jax.data import load
from inr_jax.errors import InputError
from inr_jax.types import Population

H, W, D = 10, 8, 7
SPACING = np.array([0.004, 0.06, 0.12])


def config_of(path: Path, **changes: object) -> ConfigDict:
    config = data()
    config.name, config.path = "interp_oct", str(path)
    config.interp_oct.update(changes)
    return config


def subjects(part: str) -> list[str]:
    people = range(5) if part == "train" else range(5, 7)
    return [f"p{i}_{eye}" for i in people for eye in ("OD", "OS")]


def write_folds(folder: Path, **changes: np.ndarray | None) -> Path:
    """Both files of both parts of fold 1; `changes` replace arrays of the scored training file."""
    for part in ("train", "test"):
        names = subjects(part)
        rng = np.random.default_rng(len(names))
        arrays: dict[str, np.ndarray | None] = {
            "oct_vols": rng.random((len(names), H, W, D)),
            "seg_vols": rng.integers(0, 13, (len(names), H, W, D)),
            "slo_imgs": rng.random((len(names), W, D)),
            "subject_names": np.array(names),
        }
        arrays["oct_vols"][..., 1::2] *= 3.0  # what is held out is brighter than anything fitted
        for every, step in ((16, 1), (32, 2)):
            own = {k: v if k == "subject_names" else v[..., ::step] for k, v in arrays.items() if v is not None}
            own["spacing_oct"] = SPACING * (1, 1, step)
            if part == "train" and every == 16:
                own |= changes
            path = folder / f"dataset_flat_subsmpl{every}_{part}_fold1.npz"
            np.savez(path, **{key: value for key, value in own.items() if value is not None})
    return folder


def splits(config: ConfigDict) -> list[Population]:
    return [load(config, split) for split in ("train", "validation", "test")]


def test_no_person_is_in_two_splits_and_both_eyes_stay_together(tmp_path: Path) -> None:
    found = splits(config_of(write_folds(tmp_path)))
    people = [set(population.people) for population in found]
    assert [len(group) for group in people] == [4, 1, 2]
    assert set.union(*people) == {f"p{i}" for i in range(7)}
    assert people[2] == {"p5", "p6"}
    assert [len(population.names) for population in found] == [8, 2, 4]


def test_even_b_scans_are_measured_and_alone_set_the_range(tmp_path: Path) -> None:
    population = load(config_of(write_folds(tmp_path)), "test")
    assert population.intensity.shape == (4, D, H, W, 1)
    np.testing.assert_array_equal(population.measured.all(axis=(1, 2)), [True, False] * 3 + [True])
    fitted, between = population.intensity[:, ::2], population.intensity[:, 1::2]
    np.testing.assert_allclose(fitted.min(axis=(1, 2, 3, 4)), 0, atol=1e-6)
    np.testing.assert_allclose(fitted.max(axis=(1, 2, 3, 4)), 1, atol=1e-6)
    assert (between == 1).mean() > 0.5  # brighter than what was fitted: clipped, not re-scaled


def test_left_eyes_are_mirrored_with_labels_and_slo(tmp_path: Path) -> None:
    config = config_of(write_folds(tmp_path))
    config_as_is = config_of(tmp_path, mirror_left=False)
    mirrored, plain = load(config, "test"), load(config_as_is, "test")
    left = [name.endswith("OS") for name in plain.names]
    assert left == [False, True, False, True]
    for i, flip in enumerate(left):
        step = -1 if flip else 1
        np.testing.assert_array_equal(mirrored.intensity[i], plain.intensity[i][:, :, ::step])
        np.testing.assert_array_equal(mirrored.labels[i], plain.labels[i][:, :, ::step])
        place = np.array([0.0, 2.5 * 0.06, 1.0])  # mm from the middle
        column = (W - 1) / 2 + 2.5 * step
        np.testing.assert_allclose(mirrored.slo_affine[i] @ place, ((D - 1) / 2, column), atol=1e-4)


def test_without_labels_or_slo_there_are_none(tmp_path: Path) -> None:
    population = load(config_of(write_folds(tmp_path, seg_vols=None, slo_imgs=None)), "train")
    assert population.labels is None
    assert population.slo is None
    assert population.classes == ()


def test_one_file_is_dealt_out_by_person(tmp_path: Path) -> None:
    path = write_folds(tmp_path) / "dataset_flat_subsmpl16_train_fold1.npz"
    people = [set(population.people) for population in splits(config_of(path))]
    assert [len(group) for group in people] == [3, 1, 1]
    assert set.union(*people) == {f"p{i}" for i in range(5)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"subject_names": np.array([f"q{i}" for i in range(10)])}, "subject_names: expected those of"),
        ({"oct_vols": np.random.default_rng(9).random((10, H, W, D))}, "expected the even B-scans of"),
        ({"oct_vols": np.ones((10, H, W, D))}, "one value everywhere"),
        ({"seg_vols": np.full((10, H, W, D), 13)}, r"classes\): labels: expected 0 to 12, found 13 to 13"),
        ({"slo_imgs": np.ones((10, W, D))}, "SLO: expected an image, found the value 1.0"),
    ],
)
def test_a_fold_with_a_mistake_is_one_line(tmp_path: Path, changes: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        load(config_of(write_folds(tmp_path, **changes)), "train")
    assert "\n" not in str(error.value)


def test_a_person_in_train_and_test_is_refused(tmp_path: Path) -> None:
    write_folds(tmp_path)
    for every in (16, 32):
        train, test = (tmp_path / f"dataset_flat_subsmpl{every}_{part}_fold1.npz" for part in ("train", "test"))
        test.write_bytes(train.read_bytes())
    with pytest.raises(InputError, match="no person in both train and test, found p0, p1, p2, p3, p4"):
        load(config_of(tmp_path), "train")


def test_a_missing_fold_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"subsmpl16_train_fold4\.npz: no such file"):
        load(config_of(write_folds(tmp_path), fold=4), "train")
