"""The field: its equations against NumPy in float64, what a modulation does to it, and every combination runs."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import hyper

from inr_jax import modulations
from inr_jax.activations import ACTIVATIONS
from inr_jax.encodings import ENCODINGS
from inr_jax.errors import InputError
from inr_jax.networks import fields

PLACES = np.random.default_rng(0).uniform(-1, 1, (30, 4)).astype(np.float32)  # three coordinates and a side value
HYPER = hyper(omega_first=1.0, omega_last=3.0)
MODULATION = {"vector": {"size": 5}, "grid": {"levels": ((2, 3, 4), (3, 4, 2))}, "lowrank": {"rank": 2}}
ENCODING = {
    "identity": {},
    "pi": {},
    "fourier": {"features": 6, "scale": 1.0},
    "hashgrid": {"levels": 3, "features": 2, "log2_size": 6, "coarsest": 2, "finest": 8},
}
DEFAULTS = dict(
    width=12, depth=3, activation="sine", encoding="identity", encodings=ENCODING, residual=False,
    inputs_everywhere=False, axes=(0, 2), read="linear", vector="shift", heads={"intensity": 1, "segmentation": 4},
    intensity="affine", dimensions=3, sides=1, bfloat16=False,
)  # fmt: skip


def random_like(tree, seed=0, scale=0.3):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(scale * random.normal(size=leaf.shape)), tree)


def made(parts=(), **changes):
    """(random params, a random modulation, apply) of a small field."""
    options = DEFAULTS | changes
    init, apply = fields.field(**options)
    modulation = random_like(modulations.zero(parts, MODULATION, layers=options["depth"]), seed=1)
    shapes = jax.eval_shape(init, jax.random.key(0), modulation, HYPER)
    return random_like(shapes, seed=2), modulation, apply


def float64_field(params, modulation, inputs, *, depth, residual=False, inputs_everywhere=False):
    """The equations of the module's docstring for sine layers over plain coordinates, in float64."""
    params, modulation = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, modulation))
    codes = [modulation["vector"]] if "vector" in modulation else []
    if "grid" in modulation:
        levels = jax.tree.map(jnp.float32, modulation["grid"])
        codes.append(
            np.float64(modulations.read_grid(levels, jnp.asarray(inputs[:, :3]), axes=(0, 2), read="linear")[0])
        )
    h = entry = inputs.astype(np.float64)
    for i, omega in enumerate(np.linspace(1, 3, depth)):
        p = params[f"layer_{i}"]
        x = np.concatenate([entry, h], -1) if inputs_everywhere and i else h
        weight = p["weight_0"]
        if "lowrank" in modulation:
            weight = weight + p["low_in"] @ np.diag(modulation["lowrank"][i]) @ p["low_out"]
        shift = sum(code @ p[f"code_{c}"] for c, code in enumerate(codes))
        out = np.sin(omega * (x @ weight + p["bias_0"] + shift))
        h = out + h if residual and i else out
    return {
        "intensity": h @ params["intensity_weight"] + params["intensity_bias"] + 0.5,
        "segmentation": h @ params["segmentation_weight"] + params["segmentation_bias"],
    }


@pytest.mark.parametrize("parts", [(), ("vector",), ("grid",), ("lowrank",), ("vector", "grid", "lowrank")])
@pytest.mark.parametrize("body", [{}, {"residual": True}, {"residual": True, "inputs_everywhere": True}])
def test_field_is_its_equations_in_float64(parts, body):
    params, modulation, apply = made(parts, **body)
    got = apply(params, modulation, jnp.asarray(PLACES), HYPER)
    expected = float64_field(params, modulation, PLACES, depth=3, **body)
    for head, values in expected.items():
        np.testing.assert_allclose(got[head], values, atol=5e-5)


def test_omega_rises_linearly_over_the_layers():
    np.testing.assert_allclose(fields.omegas(HYPER, 5), [1, 1.5, 2, 2.5, 3])
    np.testing.assert_allclose(fields.omegas(HYPER, 1), [1])


@pytest.mark.parametrize(
    ("activation", "encoding", "read", "residual", "inputs_everywhere"),
    [
        # every activation with every encoding; the bodies and ways to read in turn
        (a, e, ("linear", "nearest")[i % 2], bool(i // 2 % 2), bool(i % 3))
        for i, (a, e) in enumerate(product(ACTIVATIONS, ENCODINGS))
    ],
)
def test_every_combination_gives_its_heads_and_finite_gradients(
    activation, encoding, read, residual, inputs_everywhere
):
    params, modulation, apply = made(
        ("vector", "grid", "lowrank"), activation=activation, encoding=encoding, read=read, residual=residual,
        inputs_everywhere=inputs_everywhere, depth=2,
    )  # fmt: skip
    inputs = jnp.asarray(PLACES).reshape(5, 6, 4)

    def total(params, modulation):
        values = apply(params, modulation, inputs, HYPER)
        return sum((v**2).sum() for v in values.values()), values

    (_, values), gradients = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, modulation)
    assert {name: v.shape for name, v in values.items()} == {"intensity": (5, 6, 1), "segmentation": (5, 6, 4)}
    assert all(v.dtype == jnp.float32 for v in values.values())
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert all(np.asarray(g).any() for g in jax.tree.leaves(gradients[1]))  # every code has a say


@pytest.mark.parametrize("part", ["vector", "grid", "lowrank"])
def test_zero_modulation_changes_nothing(part):
    params, modulation, apply = made((part,))
    plain = {name: {k: v for k, v in p.items() if not k.startswith(("code", "low"))} if isinstance(p, dict) else p
             for name, p in params.items()}  # fmt: skip
    zero = jax.tree.map(jnp.zeros_like, modulation)
    without = apply(plain, {}, jnp.asarray(PLACES), HYPER)
    with_zero = apply(params, zero, jnp.asarray(PLACES), HYPER)
    moved = apply(params, modulation, jnp.asarray(PLACES), HYPER)
    for head in without:
        np.testing.assert_allclose(with_zero[head], without[head], atol=1e-5)
        assert np.abs(moved[head] - without[head]).max() > 0.05


def test_a_vector_entering_once_equals_one_tiled_over_the_points():
    """A grid of one cell holds the vector at every point."""
    params, modulation, apply = made(("vector",))
    tiled = {"grid": {"level_0": modulation["vector"][None, None]}}
    for head, values in apply(params, modulation, jnp.asarray(PLACES), HYPER).items():
        np.testing.assert_allclose(apply(params, tiled, jnp.asarray(PLACES), HYPER)[head], values, atol=2e-5)


def test_a_change_of_the_weights_equals_a_field_that_has_them():
    params, _, apply = made()
    change = random_like(params, scale=0.01)
    moved = jax.tree.map(jnp.add, params, change)
    got = apply(params, {"weights": change}, jnp.asarray(PLACES), HYPER)
    for head, values in apply(moved, {}, jnp.asarray(PLACES), HYPER).items():
        np.testing.assert_array_equal(got[head], values)


def test_nearest_read_adds_the_cell_local_coordinates_to_the_inputs():
    params, _, _ = made(("grid",), read="nearest")
    assert params["layer_0"]["weight_0"].shape == (3 + 2 + 1, 12)


def test_hidden_products_in_bfloat16_stay_close_to_float32():
    params, modulation, apply = made(("vector",), width=64)
    _, low = fields.field(**DEFAULTS | {"width": 64, "bfloat16": True})
    exact = apply(params, modulation, jnp.asarray(PLACES), HYPER)["intensity"]
    rounded = low(params, modulation, jnp.asarray(PLACES), HYPER)["intensity"]
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(rounded - exact).max() < 0.1
    np.testing.assert_allclose(rounded, exact, atol=0.2 * float(exact.std()))


@pytest.mark.parametrize(
    ("key", "change", "known"),
    [
        ("model.activation", {"activation": "sinus"}, "sine"),
        ("model.encoding", {"encoding": "hash"}, "hashgrid"),
        ("model.modulation.read", {"read": "cubic"}, "nearest"),
    ],
)
def test_unknown_names_are_refused_with_the_key_and_the_known_ones(key, change, known):
    with pytest.raises(InputError) as caught:
        fields.field(**DEFAULTS | change)
    message = str(caught.value)
    assert message.startswith(f"{key}: ")
    assert known in message
    assert repr(next(iter(change.values()))) in message
    assert "\n" not in message


def test_weights_that_read_a_code_start_in_the_bounds_of_a_layer_or_of_any_linear_map():
    """The largest of 5 x 400 uniform draws is within 1 % of the bound."""
    modulation = modulations.zero(("vector",), MODULATION, layers=3)
    started = {}
    for name in fields.CODE_BOUNDS:
        init, _ = fields.field(**DEFAULTS | {"width": 400, "code_start": name})
        started[name] = init(jax.random.key(0), modulation, HYPER)
    for i, omega in enumerate((1.0, 2.0, 3.0)):
        largest = {name: float(jnp.abs(p[f"layer_{i}"]["code_0"]).max()) for name, p in started.items()}
        assert largest == pytest.approx({"siren": (6 / 5) ** 0.5 / omega, "linear": 5**-0.5}, rel=0.01)
    with pytest.raises(InputError, match=r"model\.modulation\.code_start"):
        fields.field(**DEFAULTS | {"code_start": "zero"})
