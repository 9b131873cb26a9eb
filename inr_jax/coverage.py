"""Step sizes for a scan that covers less of the model's box than the scans it has learned from.

A step moves a cell's code by the gradient of the mean loss. Where all points fall in few cells, each of these gets as
many times the gradient as there are cells without any, and steps learned on whole rasters overshoot. Rates of a grid's
level are multiplied by the share of its cells that the scan covers,

    share = sum_i u_i^2 / sum_i m_i^2

m_i being how much of all points cell i is read by, u_i the same of points evenly spread over the box (1 / sum m^2 is
how many cells there are where they count alike).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inr_jax import measurements, modulations
from inr_jax.trained import Trained
from inr_jax.types import MetaParams, Population

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


def paced(model: Trained, population: Population) -> MetaParams:
    """The parameters with which a population of one scan is adapted to: rates of grids by what it covers."""
    if "grid" not in model.built.codes:
        return model.params
    data = measurements.to_device(population, model.half, model.config.model.extent.to_dict())
    bscans, _, ascans = population.measured.shape
    index = np.stack(np.meshgrid(np.arange(bscans), [0], np.arange(ascans), indexing="ij"), -1).reshape(-1, 3)
    axes = jnp.asarray(model.config.model.modulation.axes)
    places = measurements.coords_of(data, 0, jnp.asarray(index, jnp.float32))[:, axes]
    levels: Mapping[str, Array] = model.built.codes["grid"]
    shares = {name: share(level.shape[:-1], places) for name, level in levels.items()}
    rates = {name: model.params.rule["grid"][name] + float(np.log(shares[name])) for name in levels}
    return model.params._replace(rule=model.params.rule | {"grid": rates})
