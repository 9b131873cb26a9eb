"""Which outer steps are left out: those whose gradient is far longer than the gradients before it, or not finite.

    taken(n)   n finite  and  log n < m + log r
    m      <-  m + (min(log n, m + log r) - m) / min(k + 1, MEMORY)          k: finite norms seen so far

m is a running mean of the log norm n, r the ratio. What enters it is clipped (Huber, Ann. Math. Statist. 1964): one
long gradient hardly moves it, yet a lasting rise, by a factor f, is followed after MEMORY log(f / r) / log r steps.
The scale of a gradient depends on widths, points and losses, so that no fixed bound serves two models.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MEMORY = 20  # steps


class Guard(NamedTuple):
    """What is known of the gradients of a stage so far."""

    level: Float[Array, ""]  # m
    seen: Int[Array, ""]  # k
    row: Int[Array, ""]  # steps left out since the last one that was taken


def begin() -> Guard:
    """Nothing is known: any finite gradient is taken."""
    return Guard(jnp.zeros(()), jnp.int32(0), jnp.int32(0))


def judge(guard: Guard, norm: Float[Array, ""], ratio: Float[Array, ""] | float) -> tuple[Bool[Array, ""], Guard]:
    """Whether a step with a gradient of this norm is taken, and what is known after it. ratio: r; inf: any finite."""
    is_finite, size = jnp.isfinite(norm), jnp.log(norm)
    most = jnp.where(guard.seen > 0, guard.level + jnp.log(jnp.asarray(ratio)), jnp.inf)
    taken = is_finite & (size < most)
    counts = is_finite & (norm > 0)
    entering = jnp.where(counts, jnp.minimum(size, most), guard.level)
    level = guard.level + (entering - guard.level) / jnp.minimum(guard.seen + 1, MEMORY)
    row = jnp.where(taken, 0, guard.row + 1)
    return taken, Guard(level.astype(guard.level.dtype), guard.seen + counts, row.astype(jnp.int32))
