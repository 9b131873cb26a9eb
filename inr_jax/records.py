"""What was done to one volume that was prepared, and how it is undone."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from inr_jax.errors import InputError
from inr_jax.flattening import between, move_rows
from inr_jax.scan import Scan
from inr_jax.scan_io import Triple, resampled_geometry

MANIFEST = "manifest.json"  # beside the folds


class Record(NamedTuple):
    """All that `restore` needs, and where it came from. B-scans are counted in the volume as it was."""

    name: str
    person: str
    laterality: str | None
    file: str
    shape: tuple[int, int, int]  # [D, H, W] as it was
    spacing: Triple  # mm, the same order
    origin: Triple  # mm, LPS, as ITK has it
    direction: tuple[float, ...]
    places: Int[np.ndarray, " P"]  # the B-scans that were chosen; the even ones of them are fitted
    shift: Int[np.ndarray, "P W"]  # rows that each A-scan was moved down
    low: Float[np.ndarray, " P"]  # what became 0
    high: Float[np.ndarray, " P"]  # what became 1
    clipped: float  # share of the voxels beyond
    crop_start: tuple[int, int]  # row and A-scan
    crop_shape: tuple[int, int]
    membrane: str  # where Bruch's membrane came from
    membrane_missing: float  # share of the A-scans it came from where it was not seen
    slo: str  # how the SLO was sampled: geometry | index | none

    def to_json(self) -> dict[str, Any]:
        """Lists, numbers and text."""
        plain = {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in self._asdict().items()}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}


ARRAYS = {"places": int, "shift": int, "low": float, "high": float}


def record_from_json(content: dict[str, Any]) -> Record:
    """The record that `to_json` wrote."""
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    values |= {key: np.array(content[key], kind) for key, kind in ARRAYS.items()}
    return Record(**values)


class Manifest(NamedTuple):
    """What `inr-jax prepare` says of the folds in a folder, as far as they are loaded and undone by it."""

    note: str  # what every table about them must say: "phantom"; ""
    scored_every: int  # of the dense B-scans; these two name the files
    fitted_every: int
    records: dict[str, dict[str, Record]]  # part (train, test) -> name -> record
    config: dict[str, Any]  # of the preparation


def find_manifest(folder: str | Path) -> Manifest | None:
    """The manifest of the folds in a folder; None where `inr-jax prepare` did not make them.

    Raises InputError for one that cannot be read.
    """
    path = Path(folder) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "fitted_every" not in content:  # of another program
            return None
        records: dict[str, dict[str, Record]] = {"train": {}, "test": {}}
        for volume in content["volumes"]:
            record = record_from_json(volume["record"])
            for part in volume["parts"]:
                records[part][record.name] = record
        return Manifest(content["note"], content["scored_every"], content["fitted_every"], records, content["config"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: expected the manifest of prepared folds; found: {reason}") from error


def read_records(folder: str | Path, part: str) -> dict[str, Record]:
    """The records, by name, of what `inr-jax prepare` wrote into a folder.

    `part`, train or test: a volume may be flattened otherwise where it is in a fold's test part. Raises InputError.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        raise InputError(f"{Path(folder) / MANIFEST}: expected the manifest of prepared folds; found none")
    if part not in manifest.records:
        raise InputError(f"part: expected one of {', '.join(manifest.records)}; found {part}")
    return manifest.records[part]


def known_region(record: Record, places: Shaped[np.ndarray, " P"]) -> Bool[np.ndarray, "P H W"]:
    """What of the original's B-scans at `places` a prepared volume holds: neither cropped away nor moved out."""
    return _put_back(np.ones((len(places), *record.crop_shape), bool), record, places)


def _put_back(
    volume: Shaped[np.ndarray, "P h w"], record: Record, places: Shaped[np.ndarray, " P"]
) -> Shaped[np.ndarray, "P H W"]:
    """In the rows and A-scans of the original, 0 where nothing is known."""
    shift = np.rint(between(record.shift.astype(float), record.places, places)).astype(int)
    (row, column), (rows, columns) = record.crop_start, record.crop_shape
    whole = np.zeros((len(places), *record.shape[1:]), volume.dtype)
    whole[:, row : row + rows, column : column + columns] = volume
    return move_rows(whole, -shift, edge=False)


def restore(
    volume: Shaped[np.ndarray, "P h w"],
    record: Record,
    places: Shaped[np.ndarray, " P"] | None = None,
    *,
    labels: bool = False,
) -> tuple[Shaped[np.ndarray, "P H W"], Bool[np.ndarray, "P H W"]]:
    """A prepared volume in the rows, A-scans and units of the original, and where that is known.

    `places`: which of the original's B-scans (fractions, too) they are; without, those that were chosen. Between them
    shifts and ranges are linear. What was cropped away or moved out is 0 and not known. Labels and shifts come back
    exactly, intensities within float32 of those that were not clipped.
    """
    wanted = record.places if places is None else places
    known = known_region(record, wanted)
    if labels:
        return _put_back(volume, record, wanted), known
    low, high = (np.interp(wanted, record.places, side)[:, None, None] for side in (record.low, record.high))
    return _put_back((volume * (high - low) + low).astype(volume.dtype), record, wanted), known


def restored_scan(
    voxels: Float[np.ndarray, "P h w"],
    labels: Int[np.ndarray, "P h w"] | None,
    record: Record,
    places: Shaped[np.ndarray, " P"] | None = None,
) -> Scan:
    """The same as a scan at its place in mm, `valid` where it is known. Places must rise in even steps."""
    wanted = (record.places if places is None else places).astype(float)
    voxels, known = restore(voxels, record, wanted)
    spacing, origin = resampled_geometry(
        Scan(voxels, record.spacing, origin=record.origin, direction=record.direction), wanted
    )
    return Scan(
        voxels=voxels.astype(np.float32),
        spacing=spacing,
        origin=origin,
        direction=record.direction,
        labels=None if labels is None else restore(labels, record, wanted, labels=True)[0],
        valid=known,
        laterality=record.laterality,
        name=record.name,
        person=record.person,
    )
