"""Scans in memory, and files in and out. No jax here, so that reading can run in a process of its own."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Scan:
    """One scan in memory: [D, H, W] = (B-scan, depth, A-scan), mm, ITK's (LPS) origin and direction."""

    voxels: Float[np.ndarray, "D H W"]
    spacing: tuple[float, float, float]  # mm between B-scans, rows, A-scans: the order of the axes
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)  # mm, LPS (x, y, z) of voxel [0, 0, 0], as ITK has it
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # ITK's 3 x 3, row by row
    labels: Int[np.ndarray, "D H W"] | None = None
    surfaces: Float[np.ndarray, "S D W"] | None = None  # rows, NaN where unknown, from ILM down to BM
    valid: Bool[np.ndarray, "D H W"] | None = None  # None: every voxel was measured
    slo: Float[np.ndarray, "Y X"] | None = None
    slo_spacing: tuple[float, float] | None = None  # mm
    ascans_on_slo: Float[np.ndarray, "D W 2"] | None = None  # mm (y, x) on the SLO from its first pixel's centre
    laterality: str | None = None  # "R", "L" or unknown
    name: str = ""  # of the scan
    person: str = ""
