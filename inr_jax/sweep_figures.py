"""Figures of a sweep: effects, learning curves, quality against what it costs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from inr_jax.figures import INK, PALETTE, QUIET, grid, name_axes

FEW = 10  # settings that colours and line styles can still tell apart
STYLES = ("-", "--", ":")
MARKERS = "osD^vPX"
GRID = "#e3e3e3"
FAINT = "#b9b9b9"
LEGEND_WIDTH = 115  # characters below a figure
DECADE = 10.0  # costs that differ more are drawn on a logarithmic axis

Curve = Sequence[tuple[float, float]]  # (update or seconds, score)


class Dot(NamedTuple):
    """A difference to the reference, with its interval; nan where there is none."""

    value: str
    mean: float
    low: float
    high: float


def effect_dots(panels: Mapping[str, Mapping[str, Sequence[Dot]]], references: Mapping[str, str]) -> Figure:
    """Per panel (a score), axis and value: the difference to the axis' reference, which stands hollow at 0.

    `panels` has the same axes and values throughout; `references` is the reference value of every axis.
    """
    axes_of_all = next(iter(panels.values()))
    count = sum(len(dots) + 1 for dots in axes_of_all.values())
    figure = Figure(figsize=(10.5, 1.3 + 0.29 * count + 0.3 * len(axes_of_all)), layout="constrained")
    figure.suptitle("Effect of every axis", fontsize=12, color=INK)
    drawn = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for panel, (score, by_axis) in zip(drawn, panels.items(), strict=True):
        place, ticks = 0.0, {}
        for nth, (name, dots) in enumerate(by_axis.items()):
            colour = PALETTE[nth % len(PALETTE)]
            ticks[place] = f"{name}: {references[name]}"
            panel.scatter(0, place, s=26, facecolors="white", edgecolors=colour, zorder=3)
            for i, dot in enumerate(dots, 1):
                ticks[place + i] = dot.value
                panel.hlines(place + i, dot.low, dot.high, color=colour, linewidth=1.6)
                panel.scatter(dot.mean, place + i, s=26, color=colour, zorder=3)
            place += len(dots) + 1.8
        panel.axvline(0, color=QUIET, linewidth=0.9, zorder=0)
        panel.set_yticks(list(ticks), list(ticks.values()), fontsize=9)
        panel.set_ylim(place - 1.2, -0.6)
        panel.grid(axis="x", color=GRID, linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel(f"difference of {score}", fontsize=10, color=INK)
    return figure


def setting_curves(settings: Mapping[str, Sequence[Curve]], *, x_name: str, y_name: str) -> Figure:
    """A few settings, each in its colour: a line per seed."""
    columns, height = _legend_size(list(settings))
    figure = Figure(figsize=(8.4, 3.9 + height), layout="constrained")
    panel = figure.add_subplot()
    handles = []
    for nth, (name, found) in enumerate(settings.items()):
        look = _look(nth)
        for curve in found:
            _line(panel, curve, **look, linewidth=1.1)
        handles.append(Line2D([], [], **look, linewidth=2, label=name))
    _dress(panel, "Learning curves", x_name, y_name)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)
    return figure


def axis_curves(panels: Mapping[str, Mapping[str, Sequence[Curve]]], *, x_name: str, y_name: str, mean: bool) -> Figure:
    """Many settings, a panel per axis: thin lines of all variants by value; thick, if asked for, their mean."""
    figure, axes = grid(len(panels), aspect=0.8, title="Learning curves")
    for panel, (name, values) in zip(axes, panels.items(), strict=True):
        for nth, (value, found) in enumerate(values.items()):
            look = _look(nth)
            for curve in found:
                _line(panel, curve, **look, linewidth=0.6, alpha=0.35 if mean else 0.8)
            _line(panel, _mean_curve(found) if mean else (), **look, linewidth=2, label=value)
        _dress(panel, name, x_name, y_name)
        panel.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _legend_size(names: Sequence[str]) -> tuple[int, float]:
    """Columns that names of this length leave room for, and the height in inches."""
    columns = max(1, LEGEND_WIDTH // (max(map(len, names)) + 5))
    return columns, 0.2 * -(-len(names) // columns)


def _look(nth: int) -> dict[str, Any]:
    return {"color": PALETTE[nth % len(PALETTE)], "linestyle": STYLES[nth // len(PALETTE) % len(STYLES)]}


def _line(panel: Axes, curve: Curve, **look) -> None:
    steps, scores = zip(*curve, strict=True) if curve else ((), ())
    panel.plot(steps, scores, marker="o" if len(steps) == 1 else "", markersize=4, **look)


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean at the updates that all have."""
    shared = set.intersection(*({step for step, _ in curve} for curve in curves))
    return [(step, float(np.mean([dict(curve)[step] for curve in curves]))) for step in sorted(shared)]


def _dress(panel: Axes, title: str, x_name: str, y_name: str) -> None:
    name_axes(panel, title, x_name, y_name)
    panel.grid(axis="y", color=GRID, linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)


def front(cost: Sequence[float], quality: Sequence[float]) -> list[int]:
    """Those that nothing beats: no other has as much quality for less, or more for as much. By cost; nan are none.

    The Pareto front of a cost (less is better) and a quality (more is better).
    """
    known = [i for i in range(len(cost)) if np.isfinite([cost[i], quality[i]]).all()]
    out: list[int] = []
    for i in sorted(known, key=lambda i: (cost[i], -quality[i])):
        if not out or quality[i] > quality[out[-1]]:
            out.append(i)
    return out


def quality_and_cost(
    names: Sequence[str], qualities: Mapping[str, Sequence[float]], costs: Mapping[str, Sequence[float]], reference: int
) -> Figure:
    """Per quality (rows) and cost (columns): a dot for every setting, and the front of those that nothing beats.

    Few settings have each its colour and shape; of many the FEW best that are on a front, and the reference.
    `reference` is the place of the reference among the names; -1 where there is none.
    """
    fronts = {(q, c): front(costs[c], qualities[q]) for q in qualities for c in costs}
    told = list(range(len(names))) if len(names) <= FEW else _best_of(fronts.values(), next(iter(qualities.values())))
    told += [reference] if reference >= 0 and reference not in told else []
    labels = [names[i] + " (reference)" * (i == reference and names[i] != "reference") for i in told]
    columns, height = _legend_size(labels)
    figure = Figure(figsize=(max(3.7 * len(costs), 8.4), 2.9 * len(qualities) + height + 0.7), layout="constrained")
    figure.suptitle("Quality against what it costs", fontsize=12, color=INK)
    axes = figure.subplots(len(qualities), len(costs), squeeze=False, sharex="col", sharey="row")
    for row, (quality, values) in zip(axes, qualities.items(), strict=True):
        for panel, (cost, spent) in zip(row, costs.items(), strict=True):
            _costs(panel, np.array(spent), np.array(values), fronts[quality, cost], told)
            bottom, left = panel in axes[-1], panel in axes[:, 0]
            name_axes(panel, "", cost if bottom else "", quality if left else "")
    handles = [
        Line2D([], [], linestyle="", markersize=6, label=label, **_shape(nth)) for nth, label in enumerate(labels)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False)
    return figure


def _best_of(fronts: Iterable[Sequence[int]], quality: Sequence[float]) -> list[int]:
    """The FEW of the largest quality that are on some front."""
    return sorted({i for found in fronts for i in found}, key=lambda i: -quality[i])[:FEW]


def _costs(panel: Axes, cost: np.ndarray, quality: np.ndarray, best: Sequence[int], told: Sequence[int]) -> None:
    panel.step(cost[best], quality[best], where="post", color=FAINT, linewidth=1.2, zorder=1)
    panel.scatter(cost, quality, s=14, color=FAINT, linewidths=0, zorder=2)
    for nth, i in enumerate(told):
        panel.plot(cost[i], quality[i], markersize=6, zorder=3, **_shape(nth))
    if np.nanmin(cost) > 0 and np.nanmax(cost) > DECADE * np.nanmin(cost):
        panel.set_xscale("log")
    panel.grid(color=GRID, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _shape(nth: int) -> dict[str, Any]:
    return {"color": PALETTE[nth % len(PALETTE)], "marker": MARKERS[nth // len(PALETTE) % len(MARKERS)]}
