"""Drusen, fluid, atrophy and an epiretinal membrane: how each moves the layers, and where it is."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inr_jax.phantom.anatomy import LAYERS
from inr_jax.phantom.fields import generator

PITCH = 2 * 5.8 / 30  # mm between fitted B-scans of the default geometry; one of its unfitted ones is in the middle


@dataclass(frozen=True)
class Lesion:
    """One lesion: an ellipse en face, outside of which nothing of it lies."""

    kind: str  # drusen | cyst | subretinal fluid | atrophy | epiretinal membrane
    y: float  # mm from the middle of the scan, downwards
    x: float  # mm from the middle of the scan, along the A-scans
    radius_y: float  # mm
    radius_x: float
    height: float  # um at its middle; 0 for atrophy and membranes
    between: bool  # lies wholly between two fitted B-scans of the default geometry


class Changes(NamedTuple):
    """What the lesions add to a healthy eye, en face."""

    drusen: Float[np.ndarray, "D W"]  # um between RPE and BM
    cyst: Float[np.ndarray, "D W"]  # um of fluid in the middle of the INL
    subretinal: Float[np.ndarray, "D W"]  # um of fluid above the RPE
    atrophy: Float[np.ndarray, "D W"]  # 0 healthy, 1 no photoreceptors and no RPE
    membrane: Float[np.ndarray, "D W"]  # 0 none, 1 epiretinal membrane


def draw_lesions(seed: int, person: int, eye: int) -> tuple[Lesion, ...]:
    """Draw what one eye has; every eye has a druse and a cyst that lie between fitted B-scans."""
    rng = generator(seed, person, eye, "lesions")
    lesions = [_spread(rng, "drusen", (0.06, 0.35), (30.0, 110.0)) for _ in range(rng.integers(4, 12))]
    lesions += [_hidden(rng, "drusen", (40.0, 90.0)), _hidden(rng, "cyst", (50.0, 110.0))]
    if rng.random() < 0.6:
        lesions += [_spread(rng, "cyst", (0.12, 0.4), (50.0, 160.0), 0.9) for _ in range(rng.integers(2, 7))]
    for kind, radius, height, reach in (
        ("subretinal fluid", (0.5, 1.2), (50.0, 140.0), 0.8),
        ("atrophy", (0.4, 1.1), (0.0, 0.0), 1.2),
        ("epiretinal membrane", (1.0, 2.2), (0.0, 0.0), 0.8),
    ):
        if rng.random() < 0.4:
            lesions.append(_spread(rng, kind, radius, height, reach))
    return tuple(lesions)


def _spread(
    rng: np.random.Generator,
    kind: str,
    radius: tuple[float, float],
    height: tuple[float, float],
    reach: float = 1.8,
) -> Lesion:
    y, x = rng.uniform(-reach, reach, 2).tolist()
    size = rng.uniform(*radius)
    return Lesion(kind, y, x, size, size * rng.uniform(0.75, 1.3), rng.uniform(*height), False)


def _hidden(rng: np.random.Generator, kind: str, height: tuple[float, float]) -> Lesion:
    """A lesion with a free margin of at least a tenth of the gap on both sides."""
    size = PITCH * rng.uniform(0.3, 0.4)
    y, x = PITCH * float(rng.integers(-4, 5)), rng.uniform(-1.6, 1.6)
    return Lesion(kind, y, x, size, size * rng.uniform(0.8, 1.6), rng.uniform(*height), True)


def changes(lesions: tuple[Lesion, ...], y: Float[np.ndarray, "D W"], x: Float[np.ndarray, "D W"]) -> Changes:
    """What lesions add at places in mm from the middle of the scan."""
    found = {
        kind: np.zeros(y.shape) for kind in ("drusen", "cyst", "subretinal fluid", "atrophy", "epiretinal membrane")
    }
    for lesion in lesions:
        inside = 1 - ((y - lesion.y) / lesion.radius_y) ** 2 - ((x - lesion.x) / lesion.radius_x) ** 2
        rise = np.clip(inside, 0, None)
        whole = np.minimum(1.4 * rise, 1)
        flat = lesion.kind in ("atrophy", "epiretinal membrane")
        amount = whole**2 * (3 - 2 * whole) if flat else lesion.height * rise
        found[lesion.kind] = np.maximum(found[lesion.kind], amount)
    return Changes(*found.values())


def deform(thickness: Float[np.ndarray, "10 D W"], change: Changes) -> Float[np.ndarray, "10 D W"]:
    """Layer thicknesses in um under lesions: swollen, lifted, lost."""
    gain = np.zeros_like(thickness)
    layer = {name: LAYERS.index(name) for name in LAYERS}
    gain[layer["RNFL"]] = 12 * change.membrane
    gain[layer["INL"]] = change.cyst
    for name, pressed in (  # neighbours give way to what swells
        ("GCL", 0.15 * change.cyst),
        ("IPL", 0.15 * change.cyst),
        ("ONL", 0.3 * change.cyst + 0.85 * change.drusen),
    ):
        gain[layer[name]] = -np.minimum(pressed, 0.6 * thickness[layer[name]])
    gain[layer["IZ-RPE"]] = change.subretinal
    gain[layer["RPE"]] = change.drusen
    kept = np.ones_like(thickness)
    kept[layer["ELM-EZ"] : layer["RPE"] + 1] = 1 - change.atrophy
    kept[layer["ONL"]] = 1 - 0.7 * change.atrophy
    return (thickness + gain) * kept
