"""Device, cores and memory of a command. Called before anything imports jax, which reads them once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from inr_jax.errors import InputError

GRACE = 2.0  # seconds a process has to clean up, once there is too much in memory
EVERY = 0.02  # seconds between two looks


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def resident(process: int) -> float:
    """GB of a process in memory; 0.0 where it has ended."""
    statm = Path(f"/proc/{process}/statm")
    if Path("/proc/self/statm").is_file():
        try:
            return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=False)
    return int(found.stdout.strip() or 0) / 2**20


def of_memory(error: RuntimeError | MemoryError) -> str | None:
    """What a failure says of memory, the machine's or the device's, in one line; None: it was something else."""
    line = str(error).partition("\n")[0]
    if isinstance(error, MemoryError):
        return line or "out of memory"
    return f"memory of the device: {line}" if "RESOURCE_EXHAUSTED" in line else None


def _message(limit: float) -> str:
    return f"memory: expected at most {limit:g} GB (--max-memory); found more in use"


def _end(limit: float) -> None:
    print(f"\ninr-jax: error: {_message(limit)}", file=sys.stderr, flush=True)
    os._exit(2)


def _watch(limit: float) -> None:
    """Starts a process that watches this one: it has to be heard while a computation holds the interpreter.

    A limit of the system (RLIMIT_DATA) counts what is reserved but unused, and XLA aborts where it cannot allocate.
    """

    command = [sys.executable, "-m", "inr_jax.limits", str(os.getpid()), str(limit)]

    def tell(*_: object) -> None:
        watcher.terminate()
        late = threading.Timer(GRACE, _end, (limit,))  # threads may compute on, and the error wait for them
        late.daemon = True
        late.start()
        raise MemoryError(_message(limit))

    signal.signal(signal.SIGUSR1, tell)
    watcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def guard(process: int, limit: float) -> None:
    """Tells the parent process when it is over the limit, and ends it where it does not listen."""

    def is_over() -> bool:
        return os.getppid() == process and resident(process) > limit

    while os.getppid() == process and not is_over():
        time.sleep(EVERY)
    if os.getppid() == process:
        os.kill(process, signal.SIGUSR1)
        time.sleep(GRACE)
    if is_over():
        print(f"\ninr-jax: error: {_message(limit)}", file=sys.stderr, flush=True)
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    guard(int(sys.argv[1]), float(sys.argv[2]))
