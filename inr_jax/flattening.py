"""Flattening at Bruch's membrane (BM), and the way back: every A-scan is shifted by a whole number of rows.

The reference's way (INteRp-OCT, doi 10.1007/978-3-658-47422-5_24): BM lands on row floor(0.65 H); rows of BM too near
the edge count as not seen. It moves images by cubic splines, which pass through their samples: a shift by whole rows
copies them, as is done here.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from inr_jax.errors import InputError

TARGET = 0.65  # of the rows: where BM comes to lie
INSIDE = (0.05, 0.95)  # of the rows: BM beyond counts as not seen


def membrane_of_labels(labels: Int[np.ndarray, "D H W"]) -> Float[np.ndarray, "D W"]:
    """The last row of each A-scan whose label is not 0; NaN where there is none. Labels are 0 below BM."""
    rows = labels.shape[1]
    some = labels != 0
    last = rows - 1 - np.argmax(some[:, ::-1], axis=1)
    return np.where(some.any(axis=1), last, np.nan)


def is_seen(membrane: Float[np.ndarray, "D W"], rows: int) -> Bool[np.ndarray, "D W"]:
    """Where BM is known and lies within (0.05 H, 0.95 H)."""
    low, high = INSIDE
    return np.isfinite(membrane) & (membrane > low * rows) & (membrane < high * rows)


def filled_membrane(membrane: Float[np.ndarray, "D W"], rows: int, where: str) -> Float[np.ndarray, "D W"]:
    """BM in every A-scan: linear along the B-scan where it was not seen, held beyond the first and last A-scan seen.

    A B-scan without BM takes it from those beside it. Raises InputError, with `where` before it, if BM is nowhere.
    """
    seen = is_seen(membrane, rows)
    full = seen.any(axis=1)
    if not full.any():
        low, high = (round(share * rows, 1) for share in INSIDE)
        raise InputError(f"{where}: Bruch's membrane: expected it between rows {low:g} and {high:g}; found none")
    columns = np.arange(membrane.shape[1])
    known = [np.interp(columns, columns[s], line[s]) for s, line in zip(seen[full], membrane[full], strict=True)]
    return between(np.stack(known), np.flatnonzero(full), np.arange(len(membrane)))


def between(
    known: Float[np.ndarray, "K W"], places: Shaped[np.ndarray, " K"], wanted: Shaped[np.ndarray, " P"]
) -> Float[np.ndarray, "P W"]:
    """Lines known in B-scans at rising `places`, linearly between them and held beyond the ends."""
    return np.stack([np.interp(wanted, places, column) for column in known.T], axis=1)


def flattening_shift(membrane: Float[np.ndarray, "D W"], rows: int, target: float = TARGET) -> Int[np.ndarray, "D W"]:
    """Whole rows by which each A-scan moves down so that BM lands on row floor(target H)."""
    return int(target * rows) - np.rint(membrane).astype(int)


def move_rows(
    volume: Shaped[np.ndarray, "D H W"], shift: Int[np.ndarray, "D W"], *, edge: bool, window: int | None = None
) -> Shaped[np.ndarray, "D R W"]:
    """A-scans `shift` rows further down. What moves in is 0 (intensities), or with `edge` the edge row's (labels).

    window: how many rows come back, from the first one on; by default as many as there were. Moving by -shift is the
    way back: exact in every row that did not leave the image, which `moved_inside` tells.
    """
    rows = volume.shape[1]
    source = np.arange(rows if window is None else window)[:, None] - shift[:, None, :]
    moved = np.take_along_axis(volume, np.clip(source, 0, rows - 1), axis=1)
    return moved if edge else np.where((source >= 0) & (source < rows), moved, volume.dtype.type(0))


def moved_inside(rows: int, shift: Int[np.ndarray, "D W"]) -> Bool[np.ndarray, "D {rows} W"]:
    """The rows that are still in the image after `move_rows`."""
    goal = np.arange(rows)[:, None] + shift[:, None, :]
    return (goal >= 0) & (goal < rows)
