"""How a hidden layer is computed: XLA's products and sums, or one fused kernel. The same numbers, up to rounding."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.activations import Activation
from inr_jax.kernels.sine_layer import sine_layer


class Affine(NamedTuple):
    """A branch of the activation: x W + constant + bias, `constant` of the subject alone."""

    weight: Float[Array, "i o"]
    constant: Float[Array, "o"] | float
    bias: Float[Array, "o"]


Shift = Sequence[tuple[Array, Array]]  # codes, [c] of the subject or [*n, c] of every point, and their weights [c, o]
Compute = Callable[[Array, Sequence[Affine], Shift, Activation, Array, Array, bool], Array]


def dot(x: Float[Array, "*n i"], w: Float[Array, "i o"], *, bfloat16: bool) -> Float[Array, "*n o"]:
    """x W in float32, or with bfloat16 factors and float32 accumulation."""
    if not bfloat16:
        return x @ w
    return jnp.matmul(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def by_xla(
    x: Float[Array, "*n i"], branches: Sequence[Affine], shift: Shift, activation: Activation, omega: Array,
    spread: Array, bfloat16: bool,
) -> Float[Array, "*n o"]:  # fmt: skip
    """The activation of x W + constant + bias + sum of codes times weights, product by product."""
    moved = sum(code @ weight for code, weight in shift)
    pre = tuple(
        dot(x, branch.weight, bfloat16=bfloat16) + branch.constant
        + branch.bias  # after what is small: FINER's are large
        + moved
        for branch in branches
    )  # fmt: skip
    return activation.function(pre, omega, spread)


def by_fused(
    x: Float[Array, "*n i"], branches: Sequence[Affine], shift: Shift, activation: Activation, omega: Array,
    spread: Array, bfloat16: bool,
) -> Float[Array, "*n o"]:  # fmt: skip
    """sin(omega (...)) of one branch in one kernel; what is the subject's own enters as part of the bias."""
    ((weight, constant, bias),) = branches
    factors = jnp.bfloat16 if bfloat16 else jnp.float32
    whole = bias + constant + sum(code @ w for code, w in shift if code.ndim == 1)
    inputs = [(x, weight), *((code, w) for code, w in shift if code.ndim > 1)]
    terms = tuple((a.reshape(-1, a.shape[-1]).astype(factors), (omega * w).astype(factors)) for a, w in inputs)
    return sine_layer(terms, omega * whole).reshape(*x.shape[:-1], weight.shape[-1])


KERNELS: dict[str, Compute] = {"xla": by_xla, "fused": by_fused}
FUSED = ("sine",)  # activations that there is a fused kernel of
