"""Figures of thickness: along line and circle scans, en face, and in the ETDRS sectors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Wedge
from matplotlib.ticker import MaxNLocator

from inr_jax import en_face, etdrs
from inr_jax.figures import INK, PALETTE, QUIET, fixed, grid, name_axes
from inr_jax.profiles import Course, names
from inr_jax.thickness import Thickness

COLOURS = "viridis"  # even to the eye, and told apart by colour-blind people
LINES = 6  # B-scans that are drawn
TICKS = 3  # of an axis of a map, at most one more
PIXELS = 320  # along the longer side of a map


def profile_figure(
    thickness: Thickness, courses: Sequence[Course], bscan_index: Float[np.ndarray, " P"], laterality: str | None,
    *, title: str,
) -> Figure:  # fmt: skip
    """A panel per layer: thickness against arc length, or round a circle from temporal on; bands are intervals."""
    figure, axes = grid(len(thickness.names), aspect=0.62, title=title)
    shown = np.unique(np.linspace(0, len(courses) - 1, min(LINES, len(courses))).round().astype(int))
    round_it = all(way.angle is not None for way in courses)
    for k, (axis, name) in enumerate(zip(axes, thickness.names, strict=True)):
        for colour, p in zip(PALETTE, shown, strict=False):
            x = courses[p].angle if round_it else courses[p].arc
            assert x is not None
            order = np.argsort(x)
            um = thickness.um[k, p][order]
            axis.plot(x[order], um, color=colour, linewidth=1.1, label=f"B-scan {bscan_index[p]:g}")
            if thickness.half is not None:
                half = thickness.half[k, p][order]
                axis.fill_between(x[order], um - half, um + half, color=colour, alpha=0.25, linewidth=0)
        axis.set_ylim(0, max(axis.get_ylim()[1], 1.0))
        axis.spines[["top", "right"]].set_visible(False)
        if round_it:
            left, above, right, below = names(laterality)
            axis.set_xticks(np.arange(5) * 90, (left, above, right, below, left))
            for border in (45.0, 135.0, 225.0, 315.0):
                axis.axvline(border, color="#cccccc", linewidth=0.7, zorder=0)
        name_axes(axis, name, "round the circle" if round_it else "along the scan (mm)", "thickness (µm)")
    if len(shown) > 1:
        axes[0].legend(frameon=False, fontsize=7)
    return figure


def map_figure(
    thickness: Thickness, at: Float[np.ndarray, "P W 2"], laterality: str | None, centre: etdrs.Centre | None,
    *, title: str,
) -> Figure:  # fmt: skip
    """A map per layer as the eye is looked at, each with a scale of its own; white where nothing is known.

    centre: of the ETDRS circles, where they are computable.
    """
    low, high = at.reshape(-1, 2).min(axis=0), at.reshape(-1, 2).max(axis=0)
    middle = 0.5 * (low + high)
    points, shape, extent = en_face.square(at, max(float((high - low).max()), 1e-3) / PIXELS)
    read = en_face.between(en_face.mesh(at), points)
    place = np.array(centre.place) if centre is not None else middle
    left, right, bottom, top = extent
    moved = (left - place[1], right - place[1], bottom - place[0], top - place[0])
    figure, axes = grid(len(thickness.names), aspect=0.74, title=title)
    fixed(figure, axes)
    for name, um, axis in zip(thickness.names, thickness.um, axes, strict=True):
        shown = en_face.read(read, um).reshape(shape)
        low_um, high_um = (np.nanmin(shown), np.nanmax(shown)) if np.isfinite(shown).any() else (0.0, 0.0)
        scale = Normalize(low_um, max(high_um, low_um + 1.0))
        image = axis.imshow(shown, cmap=COLOURS, norm=scale, extent=moved, aspect="equal")
        bar = figure.colorbar(image, ax=axis, shrink=0.7, ticks=MaxNLocator(TICKS))
        bar.ax.tick_params(labelsize=7)
        bar.set_label("µm", fontsize=8)
        for radius in etdrs.RADII if centre is not None else ():
            axis.add_patch(Circle((0, 0), radius, fill=False, edgecolor="white", linewidth=0.8))
            axis.add_patch(Circle((0, 0), radius, fill=False, edgecolor="black", linewidth=0.8, linestyle=":"))
        axis.set_xlim(moved[:2])
        axis.set_ylim(moved[2:])
        axis.locator_params(nbins=TICKS)  # each takes milliseconds to draw, and there are many maps
        _name_sides(axis, laterality)
        name_axes(axis, name, f"mm from {'the centre' if centre else 'the middle'}", "mm")
    return figure


def _name_sides(axis: Axes, laterality: str | None) -> None:
    """N, S, T and I at the edges of the image."""
    towards, above, away, below = en_face.quadrants(laterality)
    right, left = (towards, away) if en_face.nasal(laterality) > 0 else (away, towards)
    sides = ((0.98, 0.5, right, "right"), (0.02, 0.5, left, "left"), (0.5, 0.96, above, "center"))
    for x, y, text, beside in (*sides, (0.5, 0.04, below, "center")):
        axis.text(
            x, y, text, transform=axis.transAxes, ha=beside, va="center", fontsize=7, color=INK,
            bbox=dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1.0),
        )  # fmt: skip


def etdrs_figure(found: etdrs.Etdrs, laterality: str | None, *, title: str) -> Figure:
    """A wheel of nine sectors per layer: mean thickness, half of its interval below; grey and a dash where too little

    is known.
    """
    layers = list(dict.fromkeys(row["layer"] for row in found.rows))
    figure, axes = grid(len(layers), aspect=1.0, title=title)
    fixed(figure, axes)
    for axis, layer in zip(axes, layers, strict=True):
        rows = {row["sector"]: row for row in found.rows if row["layer"] == layer}
        known = [row["thickness_um"] for row in rows.values() if np.isfinite(row["thickness_um"])]
        scale = Normalize(min(known, default=0) - 1e-9, max(known, default=1) + 1e-9)
        for name, row in rows.items():
            _draw_sector(axis, name, row, scale, laterality)
        axis.set_xlim(-3.5, 3.5)
        axis.set_ylim(-3.5, 3.5)
        axis.set_aspect("equal")
        axis.axis("off")
        _name_sides(axis, laterality)
        axis.set_title(f"{layer} (µm)", fontsize=10, color=INK)
    if found.centre is not None:
        figure.supxlabel(f"Centre: {found.centre.said}.", fontsize=8, color=QUIET)
    return figure


def _draw_sector(axis: Axes, name: str, row: dict, scale: Normalize, laterality: str | None) -> None:
    mean, half = row["thickness_um"], row["half_interval_um"]
    colour = colormaps[COLOURS](scale(mean)) if np.isfinite(mean) else (0.88, 0.88, 0.88, 1.0)
    ring, _, side = name.partition(" ")
    low, high = {"centre": (0.0, 0.5), "inner": (0.5, 1.5), "outer": (1.5, 3.0)}[ring]
    towards, above, away, below = en_face.quadrants(laterality)
    turn = {towards: 0, above: 90, away: 180, below: 270}.get(side, 0)
    turn = 180 - turn if en_face.nasal(laterality) < 0 else turn
    ends = (0, 360) if ring == "centre" else (turn - 45, turn + 45)
    axis.add_patch(Wedge((0, 0), high, *ends, width=high - low, facecolor=colour, edgecolor="white", linewidth=1.2))
    arm = 0.0 if ring == "centre" else 0.5 * (low + high)
    x, y = arm * np.cos(np.deg2rad(turn)), arm * np.sin(np.deg2rad(turn))
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 0.5
    text = "–" if not np.isfinite(mean) else f"{mean:.0f}" + (f"\n±{half:.0f}" if np.isfinite(half) else "")
    axis.text(x, y, text, ha="center", va="center", fontsize=7, color=INK if bright else "white", linespacing=1.0)
