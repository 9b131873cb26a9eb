"""A scan of the paper's size on this machine: seconds, peak memory, and what drawing some of its points costs.

    python benchmarks/paper_size.py --workdir runs/oct

adapt   a phantom eye of a validation person, 16 measured B-scans of 230 x 496 (and 15 between them, to be scored),
        adapted in the trained number of steps: with `adapt.points` new points a step, and with every measured point
        at every step (exact gradients, blocks computed anew on the way back)
render  496 x 512 x 128 voxels, intensity and label, by the same model
PSNR is of the field alone, against the noise-free phantom. Every row is measured in a process of its own, whose peak
memory it is; compilation is told apart.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from inr_jax import adaptation, coordinates, data, measurements, model, render, trained, workdir
from inr_jax.operators import points
from inr_jax.trained import Trained
from inr_jax.types import Population

ADAPTED, RENDERED = (31, 230, 496), (128, 496, 512)  # B-scans, rows, A-scans
TINY = (5, 32, 24)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="a training on phantom eyes")
    parser.add_argument("--quick", action="store_true", help="a tiny scan: to see that it runs")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_suffix(".jsonl"), help="JSON lines are added"
    )
    options = parser.parse_args()
    print(f"{'':<26}{'seconds':>10}{'compile s':>12}{'peak GB':>10}{'fitted dB':>12}{'between dB':>12}")
    for name, measure in (("adapt, adapt.points", _drawn), ("adapt, every point", _every), ("render", _rendered)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            row = alone.submit(_measured, measure, options.workdir, options.quick).result()
        shown = [f"{row[key]:.2f}" if key in row else "-" for key in ("peak_gb", "fitted_db", "between_db")]
        print(
            f"{name:<26}{row['seconds']:>10.2f}{row['compile_seconds']:>12.1f}{shown[0]:>10}{shown[1]:>12}{shown[2]:>12}"
        )
        about = {"row": name, "quick": options.quick, "git": workdir.git_state(), "jax": jax.__version__}
        workdir.append_line(options.output, row | about | {"time": time.strftime("%Y-%m-%dT%H:%M:%S")})
    print(json.dumps({"rows added to": str(options.output)}))


def _measured(measure: Callable[[Trained, bool], dict[str, Any]], folder: Path, quick: bool) -> dict[str, Any]:
    row = measure(trained.restore(folder), quick)
    return row | {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def eye(config: ConfigDict, shape: tuple[int, ...]) -> Population:
    """The first validation person's right eye, at another resolution."""
    options = config.data.copy_and_resolve_references()
    options.phantom_oct.update(shape=shape, people=(config.data.phantom_oct.people[0], 1, 1), eyes=1)
    return data.load(options, "validation")


def _compiled(function: Callable, *arguments: Any) -> tuple[Any, dict[str, float]]:
    """The result of a function, with what it took to compile and to run it."""
    began = time.perf_counter()
    run = jax.jit(function).lower(*arguments).compile()
    between = time.perf_counter()
    result = jax.block_until_ready(run(*arguments))
    return result, {"seconds": time.perf_counter() - between, "compile_seconds": between - began}


def _scores(
    known: Trained, scan: Population, on_device: measurements.Measurements, modulation: Any
) -> dict[str, float]:
    """PSNR in dB on measured B-scans and between them."""
    draw = render.make_render(known.built, scan.measured.shape)
    values, _ = draw(known.params.field, modulation, on_device, jnp.int32(0), model.hyper_of(known.config))
    assert scan.truth is not None
    squares = (np.clip(np.asarray(values), 0, 1) - scan.truth[0])[..., 0] ** 2
    parts = {"fitted_db": scan.measured, "between_db": ~scan.measured}
    return {name: float(-10 * np.log10(squares[part & scan.valid[0]].mean())) for name, part in parts.items()}


def _adapted(known: Trained, quick: bool, make: Callable[..., Callable]) -> dict[str, Any]:
    scan = eye(known.config, TINY if quick else ADAPTED)
    on_device = measurements.to_device(scan, known.half)
    run = make(known, measurements.pools(scan.measured).context, scan.measured.shape)
    (modulation, _), took = _compiled(run, known.params, on_device, jnp.int32(0), model.hyper_of(known.config))
    return took | _scores(known, scan, on_device, modulation)


def _drawn(known: Trained, quick: bool) -> dict[str, Any]:
    return _adapted(
        known, quick, lambda known, context, grid: render.make_adapt(known.config, known.built, grid, context)
    )


def _every(known: Trained, quick: bool) -> dict[str, Any]:
    return _adapted(known, quick, _with_every_point)


def _with_every_point(known: Trained, context: np.ndarray, grid: tuple[int, ...]) -> Callable:
    """As `render.make_adapt`, without drawing: block by block, each computed anew on the way back to save memory."""
    learner = known.built.learner

    def run(params: Any, on_device: measurements.Measurements, i: Any, hyper: Any) -> Any:
        side = measurements.side_of(on_device, i)
        starts, length = coordinates.runs(context)
        flat = (jnp.asarray(starts)[:, None] + jnp.arange(length)).reshape(-1)
        batch = measurements.gather(on_device, i, flat, grid, labelled=False)

        def bind(field: Any, modulation: Any, h: Any) -> Any:
            return points.in_blocks(jax.checkpoint(learner.bind(field, modulation, side, h)), render.block())

        return adaptation.adapt(
            learner.inner_loss, bind, params, lambda _: batch, hyper, start=learner.start, rule=learner.rule,
            steps=known.config.adapt.steps, key=jax.random.key(0),
        )  # fmt: skip

    return run


def _rendered(known: Trained, quick: bool) -> dict[str, Any]:
    """The start's field on a large grid; the scan itself is small."""
    grid = TINY if quick else RENDERED
    on_device = measurements.to_device(eye(known.config, TINY), known.half)
    scale = on_device.scale * (np.array(TINY) - 1) / (np.array(grid) - 1)
    still = known.built.modulation(known.params.start)
    _, took = _compiled(
        render.make_render(known.built, grid),
        known.params.field, still, on_device._replace(scale=scale), jnp.int32(0), model.hyper_of(known.config),
    )  # fmt: skip
    return took


if __name__ == "__main__":
    main()
