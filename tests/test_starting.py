"""A training that goes on from a model: what that has learned is where it begins."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inr_jax import data, starting, trained
from inr_jax.batched import Group
from inr_jax.config_script import load_config
from inr_jax.errors import InputError
from inr_jax.export import export
from inr_jax.model import hyper_of
from inr_jax.train import train


@pytest.fixture
def config(toy_model: Path):
    config = load_config(toy_model / "config.json")
    config.train.update({"start_from": str(toy_model), "stages": ("joint",), "calibrate": True, "whiten": 3.0})
    return config


def leaves(model: trained.Trained) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.params)]


def test_a_training_whose_rates_are_nothing_ends_with_what_it_began_with(config, toy_model, tmp_path):
    config.train.joint.update({"steps": 2, "rates": {"field": 0.0, "start": 0.0, "rule": 0.0}})
    train(config, tmp_path / "run")
    before, after = (leaves(trained.restore(folder)) for folder in (toy_model, tmp_path / "run"))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)
    export(tmp_path / "run", tmp_path / "model", licence="CC0-1.0")
    card, kept = ((tmp_path / "model" / name).read_text() for name in ("README.md", "config.json"))
    assert "| Training | went on from another model |" in card
    assert str(toy_model) not in card + kept


def test_the_box_in_mm_stays_that_of_the_model_on_scans_of_another_size(config, toy_model, tmp_path):
    config.data.phantom_oct.shape = (3, 40, 20)
    config.train.joint.steps = 1
    train(config, tmp_path / "run")
    np.testing.assert_array_equal(trained.restore(tmp_path / "run").half, trained.restore(toy_model).half)


def test_codes_of_an_auto_decoder_begin_about_the_models_start(config):
    population = data.load(config.data, "train")
    config.train.stages = ("autodecoder", "joint")
    first = starting.find(config, population)
    start = {"grid": jax.tree.map(lambda leaf: leaf + 2.0, first.params.start["grid"])}
    moved = trained.Trained(
        config, first.built, first.params._replace(start=start), first.signal, first.half, first.classes, ""
    )
    states = [starting.initial_state(m, config, first.built, 2) for m in (None, moved)]
    fresh, begun = (jax.tree.leaves(state.table["grid"]) for state in states)
    for none, about, centre in zip(fresh, begun, jax.tree.leaves(start["grid"]), strict=True):
        np.testing.assert_allclose(about, none + centre, rtol=1e-6)


def test_variants_of_a_sweep_begin_with_the_model_too(config):
    group = Group(config, data.load(config.data, "train"), data.load(config.data, "validation"))
    hypers = jax.tree.map(lambda value: jnp.stack([jnp.asarray(value)] * 2), hyper_of(config))
    states = group.start(hypers, "vmap")
    for found, wanted in zip(jax.tree.leaves(states.params), jax.tree.leaves(group.first.params), strict=True):
        np.testing.assert_array_equal(found, np.stack([wanted] * 2))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model.width", 8, "model.width was 16, is 8"),
        ("model.modulation.grid.levels", ((3, 3, 4),), "model.modulation.grid.levels was"),
        ("rule.per", "leaf", "rule.per was channel, is leaf"),
        ("adapt.steps", 3, "adapt.steps was 2, is 3"),
        ("hyper.omega_first", 20.0, "hyper.omega_first was 30.0, is 20.0"),
    ],
)
def test_a_model_of_other_networks_codes_or_rules_is_refused_by_the_key(config, key, value, told):
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=r"^train.start_from: .* expected a model of this config's networks") as found:
        starting.find(config, data.load(config.data, "train"))
    assert told in str(found.value)


def test_how_a_network_is_computed_may_differ(config, toy_model):
    config.model.bfloat16 = True
    assert starting.find(config, data.load(config.data, "train")).half.shape == trained.restore(toy_model).half.shape


def test_a_model_of_other_scans_is_refused(config):
    population = data.load(config.data, "train")._replace(classes=("outside", "retina"))
    with pytest.raises(InputError, match="classes: the model expects"):
        starting.find(config, population)
