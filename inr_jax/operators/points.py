"""The simplest measurement: a field's values at points. What a finely sliced B-scan sees of the retina."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from inr_jax.types import Coords, Params, Values


def measure(field: Callable[[Coords], Values], geometry: Coords) -> Values:
    """field(geometry): no slice profile, no motion. geometry: coordinates in [-1, 1], [*points, k]."""
    return field(geometry)


def in_blocks(field: Callable[[Coords], Params], size: int) -> Callable[[Coords], Params]:
    """The same field, asked `size` points at a time (0: all at once): their hidden layers fit a CPU's caches.

    The field is handed [n, k] for any [*points, k], so that a weight's gradient is one product over one axis.
    """

    def at(coords: Coords) -> Params:
        places, k = coords.shape[:-1], coords.shape[-1]
        flat = coords.reshape(-1, k)
        if 0 < size < len(flat):
            padded = jnp.pad(flat, ((0, -len(flat) % size), (0, 0)))
            blocks = jax.lax.map(field, padded.reshape(-1, size, k))
            answers = jax.tree.map(lambda block: block.reshape(-1, *block.shape[2:])[: len(flat)], blocks)
        else:
            answers = field(flat)
        return jax.tree.map(lambda answer: answer.reshape(*places, *answer.shape[1:]), answers)

    return at
