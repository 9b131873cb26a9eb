"""Floating-point operations of a model, from the shapes of its products; nothing counted that is recomputed.

    F = 2 n sum(in x out)      n points through the matrices that every point is multiplied with

A gradient costs twice its function (Griewank and Walther, Evaluating Derivatives, SIAM 2008, of products: two for
each), so that a gradient step is 3 F, and one that is differentiated again 9 F.
"""

from typing import NamedTuple

import jax

from inr_jax.types import Params

Shapes = list[tuple[int, int]]
HEADS = ("intensity", "segmentation", "spread")


class Products(NamedTuple):
    """(in, out) of a field's matrices."""

    point: Shapes  # every point is multiplied with these: layers, a grid's code to its shifts, heads
    subject: Shapes  # a subject is, once: what reads a vector, a latent


def products(field: Params, *, heads: tuple[str, ...] = HEADS, vector: bool = False) -> Products:
    """Of arrays or their shapes. heads: those that are asked. vector: whether the first codes are one vector."""
    found = Products([], [])
    for path, leaf in jax.tree_util.tree_leaves_with_path(field):
        names = [part.key for part in path]
        head = names[-1].removesuffix("_weight")
        if leaf.ndim != 2 or "encoding" in names or (head in HEADS and head not in heads):
            continue
        is_once = names[-1].startswith("latent_") or (vector and names[-1] == "code_0")
        (found.subject if is_once else found.point).append(leaf.shape)
    return found


def flops(shapes: Shapes, points: int, *, steps: int = 1, order: int = 0) -> float:
    """3^order F for each of `steps` passes over `points` points.

    order: 0, the field's values (rendering); 1, a gradient (a learned step, an auto-decoder's); 2, a gradient through
    a gradient (an inner step within an outer one).
    """
    return 2.0 * steps * points * 3**order * sum(i * o for i, o in shapes)
