"""How sure an adapted field is: a Laplace approximation over its codes, exact for codes that places read linearly.

A place p reads z_p = sum_a A[p, a] c_a of the codes c; a measurement at (p, depth x) is f(x; z_p) plus noise of
variance s^2. With g = df / dz, prior variances t^2 of the codes, and the sum over what was measured,

    precision  L = diag(1 / t^2) + 1 / s^2 sum_p A_p^T (sum_x g g^T) A_p,    Var f(x) = g^T (A_p L^-1 A_p^T) g.

All depths of an A-scan read the same codes, so that the inner sum is one small matrix per A-scan, and no measurement
has to be left out. (MacKay, Neural Computation 4 (1992) 448; Gauss-Newton and linearised answers: Immer et al.,
AISTATS 2021.) Speckle is correlated and the weights that moved with the codes are held still: the result is a scale
that has to be calibrated (calibration.py).
"""

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.types import Key

Reading = Mapping[str, Float[Array, "p cells"]]  # by array of codes: what each of its cells gives a place
Sizes = Mapping[str, int]  # by array of codes: its channels


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


def _slices(sizes: Sizes) -> dict[str, slice]:
    """Where each array's channels stand in what a place reads."""
    names = sorted(sizes)
    ends = accumulate(sizes[name] for name in names)
    return {name: slice(end - sizes[name], end) for name, end in zip(names, ends, strict=True)}


def information(reading: Reading, curvatures: Float[Array, "p c c"], sizes: Sizes) -> Float[Array, "m m"]:
    """sum_p A_p^T (sum_x g g^T) A_p."""
    part = _slices(sizes)

    def block(first: str, second: str) -> Float[Array, "a b"]:
        a, b = reading[first], reading[second]
        between = curvatures[:, part[first], part[second]]
        found = jnp.einsum("pa,pbij->aibj", a, jnp.einsum("pb,pij->pbij", b, between))
        return found.reshape(a.shape[1] * sizes[first], b.shape[1] * sizes[second])

    return jnp.block([[block(first, second) for second in sorted(sizes)] for first in sorted(sizes)])


def posterior(informed: Float[Array, "m m"], prior: Float[Array, "m"], noise: Float[Array, ""] | float) -> Posterior:
    """The codes' Gaussian. prior: their variances before anything was measured; noise: s^2 of a measurement."""
    factor = jnp.linalg.cholesky(informed / noise + jnp.diag(1 / prior))
    half = jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(factor)), lower=True)
    return Posterior(half.T @ half, factor)


def at_places(covariance: Float[Array, "m m"], reading: Reading, sizes: Sizes) -> Float[Array, "p c c"]:
    """A_p L^-1 A_p^T: the covariance of what every place reads."""
    names = sorted(sizes)
    cells = {name: reading[name].shape[1] for name in names}
    starts = dict(zip(names, [sum(cells[n] * sizes[n] for n in names[:i]) for i in range(len(names))], strict=True))

    def block(first: str, second: str) -> Float[Array, "p i j"]:
        rows = slice(starts[first], starts[first] + cells[first] * sizes[first])
        columns = slice(starts[second], starts[second] + cells[second] * sizes[second])
        inner = covariance[rows, columns].reshape(cells[first], sizes[first], cells[second], sizes[second])
        return jnp.einsum("paj,pa->pj", jnp.einsum("pa,aibj->pbij", reading[first], inner).reshape(
            len(reading[first]), cells[second], -1), reading[second]
        ).reshape(-1, sizes[first], sizes[second])  # fmt: skip

    return jnp.concatenate([jnp.concatenate([block(a, b) for b in names], -1) for a in names], -2)


def variance(g: Float[Array, "h p c"], covariances: Float[Array, "p c c"]) -> Float[Array, "h p"]:
    """g^T S_p g of every point."""
    return jnp.einsum("hpi,pij,hpj->hp", g, covariances, g)


def draw(key: Key, factor: Float[Array, "m m"], count: int) -> Float[Array, "count m"]:
    """Deviations of the codes from their mean: L^-1/2 times standard normal numbers."""
    normal = jax.random.normal(key, (len(factor), count))
    return jax.scipy.linalg.solve_triangular(factor, normal, lower=True, trans=1).T
