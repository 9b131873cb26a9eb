"""A sweep's works spread over processes and machines by Ray: each worker is an actor, a process of its own.

A worker keeps what it has compiled, and is given works of the same group first. Results stream back as they are
finished; how far a worker is, it says from a second thread when it is asked, so that no files need be shared.
A worker that dies loses what it was computing, nothing that it had finished: the rest is given again.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inr_jax.engines import Progress, Runner, Tell, Work, attempt, ended, failed, name_of, split, starting
from inr_jax.errors import InputError
from inr_jax.ray_cluster import Crew, connected, crew_of, environment

EVERY = 0.5  # seconds between two looks at how far the workers are
log = logging.getLogger(__name__)


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
    with connected((workers or 1) * (threads or 1)) as ray:
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


def _actor(ray: Any, crew: Crew) -> Any:
    options = {"num_cpus": crew.threads, "num_gpus": crew.gpus, "scheduling_strategy": "SPREAD"}
    actor = ray.remote(concurrency_groups={"progress": 1})(Worker)
    return actor.options(runtime_env={"env_vars": environment(crew.threads)}, **options)


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
        if not ready and not any(node["Alive"] for node in ray.nodes()):
            raise InputError("Ray: expected a machine to compute on; found that all of the cluster's are gone")
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
