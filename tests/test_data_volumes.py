"""Volumes as they are, as slices, as patches, and one person's in slabs."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from real_data import real_data

from configs.default import data
from inr_jax.data import load
from inr_jax.data.volumes import crop, patches, slabs
from inr_jax.errors import InputError
from inr_jax.scan_io import Scan, read_scan, write_labels, write_volume

SPLITS = ("train", "validation", "test")
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TURNED = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)
SHAPE = (40, 20, 24)


def config_of(path: Path | str, **changes: object) -> ConfigDict:
    config = data()
    config.name, config.path = "volumes", str(path)
    config.volumes.update({"window": (0.0, 1.0), "patch": (6, 8, 10)} | changes)
    return config


def write_folder(folder: Path, people: int = 4) -> Path:
    """Two scans of each person, with labels."""
    rng = np.random.default_rng(0)
    for person in range(people):
        for visit in range(2):
            voxels = rng.random(SHAPE).astype(np.float32)
            stem = f"p{person}-{visit}"
            write_volume(folder / f"{stem}_image.nii.gz", voxels, (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
            path = folder / f"{stem}_label.nii.gz"
            write_labels(
                path, (voxels > 0.5).astype(int), (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT, ("dark", "bright")
            )
    return folder


def of_people(folder: Path, **changes: object) -> ConfigDict:
    return config_of(folder, subject_pattern=r"(?P<person>p\d)-\d_image", classes=("dark", "bright"), **changes)


def write_one(folder: Path, voxels: np.ndarray | None = None) -> Path:
    """One volume whose value is its slice's number / 100, plus a little along the A-scans."""
    if voxels is None:
        voxels = np.broadcast_to(np.arange(40)[:, None, None] / 100 + np.arange(24) / 1e5, SHAPE)
    write_volume(folder / "one.nii.gz", voxels.astype(np.float32), (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
    return folder / "one.nii.gz"


@pytest.mark.parametrize("mode", ["whole", "slices", "patches"])
def test_splits_are_by_person(tmp_path: Path, mode: str) -> None:
    config = of_people(write_folder(tmp_path), mode=mode)
    people = [set(load(config, split).people) for split in SPLITS]
    assert sum(map(len, people)) == 4
    assert set.union(*people) == {"p0", "p1", "p2", "p3"}


def test_whole_volumes_keep_voxels_labels_and_spacing(tmp_path: Path) -> None:
    population = load(of_people(write_folder(tmp_path), mode="whole", fitted_every=4), "test")
    assert population.intensity.shape == (2, *SHAPE, 1)
    np.testing.assert_array_equal(population.labels, population.intensity[..., 0] > 0.5)
    np.testing.assert_allclose(population.spacing, [[3, 2, 1]] * 2)
    np.testing.assert_array_equal(np.flatnonzero(population.measured.all(axis=(1, 2))), np.arange(0, 40, 4))
    assert population.classes == ("dark", "bright")
    assert population.note == ""


def test_slices_are_images_of_which_every_second_row_is_measured(tmp_path: Path) -> None:
    config = of_people(write_folder(tmp_path), mode="slices")
    population = load(config, "test")
    assert population.intensity.shape == (80, 20, 24, 1)
    np.testing.assert_allclose(population.spacing, [[2, 1]] * 80)
    np.testing.assert_array_equal(np.flatnonzero(population.measured.all(axis=1)), np.arange(0, 20, 2))
    assert population.measured.sum() == 10 * 24
    whole = load(of_people(tmp_path, mode="whole"), "test")
    np.testing.assert_array_equal(population.intensity, whole.intensity.reshape(80, 20, 24, 1))
    np.testing.assert_array_equal(population.labels, whole.labels.reshape(80, 20, 24))
    assert population.names[41] == f"{whole.names[1]}-001"


def test_patches_cover_every_voxel() -> None:
    scan = Scan(np.random.default_rng(0).random(SHAPE).astype(np.float32), (3.0, 2.0, 1.0), name="s")
    covered = np.zeros(SHAPE, int)
    number = np.arange(covered.size, dtype=np.float32).reshape(SHAPE)
    for part in patches(Scan(number, scan.spacing, name="s"), (0, 40), (6, 8, 10), (6, 8, 10)):
        covered.ravel()[part.voxels.astype(int).ravel()] += 1
    assert covered.min() == 1
    assert covered.max() <= 8


def test_patches_of_air_are_left_out() -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[:6, :8, :5] = 1.0
    found = list(patches(Scan(voxels, (1.0, 1.0, 1.0), name="s"), (0, 40), (6, 8, 10), (6, 8, 10)))
    assert [part.name for part in found] == ["s-000-000-000", "s-000-006-000"]


def test_a_patch_stays_where_it_is_in_mm() -> None:
    voxels = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    scan = Scan(voxels, (3.0, 2.0, 1.0), (5.0, -6.0, 7.0), TURNED, name="s")
    part = crop(scan, (4, 3, 2), (6, 8, 10))
    assert part.voxels[1, 2, 3] == voxels[5, 5, 5]

    def place(of: Scan, d: int, h: int, w: int) -> np.ndarray:
        return np.array(of.origin) + np.array(of.direction).reshape(3, 3) @ (w * 1.0, h * 2.0, d * 3.0)

    np.testing.assert_allclose(place(part, 1, 2, 3), place(scan, 5, 5, 5))


@pytest.mark.parametrize("gap", [0, 1, 4])
def test_slabs_follow_the_shares_with_the_gap_between(gap: int) -> None:
    regions = slabs(100, (0.6, 0.2, 0.2), gap)
    assert regions[0][0] == 0
    assert regions[-1][1] == 100
    assert [b[0] - a[1] for a, b in pairwise(regions)] == [gap, gap]
    sizes = [end - start for start, end in regions]
    np.testing.assert_allclose(sizes, np.array([0.6, 0.2, 0.2]) * (100 - 2 * gap), atol=1)


def test_slabs_of_one_person_share_no_slice_and_say_so(tmp_path: Path) -> None:
    path = write_one(tmp_path)
    found = [load(config_of(path, gap=3), split) for split in SPLITS]
    seen = [np.unique(np.rint(100 * population.intensity - 0.01)).astype(int) for population in found]
    assert all(after.min() - before.max() == 4 for before, after in pairwise(seen))
    assert all(population.note == "within one subject" for population in found)
    assert len(found[0].names) > len(found[1].names) > 1
    assert len(set(found[0].names)) == len(found[0].names)


def test_the_window_becomes_the_unit_range(tmp_path: Path) -> None:
    path = write_one(tmp_path, np.random.default_rng(0).uniform(-3000, 3000, SHAPE))
    raw = read_scan(path)
    whole = load(config_of(path, window=(-1000.0, 1000.0), patch=(6, 20, 24)), "train")
    np.testing.assert_allclose(whole.intensity[0, ..., 0], np.clip((raw.voxels[:6] + 1000) / 2000, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mode": "slab"}, r"data\.volumes\.mode: expected one of whole, slices, patches, slabs, found slab"),
        ({"patch": (16, 8, 10)}, r"one: expected at least one patch of \(16, 8, 10\) voxels, found \(6, 20, 24\)"),
        ({"patch": (6, 21, 10)}, "expected at least one patch"),
        ({"gap": 20}, "expected at least one patch"),
        ({"window": (5.0, 6.0)}, r"one\.nii\.gz: expected values within data\.volumes\.window"),
        ({"window": (1.0, 0.0)}, r"window: expected \(low, high\)"),
        ({"mode": "whole"}, "at least 3 people, found 1: one"),
        ({"people": (("a",), ("b",), ("c",))}, "expected three shares in mode slabs"),
        ({"subject_pattern": r"p(?P<person>\d)"}, r"one\.nii\.gz: name one does not match subject_pattern"),
        ({"classes": ("a", "b")}, "labels: expected integers"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, changes: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        load(config_of(write_one(tmp_path), **changes), "test")
    assert "\n" not in str(error.value)


def test_volumes_of_other_shapes_are_named(tmp_path: Path) -> None:
    for i, depth in enumerate((10, 10, 10, 9)):
        voxels = np.random.default_rng(i).random((depth, 9, 9)).astype(np.float32)
        write_volume(tmp_path / f"p{i % 3}-{i}.nrrd", voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), STRAIGHT)
    config = config_of(
        tmp_path, mode="whole", subject_pattern=r"(?P<person>p\d)-\d", people=(("p0",), ("p1",), ("p2",))
    )
    with pytest.raises(InputError, match=r"p0-3: shape .*expected \(10, 9, 9\) as in p0-0, found \(9, 9, 9\)"):
        load(config, "train")
    assert load(config, "test").names == ("p2-2",)


def test_a_folder_without_volumes_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"expected files of \.nii"):
        load(config_of(tmp_path), "train")


def test_the_real_torso_in_slabs_is_the_file_in_hounsfield_units() -> None:
    path = real_data("ct/torso_ct_3mm.nii.gz")
    config = config_of(path, window=(-1000.0, 1000.0), patch=(16, 64, 64), gap=4)
    found = [load(config, split) for split in SPLITS]
    assert [population.intensity.shape for population in found] == [(n, 16, 64, 64, 1) for n in (63, 8, 8)]
    raw = read_scan(path).voxels
    for population in found:
        d, h, w = (int(part) for part in population.names[-1].split("-")[1:])
        patch = raw[d : d + 16, h : h + 64, w : w + 64]
        np.testing.assert_allclose(population.intensity[-1, ..., 0], np.clip(patch / 2000 + 0.5, 0, 1), atol=1e-6)
        np.testing.assert_allclose(population.spacing[0], (3.0, 3.0, 3.0), rtol=1e-5)


def test_the_real_brain_brings_its_lesion() -> None:
    path = real_data("mri/brain1_image.nrrd")
    config = config_of(path, window=(0.0, 3000.0), patch=(4, 256, 256), gap=1, classes=("brain", "lesion"))
    found = [load(config, split) for split in SPLITS]
    lesion = read_scan(path.with_name("brain1_label.nrrd")).voxels
    for population in found:
        for name, labels in zip(population.names, population.labels, strict=True):
            start = int(name.split("-")[1])
            np.testing.assert_array_equal(labels, lesion[start : start + 4])
    assert sum(population.labels.sum() for population in found) > 0
