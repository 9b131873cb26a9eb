"""Scans that were made ready one by one, as one population: what can be adapted to at once."""

import itertools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from inr_jax.types import Population

OF_ALL = ("measured", "classes", "note")  # what a population knows of all of its scans at once


def alike(population: Population) -> Hashable:
    """What populations that can be `joined` have in common: shapes of their scans, what was measured, classes."""
    each = (getattr(population, name) for name in Population._fields if name not in OF_ALL)
    shapes = tuple(values.shape[1:] if isinstance(values, np.ndarray) else values is None for values in each)
    return shapes, population.measured.tobytes(), population.classes


def joined(populations: Sequence[Population]) -> Population:
    """The scans of populations that are `alike` as one population, in their order."""

    def values(name: str) -> Any:
        each = [getattr(population, name) for population in populations]
        if name in OF_ALL or each[0] is None:
            return each[0]
        return np.concatenate(each) if isinstance(each[0], np.ndarray) else tuple(itertools.chain(*each))

    return Population(*map(values, Population._fields))
