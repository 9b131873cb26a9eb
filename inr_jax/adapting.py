"""Adapting scan after scan, or several at once: by learned steps or by epochs; compiled first, with progress."""

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from inr_jax import coverage, epochs, progress, render
from inr_jax.adaptation import Fitting
from inr_jax.coverage import Shares
from inr_jax.epochs import Course
from inr_jax.errors import InputError
from inr_jax.kept_fits import KeptFits
from inr_jax.measurements import Measurements, Pools
from inr_jax.model import Model, hyper_of
from inr_jax.population import OVER
from inr_jax.programs import Programs
from inr_jax.types import Hyper, MetaParams, Modulation

Subjects = Int[Array, "b"]
Losses = Float[Array, "b n"]
log = logging.getLogger(__name__)


class Job(NamedTuple):
    """What is to be adapted with what."""

    config: ConfigDict
    built: Model
    params: MetaParams
    data: Measurements
    grid: tuple[int, ...]
    pools: Pools
    context: Int[np.ndarray, "c"]  # the measured voxels that may move the modulation
    names: tuple[str, ...]  # of the scans
    kept: KeptFits | None  # where fits by epochs are kept; None: nowhere
    programs: Programs  # of the model
    key: Hashable  # what its programs depend on: the grid, what was measured, what moves the modulation
    shares: Shares  # of the grids' cells, that each scan covers; empty: rates of codes are as they were learned


class Taken(NamedTuple):
    """A scan's modulation, and what it took."""

    modulation: Modulation
    seconds: float  # compilation apart
    losses: Float[np.ndarray, "n"]  # before every learned step, or the mean of every epoch (NaN after the stop)


def adapted(job: Job, *, steps: int | None, shown: str | None) -> Iterator[Taken]:
    """The modulation of every scan in turn.

    `adapt.together` scans are one dispatch, whose seconds they share. shown: what a progress bar is called; None: no
    bar. Raises InputError for counts below the least there can be, and a fit that never has a finite loss.
    """
    for key, least in (("steps", 0), ("points", 1), ("together", 1), ("epochs", 0), ("draws", 0)):
        if job.config.adapt[key] < least:
            raise InputError(f"adapt.{key}: expected {least} or more; found {job.config.adapt[key]}")
    done = _read_kept(job) if job.config.adapt.epochs else {}
    left = [i for i in range(len(job.names)) if i not in done]
    found = _adapt(job, left, steps, shown) if left else iter(())
    for i in range(len(job.names)):
        yield done[i] if i in done else next(found)


def _adapt(job: Job, left: list[int], steps: int | None, shown: str | None) -> Iterator[Taken]:
    """The same for some of the scans."""
    together = min(job.config.adapt.together, len(left))
    places = [np.minimum(np.arange(first, first + together), len(left) - 1) for first in range(0, len(left), together)]
    chunks = [np.asarray(left)[place] for place in places]
    take = _by_epochs if job.config.adapt.epochs else _by_steps
    with progress.bar(desc=shown, disable=shown is None) as bar:
        run = take(job, jnp.asarray(chunks[0]), bar, len(chunks), steps)
        for chunk in chunks:
            began = time.perf_counter()
            found, losses = jax.block_until_ready(run(jnp.asarray(chunk)))
            scans = list(dict.fromkeys(chunk.tolist()))  # the last chunk is filled up with its last scan
            seconds = (time.perf_counter() - began) / len(scans)
            for place, i in enumerate(scans):
                modulation = jax.tree.map(lambda leaf, place=place: leaf[place], found)
                taken = Taken(modulation, seconds, np.asarray(losses[place]))
                if job.kept is not None and job.config.adapt.epochs:
                    job.kept.write(job.names[i], *taken)
                yield taken


def _read_kept(job: Job) -> dict[int, Taken]:
    """What was fitted before this run was begun anew."""
    if job.kept is None:
        return {}
    like = job.built.modulation(job.built.codes)
    found = {i: Taken(*kept) for i, name in enumerate(job.names) if (kept := job.kept.read(name, like)) is not None}
    if found:
        log.info("%d of %d scans were fitted before; going on with the others", len(found), len(job.names))
    return found


def _each(job: Job) -> Callable[[Callable, Any], Any]:
    return OVER["vmap" if job.config.adapt.together > 1 else "map"]


def _by_steps(
    job: Job, subjects: Subjects, bar: Any, chunks: int, steps: int | None
) -> Callable[[Subjects], tuple[Modulation, Losses]]:
    """Learned steps of several scans in one dispatch."""
    hyper = hyper_of(job.config)

    def make() -> Callable[..., tuple[Modulation, Losses]]:
        adapt, each = render.make_adapt(job.config, job.built, job.grid, job.context, steps=steps), _each(job)

        def run(
            params: MetaParams, data: Measurements, subjects: Subjects, shares: Shares, hyper: Hyper
        ) -> tuple[Modulation, Losses]:
            return each(lambda one: adapt(coverage.paced(params, one[1]), data, one[0], hyper), (subjects, shares))

        return run

    def arguments(subjects: Subjects) -> tuple:
        return job.params, job.data, subjects, jax.tree.map(lambda each: each[subjects], job.shares), hyper

    run = job.programs.compiled(("steps", job.key, steps), make, *arguments(subjects))
    bar.unit, bar.total = "scan", len(job.names)

    def take(subjects: Subjects) -> tuple[Modulation, Losses]:
        found = jax.block_until_ready(run(*arguments(subjects)))
        bar.update(len(set(subjects.tolist())))
        return found

    return take


def _by_epochs(
    job: Job, subjects: Subjects, bar: Any, chunks: int, steps: int | None
) -> Callable[[Subjects], tuple[Modulation, Losses]]:
    """Epochs of several scans, one dispatch each; a scan whose fit is over waits for the others as it is."""
    if steps is not None:
        raise InputError(f"steps: expected none where a scan is fitted by adapt.epochs; found {steps}")
    options, each = job.config.adapt, _each(job)
    fit = render.make_epochs(job.config, job.built, job.grid, job.pools, job.context)

    def of_chunk(
        params: MetaParams, data: Measurements, subjects: Subjects, fitting: Fitting, goes_on: Array
    ) -> tuple[Fitting, Float[Array, "b"]]:
        def one(scan: tuple[Array, Fitting, Array]) -> tuple[Fitting, Array]:
            i, before, moves = scan
            after, loss = fit.epoch(params, data, i, before)
            return jax.tree.map(lambda new, old: jnp.where(moves, new, old), after, before), loss

        return each(one, (subjects, fitting, goes_on))

    begin = job.programs.compiled(
        ("begin", job.key), lambda: lambda subjects: each(fit.begin, subjects), subjects
    )  # fmt: skip
    everyone = jnp.ones(len(subjects), bool)
    epoch = job.programs.compiled(
        ("epoch", job.key), lambda: of_chunk, job.params, job.data, subjects, begin(subjects), everyone
    )
    stop = SimpleNamespace(epochs=options.epochs, **options.stop)
    bar.unit, bar.total = "epoch", options.epochs * chunks

    def take(subjects: Subjects) -> tuple[Modulation, Losses]:
        fitting, courses, goes_on, curve = begin(subjects), [Course()] * len(subjects), everyone, []
        while goes_on.any():
            fitting, losses = epoch(job.params, job.data, subjects, fitting, goes_on)
            curve.append(jnp.where(goes_on, losses, jnp.nan))
            courses = [
                course if epochs.is_over(course, stop) else epochs.after_epoch(course, float(loss), stop)
                for course, loss in zip(courses, losses, strict=True)
            ]
            goes_on = jnp.asarray([not epochs.is_over(course, stop) for course in courses])
            bar.set_postfix(scan=job.names[int(subjects[0])], loss=f"{losses.mean():.4g}", refresh=False)
            bar.update()
        bar.total -= options.epochs - max(course.epoch for course in courses)
        for i, least in zip(subjects, fitting.least, strict=True):
            if not np.isfinite(least):
                raise InputError(f"{job.names[int(i)]}: adapt.rate: expected a finite loss in some epoch; found none")
        return fitting.best, jnp.stack(curve, -1)

    return take
