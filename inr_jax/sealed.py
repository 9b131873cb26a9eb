"""The files of an exported model, sealed: what is read is what was written, or one line says that it is not.

`seal.json` holds the SHA-256 of every other file that is computed with; `weights.npz` holds the arrays of all that was
learned by their path (field/..., start/..., rule/...), readable by NumPy alone.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from inr_jax.errors import InputError
from inr_jax.npz_io import read_npz
from inr_jax.types import MetaParams

SEAL, WEIGHTS, CARD = "seal.json", "weights.npz", "README.md"
FORMAT = 1


def is_sealed(folder: Path) -> bool:
    """Whether a folder is an exported model, be it a damaged one."""
    return (folder / SEAL).is_file() or (folder / WEIGHTS).is_file()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_seal(folder: Path) -> None:
    """Seals what lies in a folder but for the card, which may be added to."""
    files = {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.name not in (SEAL, CARD)}
    (folder / SEAL).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n")


def check_seal(folder: Path) -> None:
    """Raises InputError unless every sealed file is as it was written."""
    try:
        seal = json.loads((folder / SEAL).read_bytes())
        found, files = seal["format"], dict(seal["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: expected an exported model; its {SEAL} is missing or damaged") from error
    if found != FORMAT:
        raise InputError(f"{folder}/{SEAL}: format: expected {FORMAT}; found {found} (of another version?)")
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder}: expected an exported model, with {name}; found none (a copy cut short?)")
        if _digest(folder / name) != digest:
            raise InputError(f"{folder}/{name}: damaged: it is not as it was exported (SHA-256); copy the folder again")
    if WEIGHTS not in files:
        raise InputError(f"{folder}/{SEAL}: expected a checksum of {WEIGHTS}; found none")


def _flat(params: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def write_weights(folder: Path, params: MetaParams) -> None:
    with (folder / WEIGHTS).open("wb") as file:
        arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _flat(params).items()}
        np.savez(file, **arrays)


def read_weights(folder: Path, like: MetaParams) -> MetaParams:
    """like: of the same structure, shapes and dtypes. Raises InputError for arrays of another model."""
    arrays, wanted = read_npz(folder / WEIGHTS), _flat(like)
    for name, leaf in wanted.items():
        if name not in arrays or (arrays[name].shape, arrays[name].dtype) != (leaf.shape, leaf.dtype):
            found = f"{arrays[name].shape} {arrays[name].dtype}" if name in arrays else "none"
            expected = f"{tuple(leaf.shape)} {leaf.dtype}"
            raise InputError(f"{folder}/{WEIGHTS}: {name}: expected {expected} by its config; found {found}")
    if extra := sorted(arrays.keys() - wanted.keys()):
        raise InputError(f"{folder}/{WEIGHTS}: expected the arrays of its config; found {extra[0]} beside them")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in wanted])
