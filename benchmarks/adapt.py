"""Speed of adapting to one new scan and of rendering it, at the sizes of configs/default.py, with random weights.

Flops are the model's own, nothing counted that is recomputed. F = 2 sum(in x out) per point of the matrices a point
is multiplied with:
  learned steps   3 F points each                (forward 1, backward 2: the weights move too)
  fit             2 F points a step on the codes (no gradient of the weights), 3 F on the weights as well,
                  F held-out points first and at every fifth step; it is kept from stopping early
  render          F per voxel of the whole scan
`points/s` counts every drawn point (rendered voxel) once; `steps/s` of rendering are scans. `bare` is the rate of
bare products of the same shapes, timed in turn with the cell; `MB/subject` is XLA's temporary memory.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import timing

from inr_jax import model, render
from inr_jax.flops import flops

POINTS = (2_048, 8_192, 32_768)


def main() -> None:
    options = timing.arguments("adapt", __doc__)
    bench = timing.setup(people=1, quick=options.quick)
    if options.quick:
        bench.config.fit.update(points=64, steps=10, weights_steps=10)
    points = (64,) if options.quick else POINTS
    cells = [*learned(bench, points), fit(bench), rendered(bench)]
    timing.report(bench, cells, options.output, quick=options.quick)


def fresh(bench: timing.Bench) -> tuple:
    """(params, all subjects' data, the first one's number, numeric settings)."""
    hyper = model.hyper_of(bench.config, step_size=1e-3)
    return bench.built.init(jax.random.key(0), hyper), bench.data, jnp.int32(0), hyper


def learned(bench: timing.Bench, points: tuple[int, ...]) -> Iterator[timing.Cell]:
    """config.adapt.steps learned steps, for every number of points a step."""
    steps = bench.config.adapt.steps
    for count in points:
        config = bench.config.copy_and_resolve_references()
        config.adapt.points = count
        yield timing.Cell(
            name=f"{steps} learned steps x {count}",
            run=jax.jit(render.make_adapt(config, bench.built, bench.grid, bench.pools.context)),
            arguments=fresh(bench),
            steps=steps,
            points=steps * count,
            flops=flops(bench.shapes, count, steps=steps, order=1),
            rows=count,
            subjects=1,
        )


def fit(bench: timing.Bench) -> timing.Cell:
    """All of config.fit's steps, on the codes and then on the weights too."""
    config = bench.config.copy_and_resolve_references()
    options = config.fit
    options.patience = options.steps + options.weights_steps
    params, data, subject, _ = fresh(bench)
    modulation = bench.built.modulation(params.start)
    checks = 2 + -(-options.steps // 5) + -(-options.weights_steps // 5)
    held_out = checks * min(len(bench.pools.held_out), 16_384)
    moves = options.points * np.array([2 * options.steps, 3 * options.weights_steps])
    steps = options.steps + options.weights_steps
    return timing.Cell(
        name=f"fit: {options.steps} + {options.weights_steps} x {options.points}",
        run=jax.jit(render.make_fit(config, bench.built, bench.grid, bench.pools)),
        arguments=(params, modulation, data, subject),
        steps=steps,
        points=steps * options.points,
        flops=flops(bench.shapes, int(moves.sum()) + held_out),
        rows=options.points,
        subjects=1,
    )


def rendered(bench: timing.Bench) -> timing.Cell:
    """The whole scan, block by block."""
    params, data, subject, hyper = fresh(bench)
    voxels = int(np.prod(bench.grid))
    return timing.Cell(
        name=f"render: {' x '.join(map(str, bench.grid))}",
        run=render.make_render(bench.built, bench.grid),
        arguments=(params.field, bench.built.modulation(params.start), data, subject, hyper),
        steps=1,
        points=voxels,
        flops=flops(bench.shapes, voxels),
        rows=render.block(),
        subjects=1,
    )


if __name__ == "__main__":
    main()
