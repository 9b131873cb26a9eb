"""Device, cores and memory of a command. Called before anything imports jax, which reads them once."""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from inr_jax.errors import InputError

GRACE = 2.0  # seconds the main thread has to clean up, once there is too much in memory
OUT_OF_MEMORY = 2  # exit code where it does not come to it


def limit(*, device: str, threads: int | None, max_memory: float | None) -> None:
    """device: auto | cpu | gpu; threads: processor cores to use; max_memory: GB, beyond which MemoryError is raised.

    Raises InputError where there is no GPU.
    """
    if device != "auto":
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[device]
    if threads is not None:
        os.environ["NPROC"] = str(threads)  # the size of XLA's pool of threads
        if hasattr(os, "sched_setaffinity"):  # Linux
            cores = sorted(os.sched_getaffinity(0))
            # any of them: two limited commands at once should not share the first ones
            os.sched_setaffinity(0, random.sample(cores, min(threads, len(cores))))
    if max_memory is not None:
        _watch(max_memory)
    if device == "gpu":
        import jax

        try:
            jax.devices()
        except (RuntimeError, AssertionError) as error:  # jax 0.10 asserts where it knows no such platform
            raise InputError(
                "--device=gpu: expected a GPU that jax can use; found none (see inr-jax doctor)"
            ) from error


def resident() -> float:
    """GB of this process in memory; the most there ever were where the system has no /proc."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def _watch(limit: float) -> None:
    """Raises MemoryError in the main thread at the limit, and ends the process where that is deep in a computation.

    A limit of the system (RLIMIT_DATA) counts what is reserved but unused, and XLA aborts where it cannot allocate.
    """
    told = threading.Event()
    message = f"memory: expected at most {limit:g} GB (--max-memory); found more in use"

    def tell(*_: object) -> None:
        told.set()
        raise MemoryError(message)

    def watch() -> None:
        while resident() <= limit:
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        if not told.wait(GRACE):
            print(f"\ninr-jax: error: {message}", file=sys.stderr, flush=True)
            os._exit(OUT_OF_MEMORY)

    signal.signal(signal.SIGUSR1, tell)
    threading.Thread(target=watch, daemon=True).start()
