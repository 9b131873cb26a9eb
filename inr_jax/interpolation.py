"""Values at every place of a grid from those at some of its places (SciPy underneath)."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import griddata, make_interp_spline
from scipy.ndimage import distance_transform_edt

from inr_jax.errors import InputError

KINDS = ("nearest", "linear", "cubic")
DEGREE = {"linear": 1, "cubic": 3}
OTHER_SLICE = 1e6  # samples: how much farther a neighbouring slice counts than any place of the same one


def axis_masks(measured: Bool[np.ndarray, "*grid"]) -> tuple[Bool[np.ndarray, "_"], ...] | None:
    """The places of each axis whose outer product `measured` is (B-scans, a subgrid); None: scattered."""
    axes = range(measured.ndim)
    masks = tuple(np.asarray(measured.any(axis=tuple(set(axes) - {axis}))) for axis in axes)
    return masks if int(measured.sum()) == np.prod([mask.sum() for mask in masks]) else None


def fill_invalid(
    values: Float[np.ndarray, "*grid C"], known: Bool[np.ndarray, "*grid"]
) -> Float[np.ndarray, "*grid C"]:
    """Unknown places take the value of the nearest known place of their slice.

    A slice without any takes the next slice's. Raises InputError where nothing is known.
    """
    if not known.any():
        raise InputError("interpolation: a scan has no valid measured sample, expected at least one")
    if known.all():
        return values
    sampling = (OTHER_SLICE,) * (known.ndim - 2) + (1.0, 1.0)
    nearest = distance_transform_edt(~known, sampling, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def measured_samples(
    values: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"],
    masks: tuple[Bool[np.ndarray, "_"], ...],
) -> Float[np.ndarray, "*subgrid C"]:
    """The subgrid of measured samples, its invalid places (missing A-scans, padding) filled."""
    places = np.ix_(*masks)
    return fill_invalid(values[places], valid[places])


def interpolate(
    values: Float[np.ndarray, "*grid C"], measured: Bool[np.ndarray, "*grid"], kind: str
) -> Float[np.ndarray, "*grid C"]:
    """`values` everywhere, from those at `measured` places alone; kind: nearest, linear or cubic.

    Where `measured` is an outer product over the axes: one axis after the other; cubic is a not-a-knot
    spline, of a lower degree where an axis has fewer than four places; constant beyond the last place. Else
    by Delaunay triangles, nearest outside their hull; raises InputError for cubic in more than two
    dimensions.
    """
    masks = axis_masks(measured)
    if masks is not None:
        return spread(values[np.ix_(*masks)], masks, kind)
    if kind == "cubic" and measured.ndim > 2:
        raise InputError(f"interpolation: cubic of scattered samples needs 1 or 2 axes, found {measured.ndim}")
    known, everywhere = np.argwhere(measured), np.argwhere(np.ones_like(measured))
    out = griddata(known, values[measured], everywhere, "nearest")
    if kind != "nearest":
        inside = griddata(known, values[measured], everywhere, kind)
        out = np.where(np.isnan(inside), out, inside)
    return np.where(measured[..., None], values, out.reshape(values.shape)).astype(values.dtype)


def spread(
    samples: Float[np.ndarray, "*subgrid C"], masks: tuple[Bool[np.ndarray, "_"], ...], kind: str
) -> Float[np.ndarray, "*grid C"]:
    """`interpolate` from the subgrid of measured samples; `masks` tells their places on each axis."""
    for axis, mask in enumerate(masks):
        if not mask.all():
            weights = _weights(mask, kind).astype(samples.dtype)
            samples = np.moveaxis(np.tensordot(weights, samples, (1, axis)), 0, axis)
    return samples


def _weights(mask: Bool[np.ndarray, "n"], kind: str) -> Float[np.ndarray, "n m"]:
    """What each of the m measured places of an axis contributes to each of its n places."""
    places = np.flatnonzero(mask)
    if kind == "nearest":
        return np.eye(len(places))[np.abs(np.arange(len(mask))[:, None] - places).argmin(axis=1)]
    asked = np.clip(np.arange(len(mask)), places[0], places[-1])
    spline = make_interp_spline(places, np.eye(len(places)), k=min(DEGREE[kind], len(places) - 1))
    return spline(asked).round(12)  # exactly 1 and 0 at the samples, so that they come back as they are
