"""Toy sizes of everything: configs made tiny, and the numbers that reach the jitted step."""

import importlib.util
import os
from pathlib import Path

import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from inr_jax.types import Hyper

ROOT = Path(__file__).parents[1]
NO_TRAININGS = ("ablations", "prepare_oct")
CONFIGS = sorted(p for p in (ROOT / "configs").glob("*.py") if p.stem not in NO_TRAININGS)


def hyper(**changes: float) -> Hyper:
    """Every number of `Hyper`: frequencies 30, spread 10, loss weights 1, step sizes 0.1, all else 0."""
    values = dict.fromkeys(Hyper._fields, 0.0) | {
        "omega_first": 30.0, "omega_last": 30.0, "spread": 10.0, "intensity": 1.0, "segmentation": 1.0, "side": 1.0,
        "step_size": 0.1, "step_size_weights": 0.1, "skip_ratio": 10.0,
    }  # fmt: skip
    return Hyper(**{name: jnp.float32(value) for name, value in (values | changes).items()})._replace(seed=jnp.int32(0))


def read_config(path: Path) -> ConfigDict:
    """The config that a script under configs/ builds."""
    spec = importlib.util.spec_from_file_location(f"configs.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def make_tiny(config: ConfigDict, *, steps: int) -> ConfigDict:
    """The same config at toy size: a narrow network, few points, `steps` outer steps in every stage."""
    config.data.phantom_oct.update({"people": (2, 1, 1), "shape": (5, 48, 24), "eyes": 1})
    config.data.fundus.update({"size": (32, 32), "people": (("01", "02"), ("11",), ("13",))})
    config.model.update({"width": 16, "depth": 1})
    config.train.start_from = ""  # no model is this small
    axes = len(config.model.modulation.axes)
    config.model.modulation.grid.levels = ((*(2,) * axes, 4),)
    config.model.modulation.vector.size = 4
    for stage in config.train.stages:
        config.train[stage].update({"steps": steps, "subjects": 2, "points": 64})
    config.train.autodecoder.patch = (8, 8)
    config.train.stop.update({"epochs": 0, "patience": 0})
    config.adapt.epochs = min(config.adapt.epochs, 2)
    config.train.rule.context = config.train.joint.context = 64
    config.adapt.update({"points": 64, "steps": 2})
    config.train.update({"save_every": 2, "log_every": 2, "steps_per_dispatch": 2, "validation_scans": 1})
    config.doubt.update({"calibrate": False, "draws": 2, "points": 2000})
    return config


def get_config() -> ConfigDict:
    """The default config at toy size: this file is a config script too.

    First order halves what is compiled; the shipped configs, which tests walk, stay of second order.
    """
    config = make_tiny(read_config(ROOT / "configs" / "default.py"), steps=4)
    config.adapt.first_order = True
    return config


def fixture(name: str) -> Path:
    """A file of published reference outputs in $INR_JAX_FIXTURES; the test is skipped where it is absent."""
    folder = Path(os.environ.get("INR_JAX_FIXTURES", ROOT.parent / "shared" / "reference"))
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in {folder} (set INR_JAX_FIXTURES)")
    return folder / name
