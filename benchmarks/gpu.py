"""Speed on a GPU, in one call of under 8 minutes. Where there is none the cells stay empty and say so.

    python benchmarks/gpu.py

product      a bare product [2^16, width] x [width, width] with bfloat16 factors: what there is to reach
layer        one hidden layer, sin(x W + c V + b), with bfloat16 factors: by XLA and by the fused kernel
meta-step    an outer step of the joint stage (second order) of configs/default.py at width 256, 16 subjects of 8,192
             context points in each of 5 steps: float32, bfloat16, and bfloat16 by the fused kernel
adapt        16 B-scans of 230 x 496, 5 learned steps of 32,768 points
render       512 B-scans of 496 x 512, intensity and label, left on the device
Weights are random and scans noise. TFLOP/s are the model's own (inr_jax/flops.py), nothing counted that is recomputed;
a layer's are of its products. Before anything is timed the kernel's values and gradients are compared with XLA's.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from interp_oct import eyes
from ml_collections import ConfigDict

from configs import default
from inr_jax import coordinates, doctor, measurements, model, recipe, render, workdir
from inr_jax.flops import flops, products
from inr_jax.kernels import sine_layer
from inr_jax.measurements import Measurements

MINUTES = 7.0  # after which no further cell is begun


class Sizes(NamedTuple):
    width: int
    rows: int  # of products
    subjects: int
    context: int
    adapted: tuple[int, int, int]  # B-scans, rows, A-scans
    points: int
    rendered: tuple[int, int, int]


FULL = Sizes(256, 2**16, 16, 8192, (31, 230, 496), 32_768, (512, 496, 512))
TINY = Sizes(16, 64, 2, 64, (5, 32, 24), 64, (5, 32, 24))


class Cell(NamedTuple):
    name: str
    unit: str
    target: str
    make: Callable[[], tuple[Any, tuple, float]]  # (jitted, arguments, flops of a run; 0: its seconds are the number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes on any device: to see that it runs")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_suffix(".jsonl"), help="JSON lines are added"
    )
    options = parser.parse_args()
    has_device = options.quick or jax.default_backend() == "gpu"
    began, found = time.perf_counter(), jax.devices()[0].device_kind
    print(f"{found}: {'largest difference of the kernel from XLA: ' + difference() if has_device else 'no GPU'}")
    for cell in cells(TINY if options.quick else FULL):
        late = time.perf_counter() - began > 60 * MINUTES
        reason = "no GPU here" if not has_device else "no time left" if late else ""
        row = {"value": None, "why": reason} if reason else measured(cell)
        shown = "-" if row["value"] is None else f"{row['value']:.3g}"
        print(f"{cell.name:<34}{shown:>10} {cell.unit:<9}{cell.target:>12}  {reason}", flush=True)
        about = {"device": found, "quick": options.quick, "jax": jax.__version__, "git": workdir.git_state()}
        workdir.append_line(options.output, {"cell": cell.name, "unit": cell.unit} | row | about)


def measured(cell: Cell) -> dict[str, Any]:
    """The median of five runs after one that is not counted."""
    run, arguments, work = cell.make()
    before = time.perf_counter()
    compiled = run.lower(*arguments).compile()
    compile_seconds = time.perf_counter() - before
    took = doctor.seconds(compiled, *arguments)
    median = statistics.median(took)
    value = work / median / 1e12 if work else median
    return {"value": value, "seconds": took, "compile_seconds": compile_seconds, "why": ""}


def factors(rows: int, width: int, codes: int) -> tuple[sine_layer.Terms, jax.Array]:
    """A hidden layer's terms and bias, of about unit scale."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((rows, width), (width, width), (rows, codes), (codes, width))
    x, w, c, v = (jax.random.normal(k, s, jnp.bfloat16) / s[-1] ** 0.5 for k, s in zip(keys, shapes, strict=True))
    return ((x, w), (c, v)), jnp.linspace(-3, 3, width)


def difference() -> str:
    """Of values, and of a gradient of a gradient's square, relative to the largest."""
    terms, bias = factors(300, 96, 24)

    def twice(layer: Callable, bias: jax.Array) -> jax.Array:
        return jax.grad(lambda b: (jax.grad(lambda a: (layer(terms, a) ** 2).sum())(b) ** 2).sum())(bias)

    ours, theirs = (
        tuple(np.asarray(found) for found in (layer(terms, bias), twice(layer, bias)))
        for layer in map(sine_layer.differentiable, (sine_layer.by_device, sine_layer.plain))
    )
    relative = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, theirs, strict=True)]
    return f"{relative[0]:.1e} of values, {relative[1]:.1e} of second derivatives"


def cells(sizes: Sizes) -> Iterator[Cell]:
    """All of them; made when their turn comes."""

    def product() -> tuple[Any, tuple, float]:
        ((x, w), _), _ = factors(sizes.rows, sizes.width, 24)
        run = jax.jit(lambda x, w: jnp.matmul(x, w, preferred_element_type=jnp.float32))
        return run, (x, w), flops([(sizes.width, sizes.width)], sizes.rows)

    def layer(values: Callable) -> tuple[Any, tuple, float]:
        work = flops([(sizes.width, sizes.width), (24, sizes.width)], sizes.rows)
        run = jax.jit(lambda terms, bias: values(terms, bias, names=("sin",)))
        return run, factors(sizes.rows, sizes.width, 24), work

    yield Cell("product, bfloat16", "TFLOP/s", "", product)
    yield Cell("layer, XLA", "TFLOP/s", "", lambda: layer(sine_layer.plain))
    yield Cell("layer, fused", "TFLOP/s", "", lambda: layer(sine_layer.by_device))
    for name, target, changes in (
        ("float32", "", {}),
        ("bfloat16", "60", {"bfloat16": True}),
        ("bfloat16, fused", "120", {"bfloat16": True, "kernel": "fused"}),
    ):
        yield Cell(f"meta-step, {name}", "TFLOP/s", target, lambda changes=changes: meta_step(sizes, changes))
    yield Cell("adapt 16 B-scans of 230 x 496", "s", "< 0.5", lambda: adapted(sizes))
    yield Cell("render 512 B-scans of 496 x 512", "s", "< 3", lambda: rendered(sizes))


def setup(grid: tuple[int, ...], **changes: Any) -> tuple[ConfigDict, model.Model, Measurements, measurements.Pools]:
    """configs/default.py with other keys of its model, and two scans of noise on the device."""
    config = default.get_config()
    config.model.update(changes)
    scans = eyes(grid, 9)
    half = coordinates.half_extent(grid, scans.spacing)
    built = model.build(config, model.Signal.of(scans))
    return config, built, measurements.to_device(scans, half), measurements.pools(scans.measured)


def meta_step(sizes: Sizes, changes: dict[str, Any]) -> tuple[Any, tuple, float]:
    """One dispatch of two steps."""
    config, built, scans, pools = setup((31, 128, 96), width=sizes.width, **changes)
    many = jax.tree.map(lambda leaf: jnp.resize(leaf, (sizes.subjects, *leaf.shape[1:])), scans)
    options = config.train.joint
    options.update(subjects=sizes.subjects, context=sizes.context)
    stage, steps = recipe.stages(config)[-1], 2
    state = recipe.initial_state(config, built, sizes.subjects)._replace(step=jnp.int32(stage.first))
    shapes = products(state.params.field).point
    inner = flops(shapes, options.context, steps=config.adapt.steps, order=2)
    work = steps * sizes.subjects * (inner + flops(shapes, options.points, order=1))
    run = recipe.make_run(config, stage, built, pools, (31, 128, 96))
    return run, (state, many, stage.hyper, jnp.int32(steps)), work


def adapted(sizes: Sizes) -> tuple[Any, tuple, float]:
    config, built, scans, pools = setup(sizes.adapted)
    config.adapt.points = sizes.points
    hyper = model.hyper_of(config, step_size=1e-3)
    run = jax.jit(render.make_adapt(config, built, sizes.adapted, pools.context))
    return run, (built.init(jax.random.key(0), hyper), scans, jnp.int32(0), hyper), 0.0


def rendered(sizes: Sizes) -> tuple[Any, tuple, float]:
    config, built, scans, _ = setup((5, 32, 24))
    hyper = model.hyper_of(config)
    params = built.init(jax.random.key(0), hyper)
    run = render.make_render(built, sizes.rendered)
    return run, (params.field, built.modulation(params.start), scans, jnp.int32(0), hyper), 0.0


if __name__ == "__main__":
    main()
