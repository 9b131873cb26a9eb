"""Speed of an outer step in each stage of training, at the sizes of configs/default.py, with random weights.

Flops are the model's own, nothing counted that is recomputed. F = 2 sum(in x out) per point of the matrices a point
is multiplied with; a gradient costs twice its function:
  autodecoder   per subject  3 F points                       (forward 1, backward 2)
  rule, joint   per subject  steps x 9 F context + 3 F points (an inner step is 3 F; its way back twice that)
`points/s` counts every drawn point once. `bare` is the rate of bare products of the same shapes on all the points
that are in flight at once, timed in turn with the cell; `MB/subject` is XLA's temporary memory. Data lie on the device,
points are drawn inside the jitted step, several steps are one dispatch.
"""

import jax
import jax.numpy as jnp
import timing

from inr_jax import recipe
from inr_jax.flops import flops


def main() -> None:
    options = timing.arguments("train_step", __doc__)
    bench = timing.setup(people=1 if options.quick else 4, quick=options.quick)
    if options.quick:
        for stage in bench.config.train.stages:
            bench.config.train[stage].update(points=64, subjects=2)
        bench.config.train.rule.context = bench.config.train.joint.context = 64
    cells = [cell(bench, stage) for stage in recipe.stages(bench.config)]
    timing.report(bench, cells, options.output, quick=options.quick)


def cell(bench: timing.Bench, stage: recipe.Stage) -> timing.Cell:
    """One dispatch of a stage: enough steps to hide its start."""
    config, subjects = bench.config, len(bench.data.scale)
    size = config.train[stage.name]
    batch = min(size.subjects, subjects)
    steps = 10 if stage.name == "autodecoder" else 2
    state = recipe.initial_state(config, bench.built, subjects)._replace(step=jnp.int32(stage.first))
    inner, context = (0, 0) if stage.name == "autodecoder" else (config.adapt.steps, size.context)
    return timing.Cell(
        name=f"{stage.name}: {batch} x {size.points}" + (f" + {inner} x {context}" if inner else ""),
        run=recipe.make_run(config, stage, bench.built, bench.pools, bench.grid),
        arguments=(jax.device_put(state), bench.data, stage.hyper, jnp.int32(steps)),
        steps=steps,
        points=steps * batch * (size.points + inner * context),
        flops=steps
        * batch
        * (flops(bench.shapes, size.points, order=1) + flops(bench.shapes, context, steps=inner, order=2)),
        rows=batch * size.points,
        subjects=batch,
    )


if __name__ == "__main__":
    main()
