"""Who adapts best to a new scan, and in how many seconds: every method on the same people, in one command.

    python benchmarks/adaptation.py --size=small --json=runs/adaptation.jsonl
    python benchmarks/adaptation.py --size=small --json=runs/adaptation.jsonl --split=test
    python benchmarks/adaptation.py --json=runs/adaptation.jsonl --report=runs/adaptation

Rows are added to the file, and what is there is not computed again; trainings lie in a folder of the same name. The
first pass trains, and chooses each method's setting, on validation people; --split=test is the final pass, once. What
is compared stands in benchmarks/contest/settings.py, a row's fields in benchmarks/contest/rows.py.
"""

import argparse
import logging
import sys
from pathlib import Path

from contest import chart, rows, scans
from contest.jobs import BASELINES, Plan
from contest.runner import Runner
from contest.settings import SIZES, methods

from inr_jax.data._splits import SPLITS
from inr_jax.errors import InputError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="tiny: seconds, to see that it runs")
    parser.add_argument("--data", default="phantom", help="phantom, or a folder of OCT folds (docs/interp_oct.md)")
    parser.add_argument("--json", type=Path, required=True, help="JSON lines are added here; a rerun goes on")
    parser.add_argument("--methods", default="", help="of these alone, separated by ; (all by default)")
    parser.add_argument("--seeds", default="0,1,2", help="of trainings, for every population")
    parser.add_argument("--populations", default="", help="phantom seeds and 'shifted' (0,1,shifted), or folds (1)")
    parser.add_argument("--split", choices=SPLITS[1:], default="validation", help="test: the one final pass")
    parser.add_argument("--long-people", type=int, default=4, help="whose first scan gets the longest fits; 0: all")
    parser.add_argument("--share", type=float, default=1.0, help="of every training's steps: 0.5 takes half the time")
    parser.add_argument("--quick-tuning", action="store_true", help="denoisers are tuned on fewer scans")
    parser.add_argument("--report", type=Path, help="no computing: a table and figures of the rows, into this folder")
    return parser.parse_args()


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises InputError for a method that there is not."""
    size = SIZES[options.size]
    size = size._replace(outer={name: max(1, round(options.share * n)) for name, n in size.outer.items()})
    table = methods(size)
    names = tuple(filter(None, map(str.strip, options.methods.split(";")))) or (BASELINES, *table)
    if unknown := [name for name in names if name not in (BASELINES, *table)]:
        raise InputError(f"--methods: expected some of {'; '.join((BASELINES, *table))}; found {'; '.join(unknown)}")
    populations = options.populations or (f"0,1,{scans.SHIFTED}" if options.data == "phantom" else "1")
    return Plan(
        options.size, size, table, options.data, names, tuple(map(int, options.seeds.split(","))),
        tuple(populations.split(",")), options.split, "interpolated", options.long_people, options.json,
        options.quick_tuning or options.size == "tiny",
    )  # fmt: skip


def main() -> int:
    options = arguments()
    logging.basicConfig(level=logging.WARNING)
    try:
        plan = plan_of(options)
        if options.report is None:
            Runner(plan).run()
        else:
            chart.report(rows.read(plan.path), dict(plan.table), plan.kind, options.report)
            print((options.report / "table.txt").read_text())
    except InputError as error:
        print(f"adaptation: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
