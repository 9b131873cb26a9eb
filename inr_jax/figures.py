"""Figures of scans, maps, scores and training (matplotlib's object interface: no global state)."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Number = float | int
# Okabe and Ito's colours, told apart by colour-blind people; black is left for text and yellow for dark images
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
OVERLAY = ("#F0E442", "#56B4E9", "#E69F00", "#CC79A7", "#00C08B", "#FF7F50")  # the same, bright enough on a B-scan
INK, QUIET = "#1b1b1b", "#6b6b6b"
COLUMNS = 3
DPI = 130


def png(figure: Figure) -> bytes:
    """The figure as a PNG file without metadata (matplotlib's own names a web address)."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return file.getvalue()


TALL = 10.0  # mm: what is as deep is no retina, and its depth is told in mm


def bscan_panel(
    images: Mapping[str, Float[np.ndarray, "_ _"]],
    *,
    spacing: tuple[float, float],
    title: str,
    across: str = "A-scan position (mm)",
    labels: Mapping[str, Int[np.ndarray, "_ _"]] | None = None,
    classes: Sequence[str] = (),
    difference: tuple[str, str] | None = None,
) -> Figure:
    """B-scans of one place side by side in one grey scale, each under its name, whatever their pixels; `spacing` of
    the first one's rows and columns in mm. `across` names the columns.

    `labels`, by the name of an image (a name of its own is shown on the first image), are drawn as outlines in one
    colour per class. `difference` names two images: the first minus the second is shown last.
    """
    first = next(iter(images.values()))
    height, width = first.shape
    unit, per_mm = ("µm", 1000) if height * spacing[0] < TALL else ("mm", 1)
    extent, down = (0.0, width * spacing[1], height * spacing[0] * per_mm, 0.0), f"depth ({unit})"
    drawn = labels or {}
    names = list(dict.fromkeys([*images, *drawn]))
    figure, axes = grid(len(names) + (difference is not None), aspect=0.72, title=title)
    low, high = min(i.min() for i in images.values()), max(i.max() for i in images.values())
    for axis, name in zip(axes, names, strict=False):
        axis.imshow(images.get(name, first), cmap="gray", vmin=low, vmax=high, extent=extent, aspect="auto")
        if name in drawn:
            _outlines(axis, drawn[name], extent, len(classes))
        name_axes(axis, name, across, down)
    if difference is not None:
        _difference(figure, axes[len(names)], images[difference[0]] - images[difference[1]], extent)
        name_axes(axes[len(names)], " − ".join(difference), across, down)
    if drawn:
        _class_legend(figure, classes, drawn)
    return figure


def image_panel(
    images: Mapping[str, Float[np.ndarray, "H W C"]],
    *,
    title: str,
    labels: Mapping[str, Int[np.ndarray, "H W"]] | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Grey or colour images in [0, 1] side by side, each under its name; labels are drawn as outlines."""
    drawn = labels or {}
    first = next(iter(images.values()))
    names = list(dict.fromkeys([*images, *drawn]))
    figure, axes = grid(len(names), aspect=first.shape[0] / first.shape[1], title=title)
    extent = (-0.5, first.shape[1] - 0.5, first.shape[0] - 0.5, -0.5)
    for axis, name in zip(axes, names, strict=True):
        image = np.clip(images.get(name, first), 0, 1)
        axis.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)
        if name in drawn:
            _outlines(axis, drawn[name], extent, len(classes))
        name_axes(axis, name, "column (pixel)", "row (pixel)")
    if drawn:
        _class_legend(figure, classes, drawn)
    return figure


def en_face_maps(
    maps: Mapping[str, Float[np.ndarray, "D W"]],
    *,
    spacing: tuple[float, float],
    measured: Bool[np.ndarray, "D"],
    title: str,
    quantity: str,
) -> Figure:
    """Maps over (B-scan, A-scan) on one colour scale; `spacing` in mm; ticks outside mark the measured B-scans."""
    first = next(iter(maps.values()))
    depth, width = first.shape
    extent = (0.0, width * spacing[1], depth * spacing[0], 0.0)
    figure, axes = grid(len(maps), aspect=0.85, title=title)
    low, high = min(float(np.nanmin(m)) for m in maps.values()), max(float(np.nanmax(m)) for m in maps.values())
    places = (np.flatnonzero(measured) + 0.5) * spacing[0]
    for axis, (name, values) in zip(axes, maps.items(), strict=True):
        shown = axis.imshow(values, cmap="viridis", vmin=low, vmax=high, extent=extent, aspect="auto")
        axis.scatter(
            np.full_like(places, 1.015),
            places,
            marker="_",
            s=25,
            linewidths=1,
            color=QUIET,
            transform=axis.get_yaxis_transform(),
            clip_on=False,
        )
        name_axes(axis, name, "A-scan position (mm)", "B-scan position (mm)")
    figure.colorbar(shown, ax=axes, label=quantity, shrink=0.9)
    return figure


def curves(
    series: Mapping[str, tuple[Sequence[Number], Sequence[Number]]], *, x_name: str, y_name: str, title: str
) -> Figure:
    """Lines through (x, y) by name: training, or quality against the adaptation step."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axis = figure.add_subplot()
    for (name, (x, y)), colour, marker in zip(series.items(), cycle(PALETTE), cycle("os^Dv"), strict=False):
        axis.plot(x, y, color=colour, linewidth=1.6, label=name, markersize=4, marker=marker if len(x) <= 30 else "")
    name_axes(axis, title, x_name, y_name)
    axis.grid(axis="y", color="#e3e3e3", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    return figure


def dots(panels: Mapping[str, Mapping[str, Sequence[Number]]], *, title: str, marked: Sequence[str] = ()) -> Figure:
    """Per panel (a metric) and method: a dot for each person, and mean ± SD in black.

    `marked` methods are drawn in blue, the others in orange, oracles hollow and grey. Undefined methods and
    infinite values are left out.
    """
    count = max(len(methods) for methods in panels.values())
    figure = Figure(figsize=(10.5, 1.3 + 0.36 * count), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK)
    for axis, (metric, methods) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        finite = {name: np.array(v, float)[np.isfinite(v)] for name, v in methods.items()}
        shown = {name: values for name, values in finite.items() if len(values)}
        for place, (name, values) in enumerate(shown.items()):
            _dot_row(axis, place, values, oracle=name.startswith("oracle"), marked=name in marked)
        axis.set_yticks(range(len(shown)), list(shown), fontsize=9)
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.grid(axis="x", color="#e3e3e3", linewidth=0.7)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(metric, fontsize=10, color=INK)
    return figure


def _dot_row(axis: Axes, place: int, values: Float[np.ndarray, "n"], *, oracle: bool, marked: bool) -> None:
    colour = QUIET if oracle else PALETTE[0] if marked else PALETTE[1]
    face = "none" if oracle else colour
    beside = place + 0.12 * np.linspace(-1, 1, len(values)) if len(values) > 1 else [place]
    axis.scatter(values, beside, s=16, facecolors=face, edgecolors=colour, alpha=0.75, linewidths=0.9)
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    axis.errorbar(values.mean(), place, xerr=spread, fmt="|", color=INK, markersize=13, capsize=3, linewidth=1.2)


def grid(count: int, *, aspect: float, title: str) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes in rows of three; a panel is `aspect` times as high as wide."""
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.6 * columns, 3.6 * aspect * rows + 0.5 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK)
    axes = list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel())
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def fixed(figure: Figure, axes: Sequence[Axes]) -> None:
    """Axes of a grid placed by margins in inches that hold their words: to measure every tick takes seconds."""
    spec = axes[0].get_subplotspec()
    assert spec is not None
    rows, columns, *_ = spec.get_geometry()
    width, height = figure.get_size_inches()
    left, right, bottom, top, across, between = 0.55, 0.2, 0.55, 0.75, 0.75, 0.7
    figure.set_layout_engine(None)
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=across * columns / max(width - left - right - across * (columns - 1), 1.0),
        hspace=between * rows / max(height - bottom - top - between * (rows - 1), 1.0),
    )


def name_axes(axis: Axes, title: str, x_name: str, y_name: str) -> None:
    axis.set_title(title, fontsize=10, color=INK)
    axis.set_xlabel(x_name, fontsize=9, color=INK)
    axis.set_ylabel(y_name, fontsize=9, color=INK)
    axis.tick_params(labelsize=8, colors=QUIET)


def _outlines(axis: Axes, labels: Int[np.ndarray, "H W"], extent: tuple[float, ...], classes: int) -> None:
    height, width = labels.shape
    x = np.linspace(extent[0], extent[1], 2 * width + 1)[1::2]
    y = np.linspace(extent[3], extent[2], 2 * height + 1)[1::2]
    for label in range(1, classes):
        if (labels == label).any() and (labels != label).any():
            colour, style = class_style(label)
            axis.contour(x, y, labels == label, [0.5], colors=[colour], linestyles=style, linewidths=0.9)


def class_style(label: int) -> tuple[str, Literal["-", "--", ":"]]:
    """The colour and the line of a label, 1 or above."""
    styles: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
    return OVERLAY[(label - 1) % len(OVERLAY)], styles[(label - 1) // len(OVERLAY) % len(styles)]


def _class_legend(figure: Figure, classes: Sequence[str], drawn: Mapping[str, Int[np.ndarray, "H W"]]) -> None:
    handles = []
    for label in np.unique(np.stack(list(drawn.values()))):
        if label > 0:
            colour, style = class_style(int(label))
            handles.append(Line2D([], [], color=colour, linestyle=style, linewidth=2, label=classes[label]))
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=6, fontsize=8, facecolor="#2b2b2b", labelcolor="white"
    )
    legend.get_frame().set_edgecolor("none")


def _difference(
    figure: Figure, axis: Axes, values: Float[np.ndarray, "H W"], extent: tuple[float, float, float, float]
) -> None:
    """A signed image, its colour bar within: beside it, the bar would make its column wider than the others."""
    limit = float(np.quantile(np.abs(values), 0.995)) or 1.0
    shown = axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent, aspect="auto")
    bar = figure.colorbar(shown, cax=axis.inset_axes((0.06, 0.09, 0.5, 0.04)), orientation="horizontal")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"+{limit:.2g}"], fontsize=8)
    bar.ax.xaxis.set_ticks_position("top")
