"""What several test modules use: the demo, run once at toy size; precisions and sources of parity."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import parity
import pytest
import toy

from inr_jax import demo

os.environ["INR_JAX_CACHE"] = "off"  # commands in tests compile what they run, and leave nothing in the user's home


@pytest.fixture(scope="session")
def toy_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo of seconds: `model` is a training, `test` its evaluation, `printed.txt` what it said."""
    config = toy.get_config()
    config.model.modulation.parts = ("grid",)
    config.train.update({"stages": ("joint",), "calibrate": False})
    config.fit.update({"points": 64, "steps": 5, "weights_steps": 5})
    folder = tmp_path_factory.mktemp("toy_demo")
    said = io.StringIO()
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of the time
    with contextlib.redirect_stdout(said):
        demo.demo(folder, config)
    jax.config.update("jax_disable_most_optimizations", False)
    (folder / "printed.txt").write_text(said.getvalue())
    return folder


@pytest.fixture(scope="module")
def plain_compilation() -> Iterator[None]:
    """For what is mostly compiled: programs that run slowly and are there soon."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def toy_model(toy_demo: Path) -> Path:
    """The folder of a training at toy size."""
    return toy_demo / "model"


@pytest.fixture(params=parity.LIMITS)
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """float64 or float32, as JAX's default within the test; float64 proves formulas, so that it compiles plainly."""
    before, is_double = jax.config.jax_enable_x64, request.param == "float64"
    jax.config.update("jax_enable_x64", is_double)
    jax.config.update("jax_disable_most_optimizations", is_double)
    yield request.param
    jax.config.update("jax_enable_x64", before)
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(params=parity.SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    """Whose reference outputs: see `parity`."""
    return request.param
