"""A Ray to compute with: one that runs already, on machines that others started, or one of our own for a while.

Ray is imported when a sweep asks for it; nothing else of the program needs it.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from inr_jax.errors import InputError

PATIENCE = 10.0  # seconds for a cluster's machine to answer
STORE = 128 * 2**20  # bytes of memory shared by a machine's workers; results are some kilobytes each
PASSED_ON = ("JAX_", "INR_JAX_", "XLA_")  # beginnings of the names of variables that a worker should see as we do
# What Ray reads when it is imported, or hands to the processes it starts. Of a Ray of our own: no statistics are sent,
# and it listens on the loopback address (the variable's name is older than its use), with a token that is in no file.
QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed"}  # we say so ourselves
OF_OUR_OWN = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class Crew(NamedTuple):
    """Workers that a cluster has room for."""

    workers: int
    threads: int  # of each, and the cores that are set aside for it
    gpus: int  # of each


def crew_of(nodes: Sequence[dict[str, float]], workers: int | None, threads: int | None, *, with_gpus: bool) -> Crew:
    """Workers on machines with these resources: of {"CPU": 8.0, "GPU": 1.0} a worker needs `threads`, and a GPU if any.

    Raises InputError where there is no room for one.
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) if with_gpus else 0 for node in nodes]
    shared_by = workers or sum(gpus) or sum(cpus)
    if threads is None:
        threads = max(1, min(sum(cpus) // max(shared_by, 1), max(cpus, default=1)))
    room = [cpu // threads for cpu in cpus]
    if any(gpus):
        room = [min(pair) for pair in zip(room, gpus, strict=True)]
    if not sum(room):
        raise InputError(f"threads: expected at most {max(cpus, default=0)}, a machine's cores; found {threads}")
    return Crew(min(workers or sum(room), sum(room)), threads, int(any(gpus)))


def environment(threads: int) -> dict[str, str]:
    """The variables of a worker's process: those of JAX and ours, and so many threads to compute with.

    NPROC is the size of XLA's pool; OMP_NUM_THREADS of numpy's libraries; the last of SimpleITK.
    """
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    limited = dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), str(threads))
    if threads == 1:
        flags = f"--xla_cpu_multi_thread_eigen=false {os.environ.get('XLA_FLAGS', '')}"
        limited["XLA_FLAGS"] = flags.strip()
    return passed_on | limited


@contextmanager
def connected(cores: int) -> Iterator[Any]:
    """Ray, on the cluster that RAY_ADDRESS names, or of our own with that many cores at least.

    One that runs already in this process is used as it is. Raises InputError.
    """
    address = os.environ.get("RAY_ADDRESS")
    _check_address(address)
    ray = _imported(address)
    if ray.is_initialized():
        yield ray
        return
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = {} if address else {"num_cpus": max(here, cores), "include_dashboard": False, "object_store_memory": STORE}
    try:
        with _sigterm_as_it_was(), warnings.catch_warnings():
            # Ray starts its processes by fork and exec: nothing of JAX's threads is used in between
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError) as error:
        if not address:
            raise
        raise InputError(f"RAY_ADDRESS: expected a Ray cluster that answers; found {address}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Raises InputError for an address of another kind, and where nobody listens: Ray would try for minutes."""
    if not address or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise InputError(f"RAY_ADDRESS: expected HOST:PORT or auto; found {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"RAY_ADDRESS: expected a Ray cluster at {address}; found nobody there ({error})") from error


@contextmanager
def _sigterm_as_it_was() -> Iterator[None]:
    """Ray would take the signal over."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _imported(address: str | None) -> ModuleType:
    """The library, told what it should be told before. Raises InputError where it is not installed."""
    for name, value in (QUIET if address else QUIET | OF_OUR_OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        found = f"Ray for Python {sys.version_info.major}.{sys.version_info.minor}"
        how = 'pip install "inr-jax[ray]"; in a checkout: pip install -e ".[ray]"'
        raise InputError(f"--engine=ray: expected {found}; found none ({how})") from error
    return ray
