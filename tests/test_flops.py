"""Counted operations are the products that a point goes through: as jax traces them, and as XLA counts them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from configs import default
from inr_jax import model
from inr_jax.flops import flops, products

SIGNAL = model.Signal(dimensions=3, channels=1, classes=13, slo=True)


def product_flops(jaxpr: Any) -> int:
    """2 n k m of every matrix product in a traced function, those of inner functions included."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((inner, _), _) = equation.params["dimension_numbers"]
            summed = math.prod(equation.invars[0].aval.shape[axis] for axis in inner)
            total += 2 * summed * math.prod(equation.outvars[0].aval.shape)
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inside = getattr(part, "jaxpr", part)
            total += product_flops(inside) if hasattr(inside, "eqns") else 0
    return total


def field_of(width: int, depth: int) -> tuple[Any, Any, Any]:
    """(shapes of the parameters, shapes of the modulation, forward(field, modulation, inputs)) of the default model."""
    config = default.get_config()
    config.model.update({"width": width, "depth": depth})
    built, hyper = model.build(config, SIGNAL), model.hyper_of(config)
    params = jax.eval_shape(built.init, jax.random.key(0), hyper)

    def forward(field: Any, modulation: Any, inputs: jax.Array) -> Any:
        return built.learner.bind(field, modulation, None, hyper)(inputs)

    return params.field, jax.eval_shape(built.modulation, params.start), forward


@pytest.mark.parametrize(("width", "depth", "count"), [(16, 2, 7), (96, 5, 11)])
def test_a_forward_pass_has_the_products_that_are_traced(width, depth, count):
    field, start, forward = field_of(width, depth)
    traced = jax.make_jaxpr(forward)(field, start, jnp.zeros((count, 4)))
    shapes = products(field).point
    assert len(shapes) == 2 * depth + 2
    assert flops(shapes, count) == product_flops(traced.jaxpr)


def test_a_wide_field_s_products_are_nearly_all_that_xla_counts():
    """XLA's count has additions, sines' arguments and the reading of codes, too: a few for each of `width` channels."""
    field, start, forward = field_of(256, 5)
    inputs = jax.ShapeDtypeStruct((512, 4), jnp.float32)
    counted = jax.jit(forward).lower(field, start, inputs).cost_analysis()["flops"]
    assert 1.0 < counted / flops(products(field).point, 512) < 1.1


def test_bare_products_are_what_xla_counts():
    chain = jax.jit(lambda x, a, b: (x @ a) @ b)
    shapes = [(24, 96), (96, 5)]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(64, 24), *shapes]]
    assert chain.lower(*arguments).cost_analysis()["flops"] == flops(shapes, 64)


def test_a_gradient_is_three_passes_and_one_through_it_nine():
    shapes = [(24, 96), (96, 96), (96, 5)]
    weights = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    inputs = jax.ShapeDtypeStruct((64, 24), jnp.float32)

    def loss(weights: list[Any], x: jax.Array) -> jax.Array:
        for w in weights:
            x = jnp.sin(x @ w)
        return (x**2).sum()

    def outer(weights: list[Any], x: jax.Array) -> jax.Array:
        moved = [w - g for w, g in zip(weights, jax.grad(loss)(weights, x), strict=True)]
        return sum((w**2).sum() for w in moved)

    once = product_flops(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(weights, inputs).jaxpr)
    twice = product_flops(jax.make_jaxpr(jax.grad(outer, argnums=(0, 1)))(weights, inputs).jaxpr)
    assert once == flops(shapes, 64, order=1)
    assert twice == pytest.approx(flops(shapes, 64, order=2), rel=0.2)
