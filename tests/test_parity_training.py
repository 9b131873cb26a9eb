"""The reference's training step, to its traces of some steps, one whole B-scan each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from parity import cast, error, read
from toy import ROOT, read_config

from inr_jax import coordinates, measurements, model, population, recipe
from inr_jax.preprocessing import image_frame
from inr_jax.types import Population

RATE = 1e-3
TRACES = [  # (source, precision, limit): the published one was computed in float32
    ("own", "float64", 1e-8),
    ("own", "float32", 1e-4),
    ("published", "float32", 1e-4),
]
ORDER = (2, 0, 1)  # the reference's (row, column, B-scan) as our (B-scan, row, column)


def raw_population(stored) -> Population:
    """The trace's volumes [n, H, W, D] as they are: no normalisation, and all B-scans fitted."""
    volumes = stored["oct_vols"].transpose(0, 3, 1, 2)[..., None].astype(np.float32)
    labels = stored["seg_vols"].transpose(0, 3, 1, 2).astype(int)
    n, D, H, W, _ = volumes.shape
    onto_slo = np.array([[1.0, 0.0, (D - 1) / 2], [0.0, 1.0, (W - 1) / 2]], np.float32)  # 1 mm is a pixel
    names = tuple(f"eye {i}" for i in range(n))
    return Population(
        names=names, people=names, intensity=volumes, valid=np.ones((n, D, H, W), bool), labels=labels,
        spacing=np.ones((n, 3)), offset=np.zeros((n, 3)), measured=np.ones((D, H, W), bool), truth=None,
        truth_labels=None, slo=stored["slo_imgs"], slo_affine=np.stack([onto_slo] * n),
        frames=tuple(image_frame(False) for _ in names), note="",
        classes=tuple(map(str, range(len(stored["segmentation_head.seg_layer.bias"])))),
    )  # fmt: skip


def in_precision(tree, precision):
    """The same arrays, those of floating point in this precision."""
    return jax.tree.map(lambda leaf: leaf.astype(precision) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


@pytest.mark.parametrize(("source", "precision", "limit"), TRACES, indirect=["precision"])
def test_training_steps_give_the_reference_s_losses_and_latents(source, precision, limit):
    stored = read(source, "autodecoder_trace")
    scans, field = raw_population(stored), torch_names.field(stored, stored["latents"].shape[1], ORDER)
    del field["features_weight"], field["features_bias"]
    config = read_config(ROOT / "configs" / "interp_oct_general.py")
    config.model.width = field["layer_0"]["bias_0"].size
    config.model.depth = torch_names.layer_count(stored)
    config.model.modulation.vector.size = stored["latents"].shape[1]
    built = model.build(config, model.Signal.of(scans))
    rates = cast({"rate_field": RATE, "rate_table": RATE}, precision)
    stage = recipe.stages(config)[0]
    stage = stage._replace(hyper=cast(stage.hyper, precision)._replace(**rates))
    state = recipe.initial_state(config, built, len(scans.names))
    assert jax.tree.structure(state.params.field) == jax.tree.structure(field)
    params = state.params._replace(field=cast(field, precision))
    table = {"vector": cast(stored["latents"], precision)}
    state = in_precision(state._replace(params=params, table=table), precision)
    data = measurements.to_device(scans, np.ones(3, np.float32), config.model.extent.to_dict())
    pools = measurements.pools(scans.measured)
    loss = recipe.subject_loss(
        config, stage, built, in_precision(data, precision), pools, scans.measured.shape, stage.hyper
    )
    optimizer = population.outer_optimizer(config.train.clip)

    @jax.jit
    def step(state, visit):
        return population.batch_step(
            loss, state, visit[None], optimizer, stage.learns, stage.hyper, jnp.ones((), precision), jax.random.key(0),
        )  # fmt: skip

    losses = []
    for subject, bscan in stored["order"]:
        state, metrics = step(state, jnp.int32(subject * scans.measured.shape[0] + bscan))
        losses.append(float(metrics["loss"]))
    assert error(losses, stored["losses"]) < limit
    assert error(state.table["vector"], stored["final_latents"]) < limit


def test_coordinates_of_the_reference_end_on_the_outermost_voxels_and_its_b_scans_within_a_tenth():
    shape, spacing = (5, 12, 10), np.array([[0.24, 0.004, 0.012], [0.12, 0.004, 0.012]])
    boxes = coordinates.boxes({"of": "volume", "divide_first": 10.0}, np.ones(3, np.float32), shape, spacing)
    scale, shift = coordinates.index_to_box(shape, spacing, np.zeros((2, 3)), boxes)
    for each, start in zip(scale, shift, strict=True):
        places = [start[axis] + each[axis] * np.arange(n) for axis, n in enumerate(shape)]
        expected = [np.linspace(-1, 1, n) / (10 if axis == 0 else 1) for axis, n in enumerate(shape)]
        for got, want in zip(places, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)
