"""INteRp-OCT from dense volumes to a table, on phantom eyes at reduced size: prepare, train, fit, evaluate, compare.

    python docs/interp_oct_table.py --output=runs/interp_oct_table

About 40 minutes on two cores, two folds at a time; run again, it goes on where it stopped. Every person is tested once,
in one fold. What is smaller than in the paper stands in SMALL. `--quick` tries the whole way in minutes, to no end.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from inr_jax.tables import METRICS, per_person, write_csv

PHANTOM = ("phantom.people=10", "phantom.eyes=1", "phantom.shape=(241,96,64)", "fitted_every=16")  # 16 of 31 B-scans
FIT = ("adapt.epochs=40", "adapt.rate=5e-3", "adapt.epoch_decay=0.95")
SMALL = {  # the paper: width 128, depth 6, latent 128, 1500 epochs at 1e-4; 200 at 1e-3. Alone: width 512, 1500 at 1e-4
    "general": (
        "model.width=64", "model.depth=4", "model.modulation.vector.size=32", "train.stop.epochs=40",
        "train.epoch_decay=0.95", "train.autodecoder.rates.field=1e-3", "train.autodecoder.rates.table=1e-3", *FIT,
    ),
    "single": ("model.width=128", "adapt.epochs=60", "adapt.rate=1e-3", "adapt.epoch_decay=0.95"),
}  # fmt: skip
LEAK = ("flatten.test.membrane=labels", "flatten.test.bscans=every")  # held-out B-scans flattened by their own labels
QUICK = {"general": ("train.stop.epochs=1", "adapt.epochs=1"), "single": ("adapt.epochs=1",)}
PARTS = ("folds", "leak")
SHOWN = ("psnr", "ssim", "gmsd", "dice", "assd_um", "thickness_mae_um")


def run(*words: str, keys: Iterable[str] = (), shown: bool = False) -> None:
    """One command of inr-jax, on one core. shown: what it prints, too."""
    command = [sys.executable, "-m", "inr_jax", *words, *(f"--config.{key}" for key in keys), "--threads=1"]
    print("inr-jax", *command[3:], flush=True)
    subprocess.run(command, check=True, stdout=None if shown else subprocess.DEVNULL)


def one_fold(output: Path, fold: int, seeds: list[int], quick: bool) -> None:
    """Both INRs, every seed. The baselines, the same for all of them, and the leak with the first."""
    for name, small in SMALL.items():
        for seed in seeds:
            place = output / f"{name}-fold{fold}-seed{seed}"
            first = seed == seeds[0]
            parts = [part for part in PARTS[: 2 if first else 1] if not (place / part / "report.html").is_file()]
            if not parts:
                continue
            own = "data.interp_oct.validation_people=0.2"  # whom the baselines are tuned on
            data = (own, f"data.path={output / 'folds'}", f"data.interp_oct.fold={fold}", f"train.seed={seed}")
            keys = (*small, *(QUICK[name] if quick else ()), *data)
            run("train", f"--config=configs/interp_oct_{name}.py", f"--workdir={place}", keys=keys)
            for part in parts:
                rivals = "--baselines" if first and name == "general" else "--no-baselines"
                words = ("evaluate", f"--workdir={place}", f"--output={place / part}", rivals, "--quick")
                run(*words, keys=(f"data.path={output / part}",))


def rows_of(output: Path, pattern: str, table: str, name: str) -> Iterator[dict[str, object]]:
    """The rows of all evaluations of a pattern, this model's called by `name`, numbers as numbers."""
    for path in sorted(output.glob(f"{pattern}/{table}.csv")):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                own = row["method"].startswith("inr_jax")
                if row["method"].endswith("field alone"):
                    continue
                yield {key: number(value) for key, value in row.items()} | ({"method": name} if own else {})


def number(text: str) -> float | str:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return text


def pool(output: Path, name: str, part: str, seed: int) -> Path:
    """An INR's evaluations of all folds as one, for `inr-jax compare`."""
    place = output / "pooled" / f"{name}-{part}-seed{seed}"
    place.mkdir(parents=True, exist_ok=True)
    for table in ("metrics", "layers"):
        write_csv(list(rows_of(output, f"{name}-fold*-seed{seed}/{part}", table, name)), place / f"{table}.csv")
    return place


def compare(output: Path, seed: int) -> None:
    """One INR with the other, and each with itself where the labels of held-out B-scans have leaked."""
    general, single = (pool(output, name, "folds", seed) for name in SMALL)
    pairs = {"general_or_single": (general, single)}
    for name, clean in (("general", general), ("single", single)):
        pairs[f"{name}_without_or_with_leak"] = (clean, pool(output, name, "leak", seed))
    for name, (first, second) in pairs.items():
        run("compare", str(first), str(second), f"--output={output / name}", shown=True)


def cell(values: dict[str, float], digits: int) -> str:
    known = [value for value in values.values() if np.isfinite(value)]
    return f"{np.mean(known):.{digits}f} ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else "-"


def print_table(output: Path, part: str, kind: str, seeds: list[int]) -> None:
    """Mean ± SD over people (a person's seeds averaged first), and the SD of the mean over seeds."""
    rows = [row for name in SMALL for row in rows_of(output, f"{name}-fold*/{part}", "metrics", name)]
    rows = [row for row in rows if row["kind"] == kind]
    print(f"\n{kind}; test eyes flattened by {'their own labels (leak)' if part == 'leak' else 'fitted B-scans'}")
    print(f"{'':34}" + "".join(f"{METRICS[key].title:>20}" for key in SHOWN) + f"{'SD of PSNR by seed':>22}")
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        own = [row for row in rows if row["method"] == method]
        cells = "".join(f"{cell(per_person(own, key), METRICS[key].digits):>20}" for key in SHOWN)
        of_seed = {
            str(seed): float(np.mean(list(per_person(rows_of_seed(output, method, part, kind, seed), "psnr").values())))
            for seed in (seeds if method in SMALL and part == "folds" else [])
        }
        spread = f"{np.std(list(of_seed.values()), ddof=1):.3f}" if len(of_seed) > 1 else "-"
        print(f"{method:34}{cells}{spread:>22}")


def rows_of_seed(output: Path, name: str, part: str, kind: str, seed: int) -> list[dict[str, object]]:
    found = rows_of(output, f"{name}-fold*-seed{seed}/{part}", "metrics", name)
    return [row for row in found if row["kind"] == kind and row["method"] == name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/interp_oct_table"))
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[25, 26])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="folds at a time")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    for part, keys in (("folds", ()), ("leak", LEAK)):
        if not (options.output / part / "manifest.json").is_file():
            prepare = ("prepare", "--config=configs/prepare_oct.py", f"--output={options.output / part}")
            run(*prepare, keys=(*PHANTOM, *keys))
    with ThreadPoolExecutor(options.jobs) as workers:
        jobs = [workers.submit(one_fold, options.output, fold, options.seeds, options.quick) for fold in options.folds]
        for job in jobs:
            job.result()
    compare(options.output, options.seeds[0])
    for part in PARTS:
        for kind in ("fitted", "interpolated"):
            print_table(options.output, part, kind, options.seeds)


if __name__ == "__main__":
    main()
