"""How many variants of a group are trained at once, by vmap or by map: by what they need and how fast they are.

Memory is XLA's own account of the compiled program: what it is handed, gives back and needs in between. Speed is timed
on the device at hand: on a CPU small products in a batch are slower than a large one, on a GPU it is the other way.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from inr_jax import doctor
from inr_jax.batched import Group, hypers_of
from inr_jax.errors import InputError
from inr_jax.limits import of_memory

SHARE = 0.7  # of the free memory that a group may take
LONGEST = 600.0  # seconds that a chunk is to take: nothing of it is finished before all of it is
TIMED_AT_ONCE = 16  # variants: of fewer a batch still fits a CPU's caches, and looks faster than it is,
AT_ONCE_SECONDS = 4.0  # unless one step of so many takes longer than this
REPEATS = 3
TIMED_SECONDS = 0.3  # that a call which is timed is to take: a single short step is told by its dispatch
TIMED_STEPS = 20  # at most
log = logging.getLogger(__name__)


class Cost(NamedTuple):
    """What a group takes. Nothing is timed (nan) of what takes more memory than there is."""

    bytes_one: int  # of one variant's program, of the stage that takes most
    bytes_more: int = 0  # for each further one at once (vmap)
    bytes_state: int = 0  # for each further one after the other (map): its state alone
    step_map: float = math.nan  # seconds of a variant's step in the longest stage, one variant after the other
    step_vmap: float = math.nan  # and some at once
    training: float = math.nan  # seconds of all stages of one variant: their steps, timed
    compile: float = 0.0  # seconds that compiling these took

    @property
    def faster(self) -> str:
        return "vmap" if self.step_vmap < self.step_map else "map"

    def training_of(self, over: str) -> float:
        """Seconds of a variant's training; as by map where vmap was not timed."""
        is_timed = over == "vmap" and math.isfinite(self.step_vmap)
        return self.training * (self.step_vmap / self.step_map if is_timed else 1.0)

    def bytes_of(self, variants: int, over: str) -> int:
        return self.bytes_one + (variants - 1) * (self.bytes_more if over == "vmap" else self.bytes_state)


def limit(memory: float | None) -> int:
    """Bytes that a program may take: `memory` GB, or a share of what is free.

    Of a device that does not say what it has, the machine's memory, shared by workers as its cores are.
    """
    if memory is not None:
        return int(memory * 2**30)
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(SHARE * (stats["bytes_limit"] - stats["bytes_in_use"]))
    cores = doctor.cores()
    own = int(os.environ.get("NPROC", cores)) / cores
    return int(SHARE * min(own, 1.0) * _available())


def _available() -> int:
    """Bytes of the machine's memory that nothing uses; where the system does not say, half of all."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    (line,) = (line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def measure(group: Group, configs: Sequence[ConfigDict], limit: int, over: str = "auto") -> Cost:
    """Compiles a step of every stage and, unless `over` is "map", of the longest for some variants at once.

    What fits into `limit` bytes is timed.
    """
    before = group.compile_seconds
    steps = [_step(group, configs[:1], s, "map") for s in range(len(group.stages))]
    sizes = [_bytes(program) for program, _ in steps]
    if max(sizes) > limit:
        return Cost(max(sizes), compile=group.compile_seconds - before)
    counts = [stage.end - stage.first for stage in group.stages]
    seconds = [count * _step_times([step], group)[0] for step, count in zip(steps, counts, strict=True)]
    longest = int(np.argmax(seconds))
    step_map, more, step_vmap = seconds[longest] / counts[longest], 0, math.nan
    if len(configs) > 1 and over != "map":
        n = int(np.clip(AT_ONCE_SECONDS / step_map, 2, TIMED_AT_ONCE))
        more, ways = _ways(group, configs[:n], longest, sizes[longest], limit)
        step_map, step_vmap = _step_times(ways, group) if ways else (step_map, math.inf)
        seconds[longest] = counts[longest] * step_map  # of one among several: what is going to run
    return Cost(
        bytes_one=max(sizes),
        bytes_more=more * max(sizes) // sizes[longest],
        bytes_state=2 * max(sum(leaf.nbytes for leaf in jax.tree.leaves(batch)) for _, batch in steps),
        step_map=step_map,
        step_vmap=step_vmap,
        training=sum(seconds),
        compile=group.compile_seconds - before,
    )


def _ways(
    group: Group, configs: Sequence[ConfigDict], s: int, size: int, limit: int
) -> tuple[int, list[tuple[Any, tuple]]]:
    """Bytes that each variant adds to the `size` of one (vmap), and a step of stage s by map and by vmap.

    Of as many variants as fit at once, these or 2; none where two do not. Both ways take the same number: XLA makes
    another program of a single one.
    """
    for n in dict.fromkeys((len(configs), 2)):
        at_once = _step(group, configs[:n], s, "vmap")
        more = max(0, _bytes(at_once[0]) - size) // (n - 1)
        if _bytes(at_once[0]) <= limit:
            return more, [_step(group, configs[:n], s, "map"), at_once]
    return more, []


def _step(group: Group, configs: Sequence[ConfigDict], s: int, over: str) -> tuple[Any, tuple]:
    """A stage's program for these variants, and states and settings to time it with."""
    hypers = hypers_of(configs, s)
    states = group.start(hypers, over)
    states = states._replace(step=jnp.full_like(states.step, group.stages[s].first))
    return group.run(s, states, hypers, over), (states, hypers)


def _step_times(steps: Sequence[tuple[Any, tuple]], group: Group) -> list[float]:
    """Seconds of a variant's step in each, the least of calls that take turns: others may use the machine meanwhile."""

    def call(step: tuple[Any, tuple], count: int) -> float:
        program, batch = step
        began = time.perf_counter()
        jax.block_until_ready(program(batch, group.data, jnp.int32(count)))
        return (time.perf_counter() - began) / count / len(jax.tree.leaves(batch)[0])

    for step in steps:
        call(step, 1)  # a first call fetches what later ones have
    longest = max(call(step, 1) * len(jax.tree.leaves(step[1])[0]) for step in steps)
    count = int(np.clip(TIMED_SECONDS / longest, 1, TIMED_STEPS))
    return np.min([[call(step, count) for step in steps] for _ in range(REPEATS)], axis=0).tolist()


def _bytes(program: Any) -> int:
    found = program.memory_analysis()
    return found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes


def choose(cost: Cost, variants: int, limit: int, over: str = "auto") -> tuple[int, str]:
    """(how many at once, "vmap" | "map"). limit: bytes. Raises InputError where not even one fits.

    No more than are finished in LONGEST seconds: what is stopped is then not far from its last results.
    """
    over = cost.faster if over == "auto" else over
    if cost.bytes_one > limit:
        raise InputError(
            f"memory: expected a variant of at most {limit / 2**30:.2f} GB; one takes {cost.bytes_one / 2**30:.2f} GB "
            "(fewer points, context or subjects a step, or adapt.checkpoint, take less)"
        )
    further = cost.bytes_more if over == "vmap" else cost.bytes_state
    fit = 1 + int((limit - cost.bytes_one) / max(further, 1))
    fit = min(fit, max(1, int(LONGEST / max(cost.training_of(over), 1e-9))))
    parts = -(-variants // min(fit, variants))
    return -(-variants // parts), over


def in_chunks(compute: Callable[[Sequence[Any]], Iterable[Any]], items: Sequence[Any], size: int) -> Iterator[Any]:
    """What `compute` gives of `size` items at a time; of half as many from where memory did not suffice.

    Raises what it raises where memory does not suffice for one.
    """
    done = 0
    while done < len(items):
        chunk = items[done : done + size]
        try:
            found = compute(chunk)
        except (RuntimeError, MemoryError) as error:
            reason = of_memory(error)
            if reason is None or len(chunk) == 1:
                raise
            size = -(-len(chunk) // 2)
            log.warning("%s; going on with %d at once", reason, size)
            continue
        yield from found
        done += len(chunk)
