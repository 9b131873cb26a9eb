"""A scan that reaches beyond a model's box, cropped to it: rows round the retina, all else round the middle.

What is left is a scan whose origin has moved: every voxel stays at its place in mm.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from skimage.filters import threshold_otsu

from inr_jax.errors import InputError
from inr_jax.etdrs import LOOK, PIT, RIM, SMOOTH
from inr_jax.scan import Scan, is_placed, mm_of

BEYOND = 1.1  # how far a scan may reach beyond a model's box, in half-extents, before it is cropped
LEAST = 8  # rows and A-scans of a scan
AXES = ("B-scans", "rows", "A-scans")
SPECKLE = (0.01, 0.06)  # mm in depth and along A-scans, Gaussian sigma: what is brighter than half the rest is tissue
FOUND = 0.25  # of what evenly spread brightness leaves out, that rows of a retina must hold: noise has 0.02
EVEN = 0.01  # of the retina: windows that hold so much less of it than the best are as good


def beyond(scan: Scan, half: Float[np.ndarray, "3"]) -> tuple[int, ...]:
    """The axes along which a scan reaches too far beyond a box; between outermost centres, which is what is asked.

    Where A-scans are no raster, their places say so, and their axis is what is too long.
    """
    too_far = (np.array(scan.voxels.shape) - 1) * scan.spacing > 2 * BEYOND * half
    if is_placed(scan):
        too_far[[0, 2]] = False, reach(scan, half) > BEYOND
    return tuple(np.flatnonzero(too_far).tolist())


def reach(scan: Scan, half: Float[np.ndarray, "3"]) -> float:
    """How far A-scans lie en face from the mean of all, in half-extents of the box: the farthest one."""
    assert scan.ascans_on_slo is not None, "is_placed asks"
    off = np.abs(scan.ascans_on_slo - scan.ascans_on_slo.mean(axis=(0, 1)))
    return float((off / half[[0, 2]]).max())


def extent(scan: Scan) -> Float[np.ndarray, "3"]:
    """mm between outermost centres along the box's axes."""
    found = (np.array(scan.voxels.shape) - 1) * scan.spacing
    if is_placed(scan):
        assert scan.ascans_on_slo is not None, "is_placed asks"
        found[[0, 2]] = np.ptp(scan.ascans_on_slo, axis=(0, 1))
    return found


def to_box(scan: Scan, half: Float[np.ndarray, "3"], axes: Sequence[int] = (0, 1, 2)) -> tuple[Scan, list[str]]:
    """A retina's scan in a box of half-extent `half` mm, and what was left out; one that fits comes back as it is.

    Rows are those that hold most of the retina; A-scans and B-scans those round the middle, A-scans of a single B-scan
    round its foveal pit where surfaces show one. Nothing is cropped where that would leave too little to be a scan, or
    open a circle. axes: those that may be cropped. Raises InputError where the image shows no retina.
    """
    if (2 * half[1:] / scan.spacing[1:] < LEAST).any():
        return scan, []
    if is_placed(scan) and scan.pattern == "circle" and 2 in beyond(scan, half):
        return scan, []
    window, remarks = [slice(0, n) for n in scan.voxels.shape], []
    for axis in sorted({*axes} & {*beyond(scan, half)}):
        total, known = scan.voxels.shape[axis], 2 * float(half[axis])
        count, more = max(1, int(known / scan.spacing[axis] + 1e-3)), ""
        if axis == 2 and is_placed(scan):
            count = int(total / reach(scan, half))
        if axis == 1:
            shown = marked(scan)
            slack = EVEN if shown is None else 0.0
            first, left_out = densest(bright(scan, count) if shown is None else shown, count, slack)
            more = f"; {left_out:.0%} of the retina lies beyond" if left_out >= EVEN else ""
        else:
            middle = pit(scan) if axis == 2 else 0.5 * (total - 1)
            first = int(np.clip(round(middle - 0.5 * (count - 1)), 0, total - count))
        window[axis] = slice(first, first + count)
        kept = f"{AXES[axis]} {first} to {first + count - 1} of 0 to {total - 1} were kept"
        remarks.append(f"{kept}: the model knows a box of {known:.2f} mm{more}")
    return (cropped(scan, window[0], window[1], window[2]) if remarks else scan), remarks


def cropped(scan: Scan, bscans: slice, rows: slice, ascans: slice) -> Scan:
    """A part of a scan, every voxel at its place in mm; surfaces that leave it are not known there."""
    where, start = (bscans, rows, ascans), [bscans.start, rows.start, ascans.start]
    surfaces = None
    if scan.surfaces is not None:
        inside = scan.surfaces[:, bscans, ascans] - rows.start
        out = (inside < -0.5) | (inside > rows.stop - rows.start - 0.5)
        surfaces = np.where(out, np.nan, inside).astype(scan.surfaces.dtype)
    x, y, z = mm_of(scan, np.array(start, float)).tolist()
    return replace(
        scan,
        voxels=scan.voxels[where],
        origin=(x, y, z),
        labels=None if scan.labels is None else scan.labels[where],
        surfaces=surfaces,
        valid=None if scan.valid is None else scan.valid[where],
        ascans_on_slo=None if scan.ascans_on_slo is None else scan.ascans_on_slo[bscans, ascans],
        quality=None if scan.quality is None else scan.quality[bscans],
    )


def marked(scan: Scan) -> Float[np.ndarray, " H"] | None:
    """In how many A-scans each row lies between the first and the last surface, or is labelled; None: in none."""
    rows = np.arange(scan.voxels.shape[1])[:, None]
    if scan.surfaces is not None and len(scan.surfaces) > 1:
        inside = (rows >= scan.surfaces[0][:, None]) & (rows <= scan.surfaces[-1][:, None])
        if inside.any():
            return inside.sum(axis=(0, 2)).astype(float)
    if scan.labels is not None and scan.labels.any():
        return (scan.labels > 0).sum(axis=(0, 2)).astype(float)
    return None


def bright(scan: Scan, count: int) -> Float[np.ndarray, " H"]:
    """How many voxels of each row are bright, speckle apart (threshold of Otsu, IEEE Trans. SMC 9 (1979) 62).

    Raises InputError where any `count` rows hold about as many: an image of noise.
    """
    valid = np.ones(scan.voxels.shape, bool) if scan.valid is None else scan.valid
    sigma = (0.0, SPECKLE[0] / scan.spacing[1], SPECKLE[1] / scan.spacing[2])
    smooth = ndimage.gaussian_filter(np.where(valid, scan.voxels, np.median(scan.voxels[valid])), sigma)
    found = ((smooth > threshold_otsu(smooth[valid])) & valid).sum(axis=(0, 2)).astype(float)
    share, inside = count / len(found), 1 - densest(found, count, 0.0)[1]
    if inside < share + FOUND * (1 - share):
        said = f"{inside:.0%} of what is bright within {share:.0%} of the rows"
        raise InputError(f"{scan.name}: retina: expected a band that is brighter than what surrounds it; found {said}")
    return found


def densest(shown: Float[np.ndarray, " H"], count: int, slack: float) -> tuple[int, float]:
    """The first of `count` rows that hold most of what is shown, and the share that is left out.

    In the middle of all that hold as much, up to a share `slack`.
    """
    inside = np.convolve(shown, np.ones(count), "valid") / max(shown.sum(), 1e-9)
    first = round(float(np.flatnonzero(inside >= inside.max() - slack - 1e-9).mean()))
    return first, float(1 - inside[first])


def pit(scan: Scan) -> float:
    """The A-scan of the foveal pit of a single B-scan, as etdrs.fovea defines one; the middle where none is shown."""
    bscans, _, columns = scan.voxels.shape
    middle = 0.5 * (columns - 1)
    if bscans > 1 or scan.surfaces is None or len(scan.surfaces) < 2:
        return middle
    um = 1000 * scan.spacing[1] * (scan.surfaces[-1] - scan.surfaces[0])[0]
    known = np.isfinite(um)
    if known.sum() < 2:
        return middle
    step, at = scan.spacing[2], np.arange(columns)
    smooth = ndimage.gaussian_filter1d(np.interp(at, at[known], um[known]), SMOOTH / step)
    lowest = int(np.where(np.abs(at - middle) * step <= LOOK, smooth, np.inf).argmin())
    rim = [lowest + round(side * RIM / step) for side in (-1, 1)]
    inside = rim[0] >= 0 and rim[1] < columns
    return float(lowest) if inside and min(smooth[rim]) - smooth[lowest] >= PIT else middle
