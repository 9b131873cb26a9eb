"""What several test modules use: models at toy size, made once a run; precisions and sources of parity."""

import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import parity
import pytest
import toy
from command import untrained
from synthetic import write_folds

from inr_jax import calibrate, train
from inr_jax.model import Signal

os.environ["INR_JAX_CACHE"] = "off"  # commands in tests compile what they run, and leave nothing in the user's home


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--optimised", action="store_true", help="compile programs as users do: twice the time")


def pytest_configure(config: pytest.Config) -> None:
    """Compiling is most of a test's time: what one process compiled, those beside it and those it starts read.

    Without --optimised, programs are such that run slowly and are there soon.
    """
    options = {} if config.getoption("--optimised") else {"disable_most_optimizations": True}
    if "PYTEST_XDIST_WORKER" not in os.environ:
        options["compilation_cache_dir"] = tempfile.mkdtemp(prefix="inr_jax_programs")
        config.add_cleanup(lambda: shutil.rmtree(options["compilation_cache_dir"]))
        if not config.getoption("--optimised"):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
    gc.set_threshold(100_000, 50, 100)  # tracing makes many objects that live: looking at them all is slow
    options |= {"persistent_cache_min_compile_time_secs": 0, "persistent_cache_min_entry_size_bytes": -1}
    for name, value in options.items():
        jax.config.update(f"jax_{name}", value)
        os.environ[f"JAX_{name.upper()}"] = str(value)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` filled in this run of the tests; a worker that wants it meanwhile waits."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"made_once_{name}"
    with folder.with_suffix(".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not lock.read():  # what is written into it last says that the folder is whole
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            lock.write("made")
    return folder


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training at toy size; all workers read it: who writes into it copies it."""
    config = toy.get_config()
    config.model.modulation.parts = ("grid",)
    config.train.update({"stages": ("joint",), "calibrate": False})
    return made_once(tmp_path_factory, "toy", lambda folder: train.train(config, folder / "model")) / "model"


@pytest.fixture(scope="session")
def calibrated_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the weights it began with, for folds of layered eyes, calibrated on two validation people."""

    def make(folder: Path) -> None:
        folds = write_folds(folder, people=(5, 1), shape=(9, 16, 12))
        config = toy.get_config()
        config.data.update({"name": "interp_oct", "path": str(folds)})
        config.data.interp_oct.validation_people = 0.4
        config.hyper.step_size = 0.1
        half = (1.3, 0.04, 0.5)
        model = untrained(folds / "w", config, Signal(3, 1, 13, slo=True), half, tuple(config.data.interp_oct.classes))
        assert calibrate.calibrate(model) is not None

    return made_once(tmp_path_factory, "folds", make) / "w"


@pytest.fixture(params=parity.LIMITS)
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """float64 or float32, as JAX's default within the test; float64 proves formulas, so that it compiles plainly."""
    before, is_double = jax.config.jax_enable_x64, request.param == "float64"
    is_plain = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_enable_x64", is_double)
    jax.config.update("jax_disable_most_optimizations", is_double or is_plain)
    yield request.param
    jax.config.update("jax_enable_x64", before)
    jax.config.update("jax_disable_most_optimizations", is_plain)


@pytest.fixture(params=parity.SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    """Whose reference outputs: see `parity`."""
    return request.param
