"""Products of a field counted from the shapes of its arrays; nothing that is recomputed.

    F = 2 sum(in x out) of the matrices that a point is multiplied with     (layers, what reads a grid, the head)
    V = 2 sum(in x out) of those that a subject is multiplied with once     (what reads a vector)
    a gradient step on codes 2 F, on weights too 3 F a point; on 2 V or 3 V a step in either

A step on the codes goes back through the layers without the gradients of their weights. Sines, sums and reading a grid
are not counted: they are a few per cent of the products at the widths here (tests/test_contest.py).
"""

from typing import NamedTuple

import jax

from inr_jax.types import CHANGES, Modulation, Params


class Products(NamedTuple):
    """Flops of a forward pass."""

    point: float
    subject: float


def products(field: Params, modulation: Modulation, heads: tuple[str, ...] = ("intensity",)) -> Products:
    """Of arrays or their shapes. heads: those that are asked."""
    point = subject = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(field):
        names = [part.key for part in path]
        if leaf.ndim != 2 or "encoding" in names:
            continue
        flops = 2.0 * leaf.shape[0] * leaf.shape[1]
        reads_vector = names[-1] == "code_0" and "vector" in modulation
        if reads_vector or names[-1].startswith("latent_"):
            subject += flops
        elif names[0].startswith("layer_") or names[-1].removesuffix("_weight") in heads:
            point += flops
    return Products(point, subject)


def gradient_step(counted: Products, modulation: Modulation, points: int) -> float:
    """Of one step on a modulation with so many points."""
    passes = 3 if any(part in CHANGES for part in modulation) else 2
    return passes * (points * counted.point + counted.subject)


def decoder_step(counted: Products, points: int) -> float:
    """Of one subject's step of an auto-decoder: codes and weights."""
    return 3 * (points * counted.point + counted.subject)


def meta_step(counted: Products, *, steps: int, context: int, points: int) -> float:
    """Of one subject's step through an inner loop: an inner step is 3 passes, its way back twice that."""
    return 9 * steps * (context * counted.point + counted.subject) + decoder_step(counted, points)
