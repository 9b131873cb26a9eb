"""From what a doubt is made of to intervals that hold: a log-linear spread, then conformal factors.

    log Var(x) = sum_k b_k phi_k(x)                     b by the Gaussian likelihood of errors of some people,
    |error| <= exp(sum_G a_G[group of x in G]) sd(x)    a by the errors of other people, so that each group of each
                                                        grouping (class, intensity, distance) is covered alike.

phi: hat functions of the predicted intensity and of the distance to what was measured, and logarithms of the parts of
the doubt. The factors are found by setting one group after the other to its quantile until none moves (batch
multivalid conformal prediction: Jung et al., ICLR 2023). Every person's errors count as one: people are exchangeable,
voxels of one person are not (pooled empirical distributions: Dunn, Wasserman and Ramdas, JASA 118 (2023) 2491).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import isotonic_regression, minimize

LEVEL = 0.9  # what an interval is to cover
TINY = 1e-7  # of variances, in [0, 1] squared: a thousandth of a grey level of 8 bits
SWEEPS = 50
FEWEST = 200  # errors that a group needs for a factor of its own
BINS = 20  # of the table from a label's doubt to how often it is wrong

Columns = Mapping[str, Float[np.ndarray, "n"]]
Groups = Mapping[str, Int[np.ndarray, "n"]]


class Basis(NamedTuple):
    """What the spread is a function of."""

    hats: Mapping[str, tuple[float, ...]]  # column -> knots, rising
    logs: tuple[str, ...]  # columns whose logarithm enters
    floor: float  # added before the logarithm


class Spread(NamedTuple):
    basis: Basis
    weights: tuple[float, ...]


def design(basis: Basis, columns: Columns) -> Float[np.ndarray, "n k"]:
    """phi. Hats of one column add up to 1: of all but the first the last... first one is left out."""
    found = []
    for i, (name, knots) in enumerate(basis.hats.items()):
        hats = np.eye(len(knots))[1 if i else 0 :]
        found += [np.interp(columns[name], knots, hat) for hat in hats]
    found += [np.log(columns[name] + basis.floor) for name in basis.logs]
    return np.stack(found, -1)


def log_variance(spread: Spread, columns: Columns) -> Float[np.ndarray, "n"]:
    return design(spread.basis, columns) @ np.array(spread.weights)


def fit_spread(basis: Basis, columns: Columns, error: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"]) -> Spread:
    """The b of greatest weighted likelihood; the problem is convex."""
    phi, square, total = design(basis, columns), error**2 + TINY, weight / weight.sum()

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        eta = phi @ b
        ratio = square * np.exp(-eta)
        return float(total @ (eta + ratio)) + 1e-6 * float(b @ b), phi.T @ (total * (1 - ratio)) + 2e-6 * b

    def hessian(b: np.ndarray) -> np.ndarray:
        return (phi * (total * square * np.exp(-(phi @ b)))[:, None]).T @ phi + 2e-6 * np.eye(phi.shape[1])

    log_square = np.log(square)
    first = np.linalg.lstsq(phi.T @ (phi * total[:, None]) + 1e-6 * np.eye(phi.shape[1]),
                            phi.T @ (total * (log_square + 1.27)), rcond=None)[0]  # fmt: skip
    found = minimize(loss, first, jac=True, hess=hessian, method="trust-exact")
    return Spread(basis, tuple(found.x.tolist()))


def likelihood(log_var: Float[np.ndarray, "n"], error: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"]) -> float:
    """Weighted mean negative log-likelihood, in nats per value, of errors under Gaussians: less is better."""
    each = 0.5 * (log_var + error**2 * np.exp(-log_var) + np.log(2 * np.pi))
    return float(each @ weight / weight.sum())


def quantile(values: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"], level: float) -> float:
    """The least value at or below which `level` of the weight lies."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(reached, level * reached[-1]).clip(max=len(values) - 1)]])


def conformal(
    scores: Float[np.ndarray, "n"], groups: Groups, counts: Mapping[str, int], weight: Float[np.ndarray, "n"]
) -> dict[str, tuple[float, ...]]:
    """Log factors by grouping and group, with which LEVEL of each group's |error| / sd lie within.

    counts: groups of each grouping. One with fewer than FEWEST errors takes the largest factor of its grouping.
    """
    log_score = np.log(scores + 1e-12)
    factors = {name: np.zeros(count) for name, count in counts.items()}
    total = np.zeros(len(scores))
    seen = {name: np.bincount(groups[name], minlength=count) >= FEWEST for name, count in counts.items()}
    for _ in range(SWEEPS):
        largest = 0.0
        for name, seen_groups in seen.items():
            for g in np.flatnonzero(seen_groups):
                mask = groups[name] == g
                move = quantile(log_score[mask] - total[mask], weight[mask], LEVEL)
                factors[name][g] += move
                total[mask] += move
                largest = max(largest, abs(move))
        if largest < 1e-3:
            break
    for name, seen_groups in seen.items():
        factors[name][~seen_groups] = factors[name][seen_groups].max() if seen_groups.any() else 0.0
    return {name: tuple(values.tolist()) for name, values in factors.items()}


def half_width(
    spread: Spread, factors: Mapping[str, tuple[float, ...]], columns: Columns, groups: Groups
) -> Float[np.ndarray, "n"]:
    """Of the interval that covers LEVEL."""
    total = sum(np.array(values)[groups[name]] for name, values in factors.items())
    return np.exp(total + 0.5 * log_variance(spread, columns))


def binned(values: Float[np.ndarray, "*n"], edges: tuple[float, ...]) -> Int[np.ndarray, "*n"]:
    """The number of edges below each value."""
    return np.searchsorted(np.array(edges), values, side="left")


def fit_wrong(
    doubt: Float[np.ndarray, "n"], wrong: Bool[np.ndarray, "n"], weight: Float[np.ndarray, "n"]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(doubts, how often labels of this doubt are wrong), both rising: isotonic regression of means in even bins."""
    order = np.argsort(doubt)
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    places = np.array([np.average(doubt[part], weights=weight[part]) for part in parts])
    shares = np.array([np.average(wrong[part], weights=weight[part]) for part in parts])
    rising = isotonic_regression(shares, weights=np.array([weight[part].sum() for part in parts])).x
    return tuple(places.tolist()), tuple(rising.tolist())


def as_json(value: Any) -> Any:
    """Named tuples as dicts, all the way down."""
    if hasattr(value, "_asdict"):
        return {name: as_json(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: as_json(part) for name, part in value.items()}
    return value


def from_json(value: Any) -> Any:
    """Lists as the tuples they were, all the way down."""
    if isinstance(value, list):
        return tuple(from_json(part) for part in value)
    if isinstance(value, Mapping):
        return {name: from_json(part) for name, part in value.items()}
    return value
