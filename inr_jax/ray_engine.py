"""A sweep's works spread over processes and machines by Ray: each worker is an actor, a process of its own.

A worker keeps what it has compiled, and is given works of the same group first. Results stream back as they are
finished; how far a worker is, it says from a second thread when it is asked, so that no files need be shared.
A worker that dies loses what it was computing, nothing that it had finished: the rest is given again.

Ray is imported when a sweep asks for it; nothing else of the program needs it.
"""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from inr_jax.engines import Progress, Runner, Tell, Work, attempt, ended, failed, name_of, split, starting
from inr_jax.errors import InputError

EVERY = 0.5  # seconds between two looks at how far the workers are
STORE = 128 * 2**20  # bytes of memory shared by a machine's workers; results are some kilobytes each
PASSED_ON = ("JAX_", "INR_JAX_", "XLA_")  # beginnings of the names of variables that a worker should see as we do
# What Ray reads when it is imported, or hands to the processes it starts. Of a Ray of our own: no statistics are sent,
# and it listens on the loopback address (the variable's name is older than its use), with a token that is in no file.
QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed"}  # we say so ourselves
OF_OUR_OWN = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
log = logging.getLogger(__name__)


class Crew(NamedTuple):
    """Workers that a cluster has room for."""

    workers: int
    threads: int  # of each, and the cores that are set aside for it
    gpus: int  # of each


class Given(NamedTuple):
    """A work, and how many workers it has cost."""

    work: Work
    deaths: int = 0


class Worker:
    """Runs in a process of its own: computes in one thread, says how far it is from another."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._progress: Progress | None = None

    def run(self, work: Work) -> Iterator[dict[str, Any]]:
        yield from attempt(work, self._runner, self._note)

    def progress(self) -> Progress | None:
        return self._progress

    def _note(self, progress: Progress) -> None:
        self._progress = progress


@dataclass
class Place:
    """What the driver knows of one worker."""

    actor: Any = None  # None: to be started when there is work
    groups: set[str] = field(default_factory=set)  # that it has compiled
    given: Given | None = None
    left: dict[str, Any] = field(default_factory=dict)  # the given variants without a result
    stream: Any = None  # of its results
    asked: Any = None  # the answer to come, of how far it is
    told: Progress | None = None


def run_ray(
    works: Sequence[Work],
    runner: Runner,
    tell: Tell,
    *,
    workers: int | None = None,
    threads: int | None = None,
    retries: int = 2,
) -> Iterator[dict[str, Any]]:
    """The results of all works, as they are finished.

    On the cluster that RAY_ADDRESS names, or by a Ray that is started here and ends with the last result. A worker has
    a GPU where the cluster has any, else `threads` cores. workers: None: as many as there is room for. threads: None:
    what the cores give to each worker, 1 where their number is not given either. retries: how often a work is given
    again whose worker died; then each of its variants alone, and at last as failed.

    Close the iterator (contextlib.closing) to stop the workers. Raises InputError without Ray, for a cluster that does
    not answer or has no room; what a runner raises (InputError and MemoryError apart) with the worker's traceback.
    """
    for name, number, least in (("workers", workers, 1), ("threads", threads, 1), ("retries", retries, 0)):
        if number is not None and number < least:
            raise InputError(f"{name}: expected {least} or more; found {number}")
    with _connected((workers or 1) * (threads or 1)) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        crew = crew_of(nodes, workers, threads, with_gpus=os.environ.get("JAX_PLATFORMS") != "cpu")
        if workers is not None and crew.workers < workers:
            log.info("the cluster has room for %d of %d workers of %d threads", crew.workers, workers, crew.threads)
        queue = [Given(work) for work in split(works, crew.workers)]
        places = [Place() for _ in queue[: crew.workers]]
        actor = _actor(ray, crew)
        try:
            yield from _results(ray, queue, places, lambda: actor.remote(runner), tell, retries)
        finally:
            for place in places:
                _dismiss(ray, place)


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


def _actor(ray: Any, crew: Crew) -> Any:
    options = {"num_cpus": crew.threads, "num_gpus": crew.gpus, "scheduling_strategy": "SPREAD"}
    actor = ray.remote(concurrency_groups={"progress": 1})(Worker)
    return actor.options(runtime_env={"env_vars": environment(crew.threads)}, **options)


@contextmanager
def _connected(cores: int) -> Iterator[Any]:
    """Ray, on the cluster that RAY_ADDRESS names, or of our own with that many cores at least.

    One that runs already in this process is used as it is. Raises InputError.
    """
    address = os.environ.get("RAY_ADDRESS")
    ray = _imported(address)
    if ray.is_initialized():
        yield ray
        return
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = {} if address else {"num_cpus": max(here, cores), "include_dashboard": False, "object_store_memory": STORE}
    try:
        with _sigterm_as_it_was():
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError) as error:
        if not address:
            raise
        raise InputError(f"RAY_ADDRESS: expected a Ray cluster that answers; found {address}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


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
    if address and "://" in address:
        raise InputError(f"RAY_ADDRESS: expected HOST:PORT or auto; found {address}")
    for name, value in (QUIET if address else QUIET | OF_OUR_OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        found = f"Ray for Python {sys.version_info.major}.{sys.version_info.minor}"
        raise InputError(f'--engine=ray: expected {found}; found none (pip install "inr-jax[ray]")') from error
    return ray


def _results(
    ray: Any, queue: list[Given], places: list[Place], start: Any, tell: Tell, retries: int
) -> Iterator[dict[str, Any]]:
    """Gives works to idle workers, and receives what they find, until there is nothing left."""
    while True:
        for place in places:
            if place.given is None and queue:
                _give(place, _next(queue, place.groups), start, tell)
        busy = {place.stream: place for place in places if place.given is not None}
        if not busy:
            return
        ready, _ = ray.wait(list(busy), timeout=EVERY)
        for stream in ready:
            yield from _receive(ray, busy[stream], queue, tell, retries)
        for place in busy.values():
            _listen(ray, place, tell)


def _next(queue: list[Given], groups: set[str]) -> Given:
    """The first work of a group that is compiled already, else the first."""
    return queue.pop(next((i for i, given in enumerate(queue) if given.work.group in groups), 0))


def _give(place: Place, given: Given, start: Any, tell: Tell) -> None:
    if place.actor is None:
        place.actor, place.groups, place.asked = start(), set(), None
    place.given, place.left = given, {variant.name: variant for variant in given.work.variants}
    place.stream = place.actor.run.options(num_returns="streaming").remote(given.work)
    place.groups.add(given.work.group)
    tell(starting(given.work))


def _receive(ray: Any, place: Place, queue: list[Given], tell: Tell, retries: int) -> Iterator[dict[str, Any]]:
    """The next result of a worker, its end, or its death."""
    assert place.given is not None
    try:
        result = ray.get(next(place.stream))
    except StopIteration:
        tell(ended(place.given.work))
        place.given = None
    except _deaths(ray) as error:
        if getattr(error, "actor_init_failed", False):
            raise
        tell(ended(place.given.work))
        yield from _made_up_for(place.given, tuple(place.left.values()), queue, retries)
        _dismiss(ray, place)
    else:
        del place.left[result["variant"]]
        yield result


def _made_up_for(given: Given, left: tuple, queue: list[Given], retries: int) -> Iterator[dict[str, Any]]:
    """Puts what a dead worker left into the queue; yields the result of a variant that has killed too many."""
    work, deaths = given.work._replace(variants=left), given.deaths + 1
    if not left:
        return
    if deaths > retries and len(left) == 1:
        yield failed(work, left[0], f"its worker died {deaths} times (out of memory?)")
        return
    log.info("%s: the worker died (out of memory?); given to another one", name_of(work))
    # alone, a variant cannot take others with it
    parts = [(variant,) for variant in left] if deaths >= retries else [left]
    queue.extend(Given(work._replace(variants=part), deaths) for part in parts)


def _listen(ray: Any, place: Place, tell: Tell) -> None:
    """Tells how far a worker is if it has answered, and asks again. It does not wait for an answer."""
    if place.given is None or place.actor is None:
        return
    if place.asked is not None and ray.wait([place.asked], timeout=0)[0]:
        with suppress(*_deaths(ray)):  # its stream says so, too
            progress = ray.get(place.asked)
            # an answer may be of the work before
            if progress and progress != place.told and progress.group == name_of(place.given.work):
                tell(progress)
                place.told = progress
        place.asked = None
    if place.asked is None:
        place.asked = place.actor.progress.options(concurrency_group="progress").remote()


def _dismiss(ray: Any, place: Place) -> None:
    if place.actor is not None:
        ray.kill(place.actor)
    place.actor = place.given = None


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a worker, or the machine that it was on, is no more."""
    known = ray.exceptions
    return (
        known.RayActorError,
        known.WorkerCrashedError,
        known.OutOfMemoryError,
        known.NodeDiedError,
        known.ObjectLostError,
    )
