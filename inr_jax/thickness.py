"""Thickness of layers in every A-scan, and how sure a mean of it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from inr_jax import metrics, surfaces

RETINA = "retina"  # from the first surface to the last, lesions included
LEAST = 0.75  # of a sector that must be known for its mean to stand for it


class Thickness(NamedTuple):
    """Of layers in every A-scan."""

    names: tuple[str, ...]  # K, the last RETINA
    um: Float[np.ndarray, "K P W"]  # nan: not estimable
    half: Float[np.ndarray, "K P W"] | None  # um, half of an interval of the level `level`; None: not known
    level: float | None


def of_labels(
    labels: Int[np.ndarray, "P H W"], classes: Sequence[str], row_mm: float,
    *, half: Float[np.ndarray, "P C W"] | None = None, level: float | None = None,
    known: Bool[np.ndarray, "P W"] | None = None,
) -> Thickness:  # fmt: skip
    """Of every layer, by the rows that bear it (metrics.thickness), and of the whole retina.

    half: of every label's interval, um. Half the retina's interval is sqrt(sum_k half_k^2), as if its layers' errors
    were independent; where two share a border they cancel, so that it is rather too wide. known: A-scans of which
    anything can be said.
    """
    layers = surfaces.layers_of(classes)
    each = [metrics.thickness(labels, (label,), row_mm) for label in layers]
    surface = surfaces.of_labels(labels, layers)
    um = np.stack([*each, (surface[-1] - surface[0]) * row_mm * surfaces.UM])
    if known is not None:
        um = np.where(known, um, np.nan)
    names = (*(classes[label] for label in layers), RETINA)
    if half is None:
        return Thickness(names, um, None, None)
    own = np.moveaxis(half, 1, 0)[layers]
    return Thickness(names, um, np.stack([*own, np.sqrt((own**2).sum(axis=0))]), level)


def deviation_of_mean(
    weights: Float[np.ndarray, " n"], deviations: Float[np.ndarray, " n"], at: Float[np.ndarray, "n 2"],
    length: float = np.inf,
) -> float:  # fmt: skip
    """The standard deviation (or half of an interval) of a weighted mean, by those of its parts:

        s^2 = sum_ij w_i w_j s_i s_j exp(-|p_i - p_j| / length)

    with places p and correlation length in mm. inf: all errors rise and fall together, s = sum_i |w_i| s_i, and no
    other correlation gives more; 0: they are independent, s^2 = sum_i w_i^2 s_i^2.
    """
    parts = np.abs(weights) * deviations
    if np.isinf(length):
        return float(parts.sum())
    if length == 0:
        return float(np.sqrt((parts**2).sum()))
    total = 0.0
    for first in range(0, len(parts), 512):
        block = slice(first, first + 512)
        apart = np.linalg.norm(at[block, None] - at[None], axis=-1)
        total += float(parts[block] @ np.exp(-apart / length) @ parts)
    return float(np.sqrt(total))
