"""B-scans of an eye that moved between them: shifted along depth and along the A-scans, tilted, and of another gain.

    seen(x) = e^gain field(x - [0, axial + tilt x_W, lateral])      each of the four of the B-scan that x lies in

Lengths are in units of the box [-1, 1]; a tilt is a change of depth per unit of the last coordinate. What all B-scans
share is the eye's own place and brightness: motion is taken less its mean over the measured B-scans.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from inr_jax.types import Coords, Values

Motion = Mapping[str, Array]  # axial, tilt, lateral, gain: of every B-scan [B], or of every point [*points]


def centred(motion: Motion, measured: Bool[np.ndarray, "d"]) -> Motion:
    """The motion of B-scans less its mean over the measured ones of the first d <= B."""
    return {kind: rows - rows[: len(measured)].mean(where=measured) for kind, rows in motion.items()}


def measure(field: Callable[[Coords], Values], geometry: tuple[Coords, Motion]) -> Values:
    """What is seen of the field at coordinates [*points, 3] under the motion at each of them."""
    coords, motion = geometry
    down = motion["axial"] + motion["tilt"] * coords[..., 2]
    values = field(coords - jnp.stack([jnp.zeros_like(down), down, motion["lateral"]], -1))
    return values | {"intensity": jnp.exp(motion["gain"])[..., None] * values["intensity"]}


def as_seen(
    field: Callable[[Coords], Values],
    motion: Motion,
    measured: Bool[np.ndarray, "d"],
    *,
    scale: Float[Array, "3"],
    shift: Float[Array, "3"],
) -> Callable[[Coords], Values]:
    """A motion-free field as its moved scan shows it, asked at voxels: coordinate = scale * index + shift.

    motion: of every B-scan [B], B >= d.
    """
    rows = centred(motion, measured)

    def at(coords: Coords) -> Values:
        bscan = jnp.rint((coords[..., 0] - shift[0]) / scale[0]).astype(jnp.int32)
        return measure(field, (coords, jax.tree.map(lambda of: of[bscan], rows)))

    return at
