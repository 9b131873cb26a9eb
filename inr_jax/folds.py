"""Folds by person, and their files: the reference's `.npz` contract (doi 10.1007/978-3-658-47422-5_24)."""

from collections.abc import Iterable, Sequence

import numpy as np

from inr_jax.errors import InputError
from inr_jax.flat_volumes import FlatVolume

PARTS = ("train", "test")


def deal_people(people: Iterable[str], folds: int, seed: int) -> list[set[str]]:
    """Who is tested in which fold: everyone in one, as evenly as can be; the same for the same people and seed."""
    everyone = sorted(set(people))
    if folds < 2:
        raise InputError(f"folds: expected 2 or more, found {folds}")
    if len(everyone) < folds:
        raise InputError(f"folds: expected at least {folds} people for {folds} folds, found {len(everyone)}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, found {seed}")
    order = np.random.default_rng(seed).permutation(len(everyone))
    return [{everyone[i] for i in order[fold::folds]} for fold in range(folds)]


def fold_arrays(names: Sequence[str], volumes: Sequence[FlatVolume], every: int) -> dict[str, np.ndarray]:
    """The contract's arrays with every which of the volumes' B-scans: 2 for those that are fitted, 1 for all.

    `oct_vols`, `seg_vols` [n, H, W, D], `slo_imgs` [n, W, D], `spacing_oct` [n, 3] mm in the order H, W, D; and beyond
    the contract, whose readers pass it over, `valid_vols` [n, H, W, D]: what was measured.
    """
    arrays = {
        "oct_vols": np.stack([np.moveaxis(volume.voxels[::every], 0, -1) for volume in volumes]),
        "valid_vols": np.stack([np.moveaxis(volume.valid[::every], 0, -1) for volume in volumes]),
        "subject_names": np.array(names),
        "spacing_oct": np.array([[v.spacing[1], v.spacing[2], v.spacing[0] * every] for v in volumes]),
    }
    labels = [np.moveaxis(volume.labels[::every], 0, -1) for volume in volumes if volume.labels is not None]
    slos = [volume.slo[::every].T for volume in volumes if volume.slo is not None]
    return arrays | ({"seg_vols": np.stack(labels)} if labels else {}) | ({"slo_imgs": np.stack(slos)} if slos else {})


def check_alike(first: tuple[str, FlatVolume], other: tuple[str, FlatVolume]) -> None:
    """Raises InputError naming what of a volume is not as in the first: a fold holds one array of all."""
    (name, one), (found, two) = first, other
    for what, expected, is_found in (
        ("shape [B-scans, rows, A-scans]", one.voxels.shape, two.voxels.shape),
        ("has labels", one.labels is not None, two.labels is not None),
        ("has an SLO", one.slo is not None, two.slo is not None),
    ):
        if expected != is_found:
            raise InputError(f"{found}: {what}: expected {expected} as in {name}, found {is_found}")
