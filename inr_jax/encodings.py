"""Encodings of coordinates: each an `init` of its parameters and an `apply`.

To add one: two functions, an `Encoding`, a line in `ENCODINGS`. Encodings see coordinates in [-1, 1].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inr_jax.types import Key, Params


class Encoding(NamedTuple):
    init: Callable[..., Params]  # (key, k, **options) -> params
    apply: Callable[..., Array]  # (params, [*n, k], **options) -> [*n, features]


def identity_init(key: Key, k: int) -> Params:
    return {}


def identity(params: Params, x: Float[Array, "*n k"]) -> Float[Array, "*n k"]:
    """The coordinates as they are."""
    return x


def times_pi(params: Params, x: Float[Array, "*n k"]) -> Float[Array, "*n k"]:
    """pi x: what INteRp-OCT gives its SIRENs."""
    return jnp.pi * x


def fourier_init(key: Key, k: int, *, features: int = 256, scale: float = 1.0) -> Params:
    return {"matrix": scale * jax.random.normal(key, (features, k))}


def fourier(
    params: Params, x: Float[Array, "*n k"], *, features: int = 256, scale: float = 1.0
) -> Float[Array, "*n f"]:
    """[sin(2 pi B x), cos(2 pi B x)], B ~ N(0, scale^2) and fixed: Tancik et al., NeurIPS 2020."""
    angle = 2 * jnp.pi * x @ jax.lax.stop_gradient(params["matrix"]).T
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)


PRIMES = (1, 2654435761, 805459861)


def hashgrid_resolutions(levels: int, coarsest: int, finest: int) -> tuple[int, ...]:
    """floor(coarsest b^l) with b such that the last level has `finest` cells."""
    growth = np.exp(np.log(finest / coarsest) / max(levels - 1, 1))
    return tuple(int(np.floor(coarsest * growth**level + 1e-9)) for level in range(levels))


def hashgrid_init(
    key: Key,
    k: int,
    *,
    levels: int = 16,
    features: int = 2,
    log2_size: int = 15,
    coarsest: int = 16,
    finest: int = 512,
    shift: bool = True,
) -> Params:
    def table(level: int, resolution: int) -> Array:
        size = min(resolution**k, 2**log2_size)
        return jax.random.uniform(jax.random.fold_in(key, level), (size, features), minval=-1e-4, maxval=1e-4)

    resolutions = hashgrid_resolutions(levels, coarsest, finest)
    return {f"table_{level}": table(level, r) for level, r in enumerate(resolutions)}


def hash_cells(cells: Array, size: int) -> Array:
    """xor over axes of (i_a prime_a mod 2^32), then mod the table's size. cells: uint32 [..., k], k <= 3."""
    products = cells * jnp.asarray(PRIMES[: cells.shape[-1]], jnp.uint32)
    hashed = products[..., 0]
    for axis in range(1, cells.shape[-1]):
        hashed = hashed ^ products[..., axis]
    return hashed % jnp.uint32(size)


def _hash_level(table: Float[Array, "t f"], unit: Float[Array, "*n k"], resolution: int) -> Float[Array, "*n f"]:
    """Multilinear interpolation of one level's table over the 2^k corners of the cell of `unit` in [0, 1].

    Cells below 0 are hashed as theirs modulo 2^32.
    """
    k = unit.shape[-1]
    place = unit * resolution
    low = jnp.floor(place)
    part = place - low
    total = jnp.zeros((*unit.shape[:-1], table.shape[1]), table.dtype)
    for corner in np.ndindex(*(2,) * k):
        weight = jnp.prod(jnp.where(np.array(corner) == 1, part, 1 - part), axis=-1, keepdims=True)
        cells = (low + np.array(corner)).astype(jnp.int32).astype(jnp.uint32)
        total += weight * table[hash_cells(cells, table.shape[0])]
    return total


def hashgrid(
    params: Params,
    x: Float[Array, "*n k"],
    *,
    levels: int = 16,
    features: int = 2,
    log2_size: int = 15,
    coarsest: int = 16,
    finest: int = 512,
    shift: bool = True,
) -> Float[Array, "*n f"]:
    """Multiresolution hash grid, Mueller et al., SIGGRAPH 2022.

    shift: coordinates are moved from [-1, 1] to [0, 1]; otherwise taken as they are, as INteRp-OCT does (Kepp et al.
    2025): cells below 0 then share tables with all others, and there are twice as many along every axis.
    Every level is hashed, also where its grid would fit the table. Returns [*n, levels * features].
    """
    unit = jnp.clip(0.5 * (x + 1), 0.0, 1.0) if shift else x
    resolutions = hashgrid_resolutions(levels, coarsest, finest)
    return jnp.concatenate([_hash_level(params[f"table_{i}"], unit, r) for i, r in enumerate(resolutions)], -1)


ENCODINGS = {
    "identity": Encoding(identity_init, identity),
    "pi": Encoding(identity_init, times_pi),
    "fourier": Encoding(fourier_init, fourier),
    "hashgrid": Encoding(hashgrid_init, hashgrid),
}
