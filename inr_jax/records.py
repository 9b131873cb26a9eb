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


def read_records(folder: str | Path, part: str) -> dict[str, Record]:
    """The records, by name, of what `inr-jax prepare` wrote into a folder.

    `part`, train or test: a volume may be flattened otherwise where it is in a fold's test part. Raises InputError.
    """
    path = Path(folder) / MANIFEST
    try:
        volumes = json.loads(path.read_text(encoding="utf-8"))["volumes"]
        return {v["record"]["name"]: record_from_json(v["record"]) for v in volumes if part in v["parts"]}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the manifest of prepared folds; found: {error}") from error


def restore(
    volume: Shaped[np.ndarray, "P h w"],
    record: Record,
    places: Shaped[np.ndarray, " P"] | None = None,
    *,
    labels: bool = False,
) -> tuple[Shaped[np.ndarray, "P H W"], Bool[np.ndarray, "P H W"]]:
    """A prepared volume in the rows, A-scans and units of the original, and where that is known.

    `places`: which of the original's B-scans (fractions, too) they are; without, those that were chosen. Between them
    shifts and ranges are linear. What was cropped away is 0 and not known. Labels and shifts come back exactly,
    intensities within float32 of those that were not clipped.
    """
    wanted = record.places if places is None else places
    shift = np.rint(between(record.shift.astype(float), record.places, wanted)).astype(int)
    (row, column), (rows, columns) = record.crop_start, record.crop_shape
    box = (slice(None), slice(row, row + rows), slice(column, column + columns))
    whole = np.zeros((len(wanted), *record.shape[1:]), volume.dtype)
    known = np.zeros(whole.shape, bool)
    known[box] = True
    if labels:
        whole[box] = volume
        return move_rows(whole, -shift, edge=True), move_rows(known, -shift, edge=False)
    low, high = (np.interp(wanted, record.places, side)[:, None, None] for side in (record.low, record.high))
    whole[box] = volume * (high - low) + low
    return move_rows(whole, -shift, edge=False), move_rows(known, -shift, edge=False)


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
