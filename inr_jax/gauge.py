"""The gauge of codes: the field does not change if codes c become c T and the weights W that read them T^-1 W.

An inner step does: it goes down the gradient of the codes as they are written. Where one channel moves an answer a
hundred times as much as another, a step that suits the first hardly moves the second. With the curvature
A = mean over places of J^T J, J = d answer / d code, the gauge T = (A + damping mean(eig A))^(1/2) makes a plain step
in the new codes the damped Gauss-Newton step (A + ...)^-1 g in the old ones, channel by channel, the same in all cells.
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


def whitening(curvatures: dict[str, Params], damping: float) -> dict[str, Params]:
    """T [c, c], symmetric, for every curvature; scaled so that the steepest channel keeps its scale."""

    def root(a: Float[Array, "c c"]) -> Float[Array, "c c"]:
        values, basis = jnp.linalg.eigh(a)
        damped = jnp.maximum(values, 0) + damping * values.mean()
        return (basis * jnp.sqrt(damped / damped.max())) @ basis.T

    return jax.tree.map(root, curvatures)


def change(codes: Modulation, maps: dict[str, Params]) -> Modulation:
    """Codes (of one subject, or a table of them) in the new gauge: c T."""
    return codes | {part: jax.tree.map(lambda c, t: c @ t, codes[part], maps[part]) for part in maps}
