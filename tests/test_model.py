"""The model as its config describes it: what is refused, where it starts, and how the SLO enters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import CONFIGS, hyper, make_tiny, read_config

from inr_jax import losses, model
from inr_jax.errors import InputError
from inr_jax.types import Batch, Side

OCT = model.Signal(dimensions=3, channels=1, classes=13, slo=True)
PHOTOGRAPH = model.Signal(dimensions=2, channels=3, classes=2, slo=False)


def tiny(**changes):
    config = make_tiny(read_config(next(p for p in CONFIGS if p.stem == "default")), steps=2)
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    ("signal", "changes", "said"),
    [
        (
            OCT,
            {"model.modulation.parts": ("grid", "vektor")},
            "model.modulation.parts: expected some of .* found vektor",
        ),
        (OCT, {"model.modulation.parts": ()}, "model.modulation.parts: .* found none"),
        (
            OCT,
            {"model.modulation.axes": (0, 3)},
            r"model.modulation.axes: expected some of \(0, 1, 2\); found \(0, 3\)",
        ),
        (PHOTOGRAPH, {}, r"model.modulation.axes: expected some of \(0, 1\); found \(0, 2\)"),
        (OCT, {"model.modulation.grid.levels": ((2, 2, 2, 4),)}, r"grid.levels: .* 2 axes .* found \(2, 2, 2, 4\)"),
        (OCT, {"model.activation": "sin"}, "model.activation: .* found 'sin'"),
        (OCT, {"loss.intensity": "gamma"}, "model.intensity: expected sigmoid with .* gamma.* found 'affine'"),
        (
            OCT,
            {"loss.intensity": "heteroscedastic", "loss.balance": "own size"},
            "loss.balance: expected fixed with .* heteroscedastic.* found 'own size'",
        ),
        (
            OCT,
            {"model.modulation.parts": ("grid", "nuisance")},
            r"adapt\.residual\.length: expected 0\.0 with nuisance",
        ),
        (
            PHOTOGRAPH,
            {"model.modulation.parts": ("vector", "nuisance")},
            r"model\.modulation\.parts: expected no nuisance for images",
        ),
        (OCT, {"loss.balance": "even"}, "loss.balance: expected one of .* found 'even'"),
        (OCT, {"rule.per": "layer"}, "rule.per: expected one of leaf, channel, element; found 'layer'"),
    ],
)
def test_a_config_that_makes_no_model_is_refused_naming_the_key(signal, changes, said):
    with pytest.raises(InputError, match=said) as caught:
        model.build(tiny(**changes), signal).init(jax.random.key(0), hyper())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("intensity", "head", "has_spread"),
    [("mse", "affine", False), ("heteroscedastic", "affine", True), ("gamma", "sigmoid", True)],
)
def test_a_likelihood_alone_has_the_head_spread_with_a_channel_for_each_intensity(intensity, head, has_spread):
    changes = {"model.intensity": head, "loss.intensity": intensity, "model.modulation.axes": (0, 1)}
    field = jax.eval_shape(model.build(tiny(**changes), PHOTOGRAPH).init, jax.random.key(0), hyper()).field
    assert ("spread_weight" in field) == has_spread
    if has_spread:
        assert field["spread_weight"].shape == field["intensity_weight"].shape


@pytest.mark.parametrize("per", ["leaf", "element"])
def test_the_rule_starts_with_the_configured_step_sizes(per):
    built = model.build(tiny(**{"rule.per": per}), OCT)
    params = jax.eval_shape(built.init, jax.random.key(0), hyper())
    codes = params.start["grid"]["level_0"].shape
    assert params.rule["grid"]["level_0"].shape == (2, *(codes if per == "element" else ()))
    assert jax.tree.structure(params.rule["weights"]) == jax.tree.structure(params.field)


def test_the_slo_enters_where_the_field_is_asked_and_can_be_masked():
    seen = []

    def apply(field, modulation, inputs, numbers):
        seen.append(inputs)
        return {"intensity": inputs}

    side = Side(jnp.float32([[0.0, 1.0]]), jnp.float32([[0, 0, 0], [0, 0.5, 0.5]]))  # column = (last + 1) / 2
    coords = jnp.float32([[0.3, 0.1, -1.0], [0.3, 0.1, 0.0], [0.3, 0.1, 1.0]])
    bind = model.make_bind(apply)
    bind({}, {}, side, hyper())(coords)
    np.testing.assert_allclose(seen[-1], np.concatenate([coords, [[-1], [0], [1]]], -1), atol=1e-6)
    bind({}, {}, side, hyper(side=0.0))(coords)
    np.testing.assert_allclose(seen[-1], np.concatenate([coords, np.zeros((3, 1))], -1), atol=1e-6)
    bind({}, {}, None, hyper())(coords)
    np.testing.assert_array_equal(seen[-1], coords)


@pytest.mark.parametrize("labels", [False, True])
def test_labels_of_a_context_enter_the_inner_loss_by_their_own_weight_where_the_config_says_so(labels):
    random = np.random.default_rng(0)
    intensity, logits = (jnp.float32(random.normal(size=(20, n))) for n in (1, 13))
    some = jnp.asarray(random.integers(-1, 13, 20))
    batch = Batch(jnp.zeros((20, 3)), jnp.zeros((20, 1)), some, jnp.ones(20))
    numbers = hyper(intensity=2.0, segmentation=100.0, context_segmentation=3.0)
    inner = model.build(tiny(**{"adapt.labels": labels}), OCT).learner.inner_loss
    got, _ = inner(lambda _: {"intensity": intensity, "segmentation": logits}, batch, numbers)
    expected = 2 * (intensity**2).mean() + labels * 3 * losses.cross_entropy(logits, some, jnp.ones(20))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
