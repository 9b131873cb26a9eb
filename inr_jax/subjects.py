"""One subject's field as its measurement shows it: with its own SLO and, where B-scans move, each one's motion."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Int

from inr_jax import measurements
from inr_jax.adaptation import Bind
from inr_jax.errors import InputError
from inr_jax.measurements import Measurements
from inr_jax.operators import moved_bscan
from inr_jax.types import NUISANCE, Coords, Hyper, Modulation, Params, Values


def make_bind(
    bind: Callable[..., Callable[[Coords], Values]],
    data: Measurements,
    subject: Int[Array, ""],
    pool: Int[np.ndarray, "p"],
    grid: tuple[int, ...],
    hyper: Hyper,
) -> Bind:
    """(field, modulation, hyper) -> what is seen of the field at the subject's voxels.

    pool: what was measured, whose B-scans have no motion in the mean. Raises InputError where the modulation has fewer
    rows of motion than the grid has B-scans.
    """
    side = measurements.side_of(data, subject, hyper.side_swapped)
    measured = measurements.measured_rows(pool, grid)

    def seen(field: Params, modulation: Modulation, hyper: Hyper) -> Callable[[Coords], Values]:
        still = bind(field, modulation, side, hyper)
        if NUISANCE not in modulation:
            return still
        rows = len(modulation[NUISANCE]["axial"])
        if rows < grid[0]:
            raise InputError(
                f"model.modulation.nuisance.bscans: expected {grid[0]} or more, a scan's B-scans; found {rows}"
            )
        if data.en_face is not None:
            raise InputError("model.modulation.nuisance: expected a raster, whose B-scans move; found A-scans in none")
        place = {"scale": data.scale[subject], "shift": data.shift[subject]}
        return moved_bscan.as_seen(still, modulation[NUISANCE], measured, **place)

    return seen


def with_motion(bind: Bind, known: Modulation) -> Bind:
    """The same under the motion of another modulation, which no gradient reaches: that of B-scans not measured."""
    motion = {part: jax.lax.stop_gradient(leaves) for part, leaves in known.items() if part == NUISANCE}
    return lambda field, modulation, hyper: bind(field, modulation | motion, hyper)
