"""Which (subject, B-scan) a step visits, and how its rate falls: epochs of full B-scans, as INteRp-OCT trains.

Visit v of N subjects with B fitted B-scans each is B-scan v % B of subject v // B. Every epoch visits all N B in an
order of its own, drawn from the seed and the epoch alone.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from inr_jax import coordinates, losses, measurements
from inr_jax.errors import InputError
from inr_jax.measurements import Measurements, Pools
from inr_jax.population import Draw
from inr_jax.types import Batch, Hyper, Key


def steps_per_epoch(count: int, batch: int) -> int:
    """Steps that visit all of `count`, `batch` at a time; the last ones of an epoch begin again where none are left."""
    return -(-count // batch)


def visited(key: Key, step: Int[Array, ""], count: int, batch: int) -> Int[Array, "{batch}"]:
    """What step `step` of a stage visits, numbers below `count`."""
    length = steps_per_epoch(count, batch)
    order = jax.random.permutation(jax.random.fold_in(key, step // length), count)
    return order[(step % length * batch + jnp.arange(batch)) % count]


def cosine(step: Array, steps: int, warmup: int, final: float) -> Float[Array, ""]:
    """Share of its rate a step of a stage learns with: a linear rise over `warmup` steps, a cosine down to `final`."""
    rise = jnp.minimum((step + 1) / (warmup + 1), 1.0)
    return rise * (final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * step / max(steps, 1))))


def exponential(step: Array, length: int, base: float) -> Float[Array, ""]:
    """base^epoch, epochs of `length` steps."""
    return jnp.asarray(base) ** (step // length)


def check(config: ConfigDict, name: str) -> None:
    """Raises InputError for a way to draw that does not exist, or one whose points the loss cannot take."""
    draw = "points"
    if name == "autodecoder":
        draw, targets = config.train[name].draw, config.train[name].targets
        if targets not in ("all", "measured"):
            raise InputError(f"train.{name}.targets: expected all or measured; found {targets!r}")
    check_draw(draw, config.loss.intensity, f"train.{name}.draw")


def check_draw(draw: str, intensity: str, where: str) -> None:
    """Raises InputError for a way to draw that does not exist, or one whose points the intensity loss cannot take."""
    if draw not in ("points", "patches", "bscans"):
        raise InputError(f"{where}: expected points, patches or bscans; found {draw!r}")
    if draw == "points" and intensity in losses.NEED_PATCHES:
        raise InputError(f"loss.intensity: expected mse for loose points ({where}); found {intensity!r}")


def check_stop(config: ConfigDict, stages: Sequence[str]) -> None:
    """Raises InputError where a training that counts in epochs has none, or goes on to other stages."""
    counts = config.train.stop.epochs or config.train.stop.patience
    if counts and (list(stages) != ["autodecoder"] or config.train.autodecoder.draw != "bscans"):
        raise InputError(
            "train.stop: expected the stage autodecoder alone and train.autodecoder.draw bscans; found "
            f"{', '.join(stages)} and {config.train.autodecoder.draw}"
        )


def _bscans(config: ConfigDict, pools: Pools, grid: tuple[int, ...]) -> Int[np.ndarray, "b"]:
    """The B-scans that the auto-decoder learns from."""
    return pools.measured if config.train.autodecoder.targets == "measured" else np.arange(grid[0])


def takes_whole_bscans(config: ConfigDict, stage: str) -> bool:
    return stage == "autodecoder" and config.train.autodecoder.draw == "bscans"


def chosen(key: Key, count: int, batch: int, first: Float[Array, ""] | float) -> Int[Array, "{batch}"]:
    """`batch` different ones of the `first` so many (0: all) of `count` subjects."""
    order = jax.random.permutation(key, count)
    return order[jnp.argsort((first > 0) & (order >= first), stable=True)][:batch]


def visit_count(config: ConfigDict, stage: str, pools: Pools, grid: tuple[int, ...], subjects: int) -> int:
    """Visits of an epoch: every B-scan of every subject where a stage takes them whole, else every subject."""
    return subjects * len(_bscans(config, pools, grid)) if takes_whole_bscans(config, stage) else subjects


def epoch_length(config: ConfigDict, stage: str, pools: Pools, grid: tuple[int, ...], subjects: int) -> int:
    """Steps of an epoch of a stage."""
    count = visit_count(config, stage, pools, grid, subjects)
    return steps_per_epoch(count, min(config.train[stage].subjects, count))


def draw_flat(
    options: ConfigDict, bscans: Int[np.ndarray, "b"], pool: Int[np.ndarray, "p"], grid: tuple[int, ...],
    which: Array, *, key: Key,
) -> Int[Array, "*n"]:  # fmt: skip
    """Flat voxel indices by `options.draw`: the B-scan bscans[which], a patch of one, points of a pool."""
    if options.draw == "bscans":
        return measurements.plane(jnp.asarray(bscans)[which], grid)
    if options.draw == "patches":
        return measurements.draw_patch(jnp.asarray(bscans), grid, tuple(options.patch), key=key)
    return coordinates.draw_points(key, pool, options.points)


def check_bscans(draw: str, grid: tuple[int, ...], bscans: Int[np.ndarray, "b"], where: str) -> None:
    """Raises InputError where B-scans or patches of them are to be drawn and there are none."""
    if draw != "points" and len(grid) != 3:
        raise InputError(f"{where}: expected points for images; found {draw!r}")
    if draw != "points" and not bscans.size:
        raise InputError(f"{where}: expected B-scans that were measured whole; found none")


def check_patch(options: ConfigDict, grid: tuple[int, ...], where: str) -> None:
    """Raises InputError where patches are to be drawn that no B-scan of the grid holds."""
    patch = tuple(options.patch)
    fits = len(patch) == 2 and all(1 <= part <= whole for part, whole in zip(patch, grid[-2:], strict=True))
    if options.draw == "patches" and not fits:
        rows, columns = grid[-2:]
        raise InputError(f"{where}.patch: expected 1 to {rows} rows and 1 to {columns} A-scans; found {patch}")


def draws_per_epoch(options: ConfigDict, pools: Pools, grid: tuple[int, ...], points: int) -> int:
    """Every measured B-scan once where they are taken whole; else `options.draws`, or what takes as many points."""
    check_bscans(options.draw, grid, pools.measured, "adapt.draw")
    check_patch(options, grid, "adapt")
    if options.draw == "bscans":
        return len(pools.measured)
    if options.draws:
        return options.draws
    each = options.points if options.draw == "points" else int(np.prod(options.patch))
    return max(1, round(points / each))


def decoder_target(
    config: ConfigDict, data: Measurements, pools: Pools, grid: tuple[int, ...], visit: Array, hyper: Hyper
) -> tuple[Array, Draw]:
    """(subject, draw) of an auto-decoder's visit: loose points, a patch of a B-scan, or one whole B-scan."""
    options = config.train.autodecoder
    bscans = _bscans(config, pools, grid)
    check_bscans(options.draw, grid, bscans, "train.autodecoder.draw")
    pool = pools.context if options.targets == "measured" else pools.target
    subject, which = (visit // len(bscans), visit % len(bscans)) if options.draw == "bscans" else (visit, visit)

    labelled = measurements.labelled_bscans(grid, hyper.labelled_bscans)

    def draw(key: Key) -> Batch:
        flat = draw_flat(options, bscans, pool, grid, which, key=key)
        return measurements.gather(data, subject, flat, grid, labelled=labelled)

    return subject, draw
