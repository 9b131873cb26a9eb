"""Floating-point operations of a model, from the shapes of its products; nothing counted that is recomputed.

    F = 2 n sum(in x out)      n points through the matrices that every point is multiplied with

A gradient costs twice its function (Griewank and Walther, Evaluating Derivatives, SIAM 2008, of products: two for
each), so that a gradient step is 3 F, and one that is differentiated again 9 F.
"""

import jax

from inr_jax.types import Params

Shapes = list[tuple[int, int]]


def product_shapes(field: Params) -> Shapes:
    """(in, out) of the matrices every point is multiplied with: layers, a grid's code to its shifts, heads.

    A latent's matrix is multiplied with once for all points.
    """
    leaves = jax.tree_util.tree_leaves_with_path(field)
    names = [(jax.tree_util.keystr(path), leaf.shape) for path, leaf in leaves if leaf.ndim == 2]
    return [shape for name, shape in names if "encoding" not in name and "latent" not in name]


def flops(shapes: Shapes, points: int, *, steps: int = 1, order: int = 0) -> float:
    """3^order F for each of `steps` passes over `points` points.

    order: 0, the field's values (rendering); 1, a gradient (a learned step, an auto-decoder's); 2, a gradient through
    a gradient (an inner step within an outer one).
    """
    return 2.0 * steps * points * 3**order * sum(i * o for i, o in shapes)
