"""Scans as they were read: a B-scan with its layers, and the SLO with where the A-scans lie."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inr_jax import scan_io
from inr_jax.figures import DPI, INK, OVERLAY, QUIET
from inr_jax.scan import Scan

MOST = 6  # scans in one figure
LINES = 25  # of B-scans drawn on an SLO


def write_overview(path: Path, scans: Sequence[Scan]) -> None:
    """Draws the first scans of a file into a PNG. Raises InputError where it cannot be written."""
    with scan_io.replacing(path) as temporary:
        overview(scans[:MOST]).savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})


def overview(scans: Sequence[Scan]) -> Figure:
    """A row for every scan: its middle B-scan with the layers, and its SLO with the scan lines."""
    figure = Figure(figsize=(11, 3.9 * len(scans)), layout="constrained")
    axes = figure.subplots(len(scans), 2, squeeze=False, width_ratios=(1.9, 1))
    for (left, right), scan in zip(axes, scans, strict=True):
        _bscan(left, scan)
        _slo(right, scan)
    return figure


def _bscan(axis: Axes, scan: Scan) -> None:
    middle = scan.voxels.shape[0] // 2
    image = scan.voxels[middle]
    _, down, along = np.nan_to_num(scan.spacing, nan=1.0)
    rows, columns = image.shape
    low, high = np.percentile(image, (1, 99.7))
    extent = (0.0, columns * along, rows * down, 0.0)
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="auto", interpolation="nearest")
    at = (np.arange(columns) + 0.5) * along
    surfaces = np.zeros((0, columns)) if scan.surfaces is None else scan.surfaces[:, middle]
    names = scan.surface_names or tuple(f"surface {i + 1}" for i in range(len(surfaces)))
    for name, surface, colour in zip(names, surfaces, cycle(OVERLAY), strict=False):
        axis.plot(at, (surface + 0.5) * down, color=colour, linewidth=0.9, label=name)
    unit = "voxels" if np.isnan(scan.spacing).any() else "mm"
    axis.set(xlabel=f"along the B-scan ({unit})", ylabel=f"depth ({unit})", xlim=extent[:2], ylim=extent[2:])
    which = "" if scan.voxels.shape[0] == 1 else f", B-scan {middle + 1} of {scan.voxels.shape[0]}"
    axis.set_title(f"{scan.name}{which}", loc="left", fontsize=9, color=INK)
    if len(surfaces):
        axis.legend(loc="lower right", fontsize=7, ncols=4, framealpha=0.6)


def _slo(axis: Axes, scan: Scan) -> None:
    if scan.slo is None:
        axis.axis("off")
        axis.text(0.5, 0.5, "no SLO in the file", ha="center", va="center", color=QUIET, transform=axis.transAxes)
        return
    (down, along), unit = (scan.slo_spacing, "mm") if scan.slo_spacing else ((1.0, 1.0), "pixels")
    rows, columns = scan.slo.shape
    extent = (-along / 2, (columns - 0.5) * along, (rows - 0.5) * down, -down / 2)
    axis.imshow(scan.slo, cmap="gray", extent=extent)
    shown = np.zeros((0, 1, 2)) if scan.ascans_on_slo is None else scan.ascans_on_slo
    every = max(1, len(shown) // LINES)
    for i, line in enumerate(shown):
        if i % every == 0 or i == len(shown) // 2:
            is_drawn = i == len(shown) // 2
            axis.plot(
                line[:, 1], line[:, 0], color=OVERLAY[0] if is_drawn else OVERLAY[1], linewidth=1.3 - (not is_drawn)
            )
    if len(shown):
        line = shown[len(shown) // 2]
        axis.plot(line[0, 1], line[0, 0], "o", color=OVERLAY[0], markersize=5)
        tip = len(line) // 12
        axis.annotate(
            "", xy=line[tip + 1, ::-1], xytext=line[tip, ::-1], arrowprops={"arrowstyle": "-|>", "color": OVERLAY[0]}
        )
    eye = {"R": "right eye", "L": "left eye"}.get(scan.laterality or "", "eye unknown")
    axis.set_title(f"SLO, {eye}{f', {scan.pattern}' if scan.pattern else ''}", loc="left", fontsize=9, color=INK)
    axis.set(xlabel=f"({unit})", xlim=extent[:2], ylim=extent[2:])
