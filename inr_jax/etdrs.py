"""Mean thickness in the nine ETDRS sectors: circles of 1, 3 and 6 mm round the fovea, quarters between them.

Early Treatment Diabetic Retinopathy Study research group, Arch. Ophthalmol. 103 (1985) 1796. A sector's mean is an
integral over its area: thickness is read between A-scans at points of equal area (en_face.between), so that it does not
depend on how A-scans are spread. As each point is linear in the A-scans round it, so is the mean, sum_i w_i t_i.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from inr_jax import en_face
from inr_jax.thickness import LEAST, RETINA, Thickness, deviation_of_mean

RADII = (0.5, 1.5, 3.0)  # mm
STEP = 0.02  # mm between points, about: as fine as A-scans lie
LOOK, SMOOTH, RIM, PIT = 1.0, 0.15, 0.75, 10.0  # mm, mm, mm, um: see `fovea`


class Sector(NamedTuple):
    name: str  # "centre", "inner S" ... "outer T"
    points: Float[np.ndarray, "n 2"]  # mm (up, towards the nose) from the fovea, each for the same area


def sectors(laterality: str | None) -> list[Sector]:
    """The centre, then the inner and the outer ring: superior, nasal, inferior, temporal.

    Of an unknown eye the sides are called as the image has them.
    """
    right, above, left, below = en_face.quadrants(laterality)
    found = [Sector("centre", _points(0.0, RADII[0], 0.0, 2 * np.pi))]
    for ring, low, high in (("inner", *RADII[:2]), ("outer", *RADII[1:])):
        for name, middle in ((above, 0.5), (right, 0.0), (below, 1.5), (left, 1.0)):
            found.append(Sector(f"{ring} {name}", _points(low, high, (middle - 0.25) * np.pi, np.pi / 2)))
    return found


def _points(low: float, high: float, begin: float, width: float) -> Float[np.ndarray, "n 2"]:
    """Middles of cells of equal area between two radii, from an angle on."""
    rings, spokes = int(np.ceil((high - low) / STEP)), int(np.ceil(high * width / STEP))
    radius = np.sqrt(low**2 + (high**2 - low**2) * (np.arange(rings) + 0.5) / rings)
    angle = begin + width * (np.arange(spokes) + 0.5) / spokes
    r, a = (part.ravel() for part in np.meshgrid(radius, angle))
    return np.stack([r * np.sin(a), r * np.cos(a)], axis=-1)


class Centre(NamedTuple):
    place: tuple[float, float]  # mm (y, x)
    said: str  # where it is from


def fovea(mesh: en_face.Mesh, retina: Float[np.ndarray, "P W"]) -> Centre:
    """The bottom of the pit: where the retina, smoothed (Gaussian, SMOOTH mm), is thinnest within LOOK mm of the scan's

    middle. It must be PIT um thicker RIM mm away in each of eight directions; else the middle is taken, and said.
    """
    middle = 0.5 * (mesh.places.min(axis=0) + mesh.places.max(axis=0))
    step = 0.05
    side = np.arange(-LOOK - RIM, LOOK + RIM + step / 2, step)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    values = en_face.read(en_face.between(mesh, (middle + offsets).reshape(-1, 2)), retina).reshape(offsets.shape[:2])
    known = np.isfinite(values).astype(float)
    share = ndimage.gaussian_filter(known, SMOOTH / step, mode="constant")
    smooth = ndimage.gaussian_filter(np.nan_to_num(values), SMOOTH / step, mode="constant") / np.maximum(share, 1e-9)
    near = (np.hypot(*np.moveaxis(offsets, -1, 0)) <= LOOK) & (known > 0)
    nowhere = Centre((float(middle[0]), float(middle[1])), "the scan's middle, as no foveal pit was found near it")
    if not near.any():
        return nowhere
    lowest = np.unravel_index(np.where(near, smooth, np.inf).argmin(), near.shape)
    turns = np.arange(8) * np.pi / 4
    rim = np.rint(np.array(lowest) + RIM / step * np.stack([np.sin(turns), np.cos(turns)], -1)).astype(int).T
    rim = np.clip(rim, 0, len(side) - 1)
    higher = smooth[tuple(rim)][known[tuple(rim)] > 0] - smooth[lowest]
    if len(higher) < 5 or higher.min() < PIT:
        return nowhere
    place = middle + offsets[lowest]
    said = f"estimated: the retina is thinnest there within {LOOK:g} mm of the scan's middle"
    return Centre((float(place[0]), float(place[1])), said)


class Etdrs(NamedTuple):
    """Sectors of every layer, or why there are none."""

    centre: Centre | None
    rows: list[dict[str, Any]]  # a layer in a sector: see `measure`
    why_not: str | None  # None: some sector has a mean


def measure(
    thickness: Thickness, at: Float[np.ndarray, "P W 2"], laterality: str | None,
    *, known: tuple[float, float] | None = None, length: float = np.inf,
) -> Etdrs:  # fmt: skip
    """Means over the sectors of every layer and of the retina.

    at: mm (y, x) of the A-scans. known: the fovea's place there; else it is estimated (`fovea`). length: of the
    correlation in `deviation_of_mean`; by default no correlation gives a wider interval.
    Rows: layer, sector, thickness_um, half_interval_um (nan: not known), covered (share of the area of which the
    thickness is known), centre (where it is from; empty where no macula is covered), not_computable (why the mean is
    nan; empty where it is not).
    """
    why = why_not(at)
    retina = thickness.um[thickness.names.index(RETINA)]
    mesh = en_face.mesh(at)
    centre = fovea(mesh, retina) if known is None else Centre(known, "the fovea as the scan has it")
    rows: list[dict[str, Any]] = []
    for sector, read in _read(mesh, sectors(laterality), centre, laterality):
        for k, layer in enumerate(thickness.names):
            half = None if thickness.half is None else thickness.half[k]
            mean, spread, covered = _mean(read, thickness.um[k], half, mesh.places, length)
            reason = why or (f"{covered:.0%} of the sector is covered, {LEAST:.0%} are needed" if mean != mean else "")
            found = {"layer": layer, "sector": sector.name, "thickness_um": mean, "half_interval_um": spread}
            said = "" if why else centre.said
            rows.append(found | {"covered": round(covered, 4), "centre": said, "not_computable": reason})
    if why is None and all(row["not_computable"] for row in rows):
        most = max(row["covered"] for row in rows)
        why = f"no sector is covered enough: {most:.0%} of the best covered one, {LEAST:.0%} are needed"
    return Etdrs(None if why else centre, rows, why)


def why_not(at: Float[np.ndarray, "P W 2"]) -> str | None:
    """Why A-scans in such a pattern cover no macula; None: they may."""
    if all(en_face.circle_through(line) for line in at):
        return "a circle scan covers no area of the macula"
    if len(at) == 1:
        return "a single B-scan covers no area of the macula"
    return None


def _read(
    mesh: en_face.Mesh, found: list[Sector], centre: Centre, laterality: str | None
) -> Iterator[tuple[Sector, en_face.Between]]:
    """How each sector's points are read off the A-scans; of all of them at once, as the triangles are the same."""
    up, side = np.concatenate([sector.points for sector in found]).T
    y, x = centre.place[0] - up, centre.place[1] + en_face.nasal(laterality) * side
    read = en_face.between(mesh, np.stack([y, x], axis=-1))
    ends = np.cumsum([len(sector.points) for sector in found])
    for sector, end in zip(found, ends, strict=True):
        own = slice(end - len(sector.points), end)
        yield sector, en_face.Between(read.ascan[own], read.weight[own], read.covered[own])


def _mean(
    read: en_face.Between, um: Float[np.ndarray, "P W"], half: Float[np.ndarray, "P W"] | None,
    at: Float[np.ndarray, "n 2"], length: float,
) -> tuple[float, float, float]:  # fmt: skip
    """Mean and half of its interval (nan where too little is covered), and the share that is."""
    values = en_face.read(read, um)
    covered = np.isfinite(values)
    share = float(covered.mean())
    if share < LEAST:
        return float("nan"), float("nan"), share
    mean = float(values[covered].mean())
    if half is None:
        return mean, float("nan"), share
    weights = np.bincount(read.ascan[covered].ravel(), read.weight[covered].ravel(), len(at)) / covered.sum()
    used = np.flatnonzero(weights)
    return mean, deviation_of_mean(weights[used], half.ravel()[used], at[used], length), share
