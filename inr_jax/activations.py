"""Activations of neural fields: each a function of its pre-activations, with the weights it wants to start from.

A layer computes `branches` affine maps u of its input and hands them, with its frequency omega and the spread of
Gaussians, to the function.
To add one: a function, an `Activation`, a line in `ACTIVATIONS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Pre = tuple[Float[Array, "..."], ...]  # one array per branch
Bound = Callable[[int, bool, float | Array], float | Array]  # (fan-in, first layer?, omega) -> half-width of U(-b, b)

# pi in two float32 parts: `PI_HIGH` has few bits, so k * PI_HIGH is exact for |k| < 2^13
PI_HIGH = 3.140625
PI_LOW = 9.676535897932795e-4


def _sin_polynomial(r: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """sin(r) for |r| <= pi / 2 as an odd polynomial of degree 11 (minimax, error below 1e-7 in float32)."""
    s = r * r
    p = jnp.asarray(-2.3868346521e-08, r.dtype)
    for coefficient in (2.7525562e-06, -1.9840874e-04, 8.3333310e-03, -1.6666667e-01):
        p = p * s + coefficient
    return r + r * s * p


def _sin_reduced(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    k = jnp.round(x * (1 / jnp.pi))
    r = (x - k * PI_HIGH) - k * PI_LOW
    odd = k - 2 * jnp.floor(0.5 * k)  # sin(r + k pi) = (-1)^k sin(r)
    return _sin_polynomial(r) * (1 - 2 * odd)


@jax.custom_jvp
def fast_sin(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """sin(x) in float32, about ten times as fast as XLA's own on a CPU because it stays inside the fusion.

    Range reduction by a two-part pi, then an odd polynomial: error at most 2e-7 for |x| <= 150. Differentiable any
    number of times: its derivative is `fast_cos`, not that of the polynomial.
    """
    return _sin_reduced(x)


@jax.custom_jvp
def fast_cos(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """cos(x), as `fast_sin`: the reduction is to odd multiples of pi / 2, no bits are lost by adding pi / 2."""
    k = jnp.round(x * (1 / jnp.pi) - 0.5)
    half = k + 0.5
    r = (x - half * PI_HIGH) - half * PI_LOW
    odd = k - 2 * jnp.floor(0.5 * k)  # cos(r + (k + 1/2) pi) = -(-1)^k sin(r)
    return _sin_polynomial(r) * (2 * odd - 1)


fast_sin.defjvp(lambda x, dx: (fast_sin(*x), fast_cos(*x) * dx[0]))
fast_cos.defjvp(lambda x, dx: (fast_cos(*x), -fast_sin(*x) * dx[0]))


def sin(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """sin(x): the fast one for float32 on a CPU, XLA's own elsewhere."""
    if x.dtype != jnp.float32:
        return jnp.sin(x)
    return jax.lax.platform_dependent(x, cpu=fast_sin, default=jnp.sin)


def cos(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """cos(x), as `sin`."""
    if x.dtype != jnp.float32:
        return jnp.cos(x)
    return jax.lax.platform_dependent(x, cpu=fast_cos, default=jnp.cos)


def sine(pre: Pre, omega: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, "..."]:
    """sin(omega u): SIREN, Sitzmann et al., NeurIPS 2020."""
    return sin(omega * pre[0])


@jax.custom_jvp
def gabor(x: Float[Array, "*n"], y: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """cos(x) exp(-y^2). Its rule keeps two factors for the way back, d/dx and d/dy, where autodiff's keeps four."""
    return cos(x) * jnp.exp(-(y**2))


@gabor.defjvp
def _gabor_jvp(at: Pre, along: Pre) -> tuple[Array, Array]:
    (x, y), (dx, dy) = at, along
    value = gabor(x, y)
    return value, -sin(x) * jnp.exp(-(y**2)) * dx - 2 * y * value * dy


def wire(pre: Pre, omega: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, "..."]:
    """cos(omega u) exp(-(spread v)^2): the real Gabor wavelet of WIRE, Saragadam et al., CVPR 2023."""
    return gabor(omega * pre[0], spread * pre[1])


def finer(pre: Pre, omega: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, "..."]:
    """sin(omega (|u| + 1) u), no gradient through (|u| + 1): FINER, Liu et al., CVPR 2024."""
    return sin(omega * jax.lax.stop_gradient(jnp.abs(pre[0]) + 1) * pre[0])


def finer_whole(pre: Pre, omega: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, "..."]:
    """FINER with the gradient through (|u| + 1), too."""
    return sin(omega * (jnp.abs(pre[0]) + 1) * pre[0])


def gaussian(pre: Pre, omega: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, "..."]:
    """exp(-(omega u)^2 / 2): Ramasinghe and Lucey, ECCV 2022; omega is the inverse width."""
    return jnp.exp(-0.5 * (omega * pre[0]) ** 2)


def relu(pre: Pre, omega: Float[Array, ""], spread: Float[Array, ""]) -> Float[Array, "..."]:
    """max(u, 0); neither number is used."""
    return jax.nn.relu(pre[0])


def _siren_weights(fan_in: int, first: bool, omega: float | Array) -> float | Array:
    return 1 / fan_in if first else jnp.sqrt(6 / fan_in) / omega


def _inverse_root(fan_in: int, first: bool, omega: float | Array) -> float | Array:
    return fan_in**-0.5


def _finer_bias(fan_in: int, first: bool, omega: float | Array) -> float | Array:
    return 10.0 if first else fan_in**-0.5


class Activation(NamedTuple):
    """`function(pre, omega, spread)` on `branches` affine maps whose weights and biases start in U(-bound, bound)."""

    function: Callable[[Pre, Array, Array], Array]
    branches: int
    weight_bound: Bound
    bias_bound: Bound


ACTIVATIONS = {
    "sine": Activation(sine, 1, _siren_weights, _inverse_root),
    "wire": Activation(wire, 2, _siren_weights, _inverse_root),
    "finer": Activation(finer, 1, _siren_weights, _finer_bias),
    "finer_whole": Activation(finer_whole, 1, _siren_weights, _finer_bias),
    "gaussian": Activation(gaussian, 1, _inverse_root, _inverse_root),
    "relu": Activation(relu, 1, _inverse_root, _inverse_root),
}
