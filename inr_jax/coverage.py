"""Step sizes for a scan that covers less of the model's box than the scans it has learned from.

A step moves a cell's code by the gradient of the mean loss. Where all points fall in few cells, each of these gets as
many times the gradient as there are cells without any, and steps learned on whole rasters overshoot. Rates of a grid's
level are multiplied by the share of its cells that the scan covers,

    share = sum_i u_i^2 / sum_i m_i^2

m_i being how much of all points cell i is read by, u_i the same of points evenly spread over the box (1 / sum m^2 is
how many cells there are where they count alike).
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inr_jax import measurements, modulations
from inr_jax.measurements import Measurements
from inr_jax.model import Model
from inr_jax.types import MetaParams

Shares = dict[str, Float[Array, "N"]]  # by a grid's level
EVENLY = 256  # places along each axis of the box


def share(cells: tuple[int, ...], places: Float[Array, "n a"]) -> float:
    """The share of a grid's cells that places in [-1, 1] cover, 1 at most."""
    axes = [(np.arange(EVENLY) + 0.5) * 2 / EVENLY - 1] * len(cells)
    evenly = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(cells)), jnp.float32)
    return float(min(1.0, _concentration(cells, evenly) / _concentration(cells, places)))


def _concentration(cells: tuple[int, ...], places: Float[Array, "n a"]) -> float:
    """Sum over cells of the squared share of all reading that is theirs."""

    def read(grid: Array) -> Array:
        return modulations.read_linear(grid, places).mean()

    return float((jax.grad(read)(jnp.zeros((*cells, 1))) ** 2).sum())


def shares(model: Model, axes: Sequence[int], data: Measurements, grid: tuple[int, ...]) -> Shares:
    """The share of every grid's cells that each scan covers; empty where a modulation has no grids.

    axes: of coordinates, those that the grids have. grid: of the scans, (B-scans, rows, A-scans).
    """
    levels: Mapping[str, Array] = model.codes.get("grid", {})
    bscans, _, ascans = grid
    index = np.stack(np.meshgrid(np.arange(bscans), [0], np.arange(ascans), indexing="ij"), -1).reshape(-1, 3)
    scans = range(len(data.scale) if levels else 0)
    places = [measurements.coords_of(data, i, jnp.asarray(index, jnp.float32))[:, jnp.asarray(axes)] for i in scans]
    return {
        name: jnp.asarray([share(level.shape[:-1], each) for each in places], jnp.float32)
        for name, level in levels.items()
    }


def paced(params: MetaParams, of_scan: Mapping[str, Float[Array, ""]]) -> MetaParams:
    """The parameters with which a scan is adapted to, by its `shares`: rates are kept as logarithms."""
    if not of_scan:
        return params
    rates = {name: rate + jnp.log(of_scan[name]) for name, rate in params.rule["grid"].items()}
    return params._replace(rule=params.rule | {"grid": rates})
