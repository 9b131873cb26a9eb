"""A sine layer as one kernel: the products, the shift and the sine, without a pass through memory between them.

    u = x_1 W_1 + x_2 W_2 + ... + b        y = sin(u)

The terms are a hidden layer's input and weights (times omega), and the codes that are read at a point with theirs.
Derivatives are products around one more kernel, which gives both (s, c) = (sin u, cos u):

    dy = c du,    ds = c du,    dc = -s du,    du = sum_i (dx_i W_i + x_i dW_i) + db

so that the rules are closed: a gradient of a gradient of ... is of the same kind. XLA on a GPU leaves product, shift
and sine in separate passes, of which each reads and writes [n, width] in float32. Where there is no GPU the same rules
hold around plain JAX. Pallas: the JAX authors, 2023; its Triton lowering.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from inr_jax.activations import cos, sin

Terms = tuple[tuple[Float[Array, "n _"], Float[Array, "_ m"]], ...]  # float32, or bfloat16 factors
Outputs = tuple[Float[Array, "n m"], ...]

ROWS, COLUMNS, INNER = 128, 128, 64  # of the tiles that a program multiplies
LEAST = 16  # the shortest side of a tile that tensor cores take
FUNCTIONS: dict[str, Callable[[Array], Array]] = {"sin": jnp.sin, "cos": jnp.cos}
PLAIN: dict[str, Callable[[Array], Array]] = {"sin": sin, "cos": cos}


def _tile(size: int, most: int) -> int:
    """A power of two, as Triton wants it."""
    return min(max(pl.next_power_of_2(size), LEAST), most)


def _padded(x: Float[Array, "a b"], rows: int, columns: int) -> Float[Array, "c d"]:
    """Zeros up to multiples of a tile's sides."""
    return jnp.pad(x, ((0, -x.shape[0] % rows), (0, -x.shape[1] % columns)))


def _kernel(*refs: Any, terms: int, names: tuple[str, ...]) -> None:
    """One tile of u, then of every function of it. refs: x_1, W_1, x_2, W_2, ..., b, outputs."""
    bias, outputs = refs[2 * terms], refs[2 * terms + 1 :]
    u = jnp.zeros(outputs[0].shape, jnp.float32) + bias[...]
    for x, w in zip(refs[0 : 2 * terms : 2], refs[1 : 2 * terms : 2], strict=True):
        inner = _tile(x.shape[1], INNER)

        def add(k: Array, total: Array, x: Any = x, w: Any = w, inner: int = inner) -> Array:
            part = pl.ds(k * inner, inner)
            return total + jnp.dot(x[:, part], w[part, :], preferred_element_type=jnp.float32)

        u = jax.lax.fori_loop(0, x.shape[1] // inner, add, u)
    for name, out in zip(names, outputs, strict=True):
        out[...] = FUNCTIONS[name](u)


def fused(terms: Terms, bias: Float[Array, "m"], *, names: tuple[str, ...], interpret: bool = False) -> Outputs:
    """The functions `names` of u, float32, by one kernel. interpret: as Pallas' interpreter does it, on any device."""
    n, m = terms[0][0].shape[0], bias.shape[0]
    rows, columns = _tile(n, ROWS), _tile(m, COLUMNS)
    arguments, specs = [], []
    for x, w in terms:
        inner = _tile(x.shape[1], INNER)
        arguments += [_padded(x, rows, inner), _padded(w, inner, columns)]
        depth = arguments[-2].shape[1]
        specs += [pl.BlockSpec((rows, depth), lambda i, j: (i, 0)), pl.BlockSpec((depth, columns), lambda i, j: (0, j))]
    padded = jnp.pad(bias[None], ((0, 0), (0, -m % columns)))
    tall, wide = arguments[0].shape[0], padded.shape[1]
    found = pl.pallas_call(
        partial(_kernel, terms=len(terms), names=names),
        out_shape=[jax.ShapeDtypeStruct((tall, wide), jnp.float32)] * len(names),
        grid=(tall // rows, wide // columns),
        in_specs=[*specs, pl.BlockSpec((1, columns), lambda i, j: (0, j))],
        out_specs=[pl.BlockSpec((rows, columns), lambda i, j: (i, j))] * len(names),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=3),
        interpret=interpret,
        name="sine_layer",
    )(*arguments, padded)
    return tuple(out[:n, :m] for out in found)


def plain(terms: Terms, bias: Float[Array, "m"], *, names: tuple[str, ...]) -> Outputs:
    """The same by XLA: products of the factors' type, summed in float32."""
    u = bias + sum(jnp.matmul(x, w, preferred_element_type=jnp.float32) for x, w in terms)
    return tuple(PLAIN[name](u) for name in names)


def by_device(terms: Terms, bias: Float[Array, "m"], *, names: tuple[str, ...]) -> Outputs:
    """By the kernel on an NVIDIA GPU, by XLA elsewhere."""
    return jax.lax.platform_dependent(
        terms, bias, cuda=partial(fused, names=names), default=partial(plain, names=names)
    )


def _along(terms: Terms, moved: Terms, bias: Float[Array, "m"]) -> Float[Array, "n m"]:
    """du. Products give the factors' type (XLA sums them in float32), so that those of the way back are as fast."""
    return bias + sum((dx @ w + x @ dw).astype(jnp.float32) for (x, w), (dx, dw) in zip(terms, moved, strict=True))


def differentiable(values: Callable[..., Outputs]) -> Callable[[Terms, Float[Array, "m"]], Float[Array, "n m"]]:
    """sin(u) by an implementation of `values(terms, bias, names=...)`, with the module's rules for its derivatives."""

    @jax.custom_jvp
    def sine(terms: Terms, bias: Array) -> Array:
        return values(terms, bias, names=("sin",))[0]

    @jax.custom_jvp
    def sine_and_cosine(terms: Terms, bias: Array) -> Outputs:
        return values(terms, bias, names=("sin", "cos"))

    def sine_jvp(at: tuple, along: tuple) -> tuple[Array, Array]:
        s, c = sine_and_cosine(*at)
        return s, c * _along(at[0], *along)

    def sine_and_cosine_jvp(at: tuple, along: tuple) -> tuple[Outputs, Outputs]:
        s, c = sine_and_cosine(*at)
        du = _along(at[0], *along)
        return (s, c), (c * du, -s * du)

    sine.defjvp(sine_jvp)
    sine_and_cosine.defjvp(sine_and_cosine_jvp)
    return sine


sine_layer = differentiable(by_device)
