"""A new scan: adapted to, timed, asked for all its places and scored, the same way for every method."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from contest import flops
from contest.rows import SCORES, Row
from contest.scans import Scans
from inr_jax import evaluate, model, modulations, render, tables, trained
from inr_jax.baselines import Prediction
from inr_jax.flops import Products
from inr_jax.model import Model
from inr_jax.types import MetaParams, Modulation, Params

CHECK = 5  # steps between two looks at what stops a fit (adaptation.fit)


class Learned(NamedTuple):
    """What is adapted."""

    name: str
    config: ConfigDict
    built: Model
    params: MetaParams
    puts_back: bool  # the residual, as part of the method
    programs: dict[tuple, Any]  # compiled for this shape of model before


class Adapted(NamedTuple):
    """All scans of a population after so many steps."""

    steps: int
    fields: list[tuple[Params, Modulation]]
    facts: dict[str, float]  # seconds_per_scan, points_evaluated, model_flops, compile_seconds, peak_memory_mb


class Compiled(NamedTuple):
    run: Callable[..., Any]
    seconds: float
    memory_mb: float  # that XLA needs in between

    @classmethod
    def of(cls, function: Callable[..., Any], *arguments: Any) -> "Compiled":
        began = time.perf_counter()
        program = jax.jit(function).lower(*arguments).compile()
        seconds = time.perf_counter() - began
        return cls(program, seconds, program.memory_analysis().temp_size_in_bytes / 1e6)


def timed(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    found = jax.block_until_ready(run(*arguments))
    return found, time.perf_counter() - began


def counted(learned: Learned) -> Products:
    return flops.products_of(learned.params.field, learned.built.modulation(learned.params.start))


def by_steps(learned: Learned, scans: Scans, steps: int, *, held_out: bool = False) -> Adapted:
    """So many learned steps. held_out: a fit follows, and what stops it must not have moved where it starts."""
    hyper = model.hyper_of(learned.config)
    key = ("steps", steps, held_out, len(scans.population.names))
    if key not in learned.programs:
        context = scans.pools.training if held_out else scans.pools.context
        run = render.make_adapt(learned.config, learned.built, scans.grid, context, steps=steps)
        learned.programs[key] = Compiled.of(run, learned.params, scans.data, jnp.int32(0), hyper)
    program = learned.programs[key]
    found, seconds = [], []
    program.run(learned.params, scans.data, jnp.int32(0), hyper)  # the first run of a program is slower
    for i in range(len(scans.population.names)):
        (modulation, _), took = timed(program.run, learned.params, scans.data, jnp.int32(i), hyper)
        found.append((learned.params.field, modulation))
        seconds.append(took)
    points = learned.config.adapt.points
    return Adapted(steps, found, {
        "seconds_per_scan": float(np.mean(seconds)),
        "points_evaluated": steps * points,
        "model_flops": steps * flops.gradient_step(counted(learned), found[0][1], points),
        "compile_seconds": program.seconds,
        "peak_memory_mb": program.memory_mb,
    })  # fmt: skip


def fine_tuned(learned: Learned, scans: Scans, begun: Adapted) -> Adapted:
    """Adam on codes, then on weights too, from where learned steps ended, early-stopped (config.fit)."""
    options, all_params = learned.config.fit, learned.params
    run = render.make_fit(learned.config, learned.built, scans.grid, scans.pools)
    program = Compiled.of(run, all_params, begun.fields[0][1], scans.data, jnp.int32(0))
    program.run(all_params, begun.fields[0][1], scans.data, jnp.int32(0))
    found, seconds, taken = [], [], []
    for i, (_, modulation) in enumerate(begun.fields):
        (field, codes, best), took = timed(program.run, all_params, modulation, scans.data, jnp.int32(i))
        found.append((field, codes))
        seconds.append(took)
        waited = np.asarray(best) + options.patience * CHECK
        taken.append(np.minimum(waited, (options.steps, options.weights_steps)))
    on_codes, on_weights = np.mean(taken, axis=0)
    checks = (on_codes + on_weights) / CHECK + 2
    asked = checks * min(len(scans.pools.held_out), render.HELD_OUT)
    counts = counted(learned)
    codes = found[0][1]
    steps = on_codes * flops.gradient_step(counts, codes, options.points)
    steps += on_weights * flops.decoder_step(counts, options.points)
    return Adapted(begun.steps + options.steps + options.weights_steps, found, {
        "seconds_per_scan": begun.facts["seconds_per_scan"] + float(np.mean(seconds)),
        "points_evaluated": begun.facts["points_evaluated"] + (on_codes + on_weights) * options.points + asked,
        "model_flops": begun.facts["model_flops"] + steps + flops.one_pass(counts, round(float(asked))),
        "compile_seconds": begun.facts["compile_seconds"] + program.seconds,
        "peak_memory_mb": max(begun.facts["peak_memory_mb"], program.memory_mb),
    })  # fmt: skip


def by_adam(learned: Learned, scans: Scans, marks: tuple[int, ...]) -> Iterator[Adapted]:
    """Adam's steps on random points, one fit that is looked at after each of `marks`."""
    config, options = learned.config, learned.config.adapt
    fit = render.make_epochs(config, learned.built, scans.grid, scans.pools, scans.pools.context)
    begin = Compiled.of(fit.begin, jnp.int32(0))
    epoch = Compiled.of(fit.epoch, learned.params, scans.data, jnp.int32(0), begin.run(jnp.int32(0)))
    epoch.run(learned.params, scans.data, jnp.int32(0), begin.run(jnp.int32(0)))
    found: dict[int, list] = {mark: [] for mark in marks}
    seconds: dict[int, list[float]] = {mark: [] for mark in marks}
    for i in range(len(scans.population.names)):
        fitting, total = timed(begin.run, jnp.int32(i))
        for done in range(options.draws, max(marks) + 1, options.draws):
            (fitting, _), took = timed(epoch.run, learned.params, scans.data, jnp.int32(i), fitting)
            total += took
            if done in found:
                found[done].append((learned.params.field, fitting.best))
                seconds[done].append(total)
    per_step = flops.gradient_step(counted(learned), found[marks[0]][0][1], options.points)
    for mark in marks:
        yield Adapted(mark, found[mark], {
            "seconds_per_scan": float(np.mean(seconds[mark])),
            "points_evaluated": mark * options.points,
            "model_flops": mark * per_step,
            "compile_seconds": begin.seconds + epoch.seconds,
            "peak_memory_mb": epoch.memory_mb,
        })  # fmt: skip


def predicted(learned: Learned, scans: Scans, adapted: Adapted, *, labelled: bool) -> dict[str, Prediction]:
    """What the adapted fields say of all places, by name: as the method has it, and with the residual or without.

    What a field leaves of the measurement is put back in ours alone; a row of its own tells what others would gain.
    """
    key = ("render", len(scans.population.names))
    if key not in learned.programs:
        learned.programs[key] = render.make_render(learned.built, scans.grid)
    hyper, config = model.hyper_of(learned.config), learned.config
    whole, alone, labels = [], [], []
    for i, one in enumerate(adapted.fields):
        values, classes = map(np.asarray, learned.programs[key](*one, scans.data, jnp.int32(i), hyper))
        whole.append(trained.put_back(config, values, scans.population, i))
        alone.append(np.clip(values, 0, 1))
        labels.append(classes.astype(np.int32))
    knows = np.stack(labels) if labelled else None
    predictions = {name: Prediction(np.stack(values), knows, "")
                   for name, values in zip(names(learned), (whole, alone), strict=True)}  # fmt: skip
    return predictions if config.adapt.residual.length else {learned.name: predictions[learned.name]}


def names(learned: Learned) -> tuple[str, str]:
    """Of the rows with the residual put back, and of the field alone."""
    if learned.puts_back:
        return learned.name, f"{learned.name}, field alone"
    return f"{learned.name}, residual put back", learned.name


def scored(scans: Scans, predictions: dict[str, Prediction], *, split: str, layered: bool) -> Iterator[Row]:
    """The scores of a row for each method and kind of places: means over people, and each person's."""
    rows, _ = evaluate.score_all(scans.population, predictions, split=split, layered=layered)
    for method, prediction in predictions.items():
        for kind in dict.fromkeys(row["kind"] for row in rows):
            own = [row for row in rows if (row["method"], row["kind"]) == (method, kind)]
            people = {name: tables.per_person(own, theirs) for name, theirs in SCORES.items()}
            means = {name: float(np.mean(list(found.values()))) if found else None for name, found in people.items()}
            yield means | {"method": method, "kind": kind, "by_person": people, "note": prediction.note}


def modulation_size(learned: Learned) -> int:
    """Codes of a scan; of a network for each scan its weights."""
    return modulations.size(learned.built.codes) or sum(leaf.size for leaf in jax.tree.leaves(learned.params.field))
