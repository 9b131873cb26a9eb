"""Thickness along line and circle scans: against arc length, and round a circle by angle and quadrant."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from inr_jax import en_face
from inr_jax.thickness import LEAST, Thickness, deviation_of_mean

ROUND = "all round"
# Degrees from temporal over superior to nasal, as instruments divide the circle round the disc: each from the end of
# the one before, T round 0.
PERIPAPILLARY = {"T": (315, 45), "TS": (45, 85), "NS": (85, 125), "N": (125, 235), "NI": (235, 275), "TI": (275, 315)}


class Course(NamedTuple):
    """Where the A-scans of one B-scan lie along it."""

    arc: Float[np.ndarray, " W"]  # mm from the first A-scan
    angle: Float[np.ndarray, " W"] | None  # degrees: 0 temporal, 90 superior, 180 nasal, 270 inferior; None: no circle
    quadrant: Int[np.ndarray, " W"] | None  # of `names`


def course(line: Float[np.ndarray, "W 2"], laterality: str | None) -> Course:
    """The course of A-scans at these places (mm, en_face). Of an unknown eye angles are as of a right one."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    circle = en_face.circle_through(line)
    if circle is None:
        return Course(arc, None, None)
    down, right = (line - circle.centre).T
    angle = np.rad2deg(np.arctan2(-down, -en_face.nasal(laterality) * right)) % 360
    return Course(arc, angle, np.floor((angle + 45) / 90).astype(int) % 4)


def names(laterality: str | None) -> tuple[str, str, str, str]:
    """Of the quadrants, in the order of their angles: T S N I, each 90 degrees wide."""
    right, above, left, below = en_face.quadrants(laterality)
    return left, above, right, below


def rows(
    thickness: Thickness, courses: Sequence[Course], bscan_index: Float[np.ndarray, " P"], laterality: str | None
) -> list[dict[str, Any]]:
    """A row per A-scan: bscan, ascan, arc_mm, of a circle angle_deg and quadrant; every layer's thickness and half of

    its interval (um), nan where not known.
    """
    called = names(laterality)
    found: list[dict[str, Any]] = []
    for p, (bscan, way) in enumerate(zip(bscan_index, courses, strict=True)):
        for w, arc in enumerate(way.arc):
            row: dict[str, Any] = {"bscan": float(bscan), "ascan": w, "arc_mm": round(float(arc), 6)}
            if way.angle is not None and way.quadrant is not None:
                row |= {"angle_deg": round(float(way.angle[w]), 4), "quadrant": called[way.quadrant[w]]}
            for k, layer in enumerate(thickness.names):
                row[f"{layer}_um"] = round(float(thickness.um[k, p, w]), 4)
                if thickness.half is not None:
                    row[f"{layer}_half_interval_um"] = round(float(thickness.half[k, p, w]), 4)
            found.append(row)
    return found


def sector_rows(
    thickness: Thickness, courses: Sequence[Course], at: Float[np.ndarray, "P W 2"],
    bscan_index: Float[np.ndarray, " P"], laterality: str | None, *, length: float = np.inf,
) -> list[dict[str, Any]]:  # fmt: skip
    """Means of every layer over the quadrants of every circle, all round it and, of an eye that is known, over its six

    peripapillary sectors; none for lines.

    at: mm of the A-scans; length: of the correlation in thickness.deviation_of_mean. Rows: bscan, layer, division
    (quadrants, whole, peripapillary: N is wider in the last), sector, thickness_um, half_interval_um, covered (share
    of its A-scans whose thickness is known), not_computable (why the mean is nan; empty where it is not).
    """
    found: list[dict[str, Any]] = []
    for p, (bscan, way) in enumerate(zip(bscan_index, courses, strict=True)):
        if way.quadrant is None or way.angle is None:
            continue
        parts = {("quadrants", name): way.quadrant == number for number, name in enumerate(names(laterality))}
        parts |= {("whole", ROUND): np.ones_like(way.quadrant, bool)}
        if laterality is not None:
            parts |= {
                ("peripapillary", name): (way.angle - a) % 360 < (b - a) % 360 for name, (a, b) in PERIPAPILLARY.items()
            }
        for k, layer in enumerate(thickness.names):
            half = None if thickness.half is None else thickness.half[k, p]
            for (division, sector), own in parts.items():
                row = {"bscan": float(bscan), "layer": layer, "division": division, "sector": sector}
                found.append(row | _mean(thickness.um[k, p], half, own, at[p], length))
    return found


def _mean(
    um: Float[np.ndarray, " W"], half: Float[np.ndarray, " W"] | None, own: np.ndarray, at: Float[np.ndarray, "W 2"],
    length: float,
) -> dict[str, Any]:  # fmt: skip
    known = own & np.isfinite(um)
    share = float(known.sum() / max(own.sum(), 1))
    if share < LEAST:
        why = f"{share:.0%} of the sector is known, {LEAST:.0%} are needed"
        return {"thickness_um": np.nan, "half_interval_um": np.nan, "covered": share, "not_computable": why}
    count = int(known.sum())
    spread = np.nan if half is None else deviation_of_mean(np.full(count, 1 / count), half[known], at[known], length)
    mean = float(um[known].mean())
    return {"thickness_um": mean, "half_interval_um": spread, "covered": share, "not_computable": ""}
