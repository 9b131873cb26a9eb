"""A trained model and what it does with scans: `restore(workdir)`, then adapt, fit and ask."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from inr_jax import checkpoint, losses, measurements, model, recipe, render, residual, workdir
from inr_jax.config_script import check_keys, load_config
from inr_jax.errors import InputError
from inr_jax.model import Model, Signal
from inr_jax.scan_io import replacing
from inr_jax.types import MetaParams, Modulation, Params, Population


class Adapted(NamedTuple):
    """One scan's own field: the shared weights, and the modulation (its `weights` where they moved)."""

    field: Params
    modulation: Modulation


class Answers(NamedTuple):
    """What a model says of the N scans of a population."""

    intensity: Float[np.ndarray, "N *grid C"]  # the field with the measurement's residual put back
    field: Float[np.ndarray, "N *grid C"]  # the field alone
    labels: Int[np.ndarray, "N *grid"] | None
    adapted: list[Adapted]
    seconds: list[float]  # per scan, compilation apart


@dataclass(frozen=True)
class Trained:
    """A model as `restore` finds it. `classes` are the names of its labels; `half` its box in mm."""

    config: ConfigDict
    built: Model
    params: MetaParams
    signal: Signal
    half: Float[np.ndarray, "k"]
    classes: tuple[str, ...]
    note: str  # of the training data: "phantom" ...

    def check(self, population: Population) -> None:
        """Raises InputError if the scans are not of the kind this model was trained for."""
        found = Signal.of(population)
        for name in ("dimensions", "channels", "slo"):
            expected, given = getattr(self.signal, name), getattr(found, name)
            if expected != given:
                raise InputError(f"{population.names[0]}: {name}: the model expects {expected}; found {given}")
        if population.classes and population.classes != self.classes:
            names = (", ".join(classes) or "none" for classes in (self.classes, population.classes))
            raise InputError("{}: classes: the model expects {}; found {}".format(population.names[0], *names))


def restore(folder: str | Path, *, best: bool = True) -> Trained:
    """The model of a training's folder: by default the checkpoint that validated best.

    Raises InputError if the folder holds no training, one of a version with fewer keys, one that is still in its
    auto-decoder, or no checkpoint that can be read.
    """
    folder = Path(folder)
    facts = workdir.read_json(folder / workdir.MODEL)
    config = load_config(folder / workdir.CONFIG)
    check_keys(config, folder / workdir.CONFIG)
    signal = Signal(**facts["signal"])
    built = model.build(config, signal)
    like = jax.eval_shape(lambda: recipe.initial_state(config, built, facts["training_scans"]))
    state, step = checkpoint.restore(folder, like, best=best)
    _check_stage(folder, config, step)
    half = np.asarray(facts["half_extent_mm"], np.float32)
    return Trained(config, built, state.params, signal, half, tuple(facts["classes"]), facts["note"])


def _check_stage(folder: Path, config: ConfigDict, step: int) -> None:
    """InputError for a step of the auto-decoder: what comes after it makes the start and the step sizes."""
    *early, last = recipe.stages(config)
    if any(stage.name == "autodecoder" and stage.first <= step <= stage.end for stage in early):
        raise InputError(
            f"{folder}: expected a model that can adapt; found a training that is still in its auto-decoder "
            f"(step {step} of {last.end}): the train command goes on with it"
        )


def adapt_population(
    trained: Trained, population: Population, *, steps: int | None = None, fit: bool = False, progress: Any = iter
) -> Answers:
    """Adapts to every scan of a population from its measured voxels, and renders its whole grid.

    steps: learned steps, the trained number by default. fit: many Adam steps after them. progress: wraps the loop.
    """
    trained.check(population)
    _check_draws(trained.config, fit=fit)
    grid = population.measured.shape
    data = measurements.to_device(population, trained.half, trained.config.model.extent.to_dict())
    pools = measurements.pools(population.measured, held_out=trained.config.fit.held_out)
    context = pools.training if fit else pools.context  # what stops the fit must not have moved its start
    adapt = jax.jit(render.make_adapt(trained.config, trained.built, grid, context, steps=steps))
    refine = jax.jit(render.make_fit(trained.config, trained.built, grid, pools))
    draw = render.make_render(trained.config, trained.built, grid)

    def one(i: int) -> Adapted:
        subject = jnp.int32(i)
        modulation, _ = adapt(trained.params, data, subject)
        if not fit:
            return Adapted(trained.params.field, modulation)
        field, codes, _ = refine(trained.params, modulation, data, subject)
        weights = jax.tree.map(jnp.subtract, field, trained.params.field)
        return Adapted(trained.params.field, codes | {"weights": weights})

    jax.block_until_ready(one(0))  # compiles
    adapted, seconds, intensity, alone, labels = [], [], [], [], []
    for i in progress(range(len(population.names))):
        began = time.perf_counter()
        adapted.append(jax.block_until_ready(one(i)))
        seconds.append(time.perf_counter() - began)
        values, classes = map(np.asarray, draw(*adapted[-1], data, jnp.int32(i)))
        scan = (population.intensity[i], population.valid[i], population.measured, population.spacing[i])
        intensity.append(residual.corrected(values, *scan, **trained.config.adapt.residual))
        alone.append(np.clip(values, 0, 1))
        labels.append(classes.astype(np.int32))
    found = np.stack(labels) if trained.signal.classes else None
    return Answers(np.stack(intensity), np.stack(alone), found, adapted, seconds)


def _check_draws(config: ConfigDict, *, fit: bool) -> None:
    """InputError for a loss that needs patches where loose points are drawn."""
    name = config.loss.intensity
    if name not in losses.NEED_PATCHES:
        return
    if fit:
        raise InputError(f"fit: expected a model whose loss.intensity is mse, as fit draws loose points; found {name}")
    if not config.adapt.epochs:
        raise InputError(f"adapt.epochs: expected 1 or more with loss.intensity {name}, which needs B-scans; found 0")


def save_modulations(path: Path, names: Sequence[str], modulations: Sequence[Modulation]) -> None:
    """Adapted modulations of N scans in one .npz: `names` [N], and each leaf [N, ...] by its path: grid/level_0."""
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *modulations)
    leaves = jax.tree_util.tree_leaves_with_path(stacked)
    flat = {jax.tree_util.keystr(place, simple=True, separator="/"): leaf for place, leaf in leaves}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, names=np.array(names), **flat)
