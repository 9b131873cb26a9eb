"""What a scan costs among many in one call of `inr-jax adapt`: seconds of one, of several, and of every further one.

    python benchmarks/many_scans.py --scans=8

Phantom scans of 9 x 96 x 64, the shipped model, no programs kept between starts. All that `adapt` writes is written.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inr_jax.data.phantom_oct import scan_of
from inr_jax.phantom import make_eye


def written(folder: Path, count: int) -> list[str]:
    """The files of so many eyes of people that no model has seen."""
    files = []
    for person in range(800, 800 + count):
        scan = scan_of(make_eye(person=person, laterality="R", shape=(9, 96, 64)))
        arrays = {name: getattr(scan, name) for name in ("voxels", "spacing", "slo", "slo_spacing", "ascans_on_slo")}
        files.append(str(folder / f"{person}.npz"))
        np.savez(files[-1], laterality=np.array("R"), **{name: np.asarray(array) for name, array in arrays.items()})
    return files


class Took(NamedTuple):
    """Seconds of a call."""

    wall: float
    processor: float  # of all cores


def took(files: list[str], output: Path) -> Took:
    """One call for these files, in a process of its own."""
    before, began = _processor(), time.perf_counter()
    command = [sys.executable, "-m", "inr_jax", "adapt", "--model=phantom", "--no-cache", *files, f"--output={output}"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"INR_JAX_CACHE": "off"})
    return Took(time.perf_counter() - began, _processor() - before)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=8, help="in the second call: 2 or more")
    count = parser.parse_args().scans
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), count)
        one, several = took(files[:1], Path(folder) / "one"), took(files, Path(folder) / "several")
    for kind, first, all_of in zip(Took._fields, one, several, strict=True):
        further = (all_of - first) / (count - 1)
        print(f"{kind:10} one scan {first:.1f} s; {count} scans {all_of:.1f} s: {further:.1f} s for a further one")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"most memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
