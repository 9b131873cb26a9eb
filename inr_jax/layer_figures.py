"""Figures of layers: box plots by layer, and Bland-Altman plots of thickness."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from inr_jax.figures import INK, PALETTE, QUIET, grid, name_axes

Number = float | int
Boxes = Mapping[str, Mapping[str, Sequence[Number]]]  # method -> layer -> one value per person


def layer_boxes(panels: Mapping[str, Boxes], *, title: str) -> Figure:
    """Per panel (a score) and layer: a box for each method over its people, the median in black, every person a dot.

    Boxes span the quartiles, whiskers all people. What is undefined is left out.
    """
    layers = list(dict.fromkeys(layer for boxes in panels.values() for found in boxes.values() for layer in found))
    methods = list(dict.fromkeys(method for boxes in panels.values() for method in boxes))
    figure = Figure(figsize=(10.5, 1.4 + (0.12 + 0.2 * len(methods)) * len(layers)), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK)
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for axis, (score, boxes) in zip(axes, panels.items(), strict=True):
        for nth, method in enumerate(methods):
            places = np.arange(len(layers)) + 0.8 * ((nth + 0.5) / len(methods) - 0.5)
            values = [np.array(boxes.get(method, {}).get(layer, ()), float) for layer in layers]
            _boxes(axis, places, values, PALETTE[nth % len(PALETTE)], width=0.6 / len(methods))
        axis.set_yticks(range(len(layers)), layers, fontsize=9)
        axis.set_ylim(len(layers) - 0.5, -0.5)
        axis.grid(axis="x", color="#e3e3e3", linewidth=0.7)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(score, fontsize=10, color=INK)
    handles = [
        Line2D([], [], color=PALETTE[i % len(PALETTE)], linewidth=5, alpha=0.6, label=m) for i, m in enumerate(methods)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _boxes(
    axis: Axes, places: Float[np.ndarray, "layers"], values: Sequence[np.ndarray], colour: str, width: float
) -> None:
    finite = [found[np.isfinite(found)] for found in values]
    drawn = [i for i, found in enumerate(finite) if len(found)]
    if not drawn:
        return
    axis.boxplot(
        [finite[i] for i in drawn],
        positions=places[drawn],
        widths=width,
        orientation="horizontal",
        manage_ticks=False,
        whis=(0, 100),
        showcaps=False,
        patch_artist=True,
        boxprops=dict(facecolor=colour, edgecolor=colour, alpha=0.45),
        whiskerprops=dict(color=colour),
        medianprops=dict(color=INK, linewidth=1.4),
    )
    for i in drawn:
        axis.scatter(finite[i], np.full(len(finite[i]), places[i]), s=7, color=colour, linewidths=0, zorder=3)


def limits_of_agreement(differences: Float[np.ndarray, "n"]) -> tuple[float, float, float]:
    """Bias and the 95% limits of agreement about it: mean, mean - 1.96 SD, mean + 1.96 SD; limits nan for one alone.

    Bland and Altman, Lancet 327 (1986) 307.
    """
    bias = float(differences.mean())
    spread = 1.96 * float(differences.std(ddof=1)) if len(differences) > 1 else float("nan")
    return bias, bias - spread, bias + spread


def bland_altman(layers: Mapping[str, Float[np.ndarray, "n 2"]], *, title: str, quantity: str, unit: str) -> Figure:
    """Per layer: predicted - true against their mean, a dot per scan; bias and limits of agreement as lines.

    `layers` has (predicted, true) of every scan. Each panel has its own scale, 0 in the middle.
    """
    figure, axes = grid(len(layers), aspect=0.72, title=title)
    for axis, (name, pairs) in zip(axes, layers.items(), strict=True):
        change = pairs[:, 0] - pairs[:, 1]
        bias, low, high = limits_of_agreement(change)
        reach = 1.12 * float(np.nanmax(np.abs([*change, low, high]))) or 1.0
        axis.axhline(0, color="#cccccc", linewidth=0.8)
        axis.axhline(bias, color=PALETTE[0], linewidth=1.4)
        for limit in (low, high):
            axis.axhline(limit, color=QUIET, linewidth=1.1, linestyle="--")
        axis.scatter(pairs.mean(axis=1), change, s=18, color=PALETTE[0], alpha=0.75, linewidths=0)
        axis.set_ylim(-reach, reach)
        axis.spines[["top", "right"]].set_visible(False)
        spread = "" if np.isnan(low) else f", {low:+.1f} to {high:+.1f}"
        numbers = f"{bias:+.1f}{spread} {unit}".replace("-", "−")
        name_axes(axis, f"{name}: {numbers}", f"mean {quantity} ({unit})", f"difference ({unit})")
    return figure
