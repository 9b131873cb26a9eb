"""Populations of OCT volumes in INteRp-OCT's `.npz` files (doi 10.1007/978-3-658-47422-5_24).

A folder holds, per fold k, `dataset_flat_subsmpl16_{train,test}_fold{k}.npz` (the B-scans that are scored) and
`..subsmpl32..` (every second of them: what is fitted). A single file is dealt out by person, and its even
B-scans count as fitted. Volumes were flattened and scaled by whoever wrote them; here each is scaled to [0, 1]
again, by its fitted B-scans alone so that nothing held out is used.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from inr_jax.data._files import data_path, laterality, match_subject
from inr_jax.data._splits import by_shares, people_of_split, split_number
from inr_jax.errors import InputError
from inr_jax.npz_io import read_npz_scans
from inr_jax.preprocessing import frame, prepare, stack, to_unit_range
from inr_jax.scan import Scan, checked_labels
from inr_jax.types import Frame, Population

CHANGED = 1e-3  # of the range: by how much a fitted B-scan may differ from the scored one it is


def load(config: ConfigDict, split: str) -> Population:
    """Volumes of one split, left eyes mirrored where names tell; labels and SLO where the files have them."""
    oct_config = config.interp_oct
    number = split_number(split)
    path = data_path(config.path, "interp_oct")
    if path.is_dir():
        parts = {part: _subjects(_scored(path, part, oct_config), oct_config) for part in ("train", "test")}
        _no_one_twice(parts["train"], parts["test"], path)
        share = oct_config.validation_people
        known = sorted({scan.person for scan in parts["train"]})
        learned = by_shares(known, (1.0 - share, share), "data.interp_oct.validation_people")
        scans = parts["test"] if split == "test" else _of(parts["train"], set(learned[number]))
    else:
        share = oct_config.validation_people
        scans = _subjects(read_npz_scans(path, slo_axes=oct_config.slo_axes), oct_config)
        shares = (1.0 - 2.0 * share, share, share)
        chosen = people_of_split([s.person for s in scans], shares, split, "data.interp_oct.validation_people")
        scans = _of(scans, chosen)
    has_labels = scans[0].labels is not None
    classes = tuple(oct_config.classes) if has_labels else ()
    prepared, frames = zip(*(_prepared(scan, classes, oct_config) for scan in scans), strict=True)
    measured = np.arange(prepared[0].voxels.shape[0]) % 2 == 0
    return stack(prepared, measured=measured, classes=classes, note=_note(path), frames=frames)


def _note(path: Path) -> str:
    """What `inr-jax prepare` says of folds that it made (that they are a phantom's); '' of all others."""
    try:
        content = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content.get("note", "")) if isinstance(content, dict) else ""


def _of(scans: list[Scan], people: set[str]) -> list[Scan]:
    return [scan for scan in scans if scan.person in people]


def _scored(folder: Path, part: str, config: ConfigDict) -> list[Scan]:
    """The scored scans of one part of the fold, whose even B-scans are those of the fitted file."""
    paths = [folder / f"dataset_flat_subsmpl{every}_{part}_fold{config.fold}.npz" for every in (16, 32)]
    scored, fitted = (read_npz_scans(path, slo_axes=config.slo_axes) for path in paths)
    if [scan.name for scan in scored] != [scan.name for scan in fitted]:
        raise InputError(f"{paths[1]}: subject_names: expected those of {paths[0].name}, found others")
    for scan, half in zip(scored, fitted, strict=True):
        even = scan.voxels[::2]
        if half.voxels.shape != even.shape:
            raise InputError(f"{paths[1]}: {scan.name}: expected shape {even.shape}, found {half.voxels.shape}")
        if np.abs(half.voxels - even).max() > CHANGED * np.ptp(even):
            raise InputError(f"{paths[1]}: {scan.name}: expected the even B-scans of {paths[0].name}, found others")
    return scored


def _subjects(scans: list[Scan], config: ConfigDict) -> list[Scan]:
    """The scans with person and laterality by their names."""
    matches = [match_subject(config.subject_pattern, scan.name, "subject_names") for scan in scans]
    return [
        replace(scan, person=match["person"], laterality=laterality(match))
        for scan, match in zip(scans, matches, strict=True)
    ]


def _no_one_twice(train: list[Scan], test: list[Scan], path: Path) -> None:
    shared = sorted({scan.person for scan in train} & {scan.person for scan in test})
    if shared:
        raise InputError(f"{path}: expected no person in both train and test, found {', '.join(shared)}")


def _prepared(scan: Scan, classes: tuple[str, ...], config: ConfigDict) -> tuple[Scan, Frame]:
    """Scaled to [0, 1], labels checked, left eyes mirrored; and the frame before."""
    fitted = scan.voxels[::2]
    if scan.labels is not None:
        checked_labels(scan.labels, len(classes), f"{scan.name} (data.interp_oct.classes)")
    scaled = replace(scan, voxels=_scaled(scan.voxels, fitted, f"{scan.name}: fitted B-scans"))
    if scan.slo is not None:
        scaled = replace(scaled, slo=_scaled(scan.slo, scan.slo, f"{scan.name}: SLO"))
    upright, undo = prepare(scaled, mirror=config.mirror_left, align=False)
    return upright, frame(scaled, undo)


def _scaled(
    values: Float[np.ndarray, "*grid"], by: Float[np.ndarray, "*some"], where: str
) -> Float[np.ndarray, "*grid"]:
    low, high = float(by.min()), float(by.max())
    if low == high:
        raise InputError(f"{where}: expected an image, found the value {low} everywhere")
    return to_unit_range(values, low, high)
