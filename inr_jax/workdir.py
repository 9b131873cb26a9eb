"""What a training leaves in its folder besides checkpoints: config, manifest, model facts, logs. All by rename."""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from inr_jax.config_script import flat
from inr_jax.errors import InputError
from inr_jax.types import Population

CONFIG, MANIFEST, MODEL, LOG = "config.json", "manifest.json", "model.json", "metrics.jsonl"
LOCK = ".lock"
SEEN = ("intensity", "valid", "labels", "spacing", "offset", "measured", "slo", "slo_affine")  # by a training
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scikit-image",
    "SimpleITK",
    "inr-jax",
)
# Keys that change how a training is run, not what it computes.
FREE = ("train.steps_per_dispatch", "train.save_every", "train.log_every", "train.keep", "train.skipped_in_row")


@contextmanager
def locked(folder: Path, doing: str = "training", flag: str = "--workdir") -> Iterator[None]:
    """The folder for one process at a time: InputError while another one is `doing` something in it.

    The lock ends with the process, however it ends. Its file may be removed by who holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(f"{folder}: expected a writable place; found: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its holder may have removed it after it was opened here
            if not os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
                raise FileNotFoundError
        except (BlockingIOError, FileNotFoundError) as error:
            raise InputError(f"{folder}: another process is {doing} there; wait, or take another {flag}") from error
        yield


def write_json(path: Path, content: Any) -> None:
    """JSON, complete or not at all. Raises InputError where the folder cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None
        raise InputError(f"{path}: expected a writable place; found: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """Raises InputError if the file is absent or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path.parent}: expected a trained model ({path.name}); found none") from error
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: expected JSON; found: {error}") from error


def json_of(content: Any) -> Any:
    """What JSON gives back: tuples as lists."""
    return json.loads(json.dumps(content))


def plain(config: ConfigDict) -> dict[str, Any]:
    """A config as JSON gives it back."""
    return json_of(config.to_dict())


def check_config(workdir: Path, config: ConfigDict) -> None:
    """Refuses to go on with a training under another config. Raises InputError naming the keys that differ."""
    if not (workdir / CONFIG).is_file():
        return
    if shown := differences(read_json(workdir / CONFIG), plain(config), apart=FREE):
        raise InputError(
            f"{workdir}: its training began under another config ({shown}); "
            "take another --workdir, or --allow-config-change to go on under the new one"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], apart: Iterable[str] = ()) -> str:
    """In which keys two configs differ, in words, those `apart` left out: "train.seed was 0, is 1"; or nothing."""
    old, new = dict(flat(before)), dict(flat(now))
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and key not in apart]
    shown = "; ".join(f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys[:4])
    return shown + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def check_data(workdir: Path, facts: Mapping[str, Any]) -> None:
    """Refuses to go on with a training on other data than it began with. facts: the manifest's `data`."""
    if not (workdir / MANIFEST).is_file():
        return
    before = read_json(workdir / MANIFEST)["data"]
    for split in ("train", "validation"):
        if before[split] != facts[split]:
            raise InputError(
                f"{workdir}: its training began on other {split} data (fingerprint {before[split][:12]}, now "
                f"{facts[split][:12]}); take another --workdir, or --allow-config-change to go on with these"
            )


def fingerprint(population: Population) -> str:
    """SHA-256 of what a model is trained on: names, and every array but the truth, which is for scoring."""
    digest = hashlib.sha256(repr((population.names, population.intensity.shape)).encode())
    for name in SEEN:
        array = getattr(population, name)
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def git_state() -> str | None:
    """Commit of the code that runs, with '+' if it was changed since; None outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}


def manifest(config: ConfigDict, train: Population, validation: Population) -> dict[str, Any]:
    """What has to be known to repeat a training."""
    return {
        "seed": config.train.seed,
        "versions": versions(),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "git": git_state(),
        "data": {"train": fingerprint(train), "validation": fingerprint(validation), "note": train.note},
    }


def with_history(workdir: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run, with those of the runs that it goes on with under `before`, oldest first."""
    if not (workdir / MANIFEST).is_file():
        return manifest | {"before": []}
    last = read_json(workdir / MANIFEST)
    return manifest | {"before": [*last.pop("before", []), last]}


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """One JSON line at the end of a log."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def drop_lines_after(path: Path, step: int) -> None:
    """Takes back what was logged after the step a training resumes from; a line cut short by a kill goes too."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        if line.endswith("}") and json.loads(line)["step"] <= step:
            kept.append(line)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(f"{line}\n" for line in kept))
    os.replace(temporary, path)
