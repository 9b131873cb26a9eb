"""How well so many codes hold a real 64 x 64 image, and in how many steps: functa, MedFuncta and others beside ours.

    python benchmarks/representation.py --data=CT.nii.gz --json=runs/ct.jsonl
    python benchmarks/representation.py --data=FOLDER --glob='*.jpg' --json=runs/fundus.jsonl
    python benchmarks/representation.py --json=runs/ct.jsonl --report=runs/ct

Every pixel is measured, all methods have 2,048 codes (but the auto-decoder of 128). Photographs are split by person, a
volume by slabs of slices with a gap. Settings, rows and passes are those of benchmarks/adaptation.py; what MedFuncta
needs 20 fixed steps for, ours is to reach in 3, at half the memory of an outer step (`train MB`).
"""

import argparse
import functools
import sys
from pathlib import Path

from contest import command, images
from contest.jobs import Plan
from contest.settings import IMAGE_SIZES, methods

from inr_jax.types import Population

COUNTS = {"tiny": (4, 2, 2), "small": (256, 32, 64), "paper": (4096, 256, 512)}  # patches of each split
PATCH = {"tiny": 32}


def keys(where: Path, population: str) -> dict[str, object]:
    """A population is a seed of the places that patches are cut from."""
    return {"data.name": "fundus", "data.path": str(where), "data.fundus.seed": int(population)}


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises InputError for a method that there is not."""
    size = command.shortened(IMAGE_SIZES[options.size], options.share)
    table = methods(size)
    where = functools.partial(keys, options.data)
    return command.plan(options, size, table, where, populations="0", kind="all", others=())


def loader(options: argparse.Namespace):
    """(config, population, split) -> patches."""

    @functools.cache
    def load(population: str, split: str) -> Population:
        size = PATCH.get(options.size, 64)
        cut = functools.partial(images.load, counts=COUNTS[options.size], size=size, glob=options.glob)
        return cut(options.data, split, seed=int(population))

    return lambda config, population, split: load(population, split)


def main() -> int:
    parser = command.parser(__doc__, seeds="0,1,2")
    parser.add_argument("--data", type=Path, default=Path(), help="a folder of photographs, or one volume (CT)")
    parser.add_argument("--glob", default="*.jpg", help="which files of a folder")
    options = parser.parse_args()
    return command.run(lambda: plan_of(options), loader(options), options.report)


if __name__ == "__main__":
    sys.exit(main())
