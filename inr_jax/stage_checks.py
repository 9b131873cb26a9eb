"""What a training's stages may be: each of these functions raises InputError, in one line, or does nothing."""

from collections.abc import Sequence
from itertools import pairwise

from ml_collections import ConfigDict

from inr_jax import gauge, population, visits
from inr_jax.errors import InputError
from inr_jax.types import CHANGES, NUISANCE, Population

STAGES = ("autodecoder", "encoder", "rule", "joint")


def check_stage(config: ConfigDict, name: str) -> None:
    """Raises InputError for a stage or a part that does not exist, or counts below the least there can be."""
    if name not in STAGES:
        raise InputError(f"train.stages: expected some of {', '.join(STAGES)}; found {name!r}")
    options = config.train[name]
    if unknown := set(options.rates) - set(population.PARTS):
        raise InputError(f"train.{name}.rates: expected {', '.join(population.PARTS)}; found {', '.join(unknown)}")
    visits.check(config, name)
    if options.over not in population.OVER:
        raise InputError(f"train.{name}.over: expected one of {', '.join(population.OVER)}; found {options.over!r}")
    for key, least in (("steps", 0), ("subjects", 1), ("points", 1), ("context", 1)):
        if key in options and options[key] < least:
            raise InputError(f"train.{name}.{key}: expected {least} or more; found {options[key]}")
    _check_scans(config, name)


def check_training(config: ConfigDict, stages: Sequence[str]) -> None:
    """Raises InputError for what does not go together in a training of these stages."""
    if config.train.schedule not in ("cosine", "exponential"):
        raise InputError(f"train.schedule: expected cosine or exponential; found {config.train.schedule!r}")
    _check_whitening(config, stages)
    for key in ("steps_per_dispatch", "save_every", "log_every", "keep", "validation_scans"):
        if config.train[key] < 1:
            raise InputError(f"train.{key}: expected 1 or more; found {config.train[key]}")
    visits.check_stop(config, list(stages))
    _check_guard(config)
    _check_parts(config, stages)
    _check_encoder(config, stages)


def _check_guard(config: ConfigDict) -> None:
    """Raises InputError for a guard that would leave out every step, or none in a way that cannot be."""
    if not config.hyper.skip_ratio > 1:
        raise InputError(f"hyper.skip_ratio: expected more than 1; found {config.hyper.skip_ratio:g}")
    if config.train.skipped_in_row < 0:
        raise InputError(f"train.skipped_in_row: expected 0 or more; found {config.train.skipped_in_row}")


def _check_parts(config: ConfigDict, stages: Sequence[str]) -> None:
    """Raises InputError for a modulation that these stages do not learn."""
    parts = tuple(config.model.modulation.parts)
    if not stages and parts != ("weights",):
        raise InputError(
            f"train.stages: expected at least one of autodecoder, rule, joint for a modulation of {', '.join(parts)} "
            "(none where it is weights alone: one network for each scan); found none"
        )
    if "autodecoder" in stages and all(part in CHANGES for part in parts):
        raise InputError(f"train.stages: expected codes for an auto-decoder; found {', '.join(parts)}")
    if NUISANCE in parts and stages[0] != "autodecoder":
        raise InputError(
            f"train.stages: expected autodecoder first with {NUISANCE} in model.modulation.parts: no other stage "
            f"learns how the B-scans moved that are not adapted to; found {stages[0]}"
        )


def _check_whitening(config: ConfigDict, stages: Sequence[str]) -> None:
    """Raises InputError for a metric that does not exist, or where codes that were not learned are to tell it."""
    if config.train.whiten_by not in gauge.METRICS:
        known = ", ".join(gauge.METRICS)
        raise InputError(f"train.whiten_by: expected one of {known}; found {config.train.whiten_by!r}")
    found = config.train.whiten_by
    if stages and "autodecoder" not in stages and config.train.whiten and found != "curvature":
        raise InputError(f"train.whiten_by: expected curvature where train.stages has no autodecoder; found {found}")


def _check_encoder(config: ConfigDict, stages: Sequence[str]) -> None:
    """Raises InputError for an encoder's stage without an encoder, or without an auto-decoder right before it."""
    for before, name in pairwise(("nothing", *stages)):
        if name == "encoder" and before != "autodecoder":
            raise InputError(f"train.stages: expected autodecoder right before encoder; found {before}")
        if name == "encoder" and config.model.start != "encoder":
            raise InputError(f"model.start: expected encoder for the stage encoder; found {config.model.start!r}")


def _check_scans(config: ConfigDict, name: str) -> None:
    """Raises InputError where a stage cannot do with the first `hyper.training_scans`."""
    scans, least = config.hyper.training_scans, config.train[name].subjects
    if scans and visits.takes_whole_bscans(config, name):
        raise InputError(f"hyper.training_scans: expected 0 where train.{name}.draw is bscans; found {scans:g}")
    if scans and scans < least:
        raise InputError(
            f"hyper.training_scans: expected 0 or at least train.{name}.subjects, {least}; found {scans:g}"
        )


def check_people(config: ConfigDict, scans: Population) -> None:
    """Raises InputError where another person's SLO is asked for and there is no other person."""
    swapped = config.hyper.side_swapped
    if swapped not in (0.0, 1.0):
        raise InputError(f"hyper.side_swapped: expected 0.0 or 1.0; found {swapped:g}")
    if swapped and len(set(scans.people)) < 2:
        raise InputError("hyper.side_swapped: expected scans of two people or more to swap SLOs; found one person")
