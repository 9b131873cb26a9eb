"""NIfTI, NRRD or MHA volumes as they are, as slices, or as patches; or one person's, in slabs."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from inr_jax.data._files import data_path, match_subject
from inr_jax.data._splits import people_of_split, split_number
from inr_jax.errors import InputError
from inr_jax.preprocessing import stack, to_unit_range
from inr_jax.scan import Scan
from inr_jax.scan_io import IMAGE_SUFFIXES, read_image, read_labels, stem
from inr_jax.types import Population

MODES = ("whole", "slices", "patches", "slabs")
Region = tuple[int, int]  # first slice, and the one after the last


def load(config: ConfigDict, split: str) -> Population:
    """Volumes [N, D, H, W], their patches, or their slices [N, H, W], of one split; `window` becomes [0, 1].

    Split by person, but by slabs of the first axis in mode `slabs`, whose note says so. Raises InputError
    naming the file.
    """
    volumes = config.volumes
    if volumes.mode not in MODES:
        raise InputError(f"data.volumes.mode: expected one of {', '.join(MODES)}, found {volumes.mode}")
    number = split_number(split)
    files = image_files(data_path(config.path, "ct/torso_ct_3mm.nii.gz"), volumes.labels)
    people = [match_subject(volumes.subject_pattern, stem(file), str(file))["person"] for file in files]
    if volumes.mode != "slabs":
        chosen = people_of_split(people, volumes.people, split, "data.volumes.people")
    else:
        chosen = set(people)
    scans = [_read(f, person, volumes) for f, person in zip(files, people, strict=True) if person in chosen]
    if volumes.mode == "slices":
        return _slices(scans, volumes)
    if volumes.mode == "patches":
        step = tuple(volumes.patch)
        scans = [p for scan in scans for p in patches(scan, (0, scan.voxels.shape[0]), step, step)]
    if volumes.mode == "slabs":
        scans = [p for scan in scans for p in _slab_patches(scan, number, volumes)]
    note = "within one subject" if volumes.mode == "slabs" else ""
    if not scans:
        raise InputError(f"data.volumes: expected a patch with more than one value in {split}, found none")
    measured = np.arange(scans[0].voxels.shape[0]) % volumes.fitted_every == 0
    return stack(scans, measured=measured, classes=tuple(volumes.classes), note=note)


def image_files(path: Path, labels: tuple[str, str]) -> list[Path]:
    """The one file, or the image files of a folder without those that hold labels."""
    if path.is_file():
        return [path]
    images = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(IMAGE_SUFFIXES)]
    images = [file for file in images if not labels[1] or labels[1] not in stem(file)]
    if not images:
        raise InputError(f"{path}: expected files of {' '.join(IMAGE_SUFFIXES)}, found none")
    return images


def _read(file: Path, person: str, volumes: ConfigDict) -> Scan:
    """One windowed volume, with its labels where the config names classes."""
    scan = replace(read_image(file), person=person)
    if volumes.classes:
        image, label = volumes.labels
        labels = read_labels(file.with_name(file.name.replace(image, label)), scan, len(volumes.classes))
        scan = replace(scan, labels=labels)
    low, high = volumes.window
    if low >= high:
        raise InputError(f"data.volumes.window: expected (low, high), found ({low}, {high})")
    voxels = to_unit_range(scan.voxels, low, high)
    if voxels.min() == voxels.max():
        found = f"{scan.voxels.min():g} to {scan.voxels.max():g}"
        raise InputError(f"{file}: expected values within data.volumes.window ({low:g}, {high:g}), found {found}")
    return replace(scan, voxels=voxels)


def slabs(depth: int, shares: tuple[float, ...], gap: int) -> list[Region]:
    """Split `depth` slices into neighbouring regions by shares, with `gap` slices left out between two."""
    usable = depth - gap * (len(shares) - 1)
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * max(usable, 0)).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    return [(int(a) + gap * i, int(b) + gap * i) for i, (a, b) in enumerate(zip(starts, ends, strict=True))]


def _slab_patches(scan: Scan, number: int, volumes: ConfigDict) -> Iterator[Scan]:
    """Patches of one split's slab; those to learn from overlap by half."""
    if not all(isinstance(share, float | int) for share in volumes.people):
        raise InputError(f"data.volumes.people: expected three shares in mode slabs, found {tuple(volumes.people)}")
    patch = tuple(volumes.patch)
    step = tuple(max(1, side // 2) for side in patch) if number == 0 else patch
    return patches(scan, slabs(scan.voxels.shape[0], tuple(volumes.people), volumes.gap)[number], patch, step)


def patches(scan: Scan, region: Region, patch: tuple[int, ...], step: tuple[int, ...]) -> Iterator[Scan]:
    """The fewest evenly placed patches, at most `step` voxels apart, that cover the slices of `region`.

    Patches of one value (air) are left out. Raises InputError where the region is smaller than a patch.
    """
    extent = (region[1] - region[0], *scan.voxels.shape[1:])
    if any(have < need for have, need in zip(extent, patch, strict=True)):
        raise InputError(f"{scan.name}: expected at least one patch of {patch} voxels, found {extent}")
    starts = [_starts(*side) for side in zip(extent, patch, step, strict=True)]
    for d, h, w in product(*starts):
        part = crop(scan, (region[0] + d, h, w), patch)
        if part.voxels.min() < part.voxels.max():
            yield part


def _starts(extent: int, patch: int, step: int) -> list[int]:
    count = int(np.ceil((extent - patch) / step)) + 1
    return sorted(set(np.rint(np.linspace(0, extent - patch, count)).astype(int).tolist()))


def crop(scan: Scan, start: tuple[int, int, int], shape: tuple[int, ...]) -> Scan:
    """A box of voxels that stays where it is in mm, named by where it starts."""
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    along = np.array(scan.direction).reshape(3, 3)
    moved = np.array(scan.origin) + along @ (np.array(start) * scan.spacing)[::-1]
    return replace(
        scan,
        voxels=scan.voxels[box],
        labels=None if scan.labels is None else scan.labels[box],
        origin=tuple(moved.tolist()),
        name="-".join([scan.name, *(f"{a:03d}" for a in start)]),
    )


def _slices(scans: list[Scan], volumes: ConfigDict) -> Population:
    """Every slice as an image of which each `fitted_every`-th row is measured; slices of one value are left out."""
    whole = stack(scans, measured=np.ones(scans[0].voxels.shape[0], bool), classes=tuple(volumes.classes), note="")
    keep = whole.intensity.min(axis=(2, 3, 4)) < whole.intensity.max(axis=(2, 3, 4))
    which, d = np.nonzero(keep)
    size = whole.intensity.shape[2:4]
    return whole._replace(
        names=tuple(f"{whole.names[i]}-{j:03d}" for i, j in zip(which, d, strict=True)),
        people=tuple(whole.people[i] for i in which),
        intensity=whole.intensity[keep],
        valid=whole.valid[keep],
        labels=None if whole.labels is None else whole.labels[keep],
        spacing=whole.spacing[which, 1:],
        offset=whole.offset[which, 1:],
        frames=tuple(whole.frames[i] for i in which),
        measured=np.broadcast_to((np.arange(size[0]) % volumes.fitted_every == 0)[:, None], size).copy(),
    )
