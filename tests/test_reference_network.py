"""The reference's networks: how they start, what a change of gauge leaves as it is, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import hyper

from inr_jax.errors import InputError
from inr_jax.networks import fields, modulated_siren

WIDTH, DEPTH, LATENT, CLASSES = 10, 3, 5, 4
RANDOM = np.random.default_rng(0)
PLACES = RANDOM.uniform(-1, 1, (20, 4))
CODE = RANDOM.normal(size=LATENT)
HYPER = hyper(omega_first=3.0, omega_last=3.0)  # low: what is compared is not rounding
SHARED = dict(
    width=WIDTH, depth=DEPTH, encoding="identity", encodings={"identity": {}}, intensity="sigmoid", dimensions=3,
    sides=1, heads={"intensity": 1, "segmentation": CLASSES},
)  # fmt: skip


def made(parts):
    """(random params, apply) of a small field with a latent as input."""
    init, apply = fields.field(
        **SHARED, activation="sine", residual=False, inputs_everywhere=False, axes=(0, 2), read="linear",
        vector="input", bfloat16=False,
    )  # fmt: skip
    codes = {"vector": jnp.zeros(LATENT), "grid": {"level_0": jnp.zeros((2, 2, 3))}}
    return noise(init(jax.random.key(0), {part: codes[part] for part in parts}, HYPER)), apply


def noise(tree, scale=0.2):
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.float32(scale * random.normal(size=leaf.shape)), tree)


def test_modulated_siren_starts_within_its_bounds_and_without_biases():
    init, _ = modulated_siren.field(**SHARED | {"width": 64})
    params = init(jax.random.key(0), {"vector": jnp.zeros(LATENT)}, hyper(omega_first=30.0, omega_last=30.0))
    for name, inputs in (("layer_1", 64), ("modulation_1", LATENT)):
        bound = np.sqrt(6 / max(inputs, 64 if name == "layer_1" else 128)) / 30
        np.testing.assert_allclose(np.abs(params[f"{name}_weight"]).max(), bound, rtol=0.02)
        assert not params[f"{name}_bias"].any()
    np.testing.assert_allclose(np.abs(params["layer_0_weight"]).max(), 1 / 4, rtol=0.02)


def test_rows_for_the_latent_start_in_the_bound_of_the_whole_first_layer():
    init, _ = fields.field(
        **SHARED | {"width": 256}, activation="sine", residual=False, inputs_everywhere=False, axes=(0, 2),
        read="linear", vector="input", bfloat16=False,
    )  # fmt: skip
    layer = init(jax.random.key(0), {"vector": jnp.zeros(60)}, HYPER)["layer_0"]
    for name in ("weight_0", "latent_0"):
        np.testing.assert_allclose(np.abs(layer[name]).max(), 1 / 64, rtol=0.01)
    np.testing.assert_allclose(np.abs(layer["bias_0"]).max(), 1 / 8, rtol=0.05)


@pytest.mark.parametrize("parts", [("vector",), ("vector", "grid")])
def test_a_change_of_gauge_leaves_a_field_with_a_latent_input_as_it_is(parts):
    params, apply = made(parts)
    codes = noise({"vector": jnp.zeros(LATENT), "grid": {"level_0": jnp.zeros((2, 2, 3))}})
    codes = {part: codes[part] for part in parts}
    maps = {"vector": noise(jnp.zeros((LATENT, LATENT))), "grid": {"level_0": noise(jnp.zeros((3, 3)), 1.0)}}
    maps = {part: maps[part] for part in parts}
    moved = jax.tree.map(lambda code, t: code @ t, codes, maps)
    before = apply(params, codes, jnp.float32(PLACES), HYPER)
    after = apply(fields.change_gauge(params, maps), moved, jnp.float32(PLACES), HYPER)
    for head in before:
        np.testing.assert_allclose(after[head], before[head], atol=2e-4)


def test_a_change_of_gauge_leaves_a_modulated_siren_as_it_is():
    init, apply = modulated_siren.field(**SHARED)
    params, code = noise(init(jax.random.key(0), {"vector": jnp.zeros(LATENT)}, HYPER), 0.5), jnp.float32(CODE)
    maps = {"vector": noise(jnp.zeros((LATENT, LATENT)))}
    before = apply(params, {"vector": code}, jnp.float32(PLACES), HYPER)
    moved = {"vector": code @ maps["vector"]}
    after = apply(modulated_siren.change_gauge(params, maps), moved, jnp.float32(PLACES), HYPER)
    for head in before:
        np.testing.assert_allclose(after[head], before[head], atol=5e-4)


@pytest.mark.parametrize(
    ("key", "change"),
    [("model.modulation.vector_enters", {"vector": "inputs"}), ("model.intensity", {"intensity": "tanh"})],
)
def test_unknown_ways_to_enter_and_to_answer_are_refused(key, change):
    options = SHARED | dict(
        activation="sine", residual=False, inputs_everywhere=False, axes=(0, 2), read="linear", vector="input",
        bfloat16=False,
    )  # fmt: skip
    with pytest.raises(InputError, match=key):
        fields.field(**options | change)
