"""How sure an adapted field is: a Laplace approximation over its codes, exact for codes that places read linearly.

A place p reads z_p = sum_a A[p, a] c_a of the codes c; a measurement at (p, depth x) is f(x; z_p) plus noise of
variance s^2. With g = df / dz, prior variances t^2 of the codes, and the sum over what was measured,

    precision  L = diag(1 / t^2) + 1 / s^2 sum_p A_p^T (sum_x g g^T) A_p,    Var f(x) = g^T (A_p L^-1 A_p^T) g.

All depths of an A-scan read the same codes, a few cells of each array, so that the inner sum is one small matrix per
A-scan, every place touches few numbers of L, and no measurement has to be left out. (MacKay, Neural Computation 4
(1992) 448; Gauss-Newton and linearised answers: Immer et al., AISTATS 2021.) Speckle is correlated and the weights that
moved with the codes are held still: the result is a scale that has to be calibrated (calibration.py).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.linalg import lapack

from inr_jax.types import Key

Sizes = Mapping[str, tuple[int, int]]  # by array of codes: its cells and its channels


class Read(NamedTuple):
    """What places read of one array of codes: k of its cells, and how much of each."""

    cell: Int[Array, "p k"]
    weight: Float[Array, "p k"]


Reading = Mapping[str, Read]  # by array of codes


class Posterior(NamedTuple):
    """Gaussian over all codes, arrays one after the other in the order of their names, cell by cell."""

    covariance: Float[Array, "m m"]
    factor: Float[Array, "m m"]  # lower Cholesky factor of the precision


def sensitivity(
    respond: Callable[[Float[Array, "c"], Float[Array, "k"]], Float[Array, ""]],
    codes: Float[Array, "p c"],
    coords: Float[Array, "h p k"],
) -> Float[Array, "h p c"]:
    """g: how the answer at every point moves with the codes that its place has read."""
    one = jax.grad(respond)
    return jax.vmap(lambda row: jax.vmap(one)(codes, row))(coords)


def curvature(g: Float[Array, "h p c"], valid: Float[Array, "h p"]) -> Float[Array, "p c c"]:
    """sum_x g g^T of every place, over its valid points."""
    return jnp.einsum("hpi,hpj,hp->pij", g, g, valid)


def _numbers(reading: Reading, sizes: Sizes) -> tuple[Int[Array, "p n"], Float[Array, "p n"], Int[Array, "n"]]:
    """Of all n numbers that a place reads: which of the codes each is, its weight, and which channel it goes into."""
    index, weight, channel, first, begin = [], [], [], 0, 0
    for name, (cells, channels) in sorted(sizes.items()):
        read, each = reading[name], jnp.arange(channels)
        count = read.cell.shape[1]
        index.append((first + read.cell[..., None] * channels + each).reshape(-1, count * channels))
        weight.append(jnp.repeat(read.weight, channels, axis=1))
        channel.append(jnp.tile(begin + each, count))
        first, begin = first + cells * channels, begin + channels
    return jnp.concatenate(index, 1), jnp.concatenate(weight, 1), jnp.concatenate(channel)


def information(
    total: Float[Array, "m m"], reading: Reading, curvatures: Float[Array, "p c c"], sizes: Sizes
) -> Float[Array, "m m"]:
    """total + sum_p A_p^T (sum_x g g^T) A_p."""
    index, weight, channel = _numbers(reading, sizes)
    each = weight[:, :, None] * weight[:, None, :] * curvatures[:, channel][:, :, channel]
    return total.at[index[:, :, None], index[:, None, :]].add(each)


def posterior(informed: Float[Array, "m m"], prior: Float[Array, "m"], noise: Float[Array, ""] | float) -> Posterior:
    """The codes' Gaussian. prior: their variances before anything was measured; noise: s^2 of a measurement."""
    factor, failed = lapack.spotrf(np.asarray(informed / noise + jnp.diag(1 / prior)), lower=1, clean=1)
    assert not failed, "a prior of finite variances makes the precision positive"
    lower, _ = lapack.spotri(factor, lower=1)  # in half of the operations of a product of inverse factors
    return Posterior(jnp.asarray(np.tril(lower) + np.tril(lower, -1).T), jnp.asarray(factor))


def at_places(covariance: Float[Array, "m m"], reading: Reading, sizes: Sizes) -> Float[Array, "p c c"]:
    """A_p L^-1 A_p^T: the covariance of what every place reads."""
    index, weight, channel = _numbers(reading, sizes)
    each = weight[:, :, None] * weight[:, None, :] * covariance[index[:, :, None], index[:, None, :]]
    into = jax.nn.one_hot(channel, sum(channels for _, channels in sizes.values()))
    return jnp.einsum("pij,ic,jd->pcd", each, into, into)


def variance(g: Float[Array, "h p c"], covariances: Float[Array, "p c c"]) -> Float[Array, "h p"]:
    """g^T S_p g of every point."""
    return jnp.einsum("hpi,pij,hpj->hp", g, covariances, g)


def draw(key: Key, factor: Float[Array, "m m"], count: int) -> Float[Array, "count m"]:
    """Deviations of the codes from their mean: L^-1/2 times standard normal numbers."""
    normal = jax.random.normal(key, (len(factor), count))
    return jax.scipy.linalg.solve_triangular(factor, normal, lower=True, trans=1).T
