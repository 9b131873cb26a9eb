"""Whose scans are compared: phantom populations or folds of real ones, as measured or with a noise-free context."""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from inr_jax import data, measurements, sweeps
from inr_jax.measurements import Measurements, Pools
from inr_jax.types import Population

SHIFTED = "shifted"  # trained on population 0, scored on eyes of another appearance
CONTEXTS = ("noisy", "noise-free")


class Scans(NamedTuple):
    """A population, on the device too, in the box of a model."""

    population: Population
    data: Measurements
    pools: Pools

    @property
    def grid(self) -> tuple[int, ...]:
        return self.population.measured.shape


def source(population: str) -> str:
    """The population that is learned from."""
    return "0" if population == SHIFTED else population


def changes(where: str, population: str) -> dict[str, object]:
    """The config keys of one population: a seed of the phantom, or a fold of `where`."""
    number = int(source(population))
    if where == "phantom":
        return {"data.name": "phantom_oct", "data.phantom_oct.seed": number}
    return {"data.name": "interp_oct", "data.path": where, "data.interp_oct.fold": number}


def load(config: ConfigDict, population: str, split: str) -> Population:
    """The scans that are scored. Shifted ones are of the same people as population 0's."""
    if population != SHIFTED:
        return data.load(config.data, split)
    train, validation, _ = config.data.phantom_oct.people
    moved = {"data.phantom_oct.variant": SHIFTED}
    if split == "validation":  # the loader gives test people another appearance, and nobody else
        moved["data.phantom_oct.people"] = (train - 1, 1, validation)
    return data.load(sweeps.configured(config, moved).data, "test")


def noise_free(population: Population) -> Population:
    """The same scans measured without noise and motion, every voxel valid: what a perfect instrument would offer."""
    assert population.truth is not None, "a noise-free context needs scans whose truth is known"
    labels = population.labels if population.truth_labels is None else population.truth_labels
    return population._replace(intensity=population.truth, valid=np.ones_like(population.valid), labels=labels)


def in_context(population: Population, context: str) -> Population:
    return noise_free(population) if context == CONTEXTS[1] else population


def contexts(population: Population) -> tuple[str, ...]:
    """Those there are: real scans have no noise-free version."""
    return CONTEXTS if population.truth is not None else CONTEXTS[:1]


def first_of_people(population: Population, count: int) -> Population:
    """The first scan of each of the first `count` people, all scans for 0."""
    if not count:
        return population
    keep = [population.people.index(person) for person in dict.fromkeys(population.people)][:count]
    per_scan = {
        name: tuple(value[i] for i in keep) if isinstance(value, tuple) else value[keep]
        for name, value in population._asdict().items()
        if name not in ("measured", "classes", "note") and value is not None
    }
    return population._replace(**per_scan)


def on_device(population: Population, half: np.ndarray, config: ConfigDict) -> Scans:
    placed = measurements.to_device(population, half, config.model.extent.to_dict())
    return Scans(population, placed, measurements.pools(population.measured, held_out=config.fit.held_out))
