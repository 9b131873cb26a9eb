"""What a report shows of layers: figures and a table from the rows by label."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from inr_jax import figures, layer_figures
from inr_jax.page import Picture, TextTable
from inr_jax.tables import mean_interval, per_person

Row = dict[str, Any]


class Column(NamedTuple):
    """A score by label."""

    key: str
    title: str
    digits: int


COLUMNS = (
    Column("dice", "Dice", 3),
    Column("assd_um", "ASSD (µm)", 2),
    Column("hd95_um", "HD95 (µm)", 2),
    Column("hd_um", "HD (µm)", 2),
    Column("assd_px", "ASSD (px)", 2),
    Column("hd95_px", "HD95 (px)", 2),
    Column("hd_px", "HD (px)", 2),
    Column("thickness_mae_um", "Thickness MAE (µm)", 2),
    Column("thickness_bias_um", "Thickness bias (µm)", 2),
    Column("unpaired_bscans", "Unpaired B-scans", 1),
)


def layer_pictures(rows: Sequence[Row], methods: Sequence[str], kind: str) -> list[Picture]:
    """Box plots of Dice and border distance by layer, and Bland-Altman of the first method's thickness, of one kind."""
    chosen = [row for row in rows if row["kind"] == kind]
    return [*_layer_boxes(chosen, methods, kind), *_bland_altman(chosen, methods[0], kind)]


def _layer_boxes(rows: Sequence[Row], methods: Sequence[str], kind: str) -> list[Picture]:
    panels = {
        title: {method: _by_layer([row for row in rows if row["method"] == method], key) for method in methods}
        for key, title in (("dice", f"Dice, {kind}"), ("assd_um", f"distance of upper borders, ASSD (µm), {kind}"))
    }
    if not any(found for boxes in panels.values() for found in boxes.values()):
        return []
    figure = layer_figures.layer_boxes(panels, title="Layers, over people")
    alt = "Box plots over people of Dice and of the distance of upper borders, by layer and method."
    caption = "Boxes: quartiles, the median in black; whiskers: all people, each a dot, a person's eyes averaged."
    return [Picture(figures.png(figure), "Scores by layer", alt, caption)]


def _by_layer(rows: Sequence[Row], key: str) -> dict[str, list[float]]:
    """Every person's mean by layer; layers without any are left out."""
    found = {
        label: list(per_person((row for row in rows if row["label"] == label), key).values()) for label in _labels(rows)
    }
    return {label: values for label, values in found.items() if values}


def _bland_altman(rows: Sequence[Row], method: str, kind: str) -> list[Picture]:
    own = [row for row in rows if row["method"] == method]
    pairs = {
        label: np.array([(r["thickness_um"], r["thickness_true_um"]) for r in own if r["label"] == label])
        for label in _labels(own)
    }
    defined = {label: found[np.isfinite(found).all(axis=1)] for label, found in pairs.items()}
    layers = {label: found for label, found in defined.items() if len(found)}
    if not layers:
        return []
    title = f"{method}: thickness on {kind} B-scans, predicted − true"
    figure = layer_figures.bland_altman(layers, title=title, quantity="thickness", unit="µm")
    alt = (
        "Scatter plots, one per layer, of the error of thickness against thickness, with bias and limits of agreement."
    )
    caption = (
        "One dot is a scan's mean thickness of a layer. Blue line and first number: bias. Dashed lines and the other"
        " numbers: 95% limits of agreement, bias ± 1.96 standard deviations. Every layer has a scale of its own."
    )
    return [Picture(figures.png(figure), "Agreement of thickness", alt, caption)]


def layer_table(rows: Sequence[Row], method: str, note: str) -> TextTable:
    """A method's scores by kind and layer: mean and 95% interval over people."""
    own = [row for row in rows if row["method"] == method]
    cells = [
        (
            f"{label}, {kind}",
            *(_cell([r for r in own if r["label"] == label and r["kind"] == kind], c) for c in COLUMNS),
        )
        for kind in dict.fromkeys(row["kind"] for row in own)
        for label in _labels(own)
    ]
    people = len({row["person"] for row in own})
    caption = (
        f"{method}: mean [95% bootstrap interval] over {people} people{f' ({note})' if note else ''}, a person's eyes"
        " averaged first. Distances are of upper borders; unpaired: in prediction or truth alone, without a distance."
    )
    return TextTable(caption, ("Layer", *(column.title for column in COLUMNS)), cells)


def _cell(rows: Sequence[Row], column: Column) -> str:
    values = np.array(list(per_person(rows, column.key).values()))
    if not len(values):
        return "–"
    low, high = mean_interval(values)
    interval = "" if np.isnan(low) else f" [{low:.{column.digits}f}, {high:.{column.digits}f}]"
    return f"{values.mean():.{column.digits}f}{interval}"


def _labels(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["label"] for row in rows))
