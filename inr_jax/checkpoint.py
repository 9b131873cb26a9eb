"""Checkpoints: Orbax behind `save`, `restore` and `latest`.

Orbax writes under a temporary name and renames. It reads damaged files back as whatever they hold, so each checkpoint
carries a checksum of its arrays, and `restore` falls back to the one before when the newest does not pass. (Orbax's own
manager of many checkpoints stops at the first file that it cannot read, in whichever of them.)
"""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from inr_jax.errors import InputError
from inr_jax.types import Params

FOLDER = "checkpoints"
log = logging.getLogger(__name__)
# What Orbax raises for files that are absent, cut short or changed (its NoEntryError is a KeyError).
DAMAGED = (KeyError, ValueError, OSError)


def _place(workdir: Path, step: int) -> Path:
    return (workdir / FOLDER / str(step)).absolute()


def checksum(state: Params) -> str:
    """SHA-256 over paths, shapes, dtypes and bytes of every leaf."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(workdir: Path, state: Params, *, step: int, validation: float, keep: int = 3) -> None:
    """Writes the state of a step, complete or not at all; keeps the `keep` newest and the best.

    validation: PSNR in dB, what `best` means.
    """
    for path in (workdir / FOLDER).glob("*"):
        # What a killed run left half-written, and what was written before the run that saves now was resumed from an
        # older checkpoint because that one is damaged.
        if not path.name.isdigit() or int(path.name) >= step:
            _remove(path)
    metadata = {"sha256": checksum(state), "validation": validation}
    ocp.save(_place(workdir, step), state, custom_metadata=metadata)
    steps = _steps(workdir)
    best = max(steps, key=lambda s: _validation(workdir, s))
    for old in set(steps[keep:]) - {best}:
        _remove(_place(workdir, old))


def _remove(path: Path) -> None:
    """Deletes a checkpoint under another name: one that is half-deleted never looks like a whole one."""
    doomed = path.with_name(f"{path.name.removesuffix('.deleted')}.deleted")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _steps(workdir: Path) -> list[int]:
    """Steps of all checkpoints, newest first. Orbax's unfinished folders have other names."""
    folder = workdir / FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def _metadata(workdir: Path, step: int) -> dict[str, Any]:
    """What was written beside the arrays; one of DAMAGED if it cannot be read."""
    return ocp.metadata(_place(workdir, step), checkpointable_name="state").custom_metadata or {}


def _validation(workdir: Path, step: int) -> float:
    """PSNR in dB; -inf where the checkpoint is damaged."""
    try:
        value = float(_metadata(workdir, step)["validation"])
    except DAMAGED:
        return -np.inf
    return value if np.isfinite(value) else -np.inf


def latest(workdir: Path) -> int | None:
    """The newest step there is, None if there is none."""
    return next(iter(_steps(workdir)), None)


def _load(workdir: Path, step: int, like: Params) -> Params:
    """One checkpoint; one of DAMAGED if it is damaged or of another shape."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
    state = ocp.load(_place(workdir, step), abstract, checkpointable_name="state")
    if checksum(state) != _metadata(workdir, step)["sha256"]:
        raise ValueError("its checksum differs from the one written with it")
    return state


def restore(workdir: Path, like: Any, *, best: bool = False) -> tuple[Any, int]:
    """The newest (or the best) whole checkpoint and its step.

    like: a state of the same structure, shapes and dtypes. A damaged checkpoint is named in a warning and the one
    before it is tried. Raises InputError if there is none, or none that can be read.
    """
    steps = _steps(workdir)
    if best:
        steps.sort(key=lambda step: _validation(workdir, step), reverse=True)  # stable: the newest of equals first
    if not steps:
        raise InputError(f"{workdir}: expected a trained model ({FOLDER}/); found no checkpoint")
    for step in steps:
        try:
            return _load(workdir, step, like), step
        except DAMAGED as error:
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
