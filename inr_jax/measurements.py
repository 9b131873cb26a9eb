"""A population on the device, and how batches are drawn from it inside a jitted step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from inr_jax import coordinates
from inr_jax.types import Batch, Context, Hyper, Key, Population, Side

POPULATION = {"of": "population", "divide_first": 1.0}  # the extent of every model but the reference's


class Measurements(NamedTuple):
    """Device arrays of N scans of one grid; V voxels each, flattened."""

    intensity: Float[Array, "N V C"]
    labels: Int[Array, "N V"]  # -1: unknown
    valid: Bool[Array, "N V"]
    scale: Float[Array, "N k"]  # coordinate = scale * index + shift
    shift: Float[Array, "N k"]
    slo: Side | None  # image [N, Y, X], to_pixel [N, 2, 3]
    donor: Int[Array, "N"]  # a scan of the next person: whose SLO is taken in a control
    en_face: Float[Array, "N D W 2"] | None = None  # first and last coordinates of A-scans that are no raster


def to_device(
    population: Population, half: Float[np.ndarray, "k"], extent: Mapping[str, Any] = POPULATION
) -> Measurements:
    """The arrays of a population in a model's box of half-extent `half` mm, or each in its own (coordinates.boxes)."""
    n, grid = len(population.names), population.measured.shape
    boxes = coordinates.boxes(extent, half, grid, population.spacing)
    scale, shift = coordinates.index_to_box(grid, population.spacing, population.offset, boxes)
    labels = population.labels if population.labels is not None else np.full((n, *grid), -1, np.int8)
    slo = None
    if population.slo is not None and population.slo_affine is not None:
        to_pixel = coordinates.slo_to_pixel(population.slo_affine, boxes)
        slo = Side(jnp.asarray(population.slo, jnp.float32), jnp.asarray(to_pixel))
    return Measurements(
        intensity=jnp.asarray(population.intensity.reshape(n, -1, population.intensity.shape[-1]), jnp.float32),
        labels=jnp.asarray(labels.reshape(n, -1), jnp.int8),
        valid=jnp.asarray(population.valid.reshape(n, -1)),
        scale=jnp.asarray(scale),
        shift=jnp.asarray(shift),
        slo=slo,
        donor=jnp.asarray(donors(population.people), jnp.int32),
        en_face=None if population.en_face is None else jnp.asarray(_in_boxes(population.en_face, boxes)),
    )


def _in_boxes(en_face: Float[np.ndarray, "N D W 2"], boxes: Float[np.ndarray, "N k"]) -> Float[np.ndarray, "N D W 2"]:
    return np.asarray(en_face / boxes[:, None, None, [0, -1]], np.float32)


def coords_of(data: Measurements, subject: Int[Array, ""] | int, index: Num[Array, "*n k"]) -> Float[Array, "*n k"]:
    """Coordinates of a subject's (fractional) voxels."""
    en_face = None if data.en_face is None else data.en_face[subject]
    return coordinates.of_index(index, data.scale[subject], data.shift[subject], en_face)


def donors(people: Sequence[str]) -> Int[np.ndarray, "N"]:
    """For every scan one of the next person, the first after the last: the first for a first, a second for a second.

    Where there is one person alone, the scan itself.
    """
    scans = {person: [i for i, of in enumerate(people) if of == person] for person in dict.fromkeys(people)}
    own = list(scans.values())
    donor = np.arange(len(people))
    for mine, others in zip(own, own[1:] + own[:1], strict=True):
        donor[mine] = np.resize(others, len(mine)) if others is not mine else mine
    return donor


def side_of(data: Measurements, subject: Int[Array, ""], swapped: Float[Array, ""] | float = 0.0) -> Side | None:
    """The side image of a subject or, where `swapped` is 1 (a control), that of its donor."""
    if data.slo is None:
        return None
    scan = jnp.where(jnp.asarray(swapped) > 0, data.donor[subject], subject)
    return Side(data.slo.image[scan], data.slo.to_pixel[scan])


def evenly(rank: Int[Array, "n"], total: Int[Array, ""] | int, count: Float[Array, ""]) -> Bool[Array, "n"]:
    """Which of the ranks 0 .. total - 1 are among `count` spread evenly over them; all for a count of 0."""
    share = count / jnp.maximum(total, 1)
    return (count == 0) | (jnp.floor((rank + 1) * share + 1e-4) > jnp.floor(rank * share + 1e-4))


def labelled_bscans(grid: tuple[int, ...], count: Float[Array, ""] | float) -> Bool[Array, "{grid[0]}"]:
    """The B-scans that have labels in training: so many, spread evenly over the grid's first axis; 0: all."""
    return evenly(jnp.arange(grid[0]), grid[0], jnp.asarray(count))


def measured_rows(pool: Int[np.ndarray, "p"], grid: tuple[int, ...]) -> Bool[np.ndarray, "{grid[0]}"]:
    """The B-scans (images: rows) of which something is in a pool of flat voxel indices."""
    return np.isin(np.arange(grid[0]), np.unique(pool // math.prod(grid[1:])))


def context_labels(
    data: Measurements,
    subject: Int[Array, ""],
    pool: Int[np.ndarray, "p"],
    grid: tuple[int, ...],
    count: Float[Array, ""] | float,
    among: Float[Array, ""] | float = 0.0,
) -> Bool[Array, "{grid[0]}"]:
    """The B-scans whose labels an adaptation may see: `count` of the measured ones that have any, evenly spread.

    pool: what was measured. count: 0: all of them. among: of so many `labelled_bscans`.
    """
    has_labels = (data.labels[subject].reshape(grid[0], -1) >= 0).any(-1)
    known = labelled_bscans(grid, among) & has_labels & measured_rows(pool, grid)
    return known & evenly(jnp.cumsum(known) - 1, known.sum(), jnp.asarray(count))


def context_of(
    data: Measurements, subject: Int[Array, ""], pool: Int[np.ndarray, "p"], grid: tuple[int, ...], hyper: Hyper
) -> Context | None:
    """The B-scans of one subject that hold voxels of a pool, all else in them not valid; None of images.

    Places are those along a raster's axes, of A-scans that are none, too.
    """
    if len(grid) != 3:
        return None
    size = grid[1] * grid[2]
    bscans = np.unique(pool // size)
    known = np.zeros(math.prod(grid), bool)
    known[pool] = True
    valid = data.valid[subject].reshape(grid)[bscans] & known.reshape(grid)[bscans]
    side = side_of(data, subject, hyper.side_swapped)
    if side is not None:
        side = side._replace(image=hyper.side * (2 * side.image - 1))
    scale, shift = data.scale[subject], data.shift[subject]
    indices = (jnp.asarray(bscans), *map(jnp.arange, grid[1:]))
    places = tuple(scale[axis] * index + shift[axis] for axis, index in enumerate(indices))
    return Context(data.intensity[subject].reshape(*grid, -1)[bscans], valid, places, side)


def gather(
    data: Measurements,
    subject: Int[Array, ""],
    flat: Int[Array, "*n"],
    grid: tuple[int, ...],
    *,
    labelled: Bool[Array, "{grid[0]}"] | bool,
) -> Batch:
    """The measurements of one subject at flat voxel indices; labels of the B-scans that are `labelled` (True: all)."""
    coords = coords_of(data, subject, coordinates.unravel(flat, grid))
    known = jnp.broadcast_to(labelled, grid[:1])[flat // math.prod(grid[1:])]
    labels = jnp.where(known, data.labels[subject, flat].astype(jnp.int32), -1)
    return Batch(coords, data.intensity[subject, flat], labels, data.valid[subject, flat].astype(jnp.float32))


def draw(
    data: Measurements,
    subject: Int[Array, ""],
    pool: Int[np.ndarray, "p"],
    count: int,
    grid: tuple[int, ...],
    *,
    key: Key,
    labelled: Bool[Array, "{grid[0]}"] | bool,
) -> Batch:
    """`count` measurements of one subject at voxels drawn from a pool; labels as in `gather`."""
    return gather(data, subject, coordinates.draw_points(key, pool, count), grid, labelled=labelled)


def plane(index: Int[Array, ""], grid: tuple[int, ...]) -> Int[Array, "H W"]:
    """Flat voxel indices of one B-scan."""
    size = grid[1] * grid[2]
    return index * size + jnp.arange(size).reshape(grid[1:])


def draw_patch(
    bscans: Int[Array, "b"], grid: tuple[int, ...], patch: tuple[int, int], *, key: Key
) -> Int[Array, "{patch[0]} {patch[1]}"]:
    """Flat voxel indices of a patch (rows, A-scans) at a uniform place of one of some B-scans."""
    which, where = jax.random.split(key)
    inside = coordinates.draw_patch(where, (1, *grid[1:]), (1, *patch))[0]
    return jax.random.choice(which, bscans) * (grid[1] * grid[2]) + inside


class Pools(NamedTuple):
    """Flat voxel indices by what they are for."""

    context: Int[np.ndarray, "c"]  # measured: what a new scan offers
    target: Int[np.ndarray, "t"]  # everything, scored in the outer loss
    training: Int[np.ndarray, "f"]  # of the context: what `fit` moves by
    held_out: Int[np.ndarray, "h"]  # of the context: what stops it
    measured: Int[np.ndarray, "b"]  # B-scans that were measured wholly


def pools(measured: Bool[np.ndarray, "*grid"], *, held_out: float = 0.1, seed: int = 0) -> Pools:
    """Splits a grid by what is measured. Whole A-scans (all rows of a column) are held out, not loose voxels:

    neighbours along depth share speckle, and would tell the answer. In 2D single pixels are held out.
    """
    flat = np.arange(measured.size, dtype=np.int32).reshape(measured.shape)
    context = flat[measured]
    columns = measured.any(1, keepdims=True) if measured.ndim == 3 else measured
    order = np.random.default_rng(seed).permutation(np.flatnonzero(columns))
    chosen = np.zeros(columns.size, bool)
    chosen[order[: max(1, round(held_out * len(order)))]] = True
    out = np.broadcast_to(chosen.reshape(columns.shape), measured.shape)[measured]
    whole = np.flatnonzero(measured.reshape(len(measured), -1).all(-1))
    return Pools(context, flat.ravel(), context[~out], context[out], whole)
