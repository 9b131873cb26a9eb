"""Activations: the fast sine against float64, and how signals and gradients pass through fresh layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import hyper

from inr_jax import activations
from inr_jax.activations import ACTIVATIONS, fast_cos, fast_sin
from inr_jax.networks import fields

DENSE = np.linspace(-150, 150, 1_000_003).astype(np.float32)
# where the reduction changes its branch, and where the result is smallest
TURNS = np.nextafter(np.float32(np.arange(-95, 96) * np.pi / 2), np.float32([[-np.inf], [0], [np.inf]])).ravel()
PLACES = np.concatenate([DENSE, TURNS])
OMEGA = 30.0
SPREAD = 7.0


@pytest.mark.parametrize(("fast", "exact"), [(fast_sin, np.sin), (fast_cos, np.cos)])
def test_fast_functions_are_within_2e_7_of_float64(fast, exact):
    error = np.abs(np.asarray(jax.jit(fast)(PLACES), np.float64) - exact(PLACES.astype(np.float64)))
    assert error.max() <= 2e-7


def test_fast_sine_stays_exact_to_its_argument_s_rounding_far_out():
    """FINER's first layer has arguments in the thousands: u is up to about 10, and omega (|u| + 1) u is passed."""
    x = np.linspace(-4000, 4000, 200_001).astype(np.float32)
    error = np.abs(np.asarray(jax.jit(fast_sin)(x), np.float64) - np.sin(x.astype(np.float64)))
    assert error.max() <= np.spacing(np.float32(4000)) / 100


@pytest.mark.parametrize("fast", [fast_sin, fast_cos])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_the_fast_functions_are_within_2e_7_of_float64(fast, order):
    derivative = fast
    for _ in range(order):
        derivative = jax.grad(derivative)
    x = PLACES[::50]
    shift = 0 if fast is fast_sin else 1
    exact = np.sin(x.astype(np.float64) + 0.5 * np.pi * (order + shift))
    assert np.abs(np.asarray(jax.vmap(derivative)(x), np.float64) - exact).max() <= 2e-7


def test_third_derivative_of_a_composition_agrees_with_float64():
    x = np.linspace(-1, 1, 501).astype(np.float32)
    third = jax.vmap(jax.grad(jax.grad(jax.grad(lambda v: fast_sin(OMEGA * v)))))(x)
    argument = (np.float32(OMEGA) * x).astype(np.float64)
    np.testing.assert_allclose(np.asarray(third) / OMEGA**3, -np.cos(argument), atol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere XLA's own sine is used")
def test_the_cpu_gets_the_fast_functions():
    x = DENSE[::1000]
    np.testing.assert_array_equal(jax.jit(activations.sin)(x), jax.jit(fast_sin)(x))
    np.testing.assert_array_equal(jax.jit(activations.cos)(x), jax.jit(fast_cos)(x))


def test_half_precision_gets_xla_s_own():
    x = jnp.linspace(-3, 3, 50, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(activations.sin(x), jnp.sin(x))
    np.testing.assert_array_equal(activations.cos(x), jnp.cos(x))


def closed_forms():
    u = np.linspace(-0.3, 0.3, 41)
    v = np.linspace(0.2, -0.1, 41)
    return {
        "sine": ((u,), np.sin(OMEGA * u)),
        "wire": ((u, v), np.cos(OMEGA * u) * np.exp(-((SPREAD * v) ** 2))),
        "finer": ((u,), np.sin(OMEGA * (np.abs(u) + 1) * u)),
        "finer_whole": ((u,), np.sin(OMEGA * (np.abs(u) + 1) * u)),
        "gaussian": ((u,), np.exp(-((OMEGA * u) ** 2) / 2)),
        "relu": ((u,), np.maximum(u, 0)),
    }


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_its_published_formula(name):
    pre, expected = closed_forms()[name]
    assert len(pre) == ACTIVATIONS[name].branches
    got = ACTIVATIONS[name].function(tuple(jnp.float32(p) for p in pre), jnp.float32(OMEGA), jnp.float32(SPREAD))
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_the_gabor_has_the_derivatives_of_its_formula(order):
    def summed(function):
        return lambda x, y: function(x, y).sum()

    def formula(x, y):
        return jnp.cos(x) * jnp.exp(-(y**2))

    def derivatives(function):
        first = jax.grad(summed(function), argnums=(0, 1))
        if order == 1:
            return first
        return jax.grad(lambda x, y: sum(part.sum() for part in first(x, y)), argnums=(0, 1))

    x, y = jnp.linspace(-40, 40, 101), jnp.linspace(2, -1, 101)
    for got, expected in zip(derivatives(activations.gabor)(x, y), derivatives(formula)(x, y), strict=True):
        np.testing.assert_allclose(got, expected, atol=5e-6)


def test_finer_passes_no_gradient_through_its_scale():
    u = 0.07
    got = jax.grad(lambda x: activations.finer((x,), jnp.float32(OMEGA), jnp.float32(SPREAD)))(u)
    scale = OMEGA * (abs(u) + 1)
    np.testing.assert_allclose(got, scale * np.cos(scale * u), rtol=1e-5)


def test_finer_whole_passes_the_gradient_through_its_scale_too():
    u = 0.07
    got = jax.grad(lambda x: activations.finer_whole((x,), jnp.float32(OMEGA), jnp.float32(SPREAD)))(u)
    np.testing.assert_allclose(got, OMEGA * (2 * u + 1) * np.cos(OMEGA * (u + 1) * u), rtol=1e-5)


def layers(name, width=128, depth=6):
    """Outputs of every layer, its weights drawn within its bounds, and the last one's gradient in the places."""
    activation = ACTIVATIONS[name]
    random = np.random.default_rng(0)
    maps = []
    for i in range(depth):
        fan_in = width if i else 3
        weight = float(activation.weight_bound(fan_in, i == 0, OMEGA))
        bias = float(activation.bias_bound(fan_in, i == 0, OMEGA))
        maps.append(
            [
                (random.uniform(-weight, weight, (fan_in, width)), random.uniform(-bias, bias, width))
                for _ in range(activation.branches)
            ]
        )
    maps = jax.tree.map(jnp.float32, maps)

    @jax.jit
    def outputs(x):
        found = [x]
        for branches in maps:
            pre = tuple(found[-1] @ w + b for w, b in branches)
            found.append(activation.function(pre, jnp.float32(OMEGA), jnp.float32(SPREAD)))
        return found[1:]

    x = jnp.float32(random.uniform(-1, 1, (500, 3)))
    return [np.asarray(h) for h in outputs(x)], np.asarray(jax.grad(lambda x: outputs(x)[-1].sum())(x))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fresh_layers_keep_signals_in_scale_gradients_finite_and_places_apart(name):
    """ReLU starts as PyTorch's layers do, whose outputs come together with depth: that is its published start."""
    outputs, gradient = layers(name)
    assert np.isfinite(gradient).all()
    assert (gradient != 0).mean() > 0.5
    for h in outputs:
        assert 0.03 < np.sqrt((h**2).mean()) < 1.1
    assert outputs[-1].std(0).mean() > (1e-4 if name == "relu" else 0.05)


def bounds(name, fan_in, first, omega):
    """Half-widths of (weights, biases) from the papers, and from PyTorch's defaults where those say nothing."""
    siren = 1 / fan_in if first else np.sqrt(6 / fan_in) / omega
    root = fan_in**-0.5
    return {
        "sine": (siren, root),
        "wire": (siren, root),
        **dict.fromkeys(("finer", "finer_whole"), (siren, 10.0 if first else root)),
        "gaussian": (root, root),
        "relu": (root, root),
    }[name]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weights_start_uniform_within_their_published_bounds(name):
    width = 96
    init, _ = fields.field(
        width=width, depth=3, activation=name, encoding="identity", encodings={"identity": {}}, residual=False,
        inputs_everywhere=False, axes=(0,), read="linear", heads={"intensity": 1}, dimensions=3, sides=0,
        bfloat16=False,
    )  # fmt: skip
    params = init(jax.random.key(0), {}, hyper(omega_first=20.0, omega_last=60.0))
    for i, omega in enumerate((20.0, 40.0, 60.0)):
        for kind, bound in zip(("weight", "bias"), bounds(name, width if i else 3, i == 0, omega), strict=True):
            for branch in range(ACTIVATIONS[name].branches):
                values = np.abs(params[f"layer_{i}"][f"{kind}_{branch}"])
                assert 0.93 * bound < values.max() <= bound * (1 + 1e-6)
                np.testing.assert_allclose(values.mean(), bound / 2, rtol=0.2)


def test_a_sweep_may_vary_the_spread_of_wire():
    """A batch of spreads in one call, each as alone; no other activation takes notice of it."""

    def answer(name, spread):
        init, apply = fields.field(
            width=8, depth=2, activation=name, encoding="identity", encodings={"identity": {}}, residual=False,
            inputs_everywhere=False, axes=(0,), read="linear", heads={"intensity": 1}, dimensions=2, sides=0,
            bfloat16=False,
        )  # fmt: skip
        params = init(jax.random.key(0), {}, hyper())
        return apply(params, {}, jnp.linspace(-1, 1, 20).reshape(10, 2), hyper()._replace(spread=spread))["intensity"]

    spreads = jnp.float32([0.0, 3.0, 10.0])
    for name in ACTIVATIONS:
        swept = jax.vmap(lambda spread, name=name: answer(name, spread))(spreads)
        np.testing.assert_allclose(swept, [answer(name, spread) for spread in spreads], atol=1e-6)
        apart = [float(np.abs(a - b).max()) for a, b in zip(swept[1:], swept, strict=False)]
        assert (min(apart) > 1e-3) == (name == "wire")
        assert max(apart) == 0 or name == "wire"
