"""Where A-scans lie en face, and values between them.

Places are mm (y, x) as the eye is looked at and as an SLO shows it: y downwards, x to the right. Up is superior; the
nose lies to the right of a right eye and to the left of a left one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.spatial import Delaunay, cKDTree

REACH = 0.2  # mm from an A-scan: what is farther from all of them is not covered
FLAT = 1e-3  # mm: A-scans that lie nearer to a line, in the mean, lie on it
ROUND = 0.05  # of the radius: how far a circle's A-scans may lie off it
OPEN = np.deg2rad(60)  # the largest gap of a circle that counts as closed
NO_SLO = (
    "the scan does not say where its A-scans lie on the fundus: its first B-scan was taken as the uppermost, and its"
    " A-scans from left to right as the eye is looked at"
)


def places(
    ascans_on_slo: Float[np.ndarray, "D W 2"] | None, spacing: tuple[float, float, float],
    bscan_index: Float[np.ndarray, " P"], ascan_index: Float[np.ndarray, " A"],
) -> Float[np.ndarray, "P A 2"]:  # fmt: skip
    """Where A-scans at (fractional) places among a scan's own B-scans and A-scans lie, linearly between its own.

    Without ascans_on_slo a raster, as NO_SLO says.
    """
    if ascans_on_slo is None:
        return np.stack(np.meshgrid(bscan_index * spacing[0], ascan_index * spacing[2], indexing="ij"), axis=-1)
    asked = np.meshgrid(bscan_index, ascan_index, indexing="ij")
    each = [
        ndimage.map_coordinates(ascans_on_slo[..., k].astype(float), asked, order=1, mode="nearest") for k in (0, 1)
    ]
    return np.stack(each, axis=-1)


def nasal(laterality: str | None) -> int:
    """1 where the nose lies to the right of the image, -1 to its left; of an unknown eye as of a right one."""
    return -1 if laterality == "L" else 1


def quadrants(laterality: str | None) -> tuple[str, str, str, str]:
    """What lies towards the nose, above, on the other side, below; of an unknown eye as its image has them."""
    return ("right", "above", "left", "below") if laterality is None else ("N", "S", "T", "I")


class Circle(NamedTuple):
    centre: tuple[float, float]  # mm (y, x)
    radius: float  # mm


def circle_through(line: Float[np.ndarray, "W 2"]) -> Circle | None:
    """The circle of a closed scan by least squares; None where the A-scans lie on none, or leave a gap.

    Kasa, IEEE Trans. Instrum. Meas. 25 (1976) 8.
    """
    middle = line.mean(axis=0)
    design = np.column_stack([2 * (line - middle), np.ones(len(line))])
    solution, _, rank, _ = np.linalg.lstsq(design, ((line - middle) ** 2).sum(axis=1), rcond=1e-9)
    centre, radius = middle + solution[:2], float(np.sqrt(max(solution[2] + (solution[:2] ** 2).sum(), 0)))
    off = np.abs(np.hypot(*(line - centre).T) - radius)
    angles = np.sort(np.arctan2(*(line - centre).T))
    gap = np.diff(angles, append=angles[0] + 2 * np.pi).max()
    if rank < 3 or off.max() > ROUND * radius or gap > OPEN:
        return None
    return Circle((float(centre[0]), float(centre[1])), radius)


class Mesh(NamedTuple):
    """A-scans, whatever pattern they lie in, and the triangles between them."""

    places: Float[np.ndarray, "n 2"]  # mm (y, x), B-scan by B-scan
    triangles: Delaunay | None  # None: they lie on one line, which covers nothing


def mesh(at: Float[np.ndarray, "P W 2"]) -> Mesh:
    """The triangles of A-scans at these places (Delaunay)."""
    flat = at.reshape(-1, 2)
    spread = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) / np.sqrt(len(flat))
    return Mesh(flat, Delaunay(flat) if len(flat) > 2 and spread[-1] > FLAT else None)


class Between(NamedTuple):
    """How points are read off A-scans: from the three round each, linearly."""

    ascan: Int[np.ndarray, "n 3"]  # of all A-scans, B-scan by B-scan
    weight: Float[np.ndarray, "n 3"]  # adding up to 1
    covered: Bool[np.ndarray, " n"]


def between(found: Mesh, points: Float[np.ndarray, "n 2"], reach: float = REACH) -> Between:
    """Linear interpolation in triangles. Covered is what lies in one and within `reach` mm of an A-scan."""
    if found.triangles is None:
        return Between(np.zeros((len(points), 3), int), np.full((len(points), 3), 1 / 3), np.zeros(len(points), bool))
    order = np.lexsort(points.T)  # a search begins where the last one ended: points in a row are found at once
    triangle = np.empty(len(points), int)
    triangle[order] = found.triangles.find_simplex(points[order])
    affine = found.triangles.transform[triangle]
    two = np.einsum("nij,nj->ni", affine[:, :2], points - affine[:, 2])
    weight = np.column_stack([two, 1 - two.sum(axis=1)])
    near = cKDTree(found.places).query(points, distance_upper_bound=reach)[0] <= reach
    known = (triangle >= 0) & near & np.isfinite(weight).all(axis=1)
    return Between(found.triangles.simplices[triangle].astype(int), weight, known)


def read(found: Between, values: Float[np.ndarray, "P W"]) -> Float[np.ndarray, " n"]:
    """The values at the points; nan where not covered, or where one of the A-scans has none."""
    each = np.where(np.abs(found.weight) > 1e-9, found.weight * values.ravel()[found.ascan], 0.0)
    return np.where(found.covered, each.sum(axis=1), np.nan)


def square(
    at: Float[np.ndarray, "P W 2"], step: float
) -> tuple[Float[np.ndarray, "n 2"], tuple[int, int], tuple[float, float, float, float]]:
    """Points `step` mm apart over all A-scans, row by row: they, their (rows, columns), and (left, right, low, top)."""
    low, high = at.reshape(-1, 2).min(axis=0), at.reshape(-1, 2).max(axis=0)
    y, x = (np.arange(a, b + step, step) for a, b in zip(low, high, strict=True))
    points = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    half = step / 2
    return points, (len(y), len(x)), (x[0] - half, x[-1] + half, y[-1] + half, y[0] - half)
