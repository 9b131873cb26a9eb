"""`inr-jax ablate`: every variant of a sweep trained and scored, those of one shape in one program.

Its folder holds `sweep.json` (the plan), `results/<variant>.json` as they are finished, and what `report` makes of it.
The same command again computes what has no result yet.
"""

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from inr_jax import batched, chunks, sweeps, variant_runs, workdir
from inr_jax.engines import Work, run_local
from inr_jax.errors import InputError
from inr_jax.ray_engine import run_ray
from inr_jax.sweep_progress import Board, counted, duration
from inr_jax.sweep_report import report
from inr_jax.sweep_results import DIVERGED, FAILED, FINISHED, PLAN, RESULTS, Sweep, read_sweep
from inr_jax.sweeps import Plan, Variant

ENGINES = ("local", "ray")
SAME = ("base", "axes", "varied", "variants")  # of a plan: what must be equal where a sweep goes on
log = logging.getLogger(__name__)


def ablate(
    config: ConfigDict,
    folder: str | Path,
    *,
    sweep: Sequence[str] = (),
    one_at_a_time: Sequence[str] = (),
    axes: str | Path | None = None,
    engine: str = "local",
    workers: int | None = None,
    threads: int | None = None,
    memory: float | None = None,
    over: str = "auto",
    config_file: str = "",
) -> Sweep:
    """Trains and scores the product of the axes `sweep`, each with the base and one change of `one_at_a_time`.

    axes: a script of a user's own sweep_<axis>() functions. engine: "local", one group after the other in this process,
    or "ray", with `workers` of `threads` cores. memory: GB that a program may take; None: a share of what is free.
    over: how variants of one shape are computed, "vmap", "map", or "auto", the faster. config_file: what reports call
    the base. Prints the settings; returns the plan with all results, as `read_sweep` does.
    Raises InputError for a plan that cannot be, a folder that holds another one or a training, and where variants
    failed (the others' results are kept); InterruptedError when asked to stop.
    """
    folder = Path(folder)
    if engine not in ENGINES:
        raise InputError(f"--engine: expected one of {', '.join(ENGINES)}; found {engine!r}")
    plan = sweeps.plan(config, sweeps.read_axes(axes), sweep, one_at_a_time)
    works = works_of(config, plan)
    with workdir.locked(folder, "computing a sweep"):
        write_plan(folder, plan, config, config_file)
        left = _unfinished(works, read_sweep(folder))
        count, before = len(plan.variants), len(plan.variants) - sum(len(work.variants) for work in left)
        if before:
            log.info("%d of %d variants have their results; going on with the others", before, count)
        runner = functools.partial(variant_runs.run, memory=memory, over=over)
        with Board(count, before) as board:
            found = (
                run_ray(left, runner, board.tell, workers=workers, threads=threads)
                if engine == "ray"
                else run_local(left, runner, board.tell)
            )
            _keep(folder, found, board)
        print(report(folder))
    done = read_sweep(folder)
    _tell_failures(done)
    return done


def works_of(config: ConfigDict, plan: Plan) -> list[Work]:
    """A work for every group of a plan. Raises InputError for a variant that is no training of fixed steps."""
    for variant in plan.variants:
        try:
            batched.check(sweeps.configured(config, variant.changes))
        except InputError as error:
            raise InputError(f"{sweeps.told(variant.name, variant.settings)}: {error}") from error
    found = sweeps.groups(config, plan.variants)
    return [Work(name, variants, workdir.plain(config)) for name, variants in found.items()]


def write_plan(folder: Path, plan: Plan, config: ConfigDict, config_file: str) -> None:
    """sweep.json, once. Raises InputError where the folder holds another plan, or a training."""
    now = {
        "base": workdir.plain(config),
        "config_file": config_file,
        "axes": {axis: list(words) for axis, words in plan.axes.items()},
        "reference": plan.reference,
        "varied": plan.varied,
        "repeats": list(plan.repeats),
        "variants": [variant._asdict() for variant in plan.variants],
        "scored_on": variant_runs.SPLIT,
        "versions": workdir.versions() | {"git": workdir.git_state()},
    }
    if (folder / workdir.CONFIG).is_file():
        raise InputError(f"{folder}: expected a folder for this sweep alone; found a training")
    if not (folder / PLAN).is_file():
        workdir.write_json(folder / PLAN, now)
        return
    before = workdir.read_json(folder / PLAN)
    differing = [key for key in SAME if before.get(key) != workdir.json_of(now[key])]
    if differing:
        base = workdir.differences(before.get("base", {}), workdir.plain(config)) if "base" in differing else ""
        words = [key + (f": {base}" if key == "base" else "") for key in differing]
        raise InputError(
            f"{folder}: expected this sweep or none; found another one (other {', '.join(words)}): take another "
            "--workdir"
        )


def _unfinished(works: Sequence[Work], done: Sweep) -> list[Work]:
    """The works without the variants that have their result; what failed, or cannot be read, is tried again."""
    have = {result.name for result in done.results if result.status in (FINISHED, DIVERGED)}
    left = [work._replace(variants=tuple(v for v in work.variants if v.name not in have)) for work in works]
    return [work for work in left if work.variants]


def _keep(folder: Path, found: Iterator[dict[str, Any]], board: Board) -> None:
    """Writes every result as it comes. Raises InterruptedError when asked to stop."""
    kept = 0
    try:
        with closing(found):  # type: ignore[type-var]
            for result in found:
                workdir.write_json(folder / RESULTS / f"{result['variant']}.json", result)
                board.count(result)
                kept += 1
    except KeyboardInterrupt as error:
        raise InterruptedError(
            f"{folder}: stopped, {kept} results more than before; the same command goes on from there"
        ) from error


def _tell_failures(done: Sweep) -> None:
    reasons = Counter(result.reason for result in done.results if result.status == FAILED)
    if reasons:
        said = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        raise InputError(
            f"{done.folder}: expected a result for every variant; {sum(reasons.values())} of {len(done.results)} "
            f"failed ({said}); the same command tries them again"
        )


def dry_run(
    config: ConfigDict, *, sweep: Sequence[str] = (), one_at_a_time: Sequence[str] = (), axes: str | Path | None = None,
    memory: float | None = None, over: str = "auto",
) -> None:  # fmt: skip
    """Prints a plan: its variants, their groups by shape, and for each memory and time, from a step that is timed."""
    plan = sweeps.plan(config, sweeps.read_axes(axes), sweep, one_at_a_time)
    works = works_of(config, plan)
    group_by = {variant.name: work.group for work in works for variant in work.variants}
    for variant in plan.variants:
        print(f"{group_by[variant.name]}  {sweeps.told(variant.name, variant.settings)}")
    print()
    for axis, words in plan.axes.items():
        print(f"{axis} ({plan.varied[axis]}): {', '.join(words)}; reference {plan.reference[axis]}")
    print(f"{counted(len(plan.variants), 'variant')} in {counted(len(works), 'group')} of one shape\n")
    row = "{:<14}{:>9}{:>9}{:>6}{:>13}{:>13}{:>11}{:>11}  {}".format
    print(
        row("group", "variants", "at once", "by", "GB (one)", "GB (these)", "compiling", "training", "set apart by"),
        flush=True,
    )
    total, refused = 0.0, list[tuple[Variant, str]]()
    for n, work in enumerate(works, 1):
        log.info("group %d of %d: compiling and timing a step", n, len(works))
        seconds, cells, unfit = _estimate(work, memory, over)
        total, refused = total + seconds, refused + unfit
        print(row(work.group, len(work.variants), *cells, _apart(plan, work)), flush=True)
    print(f"\nabout {duration(total)} on this device, group after group; scoring apart")
    for variant, reason in refused:
        print(f"{sweeps.told(variant.name, variant.settings)} would fail: {reason}")


def _estimate(work: Work, memory: float | None, over: str) -> tuple[float, tuple[str, ...], list[tuple[Variant, str]]]:
    """Seconds of a group's compilation and training, what a plan says of it, and its variants that would fail."""
    pairs, limit = [(variant, work.config_of(variant)) for variant in work.variants], chunks.limit(memory)
    configs = [config for _, config in pairs]
    group = variant_runs.group_of(work, configs[0])
    unfit = list(variant_runs.unfit(group, pairs))
    cost = chunks.measure(group, configs, limit, over)
    try:
        size, over = chunks.choose(cost, len(configs), limit, over)
    except InputError as error:
        return 0.0, ("–", "–", f"{cost.bytes_one / 2**30:.3f}", "too large", "", str(error).split(";")[0]), unfit
    seconds = len(configs) * cost.training_of(over)
    sizes = (f"{cost.bytes_of(n, over) / 2**30:.3f}" for n in (1, size))
    return cost.compile + seconds, (str(size), over, *sizes, duration(cost.compile), duration(seconds)), unfit


def _apart(plan: Plan, work: Work) -> str:
    """The settings that all variants of a group share."""
    shared = {axis: {variant.settings[axis] for variant in work.variants} for axis in plan.axes}
    return ", ".join(f"{axis}={next(iter(words))}" for axis, words in shared.items() if len(words) == 1)
