"""Variants of one shape, trained in one program: a batch of states beside a batch of numeric settings.

    states [V, ...], settings [V] -> states [V, ...]        each as `train` alone would have it

The V variants are computed at once (vmap) or one after the other inside the program (map). What they share, data and
compiled programs, is kept for the next V.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from inr_jax import entering, measurements, model, recipe, starting
from inr_jax.config_script import flat
from inr_jax.errors import InputError
from inr_jax.measurements import Measurements
from inr_jax.population import OVER, State
from inr_jax.recipe import Stage
from inr_jax.render import make_render
from inr_jax.train import WORST, Validation
from inr_jax.types import Hyper, MetaParams, Modulation, Population

Tell = Callable[[str, int, int], None]  # (doing, step, steps)


class Course(NamedTuple):
    """What is known of V variants after their training."""

    params: MetaParams  # [V, ...], each one's of its best validation
    curve: list[dict[str, Any]]  # step, stage, seconds (a variant's share), loss [V], validation_psnr [V] or None
    skipped: dict[str, Float[np.ndarray, "V"]]  # by stage, the share of its steps that moved nothing
    seconds: float  # a variant's share, compilation and validation apart


class Group:
    """What variants of one shape share: scans, model, and the programs compiled for so many of them.

    config: any one's of them; the numbers in which they differ are not read from it.
    """

    def __init__(self, config: ConfigDict, train: Population, validation: Population) -> None:
        check(config)
        self.config, self.stages, self.train, self.validation = config, recipe.stages(config), train, validation
        self.first = starting.find(config, train)
        self.half = starting.half_extent(self.first, train)
        self.built = model.build(config, model.Signal.of(train))
        self.subjects, self.classes, self.grid = len(train.names), train.classes, train.measured.shape
        self.data = measurements.to_device(train, self.half, config.model.extent.to_dict())
        self.pools = measurements.pools(train.measured, held_out=config.fit.held_out)
        self.programs: dict[tuple, Any] = {}
        self.compile_seconds = 0.0

    @cached_property
    def validate(self) -> Validation:
        return Validation(self.config, self.built, self.validation, self.half)

    def program(self, name: str, function: Callable, over: str, batch: tuple, *shared: Any) -> Any:
        """`function(*one, *shared)` of every one of a batch, compiled: called as program(batch, *shared)."""
        key = (name, over, len(jax.tree.leaves(batch)[0]))
        if key not in self.programs:
            began = time.perf_counter()
            each = jax.jit(lambda batch, *shared: OVER[over](lambda one: function(*one, *shared), batch))
            self.programs[key] = each.lower(batch, *shared).compile()
            self.compile_seconds += time.perf_counter() - began
        return self.programs[key]

    def start(self, hypers: Hyper, over: str) -> State:
        """States of step 0, [V]."""

        def one(hyper: Hyper) -> State:
            return starting.initial_state(self.first, self.config, self.built, self.subjects, hyper)

        return self.program("start", one, over, (hypers,))((hypers,))

    def enter(self, s: int, states: State, hypers: Hyper, over: str) -> State:
        """The states that stage number s begins with."""
        before = self.stages[s - 1] if s else None
        function = entering.make_enter(self.config, self.stages[s], before, self.built, self.pools, self.grid)

        def one(state: State, hyper: Hyper, data: Measurements) -> State:
            return function(state, data, hyper)

        return self.program(f"enter {s}", one, over, (states, hypers), self.data)((states, hypers), self.data)

    def run(self, s: int, states: State, hypers: Hyper, over: str) -> Callable[..., Any]:
        """Steps of stage number s, compiled: ((states, hypers), data, count) -> (states, metrics [V])."""
        function = recipe.make_run(self.config, self.stages[s], self.built, self.pools, self.grid)

        def one(state: State, hyper: Hyper, data: Measurements, count: Array) -> Any:
            return function(state, data, hyper, count)

        return self.program(f"run {s}", one, over, (states, hypers), self.data, jnp.int32(1))

    def score(self, stage: Stage, params: MetaParams, hypers: Hyper, over: str) -> Float[Array, "V"] | None:
        """Validation PSNR in dB of what a stage has learned; None before there is a start to adapt from."""
        return self.measure(params, hypers, over) if stage.name in recipe.INNER else None

    def measure(self, params: MetaParams, hypers: Hyper, over: str) -> Float[Array, "V"]:
        """Validation PSNR in dB."""

        def one(params: MetaParams, hyper: Hyper, data: Measurements) -> Array:
            return self.validate.measure_one(params, data, hyper)

        batch, scans = (params, hypers), self.validate.data
        return self.program("measure", one, over, batch, scans)(batch, scans)

    def answer(self, params: MetaParams, hypers: Hyper, i: Int[Array, ""], over: str) -> tuple[Array, Array]:
        """Intensity [V, *grid, C] and labels [V, *grid] of validation scan i, each variant adapted to it."""
        render = make_render(self.built, self.validate.grid)

        def one(params: MetaParams, hyper: Hyper, data: Measurements, i: Array) -> tuple[Array, Array]:
            modulation, _ = self.validate.adapt(params, data, i, hyper)
            return render(params.field, modulation, data, i, hyper)

        batch, scans = (params, hypers), self.validate.data
        return self.program("answer", one, over, batch, scans, i)(batch, scans, i)

    def adapt(self, params: MetaParams, hypers: Hyper) -> Callable[[], Modulation]:
        """The adaptation alone of the first variant to the first validation scan, compiled, to be timed."""
        first = jax.tree.map(lambda leaf: leaf[:1], (params, hypers))
        shared = (self.validate.data, jnp.int32(0))

        def one(params: MetaParams, hyper: Hyper, data: Measurements, i: Array) -> Modulation:
            return self.validate.adapt(params, data, i, hyper)[0]

        program = self.program("adapt", one, "map", first, *shared)
        return lambda: jax.block_until_ready(program(first, *shared))


def check(config: ConfigDict) -> None:
    """Raises InputError where a training is none of a fixed number of steps, after which learned steps adapt."""
    if not recipe.stages(config):
        raise InputError("ablate: expected stages of training (train.stages); found none")
    known = dict(flat(config.to_dict()))
    for key in ("train.stop.epochs", "train.stop.patience", "adapt.epochs"):
        if found := known[key]:
            raise InputError(f"ablate: {key}: expected 0: trainings of fixed steps, learned steps after; found {found}")


def hypers_of(configs: Sequence[ConfigDict], s: int) -> Hyper:
    """Numeric settings of stage number s, [V]."""
    each = [recipe.stages(config)[s].hyper for config in configs]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def train(group: Group, configs: Sequence[ConfigDict], over: str, tell: Tell) -> Course:
    """All stages of V variants of a group. over: "vmap" | "map"."""
    curve: list[dict[str, Any]] = []
    seconds, skipped = 0.0, {}
    tell("compiling", 0, 0)
    states = group.start(hypers_of(configs, 0), over)
    best = (jnp.full(len(configs), -jnp.inf), states.params)
    for s, stage in enumerate(group.stages):
        hypers, skipped[stage.name] = hypers_of(configs, s), np.zeros(len(configs))
        tell(f"compiling {stage.name}", stage.first, group.stages[-1].end)
        states = group.enter(s, states, hypers, over)
        run = group.run(s, states, hypers, over)
        for now, count in _dispatches(group.config, stage):
            tell(f"training {stage.name}", now - count, group.stages[-1].end)
            began = time.perf_counter()
            states, metrics = jax.block_until_ready(run((states, hypers), group.data, jnp.int32(count)))
            seconds += (time.perf_counter() - began) / len(configs)
            skipped[stage.name] += np.asarray(metrics["skipped_total"]) / (stage.end - stage.first)
            is_saved = now % group.config.train.save_every == 0 or now == stage.end
            scored = group.score(stage, states.params, hypers, over) if is_saved else None
            if is_saved:
                best = _better(best, (jnp.full(len(configs), WORST) if scored is None else scored, states.params))
            if is_saved or now % group.config.train.log_every == 0:
                curve.append({"step": now, "stage": stage.name, "seconds": seconds} | _seen(metrics["loss"], scored))
    return Course(best[1], curve, skipped, seconds)


def _dispatches(config: ConfigDict, stage: Stage) -> Iterator[tuple[int, int]]:
    """(step after it, steps of it) of every dispatch of a stage."""
    step = stage.first
    while step < stage.end:
        due = recipe.next_due(config, stage, step)
        yield due, due - step
        step = due


def _seen(loss: Array, scored: Array | None) -> dict[str, Any]:
    return {"loss": np.asarray(loss), "validation_psnr": None if scored is None else np.asarray(scored)}


@jax.jit
def _better(best: tuple[Array, MetaParams], now: tuple[Array, MetaParams]) -> tuple[Array, MetaParams]:
    """Variant by variant the one of the higher score; the newer one of equals, as checkpoints are chosen."""
    newer = now[0] >= best[0]
    return jax.tree.map(lambda new, old: jnp.where(newer.reshape(-1, *(1,) * (new.ndim - 1)), new, old), now, best)
