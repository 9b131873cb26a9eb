"""Parameters stored under the reference's PyTorch names, as ours: linear layers are [out, in] there, [in, out] here."""

import numpy as np

BRANCHES = ("linear", "freqs", "scale")  # WIRE: freqs, then scale; all others: linear


def affine(stored, name):
    """(weight [in, out], bias [out]) of a linear layer."""
    return np.asarray(stored[f"{name}.weight"]).T, np.asarray(stored[f"{name}.bias"])


def heads(stored, width):
    """The heads there are, and one named `features` that answers the last hidden layer itself."""
    found = {"features_weight": np.eye(width), "features_bias": np.zeros(width)}
    for ours, theirs in (
        ("intensity", "reconstruction_head.out_layer"),
        ("segmentation", "segmentation_head.seg_layer"),
    ):
        if f"{theirs}.weight" in stored:
            found[f"{ours}_weight"], found[f"{ours}_bias"] = affine(stored, theirs)
    return found


def sizes(params):
    """name -> channels of the heads of a field."""
    return {name.removesuffix("_bias"): len(leaf) for name, leaf in params.items() if name.endswith("_bias")
            and not name.startswith(("layer_", "modulation_"))}  # fmt: skip


def layer_count(stored):
    prefix = "backbone.hid_layers."
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in stored if name.startswith(prefix))


def field(stored, latent, order=(0, 1, 2)):
    """Parameters of `fields.field`: the first layer's rows beyond the coordinates' are those that read the latent.

    order: which of the reference's coordinates each of ours is, in layers that see them.
    """
    params = {"encoding": {}}
    for i in range(layer_count(stored)):
        layer = {}
        branches = [b for b in BRANCHES if f"backbone.hid_layers.{i}.{b}.weight" in stored]
        for number, branch in enumerate(branches):
            weight, bias = affine(stored, f"backbone.hid_layers.{i}.{branch}")
            layer[f"weight_{number}"] = weight[: len(weight) - latent] if i == 0 else weight
            layer[f"bias_{number}"] = bias
            if i == 0 or len(weight) > bias.size:
                layer[f"weight_{number}"] = np.concatenate([weight[list(order)], layer[f"weight_{number}"][3:]])
            if i == 0:
                layer[f"latent_{number}"] = weight[len(weight) - latent :]
        params[f"layer_{i}"] = layer
    return params | heads(stored, layer["bias_0"].size)


def modulated_siren(stored):
    """Parameters of `modulated_siren.field`, without the last layer and map, which the reference never uses."""
    params = {"encoding": {}}
    for i in range(layer_count(stored) - 1):
        params[f"layer_{i}_weight"], params[f"layer_{i}_bias"] = affine(stored, f"backbone.hid_layers.{i}")
        if i:
            params[f"modulation_{i}_weight"], params[f"modulation_{i}_bias"] = affine(
                stored, f"backbone.mod_layers.{i - 1}"
            )
    return params | heads(stored, params["layer_0_bias"].size)
