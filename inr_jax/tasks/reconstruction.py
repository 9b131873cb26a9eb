"""Intensities and labels at points: OCT with its layers, photographs with their vessels, volumes.

inner = w_intensity L_intensity                             a new scan's labels are unknown
        + w_context L_labels                                or a few of its B-scans have some
outer = w_intensity L_intensity + w_segmentation L_labels   labels wherever the population has them
        or, balanced, of their logarithms                   (losses.by_own_size)
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax import losses
from inr_jax.operators import points
from inr_jax.types import Batch, Coords, Hyper, Values

Terms = tuple[Float[Array, ""], dict[str, Float[Array, ""]]]


def loss(
    field: Callable[[Coords], Values],
    batch: Batch,
    hyper: Hyper,
    *,
    intensity: str,
    segmentation: str | None,
    balance: str = "fixed",
) -> Terms:
    """The weighted sum of both terms over the batch's points, and each of them (PSNR in dB with peak 1).

    intensity, segmentation, balance: keys of losses.INTENSITY, losses.SEGMENTATION and losses.BALANCE; no segmentation:
    the first term alone. SSIM wants a batch that is a patch. Points whose labels are -1 have no segmentation term: its
    value is 0.
    """
    values = points.measure(field, batch.coords)
    mse = losses.mse(values["intensity"], batch.intensity, batch.valid)
    misfit = losses.INTENSITY[intensity](values, batch.intensity, batch.valid)
    balanced = losses.BALANCE[balance]
    total = hyper.intensity * balanced(misfit)
    metrics = {"mse": mse, "psnr": -10 * jnp.log10(mse)}
    if segmentation is not None and "segmentation" in values:
        entropy = losses.SEGMENTATION[segmentation](values["segmentation"], batch.labels, batch.valid)
        total += hyper.segmentation * balanced(entropy)
        metrics |= {segmentation: entropy}
    return total, metrics


def make_losses(
    *, intensity: str, segmentation: str, balance: str = "fixed", context_has_labels: bool = False
) -> tuple[Callable[..., Terms], Callable[..., Terms]]:
    """(inner, outer) of (field, batch, hyper). The inner loss asks for a segmentation only of a context with labels."""
    of = partial(loss, intensity=intensity)

    def inner(field: Callable[[Coords], Values], batch: Batch, hyper: Hyper) -> Terms:
        weighted = hyper._replace(segmentation=jnp.asarray(hyper.context_segmentation))
        return of(field, batch, weighted, segmentation=segmentation if context_has_labels else None)

    return inner, partial(of, segmentation=segmentation, balance=balance)


inner_loss, outer_loss = make_losses(intensity="mse", segmentation="cross_entropy")
