"""Grids on which a scan is rendered, as ITK places them, and where their voxels lie in the scan.

The scan's mm frame: mm along its B-scans, depth and A-scans from the centre of its voxel [0, 0, 0]. Both it and the
grid's own geometry say the same place of every voxel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

from inr_jax.errors import InputError
from inr_jax.scan import Scan, Triple, index_of, mm_of

Number = float | int
MOST_VOXELS = 2**31  # of what is rendered: 8 GB of intensities


class Grid(NamedTuple):
    """Voxels [P, H, W] in space."""

    shape: tuple[int, int, int]
    spacing: Triple  # mm, in the order of the axes
    origin: Triple  # mm, LPS, of voxel [0, 0, 0]
    direction: tuple[float, ...]  # ITK's 3 x 3, row by row: its columns are the axes in the order W, H, P


def of_scan(scan: Scan) -> Grid:
    """The scan's own voxels."""
    bscans, rows, columns = scan.voxels.shape
    return Grid((bscans, rows, columns), scan.spacing, scan.origin, scan.direction)


def axes(grid: Grid) -> Float[np.ndarray, "3 3"]:
    """Unit vectors (LPS) of the grid's axes as rows, in their order: B-scans, depth, A-scans."""
    return np.array(grid.direction, np.float64).reshape(3, 3).T[::-1]


def lps(grid: Grid, index: Num[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """LPS mm of (fractional) voxels [B-scan, row, A-scan]."""
    return mm_of(grid, np.asarray(index, float))


def voxels(grid: Grid, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """The (fractional) voxel [B-scan, row, A-scan] of LPS mm: the way back from `lps`."""
    return index_of(grid, points)


def part(grid: Grid, first: Sequence[Number], shape: tuple[int, int, int], spacing: Sequence[Number]) -> Grid:
    """Another grid along the same axes, whose voxel [0, 0, 0] is the (fractional) voxel `first`."""
    x, y, z = map(float, lps(grid, np.asarray(first, np.float64)))
    a, b, c = map(float, spacing)
    return Grid(shape, (a, b, c), (x, y, z), grid.direction)


def of_spacing(scan: Grid, asked: Sequence[Number | None]) -> Grid:
    """Voxels of that spacing (mm: B-scans, rows, A-scans; None: as scanned) from the scan's first voxel on, none beyond

    its last.

    Raises InputError for a spacing that is not three positive numbers, or that makes more than MOST_VOXELS.
    """
    spacing = [own if mm is None else mm for mm, own in zip(asked, scan.spacing, strict=False)]
    if len(asked) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"spacing: expected three positive mm, of B-scans, rows and A-scans; found {_said(asked)}")
    extent = (np.array(scan.shape) - 1) * scan.spacing
    d, h, w = (int(n) + 1 for n in np.floor(extent / spacing + 1e-6))
    return part(scan, (0, 0, 0), _checked((d, h, w), "spacing"), spacing)


def of_bscans(scan: Grid, places: Sequence[Number]) -> list[Grid]:
    """One B-scan at each place, mm from the scan's first B-scan towards its last.

    Raises InputError where there is none, or one does not lie within the scan.
    """
    last = (scan.shape[0] - 1) * scan.spacing[0]
    outside = [p for p in places if not 0 <= p <= last + 1e-6]
    if not places or outside:
        found = _said(outside) if outside else "none"
        raise InputError(f"bscan-at: expected mm from 0 to {last:g}, where the scan has B-scans; found {found}")
    return [part(scan, (p / scan.spacing[0], 0, 0), (1, *scan.shape[1:]), scan.spacing) for p in places]


def like(scan: Grid, other: Scan, file: str) -> Grid:
    """The grid of another image. Raises InputError where no voxel of it lies within the scan, or it has too many."""
    grid = of_scan(other)
    _checked(grid.shape, f"{file}: like")
    if not any(inside(scan, coords_mm(scan, grid, p)).any() for p in range(grid.shape[0])):
        raise InputError(
            f"{file}: like: expected a grid that meets the scan in space (LPS mm); found none of it inside"
        )
    return grid


def _checked(shape: tuple[int, int, int], where: str) -> tuple[int, int, int]:
    if np.prod(shape, dtype=float) > MOST_VOXELS:
        raise InputError(f"{where}: expected at most {MOST_VOXELS:.2g} voxels; found {' x '.join(map(str, shape))}")
    return shape


def _said(numbers: Sequence[Number | None]) -> str:
    return ", ".join("" if n is None else f"{n:g}" for n in numbers)


def coords_mm(scan: Grid, grid: Grid, bscan: int) -> Float[np.ndarray, "H W 3"]:
    """Where the voxels of a grid's B-scan lie in the scan's mm frame."""
    return index_in(scan, grid, bscan) * np.asarray(scan.spacing)


def index_in(scan: Grid, grid: Grid, bscan: int) -> Float[np.ndarray, "H W 3"]:
    """The same as the scan's fractional voxels [B-scan, row, A-scan]."""
    rows, columns = np.meshgrid(*map(np.arange, grid.shape[1:]), indexing="ij")
    index = np.stack([np.full(rows.shape, float(bscan)), rows, columns], axis=-1)
    return voxels(scan, lps(grid, index))


def inside(scan: Grid, coords: Float[np.ndarray, "*n 3"], slack: float = 1e-4) -> Bool[np.ndarray, "*n"]:
    """Whether places of the scan's mm frame lie in its voxels, up to their outer faces; B-scans are as thin as they

    were measured: beyond the first and the last, by more than `slack` mm, nothing is inside.
    """
    half = 0.5 * np.asarray(scan.spacing) * (0, 1, 1) + slack
    last = (np.array(scan.shape) - 1) * scan.spacing
    return np.asarray(((coords >= -half) & (coords <= last + half)).all(axis=-1))


def en_face(grid: Grid) -> Grid:
    """The grid with all its rows as one, as deep as all of them, in their middle: [P, 1, W]."""
    bscans, rows, columns = grid.shape
    step, depth, across = grid.spacing
    return part(grid, (0, 0.5 * (rows - 1), 0), (bscans, 1, columns), (step, rows * depth, across))
