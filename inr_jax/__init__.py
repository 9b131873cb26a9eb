"""inr_jax: neural fields of medical scans, learned once over a population, adapted to a new scan in a few steps.

    config = inr_jax.load_config("configs/oct.py")
    inr_jax.train(config, "runs/oct")
    model = inr_jax.restore("runs/oct")
    answers = inr_jax.adapt_population(model, inr_jax.load_population(config.data, "test"))

A scan of your own is read, adapted to, asked and written (docs/models.md):

    result = inr_jax.restore("runs/oct").adapt(inr_jax.load("eye.nii.gz"))
    result.at([[1.2, -0.3, 4.0]]), result.render(slices=61), result.thickness("RNFL"), result.save("eye")

Folds are made by `prepare(config, folder)`, and what was rendered in them brought back to the dense scan:

    records = inr_jax.read_records(folder, "test")
    scan = inr_jax.restored_scan(voxels, labels, records[name])

Names are imported when they are first used, so that `inr-jax --help` answers at once.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_PUBLIC = {  # name -> module, or module:name within it
    "load_config": "inr_jax.config_script",
    "prepare": "inr_jax.prepare",
    "read_records": "inr_jax.records",
    "restored_scan": "inr_jax.records",
    "load_population": "inr_jax.data:load",
    "train": "inr_jax.train",
    "restore": "inr_jax.restored",
    "shipped": "inr_jax.places",
    "adapt_population": "inr_jax.trained",
    "evaluate": "inr_jax.evaluate",
    "export": "inr_jax.export",
    "validate": "inr_jax.validate",
    "ablate": "inr_jax.ablate",
    "read_sweep": "inr_jax.sweep_results",
    "load": "inr_jax.scan_io:read_scan",
    "InputError": "inr_jax.errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


class _Command(ModuleType):
    """A module that is called as its function of the same name: `inr_jax.train` is both, whatever came first."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


class _Package(ModuleType):
    """This package; the import system sets its modules here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _PUBLIC and isinstance(value, ModuleType):
            value.__class__ = _Command
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
