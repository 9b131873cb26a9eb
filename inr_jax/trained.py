"""A trained model and what it does with scans: `restore(folder)`, then adapt, fit and ask."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from inr_jax import (
    adapting,
    checkpoint,
    coordinates,
    coverage,
    kept_fits,
    losses,
    measurements,
    model,
    recipe,
    render,
    residual,
    sealed,
    workdir,
)
from inr_jax.config_script import check_keys, load_config
from inr_jax.errors import InputError
from inr_jax.flat_volumes import Options
from inr_jax.model import Model, Signal
from inr_jax.programs import Programs
from inr_jax.scan_io import replacing
from inr_jax.types import MetaParams, Modulation, Params, Population

OCT = ("phantom_oct", "interp_oct")  # data sets whose labels are layers


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
    losses: Sequence[Float[np.ndarray, "n"]] = ()  # per scan: before every learned step, or the mean of every epoch

    def of(self, i: int) -> "Answers":
        """Those of scan i alone."""
        one = slice(i, i + 1)
        labels = None if self.labels is None else self.labels[one]
        return Answers(
            self.intensity[one], self.field[one], labels, self.adapted[one], self.seconds[one], self.losses[one]
        )


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
    # how test volumes of the folds it learned from were prepared; None: it learned from none, or nobody says
    prepared: Options | None = field(default=None, kw_only=True)

    @property
    def is_oct(self) -> bool:
        """Whether its labels are layers of a retina."""
        return self.config.data.name in OCT

    @property
    def mark(self) -> str:
        """What everything that it answers is marked by: "trained on a phantom" of whatever kind, or nothing."""
        return "trained on a phantom" if self.note.startswith("phantom") else ""

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
    """The model of a training's folder (by default the checkpoint that validated best), or an exported one.

    Raises InputError if the folder holds neither, one of a version with fewer keys, one that is still in its
    auto-decoder, no checkpoint that can be read, or an exported model that is damaged.
    """
    folder = Path(folder)
    if is_exported := sealed.is_sealed(folder):
        sealed.check_seal(folder)
    facts = workdir.read_json(folder / workdir.MODEL)
    config = load_config(folder / workdir.CONFIG)
    check_keys(config, folder / workdir.CONFIG)
    signal = Signal(**facts["signal"])
    built = model.build(config, signal)
    like = jax.eval_shape(lambda: recipe.initial_state(config, built, facts["training_scans"]))
    if is_exported:
        params = sealed.read_weights(folder, like.params)
    else:
        state, step = checkpoint.restore(folder, like, best=best)
        _check_stage(folder, config, step)
        params = state.params
    half = np.asarray(facts["half_extent_mm"], np.float32)
    prepared = Options.from_json(facts.get("prepared"))
    return Trained(config, built, params, signal, half, tuple(facts["classes"]), facts["note"], prepared=prepared)


def _check_stage(folder: Path, config: ConfigDict, step: int) -> None:
    """InputError for a step before the inner loop: what comes then makes the start and the step sizes."""
    stages = recipe.stages(config)
    for stage in stages[:-1]:
        if stage.name in recipe.INNER or not stage.first <= step <= stage.end:
            continue
        now = {"autodecoder": "auto-decoder"}.get(stage.name, stage.name)
        raise InputError(
            f"{folder}: expected a model that can adapt; found a training that is still in its {now} "
            f"(step {step} of {stages[-1].end}): the train command goes on with it"
        )


def untrained(config: ConfigDict, population: Population) -> Trained:
    """A model of which nothing is learned yet, for scans like these: all of it belongs to one scan.

    Raises InputError where the config has stages to learn.
    """
    if found := recipe.stages(config):
        raise InputError(f"train.stages: expected none; found {', '.join(stage.name for stage in found)}")
    signal = Signal.of(population)
    built = model.build(config, signal)
    half = coordinates.half_extent(population.measured.shape, population.spacing)
    params = recipe.initial_state(config, built, len(population.names)).params
    return Trained(config, built, params, signal, half, population.classes, population.note)


def adapt_population(
    trained: Trained,
    population: Population,
    *,
    steps: int | None = None,
    fit: bool = False,
    shown: str | None = None,
    keep: Path | None = None,
    programs: Programs | None = None,
    fitter: Trained | None = None,
    by_coverage: bool = False,
) -> Answers:
    """Adapts to every scan of a population from its measured voxels, and renders its whole grid.

    steps: learned steps, the trained number by default. fit: many Adam steps after them. shown: what a progress bar is
    called; None: none. keep: a folder where fits by epochs are kept, for a second call to go on. programs: of this
    model, where several calls are to share them. fitter: the model as it is to be fitted, where its settings are others
    than those of the learned steps. by_coverage: whether learned rates go down by what a scan covers (coverage.py).
    No labels come from a model that learned none: neither from others,
    nor from the scan's own. Raises InputError where steps run away.
    """
    fit = fit or fitter is not None
    job = _job(trained, population, fit, keep, Programs() if programs is None else programs, by_coverage)
    grid, data, programs = job.grid, job.data, job.programs
    own = job if fitter is None else job._replace(config=fitter.config, built=fitter.built, key=(job.key, "fitter"))
    refine = _refine(own) if fit else None
    draw = programs.kept(("render", grid), lambda: render.make_render(trained.built, grid))
    hyper = model.hyper_of(trained.config)
    found, seconds, intensity, alone, labels, losses = [], [], [], [], [], []
    for i, (modulation, took, curve) in enumerate(adapting.adapted(job, steps=steps, shown=shown)):
        losses.append(curve)
        began = time.perf_counter()
        found.append(Adapted(trained.params.field, modulation if refine is None else refine(modulation, i)))
        seconds.append(took + time.perf_counter() - began)
        values, classes = map(np.asarray, draw(*found[-1], data, jnp.int32(i), hyper))
        _check_finite(population.names[i], values)
        intensity.append(put_back(trained.config, values, population, i))
        alone.append(np.clip(values, 0, 1))
        labels.append(classes.astype(np.int32))
    knows = has_labels(trained, population.labels is not None)
    return Answers(np.stack(intensity), np.stack(alone), np.stack(labels) if knows else None, found, seconds, losses)


def _job(
    trained: Trained, population: Population, fit: bool, keep: Path | None, programs: Programs, by_coverage: bool
) -> adapting.Job:
    """What `adapt_population` is to do, on the device."""
    trained.check(population)
    check_draws(trained.config, fit=fit)
    grid = population.measured.shape
    data = measurements.to_device(population, trained.half, trained.config.model.extent.to_dict())
    pools = measurements.pools(population.measured, held_out=trained.config.fit.held_out)
    context = pools.training if fit else pools.context  # what stops the fit must not have moved its start
    kept = None if keep is None else kept_fits.kept_fits(keep, trained.config, trained.params, population)
    key = (grid, hashlib.sha256(population.measured.tobytes()).digest(), fit)
    axes = trained.config.model.modulation.axes
    shares = coverage.shares(trained.built, axes, data, grid) if by_coverage else {}
    return adapting.Job(
        trained.config, trained.built, trained.params, data, grid, pools, context, population.names, kept, programs,
        key, shares,
    )  # fmt: skip


def _check_finite(name: str, values: Float[np.ndarray, "*grid C"]) -> None:
    """InputError where steps have run away: nothing of such an answer is of use."""
    if not np.isfinite(values).all():
        raise InputError(
            f"{name}: expected steps that converge; found an answer that is not finite: take as many as were trained, "
            "or a lower rate (adapt.rate, fit.rate)"
        )


def has_labels(trained: Trained, has_own: bool) -> bool:
    """Whether a model answers labels: it has learned them of others, or learns from those that the scan has itself."""
    has_head = bool(trained.signal.classes and trained.config.model.segmentation)
    return has_head and (bool(recipe.stages(trained.config)) or (trained.config.adapt.labels and has_own))


def put_back(
    config: ConfigDict, field: Float[np.ndarray, "*grid C"], population: Population, i: int
) -> Float[np.ndarray, "*grid C"]:
    """A field's answer for scan i with the measurement's residual put back, by config.adapt.residual."""
    scan = (population.intensity[i], population.valid[i], population.measured, population.spacing[i])
    return residual.corrected(field, *scan, **config.adapt.residual)


def own_name(config: ConfigDict) -> str:
    """What this model's way to adapt is called in tables."""
    adapt = config.adapt
    return f"inr_jax, {adapt.epochs} epochs" if adapt.epochs else f"inr_jax, {adapt.steps} steps"


def _refine(job: adapting.Job) -> Callable[[Modulation, int], Modulation]:
    """`fit` of a scan from its adapted modulation on, compiled: the codes, and how the weights changed."""
    still = job.built.modulation(job.built.codes)
    refine = job.programs.compiled(
        ("fit", job.key),
        lambda: render.make_fit(job.config, job.built, job.grid, job.pools),
        job.params, still, job.data, jnp.int32(0),
    )  # fmt: skip

    def refined(modulation: Modulation, i: int) -> Modulation:
        field, codes, _ = jax.block_until_ready(refine(job.params, modulation, job.data, jnp.int32(i)))
        return codes | {"weights": jax.tree.map(jnp.subtract, field, job.params.field)}

    return refined


def check_draws(config: ConfigDict, *, fit: bool) -> None:
    """InputError for a loss that needs patches where loose points are drawn, and for `fit` after epochs."""
    name, epochs = config.loss.intensity, config.adapt.epochs
    needs_patches = name in losses.NEED_PATCHES
    if fit and needs_patches:
        raise InputError(f"fit: expected a model whose loss.intensity is mse, as fit draws loose points; found {name}")
    if fit and epochs:
        raise InputError(f"fit: expected learned steps to go on from; found adapt.epochs {epochs}")
    if needs_patches and not epochs:
        raise InputError(f"adapt.epochs: expected 1 or more with loss.intensity {name}, which needs B-scans; found 0")


def save_modulations(path: Path, names: Sequence[str], modulations: Sequence[Modulation], *, note: str = "") -> None:
    """Adapted modulations of N scans in one .npz: `names` [N], leaves [N, ...] by path (grid/level_0), `note`."""
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *modulations)
    leaves = jax.tree_util.tree_leaves_with_path(stacked)
    flat = {jax.tree_util.keystr(place, simple=True, separator="/"): leaf for place, leaf in leaves}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, names=np.array(names), note=np.array(note), **flat)
