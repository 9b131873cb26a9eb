"""What the speed benchmarks share: a model with random weights on phantom eyes, flops counted, a table, JSON rows."""

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import default
from inr_jax import coordinates, data, doctor, measurements, model, workdir
from inr_jax.flops import products
from inr_jax.measurements import Measurements, Pools
from inr_jax.model import Model, Signal


class Bench(NamedTuple):
    config: ConfigDict
    built: Model
    data: Measurements
    pools: Pools
    grid: tuple[int, ...]
    shapes: list[tuple[int, int]]  # (in, out) of every product a point goes through


class Cell(NamedTuple):
    """One line of the table: what is timed, and what one run of it does."""

    name: str
    run: Callable[..., Any]  # jitted
    arguments: tuple[Any, ...]
    steps: int  # per run
    points: int  # per run
    flops: float  # per run
    rows: int  # of the bare products it is compared with
    subjects: int  # that are in memory at once


def arguments(script: str, about: str) -> argparse.Namespace:
    """--quick and --output of a benchmark."""
    parser = argparse.ArgumentParser(
        description=about,
        epilog=f"example: python benchmarks/{script}.py --output runs/{script}.jsonl",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model and scan: seconds, to see that it runs")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name(f"{script}.jsonl"), help="JSON lines are added here"
    )
    return parser.parse_args()


def setup(*, people: int, quick: bool) -> Bench:
    """configs/default.py's model with random weights, and a small phantom population on the device."""
    config = default.get_config()
    config.data.phantom_oct.people = (people, 1, 1)
    if quick:
        config.data.phantom_oct.shape = (5, 32, 24)
        config.model.width, config.model.depth = 16, 2
    population = data.load(config.data, "train")
    half = coordinates.half_extent(population.measured.shape, population.spacing)
    built = model.build(config, Signal.of(population))
    field = jax.eval_shape(built.init, jax.random.key(0), model.hyper_of(config)).field
    return Bench(
        config,
        built,
        measurements.to_device(population, half),
        measurements.pools(population.measured),
        population.measured.shape,
        products(field).point,
    )


def measure(cell: Cell, shapes: list[tuple[int, int]], *, repeats: int) -> dict[str, Any]:
    """Compiles a cell, then times it and the bare products of the same shapes in turn, so that both see one machine."""
    began = time.perf_counter()
    compiled = cell.run.lower(*cell.arguments).compile()
    compile_seconds = time.perf_counter() - began
    took, rates = [], []
    for _ in range(repeats):
        took += doctor.seconds(compiled, *cell.arguments, repeats=1)
        rates.append(doctor.product_rate(cell.rows, shapes, repeats=3))
    median, bare = statistics.median(took), statistics.median(rates)
    low, high = np.quantile(took, [0.25, 0.75])
    return {
        "cell": cell.name,
        "steps_per_second": cell.steps / median,
        "steps_per_second_quartiles": [cell.steps / high, cell.steps / low],
        "points_per_second": cell.points / median,
        "flops_per_second": cell.flops / median,
        "bare_flops_per_second": bare,
        "share": cell.flops / median / bare,
        "temporary_bytes_per_subject": compiled.memory_analysis().temp_size_in_bytes / cell.subjects,
        "compile_seconds": compile_seconds,
        "repeats": repeats,
    }


HEAD = ("cell", "steps/s", "(quartiles)", "M points/s", "GFLOP/s", "bare", "share", "MB/subject", "compile s")


def line(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["steps_per_second_quartiles"]
    return (
        row["cell"],
        f"{row['steps_per_second']:.3g}",
        f"({low:.3g}-{high:.3g})",
        f"{row['points_per_second'] / 1e6:.3f}",
        f"{row['flops_per_second'] / 1e9:.1f}",
        f"{row['bare_flops_per_second'] / 1e9:.1f}",
        f"{row['share']:.0%}",
        f"{row['temporary_bytes_per_subject'] / 1e6:.1f}",
        f"{row['compile_seconds']:.1f}",
    )


def print_line(cells: tuple[str, ...]) -> None:
    print(
        f"{cells[0]:<28}" + "".join(f"{cell:>{21 if i == 1 else 12}}" for i, cell in enumerate(cells[1:])), flush=True
    )


def report(bench: Bench, cells: list[Cell], output: Path, *, quick: bool) -> None:
    """Prints one table and adds a JSON line for every cell."""
    about = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "quick": quick,
        "device": jax.devices()[0].device_kind,
        "cores": doctor.cores(),
        "machine": platform.platform(),
        "git": workdir.git_state(),
        "jax": jax.__version__,
        "grid": bench.grid,
        "products": bench.shapes,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    print_line(HEAD)
    for cell in cells:
        row = measure(cell, bench.shapes, repeats=2 if quick else 7)
        print_line(line(row))
        workdir.append_line(output, row | about)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"the process's peak memory: {peak:.2f} GB; rows added to {output}")
