"""Speed of the steps of configs/interp_oct_general.py, a whole B-scan of 230 x 496 each, with random weights.

training step   the loss (MSE, SSIM, binary cross-entropy, the code's mean square), its gradient for all weights and
                the table of codes, Adam: 3 F points                                (forward 1, backward 2)
test-time step  the same without labels, for the code of one eye, the field frozen: 2 F points      (backward 1)
F = 2 sum(in x out) per point of the matrices a point is multiplied with; products of the loss (its blur) are not
counted. Each step is taken in blocks of `model.block` points and plain, all points at once; below the table both are
timed in turn. `bare` is the rate of bare products of the same shapes on one block (or on all points), timed in turn
with the cell. Data are noise: 2 eyes of 31 B-scans, 16 of them fitted, 13 classes, an SLO of 384 x 496. The last lines
extrapolate blocks to an epoch (80 eyes x 16 B-scans), a training (1500 epochs at most) and a test-time fit (200 epochs
x 16 B-scans).
The reference, in PyTorch on 2 cores, was measured at 5.1 to 5.6 s a training step on another day and other load.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing
from jaxtyping import Float
from ml_collections import ConfigDict

from configs import interp_oct_general
from inr_jax import coordinates, doctor, measurements, model, recipe, render
from inr_jax.flops import flops, products
from inr_jax.model import Signal
from inr_jax.preprocessing import image_frame
from inr_jax.types import Population

REFERENCE = (5.1, 5.6)  # seconds of its training step
EPOCH, EPOCHS, FIT = 80 * 16, 1500, 200 * 16  # steps, epochs, steps


def main() -> None:
    options = timing.arguments("interp_oct", __doc__)
    config = interp_oct_general.get_config()
    grid = (31, 230, 496)
    if options.quick:
        grid = (5, 32, 24)
        config.model.update(width=16, depth=2, block=100)
    benches = {"blocks": setup(config, grid)}
    plain = config.copy_and_resolve_references()
    plain.model.block = 0
    benches["plain"] = setup(plain, grid)
    cells = [make(bench, name) for make in (training, test_time) for name, bench in benches.items()]
    timing.report(benches["blocks"], cells, options.output, quick=options.quick)
    repeats = 2 if options.quick else 7
    train, fit = (in_turn(*pair, repeats=repeats) for pair in (cells[:2], cells[2:]))
    for line in extrapolated(train, fit):
        print(line)


def eyes(grid: tuple[int, ...], classes: int) -> Population:
    """Two eyes of noise in mm of a Spectralis volume, every second B-scan fitted, an SLO that covers them."""
    random = np.random.default_rng(0)
    spacing = np.array([0.12, 0.0039, 0.0116])
    slo = (384, grid[2])
    affine = [[slo[0] / (grid[0] * spacing[0]), 0, 0.5 * slo[0]], [0, slo[1] / (grid[2] * spacing[2]), 0.5 * slo[1]]]
    names = ("noise-1", "noise-2")
    return Population(
        names=names, people=names, intensity=random.random((2, *grid, 1), np.float32), valid=np.ones((2, *grid), bool),
        labels=random.integers(0, classes, (2, *grid)), spacing=np.stack([spacing] * 2), offset=np.zeros((2, 3)),
        measured=np.broadcast_to((np.arange(grid[0]) % 2 == 0)[:, None, None], grid), truth=None, truth_labels=None,
        slo=random.random((2, *slo), np.float32), slo_affine=np.float32([affine] * 2),
        frames=(image_frame(False),) * 2, classes=tuple(map(str, range(classes))), note="",
    )  # fmt: skip


def setup(config: ConfigDict, grid: tuple[int, ...]) -> timing.Bench:
    """The config's model with random weights, and the two eyes on the device."""
    scans = eyes(grid, len(config.data.interp_oct.classes))
    built = model.build(config, Signal.of(scans))
    half = coordinates.half_extent(grid, scans.spacing)
    field = jax.eval_shape(built.init, jax.random.key(0), model.hyper_of(config)).field
    return timing.Bench(
        config,
        built,
        measurements.to_device(scans, half, config.model.extent.to_dict()),
        measurements.pools(scans.measured),
        grid,
        products(field).point,
    )


def training(bench: timing.Bench, name: str) -> timing.Cell:
    """Two steps of the auto-decoder in one dispatch."""
    stage, steps = recipe.stages(bench.config)[0], 2
    state = recipe.initial_state(bench.config, bench.built, len(bench.data.scale))
    run = recipe.make_run(bench.config, stage, bench.built, bench.pools, bench.grid)
    arguments = (jax.device_put(state), bench.data, stage.hyper, jnp.int32(steps))
    return cell(bench, f"training step, {name}", run, arguments, steps=steps, passes=3)


def test_time(bench: timing.Bench, name: str) -> timing.Cell:
    """One epoch over the first fitted B-scans of the first eye."""
    steps = 2
    pools = bench.pools._replace(measured=bench.pools.measured[:steps])
    fit = render.make_epochs(bench.config, bench.built, bench.grid, pools, pools.context)
    params = bench.built.init(jax.random.key(0), model.hyper_of(bench.config))
    arguments = (params, bench.data, jnp.int32(0), fit.begin(jnp.int32(0)))
    return cell(bench, f"test-time step, {name}", jax.jit(fit.epoch), arguments, steps=steps, passes=2)


def cell(bench: timing.Bench, name: str, run: Any, arguments: tuple, *, steps: int, passes: int) -> timing.Cell:
    """Steps of one B-scan each; a pass is a forward product or either half of a backward one."""
    points = bench.grid[1] * bench.grid[2]
    return timing.Cell(
        name=name,
        run=run,
        arguments=arguments,
        steps=steps,
        points=steps * points,
        flops=passes * flops(bench.shapes, steps * points),
        rows=min(bench.config.model.block or points, points),
        subjects=1,
    )


def in_turn(blocks: timing.Cell, plain: timing.Cell, *, repeats: int) -> Float[np.ndarray, "2 repeats"]:
    """Seconds per step of both, one after the other each time, so that other jobs slow both alike."""
    return np.array(
        [[doctor.seconds(c.run, *c.arguments, repeats=1)[0] / c.steps for c in (blocks, plain)] for _ in range(repeats)]
    ).T


def extrapolated(train: Float[np.ndarray, "2 repeats"], fit: Float[np.ndarray, "2 repeats"]) -> Iterator[str]:
    """What the medians of the seconds per step (of blocks, plain) come to."""
    for name, took in (("training step", train), ("test-time step", fit)):
        blocks, plain = np.median(took, 1)
        ratio = np.median(took[1] / took[0])
        yield f"{name}: {blocks:.3g} s (least {took[0].min():.3g}), plain {plain:.3g} s ({ratio:.2f} times as long)"
    step, at_test_time = np.median(train[0]), np.median(fit[0])
    low, high = (reference / step for reference in REFERENCE)
    yield f"the reference's training step, {REFERENCE[0]} to {REFERENCE[1]} s: {low:.2g} to {high:.2g} times as long"
    yield f"an epoch of {EPOCH} steps: {EPOCH * step / 60:.3g} min"
    yield f"{EPOCHS} epochs: {EPOCHS * EPOCH * step / 86_400:.3g} days"
    yield f"a test-time fit of {FIT} steps: {FIT * at_test_time / 60:.3g} min"


if __name__ == "__main__":
    main()
