"""The reference's networks, to its numbers at omega 30: INteRp-OCT, doi 10.1007/978-3-658-47422-5_24.

All sizes are read from the files, so that other fixtures of the same kind can be put through ($INR_JAX_FIXTURES).
"""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from parity import FINER_FLOAT32, agree, cast, error, read
from toy import fixture, hyper

from inr_jax import losses
from inr_jax.networks import fields, modulated_siren

ACTIVATIONS = {"siren": "sine", "wire": "wire", "finer": "finer", "relu": "relu"}
BODIES = ("mlp", "res", "coords", "res_coords")
NAMES = [f"field_{activation}_{body}" for activation in ACTIVATIONS for body in BODIES]


def network(name, params, inputs, latent):
    """(init, apply) of the field that a file's name tells."""
    activation, body = re.fullmatch(r"field_([a-z]+)_([a-z_]+)", name).groups()
    layers = [layer for layer in params if layer.startswith("layer_")]
    return fields.field(
        width=params["layer_0"]["bias_0"].size, depth=len(layers), activation=ACTIVATIONS[activation],
        encoding="identity", encodings={"identity": {}}, residual="res" in body, inputs_everywhere="coords" in body,
        axes=(), read="linear", vector="input", heads=torch_names.sizes(params), intensity="sigmoid",
        dimensions=3, sides=inputs.shape[-1] - 3, bfloat16=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_field_has_the_reference_s_features_heads_losses_and_latent_gradient(source, name, precision):
    stored = read(source, name)
    plain = torch_names.field(stored, stored["latent"].size)
    _, apply = network(name, plain, stored["coords"], stored["latent"])
    params, coords, latent, target = cast((plain, stored["coords"], stored["latent"], stored["target"]), precision)
    numbers = cast(hyper(), precision)
    labels, everywhere = jnp.asarray(stored["onehot"].argmax(-1)), jnp.ones(len(target), precision)

    def loss(latent):
        values = apply(params, {"vector": latent}, coords, numbers)
        terms = {
            "loss_reconstruction": losses.mse(values["intensity"], target, everywhere),
            "loss_segmentation": losses.binary_cross_entropy(values["segmentation"], labels, everywhere),
            "loss_latent": jnp.mean(latent**2),
        }
        total = 5 * terms["loss_reconstruction"] + terms["loss_segmentation"] + terms["loss_latent"]
        return total, (values, terms)

    (total, (values, terms)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(latent)
    assert total.dtype == precision
    outputs = {
        "features": values["features"],
        "reconstruction": values["intensity"],
        "segmentation": jax.nn.softmax(values["segmentation"]),
        "grad_latent": gradient,
    }
    is_finer = "finer" in name and precision == "float32"
    for key, got in (outputs | terms).items():
        assert error(got, stored[key]) < FINER_FLOAT32 if is_finer else agree(got, stored[key], precision), key
    assert agree(total, stored["loss"], precision)


def test_modulated_siren_has_the_reference_s_features_and_latent_gradient(source, precision):
    stored = read(source, "field_modulated_siren")
    plain = torch_names.modulated_siren(stored)
    _, apply = modulated_siren.field(
        width=plain["layer_0_bias"].size, depth=torch_names.layer_count(stored) - 1, encoding="identity",
        encodings={"identity": {}}, heads=torch_names.sizes(plain), intensity="sigmoid", dimensions=3,
        sides=stored["coords"].shape[-1] - 3,
    )  # fmt: skip
    params, coords, latent = cast((plain, stored["coords"], stored["latent"]), precision)
    numbers = cast(hyper(), precision)

    def loss(latent):
        features = apply(params, {"vector": latent}, coords, numbers)["features"]
        return jnp.mean(features**2), features

    (total, features), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(latent)
    for key, got in (("features", features), ("loss", total), ("grad_latent", gradient)):
        assert agree(got, stored[key], precision), key


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_weights_and_biases_of_a_whole_network_start_within_the_published_bounds(activation):
    """The largest of n draws from U(-b, b) is about b: both networks' largest agree up to a few times b / n."""
    stats = json.loads(fixture("init_stats.json").read_text())[activation]
    width, inputs = stats[next(iter(stats))][0]
    depth = 1 + max(int(name.split(".")[1]) for name in stats)
    latent = inputs - 4
    init, _ = fields.field(
        width=width, depth=depth, activation=ACTIVATIONS[activation], encoding="identity", encodings={"identity": {}},
        residual=True, inputs_everywhere=True, axes=(), read="linear", vector="input", heads={"intensity": 1},
        intensity="sigmoid", dimensions=3, sides=1, bfloat16=False,
    )  # fmt: skip
    params = init(jax.random.key(0), {"vector": jnp.zeros(latent)}, hyper())
    for name, (shape, low, high, spread) in stats.items():
        _, i, branch, kind = name.split(".")
        number = ("freqs", "scale").index(branch) if branch != "linear" else 0
        layer = params[f"layer_{i}"]
        leaf = layer[f"{kind}_{number}"]
        if kind == "weight" and i == "0":
            leaf = jnp.concatenate([leaf, layer[f"latent_{number}"]])
        assert leaf.T.shape == tuple(shape), name
        slack = 1e-3 if leaf.size > 1000 else 0.15  # both ends of n draws leave gaps of about b / n, rarely 10 b / n
        np.testing.assert_allclose([leaf.min(), leaf.max()], [low, high], rtol=slack, err_msg=name)
        np.testing.assert_allclose(leaf.std(), spread, rtol=0.02 if leaf.size > 1000 else 0.25, err_msg=name)
