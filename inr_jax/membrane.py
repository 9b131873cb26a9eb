"""Bruch's membrane (BM) found in the image: where the bright deep band (RPE) ends, by shortest paths.

Paths through edges as in Chiu et al. 2010 (doi 10.1364/OE.18.019413). `registration.trace_band` finds the band itself,
coarsely; BM is the path of largest fall in brightness just below its middle.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from inr_jax.registration import STEEPEST, strongest_path, trace_band
from inr_jax.scan import Scan

DEPTH = 0.006  # mm, Gaussian sigma along depth, 0.7 rows at least: a fall needs two rows
LATERAL = 0.06  # mm, Gaussian sigma along the A-scans
ABOVE, BELOW = 0.01, 0.08  # mm from the band's middle: where it may end
STEP = 0.04  # mm above and below BM whose brightness is compared
# Standard deviations of the B-scan by which it must fall there. Eyes have 1.1 and more; a path through noise alone
# 0.65 in 128 x 96 pixels, 0.1 in 496 x 512, but over 1 in 64 x 48.
CONTRAST = 0.9


def find_membrane(scan: Scan) -> Float[np.ndarray, "D W"]:
    """The last row above BM in every A-scan; NaN in A-scans not measured and in B-scans that show no such band.

    A scan of fewer than 3 rows or 2 A-scans shows none.
    """
    voxels = scan.voxels.astype(np.float32)
    bscans, rows, columns = voxels.shape
    seen = np.ones((bscans, columns), bool) if scan.valid is None else np.asarray(scan.valid.any(axis=1))
    if rows < 3 or columns < 2:
        return np.full((bscans, columns), np.nan)
    band = trace_band(voxels, seen, scan.spacing)
    sigma = (0, max(DEPTH / scan.spacing[1], 0.7), LATERAL / scan.spacing[2])
    smooth = ndimage.gaussian_filter(voxels, sigma)
    # The fall from a row to the next, so that the last bright row has the largest: labels end there, too.
    fall = np.maximum(smooth - np.concatenate([smooth[:, 1:], smooth[:, -1:]], axis=1), 0.0)
    below = (np.arange(rows)[:, None] - band[:, None]) * scan.spacing[1]
    fall = fall * ((below > -ABOVE) & (below < BELOW)) * seen[:, None]
    reach = max(1, int(np.ceil(STEEPEST * scan.spacing[2] / scan.spacing[1])))
    path = strongest_path(fall / np.maximum(fall.max(axis=(1, 2), keepdims=True), 1e-9), reach).astype(float)
    shown = np.asarray(seen) & (contrast(scan, path, seen) > CONTRAST)[:, None]
    return np.where(shown, path, np.nan)


def contrast(scan: Scan, path: Float[np.ndarray, "D W"], seen: Bool[np.ndarray, "D W"]) -> Float[np.ndarray, " D"]:
    """By how much each B-scan is brighter just above a line than below it, in its standard deviations; 0: nothing seen.

    Unsmoothed brightness, averaged along the whole B-scan: a path through noise gains little by its choice.
    """
    depth = (np.arange(scan.voxels.shape[1])[:, None] - path[:, None]) * scan.spacing[1]
    reach = max(STEP, 1.5 * scan.spacing[1])
    parts = (depth > -reach) & (depth <= 0), (depth > 0) & (depth <= reach)
    above, under = (_mean(scan.voxels, part & seen[:, None]) for part in parts)
    scale = np.sqrt(_mean((scan.voxels - _mean(scan.voxels, seen[:, None])[:, None, None]) ** 2, seen[:, None]))
    return (above - under) / np.maximum(scale, 1e-9)


def _mean(volume: Float[np.ndarray, "D H W"], where: Bool[np.ndarray, "D #H W"]) -> Float[np.ndarray, " D"]:
    where = np.broadcast_to(where, volume.shape)
    return (volume * where).sum(axis=(1, 2)) / np.maximum(where.sum(axis=(1, 2)), 1)
