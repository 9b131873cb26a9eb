"""inr_jax: neural fields of medical scans, learned once over a population, adapted to a new scan in a few steps.

    config = inr_jax.load_config("configs/oct.py")
    inr_jax.train(config, "runs/oct")
    model = inr_jax.restore("runs/oct")
    answers = inr_jax.adapt_population(model, inr_jax.load(config.data, "test"))

Names are imported when they are first used, so that `inr-jax --help` answers at once.
"""

import importlib
from typing import Any

_PUBLIC = {
    "load_config": "inr_jax.config_script",
    "load": "inr_jax.data",
    "train": "inr_jax.train",
    "restore": "inr_jax.trained",
    "adapt_population": "inr_jax.trained",
    "adapt_scan": "inr_jax.new_scan",
    "evaluate": "inr_jax.evaluate",
    "read_scan": "inr_jax.scan_io",
    "InputError": "inr_jax.errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
