"""Who computes a sweep: works are given to a runner, and what it finds of each variant comes back as it is finished.

A work is a group of variants that share one compiled program, or a part of one. Here one work follows the other in
this process; `ray_engine` spreads them over processes and machines. Both give the same results, in another order.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from inr_jax import limits
from inr_jax.config_script import tuples
from inr_jax.errors import InputError
from inr_jax.sweeps import Variant, configured

STARTING, ENDED = "starting", "ended"  # what an engine itself says of a work
UNEVEN = 1.5  # even shares of all variants that a part may have: more is not worth the others' waiting
SCORING = "scoring"  # what a runner says of variants that are trained


class Work(NamedTuple):
    """What one worker is given at a time; picklable."""

    group: str  # of all works that share its compiled program
    variants: tuple[Variant, ...]
    config: dict[str, Any]  # the base, plain; a variant's own is the base and its changes

    def config_of(self, variant: Variant) -> ConfigDict:
        return configured(ConfigDict(tuples(self.config)), variant.changes)


class Progress(NamedTuple):
    """How far a work is."""

    group: str  # as a runner tells it, the work's group; as an engine passes it on, `name_of` the work
    doing: str  # "compiling", "training joint", "scoring" ..., or STARTING, ENDED
    variants: int  # that it does this with
    step: int
    steps: int  # 0: there is nothing to count


Tell = Callable[[Progress], None]
Runner = Callable[[Work, Tell], Iterator[dict[str, Any]]]  # a result for each variant, as they are finished


def run_local(works: Iterable[Work], runner: Runner, tell: Tell) -> Iterator[dict[str, Any]]:
    """The results of one work after the other, computed in this process."""
    for work in works:
        tell(starting(work))
        yield from attempt(work, runner, tell)
        tell(ended(work))


def attempt(work: Work, runner: Runner, tell: Tell) -> Iterator[dict[str, Any]]:
    """What the runner finds; variants that it cannot compute, for their settings or for want of memory, failed.

    Any other exception is the runner's own. Raises RuntimeError where it leaves a variant without a result.
    """
    left = {variant.name: variant for variant in work.variants}
    try:
        for result in runner(work, lambda progress: tell(progress._replace(group=name_of(work)))):
            del left[result["variant"]]
            yield result
    except (InputError, MemoryError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        yield from (failed(work, variant, reason) for variant in left.values())
    else:
        if left:
            raise RuntimeError(f"group {work.group}: expected a result for every variant; found none of {list(left)}")


def _reason(error: InputError | MemoryError | RuntimeError) -> str | None:
    """A user's mistake or a want of memory in one line; None: it is a fault of the program."""
    return " ".join(str(error).split()) if isinstance(error, InputError) else limits.of_memory(error)


def failed(work: Work, variant: Variant, reason: str) -> dict[str, Any]:
    """The result of a variant of which there is no other."""
    return {
        "variant": variant.name,
        "settings": variant.settings,
        "changes": variant.changes,
        "config": work.config_of(variant).to_dict(),
        "status": "failed",
        "reason": reason,
    }


def name_of(work: Work) -> str:
    """The group, and which of its variants: two parts of a group may be computed at once."""
    first, last = work.variants[0].name, work.variants[-1].name
    return f"{work.group} {first}" if first == last else f"{work.group} {first}-{last}"


def starting(work: Work) -> Progress:
    """Said before a runner is asked, which has imports and data to load first."""
    return Progress(name_of(work), STARTING, len(work.variants), 0, 0)


def ended(work: Work) -> Progress:
    """Said when no worker has this work any more."""
    return Progress(name_of(work), ENDED, len(work.variants), 0, 0)


def split(works: Sequence[Work], workers: int) -> list[Work]:
    """The works, largest first; groups are cut into parts, as few as give every worker something to do, none too much.

    Each part is compiled by its own worker, so that no more are made than that takes.
    """
    variants = sum(len(work.variants) for work in works)
    parts = [1] * len(works)

    def size(i: int) -> float:
        return len(works[i].variants) / parts[i]

    while sum(parts) < min(workers, variants) or max(map(size, range(len(works))), default=0) > _most(
        variants, workers
    ):
        parts[max(range(len(works)), key=size)] += 1
    pieces = [piece for work, n in zip(works, parts, strict=True) for piece in _cut(work, n)]
    return sorted(pieces, key=lambda work: len(work.variants), reverse=True)


def _most(variants: int, workers: int) -> float:
    """Of all variants, what one worker may be given at a time."""
    return max(1.0, UNEVEN * variants / workers)


def _cut(work: Work, parts: int) -> list[Work]:
    """Neighbouring variants stay together; the parts' sizes differ by one at most."""
    n = len(work.variants)
    ends = [n * i // parts for i in range(parts + 1)]
    return [work._replace(variants=work.variants[a:b]) for a, b in itertools.pairwise(ends)]
