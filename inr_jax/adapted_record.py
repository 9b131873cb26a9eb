"""What a folder of results was made of: whoever asks for the same again is not made to wait for it."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inr_jax import calibrate, likeness, workdir
from inr_jax.errors import InputError
from inr_jax.trained import Trained

FILE = "adapted.json"  # the last of a folder's files, so that no other is missing where it is


def of(scan: str, model: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What results depend on: the scan by its content, the model (`of_model`), the flags, this version."""
    return {"scan": scan, "model": model, "flags": workdir.json_of(flags), "version": _version()}


def of_model(folder: Path, model: Trained) -> str:
    """Digest of all that answers: weights, config, how folds were prepared, calibration and the population known."""
    found = hashlib.sha256(calibrate.digest(model).encode())
    found.update(model.config.to_json_best_effort(sort_keys=True).encode())
    if model.prepared is not None:
        found.update(repr(model.prepared).encode())
    for name in (calibrate.FILE, likeness.FILE):
        path = folder / name
        found.update(path.read_bytes() if path.is_file() else b"none")
    return found.hexdigest()


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes the record of a folder, with the files that lie in it."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    workdir.write_json(folder / FILE, {**record, "files": files})


def why_again(folder: Path, wanted: Mapping[str, Any]) -> str | None:
    """Why a scan is to be adapted again in words; None: the folder holds all of what is wanted. "": nothing yet."""
    if not (folder / FILE).is_file():
        return ""
    try:
        found = workdir.read_json(folder / FILE)
    except InputError:
        return "its record is damaged"
    if not isinstance(found, dict) or not isinstance(found.get("files"), list):
        return "its record is damaged"
    if missing := [name for name in found["files"] if not (folder / name).is_file()]:
        return f"{missing[0]} is missing"
    if changed := [key for key in ("scan", "model", "version") if found.get(key) != wanted[key]]:
        return f"another {' and '.join(changed)}"
    before = found["flags"] if isinstance(found.get("flags"), dict) else {}
    said = workdir.differences(before, wanted["flags"])
    return said or None


def _version() -> str:
    return importlib.metadata.version("inr-jax")
