"""Runners without any training, for workers in processes of their own to import."""

import os
import signal
import time

import numpy as np

from inr_jax.engines import Progress, Work
from inr_jax.errors import InputError
from inr_jax.sweeps import Variant

CONFIG = {"model": {"width": 8}, "train": {"seed": 0}, "deed": {"what": "", "mark": ""}}


def work(group, n, first=0, **deeds):
    """Variants named from `first` on; deeds: what some of them do besides giving a result, v2="kill" for example."""
    variants = []
    for i in range(first, first + n):
        changes = {"train.seed": i}
        if f"v{i}" in deeds:
            changes |= {"deed.what": deeds[f"v{i}"], "deed.mark": deeds.get("mark", "")}
        variants.append(Variant(f"{i:04}", {"seed": str(i)}, changes))
    return Work(group, tuple(variants), CONFIG)


def run(work, tell):
    """A draw by each variant's seed, and by which process; deeds are done before."""
    for i, variant in enumerate(work.variants):
        tell(Progress(work.group, "training", len(work.variants), i, len(work.variants)))
        match variant.changes.get("deed.what", ""):
            case "kill":
                time.sleep(0.2)  # what was given before is on its way
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill once" if not os.path.exists(variant.changes["deed.mark"]):
                open(variant.changes["deed.mark"], "w").close()
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGKILL)
            case "refuse":
                raise InputError("model.width: expected 1 or more; found 0")
            case "fill":
                raise MemoryError
            case "fill the device":
                raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore of it")
            case "blunder":
                raise ZeroDivisionError("a fault of the program")
            case "wait":
                time.sleep(1.5)
        yield {
            "variant": variant.name,
            "settings": variant.settings,
            "changes": variant.changes,
            "status": "finished",
            "reason": "",
            "drawn": float(np.random.default_rng(variant.changes["train.seed"]).normal()),
            "process": os.getpid(),
            "environment": {name: os.environ.get(name, "") for name in ("NPROC", "OMP_NUM_THREADS", "XLA_FLAGS")},
        }
