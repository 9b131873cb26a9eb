"""Losses: differentiable, pure, each a mean over the points of one subject.

To add one that a config can name: a line in INTENSITY, of (a field's values, target, weights), or in SEGMENTATION, of
(logits, labels, weights).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from inr_jax.types import Values

LOG_LEAST = -100.0
LOG_REACH = 4.0  # of a bounded logarithm to either side
LOG_VARIANCE = -4.0  # where a field starts: an SD of 0.14 of the range
LOG_SHAPE = 3.0  # 20 looks
LEAST_TERM = 1e-6  # of a loss that is divided by its size
LEAST_MEAN = 1e-3  # of a gamma: what a sigmoid may fall below


def weighted_mean(values: Float[Array, "*n"], weights: Float[Array, "*n"]) -> Float[Array, ""]:
    """sum(w v) / sum(w), 0 where every weight is 0."""
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1e-6)


def mse(
    prediction: Float[Array, "*n C"], target: Float[Array, "*n C"], weights: Float[Array, "*n"]
) -> Float[Array, ""]:
    """Mean squared error over points and channels."""
    return weighted_mean(((prediction - target) ** 2).mean(-1), weights)


def cross_entropy(
    logits: Float[Array, "*n K"], labels: Int[Array, "*n"], weights: Float[Array, "*n"]
) -> Float[Array, ""]:
    """-log softmax(logits)[label] in nats, over points whose label is known (>= 0)."""
    known = weights * (labels >= 0)
    log_p = jax.nn.log_softmax(logits, -1)
    chosen = jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
    return weighted_mean(-chosen, known)


def binary_cross_entropy(
    logits: Float[Array, "*n K"], labels: Int[Array, "*n"], weights: Float[Array, "*n"]
) -> Float[Array, ""]:
    """-[t log p + (1 - t) log(1 - p)] of every class's p = softmax(logits), logs not below -100.

    A mean over the classes and the points whose label is known (>= 0). INteRp-OCT, Kepp et al. 2025.
    """
    t = labels[..., None] == jnp.arange(logits.shape[-1])
    log_p = jax.nn.log_softmax(logits, -1)
    rest = 1 - jnp.exp(log_p)
    is_left = rest > 0  # log(0) is kept out of the branch that is not taken: its gradient would be NaN
    log_rest = jnp.where(is_left, jnp.log(jnp.where(is_left, rest, 1.0)), LOG_LEAST)
    each = jnp.maximum(jnp.where(t, log_p, log_rest), LOG_LEAST)
    return weighted_mean(-each.mean(-1), weights * (labels >= 0))


def _gaussian_window(size: int, sigma: float) -> np.ndarray:
    x = np.arange(size) - (size - 1) / 2
    window = np.exp(-0.5 * (x / sigma) ** 2)
    return window / window.sum()


def _band(size: int, window: np.ndarray) -> Float[np.ndarray, "{size} {size}"]:
    """The matrix that convolves a line of `size` values, zeros outside, with a symmetric window."""
    reach = len(window) // 2
    return sum(weight * np.eye(size, k=k - reach) for k, weight in enumerate(window))


def _blur(image: Float[Array, "H W"], window: np.ndarray) -> Float[Array, "H W"]:
    """Separable convolution, zeros outside: a product from either side, which a CPU is faster at than convolving."""
    rows, columns = (jnp.asarray(_band(size, window), image.dtype) for size in image.shape)
    return jnp.linalg.multi_dot((rows, image, columns), precision="highest")  # variances are small differences


def ssim(prediction: Float[Array, "H W"], target: Float[Array, "H W"]) -> Float[Array, ""]:
    """Structural similarity, Wang et al. 2004: 11 x 11 Gaussian window of sigma 1.5, zero padding, peak 1."""
    window = _gaussian_window(11, 1.5)
    c1, c2 = 0.01**2, 0.03**2
    mu_p, mu_t = _blur(prediction, window), _blur(target, window)
    var_p = _blur(prediction**2, window) - mu_p**2
    var_t = _blur(target**2, window) - mu_t**2
    cov = _blur(prediction * target, window) - mu_p * mu_t
    return ((2 * mu_p * mu_t + c1) * (2 * cov + c2) / ((mu_p**2 + mu_t**2 + c1) * (var_p + var_t + c2))).mean()


def combined(prediction: Float[Array, "H W"], target: Float[Array, "H W"]) -> Float[Array, ""]:
    """MSE + 0.1 (1 - SSIM) of one B-scan."""
    return ((prediction - target) ** 2).mean() + 0.1 * (1 - ssim(prediction, target))


def of_image(
    loss: Callable[[Float[Array, "H W"], Float[Array, "H W"]], Float[Array, ""]],
) -> Callable[[Float[Array, "*n C"], Float[Array, "*n C"], Float[Array, "*n"]], Float[Array, ""]]:
    """A loss of one image as one of a patch [H, W, C], the mean over its channels; places of weight 0 count as right.

    Raises ValueError on loose points, which have no neighbours.
    """

    def of_patch(
        prediction: Float[Array, "*n C"], target: Float[Array, "*n C"], weights: Float[Array, "*n"]
    ) -> Float[Array, ""]:
        if prediction.ndim != 3:
            raise ValueError(f"SSIM: expected a patch [H, W, C]; found loose points, shape {prediction.shape}")
        shown = jnp.where(weights[..., None] > 0, prediction, target)
        return jax.vmap(loss, in_axes=-1)(shown, target).mean()

    return of_patch


def of_mean(
    loss: Callable[[Float[Array, "*n C"], Float[Array, "*n C"], Float[Array, "*n"]], Float[Array, ""]],
) -> Callable[[Values, Float[Array, "*n C"], Float[Array, "*n"]], Float[Array, ""]]:
    """A loss of the intensities alone as one of all that a field answers."""
    return lambda values, target, weights: loss(values["intensity"], target, weights)


def bounded(answer: Float[Array, "*n C"], centre: float) -> Float[Array, "*n C"]:
    """The logarithm that the head `spread` tells: 0 means `centre`, and none is further off than LOG_REACH."""
    return centre + LOG_REACH * jnp.tanh(answer / LOG_REACH)


def heteroscedastic(values: Values, target: Float[Array, "*n C"], weights: Float[Array, "*n"]) -> Float[Array, ""]:
    """-log N(target; intensity, v) in nats, v = exp(bounded(spread)) of every place: Kendall & Gal, NeurIPS 2017."""
    log_v = bounded(values["spread"], LOG_VARIANCE)
    squares = (target - values["intensity"]) ** 2
    return weighted_mean(0.5 * (log_v + squares * jnp.exp(-log_v) + math.log(2 * math.pi)).mean(-1), weights)


def gamma(values: Values, target: Float[Array, "*n C"], weights: Float[Array, "*n"]) -> Float[Array, ""]:
    """-log Gamma(target; mean m, shape k) in nats: speckle of k looks, whose SD is m / sqrt(k); Goodman, JOSA 1976.

        k (log(m / k) + t / m) + log Gamma(k) - (k - 1) log t,   m = intensity > 0, k = exp(bounded(spread))

    Over targets t > 0 alone: a density has none at 0, where an instrument cuts its range off.
    """
    is_positive = target > 0
    log_k, m = bounded(values["spread"], LOG_SHAPE), jnp.maximum(values["intensity"], LEAST_MEAN)
    k, t = jnp.exp(log_k), jnp.where(is_positive, target, 1.0)
    each = k * (jnp.log(m) - log_k + t / m) + jax.lax.lgamma(k) - (k - 1) * jnp.log(t)
    return weighted_mean(each, weights[..., None] * is_positive)


INTENSITY: dict[str, Callable[[Values, Array, Array], Array]] = {
    "mse": of_mean(mse),
    "ssim": of_mean(of_image(lambda p, t: 1 - ssim(p, t))),
    "combined": of_mean(of_image(combined)),
    "heteroscedastic": heteroscedastic,
    "gamma": gamma,
}
NEED_PATCHES = ("ssim", "combined")
LIKELIHOODS = ("heteroscedastic", "gamma")  # these want the head `spread`, with a channel for each of the intensities
NEED_POSITIVE = ("gamma",)


def by_own_size(term: Float[Array, ""]) -> Float[Array, ""]:
    """log(term): its gradient is the term's, divided by the term. 0, of nothing known, has no gradient.

    Homoscedastic weights e^-s (Kendall, Gal & Cipolla, CVPR 2018) that are always at their optimum:
    min over s of e^-s L + s = log L + 1.
    """
    return jnp.log(term + LEAST_TERM)


BALANCE: dict[str, Callable[[Array], Array]] = {"fixed": lambda term: term, "own size": by_own_size}
SEGMENTATION = {"cross_entropy": cross_entropy, "binary_cross_entropy": binary_cross_entropy}
