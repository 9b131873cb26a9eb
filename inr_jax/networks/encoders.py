"""An encoder of a scan: the codes of a grid modulation, from what was measured alone, in one pass.

    f_p = dense(convolutions(a_p))                        every A-scan a_p, on even depths of the box; strides of 2
    g(c) = sum_p w(c, p) f_p / sum_p w(c, p)              on the cells c of an even en-face grid; w: hat functions
    codes_l = W_l resize_l(unet([g, sum_p w, SLO]))       for every level l; W_l starts at zero

Cells far from any B-scan are holes, which the U-Net fills by what it has learned and by what the SLO shows there.
Normalised convolution: Knutsson & Westin, CVPR 1993; U-Net: Ronneberger et al., MICCAI 2015; an encoder in the place of
an auto-decoder's fit: conditional neural processes, Garnelo et al., ICML 2018.
"""

from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax import coordinates
from inr_jax.errors import InputError
from inr_jax.types import Context, Key, Params, Side

STRIDE = 2  # of the convolutions along depth, and their length: products alone, which a CPU is fast at both ways
ACROSS = 4  # samples of the side image along each axis of a cell


def centres(cells: int) -> Float[Array, "{cells}"]:
    """Coordinates of the centres of even cells of [-1, 1]."""
    return (2 * jnp.arange(cells) + 1) / cells - 1


def hats(at: Float[Array, "m"], of: Float[Array, "n"], reach: float | Array) -> Float[Array, "m n"]:
    """What each of n samples weighs at each of m places: 1 there, 0 from a distance `reach` on, linear between."""
    return jnp.maximum(1 - jnp.abs(at[:, None] - of) / reach, 0)


def spread(
    weights: Float[Array, "m n"], values: Float[Array, "n *f"], known: Float[Array, "n *f"]
) -> tuple[Float[Array, "m *f"], Float[Array, "m *f"]]:
    """Normalised convolution along the first axis: weighted means of what is known, and how much of it there is."""
    total = jnp.tensordot(weights, known, 1)
    mean = jnp.tensordot(weights, values * known, 1) / jnp.maximum(total, 1e-6)
    return mean, jnp.minimum(total, 1.0)


def even_depths(context: Context, rows: int) -> Float[Array, "P W {rows} c"]:
    """Every A-scan on even depths of the box, as intensities around 0 (0 where unknown), and how much is known there.

    Rows that are finer than the depths are averaged, others interpolated.
    """
    depth = context.places[1]
    reach = jnp.maximum(2 / rows, jnp.abs(depth[1] - depth[0]))
    known = jnp.broadcast_to(context.valid[..., None], context.intensity.shape).astype(jnp.float32)
    by_depth = (jnp.moveaxis(array, 1, 0) for array in (2 * context.intensity - 1, known))
    mean, known = spread(hats(centres(rows), depth, reach), *by_depth)
    return jnp.moveaxis(jnp.concatenate([mean, known[..., :1]], -1), 0, 2)


def en_face(
    features: Float[Array, "P W F"], known: Float[Array, "P W"], context: Context, cells: Sequence[int]
) -> Float[Array, "Y X f"]:
    """Features of the A-scans on the cells of an even en-face grid, and how much is known of each cell."""
    along = [hats(centres(n), context.places[axis], 2 / n) for n, axis in zip(cells, (0, 2), strict=True)]
    measured = jnp.broadcast_to(known[..., None], features.shape)
    mean, measured = spread(along[0], features, measured)
    mean, measured = spread(along[1], *(jnp.moveaxis(array, 1, 0) for array in (mean, measured)))
    return jnp.moveaxis(jnp.concatenate([mean, measured[..., :1]], -1), 0, 1)


def side_cells(side: Side, cells: Sequence[int]) -> Float[Array, "Y X s"]:
    """The side image in every cell of an even en-face grid, at ACROSS x ACROSS even places of it."""
    y, x = (centres(ACROSS * n) for n in cells)
    fine = coordinates.sample_side(side, jnp.stack(jnp.meshgrid(y, x, indexing="ij"), -1))
    parts = fine.reshape(cells[0], ACROSS, cells[1], ACROSS)
    return jnp.moveaxis(parts, 2, 1).reshape(*cells, ACROSS**2)


class AScans(nn.Module):
    """Features of every A-scan: strided convolutions along depth, then a dense layer that knows where things lie."""

    channels: Sequence[int]
    features: int

    @nn.compact
    def __call__(self, ascans: Float[Array, "*n rows c"]) -> Float[Array, "*n F"]:
        h = ascans
        for size in self.channels:
            pairs = h.reshape(*h.shape[:-2], h.shape[-2] // STRIDE, STRIDE * h.shape[-1])
            h = nn.gelu(nn.Dense(size)(pairs))
        return nn.gelu(nn.Dense(self.features)(h.reshape(*h.shape[:-2], -1)))


class UNet(nn.Module):
    """Three scales, each half as fine as the one before; what is finer is seen again on the way up."""

    width: int

    @nn.compact
    def __call__(self, image: Float[Array, "Y X c"]) -> Float[Array, "Y X w"]:
        def convolved(x: Array, size: int) -> Array:
            return nn.gelu(nn.Conv(size, (3, 3))(x))

        fine = convolved(image, self.width)
        half = convolved(nn.avg_pool(fine, (2, 2), (2, 2)), 2 * self.width)
        coarse = convolved(nn.avg_pool(half, (2, 2), (2, 2)), 2 * self.width)
        for before, size in ((half, 2 * self.width), (fine, self.width)):
            up = jax.image.resize(coarse, (*before.shape[:-1], coarse.shape[-1]), "linear")
            coarse = convolved(jnp.concatenate([before, up], -1), size)
        return coarse


class Encoder(nn.Module):
    """See the module's docstring; options are those of `encoder`."""

    rows: int
    cells: Sequence[int]
    channels: Sequence[int]
    features: int
    width: int
    levels: Sequence[Sequence[int]]

    @nn.compact
    def __call__(self, context: Context) -> dict[str, Array]:
        features = AScans(self.channels, self.features)(even_depths(context, self.rows))
        known = context.valid.any(1).astype(jnp.float32)
        planes = [en_face(features, known, context, self.cells)]
        if context.side is not None:
            planes.append(side_cells(context.side, self.cells))
        h = UNet(self.width)(jnp.concatenate(planes, -1))

        def level(name: str, cells: Sequence[int], size: int) -> Array:
            resized = jax.image.resize(h, (*cells, self.width), "linear")
            return nn.Dense(size, kernel_init=nn.initializers.zeros, name=name)(resized)

        return {f"level_{i}": level(f"level_{i}", cells, size) for i, (*cells, size) in enumerate(self.levels)}


def encoder(
    *,
    rows: int,
    cells: Sequence[int],
    channels: Sequence[int],
    features: int,
    width: int,
    levels: Sequence[Sequence[int]],
    intensities: int,
    side: bool,
) -> tuple[Callable[[Key], Params], Callable[[Params, Context], dict[str, Array]]]:
    """(init, apply): codes of every level of a grid, zero at first, of any scan of `intensities` channels.

    rows: depths of the box that A-scans are seen at; cells: of the en-face grid the U-Net works on; channels: of the
    convolutions along depth; levels: cells along both axes and channels of each (modulations.zero_grid); side: whether
    scans have a side image. Raises InputError where a number is below the least there can be.
    """
    if len(cells) != 2 or min(cells) < 4:
        raise InputError(f"model.encoder.cells: expected two numbers of 4 or more; found {tuple(cells)}")
    least = STRIDE ** len(channels)
    if rows < least or rows % least:
        raise InputError(f"model.encoder.rows: expected a multiple of {least}; found {rows}")
    for key, value in {"features": features, "width": width}.items():
        if value < 1:
            raise InputError(f"model.encoder.{key}: expected 1 or more; found {value}")
    network = Encoder(rows, tuple(cells), tuple(channels), features, width, tuple(map(tuple, levels)))

    def init(key: Key) -> Params:
        image = Side(jnp.zeros((2, 2)), jnp.zeros((2, 3))) if side else None
        nothing = Context(
            jnp.zeros((1, 2, 1, intensities)), jnp.zeros((1, 2, 1), bool), tuple(map(centres, (1, 2, 1))), image
        )
        return network.init(key, nothing)["params"]

    def apply(params: Params, context: Context) -> dict[str, Array]:
        return cast(dict[str, Array], network.apply({"params": params}, context))

    return init, apply
