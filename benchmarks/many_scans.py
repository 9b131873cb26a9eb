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


def took(files: list[str], output: Path, *flags: str, cache: str = "off") -> Took:
    """One call for these files, in a process of its own. cache: where programs are kept."""
    before, began = _processor(), time.perf_counter()
    command = [sys.executable, "-m", "inr_jax", "adapt", "--model=phantom", *files, f"--output={output}", *flags]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"INR_JAX_CACHE": cache})
    return Took(time.perf_counter() - began, _processor() - before)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=8, help="in the last call: 2 or more")
    parser.add_argument("--together", type=int, default=4, help="of these, at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = written(folder, options.scans)
        cache, at_once = str(folder / "cache"), f"--together={options.together}"
        calls = {
            "one scan": took(files[:1], folder / "one", cache=cache),
            "the same, its programs kept": took(files[:1], folder / "again", cache=cache),
            f"{options.scans} scans, none kept": took(files, folder / "all", at_once),
        }
    for said, seconds in calls.items():
        print(f"{said:30} {seconds.wall:8.1f} s, {seconds.processor:8.1f} s of processor time")
    one, kept, several = (seconds.processor for seconds in calls.values())
    further, single = (several - one) / (options.scans - 1), options.scans * kept + (one - kept)
    print(f"a further scan {further:.1f} s; all of them {several / single:.2f} of single calls less their compilations")
    print(f"most memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
