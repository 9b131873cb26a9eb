"""Where an instrument's A-scans lie on its SLO, and the geometry of a scan that follows from it."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from inr_jax.scan import Scan, Triple

EVEN = 0.04  # of the distance between B-scans: what counts as evenly spaced and as parallel
APART = 0.1  # of the distance that the header says: more is told


def places(
    starts: Float[np.ndarray, "D 2"],
    ends: Float[np.ndarray, "D 2"],
    columns: int,
    *,
    pattern: str | None,
    laterality: str | None,
    pixel: tuple[float, float],
) -> Float[np.ndarray, "D W 2"]:
    """Where A-scans lie, mm (y, x) from the centre of the SLO's first pixel.

    starts, ends: mm (y, x) from the corner of the SLO, from edge to edge of a B-scan; of a circle a point on it, where
    it begins, and its centre. A circle runs from temporal over superior to nasal: clockwise on the SLO of a right eye,
    the other way in a left one. pixel: mm of the SLO's.
    """
    along = (np.arange(columns) + 0.5) / columns
    if pattern == "circle":
        arm = starts - ends
        turn = 2 * np.pi * along * (-1 if laterality == "L" else 1)
        cos, sin = np.cos(turn)[None], np.sin(turn)[None]
        y, x = arm[:, :1] * cos + arm[:, 1:] * sin, arm[:, 1:] * cos - arm[:, :1] * sin
        on_slo = ends[:, None] + np.stack([y, x], axis=-1)
    else:
        on_slo = starts[:, None] + along[None, :, None] * (ends - starts)[:, None]
    return (on_slo - np.asarray(pixel) / 2).astype(np.float32)


def pattern_of(starts: Float[np.ndarray, "D 2"], ends: Float[np.ndarray, "D 2"], length: float) -> str | None:
    """A pattern by where B-scans begin and end and how long they are (mm); None where it is none of those known.

    A raster is parallel and evenly spaced, a radial scan has one middle, and a circle is 2 pi times as long as it is
    from its beginning to its middle, which is then said in the place of its end.
    """
    if len(starts) == 1:
        is_circle = abs(2 * np.pi * np.linalg.norm(ends - starts) - length) < EVEN * length
        return "circle" if is_circle else "line"
    along, middles = ends - starts, (starts + ends) / 2
    length = np.linalg.norm(along, axis=1).max()
    if length == 0:
        return None
    if np.linalg.norm(middles - middles.mean(axis=0), axis=1).max() < EVEN * length:
        return "radial"
    is_parallel = np.linalg.norm(along - along.mean(axis=0), axis=1).max() < EVEN * length
    steps = np.diff(middles, axis=0)
    mean = steps.mean(axis=0)
    is_even = np.linalg.norm(steps - mean, axis=1).max() < max(EVEN * length / len(starts), 0.5 * np.linalg.norm(mean))
    return "raster" if is_parallel and is_even else None


def placed(scan: Scan) -> Scan:
    """A raster or a line with B-scans from the top of the SLO down and A-scans from left to right, and its geometry.

    The frame is the SLO's: ITK's x along its rows, y in depth, z down its columns; a raster that lies askew keeps the
    turn in its direction. Others, and scans without an SLO, come back as they are.
    """
    if scan.ascans_on_slo is None or scan.pattern not in ("raster", "line"):
        return scan
    along = scan.ascans_on_slo[:, -1] - scan.ascans_on_slo[:, 0]
    across = scan.ascans_on_slo[-1].mean(axis=0) - scan.ascans_on_slo[0].mean(axis=0)
    y, x = along.mean(axis=0)
    if (x if abs(x) >= abs(y) else y) < 0:
        scan, y, x = _flipped(scan, axis=2), -y, -x
    if x * across[0] - y * across[1] < 0:
        scan = _flipped(scan, axis=0)
    turn = np.hypot(x, y)
    cos, sin = (x / turn, y / turn) if turn > 0 else (1.0, 0.0)
    assert scan.ascans_on_slo is not None, "flipping keeps it"
    first = scan.ascans_on_slo[0, 0]
    direction = (cos, 0.0, -sin, 0.0, 1.0, 0.0, sin, 0.0, cos)
    return replace(
        scan, origin=(float(first[1]), 0.0, float(first[0])), direction=tuple(float(v) + 0.0 for v in direction)
    )


def _flipped(scan: Scan, axis: int) -> Scan:
    """Everything that has the scan's B-scans (axis 0) or A-scans (axis 2), the other way round."""

    def turned(array: np.ndarray | None, at: int) -> np.ndarray | None:
        return None if array is None else np.ascontiguousarray(np.flip(array, at))

    bscans_or_columns = 0 if axis == 0 else 1
    bscans, columns = scan.turned
    if axis == 0:
        bscans = None if bscans is None else not bscans
    else:
        columns = not columns
    return replace(
        scan,
        voxels=np.ascontiguousarray(np.flip(scan.voxels, axis)),
        labels=turned(scan.labels, axis),
        valid=turned(scan.valid, axis),
        surfaces=turned(scan.surfaces, 1 + bscans_or_columns),
        ascans_on_slo=turned(scan.ascans_on_slo, bscans_or_columns),
        quality=turned(scan.quality, 0) if axis == 0 else scan.quality,
        turned=(bscans, columns),
    )


def distance(scan_lines: Float[np.ndarray, "D 2"], said: float) -> tuple[float, str | None]:
    """mm between neighbouring B-scans, by their middles (y, x), and what is to be told if the header says another.

    said: by the header, 0 or nan if it does not.
    """
    steps = np.linalg.norm(np.diff(scan_lines, axis=0), axis=1)
    found = float(steps.mean()) if len(steps) else 0.0
    if not np.isfinite(said) or said <= 0:
        return found, None
    if found > 0 and abs(found - said) > APART * said:
        return found, f"B-scans lie {found:.3f} mm apart on the SLO, the header says {said:.3f}: the SLO is believed"
    return said, None


def bscan_spacing(spacing: Triple, apart: float) -> Triple:
    """The spacing with the distance between B-scans; of a single B-scan, as thick as its A-scans are apart."""
    return (apart if apart > 0 else spacing[2], *spacing[1:])
