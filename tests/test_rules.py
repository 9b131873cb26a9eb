"""Rules: changes that wait, steps that cells mix, each step by parameters of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate
from test_model import OCT, tiny
from toy import hyper

from inr_jax import model, rules
from inr_jax.errors import InputError
from inr_jax.networks.mixing import MIXERS, mixer

OPTIONS = tiny().rule.mixings.to_dict()
CELLS = (4, 5, 3)  # cells along two axes, channels


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def moved_away(params, seed=1):
    """Parameters that were learned: none is 0."""
    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(structure, [leaf + random(leaf.shape, seed + i) for i, leaf in enumerate(leaves)])


def learned(name, step):
    init, apply = mixer(name, OPTIONS)
    params = moved_away(init(jax.random.key(0), step))
    return lambda s: apply(params, s)


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixing_begins_as_none(name):
    step = random(CELLS)
    init, apply = mixer(name, OPTIONS)
    np.testing.assert_array_equal(apply(init(jax.random.key(0), step), step), step)


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixed_step_is_as_long_as_the_steps_that_are_mixed(name):
    step = random(CELLS)
    mix = learned(name, step)
    np.testing.assert_allclose(mix(1e-3 * step), 1e-3 * mix(step), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "reach"), [("conv", 1), ("attention", 9)])
def test_a_step_at_one_cell_moves_the_cells_in_reach_and_no_other(name, reach):
    mix = learned(name, jnp.zeros(CELLS))
    still, one = random(CELLS), random(CELLS).at[0, 1].add(1.0)
    changed = np.abs(mix(one) - mix(still)).max(-1) > 1e-6
    rows, columns = np.indices(CELLS[:2])
    np.testing.assert_array_equal(changed, (rows <= reach) & (np.abs(columns - 1) <= reach))


def test_a_convolution_is_scipy_s_correlation_with_zeros_outside():
    step = random(CELLS)
    init, apply = mixer("conv", OPTIONS)
    params = moved_away(init(jax.random.key(0), step))
    kernel = np.asarray(params["Conv_0"]["kernel"])  # [3, 3, in, out]
    c = CELLS[-1]
    mixed = [
        sum(correlate(np.asarray(step)[..., i], kernel[..., i, o], mode="constant") for i in range(c)) for o in range(c)
    ]
    np.testing.assert_allclose(apply(params, step), step + np.stack(mixed, -1) / (9 * c) ** 0.5, rtol=1e-4, atol=1e-5)


def test_every_step_mixes_by_its_own_parameters_and_those_beyond_by_the_last():
    rule = rules.gradient_rule(lambda own, change: {"grid": own["factor"] * change["grid"]})
    params = {"grid": jnp.log(jnp.float32([0.5, 0.25])), "mixing": {"factor": jnp.float32([2.0, 8.0])}}
    for step, factor in ((0, 1.0), (1, 2.0), (5, 2.0 / 5)):  # the fourth beyond: a fifth of the last
        moved, _ = rule.update(params, jnp.int32(step), {"grid": jnp.float32([3.0])}, (), {"grid": jnp.float32([1.0])})
        np.testing.assert_allclose(moved["grid"], [1 - 3 * factor], rtol=1e-6)


def test_shared_parameters_wait_for_their_first_step_and_codes_do_not():
    rule = rules.gradient_rule(changes_from=2)
    params = {part: jnp.log(jnp.float32([0.5])) for part in ("grid", "weights")}
    one = {part: jnp.float32([1.0]) for part in params}
    for step, weights in ((0, 1.0), (1, 1.0), (2, 0.5), (3, 0.5)):
        moved, _ = rule.update(params, jnp.int32(step), one, (), one)
        assert (float(moved["grid"][0]), float(moved["weights"][0])) == (0.5, weights)


@pytest.mark.parametrize(("per_step", "rows"), [(True, 2), (False, 1)])
def test_a_model_s_rule_holds_a_mixing_of_every_level_for_each_of_its_steps(per_step, rows):
    config = tiny(**{"rule.mixing": "conv", "rule.per_step": per_step})
    config.model.modulation.grid.levels = ((2, 2, 4), (3, 4, 2))
    built = model.build(config, OCT)
    params = jax.eval_shape(built.init, jax.random.key(0), hyper())
    shapes = {name: level["Conv_0"]["kernel"].shape for name, level in params.rule["mixing"].items()}
    assert shapes == {"level_0": (rows, 3, 3, 4, 4), "level_1": (rows, 3, 3, 2, 2)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rule.mixing": "convolution"}, "rule.mixing: expected one of .*none.* found 'convolution'"),
        ({"rule.mixing": "conv", "model.modulation.parts": ("vector",)}, "rule.mixing: expected none .* found conv"),
        ({"adapt.ridge": -1.0}, "adapt.ridge: expected 0.0 or more; found -1"),
        ({"adapt.ridge": 1.0, "model.intensity": "sigmoid"}, "adapt.ridge: expected 0.0 where .* sigmoid"),
        ({"adapt.ridge": 1.0, "adapt.epochs": 3}, "adapt.ridge: expected 0.0 where scans are fitted"),
        ({"rule.changes_from": -1}, "rule.changes_from: expected 0 or more; found -1"),
    ],
)
def test_rules_that_cannot_be_are_refused_by_their_key(changes, said):
    with pytest.raises(InputError, match=said):
        model.build(tiny(**changes), OCT)
