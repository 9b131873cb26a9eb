"""Surfaces between the layers of labelled B-scans.

Labels of a stack are [P, H, W] = (B-scan, depth, A-scan): 0 outside, layers from the innermost outwards, lesions. A
surface lies between two rows, so that rows of surfaces are halves; nan where it is not there.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from inr_jax import grids
from inr_jax.flattening import membrane_of_labels
from inr_jax.grids import Grid
from inr_jax.phantom import LAYERS, SURFACES

LESIONS = ("fluid", "drusen")  # lie within layers and end none
SPECK = 0.01  # of the largest piece of what has labels: smaller ones are not measured
UM = 1000.0  # um in a mm


def layers_of(classes: Sequence[str]) -> list[int]:
    """The labels that are layers."""
    return [label for label, name in enumerate(classes) if label and name not in LESIONS]


def names_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the surfaces that begin each layer, and of the one that ends the last.

    Of the phantom's layers those of anatomy (ILM ... BM), of others "top of A", "A-B" ..., "bottom of Z".
    """
    layers = [classes[label] for label in layers_of(classes)]
    if tuple(layers) == LAYERS:
        return SURFACES
    inner = [f"{upper}-{lower}" for upper, lower in pairwise(layers)]
    return (f"top of {layers[0]}", *inner, f"bottom of {layers[-1]}") if layers else ()


def without_specks(labels: Int[np.ndarray, "P H W"]) -> Int[np.ndarray, "P H W"]:
    """The labels but for loose pieces of less than a hundredth of the largest, which become 0.

    A retina is in one piece, or in few where shadows cut it; a speck below it would be its last surface.
    """
    pieces, count = ndimage.label(labels > 0, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.where((sizes >= SPECK * sizes.max())[pieces] & (pieces > 0), labels, 0).astype(labels.dtype)


def of_labels(labels: Int[np.ndarray, "P H W"], layers: Sequence[int]) -> Float[np.ndarray, "S P W"]:
    """The rows of all surfaces: half a row above the first voxel of their layer in an A-scan (metrics.upper_border).

    The first surface begins, the last one ends whatever has a label, so that a layer or lesion that is missing there
    moves neither. nan where an A-scan has none.
    """
    some = labels != 0
    top = np.where(some.any(axis=1), some.argmax(axis=1) - 0.5, np.nan)
    inner = []
    for label in layers[1:]:
        bears = labels == label
        inner.append(np.where(bears.any(axis=1), bears.argmax(axis=1) - 0.5, np.nan))
    return np.stack([top, *inner, membrane_of_labels(labels) + 0.5])


def depth_um(surfaces: Float[np.ndarray, "S P W"], grid: Grid) -> Float[np.ndarray, "S P W"]:
    """How far below the upper face of a grid's first row surfaces lie: 0 or more."""
    return (surfaces + 0.5) * grid.spacing[1] * UM


def rows(
    surfaces: Float[np.ndarray, "S P W"], names: Sequence[str], grid: Grid, bscan_index: Float[np.ndarray, " P"],
    bscan_mm: Float[np.ndarray, " P"], at: Float[np.ndarray, "P W 2"],
) -> list[dict[str, Any]]:  # fmt: skip
    """A row per A-scan: which it is, its place in the scan (mm), every surface's depth (um), and the LPS mm of depth 0.

    A surface lies at (x, y, z) + depth / 1000 times the unit vector (depth_x, depth_y, depth_z). bscan_mm: from the
    scan's first B-scan; at: where A-scans lie en face (mm, en_face), which of circle and radial scans LPS cannot tell.
    """
    depth = depth_um(surfaces, grid)
    bscans, columns = surfaces.shape[1:]
    index = np.stack([*np.meshgrid(np.arange(bscans), [-0.5], np.arange(columns), indexing="ij")], -1)[:, 0]
    points, down = grids.lps(grid, index), grids.axes(grid)[1]
    found = []
    for p in range(bscans):
        for w in range(columns):
            row = {"bscan": bscan_index[p], "bscan_mm": bscan_mm[p], "ascan": w, "ascan_mm": w * grid.spacing[2]}
            depths = {f"{name}_um": depth[s, p, w] for s, name in enumerate(names)}
            place = dict(zip(("x_mm", "y_mm", "z_mm"), points[p, w], strict=True))
            way = dict(zip(("depth_x", "depth_y", "depth_z"), down, strict=True))
            on_slo = dict(zip(("slo_y_mm", "slo_x_mm"), at[p, w], strict=True))
            found.append({k: _short(v) for k, v in (row | depths | place | way | on_slo).items()})
    return found


def _short(value: float | int) -> float | int:
    """To a nanometre, so that files are read by people, too."""
    return value if isinstance(value, int) else round(float(value), 6)
