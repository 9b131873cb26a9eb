"""Checkpoints: Orbax behind `save`, `restore` and `latest`.

Orbax writes under a temporary name and renames. It reads damaged files back as whatever they hold, or fails with pages
of messages, and it casts dtypes silently. So each checkpoint is sealed at its end with checksums of its files and the
structure of its arrays; `restore` looks at the seal first and falls back to the one before where it is broken.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from inr_jax.errors import InputError
from inr_jax.types import Params

FOLDER = "checkpoints"
SEAL = "seal.json"
log = logging.getLogger(__name__)
LATE = "Event loop is closed"  # what tensorstore says of a write that ends when nobody waits for it
QUIET = 4  # looks, 50 ms apart, at which a folder stays cleared
# What Orbax raises for files that are absent, cut short or changed (its NoEntryError is a KeyError).
DAMAGED = (KeyError, ValueError, OSError)


def _place(workdir: Path, step: int) -> Path:
    return (workdir / FOLDER / str(step)).absolute()


def structure(state: Params) -> list[str]:
    """Path, shape and dtype of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [f"{jax.tree_util.keystr(path)} {tuple(leaf.shape)} {leaf.dtype}" for path, leaf in leaves]


def _digests(place: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint but its seal."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file() and path.name != SEAL)
    return {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def save(workdir: Path, state: Params, *, step: int, validation: float, keep: int = 3) -> None:
    """Writes the state of a step, complete or not at all; keeps the `keep` newest and the best.

    validation: PSNR in dB, what `best` means. Raises InputError where it cannot be written.
    """
    for path in (workdir / FOLDER).glob("*"):
        # What a killed run left half-written, and what was written before the run that saves now was resumed from an
        # older checkpoint because that one is damaged.
        if not path.name.isdigit() or int(path.name) >= step:
            _remove(path)
    _write(_place(workdir, step), state, validation)
    steps = _steps(workdir)
    best = max(steps, key=lambda s: _validation(workdir, s))
    for old in set(steps[keep:]) - {best}:
        _remove(_place(workdir, old))


@contextmanager
def _quietly() -> Iterator[None]:
    """Orbax raises in the caller what failed in its threads; it and the threads would print pages about it before.

    tensorstore's other writes may end after a failure: then it stays so.
    """
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda lost: None if str(lost.exc_value) == LATE else hooks[0](lost)
    threading.excepthook = lambda _: None
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    yield
    sys.unraisablehook, threading.excepthook = hooks
    for logger, was in zip(loggers, before, strict=True):
        logger.disabled = was


def _write(place: Path, state: Params, validation: float) -> None:
    """Arrays, then the seal. Raises InputError where there is no room, and leaves nothing of it."""
    before = set(place.parent.glob("*"))
    try:
        with _quietly():
            ocp.save(place, state)
        seal = {"validation": validation, "structure": structure(state), "files": _digests(place)}
        temporary = place / f".{SEAL}"
        temporary.write_text(json.dumps(seal, indent=1))
        os.replace(temporary, place / SEAL)
    except (ValueError, OSError) as error:  # tensorstore has a full disk as a ValueError
        _clear(place.parent, before)
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(f"{place}: expected room for a checkpoint; it cannot be written: {reason}") from error


def _clear(folder: Path, known: Collection[Path]) -> None:
    """Removes all of a folder but what is known, until nothing comes back: writers that failed late may still write."""
    quiet = 0
    for _ in range(100):  # 5 s at most
        for path in set(folder.glob("*")).difference(known):
            shutil.rmtree(path, ignore_errors=True)
            quiet = 0
        if quiet == QUIET:
            return
        quiet += 1
        time.sleep(0.05)


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


def _seal(workdir: Path, step: int) -> dict[str, Any]:
    """What was written when the checkpoint was complete; one of DAMAGED if it cannot be read."""
    place = _place(workdir, step)
    if not (place / SEAL).is_file():
        raise ValueError("it was not finished")
    return json.loads((place / SEAL).read_text())


def _validation(workdir: Path, step: int) -> float:
    """PSNR in dB; -inf where the checkpoint is damaged."""
    try:
        value = float(_seal(workdir, step)["validation"])
    except DAMAGED:
        return -np.inf
    return value if np.isfinite(value) else -np.inf


def latest(workdir: Path) -> int | None:
    """The newest step there is, None if there is none."""
    return next(iter(_steps(workdir)), None)


def _load(workdir: Path, step: int, like: Params) -> Params:
    """One checkpoint; one of DAMAGED if it is damaged or of another shape."""
    seal, place = _seal(workdir, step), _place(workdir, step)
    found = _digests(place)
    changed = [name for name, digest in seal["files"].items() if found.get(name) != digest]
    if changed:
        raise ValueError(f"{changed[0]} is not as it was written")
    if seal["structure"] != structure(like):
        raise ValueError("its arrays are those of another model")
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
    found = ocp.load(place, abstract, checkpointable_name="state")
    # bound to no device, as arrays of a training that never stopped: XLA has one program for both
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), found)


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
