"""Fits that are done are kept until all are: whoever stops an evaluation of hours loses one scan's, not all.

A file per scan, named by the scan and by a digest of all that its fit depends on: another model, setting or scan finds
none of them.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from inr_jax import workdir
from inr_jax.scan_io import make_folder, replacing
from inr_jax.types import Modulation, Params, Population


class KeptFits(NamedTuple):
    folder: Path
    digest: str

    def path(self, name: str) -> Path:
        return self.folder / f"{name}-{self.digest[:16]}.npz"

    def read(self, name: str, like: Modulation) -> tuple[Modulation, float, Float[np.ndarray, "n"]] | None:
        """The modulation of a scan, the seconds and losses it took; None where it was not fitted yet."""
        if not self.path(name).is_file():
            return None
        with np.load(self.path(name)) as file:
            leaves = [file[f"leaf_{i}"] for i in range(len(jax.tree.leaves(like)))]
            return jax.tree.unflatten(jax.tree.structure(like), leaves), float(file["seconds"]), file["losses"]

    def write(self, name: str, modulation: Modulation, seconds: float, losses: Float[np.ndarray, "n"]) -> None:
        """Complete or not at all. Raises InputError where the folder cannot be written."""
        make_folder(self.folder)
        arrays: dict[str, Any] = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(modulation))}
        with replacing(self.path(name)) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays | {"seconds": seconds, "losses": losses})


def kept_fits(folder: Path, config: ConfigDict, params: Params, population: Population) -> KeptFits:
    """Where the fits of these scans, with this model and these settings, are kept."""
    settings: dict[str, Any] = {key: config[key].to_dict() for key in ("model", "loss", "hyper", "adapt")}
    digest = hashlib.sha256(json.dumps(settings | {"seed": config.train.seed}, sort_keys=True).encode())
    digest.update(workdir.fingerprint(population).encode())
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return KeptFits(folder, digest.hexdigest())
