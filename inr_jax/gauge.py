"""The gauge of codes: the field does not change if codes c become c T and the weights W that read them T^-1 W.

An inner step does: it goes down the gradient of the codes as they are written. Where one channel moves an answer a
hundred times as much as another, a step that suits the first hardly moves the second. With the curvature
A = mean over places of J^T J, J = d answer / d code, the gauge T = (A + damping mean(eig A))^(1/2) makes a plain step
in the new codes the damped Gauss-Newton step (A + ...)^-1 g in the old ones, channel by channel, the same in all cells.

What a population knows of codes is their covariance. As that of an eye's grid is taken to be a Kronecker product, en
face by channel, C of the channels makes a gauge, too: T = C^(-1/2), in which all channels vary alike. The factor en
face mixes cells, which no gauge of channels does. Covariances are shrunk to a multiple of the identity: Ledoit and
Wolf, J. Multivariate Analysis, 2004.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.types import Modulation, Params

KINDS = ("vector", "grid")  # codes that enter the field linearly


def channels(codes: Modulation) -> dict[str, Params]:
    """Zeros [c] for every array of codes [..., c] that has a gauge."""
    kinds = {part: leaves for part, leaves in codes.items() if part in KINDS}
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[-1]), kinds)


def curvature(answer: Callable[[Modulation], Float[Array, "n"]], codes: Modulation) -> dict[str, Params]:
    """J^T J / n [c, c] for every array of codes: how n answers move with a change of a channel that all cells share."""

    def moved(change: dict[str, Params]) -> Float[Array, "n"]:
        parts = {part: jax.tree.map(jnp.add, codes[part], change[part]) for part in change}
        return answer(codes | parts)

    jacobian = jax.jacfwd(moved)(channels(codes))
    return jax.tree.map(lambda j: j.T @ j / j.shape[0], jacobian)


def shrunk(samples: Float[Array, "n p"], count: Float[Array, ""] | float) -> Float[Array, "p p"]:
    """The covariance of centred samples, `count` of them, shrunk as suits independent ones; rows of zeros are none.

    S = X'X / n,   mu = tr S / p,   (1 - rho) S + rho mu I,   rho = min(1, sum_k |x_k x_k' - S|^2 / n^2 / |S - mu I|^2)
    """
    s = samples.T @ samples / count
    identity = jnp.trace(s) / len(s) * jnp.eye(len(s))
    spread = ((samples**2).sum(-1) ** 2).sum() / count**2 - (s**2).sum() / count
    far = ((s - identity) ** 2).sum()
    rho = jnp.where(far > 0, jnp.minimum(spread / jnp.maximum(far, jnp.finfo(far.dtype).tiny), 1), 1)
    return (1 - rho) * s + rho * identity


def _centred(rows: Float[Array, "N *m"], learned: Float[Array, "N"]) -> Float[Array, "N *m"]:
    weights = learned.reshape(-1, *(1,) * (rows.ndim - 1))
    return (rows - (weights * rows).sum(0) / learned.sum()) * weights


def covariance(table: Modulation, learned: Float[Array, "N"]) -> dict[str, Params]:
    """C [c, c] of the channels of every array of codes, over subjects and cells. learned: 1 for subjects that count."""

    def of(rows: Float[Array, "N *m"]) -> Float[Array, "c c"]:
        samples = _centred(rows, learned).reshape(-1, rows.shape[-1])
        return shrunk(samples, learned.sum() * len(samples) / len(rows))

    return {part: jax.tree.map(of, leaves) for part, leaves in table.items() if part in KINDS}


def whitening(curvatures: dict[str, Params], damping: float) -> dict[str, Params]:
    """T [c, c], symmetric, for every curvature or other metric; scaled so that the steepest channel keeps its scale."""

    def root(a: Float[Array, "c c"]) -> Float[Array, "c c"]:
        values, basis = jnp.linalg.eigh(a)
        damped = jnp.maximum(values, 0) + damping * values.mean()
        return (basis * jnp.sqrt(damped / damped.max())) @ basis.T

    return jax.tree.map(root, curvatures)


# T T' by curvature and covariance, and whether it is damped
METRICS: dict[str, tuple[Callable[[Array, Array], Array], bool]] = {
    "curvature": (lambda a, c: a, True),
    "covariance": (lambda a, c: jnp.linalg.inv(c), False),
}


def maps(by: str, curvatures: dict[str, Params], covariances: dict[str, Params], damping: float) -> dict[str, Params]:
    """T [c, c] of every array of codes, as `by` of METRICS has it."""
    metric, is_damped = METRICS[by]
    return whitening(jax.tree.map(metric, curvatures, covariances), damping if is_damped else 0.0)


def change(codes: Modulation, maps: dict[str, Params]) -> Modulation:
    """Codes (of one subject, or a table of them) in the new gauge: c T."""
    return codes | {part: jax.tree.map(lambda c, t: c @ t, codes[part], maps[part]) for part in maps}
