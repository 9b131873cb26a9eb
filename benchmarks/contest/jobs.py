"""What is to be computed in which order, and what it costs."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from contest import flops, rows, scans
from contest.settings import Method, Size
from inr_jax import model, sweeps
from inr_jax.config_script import load_config
from inr_jax.errors import InputError
from inr_jax.flops import Products
from inr_jax.model import Signal
from inr_jax.types import Modulation

BASELINES = "baselines"  # all that need no training of a network
ANCHOR = "linear"  # a row of theirs: all are written together


class Plan(NamedTuple):
    """What was asked for."""

    size_name: str
    size: Size
    table: Mapping[str, Method]
    keys: Callable[[str], dict[str, object]]  # population -> the config keys of its scans
    names: tuple[str, ...]  # methods, or BASELINES
    seeds: tuple[int, ...]
    populations: tuple[str, ...]
    split: str
    contexts: tuple[str, ...]  # of those that the scans have
    kind: str  # of the places that settings are chosen by
    long_people: int  # whose first scans get long fits; 0: all
    path: Path  # of the rows
    quick: bool  # denoisers are tuned on fewer scans


class Job(NamedTuple):
    """Rows that are computed together."""

    method: str
    setting: str | None  # None: the one that validation people chose
    seed: int | None
    population: str
    context: str
    split: str
    steps: tuple[int, ...]


def plan_jobs(plan: Plan, contexts: Sequence[str]) -> Iterator[Job]:
    """Baselines and settings first; then the first seed of every population for all methods, then the next seed.

    Settings are compared at one number of steps, on the first population and seed; long fits are of the first seed
    alone.
    """
    learned = [name for name in plan.names if name != BASELINES]
    for population in plan.populations if BASELINES in plan.names else ():
        for context in contexts:
            yield Job(BASELINES, "", None, population, context, plan.split, (0,))
    for name in learned if plan.split == "validation" else ():
        method = plan.table[name]
        for setting in method.settings:
            first = (plan.seeds[0], plan.populations[0], scans.CONTEXTS[0], plan.split)
            yield Job(name, setting, *first, (method.chosen_at,))
    for seed in plan.seeds:
        for population in plan.populations:
            for name in learned:
                method = plan.table[name]
                is_long = method.way == "adam" and seed != plan.seeds[0]
                steps = tuple(n for n in method.steps if not is_long or n <= plan.size.long)
                for context in contexts:
                    yield Job(name, None, seed, population, context, plan.split, steps)


def settled(plan: Plan, job: Job, known: Sequence[rows.Row]) -> Job:
    """The job with its setting. Raises InputError where validation people have not chosen one yet."""
    if job.setting is not None:
        return job
    found = rows.chosen(known, job.method, plan.table[job.method].chosen_at, plan.kind, size=plan.size_name)
    if found is None:
        raise InputError(
            f"--split: expected rows of {job.method} on validation people in {plan.path}, which choose its setting; "
            "found none: run with --split=validation first"
        )
    return job._replace(setting=found)


def missing(plan: Plan, job: Job, known: Collection[tuple]) -> tuple[int, ...]:
    """Steps of a job that have no row yet; of one whose setting is not chosen, all."""
    facts = (job.setting, job.seed, job.population, job.context)
    names = {n: ANCHOR if job.method == BASELINES else row_name(plan, job.method, n) for n in job.steps}
    return tuple(n for n in job.steps if (plan.size_name, job.split, names[n], *facts, n) not in known)


def row_name(plan: Plan, method: str, steps: int) -> str:
    """What a row of a method after so many steps is called."""
    return f"{method}, fine-tuned" if steps and steps == plan.table[method].fine_tuned else method


def fits(plan: Plan, method: Method, steps: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """(steps, people) that are fitted together: what takes long, on the first people alone (0: all)."""
    short = tuple(n for n in steps if method.way == "steps" or n <= plan.size.long)
    long = tuple(n for n in steps if n not in short)
    yield from ((some, people) for some, people in ((short, 0), (long, plan.long_people)) if some)


def config_of(plan: Plan, job: Job) -> ConfigDict:
    """The config of a settled job: the size's changes, then the method's, the setting's, the scans' and the seed."""
    assert job.setting is not None, "a setting is chosen first"
    method = plan.table[job.method]
    where = {"train.seed": job.seed, **plan.keys(job.population)}
    own = plan.size.changes | method.changes | method.settings[job.setting]
    return sweeps.configured(load_config(method.config), own | where)


def products_of(config: ConfigDict, signal: Signal) -> tuple[Products, Modulation]:
    """The products of a config's field, and its modulation's shapes."""
    built = model.build(config, signal)
    params = jax.eval_shape(lambda: built.init(jax.random.key(0), model.hyper_of(config)))
    modulation = jax.eval_shape(built.modulation, params.start)
    return flops.products_of(params.field, modulation), modulation


def training_cost(config: ConfigDict, signal: Signal) -> float:
    """GFLOP of a training."""
    counted, _ = products_of(config, signal)
    total = 0.0
    for name in config.train.stages:
        options = config.train[name]
        one = (
            flops.decoder_step(counted, options.points)
            if name == "autodecoder"
            else flops.meta_step(counted, steps=config.adapt.steps, context=options.context, points=options.points)
        )
        total += options.steps * options.subjects * one
    return total / 1e9


def adapting_cost(config: ConfigDict, signal: Signal, steps: Sequence[int], *, way: str) -> float:
    """GFLOP of adapting to one scan: in one fit that is looked at after all of the steps (adam), or each on its own."""
    counted, modulation = products_of(config, signal)
    taken = max(steps) if way == "adam" else sum(steps)
    return taken * flops.gradient_step(counted, modulation, config.adapt.points) / 1e9
