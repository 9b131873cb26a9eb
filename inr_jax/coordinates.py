"""Voxels, millimetres and the model's [-1, 1]; grids; drawing points by key.

The model's frame is a box in mm, fixed by the training population and centred on the scan: another spacing or field
of view is another part of the same box. Along every axis a coordinate is affine in the voxel's index, but for scans
whose A-scans are no raster: their first and last coordinates are those of where the A-scans lie.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from inr_jax.types import Key, Side


def half_extent(shape: Sequence[int], spacing: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "k"]:
    """Half the box that holds every scan of a population, in mm: outer faces of the outermost voxels."""
    return np.asarray(0.5 * np.asarray(shape) * spacing.max(0), np.float32)


def index_to_box(
    shape: Sequence[int],
    spacing: Float[np.ndarray, "*N k"],
    offset: Float[np.ndarray, "*N k"],
    half: Float[np.ndarray, "*M k"],
) -> tuple[Float[np.ndarray, "*N k"], Float[np.ndarray, "*N k"]]:
    """(scale, shift) such that coordinate = scale * index + shift, with the grid's centre at `offset` mm."""
    scale = spacing / half
    shift = offset / half - 0.5 * (np.asarray(shape) - 1) * scale
    return np.asarray(scale, np.float32), np.asarray(shift, np.float32)


def boxes(
    extent: Mapping[str, Any],
    half: Float[np.ndarray, "k"],
    shape: Sequence[int],
    spacing: Float[np.ndarray, "N k"],
) -> Float[np.ndarray, "N k"]:
    """Half-extent in mm of each scan's box.

    extent: of = "population", the model's box for all; "volume", each scan's own, its outermost voxels' centres at
    -1 and 1 (INteRp-OCT). The first coordinate is divided by `divide_first`.
    """
    of_scan = 0.5 * np.maximum(np.asarray(shape) - 1, 1) * spacing
    chosen = of_scan if extent["of"] == "volume" else np.broadcast_to(half, spacing.shape)
    divide = np.where(np.arange(len(shape)) == 0, extent["divide_first"], 1.0)
    return np.asarray(chosen * divide, np.float32)


def grid(shape: Sequence[int], scale: Float[Array, "k"], shift: Float[Array, "k"]) -> Float[Array, "*grid k"]:
    """Coordinates of every voxel of a grid."""
    index = jnp.stack(jnp.meshgrid(*(jnp.arange(n) for n in shape), indexing="ij"), -1)
    return index * scale + shift


def of_index(
    index: Num[Array, "*n k"],
    scale: Float[Array, "k"],
    shift: Float[Array, "k"],
    en_face: Float[Array, "D W 2"] | None = None,
) -> Float[Array, "*n k"]:
    """Coordinates of (fractional) voxels: scale * index + shift, but where A-scans lie `en_face` (first and last

    coordinates) linearly between them, and held beyond the outermost.
    """
    affine = index * scale + shift
    if en_face is None:
        return affine
    at = [index[..., 0].astype(jnp.float32), index[..., -1].astype(jnp.float32)]
    first, last = (jax.scipy.ndimage.map_coordinates(en_face[..., a], at, order=1, mode="nearest") for a in (0, 1))
    return affine.at[..., 0].set(first).at[..., -1].set(last)


def slo_to_pixel(affine: Float[np.ndarray, "*N 2 3"], half: Float[np.ndarray, "*M k"]) -> Float[np.ndarray, "*N 2 3"]:
    """An affine from en-face mm to SLO pixels, as one from the first and last coordinate of the box."""
    mm = np.stack([half[..., 0], half[..., -1], np.ones_like(half[..., 0])], -1)
    return np.asarray(affine * mm[..., None, :], np.float32)


def side_pixel(side: Side, coords: Float[Array, "*n k"]) -> Float[Array, "2 *n"]:
    """Where each place lies on the en-face image: (row, column)."""
    en_face = jnp.stack([coords[..., 0], coords[..., -1], jnp.ones_like(coords[..., 0])])
    return jnp.tensordot(side.to_pixel, en_face, 1)


def sample_side(side: Side, coords: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """The en-face image's bilinear value at each place, its edge repeated outside."""
    pixel = side_pixel(side, coords)
    return jax.scipy.ndimage.map_coordinates(side.image, [pixel[0], pixel[1]], order=1, mode="nearest")


def runs(pool: Int[np.ndarray, "p"]) -> tuple[Int[np.ndarray, "r"], int]:
    """(starts, length) of the longest runs of successive numbers, all of one length, that a pool is made of."""
    breaks = np.flatnonzero(np.diff(pool) != 1) + 1
    length = max(1, int(np.gcd.reduce(breaks, initial=len(pool))))
    return pool[::length], length


def draw_points(key: Key, pool: Int[np.ndarray, "p"], count: int) -> Int[Array, "count"]:
    """Flat voxel indices drawn uniformly, with replacement, from a pool of them.

    What was measured is whole B-scans: a program holds where these begin, not every voxel's index.
    """
    starts, length = runs(pool)
    chosen = jax.random.randint(key, (count,), 0, len(pool))
    return jnp.asarray(starts)[chosen // length] + chosen % length


def draw_patch(key: Key, shape: Sequence[int], patch: Sequence[int]) -> Int[Array, "*patch"]:
    """Flat voxel indices of a box of `patch` voxels at a uniformly drawn place of the grid: a B-scan is (1, H, W)."""
    room = jnp.asarray(shape) - jnp.asarray(patch) + 1
    corner = jax.random.randint(key, (len(shape),), 0, room)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    inside = sum(
        np.arange(n).reshape([-1 if a == axis else 1 for a in range(len(patch))]) * strides[axis]
        for axis, n in enumerate(patch)
    )
    return jnp.asarray(inside) + (corner * strides).sum()


def unravel(flat: Int[Array, "*n"], shape: Sequence[int]) -> Int[Array, "*n k"]:
    """Flat voxel indices as indices along the axes."""
    return jnp.stack(jnp.unravel_index(flat, tuple(shape)), -1)
