"""The fused sine layer: Pallas' interpreter against XLA and float64, its derivatives, and its lowering for a GPU."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fields import HYPER, PLACES, made

from inr_jax.errors import InputError
from inr_jax.kernels import sine_layer

fused = sine_layer.differentiable(partial(sine_layer.fused, interpret=True))
plain = sine_layer.differentiable(sine_layer.plain)


def layer(n, inner, width, dtype=jnp.float32):
    """Terms and a bias whose u has a standard deviation of about 2."""
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    terms = tuple(
        (draw(n, k).astype(dtype), (draw(k, width) * (4 / k / len(inner)) ** 0.5).astype(dtype)) for k in inner
    )
    return terms, draw(width)


def float64(terms, bias):
    return sum(np.float64(x) @ np.float64(w) for x, w in terms) + np.float64(bias)


@pytest.mark.parametrize(("n", "inner", "width"), [(200, (96, 24), 96), (128, (256,), 256), (5, (3,), 7)])
def test_the_kernel_gives_sine_and_cosine_of_the_sum_whatever_the_sizes(n, inner, width):
    terms, bias = layer(n, inner, width)
    s, c = sine_layer.fused(terms, bias, names=("sin", "cos"), interpret=True)
    u = float64(terms, bias)
    np.testing.assert_allclose(s, np.sin(u), atol=3e-6)
    np.testing.assert_allclose(c, np.cos(u), atol=3e-6)


def test_factors_in_bfloat16_are_summed_in_float32():
    """Of products that are exact, a sum in bfloat16 would lose what is below 2^-8 of it."""
    terms, bias = layer(130, (96, 24), 40, jnp.bfloat16)
    (s,) = sine_layer.fused(terms, bias, names=("sin",), interpret=True)
    assert s.dtype == jnp.float32
    np.testing.assert_allclose(s, np.sin(float64(terms, bias)), atol=3e-6)


def energy(apply, terms, bias):
    return (apply(terms, bias) ** 3).sum()


def inner_step(apply, terms, bias):
    """A function of the gradient, as an outer loop has it."""
    gradient = jax.grad(partial(energy, apply), argnums=(0, 1))(terms, bias)
    return sum(jnp.sum(jnp.sin(g)) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("function", [energy, inner_step])
def test_gradients_and_gradients_of_gradients_are_those_of_xla_s_own_sines(function):
    terms, bias = layer(20, (8, 3), 6)
    own = lambda terms, bias: jnp.sin(bias + sum(x @ w for x, w in terms))  # noqa: E731
    expected = jax.grad(partial(function, own), argnums=(0, 1))(terms, bias)
    for apply in (fused, plain):
        got = jax.jit(jax.grad(partial(function, apply), argnums=(0, 1)))(terms, bias)
        for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4 * float(jnp.abs(b).max()))


def test_forward_derivatives_are_those_of_xla_s_own_sines():
    terms, bias = layer(20, (8, 3), 6)
    own = lambda bias: jnp.sin(bias + sum(x @ w for x, w in terms))  # noqa: E731
    _, expected = jax.jvp(own, (bias,), (jnp.ones(6),))
    _, got = jax.jvp(partial(fused, terms), (bias,), (jnp.ones(6),))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_subjects_with_weights_of_their_own_are_batched():
    terms, bias = layer(40, (8, 3), 6)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), (terms, bias))
    got = jax.vmap(fused)(*batch)
    for i in range(2):
        own, shift = jax.tree.map(lambda leaf, i=i: leaf[i], batch)
        np.testing.assert_allclose(got[i], np.sin(float64(own, shift)), atol=1e-5)


def for_gpu(function, *arguments):
    """The program as it is lowered for an NVIDIA GPU."""
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_kernel_is_lowered_for_a_gpu_and_not_for_a_cpu(dtype):
    terms, bias = layer(256, (96, 24), 96, dtype)
    for function, kernels in ((sine_layer.sine_layer, 1), (jax.grad(partial(energy, sine_layer.sine_layer)), 1)):
        assert for_gpu(function, terms, bias).count("@__gpu$xla.gpu.triton") == kernels
        assert "triton" not in jax.jit(function).lower(terms, bias).as_text()


@pytest.mark.parametrize("parts", [(), ("vector",), ("grid",), ("vector", "grid", "lowrank")])
def test_a_field_of_fused_layers_is_the_field(parts):
    params, modulation, apply = made(parts)
    _, _, other = made(parts, kernel="fused")
    inputs = jnp.asarray(PLACES).reshape(5, 6, 4)
    for head, values in apply(params, modulation, inputs, HYPER).items():
        np.testing.assert_allclose(other(params, modulation, inputs, HYPER)[head], values, atol=2e-5)


def test_a_field_of_fused_layers_runs_all_but_the_first_in_the_kernel_on_a_gpu():
    params, modulation, apply = made(("grid",), kernel="fused", depth=4, bfloat16=True)
    text = for_gpu(apply, params, modulation, jnp.asarray(PLACES), HYPER)
    assert text.count("@__gpu$xla.gpu.triton") == 3


@pytest.mark.parametrize("change", [{"kernel": "cuda"}, {"kernel": "fused", "activation": "relu"}])
def test_a_kernel_that_does_not_exist_is_refused_by_name(change):
    with pytest.raises(InputError, match=r"model\.kernel: expected .* found .*(cuda|fused)"):
        made(**change)
