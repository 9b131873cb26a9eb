"""The last layer in closed form: ridge regression of what a field leaves, on its own last hidden layer.

    d* = argmin_d  sum_i v_i |r_i - d' [h_i, 1]|^2 + lambda |d|^2  =  (A + lambda I)^-1 [H 1]' V r
    A = [H 1]' V [H 1],    r = y - f(x)

where v_i is 1 for a valid measurement, f the field with the head it had, and d the head's change. With noise of
variance s^2 and a prior N(0, s^2 / lambda) of every weight's change, d* is the posterior mean and s^2 (A + lambda I)^-1
the posterior covariance (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3). Its derivatives are
those of a linear solve, so that the layers below are learned for it, and lambda too: Bertinetto et al., ICLR 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.types import Batch, Field, Modulation, Params

HEAD = ("intensity_weight", "intensity_bias")


class Posterior(NamedTuple):
    """Of the change of a head of C channels on w hidden units; the bias is the last row."""

    mean: Float[Array, "w+1 C"]
    precision: Float[Array, "w+1 w+1"]  # times the variance of the noise; the same for every channel
    noise: Float[Array, "C"]  # variance of what is still left


def _with_one(hidden: Float[Array, "*n w"]) -> Float[Array, "*n w+1"]:
    return jnp.concatenate([hidden, jnp.ones_like(hidden[..., :1])], -1)


def solve(
    hidden: Float[Array, "n w"], left: Float[Array, "n C"], valid: Float[Array, "n"], penalty: Float[Array, ""]
) -> Posterior:
    """The posterior of the head's change, from what is left at n points. penalty: lambda, above 0."""
    inputs = _with_one(hidden)
    weighted = inputs * valid[:, None]
    precision = inputs.T @ weighted + penalty * jnp.eye(inputs.shape[-1])
    mean = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(precision), weighted.T @ left)
    still = valid[:, None] * (left - inputs @ mean) ** 2
    return Posterior(mean, precision, still.sum(0) / jnp.maximum(valid.sum(), 1))


def variance(posterior: Posterior, hidden: Float[Array, "*n w"]) -> Float[Array, "*n C"]:
    """Variance of the answer at places of this hidden layer, that of the noise not counted."""
    inputs = _with_one(hidden)
    factor = jax.scipy.linalg.cho_factor(posterior.precision)
    solved = jax.scipy.linalg.cho_solve(factor, inputs.reshape(-1, inputs.shape[-1]).T).T.reshape(inputs.shape)
    return (inputs * solved).sum(-1, keepdims=True) * posterior.noise


def last_layer(rule: Params, field: Field, modulation: Modulation, batch: Batch) -> Modulation:
    """The modulation with the head solved for on a batch. rule["ridge"]: log lambda; field: tells `hidden`, too."""
    values = field(batch.coords)
    hidden = values["hidden"].reshape(-1, values["hidden"].shape[-1])
    left = (batch.intensity - values["intensity"]).reshape(len(hidden), -1)
    mean = solve(hidden, left, batch.valid.reshape(-1), jnp.exp(rule["ridge"])).mean
    change = dict(zip(HEAD, (mean[:-1], mean[-1]), strict=True))
    return modulation | {"head": jax.tree.map(jnp.add, change, modulation["head"]) if "head" in modulation else change}
