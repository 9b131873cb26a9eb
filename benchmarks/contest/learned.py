"""Trainings of the comparison: kept on disk, so that a rerun and the final pass on test people find them."""

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from inr_jax import batched, checkpoint, model, render, variant_runs, workdir
from inr_jax.batched import Group, Tell
from inr_jax.model import Model
from inr_jax.recipe import Stage
from inr_jax.train import Validation
from inr_jax.types import Hyper, MetaParams, Population

FACTS = "training.json"
APART = ("adapt.rate", "adapt.residual")  # read by no training but in what it is watched by
log = logging.getLogger(__name__)


class Training(NamedTuple):
    """What a population has taught, and what that took."""

    params: MetaParams
    facts: dict[str, Any]  # curve, train_seconds, train_compile_seconds, train_memory_mb, reason ("" or why it is none)


class FittedValidation(Validation):
    """PSNR in dB after a short fit by Adam: what an auto-decoder, which has no learned steps, is watched by."""

    def __init__(self, config: ConfigDict, built: Model, population: Population, half: np.ndarray) -> None:
        super().__init__(config, built, population, half)
        pools = batched.measurements.pools(population.measured, held_out=config.fit.held_out)
        fit = render.make_epochs(config, built, self.grid, pools, pools.context)

        def adapt(params: MetaParams, data: Any, i: Array, hyper: Hyper) -> tuple[Any, None]:
            return fit.epoch(params, data, i, fit.begin(i))[0].modulation, None

        self.adapt = adapt


class DecoderGroup(Group):
    """Trainings of an auto-decoder alone."""

    @cached_property
    def validate(self) -> Validation:
        return FittedValidation(self.config, self.built, self.validation, self.half)

    def score(self, stage: Stage, params: MetaParams, hypers: Hyper, over: str) -> Float[Array, "V"]:
        return self.measure(params, hypers, over)


def group_of(config: ConfigDict, train: Population, validation: Population) -> Group:
    kind = DecoderGroup if tuple(config.train.stages) == ("autodecoder",) else Group
    return kind(config, train, validation)


def place_of(folder: Path, method: str, config: ConfigDict) -> Path:
    """The folder of a training: the same for settings that differ in how a new scan is adapted to alone."""
    known = {name: value for name, value in batched.flat(config.to_dict()) if not name.startswith(APART)}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{''.join(c if c.isalnum() else '_' for c in method)}_{digest}"


def is_there(place: Path) -> bool:
    return (place / FACTS).is_file()


def kept(place: Path, built: Model, config: ConfigDict) -> Training:
    """A training that was finished before."""
    like = jax.eval_shape(lambda: built.init(jax.random.key(0), model.hyper_of(config)))
    return Training(checkpoint.restore(place, like)[0], workdir.read_json(place / FACTS))


def learned(place: Path, group: Group, config: ConfigDict, tell: Tell) -> Training:
    """A training of one variant of a group, kept in its folder."""
    before = group.compile_seconds
    course = batched.train(group, [config], "map", tell)
    params = jax.tree.map(lambda leaf: leaf[0], course.params)
    curve = [
        {"step": entry["step"], "seconds": entry["seconds"], "psnr": float(entry["validation_psnr"][0])}
        for entry in course.curve
        if entry["validation_psnr"] is not None
    ]
    facts = {
        "curve": curve,
        "train_seconds": course.seconds,
        "train_compile_seconds": group.compile_seconds - before,
        "train_memory_mb": _memory(group, range(len(group.stages))),
        "reason": variant_runs.diverged(course, 0),
    }
    checkpoint.save(place, params, step=group.stages[-1].end, validation=curve[-1]["psnr"])
    workdir.write_json(place / FACTS, facts)
    return Training(params, facts)


def _memory(group: Group, stages: Sequence[int]) -> float:
    """MB that XLA says an outer step needs in between, of the stage that needs most."""
    programs = [group.programs[f"run {s}", "map", 1] for s in stages]
    return max(program.memory_analysis().temp_size_in_bytes for program in programs) / 1e6
