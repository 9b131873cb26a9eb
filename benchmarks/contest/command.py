"""The flags that `adaptation.py` and `representation.py` share, and what they do."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from contest import chart, rows, scans
from contest.jobs import BASELINES, Plan
from contest.runner import Load, Runner
from contest.settings import Method, Size
from inr_jax.data._splits import SPLITS
from inr_jax.errors import InputError


def parser(about: str | None, *, seeds: str) -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--size", choices=("tiny", "small", "paper"), default="small", help="tiny: to see that it runs")
    out.add_argument("--json", type=Path, required=True, help="JSON lines are added here; a rerun goes on")
    out.add_argument("--methods", default="", help="these alone, separated by ';' (default: all)")
    out.add_argument(
        "--settings",
        default="",
        help="of a method that has some of these, these alone; ';' between them",
    )
    out.add_argument("--steps", default="", help="of the steps at which a method is scored, these alone: 5,200")
    out.add_argument("--seeds", default=seeds, help="of trainings, for every population")
    out.add_argument("--populations", default="", help="separated by ','")
    out.add_argument("--split", choices=SPLITS[1:], default="validation", help="test: the one final pass")
    out.add_argument("--contexts", default=",".join(scans.CONTEXTS), help="what a new scan offers; real scans: noisy")
    out.add_argument("--long-people", type=int, default=4, help="whose first scan gets the longest fits; 0: all scans")
    out.add_argument("--share", type=float, default=1.0, help="of every training's steps: 0.5 takes half the time")
    out.add_argument("--quick-tuning", action="store_true", help="denoisers are tuned on fewer scans")
    out.add_argument("--report", type=Path, help="no computing: a table and figures of the rows, into this folder")
    return out


def shortened(size: Size, share: float) -> Size:
    """With this share of every training's steps."""
    return size._replace(outer={name: max(1, round(share * steps)) for name, steps in size.outer.items()})


def plan(
    options: argparse.Namespace,
    size: Size,
    table: Mapping[str, Method],
    keys: Callable[[str], dict[str, object]],
    *,
    populations: str,
    kind: str,
    others: tuple[str, ...] = (BASELINES,),
) -> Plan:
    """others: what can be asked for beside the methods of the table. Raises InputError for a method there is not."""
    known = (*others, *table)
    names = tuple(filter(None, map(str.strip, options.methods.split(";")))) or known
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--methods: expected some of {'; '.join(known)}; found {'; '.join(unknown)}")
    table = {
        name: _some_steps(_some_settings(method, options.settings), options.steps) for name, method in table.items()
    }
    contexts = tuple(options.contexts.split(","))
    if not set(contexts) <= set(scans.CONTEXTS):
        raise InputError(f"--contexts: expected some of {','.join(scans.CONTEXTS)}; found {options.contexts}")
    name = options.size + (f" x {options.share:g}" if options.share != 1 else "")
    return Plan(
        name, size, table, keys, names, tuple(map(int, options.seeds.split(","))),
        tuple((options.populations or populations).split(",")), options.split, contexts, kind,
        options.long_people, options.json, options.quick_tuning or options.size == "tiny",
    )  # fmt: skip


def _some_settings(method: Method, names: str) -> Method:
    """The method with the settings of these names alone; all where it has none of them."""
    wanted = {name.strip() for name in names.split(";")}
    some = {name: changes for name, changes in method.settings.items() if name in wanted}
    return method._replace(settings=some or method.settings)


def _some_steps(method: Method, steps: str) -> Method:
    """The method scored at these steps alone; at all of its own where none of them is among these."""
    wanted = {int(step) for step in filter(None, steps.split(","))}
    return method._replace(steps=tuple(step for step in method.steps if step in wanted) or method.steps)


def run(make: Callable[[], Plan], load: Load, report: Path | None) -> int:
    """Computes what is missing of a plan, or draws its report. The exit code; an InputError is one line."""
    logging.basicConfig(level=logging.WARNING)
    try:
        asked = make()
        if report is None:
            Runner(asked, load).run()
        else:
            chart.report(rows.read(asked.path), dict(asked.table), asked.kind, report)
            print((report / "table.txt").read_text())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
