"""Populations of OCT volumes in INteRp-OCT's `.npz` files (doi 10.1007/978-3-658-47422-5_24).

A folder holds, per fold k, `dataset_flat_subsmpl16_{train,test}_fold{k}.npz` (the B-scans that are scored) and
`..subsmpl32..` (every second of them: what is fitted), or such files of other spacings. A single file is dealt out by
person, and its even B-scans count as fitted. Volumes were flattened and scaled by whoever wrote them; here each is
scaled to [0, 1] again, by its fitted B-scans alone so that nothing held out is used. Beside a manifest of
`inr-jax prepare` all of it has its way back, to the scan that was prepared.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped
from ml_collections import ConfigDict

from inr_jax.data._files import FOLD_FILE, data_path, fold_file, laterality, match_subject
from inr_jax.data._splits import by_shares, people_of_split, split_number
from inr_jax.errors import InputError
from inr_jax.npz_io import read_npz_scans
from inr_jax.preprocessing import Undo, frame, from_unit_range, prepare, stack, to_unit_range
from inr_jax.records import MANIFEST, Manifest, Record, find_manifest, known_region, restore
from inr_jax.scan import Scan, checked_labels
from inr_jax.types import Frame, Population

CHANGED = 1e-3  # of the range: by how much a fitted B-scan may differ from the scored one it is
NORMALISE_BY = {"fitted": 2, "all": 1}  # every which B-scan's range becomes [0, 1]


def load(config: ConfigDict, split: str) -> Population:
    """Volumes of one split, left eyes mirrored where names tell; labels and SLO where the files have them."""
    oct_config = config.interp_oct
    number = split_number(split)
    path = data_path(config.path, "interp_oct")
    if oct_config.normalise_by not in (*NORMALISE_BY, "none"):
        expected = ", ".join((*NORMALISE_BY, "none"))
        raise InputError(f"data.interp_oct.normalise_by: expected one of {expected}, found {oct_config.normalise_by}")
    manifest = find_manifest(path) if path.is_dir() else None
    share = oct_config.validation_people
    if path.is_dir():
        every = _spacings(path, manifest)
        parts = {part: _scored(path, part, every, oct_config) for part in ("train", "test")}
        _no_one_twice(parts["train"], parts["test"], path)
        scans = parts["test"] if split == "test" else _learned(parts["train"], share, number)
    else:
        scans = _subjects(_read(path, oct_config), oct_config)
        shares = (1.0 - 2.0 * share, share, share)
        chosen = people_of_split([s.person for s in scans], shares, split, "data.interp_oct.validation_people")
        scans = _of(scans, chosen)
    has_labels = scans[0].labels is not None
    classes = tuple(oct_config.classes) if has_labels else ()
    records = _records(path, manifest, "test" if split == "test" else "train", scans)
    prepared, frames = zip(
        *(_prepared(scan, record, classes, oct_config) for scan, record in zip(scans, records, strict=True)),
        strict=True,
    )
    measured = np.arange(prepared[0].voxels.shape[0]) % 2 == 0
    note = "" if manifest is None else manifest.note
    return stack(prepared, measured=measured, classes=classes, note=note, frames=frames)


def _read(path: Path, config: ConfigDict) -> list[Scan]:
    scans = read_npz_scans(path, slo_axes=config.slo_axes if config.slo else None)
    return scans if config.use_valid else [replace(scan, valid=None) for scan in scans]


def _learned(scans: list[Scan], share: float, number: int) -> list[Scan]:
    """Those that are learned from (number 0) or validated on (1); with a share of 0 everyone is both."""
    if share == 0:
        return scans
    known = sorted({scan.person for scan in scans})
    people = by_shares(known, (1.0 - share, share), "data.interp_oct.validation_people")
    return _of(scans, set(people[number]))


def _of(scans: list[Scan], people: set[str]) -> list[Scan]:
    return [scan for scan in scans if scan.person in people]


def _spacings(folder: Path, manifest: Manifest | None) -> tuple[int, int]:
    """Every which dense B-scan is scored and fitted: what names the files. By the manifest, or as the names tell."""
    if manifest is not None:
        return manifest.scored_every, manifest.fitted_every
    matches = [FOLD_FILE.fullmatch(path.name) for path in folder.iterdir()]
    found = sorted({int(match[1]) for match in matches if match})
    if len(found) != 2 or found[1] != 2 * found[0]:
        shown = ", ".join(map(str, found)) or "none"
        raise InputError(
            f"{folder}: expected files dataset_flat_subsmpl<spacing>_<part>_fold<k>.npz of two spacings, "
            f"one twice the other; found {shown}"
        )
    return found[0], found[1]


def _scored(folder: Path, part: str, every: tuple[int, int], config: ConfigDict) -> list[Scan]:
    """The scored scans of one part of the fold, whose even B-scans are those of the fitted file."""
    paths = [folder / fold_file(spacing, part, config.fold) for spacing in every]
    scored, fitted = (_read(path, config) for path in paths)
    if [scan.name for scan in scored] != [scan.name for scan in fitted]:
        raise InputError(f"{paths[1]}: subject_names: expected those of {paths[0].name}, found others")
    for scan, half in zip(scored, fitted, strict=True):
        even = scan.voxels[::2]
        if half.voxels.shape != even.shape:
            raise InputError(f"{paths[1]}: {scan.name}: expected shape {even.shape}, found {half.voxels.shape}")
        if np.abs(half.voxels - even).max() > CHANGED * np.ptp(even):
            raise InputError(f"{paths[1]}: {scan.name}: expected the even B-scans of {paths[0].name}, found others")
    return _subjects(scored, config)


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


def _records(folder: Path, manifest: Manifest | None, part: str, scans: list[Scan]) -> list[Record | None]:
    """What was done to each scan; None where nobody says. Raises InputError where the manifest is of other scans."""
    if manifest is None:
        return [None] * len(scans)
    records = manifest.records[part]
    for scan in scans:
        record = records.get(scan.name)
        held = None if record is None else (len(record.places), *record.crop_shape)
        if held != scan.voxels.shape:
            expected = f"expected the record of a volume of shape {scan.voxels.shape}"
            raise InputError(f"{folder / MANIFEST}: {scan.name} ({part}): {expected}, found {held}")
    return [records[scan.name] for scan in scans]


def _prepared(scan: Scan, record: Record | None, classes: tuple[str, ...], config: ConfigDict) -> tuple[Scan, Frame]:
    """Scaled to [0, 1], labels checked, left eyes mirrored; and the frame before: the record's where there is one."""
    if scan.labels is not None:
        checked_labels(scan.labels, len(classes), f"{scan.name} (data.interp_oct.classes)")
    low, high = _range(scan, config.normalise_by)
    scaled = replace(scan, voxels=to_unit_range(scan.voxels, low, high))
    if scan.slo is not None and config.normalise_by != "none":
        scaled = replace(scaled, slo=to_unit_range(scan.slo, *_spread(scan.slo, f"{scan.name}: SLO")))
    upright, undo = prepare(scaled, mirror=config.mirror_left, align=False)
    in_file = _frame(scan, undo, low, high)
    return upright, in_file if record is None else _restored_frame(in_file, record)


def _range(scan: Scan, normalise_by: str) -> tuple[float, float]:
    """What becomes 0 and 1. Raises InputError for a scan of one value alone or, with "none", of others than [0, 1]."""
    if normalise_by == "none":
        for what, values in (("voxels", scan.voxels), ("SLO", scan.slo)):
            if values is not None and (values.min() < 0 or values.max() > 1):
                found = f"{values.min():g} to {values.max():g}"
                raise InputError(
                    f"{scan.name}: {what}: expected values in [0, 1] (data.interp_oct.normalise_by=none), found {found}"
                )
        return 0.0, 1.0
    every = NORMALISE_BY[normalise_by]
    values = scan.voxels[::every]
    measured = values if scan.valid is None else values[scan.valid[::every]]
    return _spread(measured, f"{scan.name}: {normalise_by} B-scans")


def _spread(values: Float[np.ndarray, "*some"], where: str) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low == high:
        raise InputError(f"{where}: expected an image, found the value {low} everywhere")
    return low, high


def _frame(scan: Scan, upright: Undo, low: float, high: float) -> Frame:
    """The frame of a scan in its file, the file's units included."""

    def undo(
        volume: Shaped[np.ndarray, "P h w"], index: Float[np.ndarray, " P"], *, labels: bool = False
    ) -> Shaped[np.ndarray, "P h w"]:
        as_read = upright(volume, index, labels=labels)
        return as_read if labels else from_unit_range(as_read, low, high)

    return frame(scan)._replace(undo=undo)


def _restored_frame(in_file: Frame, record: Record) -> Frame:
    """The frame of the scan that was prepared, which has more rows, A-scans and B-scans."""

    def places(index: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        return np.interp(index, np.arange(len(record.places)), record.places)

    def undo(
        volume: Shaped[np.ndarray, "P h w"], index: Float[np.ndarray, " P"], *, labels: bool = False
    ) -> Shaped[np.ndarray, "P H W"]:
        return restore(in_file.undo(volume, index, labels=labels), record, places(index), labels=labels)[0]

    def known(index: Float[np.ndarray, " P"]) -> Bool[np.ndarray, "P H W"]:
        return known_region(record, places(index))

    return Frame(record.origin, record.direction, undo, known)
