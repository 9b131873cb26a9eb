"""Intensities and labels at points: OCT with its layers, photographs with their vessels, volumes.

inner = w_intensity MSE                            a new scan's labels are unknown: -1
outer = w_intensity MSE + w_segmentation CE        labels wherever the population has them
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax import losses
from inr_jax.operators import points
from inr_jax.types import Batch, Coords, Hyper, Values

Terms = tuple[Float[Array, ""], dict[str, Float[Array, ""]]]


def outer_loss(field: Callable[[Coords], Values], batch: Batch, hyper: Hyper) -> Terms:
    """The weighted sum of both terms over the batch's points, and each of them (PSNR in dB with peak 1)."""
    values = points.measure(field, batch.coords)
    mse = losses.mse(values["intensity"], batch.intensity, batch.valid)
    total = hyper.intensity * mse
    metrics = {"mse": mse, "psnr": -10 * jnp.log10(mse)}
    if "segmentation" in values:
        entropy = losses.cross_entropy(values["segmentation"], batch.labels, batch.valid)
        total += hyper.segmentation * entropy
        metrics |= {"cross_entropy": entropy}
    return total, metrics


def inner_loss(field: Callable[[Coords], Values], batch: Batch, hyper: Hyper) -> Terms:
    """The same on what a new scan offers. Context batches are drawn with labels -1, so that their term is 0."""
    return outer_loss(field, batch, hyper)
