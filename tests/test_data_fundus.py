"""Fundus photographs: resized without losing their shape, split by person, measured on a part of the pixels."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from real_data import real_data
from scipy import ndimage
from skimage import io, transform

from configs.default import data
from inr_jax.data import load
from inr_jax.errors import InputError

SPLITS = ("train", "validation", "test")


def config_of(path: Path | str, **changes: object) -> ConfigDict:
    config = data()
    config.name, config.path = "fundus", str(path)
    config.fundus.update(changes)
    return config


def write_photographs(folder: Path, rows: int = 60, columns: int = 90) -> Path:
    """Four people, two eyes each: a gradient from left to right, and a mask of its right half."""
    for person in range(4):
        for eye in "LR":
            image = np.zeros((rows, columns, 3), np.uint8)
            image[...] = np.linspace(0, 250, columns).astype(np.uint8)[None, :, None]
            mask = np.zeros((rows, columns), np.uint8)
            mask[:, columns // 2 :] = 255
            io.imsave(folder / f"Image_{person}{eye}.png", image, check_contrast=False)
            io.imsave(folder / f"Image_{person}{eye}_mask.png", mask, check_contrast=False)
    return folder


def toy(folder: Path, **changes: object) -> ConfigDict:
    options = {
        "size": (20, 30),
        "image_glob": "Image_*[LR].png",
        "label_suffix": "_mask.png",
        "people": (("0", "1"), ("2",), ("3",)),
    }
    return config_of(folder, **options | changes)


def test_spacing_keeps_the_aspect_of_the_photograph(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    for size in ((20, 30), (20, 20)):
        population = load(toy(tmp_path, size=size), "train")
        extent = population.spacing[0] * size
        np.testing.assert_allclose(extent, (2.0 * 60 / 90, 2.0), rtol=1e-5)
        assert population.intensity.shape == (4, *size, 3)


def test_left_eyes_are_mirrored_with_their_masks(tmp_path: Path) -> None:
    population = load(toy(write_photographs(tmp_path)), "test")
    assert population.names == ("Image_3L", "Image_3R")
    np.testing.assert_allclose(population.intensity[0], population.intensity[1][:, ::-1])
    np.testing.assert_array_equal(population.labels[1][:, [0, 14, 15, 29]], np.tile([0, 0, 1, 1], (20, 1)))
    np.testing.assert_array_equal(population.labels[0], population.labels[1][:, ::-1])
    plain = load(toy(tmp_path, mirror_left=False), "test")
    np.testing.assert_array_equal(plain.labels[0], plain.labels[1])


def test_the_subgrid_is_regular_and_as_far_from_both_edges(tmp_path: Path) -> None:
    measured = load(toy(write_photographs(tmp_path), size=(21, 30), subgrid=3), "test").measured
    np.testing.assert_array_equal(np.flatnonzero(measured.any(axis=1)), np.arange(1, 21, 3))
    np.testing.assert_array_equal(np.flatnonzero(measured.any(axis=0)), np.arange(1, 30, 3))
    assert measured.sum() == 7 * 10


def test_random_pixels_are_of_the_share_and_the_seed(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    first, again, other = (
        load(toy(tmp_path, measured="random", random_share=0.25, seed=seed), "test").measured for seed in (0, 0, 1)
    )
    assert first.sum() == 150
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_people_may_be_shares(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    people = [set(load(toy(tmp_path, people=(0.5, 0.25, 0.25)), split).people) for split in SPLITS]
    assert sorted(map(len, people)) == [1, 1, 2]
    assert set.union(*people) == set("0123")


def test_without_a_label_suffix_there_are_no_labels(tmp_path: Path) -> None:
    population = load(toy(write_photographs(tmp_path), label_suffix=""), "train")
    assert population.labels is None
    assert population.classes == ()


def spoil(folder: Path, what: str) -> None:
    photograph, mask = folder / "Image_3L.png", folder / "Image_3L_mask.png"
    if what == "mask missing":
        mask.unlink()
    elif what == "truncated":
        photograph.write_bytes(photograph.read_bytes()[:60])
    elif what == "constant":
        io.imsave(photograph, np.full((60, 90, 3), 7, np.uint8), check_contrast=False)
    elif what == "four channels":
        io.imsave(photograph, np.random.default_rng(0).integers(0, 255, (60, 90, 4), np.uint8))
    elif what == "grey":
        io.imsave(photograph, np.random.default_rng(0).integers(0, 255, (60, 90), np.uint8))
    elif what == "small":
        io.imsave(photograph, np.random.default_rng(0).integers(0, 255, (60, 29, 3), np.uint8))
    elif what == "mask of many values":
        io.imsave(mask, np.random.default_rng(0).integers(0, 255, (60, 90), np.uint8))
    elif what == "name":
        photograph.rename(folder / "Image_xL.png")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("mask missing", r"Image_3L_mask\.png: no such file"),
        ("truncated", r"Image_3L\.png: not readable as an image, or cut short"),
        ("constant", r"Image_3L\.png: expected an image of finite numbers, found NaN or one value"),
        ("four channels", r"Image_3L\.png: expected an image of 1 or 3 channels"),
        ("grey", r"Image_3R\.png: channels: expected 1, found 3"),
        ("small", r"Image_3L\.png: size: expected at least \(20, 30\)"),
        ("mask of many values", r"Image_3L_mask\.png: expected a mask of two values"),
        ("name", r"Image_xL\.png: name Image_xL does not match subject_pattern Image_"),
    ],
)
def test_a_folder_with_a_mistake_is_one_line(tmp_path: Path, what: str, expected: str) -> None:
    spoil(write_photographs(tmp_path), what)
    with pytest.raises(InputError, match=expected) as error:
        load(toy(tmp_path), "test")
    assert "\n" not in str(error.value)


def test_an_empty_or_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected images Image_.* found none"):
        load(toy(tmp_path), "test")
    with pytest.raises(InputError, match=r"data\.path: expected a file or folder; found none at .*nowhere"):
        load(toy(tmp_path / "nowhere"), "test")


def test_the_environment_names_the_folder_of_real_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chase_db1").mkdir()
    write_photographs(tmp_path / "chase_db1")
    monkeypatch.setenv("INR_JAX_DATA", str(tmp_path))
    config = toy(tmp_path)
    config.path = ""
    assert load(config, "test").people == ("3", "3")


def test_the_28_real_photographs_are_split_by_child() -> None:
    folder = real_data("chase_db1")
    found = [load(config_of(folder, size=(128, 128)), split) for split in SPLITS]
    assert [len(population.names) for population in found] == [20, 4, 4]
    assert [len(set(population.people)) for population in found] == [10, 2, 2]
    assert len({person for population in found for person in population.people}) == 14
    test = found[2]
    right = test.names.index("Image_14R")
    reference = transform.resize(io.imread(folder / "Image_14R.jpg"), (128, 128), anti_aliasing=True)
    assert np.abs(test.intensity[right] - reference).mean() < 0.005  # another low-pass filter
    np.testing.assert_allclose(test.spacing[right] * 128, (2 * 960 / 999, 2.0), rtol=1e-5)
    vessels = io.imread(folder / "Image_14R_1stHO.png").mean()
    assert abs(test.labels[right].mean() - vessels) < 0.1 * vessels
    # Vessels are darker in green light than what lies round them: masks lie on photographs, mirrored or not.
    for image, label in zip(test.intensity, test.labels, strict=True):
        contrast = image[..., 1] - ndimage.gaussian_filter(image[..., 1], 4.0)
        assert contrast[label == 1].mean() < -0.02 < contrast[label[:, ::-1] == 1].mean()
