"""The programs that ask an adapted field for its doubt: what codes were told by measurements, what they leave open.

Compiled once for a model and the rows and A-scans of a scan; `doubt` brings a scan's evidence and makes sense of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inr_jax import measurements, modulations, render, uncertainty
from inr_jax.measurements import Measurements
from inr_jax.model import hyper_of
from inr_jax.operators import points
from inr_jax.trained import Adapted, Trained
from inr_jax.types import Hyper, Modulation, Side
from inr_jax.uncertainty import Read, Reading, Sizes


def arrays(modulation: Modulation) -> dict[str, Array]:
    """The arrays of codes [*cells, c] by name, in the order of a posterior's codes."""
    grid = {f"grid/{level}": codes for level, codes in modulation.get("grid", {}).items()}
    return dict(sorted((grid | {part: modulation[part] for part in ("vector",) if part in modulation}).items()))


def with_arrays(modulation: Modulation, codes: Mapping[str, Array]) -> Modulation:
    """The modulation with other codes."""
    grid = {name.partition("/")[2]: value for name, value in codes.items() if name.startswith("grid/")}
    return modulation | ({"grid": grid} if grid else {}) | {n: v for n, v in codes.items() if n == "vector"}


def reading(codes: Mapping[str, Array], places: Float[Array, "p a"]) -> tuple[Reading, Float[Array, "p c"]]:
    """What each place takes of which cells, and the codes it reads, side by side."""
    found, read = {}, []
    for name, array in codes.items():
        cells = array.shape[:-1]
        identity = jnp.eye(int(np.prod(cells))).reshape(*cells, -1)
        weights = modulations.read_linear(identity, places) if cells else jnp.ones((len(places), 1))
        some = jax.lax.top_k(weights, min(2 ** len(cells), weights.shape[1]))  # linear between 2 along each axis
        found[name] = Read(cell=some[1], weight=some[0])
        read.append(weights @ array.reshape(-1, array.shape[-1]))
    return found, jnp.concatenate(read, -1)


class Seen(NamedTuple):
    """A B-scan, or any voxels in columns of one place en face, as the posterior sees it."""

    laplace: Float[Array, "h w"]  # variance of the intensity
    probability: Float[Array, "h w classes"]  # of the labels, over draws of the codes
    rows: Float[Array, "draws w classes"]  # expected rows of every label in an A-scan, by draw


@dataclass(frozen=True)
class Asker:
    """Compiled once for a model and a scan's rows and A-scans."""

    sizes: Sizes
    informed: Callable[..., Array]  # (adapted, data, scan, B-scans, their valid voxels) -> information of the codes
    seen: Callable[..., Seen]  # (adapted, deviations of the codes, covariance, data, scan, index [h w 3])


def make_asker(model: Trained, rows: int, ascans: int) -> Asker:
    hyper = hyper_of(model.config)
    sizes = {name: (int(np.prod(a.shape[:-1])), a.shape[-1]) for name, a in arrays(model.built.codes).items()}
    axes = jnp.asarray(tuple(model.config.model.modulation.axes))

    def gradient(adapted: Adapted, data: Measurements, i: Array, coords: Array) -> tuple[Reading, Array]:
        codes = arrays(adapted.modulation)
        weights, read = reading(codes, coords[0][:, axes])
        respond = _make_respond(model, adapted, codes, sizes, measurements.side_of(data, i), hyper)
        return weights, uncertainty.sensitivity(respond, read, coords)

    @jax.jit
    def informed(adapted: Adapted, data: Measurements, i: Array, bscans: Array, valid: Array) -> Array:
        def curved(columns: Float[Array, "h n 4"]) -> tuple[Reading, Array]:
            weights, g = gradient(adapted, data, i, measurements.coords_of(data, i, columns[..., :3]))
            return weights, uncertainty.curvature(g, columns[..., 3])

        def add(total: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
            h, w = jnp.meshgrid(jnp.arange(rows), jnp.arange(ascans), indexing="ij")
            columns = jnp.stack([jnp.full_like(h, one[0], jnp.float32), h, w, one[1]], -1)
            weights, curvatures = _by_columns(curved, columns)
            return uncertainty.information(total, weights, curvatures, sizes), None

        size = sum(array.size for array in arrays(adapted.modulation).values())
        return jax.lax.scan(add, jnp.zeros((size, size)), (bscans, valid))[0]

    @jax.jit
    def seen(
        adapted: Adapted, deviations: Array, covariance: Array, data: Measurements, i: Array, index: Array
    ) -> Seen:
        def of(columns: Float[Array, "h n 3"]) -> tuple[Array, Array, Array]:
            coords = measurements.coords_of(data, i, columns)
            weights, g = gradient(adapted, data, i, coords)
            laplace = uncertainty.variance(g, uncertainty.at_places(covariance, weights, sizes))
            side = measurements.side_of(data, i)

            def draw(deviation: Array) -> Array:
                codes = with_arrays(adapted.modulation, _moved(arrays(adapted.modulation), deviation))
                values = model.built.learner.bind(adapted.field, codes, side, hyper)(coords)
                return jax.nn.softmax(values.get("segmentation", jnp.zeros((*coords.shape[:2], 1))), -1)

            drawn = jax.lax.map(draw, deviations)
            return laplace.T, jnp.moveaxis(drawn.mean(0), 1, 0), jnp.moveaxis(drawn.sum(1), 1, 0)

        return Seen(*(jnp.moveaxis(part, 0, 1) for part in _by_columns(of, index)))

    return Asker(sizes, informed, seen)


def _by_columns(function: Callable[[Float[Array, "h n k"]], Any], index: Float[Array, "h w k"]) -> Any:
    """What `function` says of columns, leaves [w ...], asked for no more voxels at once than a rendering.

    A B-scan of 496 x 512 at once takes gigabytes for its hidden layers' gradients.
    """
    rows, columns, k = index.shape
    blocks = -(-rows * columns // render.block())

    def of(flat: Float[Array, "n _"]) -> Any:
        return function(jnp.moveaxis(flat.reshape(len(flat), rows, k), 0, 1))

    return points.in_blocks(of, -(-columns // blocks))(jnp.moveaxis(index, 1, 0).reshape(columns, -1))


def _make_respond(
    model: Trained,
    adapted: Adapted,
    codes: Mapping[str, Array],
    sizes: Sizes,
    side: Side | None,
    hyper: Hyper,
) -> Callable[[Array, Array], Array]:
    """The intensity at one point whose place has read these codes: grids of a single cell say the same everywhere."""

    def respond(read: Float[Array, "c"], point: Float[Array, "k"]) -> Float[Array, ""]:
        ends = np.cumsum([sizes[name][1] for name in codes])
        parts = jnp.split(read, ends[:-1])
        one = {
            name: part.reshape(*(1,) * (array.ndim - 1), -1)
            for (name, array), part in zip(codes.items(), parts, strict=True)
        }
        field = model.built.learner.bind(adapted.field, with_arrays(adapted.modulation, one), side, hyper)
        return field(point[None])["intensity"][0, 0]

    return respond


def _moved(codes: Mapping[str, Array], deviation: Float[Array, "m"]) -> dict[str, Array]:
    ends = np.cumsum([array.size for array in codes.values()])
    parts = jnp.split(deviation, ends[:-1])
    return {name: array + part.reshape(array.shape) for (name, array), part in zip(codes.items(), parts, strict=True)}
