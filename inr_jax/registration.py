"""Axial motion between the B-scans of one scan, from the image alone: shift and tilt of each, in rows.

First a line: the bright deep band (RPE) is traced in every B-scan, one smooth surface is laid through all traces, and
what a trace departs from it starts the motion, however large. Then the picture: B-scans flattened at that surface are
matched to the mean of their neighbours, by Gauss-Newton on shift and tilt, so that every band helps.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from inr_jax.scan import Scan

BAND = 0.04  # mm, Gaussian sigma along depth: makes one band of EZ, IZ and RPE
LATERAL = 0.09  # mm, Gaussian sigma along the A-scans
STEEPEST = 0.35  # rise of the line over run, both in mm
ABOVE, BELOW = 0.32, 0.05  # mm round the surface that are matched: the retina down to the RPE
NEIGHBOURS = 0.29  # mm, Gaussian sigma across B-scans of the picture each is matched to
SWEEPS = 2  # more add the error of their neighbours
Motion = tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]


class _Strip(NamedTuple):
    """What the matching looks at: B-scans a little smoothed, the surface, the rows round it, what was seen."""

    bscans: Float[np.ndarray, "D H W"]
    surface: Float[np.ndarray, "D W"]
    depth: Float[np.ndarray, " R"]
    weight: Float[np.ndarray, "D 1 W"]


def estimate_motion(scan: Scan) -> Motion:
    """Axial shift and tilt (from the middle to the last A-scan) of each B-scan, in rows.

    A parabola over the B-scans cannot be told from the eye's shape: it stays in the scan, and neither shift nor tilt
    has one. A B-scan without valid A-scans moves as its neighbours do.
    """
    bscans = scan.voxels.shape[0]
    valid = np.ones(scan.voxels.shape, bool) if scan.valid is None else scan.valid
    seen = np.asarray(valid.any(axis=1))
    enough = seen.sum(axis=1) > 2
    motion = np.zeros((2, bscans))
    if bscans < 3 or enough.sum() < 3:
        return motion[0], motion[1]
    row = scan.spacing[1]
    band = trace_band(scan.voxels, seen, scan.spacing)
    surface = smooth_surface(band, seen)
    strip = _Strip(
        bscans=ndimage.gaussian_filter(scan.voxels.astype(np.float32), (0, 1.0, 1.0)),
        surface=surface,
        depth=np.arange(-round(ABOVE / row), round(BELOW / row) + 1.0),
        weight=seen[:, None, :].astype(np.float32),
    )
    line = np.stack([np.ones(seen.shape[1]), _unit(seen.shape[1])], -1)
    for i in np.flatnonzero(enough):
        motion[:, i] = _robust_fit(line[seen[i]], (band - surface)[i, seen[i]])
    motion = _without_parabola(motion, enough)
    sigma = max(NEIGHBOURS / scan.spacing[0], 1.0)
    for _ in range(SWEEPS):
        motion = _without_parabola(motion + _gauss_newton(strip, motion, sigma), enough)
    return motion[0], motion[1]


def _gauss_newton(strip: _Strip, motion: Float[np.ndarray, "2 D"], sigma: float) -> Float[np.ndarray, "2 D"]:
    """One step for every B-scan: min over (s, t) of sum w (neighbours - flat - (s + t u) d flat / d row)^2."""
    u = _unit(strip.surface.shape[1])
    flat = _flattened(strip, motion)
    residual = (_neighbours(flat, strip.weight, sigma) - flat) * strip.weight
    scale = 4.5 * np.median(np.abs(residual[np.broadcast_to(strip.weight > 0, residual.shape)])) + 1e-6
    weight = strip.weight / (1 + (residual / scale) ** 2)
    slope = np.gradient(flat, axis=1)
    a, b = (weight * slope**2).sum(axis=1), (weight * slope * residual).sum(axis=1)
    a0, a1, a2 = a.sum(1), (a * u).sum(1), (a * u**2).sum(1)
    b0, b1 = b.sum(1), (b * u).sum(1)
    determinant = np.maximum(a0 * a2 - a1**2, 1e-9)
    return np.stack([a2 * b0 - a1 * b1, a0 * b1 - a1 * b0]) / determinant


def _flattened(strip: _Strip, motion: Float[np.ndarray, "2 D"]) -> Float[np.ndarray, "D R W"]:
    """Rows round the surface, each B-scan read where its motion has put it."""
    columns = strip.surface.shape[1]
    floor = strip.surface + motion[0][:, None] + motion[1][:, None] * _unit(columns)
    across = np.broadcast_to(np.arange(columns), (len(strip.depth), columns))
    read = [
        ndimage.map_coordinates(bscan, (line + strip.depth[:, None], across), order=1, mode="nearest")
        for bscan, line in zip(strip.bscans, floor, strict=True)
    ]
    return np.stack(read)


def _neighbours(
    flat: Float[np.ndarray, "D R W"], weight: Float[np.ndarray, "D 1 W"], sigma: float
) -> Float[np.ndarray, "D R W"]:
    """The Gaussian mean of the B-scans round each, itself left out."""
    window = ndimage.gaussian_filter1d(np.eye(len(flat)), sigma, axis=0, mode="nearest")
    np.fill_diagonal(window, 0.0)
    total = np.einsum("de,erw->drw", window, weight * flat)
    return total / np.maximum(np.einsum("de,erw->drw", window, weight), 1e-3)


def _without_parabola(motion: Float[np.ndarray, "2 D"], enough: Bool[np.ndarray, " D"]) -> Float[np.ndarray, "2 D"]:
    """Motion less its best parabola over the B-scans; filled in from neighbours where a B-scan shows too little."""
    place = np.arange(motion.shape[1])
    parabola = np.vander(_unit(motion.shape[1])[enough], 3)
    known = motion[:, enough].T
    known = known - parabola @ np.linalg.lstsq(parabola, known, rcond=None)[0]
    return np.stack([np.interp(place, place[enough], part) for part in known.T])


def _unit(count: int) -> Float[np.ndarray, " {count}"]:
    return np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)


def trace_band(
    volume: Float[np.ndarray, "D H W"], seen: Bool[np.ndarray, "D W"], spacing: tuple[float, float, float]
) -> Float[np.ndarray, "D W"]:
    """Row of the bright deep band in every A-scan: the path of largest summed ridge strength."""
    sigma = (0.0, BAND / spacing[1], LATERAL / spacing[2])
    weight = np.broadcast_to(seen[:, None, :], volume.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(volume * weight, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-6)
    ridge = np.maximum(-np.gradient(np.gradient(smooth, axis=1), axis=1), 0.0)
    # The nerve fibre layer is a ridge, too, but little bright tissue lies above it.
    tissue = np.maximum(smooth - np.median(smooth, axis=1, keepdims=True), 0.0)
    strength = ridge * np.cumsum(tissue, axis=1) / np.maximum(tissue.sum(axis=1, keepdims=True), 1e-6)
    strength = strength * seen[:, None, :]
    reach = max(1, int(np.ceil(STEEPEST * spacing[2] / spacing[1])))
    path = strongest_path(strength / np.maximum(strength.max(axis=(1, 2), keepdims=True), 1e-12), reach)
    return path + _peak_offset(strength, path)


def smooth_surface(rows: Float[np.ndarray, "D W"], seen: Bool[np.ndarray, "D W"]) -> Float[np.ndarray, "D W"]:
    """The cubic surface (quadratic across B-scans) through traced lines, whatever single B-scans do."""
    d, u = np.meshgrid(_unit(rows.shape[0]), _unit(rows.shape[1]), indexing="ij")
    terms = np.stack([d**i * u**j for i in range(3) for j in range(4) if i + j <= 3], -1)
    return terms @ _robust_fit(terms[seen], rows[seen])


def strongest_path(strength: Float[np.ndarray, "D H W"], reach: int) -> Int[np.ndarray, "D W"]:
    """Dynamic programming over columns: rows of neighbouring columns differ by at most `reach`."""
    bscans, rows, columns = strength.shape
    total = strength[:, :, 0]
    came = np.zeros(strength.shape, int)
    for w in range(1, columns):
        padded = np.pad(total, ((0, 0), (reach, reach)), constant_values=-np.inf)
        steps = np.stack([padded[:, k : k + rows] for k in range(2 * reach + 1)])
        # A tiny price per row keeps the path straight where nothing is seen.
        steps = steps - 1e-3 * np.abs(np.arange(-reach, reach + 1))[:, None, None]
        came[:, :, w] = steps.argmax(axis=0) - reach
        total = steps.max(axis=0) + strength[:, :, w]
    path = np.empty((bscans, columns), int)
    path[:, -1] = total.argmax(axis=1)
    for w in range(columns - 1, 0, -1):
        path[:, w - 1] = path[:, w] + came[np.arange(bscans), path[:, w], w]
    return path


def _peak_offset(strength: Float[np.ndarray, "D H W"], path: Int[np.ndarray, "D W"]) -> Float[np.ndarray, "D W"]:
    """Where between rows the peak lies: the vertex of the parabola through three rows, within half a row."""
    rows = np.clip(path, 1, strength.shape[1] - 2)[:, None, :]
    above, here, below = (np.take_along_axis(strength, rows + k, axis=1)[:, 0] for k in (-1, 0, 1))
    curvature = above - 2 * here + below
    return np.clip(0.5 * (above - below) / np.where(curvature < 0, curvature, -np.inf), -0.5, 0.5)


def _robust_fit(terms: Float[np.ndarray, "n p"], values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " p"]:
    """Least squares re-weighted by Cauchy's 1 / (1 + (r / s)^2), s from the median absolute residual."""
    weight = np.ones(len(values))
    for _ in range(20):
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)[0]
        residual = values - terms @ solution
        scale = 2.385 * 1.4826 * np.median(np.abs(residual)) + 1e-6  # 95 % efficient for normal residuals
        weight = 1.0 / (1.0 + (residual / scale) ** 2)
    return solution
