"""What methods cost in products (inr_jax/flops.py), a subject's own among them; nothing that is recomputed.

    F = 2 sum(in x out) of the matrices that a point is multiplied with     (layers, what reads a grid, the head)
    V = 2 sum(in x out) of those that a subject is multiplied with once     (what reads a vector)
    a gradient step on codes 2 F, on weights too 3 F a point; on 2 V or 3 V a step in either

A step on the codes goes back through the layers without the gradients of their weights. Sines, sums and reading a grid
are not counted: they are a few per cent of the products at the widths here (tests/test_contest.py).
"""

from inr_jax.flops import Products, flops, products
from inr_jax.types import CHANGES, Modulation, Params


def products_of(field: Params, modulation: Modulation) -> Products:
    """Of what a step on intensities is multiplied with."""
    return products(field, heads=("intensity",), vector="vector" in modulation)


def one_pass(counted: Products, points: int) -> float:
    """Of the values of so many points of a subject."""
    return flops(counted.point, points) + flops(counted.subject, 1)


def gradient_step(counted: Products, modulation: Modulation, points: int) -> float:
    """Of one step on a modulation with so many points."""
    passes = 3 if any(part in CHANGES for part in modulation) else 2
    return passes * one_pass(counted, points)


def decoder_step(counted: Products, points: int) -> float:
    """Of one subject's step of an auto-decoder: codes and weights."""
    return 3 * one_pass(counted, points)


def meta_step(counted: Products, *, steps: int, context: int, points: int) -> float:
    """Of one subject's step through an inner loop: an inner step is 3 passes, its way back twice that."""
    return 9 * steps * one_pass(counted, context) + decoder_step(counted, points)
