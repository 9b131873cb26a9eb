"""`inr-jax doctor`: what this machine has, how fast it is, and what to type for what is missing."""

import importlib.util
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax import program_cache, workdir
from inr_jax.activations import sin
from inr_jax.data._files import data_path
from inr_jax.errors import InputError
from inr_jax.limits import cores

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
POINTS, WIDTH, DEPTH = 8192, 96, 5  # of the timed step: configs/default.py's field


def doctor() -> None:
    """Prints versions, devices, the speed of a training step, where real data lie and what is missing.

    Raises InputError where the device that was asked for is not there.
    """
    for name, find in (
        ("versions", _versions),
        ("machine", _machine),
        ("device", _devices),
        ("real data", _data),
        ("GPU", _gpu),
        ("programs", _programs),
        ("notebooks", lambda: _extra("notebooks", ("ipykernel", "nbclient", "nbformat"))),
        ("view3d", lambda: _extra("view3d", ("ipyniivue",))),
        ("browser", _browser),
        ("step", _step),  # the last: it takes seconds
    ):
        print(f"{name:<10} {find()}", flush=True)


def memory() -> float:
    """The machine's memory in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def seconds(run: Callable[..., Any], *arguments: Any, repeats: int = 5) -> list[float]:
    """Wall-clock seconds of each of `repeats` runs, after one that is not counted."""
    jax.block_until_ready(run(*arguments))
    result = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        result.append(time.perf_counter() - began)
    return result


def product_rate(rows: int, shapes: Sequence[tuple[int, int]], *, repeats: int = 5) -> float:
    """Flops per second of bare float32 products: [rows, i] @ [i, o] for every (i, o), one after another."""
    took = 0.0
    product = jax.jit(jnp.matmul)
    for (i, o), count in {shape: shapes.count(shape) for shape in shapes}.items():
        took += count * statistics.median(seconds(product, jnp.ones((rows, i)), jnp.ones((i, o)), repeats=repeats))
    return 2 * rows * sum(i * o for i, o in shapes) / took


def siren_loss(weights: list[Array], coords: Float[Array, "n i"]) -> Float[Array, ""]:
    """Mean square of a sine network without biases: a stand-in for a training step's loss."""
    h = coords
    for w in weights[:-1]:
        h = sin(30 * (h @ w))
    return ((h @ weights[-1]) ** 2).mean()


def _step() -> str:
    shapes = [(4, WIDTH), *[(WIDTH, WIDTH)] * (DEPTH - 1), (WIDTH, 1)]
    weights = [0.02 * jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
    coords = jax.random.uniform(jax.random.key(99), (POINTS, 4), minval=-1.0)
    took = statistics.median(seconds(jax.jit(jax.value_and_grad(siren_loss)), weights, coords))
    rate = 3 * 2 * POINTS * sum(i * o for i, o in shapes) / took  # forward once, backward twice
    bare = product_rate(POINTS, [(WIDTH, WIDTH)])
    return (
        f"SIREN {DEPTH} x {WIDTH}, forward and backward: {POINTS / took / 1e6:.2f} M points/s, "
        f"{rate / 1e9:.0f} GFLOP/s, {rate / bare:.0%} of a bare product ({bare / 1e9:.0f})"
    )


def _machine() -> str:
    return f"{cores()} cores, {memory():.1f} GB memory"


def _versions() -> str:
    found = workdir.versions()
    first = ("inr-jax", "python")
    return ", ".join(f"{name} {found[name]}" for name in (*first, *(n for n in found if n not in first)))


def _devices() -> str:
    try:
        return ", ".join(f"{d.platform}:{d.id} ({d.device_kind})" for d in jax.devices())
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).splitlines()[0]
        raise InputError(f"device: expected {wanted or 'one that jax knows'}; found: {reason}") from error


def _data() -> str:
    named = os.environ.get("INR_JAX_DATA")
    try:
        folder = data_path("", "")
    except InputError:
        return f"none at {named or '../shared/data'}; to name some: export INR_JAX_DATA=FOLDER (the phantom needs none)"
    sets = sorted(p.name for p in folder.iterdir() if p.is_dir())
    return f"{folder} ({'INR_JAX_DATA' if named else 'the default place'}): {', '.join(sets) or 'no folders'}"


def _programs() -> str:
    """Where compiled programs are kept, and how many."""
    root = program_cache.place()
    if root is None:
        return f"compiled anew at every start ({program_cache.VARIABLE}={program_cache.OFF})"
    found = program_cache.entries(root)
    size = sum(entry.stat().st_size for entry in found) / 1e6
    return f"{len(found)} compiled ones, {size:.0f} MB, in {root} (safe to delete)"


def _gpu() -> str:
    if jax.default_backend() == "gpu":
        return "in use"
    if not Path("/proc/driver/nvidia").exists() and shutil.which("nvidia-smi") is None:
        return "none on this machine; the CPU is used"
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        return 'there, but jax cannot use it: pip install "inr-jax[cuda12]" (in a checkout: pip install -e ".[cuda12]")'
    return "there, but not in use: JAX_PLATFORMS or --device says so, or its driver does not fit"


def _extra(name: str, modules: Sequence[str]) -> str:
    """Whether an extra's modules are there, and what to type where they are not."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return "installed"
    return f'{", ".join(missing)} missing: pip install "inr-jax[{name}]" (in a checkout: pip install -e ".[{name}]")'


def _browser() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    return found or "no Chromium; only the tests that open a report want it: apt-get install chromium"
