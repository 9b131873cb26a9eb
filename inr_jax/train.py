"""Training: the stages of `recipe`, with checkpoints, logs, progress and resume."""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from inr_jax import (
    calibrate,
    checkpoint,
    data,
    entering,
    epochs,
    flat_scans,
    likeness,
    measurements,
    model,
    progress,
    recipe,
    stage_checks,
    starting,
    visits,
    workdir,
)
from inr_jax.epochs import Course
from inr_jax.errors import InputError
from inr_jax.measurements import Measurements, Pools
from inr_jax.model import Model
from inr_jax.population import State
from inr_jax.render import make_adapt, make_render
from inr_jax.trained import Trained
from inr_jax.types import Hyper, MetaParams, Population

log = logging.getLogger(__name__)
WORST = -100.0  # dB: what no validation is below; of a state that cannot be adapted yet, too


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that a step can end and be saved first."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {s: signal.signal(s, lambda *_: event.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Validation:
    """PSNR in dB of what was not measured, after adaptation, on the first validation scans: what `best` means."""

    def __init__(self, config: ConfigDict, built: Model, population: Population, half: np.ndarray) -> None:
        count = min(config.train.validation_scans, len(population.names))
        self.grid = population.measured.shape
        self.data = measurements.to_device(population, half, config.model.extent.to_dict())
        pools = measurements.pools(population.measured, held_out=config.fit.held_out)
        self.adapt = make_adapt(config, built, self.grid, pools.context)
        self.measure_one = self._measure(built, pools, count)
        self.measure = jax.jit(self.measure_one)
        self.render = make_render(built, self.grid)
        self.hyper = model.hyper_of(config)

    def _measure(self, built: Model, pools: Pools, count: int) -> Callable[[MetaParams, Measurements, Hyper], Array]:
        """(params, data, hyper) -> the mean PSNR of the first `count` scans; WORST where it is not finite."""
        rest = np.setdiff1d(pools.target, pools.context)
        target = rest if rest.size else pools.target
        points = np.random.default_rng(0).choice(target, min(16_384, target.size), replace=False)

        def measure(params: MetaParams, data: Measurements, hyper: Hyper) -> Array:
            def one(i: Array) -> Array:
                modulation, _ = self.adapt(params, data, i, hyper)
                side = measurements.side_of(data, i, hyper.side_swapped)
                field = built.learner.bind(params.field, modulation, side, hyper)
                batch = measurements.gather(data, i, jnp.asarray(points), self.grid, labelled=True)
                return built.learner.outer_loss(field, batch, hyper)[1]["psnr"]

            found = jax.lax.map(one, jnp.arange(count)).mean()
            return jnp.where(jnp.isfinite(found), found, WORST)

        return measure

    def __call__(self, state: State) -> float:
        return float(self.measure(state.params, self.data, self.hyper))

    def picture(self, state: State) -> np.ndarray:
        """A B-scan (or image) of the first validation scan that was not measured: as given above, as answered below."""
        modulation, _ = jax.jit(self.adapt)(state.params, self.data, jnp.int32(0), self.hyper)
        intensity, _ = self.render(state.params.field, modulation, self.data, jnp.int32(0), self.hyper)
        channels = self.data.intensity.shape[-1]
        given = np.asarray(self.data.intensity[0]).reshape(*self.grid, channels)
        both = np.concatenate([given, np.asarray(intensity)], axis=-3)
        return np.clip(both[1] if len(self.grid) == 3 else both, 0, 1)


def prepare_workdir(
    folder: Path, config: ConfigDict, train: Population, validation: Population, half: np.ndarray, allow_change: bool
) -> None:
    """Config, manifest and model facts; refuses a folder whose training began otherwise, or on other data."""
    manifest = workdir.manifest(config, train, validation)
    prepared = flat_scans.options_of_training(config)
    if not allow_change:
        workdir.check_config(folder, config)
        workdir.check_data(folder, manifest["data"])
    workdir.write_json(folder / workdir.CONFIG, workdir.plain(config))
    workdir.write_json(folder / workdir.MANIFEST, workdir.with_history(folder, manifest))
    facts = {
        "signal": model.Signal.of(train)._asdict(),
        "classes": train.classes,
        "half_extent_mm": half.tolist(),
        "note": train.note,
        "training_scans": len(train.names),
        "training_people": len(set(train.people)),
        "prepared": None if prepared is None else prepared._asdict(),
    }
    workdir.write_json(folder / workdir.MODEL, facts)


def train(config: ConfigDict, folder: str | Path, *, allow_config_change: bool = False) -> Path:
    """Learns a population: data from `config.data`, checkpoints and logs into `folder`, resumed if it holds any.

    Returns the folder. Raises InputError for bad data, an unknown name in the config, or a folder that holds another
    training; InterruptedError when asked to stop (the state is saved).
    """
    folder = Path(folder)
    recipe.stages(config)  # what cannot be run is told before data are made
    population, validation = data.load(config.data, "train"), data.load(config.data, "validation")
    for scans in (population, validation):
        stage_checks.check_people(config, scans)
    if "autodecoder" in config.train.stages:
        visits.check_patch(config.train.autodecoder, population.measured.shape, "train.autodecoder")
    first = starting.find(config, population)
    half = starting.half_extent(first, population)
    built = model.build(config, model.Signal.of(population))
    with workdir.locked(folder):
        prepare_workdir(folder, config, population, validation, half, allow_config_change)
        if recipe.stages(config):
            _learn(config, folder, built, first, population, validation, half)
        else:
            log.info("nothing is learned over a population: adapt, evaluate and validate fit a network to each scan")
            state = starting.initial_state(first, config, built, len(population.names))
            checkpoint.save(folder, state, step=0, validation=WORST, keep=1)
    if config.doubt.calibrate and recipe.stages(config) and not calibrate.is_current(folder):
        calibrate.calibrate(folder)
        likeness.learn(folder)
    return folder


def _learn(
    config: ConfigDict, folder: Path, built: Model, first: Trained | None, population: Population,
    validation: Population, half: np.ndarray,
) -> None:  # fmt: skip
    """All stages that are left."""
    state = starting.initial_state(first, config, built, len(population.names))
    if checkpoint.latest(folder) is not None:
        state, step = checkpoint.restore(folder, state)
        log.info("resuming %s at step %d", folder, step)
    workdir.drop_lines_after(folder / workdir.LOG, int(state.step))
    validate = Validation(config, built, validation, half)
    device_data = measurements.to_device(population, half, config.model.extent.to_dict())
    pools = measurements.pools(population.measured, held_out=config.fit.held_out)
    stages = recipe.stages(config)
    with (
        stop_signal() as stop,
        SummaryWriter(str(folder / "tensorboard"), purge_step=int(state.step)) as writer,
    ):
        for before, stage in zip((None, *stages), stages, strict=False):
            if int(state.step) >= stage.end:
                continue
            if int(state.step) == stage.first:
                enter = entering.make_enter(config, stage, before, built, pools, validate.grid)
                state = enter(state, device_data, stage.hyper)
            state = _run_stage(config, folder, stage, state, built, device_data, pools, validate, writer, stop)


def _run_stage(
    config: ConfigDict, folder: Path, stage: recipe.Stage, state: State, built: Model, device_data: Measurements,
    pools: Pools, validate: Validation, writer: SummaryWriter, stop: threading.Event,
) -> State:  # fmt: skip
    """The steps of a stage that are left, in dispatches that end wherever something is due."""
    run = recipe.in_place(recipe.make_run(config, stage, built, pools, validate.grid))
    options = config.train
    length = visits.epoch_length(config, stage.name, pools, validate.grid, device_data.scale.shape[0])
    bar = progress.bar(
        total=min(stage.end - stage.first, options.stop.epochs * length or stage.end),
        initial=int(state.step) - stage.first,
        desc=f"train: {stage.name}",
        unit="step",
    )
    by_epoch = bool(options.stop.epochs or options.stop.patience)
    course = _course(folder, int(state.step)) if by_epoch else Course()
    left_out = 0.0
    with bar:
        bar.set_postfix_str("compiling, once")
        while (step := int(state.step)) < stage.end and not epochs.is_over(course, options.stop):
            due = recipe.next_due(config, stage, step)
            due = min(due, stage.first + recipe.next_multiple(step - stage.first, length)) if by_epoch else due
            count = due - step
            began = time.perf_counter()
            state, metrics = run(state, device_data, stage.hyper, jnp.int32(count))
            now = int(state.step)
            totals = {name: float(metrics.pop(f"{name}_total")) for name in recipe.TOTALS}
            course, left_out = course._replace(total=course.total + totals["loss"]), left_out + totals["skipped"]
            seconds = (time.perf_counter() - began) / count
            bar.update(count)
            _check_moves(config, stage, state)
            if now % options.log_every == 0 or now == stage.end:
                told = {"step": now, "stage": stage.name, "seconds_per_step": seconds, "skipped": left_out}
                left_out = 0.0  # steps since the line before
                _tell(folder, writer, bar, told, metrics)
            stopped = stop.is_set()
            if by_epoch and (now - stage.first) % length == 0:
                course, before = epochs.after_epoch(course, course.total / length, options.stop), course
                _log(folder, writer, {"step": now, "epoch": course.epoch, "epoch_loss": before.total / length})
                if course.best < before.best or epochs.is_over(course, options.stop):
                    _save_epoch(folder, state, course, before.total / length, options.keep)
                    continue
            if by_epoch and (now % options.save_every == 0 or now == stage.end or stopped):
                _save_epoch(folder, state, course, float("inf"), options.keep)
            elif now % options.save_every == 0 or now == stage.end or stopped:
                _save(folder, state, stage, validate, writer, options.keep)
            if stopped:
                raise InterruptedError(
                    f"{folder}: stopped and saved at step {now}; the same command goes on from there"
                )
    return state


def _tell(folder: Path, writer: SummaryWriter, bar: Any, told: dict[str, Any], metrics: dict[str, Array]) -> None:
    """A line of the log, and the first number that people look at behind the bar."""
    record = {name: float(value) for name, value in metrics.items() if name not in told}
    _log(folder, writer, told | record)
    shown = next(name for name in ("psnr", "loss") if name in record)  # an encoder answers no intensity
    bar.set_postfix({shown: f"{record[shown]:.4g}"}, refresh=False)


def _check_moves(config: ConfigDict, stage: recipe.Stage, state: State) -> None:
    """InputError where step after step is left out, so that nothing is learned any more."""
    left_out, options = int(state.guard.row), config.train
    if options.skipped_in_row and left_out >= options.skipped_in_row:
        part = "field" if "field" in stage.learns else stage.learns[0]
        raise InputError(
            f"train.{stage.name}.rates.{part}: expected a rate that this training stands; found "
            f"{options[stage.name].rates[part]:g}: {left_out} steps in a row, to step {int(state.step)}, had gradients "
            f"that are not finite or over {config.hyper.skip_ratio:g} times as long as before; lower it"
        )


def _course(folder: Path, step: int) -> Course:
    """How far a training that counts in epochs was at its checkpoint."""
    if step == 0:
        return Course()
    lines = (json.loads(line) for line in (folder / workdir.LOG).read_text().splitlines())
    found = [line["course"] for line in lines if line["step"] == step and "course" in line]
    return Course(*found[-1])


def _save_epoch(folder: Path, state: State, course: Course, loss: float, keep: int) -> None:
    """A checkpoint scored by an epoch's mean loss (inf: within an epoch, never the best).

    Its course is written first: a line without its checkpoint is dropped on resuming.
    """
    step = int(state.step)
    workdir.append_line(folder / workdir.LOG, {"step": step, "course": list(course)})
    checkpoint.save(folder, state, step=step, validation=-loss, keep=keep)


def _log(folder: Path, writer: SummaryWriter, record: dict[str, Any]) -> None:
    workdir.append_line(folder / workdir.LOG, record)
    for name, value in record.items():
        if isinstance(value, float):
            writer.add_scalar(name, value, record["step"])


def _save(
    folder: Path, state: State, stage: recipe.Stage, validate: Validation, writer: SummaryWriter, keep: int
) -> None:
    step = int(state.step)
    # before the start and the step sizes are known an adaptation means nothing: never the best
    validation = validate(state) if stage.name in recipe.INNER else WORST
    checkpoint.save(folder, state, step=step, validation=validation, keep=keep)
    if stage.name in recipe.INNER:
        _log(folder, writer, {"step": step, "stage": stage.name, "validation_psnr": validation})
        picture = validate.picture(state)
        writer.add_image("validation/given_and_answered", picture, step, dataformats="HWC")
