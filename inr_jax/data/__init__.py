"""Data sets: one file each, found by name, each with `load(config, split) -> Population`."""

import difflib
import importlib
import pkgutil

from ml_collections import ConfigDict

from inr_jax.errors import InputError
from inr_jax.types import Population


def names() -> list[str]:
    """The data sets there are: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(config: ConfigDict, split: str) -> Population:
    """Load `split` (train, validation or test) of the data set that `config.name` names.

    `config` is the part `data` of the whole. Raises InputError in one line where the name, the files or their
    contents are not as they must be.
    """
    if config.name not in names():
        close = difflib.get_close_matches(config.name, names(), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"data.name: expected one of {', '.join(names())}, found {config.name}{hint}")
    return importlib.import_module(f"{__name__}.{config.name}").load(config, split)
