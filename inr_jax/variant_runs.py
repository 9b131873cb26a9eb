"""Works of a sweep computed: their variants trained in chunks of one program each, scored on validation people."""

import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from inr_jax import batched, chunks, data, evaluate, modulations, stage_checks, trained, workdir
from inr_jax.baselines import Prediction
from inr_jax.batched import Course, Group
from inr_jax.config_script import tuples
from inr_jax.engines import SCORING, Progress, Work, failed
from inr_jax.errors import InputError
from inr_jax.sweeps import Variant
from inr_jax.types import Population

SPLIT = "validation"
SCORED_AT_ONCE = 8  # variants whose answers are in memory
SEEN = ("loss", "validation_psnr")  # of every variant, along its training
COLLAPSE = 3.0  # dB below its best at which a training has lost what it had learned
STILL = 0.5  # a training with a stage of which more steps than this share moved nothing has diverged


@functools.lru_cache(maxsize=2)
def _population(options: str, split: str) -> Population:
    return data.load(ConfigDict(tuples(json.loads(options))), split)


_groups: dict[str, Group] = {}  # the newest alone: its programs stay compiled for the next work of the same group


def group_of(work: Work, config: ConfigDict) -> Group:
    """The group of a work, with what was compiled for it before."""
    if work.group not in _groups:
        _groups.clear()
        options = json.dumps(config.data.to_dict())
        _groups[work.group] = Group(config, _population(options, "train"), _population(options, SPLIT))
    return _groups[work.group]


def run(work: Work, tell: Any, *, memory: float | None = None, over: str = "auto") -> Iterator[dict[str, Any]]:
    """A result for every variant of a work, chunk by chunk.

    memory: GB that a program may take; None: a share of what is free. over: "auto" (by timing) | "vmap" | "map".
    A chunk for which memory does not suffice after all is halved. Raises InputError where not even one variant fits.
    """

    def say(doing: str, step: int, steps: int, variants: int = len(work.variants)) -> None:
        tell(Progress(work.group, doing, variants, step, steps))

    say("reading data", 0, 0)
    pairs = [(variant, work.config_of(variant)) for variant in work.variants]
    group = group_of(work, pairs[0][1])
    refused = {variant.name: failed(work, variant, reason) for variant, reason in unfit(group, pairs)}
    yield from refused.values()
    if pairs := [pair for pair in pairs if pair[0].name not in refused]:
        say("timing a step", 0, 0)
        configs, bytes_free = [config for _, config in pairs], chunks.limit(memory)
        cost = chunks.measure(group, configs, bytes_free, over)
        size, over = chunks.choose(cost, len(pairs), bytes_free, over)
        yield from chunks.in_chunks(lambda chunk: _chunk(group, chunk, over, say), pairs, size)


def unfit(group: Group, pairs: Sequence[tuple[Variant, ConfigDict]]) -> Iterator[tuple[Variant, str]]:
    """Variants that these scans do not do for, and why."""
    for variant, config in pairs:
        try:
            for scans in (group.train, group.validation):
                stage_checks.check_people(config, scans)
        except InputError as error:
            yield variant, str(error)


def _chunk(
    group: Group, chunk: Sequence[tuple[Variant, ConfigDict]], over: str, say: Callable[..., None]
) -> list[dict[str, Any]]:
    """The results of variants that are trained at once."""
    variants, configs = zip(*chunk, strict=True)
    say = functools.partial(say, variants=len(chunk))
    course = batched.train(group, configs, over, say)
    seconds = scan_seconds(group, course, configs)

    def scored(part: Sequence[int]) -> list[list[dict[str, Any]]]:
        say(SCORING, part[0], len(chunk))
        return _scores(group, course, configs, part, over, seconds)

    rows = list(chunks.in_chunks(scored, range(len(chunk)), SCORED_AT_ONCE))
    codes = group.built.modulation(group.built.codes)
    shared = {
        "modulation_size": modulations.size(codes),
        "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(course.params.field)),
        "seconds_training": course.seconds,
        "seconds_per_scan": seconds,
        "together": {"variants": len(chunk), "over": over, "compile_seconds": group.compile_seconds},
        "data": "/".join(workdir.fingerprint(scans)[:12] for scans in (group.train, group.validation)),
        "device": jax.devices()[0].device_kind,
        "note": group.validation.note,
    }
    return [
        result(variant, config, course, v, rows[v]) | shared
        for v, (variant, config) in enumerate(zip(variants, configs, strict=True))
    ]


def result(variant: Variant, config: ConfigDict, course: Course, v: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is known of the v-th variant of a chunk."""
    reason = diverged(course, v) or ("" if rows else "its answer for a scan is not finite")
    return {
        "variant": variant.name,
        "settings": variant.settings,
        "changes": variant.changes,
        "config": config.to_dict(),
        "status": "diverged" if reason else "finished",
        "reason": reason,
        "curve": [entry | {name: _number(entry[name], v) for name in SEEN} for entry in course.curve],
        "skipped": {stage: float(shares[v]) for stage, shares in course.skipped.items()},
        "rows": [] if reason else rows,
    }


def diverged(course: Course, v: int) -> str:
    """Why the v-th training is no result; "" where it is one."""
    last = course.curve[-1]
    if not np.isfinite(last["loss"][v]):
        return f"its loss is not finite at step {last['step']}"
    for stage, skipped in course.skipped.items():
        if skipped[v] > STILL:
            return f"{skipped[v]:.0%} of the steps of stage {stage} moved nothing: gradients too long or not finite"
    seen = [entry["validation_psnr"][v] for entry in course.curve if entry["validation_psnr"] is not None]
    if seen and seen[-1] <= batched.WORST:
        return f"its validation is not finite at step {last['step']}"
    if seen and seen[-1] < max(seen) - COLLAPSE:
        return f"its validation fell from {max(seen):.1f} to {seen[-1]:.1f} dB"
    return ""


def _number(values: np.ndarray | None, v: int) -> float | None:
    if values is None or not math.isfinite(values[v]) or values[v] <= batched.WORST:
        return None
    return float(values[v])


def scan_seconds(group: Group, course: Course, configs: Sequence[ConfigDict]) -> float:
    """Seconds in which a scan is adapted to, warm: the least of three."""
    adapt = group.adapt(course.params, batched.hypers_of(configs, -1))
    adapt()
    found = []
    for _ in range(3):
        began = time.perf_counter()
        adapt()
        found.append(time.perf_counter() - began)
    return min(found)


def _scores(
    group: Group, course: Course, configs: Sequence[ConfigDict], part: Sequence[int], over: str, seconds: float
) -> list[list[dict[str, Any]]]:
    """The rows of an evaluation on validation people for some of the variants; none where an answer is not finite."""
    scans = group.validation
    every = (course.params, batched.hypers_of(configs, -1))
    params, numbers = jax.tree.map(lambda leaf: leaf[part[0] : part[-1] + 1], every)
    intensity, labels = [], []
    for i in range(len(scans.names)):
        values, classes = map(np.asarray, group.answer(params, numbers, jnp.int32(i), over))
        intensity.append([trained.put_back(group.config, one, scans, i) for one in values])
        labels.append(classes.astype(np.int32))
    answers = [([of[v] for of in intensity], [of[v] for of in labels]) for v in range(len(part))]
    return [
        _rows(group, values, classes, seconds) if all(np.isfinite(one).all() for one in values) else []
        for values, classes in answers
    ]


def _rows(group: Group, intensity: list[np.ndarray], labels: list[np.ndarray], seconds: float) -> list[dict[str, Any]]:
    """The rows of one variant."""
    name, scans = trained.own_name(group.config), group.validation
    knows = group.classes and group.config.model.segmentation
    answer = Prediction(np.stack(intensity), np.stack(labels) if knows else None, "", [seconds] * len(scans.names))
    layered = group.config.data.name in trained.OCT and scans.measured.ndim == 3
    rows, _ = evaluate.score_all(scans, {name: answer}, split=SPLIT, layered=layered)
    return [{k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in row.items()} for row in rows]
