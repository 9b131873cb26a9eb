"""Who adapts best to a new scan, and in how many seconds: every method on the same people, in one command.

    python benchmarks/adaptation.py --size=small --json=runs/adaptation.jsonl
    python benchmarks/adaptation.py --size=small --json=runs/adaptation.jsonl --split=test
    python benchmarks/adaptation.py --json=runs/adaptation.jsonl --report=runs/adaptation

Rows are added to the file, and what is there is not computed again; trainings lie in a folder of the same name. The
first pass trains, and chooses each method's setting, on validation people; --split=test is the final pass, once. What
is compared stands in benchmarks/contest/settings.py, a row's fields in benchmarks/contest/rows.py. Populations are
seeds of the phantom and `shifted`, or folds of real scans.
"""

import argparse
import functools
import sys

from contest import command, runner, scans
from contest.jobs import Plan
from contest.settings import SIZES, methods


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises InputError for a method that there is not."""
    size = command.shortened(SIZES[options.size], options.share)
    populations = f"0,1,{scans.SHIFTED}" if options.data == "phantom" else "1"
    keys = functools.partial(scans.changes, options.data)
    return command.plan(options, size, methods(size), keys, populations=populations, kind="interpolated")


def main() -> int:
    parser = command.parser(__doc__, seeds="0,1,2")
    parser.add_argument("--data", default="phantom", help="phantom, or a folder of OCT folds (docs/interp_oct.md)")
    options = parser.parse_args()
    return command.run(lambda: plan_of(options), runner.loaded, options.report)


if __name__ == "__main__":
    sys.exit(main())
