"""OCT populations in folds: split by person, scaled by what is fitted, mirrored by name."""

from pathlib import Path

import jax
import numpy as np
import pytest
import synthetic
from ml_collections import ConfigDict
from toy import ROOT, hyper, read_config

from configs.default import data
from inr_jax.data import load
from inr_jax.errors import InputError
from inr_jax.model import Signal, build
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


@pytest.mark.parametrize("by", ["fitted", "all"])
def test_the_range_is_that_of_the_fitted_b_scans_or_by_a_key_of_all(tmp_path: Path, by: str) -> None:
    population = load(config_of(write_folds(tmp_path), normalise_by=by), "test")
    brightest = population.intensity[:, ::2].max(axis=(1, 2, 3, 4))
    expected = {"fitted": 1.0, "all": 1 / 3}[by]  # held-out B-scans are three times as bright
    np.testing.assert_allclose(brightest, expected, rtol=0.02)


def test_without_normalising_values_are_what_the_files_hold_and_must_lie_in_0_to_1(tmp_path: Path) -> None:
    dim = np.random.default_rng(0).random((4, H, W, D)) * 0.5 + 0.25
    for every, step in ((16, 1), (32, 2)):
        for part in ("train", "test"):
            np.savez(
                tmp_path / f"dataset_flat_subsmpl{every}_{part}_fold1.npz",
                oct_vols=dim[..., ::step],
                subject_names=np.array([f"{part}{i}" for i in range(4)]),
                spacing_oct=SPACING,
            )
    population = load(config_of(tmp_path, normalise_by="none"), "test")
    np.testing.assert_allclose(population.intensity[..., 0], np.float32(dim).transpose(0, 3, 1, 2))
    with pytest.raises(
        InputError, match=r"voxels: expected values in \[0, 1\] .*normalise_by=none.* found 0.* to [23]"
    ):
        load(config_of(write_folds(tmp_path), normalise_by="none"), "test")
    with pytest.raises(InputError, match="normalise_by: expected one of fitted, all, none, found some"):
        load(config_of(tmp_path, normalise_by="some"), "test")


def test_an_slo_that_is_not_wanted_is_not_read_nor_an_input_of_the_network(tmp_path: Path) -> None:
    config = config_of(write_folds(tmp_path, slo_imgs=np.ones((10, 3, 3))), slo=False)  # of a wrong shape, too
    population = load(config, "train")
    assert population.slo is None
    assert population.slo_affine is None
    inputs = {}
    for slo in (True, False):
        found = load(config_of(write_folds(tmp_path), slo=slo), "train")
        model = build(read_config(ROOT / "configs" / "interp_oct_general.py"), Signal.of(found))
        shapes = jax.eval_shape(model.init, jax.random.key(0), hyper())
        inputs[slo] = shapes.field["layer_0"]["weight_0"].shape[0]
    assert inputs == {True: 4, False: 3}  # coordinates, and the SLO's value where there is one


def test_what_was_not_measured_is_not_valid_and_sets_no_range(tmp_path: Path) -> None:
    volumes = np.random.default_rng(2).random((10, H, W, D))
    measured = np.ones(volumes.shape, bool)
    measured[:, :2] = False
    volumes[:, :2] = 9.0  # brighter than all that was measured
    write_folds(tmp_path)
    for every, step in ((16, 1), (32, 2)):
        path = tmp_path / f"dataset_flat_subsmpl{every}_train_fold1.npz"
        own = {"oct_vols": volumes[..., ::step], "valid_vols": measured[..., ::step]}
        np.savez(path, **{k: v for k, v in np.load(path).items() if k not in own}, **own)
    population = load(config_of(tmp_path), "train")
    np.testing.assert_array_equal(population.valid.all(axis=(0, 1, 3)), np.arange(H) >= 2)
    assert population.intensity[:, ::2, 2:].max() == 1
    everything = load(config_of(tmp_path, use_valid=False), "train")
    assert everything.valid.all()
    assert everything.intensity[:, :, 2:].max() < 0.2


def test_a_mask_of_another_shape_is_one_line(tmp_path: Path) -> None:
    folder = write_folds(tmp_path, valid_vols=np.ones((10, H, W, 2), bool))
    with pytest.raises(InputError, match=r"valid_vols: expected shape \(10, 10, 8, 7\), found \(10, 10, 8, 2\)"):
        load(config_of(folder), "train")


def renamed(folder: Path, spacings: dict[int, int]) -> Path:
    """The reference's files under other spacings' names."""
    for path in sorted(folder.glob("*.npz")):
        for old, new in spacings.items():
            if f"subsmpl{old}_" in path.name:
                path.rename(folder / path.name.replace(f"subsmpl{old}_", f"subsmpl{new}_"))
    return folder


def test_files_of_other_spacings_are_found_by_their_names(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    expected = load(config_of(write_folds(tmp_path / "a")), "test")
    found = load(config_of(renamed(write_folds(tmp_path / "b"), {16: 4, 32: 8})), "test")
    np.testing.assert_array_equal(found.intensity, expected.intensity)


@pytest.mark.parametrize(
    ("spacings", "said"), [({16: 4}, "found 4, 32"), ({16: 32}, "found 32"), ({16: 0, 32: 0}, "found 0")]
)
def test_names_of_other_than_two_spacings_are_one_line(tmp_path: Path, spacings: dict[int, int], said: str) -> None:
    folder = renamed(write_folds(tmp_path), spacings)
    with pytest.raises(InputError, match=f"of two spacings, one twice the other; {said}"):
        load(config_of(folder), "train")


def test_a_folder_without_folds_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one twice the other; found none"):
        load(config_of(tmp_path), "train")


def test_a_missing_fold_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"subsmpl16_train_fold4\.npz: no such file"):
        load(config_of(write_folds(tmp_path), fold=4), "train")


def test_with_no_share_kept_apart_all_training_people_are_learned_from_and_validated_on(tmp_path):
    config = data()
    config.name, config.path = "interp_oct", str(synthetic.write_folds(tmp_path))
    config.interp_oct.update(classes=("background", "inner", "middle", "outer"), validation_people=0.0)
    train, validation, test = (load(config, split) for split in ("train", "validation", "test"))
    assert set(train.people) == set(validation.people) == {f"p{i}" for i in range(5)}
    assert not set(test.people) & set(train.people)
