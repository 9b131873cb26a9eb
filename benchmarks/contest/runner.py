"""Computes what is missing of a plan, row by row, with progress."""

import functools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from contest import answers, jobs, learned, rows, scans
from contest.answers import Learned
from contest.jobs import BASELINES, Job, Plan
from contest.rows import Row
from contest.scans import Scans
from inr_jax import baselines, coordinates, doctor, metrics, model, progress, sweeps, trained, workdir
from inr_jax.batched import Group
from inr_jax.config_script import tuples
from inr_jax.model import Signal
from inr_jax.types import MetaParams, Population

SCORING = 600.0  # GFLOP that rendering and scoring a population once counts as, in what is left
TUNING = 20_000.0  # and tuning the denoisers and the registration
FINE_TUNING = 5  # times our learned steps, whose points are more
UNTRAINED = {"curve": [], "train_seconds": 0.0, "train_compile_seconds": 0.0, "train_memory_mb": None, "reason": ""}
NEVER = {"seconds_per_scan": None, "points_evaluated": 0, "model_flops": 0, "compile_seconds": 0.0}
Load = Callable[[ConfigDict, str, str], Population]  # (config, population, split)
log = logging.getLogger(__name__)


@functools.lru_cache(maxsize=8)
def _loaded(options: str, population: str, split: str) -> Population:
    return scans.load(ConfigDict(tuples(json.loads(options))), population, split)


def loaded(config: ConfigDict, population: str, split: str) -> Population:
    """Scans of a config's data, kept for the next who asks."""
    return _loaded(json.dumps({"data": config.data.to_dict()}), population, split)


class Runner:
    """What jobs share: scans, rows, and the compiled programs of the newest method."""

    def __init__(self, plan: Plan, load: Load) -> None:
        self.plan, self.known, self.git = plan, rows.read(plan.path), workdir.git_state()
        self.begun, self.word = 0.0, ""
        self.load = load
        self.group: tuple[tuple, Group] | None = None
        self.programs: tuple[tuple, dict] = ((), {})
        self.bar = progress.bar(desc="benchmark", unit="GFLOP", unit_scale=True)

    def run(self) -> None:
        """All rows of the plan that are not there yet."""
        first = self.plan.populations[0]
        validation = self.load(self._base(first), first, "validation")
        signal = Signal.of(validation)
        contexts = tuple(name for name in scans.contexts(validation) if name in self.plan.contexts)
        everything = list(jobs.plan_jobs(self.plan, contexts))
        seen: set[Path] = set()
        costs = [self._cost(job, signal, seen) for job in everything]
        self.bar.total = sum(costs)
        for job, cost in zip(everything, costs, strict=True):
            self.begun, self.word = self.bar.n, f"{job.method}, population {job.population}, {job.context}"
            settled = jobs.settled(self.plan, job, self.known)
            steps = self._missing(settled)
            for found in self._rows(settled._replace(steps=steps), signal) if steps else ():
                rows.append(self.plan.path, found)
                self.known = rows.read(self.plan.path)
            self._at(cost)
        self.bar.close()

    def _missing(self, job: Job) -> tuple[int, ...]:
        return jobs.missing(self.plan, job, {rows.key(row) for row in self.known})

    def _at(self, done: float) -> None:
        """Tells the bar what is done of a job, in GFLOP."""
        self.bar.set_postfix_str(self.word, refresh=False)
        self.bar.update(max(self.begun + done - self.bar.n, 0.0))

    def _base(self, population: str) -> ConfigDict:
        """The config whose data part says which scans are loaded; every method has the same."""
        name = next(iter(self.plan.table))
        setting = next(iter(self.plan.table[name].settings))
        job = Job(name, setting, self.plan.seeds[0], population, "", self.plan.split, ())
        return jobs.config_of(self.plan, job)

    def _cost(self, job: Job, signal: Signal, seen: set[Path]) -> float:
        """GFLOP that are left of a job; each training counts once, with the first job that needs it."""
        if job.method == BASELINES:
            return TUNING if self._missing(job) else 0.0
        method = self.plan.table[job.method]
        guess = next(iter(method.settings))  # before there is a choice
        settled = job if job.setting is not None else job._replace(setting=guess)
        config, cost = jobs.config_of(self.plan, settled), 0.0
        place = self._place(settled, config)
        is_tried = job.setting is None and (job.seed, job.population) == (self.plan.seeds[0], self.plan.populations[0])
        if config.train.stages and not learned.is_there(place) and place not in seen and not is_tried:
            cost += jobs.training_cost(config, signal)
        seen.add(place)
        count = len(self.load(config, job.population, job.split).names)
        for steps, people in jobs.fits(self.plan, method, self._missing(settled)):
            counted = [FINE_TUNING * method.chosen_at if n == method.fine_tuned else n for n in steps]
            each = jobs.adapting_cost(config, signal, counted, way=method.way)
            cost += (people or count) * each + len(steps) * SCORING
        return cost

    def _place(self, job: Job, config: ConfigDict) -> Path:
        return learned.place_of(self.plan.path.with_suffix(""), job.method, config)

    def _rows(self, job: Job, signal: Signal) -> Iterator[list[Row]]:
        if job.method == BASELINES:
            yield self._baselines(job)
            return
        method, config = self.plan.table[job.method], jobs.config_of(self.plan, job)
        params, facts, half = self._trained(job, config, signal)
        scored = self.load(config, job.population, job.split)
        if facts["reason"]:
            log.warning("%s, %s: %s", job.method, job.setting, facts["reason"])
            cells = [(jobs.row_name(self.plan, job.method, n), n, kind)
                     for n in job.steps for kind in metrics.kinds(scored.measured)]  # fmt: skip
            yield [self._row(job, _nothing(name, kind), facts, NEVER, n, 0) for name, n, kind in cells]
            return
        if self.programs[0] != (job.method, job.setting):
            self.programs = ((job.method, job.setting), {})
        one = Learned(job.method, config, model.build(config, signal), params, method.puts_back, self.programs[1])
        for steps, people in jobs.fits(self.plan, method, job.steps):
            some = scans.first_of_people(scans.in_context(scored, job.context), people)
            placed = scans.on_device(some, half, config)
            for adapted in self._adapted(one, placed, steps):
                named = one._replace(name=jobs.row_name(self.plan, job.method, adapted.steps))
                yield self._scored(job, named, placed, adapted, facts)

    def _adapted(self, one: Learned, placed: Scans, steps: tuple[int, ...]) -> Iterator[answers.Adapted]:
        method = self.plan.table[one.name]
        if method.way == "adam":
            yield from answers.by_adam(one, placed, steps)
            return
        for n in steps:
            if n == method.fine_tuned:
                begun = answers.by_steps(one, placed, method.chosen_at, held_out=True)
                yield answers.fine_tuned(one, placed, begun)
            else:
                yield answers.by_steps(one, placed, n)

    def _trained(self, job: Job, config: ConfigDict, signal: Signal) -> tuple[MetaParams, dict, np.ndarray]:
        """What a job's population has taught, about it, and its box; a network for each scan has learned nothing."""
        source = scans.source(job.population)
        train = self.load(config, source, "train")
        if not config.train.stages:
            fresh = trained.untrained(config, train)
            return fresh.params, UNTRAINED, fresh.half
        half, place = coordinates.half_extent(train.measured.shape, train.spacing), self._place(job, config)
        if learned.is_there(place):
            found = learned.kept(place, model.build(config, signal), config)
        else:
            cost = jobs.training_cost(config, signal)
            group = self._group(source, config, train)
            found = learned.learned(place, group, config, lambda _, step, steps: self._at(cost * step / max(steps, 1)))
        return found.params, found.facts, half

    def _group(self, source: str, config: ConfigDict, train: Population) -> Group:
        """What trains a config: kept for the next one that differs from it in traced numbers alone."""
        key = (source, sweeps.group_of(config))
        if self.group is None or self.group[0] != key:
            self.group = None  # its memory goes before the next one's comes
            self.group = (key, learned.group_of(config, train, self.load(config, source, "validation")))
        return self.group[1]

    def _scored(
        self, job: Job, one: Learned, placed: Scans, adapted: answers.Adapted, facts: dict
    ) -> list[Row]:  # fmt: skip
        labelled = bool(one.config.train.stages) and bool(placed.population.classes) and one.config.model.segmentation
        method = self.plan.table[job.method]
        predictions = answers.predicted(one, placed, adapted, labelled=labelled)
        if one.puts_back and adapted.steps not in (method.chosen_at, method.fine_tuned):
            predictions = {one.name: predictions[one.name]}  # our field alone is shown at two numbers of steps
        layered = one.config.data.name in trained.OCT and placed.population.measured.ndim == 3
        size = {"modulation_size": answers.modulation_size(one)}
        count = len(placed.population.names)
        return [
            self._row(job, scores, facts, adapted.facts | size, adapted.steps, count)
            for scores in answers.scored(placed, predictions, split=job.split, layered=layered)
        ]

    def _baselines(self, job: Job) -> list[Row]:
        """Of each population and context: tuned on validation people of the same context."""
        source = scans.source(job.population)
        config = self._base(source)
        train, validation = self.load(config, source, "train"), self.load(config, source, "validation")
        scored = scans.in_context(self.load(config, job.population, job.split), job.context)
        tuned_on = scans.in_context(validation, job.context)
        predictions = baselines.all_baselines(train, tuned_on, scored, self.plan.quick)
        half = coordinates.half_extent(train.measured.shape, train.spacing)
        placed = scans.on_device(scored, half, config)
        layered = config.data.name in trained.OCT and scored.measured.ndim == 3
        found = answers.scored(placed, predictions, split=job.split, layered=layered)
        took = {
            name: {"seconds_per_scan": each.seconds and float(np.mean(each.seconds))}
            for name, each in predictions.items()
        }
        return [
            self._row(job, scores, UNTRAINED, NEVER | took[scores["method"]], 0, len(scored.names)) for scores in found
        ]

    def _row(self, job: Job, scores: Row, facts: dict, adapted: dict, steps: int, count: int) -> Row:
        device = jax.devices()[0].device_kind
        told = {name: facts[name] for name in ("train_seconds", "train_compile_seconds", "train_memory_mb")}
        is_chosen_at = job.method in self.plan.table and steps == self.plan.table[job.method].chosen_at
        about = {
            "size": self.plan.size_name, "split": job.split, "context": job.context, "setting": job.setting,
            "seed": job.seed, "population": job.population, "steps": steps, "scans": count,
            "cell": f"{scores['kind']}, {job.context}", "curve": facts["curve"] if is_chosen_at else [],
            "device": device, "cores": doctor.cores(),
            "git": self.git, "jax": jax.__version__,
        }  # fmt: skip
        return {"modulation_size": 0, "peak_memory_mb": None} | NEVER | scores | told | adapted | about


def _nothing(method: str, kind: str) -> Row:
    """Of a training that diverged: no scores."""
    return dict.fromkeys(rows.SCORES) | {"method": method, "kind": kind, "by_person": {}, "note": "diverged"}
