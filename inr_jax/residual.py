"""What an adapted field leaves of the measurement, put back: smoothed where it was measured, kriged between.

    answer(x) = field(x) + r(x),    r = kriging of (measured - field)

Across a gap the residual counts as an Ornstein-Uhlenbeck process of correlation length l, whose kriging between two
neighbours a distance d apart has closed weights, sinh((d - t) / l) / sinh(d / l) and sinh(t / l) / sinh(d / l): they
interpolate linearly for l >> d and fade between the neighbours for l << d. Where no axis has a gap the residual is
smoothed by a Gaussian, since it holds the measurement's noise. (Regression kriging: Hengl et al., Computers &
Geosciences 33 (2007) 1301.)

Between whole B-scans the residual is carried straight across, or along the paths on which the field's own B-scans
correspond (`registered`): layers that slope take theirs with them.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter

from inr_jax.errors import InputError
from inr_jax.interpolation import axis_masks, interpolate
from inr_jax.registered import CUBIC, along, displacement, warped

PATHS = ("straight", "registered")
# The field's B-scans hold no speckle: what registers them is not that which suits measured ones. Found on validation
# phantoms; twice the smoothness changes 0.01 dB.
REGISTRATION = {"rows": 1.5, "columns": 2.0, "iterations": 10.0}
SAME = 1e-4  # of the distance of two B-scans: a place so near a measured one is that one


class Carried(NamedTuple):
    """What is carried from B-scan to B-scan (P measured ones), and along what."""

    samples: Float[np.ndarray, "P H W C"]
    displacement: Callable[[int], Float[np.ndarray, "2 H W"]]  # from B-scan i to the next, pixels; found when asked for


class Residual(NamedTuple):
    """Samples on the measured places of each axis (mm), and the correlation length across gaps (mm)."""

    samples: Float[np.ndarray, "*subgrid C"]
    places: tuple[Float[np.ndarray, "_"], ...]
    length: float
    carried: Carried | None  # None: straight across


def _neighbours(
    places: Float[np.ndarray, "m"], asked: Float[np.ndarray, "n"], length: float
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n 2"]]:
    """The place at or before each asked one (not the last of several), and what it and the next one contribute."""
    if len(places) == 1:
        near = np.exp(-np.abs(asked - places[0]) / length)
        return np.zeros(len(asked), int), np.stack([near, np.zeros_like(near)], -1)
    left = np.clip(np.searchsorted(places, asked, side="right") - 1, 0, len(places) - 2)
    gap = places[left + 1] - places[left]
    inside = np.clip(asked - places[left], 0, gap)
    beyond = np.exp(-np.maximum(np.maximum(places[0] - asked, asked - places[-1]), 0) / length)
    shares = [_sinh_ratio((gap - inside) / length, gap / length), _sinh_ratio(inside / length, gap / length)]
    return left, beyond[:, None] * np.stack(shares, -1)


def weights(places: Float[np.ndarray, "m"], asked: Float[np.ndarray, "n"], length: float) -> Float[np.ndarray, "n m"]:
    """What each of the m rising places contributes to each of the n asked ones; it fades beyond the ends."""
    left, shares = _neighbours(places, asked, length)
    out = np.zeros((len(asked), len(places)))
    for k in range(min(2, len(places))):
        out[np.arange(len(asked)), left + k] = shares[:, k]
    return out


def _sinh_ratio(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """sinh(a) / sinh(b) for 0 <= a <= b, b > 0, without overflow."""
    return np.exp(a - b) * np.expm1(-2 * a) / np.expm1(-2 * b)


def smoothed(
    values: Float[np.ndarray, "*grid C"], valid: Bool[np.ndarray, "*grid"], sigma: Sequence[float]
) -> Float[np.ndarray, "*grid C"]:
    """A Gaussian over the last two axes of the grid, of what is valid alone; 0 far from anything valid."""
    out = np.empty(values.shape, np.float32)
    for place in np.ndindex(valid.shape[:-2]):  # plane by plane: of a large scan, float64 would fill the memory
        known = gaussian_filter(valid[place].astype(np.float64), sigma)[..., None]
        total = gaussian_filter(np.where(valid[place][..., None], values[place], 0.0).astype(np.float64), (*sigma, 0.0))
        out[place] = total / np.maximum(known, 1e-3)
    return out


def measure(
    field: Float[np.ndarray, "*grid C"],
    intensity: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"],
    masks: Sequence[Bool[np.ndarray, "_"]],
    spacing: Float[np.ndarray, "k"],
    *,
    sigma: Sequence[float],
    length: float,
    path: str,
    path_sigma: Sequence[float],
) -> Residual:
    """The residual of one scan on its measured places: smoothed by `sigma` (voxels of the last two axes, where these

    have no gap), to be kriged with the correlation `length` (mm). path: between B-scans straight, or along the field's
    registered B-scans, then smoothed by `path_sigma`. Raises InputError where there are no whole B-scans to register.
    """
    where = np.ix_(*masks)
    left = intensity[where] - field[where]
    gapless = all(mask.all() for mask in masks[-2:])
    samples = smoothed(left, valid[where], sigma if gapless else (0.0, 0.0))
    places = tuple(np.flatnonzero(mask) * float(s) for mask, s in zip(masks, spacing, strict=True))
    _check_path(path, has_bscans=len(masks) == 3 and gapless)
    if path == "straight":
        return Residual(samples, places, length, None)
    guides = field[where].mean(axis=-1)
    between = Carried(
        smoothed(left, valid[where], path_sigma),
        cache(lambda i: displacement(guides[i], guides[i + 1], REGISTRATION)),
    )
    return Residual(samples, places, length, between)


def _check_path(path: str, *, has_bscans: bool) -> None:
    if path not in PATHS:
        raise InputError(f"adapt.residual.path: expected one of {', '.join(PATHS)}; found {path!r}")
    if path != "straight" and not has_bscans:
        raise InputError(f"adapt.residual.path: expected straight, as no whole B-scans are measured; found {path!r}")


def at(residual: Residual, asked: Sequence[Float[np.ndarray, "_"]]) -> Float[np.ndarray, "*asked C"]:
    """The residual on a grid of places (mm along each axis)."""
    out = residual.samples
    for axis, (places, wanted) in enumerate(zip(residual.places, asked, strict=True)):
        if not np.array_equal(places, wanted):
            matrix = weights(places, wanted, residual.length).astype(np.float32)
            if axis == 0 and residual.carried is not None:
                out = _carried(residual, residual.carried, wanted, matrix)
            else:
                out = np.moveaxis(np.tensordot(matrix, out, (1, axis)), 0, axis)
    return out


def _carried(
    residual: Residual, carried: Carried, asked: Float[np.ndarray, "n"], shares: Float[np.ndarray, "n P"]
) -> Float[np.ndarray, "n H W C"]:
    """B-scans at places along the first axis: those between two measured ones from both, along their path."""
    places = residual.places[0]
    out = np.tensordot(shares, residual.samples, 1)
    ways = np.interp(asked, places, np.arange(len(places)))  # in B-scans; whole at measured ones and beyond the ends
    for n in np.flatnonzero(np.abs(ways - np.round(ways)) > SAME):
        i = int(ways[n])
        way = ways[n] - i
        ends = zip(carried.samples[i : i + 2], along(carried.displacement(i), way), shares[n, i : i + 2], strict=True)
        out[n] = sum(share * warped(bscan, x) for bscan, x, share in ends)
    return out


def at_points(residual: Residual, asked: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n C"]:
    """The residual at loose places (mm) of a volume without gaps in rows and A-scans: `at`, linear within B-scans."""
    first, *within = residual.places
    pixel = np.stack([np.interp(asked[:, k], p, np.arange(len(p))) for k, p in enumerate(within, start=1)])
    ways = np.interp(asked[:, 0], first, np.arange(len(first)))
    moves = (np.abs(ways - np.round(ways)) > SAME) & (residual.carried is not None)
    left, shares = _neighbours(first, asked[:, 0], residual.length)
    out = np.zeros((len(asked), residual.samples.shape[-1]))
    for i in np.unique(left):
        for here in (np.flatnonzero((left == i) & kind) for kind in (moves, ~moves)):
            if not len(here):
                continue
            if moves[here[0]] and residual.carried is not None:
                ends, order = residual.carried.samples[i : i + 2], CUBIC
                places = along(residual.carried.displacement(int(i)), ways[here] - i, pixel[:, here])
            else:
                ends, order = residual.samples[i : i + 2], 1
                places = (pixel[:, here],) * 2
            for k, bscan in enumerate(ends):
                out[here] += shares[here, k, None] * warped(bscan, places[k], order)
    return out


def corrected(
    field: Float[np.ndarray, "*grid C"],
    intensity: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"],
    measured: Bool[np.ndarray, "*grid"],
    spacing: Float[np.ndarray, "k"],
    *,
    sigma: Sequence[float],
    length: float,
    path: str,
    path_sigma: Sequence[float],
) -> Float[np.ndarray, "*grid C"]:
    """The field's answer on a scan's own grid with the residual put back, in [0, 1]. `length` 0: the field alone.

    Scattered places have no axes to krige along: their residual is interpolated linearly. Raises InputError as
    `measure`.
    """
    if length == 0:
        return np.clip(field, 0, 1)
    masks = axis_masks(measured)
    if masks is None:
        _check_path(path, has_bscans=False)
        return np.clip(field + interpolate(intensity - field, measured, "linear"), 0, 1)
    found = measure(
        field, intensity, valid, masks, spacing, sigma=sigma, length=length, path=path, path_sigma=path_sigma
    )
    everywhere = [np.arange(n) * float(s) for n, s in zip(measured.shape, spacing, strict=True)]
    return np.clip(field + at(found, everywhere), 0, 1)
