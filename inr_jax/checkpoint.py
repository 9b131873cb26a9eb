"""Checkpoints: Orbax behind `save`, `restore` and `latest`.

Orbax writes under a temporary name and renames, keeps the newest few and the best by validation. It reads damaged
files back as whatever they hold, so each checkpoint carries a checksum of its arrays, and `restore` falls back to the
one before when the newest does not pass.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from inr_jax.errors import InputError
from inr_jax.types import Params

FOLDER = "checkpoints"
_policies = ocp.training.preservation_policies
log = logging.getLogger(__name__)


def _checkpointer(workdir: Path, keep: int) -> ocp.training.Checkpointer:
    """Keeps the `keep` newest and the best by validation PSNR."""
    best = _policies.BestN(get_metric_fn=lambda metrics: metrics["validation"], n=1)
    policy = _policies.AnyPreservationPolicy([_policies.LatestN(keep), best])
    return ocp.training.Checkpointer(
        (workdir / FOLDER).absolute(), preservation_policy=policy, cleanup_tmp_directories=True
    )


def checksum(state: Params) -> str:
    """SHA-256 over paths, shapes, dtypes and bytes of every leaf."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(workdir: Path, state: Params, *, step: int, validation: float, keep: int = 3) -> None:
    """Writes the state of a step, complete or not at all. validation: PSNR in dB, what `best` means."""
    with _checkpointer(workdir, keep) as checkpointer:
        if checkpointer.latest is not None and checkpointer.latest.step >= step:
            # written by a run that was resumed from an older checkpoint because this one is damaged
            for old in [c.step for c in checkpointer.checkpoints if c.step >= step]:
                checkpointer.delete(old)
        checkpointer.save(step, state, metrics={"validation": validation}, custom_metadata={"sha256": checksum(state)})


def _steps(workdir: Path, *, best_first: bool) -> list[int]:
    if not (workdir / FOLDER).is_dir():
        return []
    with _checkpointer(workdir, 1) as checkpointer:
        found = list(checkpointer.checkpoints)
    newest_first = sorted((c.step for c in found), reverse=True)
    scored = [c for c in found if c.metrics and np.isfinite(c.metrics["validation"])]
    if not best_first or not scored:
        return newest_first
    best = max(scored, key=lambda c: c.metrics["validation"]).step
    return [best, *(step for step in newest_first if step != best)]


def latest(workdir: Path) -> int | None:
    """The newest step there is, None if there is none."""
    return next(iter(_steps(workdir, best_first=False)), None)


def _load(workdir: Path, step: int, like: Params) -> Params:
    """One checkpoint; ValueError if it is damaged or of another shape."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
    with _checkpointer(workdir, 1) as checkpointer:
        expected = (checkpointer.metadata(step).custom_metadata or {}).get("sha256")
        state = checkpointer.load(step, abstract)
    if checksum(state) != expected:
        raise ValueError("its checksum differs from the one written with it")
    return state


def restore(workdir: Path, like: Any, *, best: bool = False) -> tuple[Any, int]:
    """The newest (or the best) whole checkpoint and its step.

    like: a state of the same structure, shapes and dtypes. A damaged checkpoint is named in a warning and the one
    before it is tried. Raises InputError if there is none, or none that can be read.
    """
    steps = _steps(workdir, best_first=best)
    if not steps:
        raise InputError(f"{workdir}: expected a trained model ({FOLDER}/); found no checkpoint")
    for step in steps:
        try:
            return _load(workdir, step, like), step
        except (
            KeyError,
            ValueError,
            OSError,
        ) as error:  # Orbax: NoEntryError is a KeyError; the cause is in its text
            reason = str(error).strip("'\"").splitlines()[0][:160]
            log.warning(
                "%s: checkpoint %d is damaged or does not fit (%s); trying the one before",
                workdir,
                step,
                reason,
            )
    raise InputError(
        f"{workdir}: none of the {len(steps)} checkpoints could be read; they are damaged or of another model"
    )
