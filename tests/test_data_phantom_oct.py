"""The population of phantom eyes: who is in it, in which frame, and what adaptation may see."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from inr_jax.data.phantom_oct import load, prepared, scan_of, truth_of
from inr_jax.errors import InputError
from inr_jax.phantom import CLASSES, make_eye
from inr_jax.types import Population


def config(**changes: object) -> ConfigDict:
    spec = importlib.util.spec_from_file_location("default", Path(__file__).parents[1] / "configs" / "default.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = module.data()
    data.phantom_oct.update({"shape": (9, 96, 48), "people": (3, 1, 2)} | changes)
    return data


@pytest.fixture(scope="module")
def population() -> Population:
    return load(config(), "test")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def test_splits_share_no_person_and_hold_both_eyes() -> None:
    splits = [load(config(), split) for split in ("train", "validation", "test")]
    people = [set(split.people) for split in splits]
    assert [len(group) for group in people] == [3, 1, 2]
    assert len(set.union(*people)) == 6
    assert splits[2].names == ("phantom-0004-R", "phantom-0004-L", "phantom-0005-R", "phantom-0005-L")
    for split in splits:
        assert len(split.names) == 2 * len(set(split.people))


def test_every_second_bscan_is_measured_and_the_rest_is_to_be_predicted(population: Population) -> None:
    np.testing.assert_array_equal(population.measured[:, 0, 0], [True, False] * 4 + [True])
    assert (population.measured == population.measured[:, :1, :1]).all()


def test_arrays_agree_and_the_note_says_phantom(population: Population) -> None:
    assert population.note == "phantom"
    assert population.classes == CLASSES
    assert len(CLASSES) == 13
    grid = (4, 9, 96, 48)
    assert population.truth is not None
    assert population.labels is not None
    assert population.truth_labels is not None
    assert population.intensity.shape == population.truth.shape == (*grid, 1)
    assert population.labels.shape == population.truth_labels.shape == population.valid.shape == grid
    assert population.truth.dtype == np.float32
    np.testing.assert_allclose(population.spacing, [[5.8 / 8, 0.9 / 95, 5.8 / 47]] * 4, rtol=1e-6)


def test_truth_is_the_motion_free_noise_free_eye_mirrored_to_a_right_one(population: Population) -> None:
    assert population.truth is not None
    assert population.truth_labels is not None
    for index, laterality, order in ((0, "R", slice(None)), (1, "L", slice(None, None, -1))):
        eye = make_eye(person=4, laterality=laterality, shape=(9, 96, 48))
        np.testing.assert_array_equal(population.truth[index, ..., 0], eye.clean[..., order])
        np.testing.assert_array_equal(population.truth_labels[index], eye.labels_true[..., order])


def test_aligning_brings_measurement_and_labels_closer_to_the_truth() -> None:
    strong = {"motion": 3.0, "shape": (21, 128, 64), "people": (1, 1, 1)}
    aligned, raw = load(config(**strong), "test"), load(config(**strong, align=False), "test")
    for found in (aligned, raw):
        assert found.truth is not None
    np.testing.assert_array_equal(aligned.truth, raw.truth)
    both = aligned.valid & raw.valid
    assert psnr(aligned.intensity[both], aligned.truth[both]) > psnr(raw.intensity[both], raw.truth[both]) + 2
    agree = [(found.labels == found.truth_labels)[both].mean() for found in (aligned, raw)]
    assert agree[0] > agree[1] + 0.05


def test_what_adaptation_sees_does_not_depend_on_the_bscans_between() -> None:
    scan = scan_of(make_eye(person=1, laterality="L", motion=2.0))
    measured = np.arange(31) % 2 == 0
    spoiled = scan_of(make_eye(person=1, laterality="L", motion=2.0))
    spoiled.voxels[~measured] = 0.1
    (first, _), (second, _) = (prepared(s, measured, align=True, register_slo=True) for s in (scan, spoiled))
    np.testing.assert_array_equal(first.voxels[measured], second.voxels[measured])
    assert first.labels is not None
    assert second.labels is not None
    np.testing.assert_array_equal(first.labels[measured], second.labels[measured])
    np.testing.assert_array_equal(first.ascans_on_slo, second.ascans_on_slo)
    assert np.abs(first.voxels[~measured] - second.voxels[~measured]).max() > 0.1


def test_the_slo_lies_under_the_grid_as_the_instrument_says() -> None:
    population = load(config(register_slo=False), "test")
    assert population.slo is not None
    assert population.slo_affine is not None
    middle = (np.array(population.slo.shape[1:]) - 1) / 2
    np.testing.assert_allclose(population.slo_affine[..., 2], np.tile(middle, (4, 1)), atol=1e-3)
    per_mm = 191 / 6.4
    expected = np.array([[[per_mm, 0], [0, per_mm if name.endswith("R") else -per_mm]] for name in population.names])
    np.testing.assert_allclose(population.slo_affine[..., :2], expected, atol=1e-3)


def test_only_population_have_the_configured_variant() -> None:
    options = config(variant="pathology", people=(1, 1, 1), shape=(17, 96, 48))
    for split, most in (("train", 10), ("validation", 10), ("test", 12)):
        labels = load(options, split).truth_labels
        assert labels is not None
        assert labels.max() == most
    assert load(config(variant="shifted"), "test").spacing[0, 0] <= 0.24


def test_truth_knows_every_voxel() -> None:
    eye = make_eye(person=0, laterality="R", shape=(3, 64, 32))
    assert truth_of(eye).valid is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"people": (3, 0, 2)}, "people"), ({"eyes": 3}, "eyes"), ({"fitted_every": 9}, "fitted_every")],
)
def test_wrong_values_are_named_by_their_key(changes: dict, word: str) -> None:
    with pytest.raises(InputError, match=rf"data\.phantom_oct\.{word}: expected .* found"):
        load(config(**changes), "test")


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(InputError, match="did you mean test"):
        load(config(), "tset")


def test_eyes_are_made_once_and_nobody_changes_them_for_the_next(population: Population) -> None:
    assert load(config(), "test") is load(config(), "test")
    assert (load(config(seed=1), "test").intensity != population.intensity).any()
    with pytest.raises(ValueError, match="read-only"):
        population.intensity[0] = 0
