"""Which (subject, B-scan) a step visits, and how its rate falls: epochs of full B-scans, as INteRp-OCT trains.

Visit v of N subjects with B fitted B-scans each is B-scan v % B of subject v // B. Every epoch visits all N B in an
order of its own, drawn from the seed and the epoch alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from inr_jax.types import Key


def steps_per_epoch(count: int, batch: int) -> int:
    """Steps that visit all of `count`, `batch` at a time; the last ones of an epoch begin again where none are left."""
    return -(-count // batch)


def visited(key: Key, step: Int[Array, ""], count: int, batch: int) -> Int[Array, "{batch}"]:
    """What step `step` of a stage visits, numbers below `count`."""
    length = steps_per_epoch(count, batch)
    order = jax.random.permutation(jax.random.fold_in(key, step // length), count)
    return order[(step % length * batch + jnp.arange(batch)) % count]


def cosine(step: Array, steps: int, warmup: int, final: float) -> Float[Array, ""]:
    """Share of its rate a step of a stage learns with: a linear rise over `warmup` steps, a cosine down to `final`."""
    rise = jnp.minimum((step + 1) / (warmup + 1), 1.0)
    return rise * (final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * step / max(steps, 1))))


def exponential(step: Array, length: int, base: float) -> Float[Array, ""]:
    """base^epoch, epochs of `length` steps."""
    return jnp.asarray(base) ** (step // length)
