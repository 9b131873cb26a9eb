"""The retinal vessel tree as tapering curves in mm, and what a beam meets of it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from inr_jax.phantom.anatomy import DISC
from inr_jax.phantom.fields import generator

STEP = 0.02  # mm between points of a centre line
THINNEST = 0.006  # mm, radius
AVASCULAR = 0.28  # mm round the fovea


class Vessels(NamedTuple):
    """Points along all centre lines."""

    place: Float[np.ndarray, "n 2"]  # mm (y, x)
    radius: Float[np.ndarray, " n"]  # mm
    depth: Float[np.ndarray, " n"]  # share of the way from ILM (0) to the IPL-INL surface (1)


class Branch(NamedTuple):
    place: Float[np.ndarray, "n 2"]
    radius: Float[np.ndarray, " n"]
    level: int


def draw_vessels(seed: int, person: int, eye: int) -> Vessels:
    """Draw the tree: four arcades from the disc, small macular vessels, and three generations of branches."""
    rng = generator(seed, person, eye, "vessels")
    height = 3.0 + 0.25 * generator(seed, person, 2, "vessels").standard_normal(2)
    branches = _trunks(rng, height)
    for level in (1, 2, 3):
        parents = [b for b in branches if b.level == level - 1]
        branches = branches + [child for b in parents for child in _children(rng, b)]
    parts = [
        Vessels(b.place, b.radius, np.full(len(b.radius), rng.uniform(0.15, 0.35) + 0.12 * b.level)) for b in branches
    ]
    return Vessels(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _trunks(rng: np.random.Generator, height: Float[np.ndarray, "2"]) -> list[Branch]:
    """An artery and a vein above and below, and a few thin ones straight from the disc towards the fovea."""
    trunks = []
    for sign, rise in zip((-1, 1), height, strict=True):
        for width, gap in ((0.052, 0.0), (0.066, rng.uniform(0.25, 0.6))):
            end = np.array([sign * (rise - gap) * rng.uniform(0.6, 1.1), -5.5])
            bend = np.array([sign * (rise - gap) * rng.uniform(1.35, 1.6), rng.uniform(0.6, 1.4)])
            trunks.append(_curve(rng, np.array(DISC), bend, end, width, 0.5 * width, 0))
    for _ in range(rng.integers(3, 6)):
        end = np.array([rng.normal(0, 0.9), rng.uniform(0.5, 1.6)])
        bend = np.array([end[0] * 1.5 + DISC[0] / 2, 3.0])
        trunks.append(_curve(rng, np.array(DISC), bend, end, rng.uniform(0.012, 0.022), 0.007, 1))
    return trunks


def _children(rng: np.random.Generator, parent: Branch) -> list[Branch]:
    """Branches on both sides; the macular ones run towards the fovea and stop before it."""
    every = (0.5, 0.4, 0.35)[min(parent.level, 2)]  # mm
    starts = np.cumsum(rng.exponential(every, 40) + 0.1)
    starts = (starts[starts < len(parent.radius) * STEP] / STEP).astype(int)
    children = []
    for at in starts[starts < len(parent.radius) - 2]:
        radius = parent.radius[at] * rng.uniform(0.3, 0.65)
        if radius < THINNEST:
            continue
        place, along = parent.place[at], parent.place[at + 1] - parent.place[at]
        along = along / np.hypot(*along)
        across = np.array([along[1], -along[0]])
        inward = np.sign(across @ -place) * (1 if rng.random() < 0.7 else -1)
        length = np.hypot(*place) * rng.uniform(0.25, 1.0) * (1.0, 0.6, 0.4)[min(parent.level, 2)]
        end = place + length * (rng.uniform(0.3, 1.0) * inward * across + rng.uniform(-0.1, 0.9) * along)
        distance = np.hypot(*end)
        if distance < 2 * AVASCULAR:
            end = end * (2 * AVASCULAR / max(distance, 1e-3))
        bend = place + length * (rng.uniform(0.1, 0.7) * along + rng.uniform(0.1, 0.5) * inward * across)
        children.append(_curve(rng, place, bend, end, radius, max(0.5 * radius, THINNEST / 1.5), parent.level + 1))
    return children


def _curve(
    rng: np.random.Generator,
    start: Float[np.ndarray, "2"],
    bend: Float[np.ndarray, "2"],
    end: Float[np.ndarray, "2"],
    thick: float,
    thin: float,
    level: int,
) -> Branch:
    """A quadratic Bezier curve with tortuosity: a sum of three sines across it, zero at the start."""
    length = np.hypot(*(bend - start)) + np.hypot(*(end - bend))
    t = np.linspace(0, 1, max(int(length / STEP), 4))
    place = ((1 - t) ** 2)[:, None] * start + (2 * t * (1 - t))[:, None] * bend + (t**2)[:, None] * end
    waves = np.sin(2 * np.pi * np.outer(t * length, 1 / rng.uniform(0.5, 3.5, 3)) + rng.uniform(0, 6.28, 3))
    sway = (waves - waves[:1]).sum(1) * rng.uniform(0.006, 0.03) * min(1.0, length)
    chord = (end - start) / np.hypot(*(end - start))
    place = place + sway[:, None] * np.array([chord[1], -chord[0]])
    place = place[np.hypot(*place.T) > AVASCULAR]
    radius = (thick + (thin - thick) * t)[: len(place)]
    return Branch(place, radius, level)


class Hits(NamedTuple):
    """What the beam meets at each place."""

    chord: Float[np.ndarray, " n"]  # mm of blood
    radius: Float[np.ndarray, " n"]  # mm, of the vessel met
    depth: Float[np.ndarray, " n"]  # as in Vessels


def meet(vessels: Vessels, y: Float[np.ndarray, " n"], x: Float[np.ndarray, " n"], blur: float) -> Hits:
    """Path length through blood at places in mm, seen through a beam with a Gaussian spot of `blur` mm.

    Thick and thin vessels are looked up apart, so that a thin one above a thick one does not hide it.
    """
    best = Hits(*(np.zeros(len(y)) for _ in range(3)))
    thick: Bool[np.ndarray, " n"] = vessels.radius > 0.02
    for chosen in (thick, ~thick):
        part = Vessels(*(field[chosen] for field in vessels))
        reach = float(part.radius.max()) + 3 * blur
        distance, nearest = cKDTree(part.place).query(np.stack([y, x], 1), distance_upper_bound=reach)
        hit = np.flatnonzero(np.isfinite(distance))
        radius = part.radius[nearest[hit]]
        wide = np.hypot(radius, 1.5 * blur)
        chord = 2 * radius**2 / wide * np.sqrt(np.clip(1 - (distance[hit] / wide) ** 2, 0, None))
        better = chord > best.chord[hit]
        for field, value in zip(best, (chord, radius, part.depth[nearest[hit]]), strict=True):
            field[hit[better]] = value[better]
    return best
