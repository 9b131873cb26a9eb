"""The table and the figures of a comparison, from the rows there are."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contest import rows
from contest.rows import Row
from contest.settings import Method
from inr_jax import figures

HEAD = (
    "method", "steps", "PSNR (dB)", "by seed", "SSIM", "Dice", "ASSD", "thickness", "s/scan", "points", "GFLOP",
    "train s", "codes", "MB", "train MB", "scans",
)  # fmt: skip
LEGEND = """\
PSNR: mean ± SD over people, a person's scans and seeds averaged first; by seed: SD of the mean over seeds. ASSD and
thickness (mean absolute error) in µm. s/scan: adaptation alone, warm; points: that it asks; GFLOP: of the model's
products, nothing counted that is recomputed. MB: what XLA needs in between for adapting, and for an outer step.
scans: how many were scored; the longest fits are of few. - : not there, or not defined."""


class Line:
    """The rows of a method, with so many steps, in one population and cell: one for each seed."""

    def __init__(self, own: Sequence[Row]) -> None:
        self.rows, self.first = own, own[0]

    @property
    def name(self) -> str:
        return self.first["method"]

    def over_people(self, score: str) -> dict[str, float]:
        """Each person's mean over seeds."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            for person, value in row["by_person"].get(score, {}).items():
                if value is not None:
                    found.setdefault(person, []).append(value)
        return {person: float(np.mean(values)) for person, values in found.items()}

    def mean(self, field: str) -> float:
        """Over seeds; nan where no row has it."""
        values = [row[field] for row in self.rows if row[field] is not None]
        return float(np.mean(values)) if values else math.nan

    def cells(self) -> tuple[str, ...]:
        people = list(self.over_people("psnr").values())
        spread = f" ± {np.std(people, ddof=1):.2f}" if len(people) > 1 and np.isfinite(people).all() else ""
        means = [row["psnr"] for row in self.rows if row["psnr"] is not None]
        by_seed = f"{np.std(means, ddof=1):.2f}" if len(means) > 1 and np.isfinite(means).all() else "-"
        numbers = (
            ("ssim", 3, 1), ("dice", 3, 1), ("assd_um", 2, 1), ("thickness_error_um", 2, 1), ("seconds_per_scan", 3, 1),
            ("points_evaluated", 0, 1), ("model_flops", 1, 1e9), ("train_seconds", 0, 1), ("modulation_size", 0, 1),
            ("peak_memory_mb", 0, 1), ("train_memory_mb", 0, 1), ("scans", 0, 1),
        )  # fmt: skip
        return (
            self.name, str(self.first["steps"]), number(self.mean("psnr"), 2) + spread, by_seed,
            *(number(self.mean(field) / unit, digits) for field, digits, unit in numbers),
        )  # fmt: skip


def number(value: float, digits: int) -> str:
    if value == math.inf:
        return "exact"
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def is_shown(row: Row, found: Sequence[Row], table: dict[str, Method], kind: str) -> bool:
    """Rows without a setting, and those of the one that was chosen."""
    name = trained_as(row["method"], table)
    if name is None:
        return True
    return row["setting"] == rows.chosen(found, name, table[name].chosen_at, kind, size=row["size"])


def trained_as(name: str, table: Iterable[str]) -> str | None:
    """The learned method that a row's answer comes from: `ours` of "ours, fine-tuned, field alone"; else None."""
    return next((method for method in table if name == method or name.startswith(f"{method}, ")), None)


def lines(found: Sequence[Row], table: dict[str, Method], kind: str) -> dict[tuple[str, ...], list[Line]]:
    """Lines by (size, split, population, cell), in the order of their first rows."""
    shown = [row for row in rows.newest(found) if is_shown(row, found, table, kind)]
    groups: dict[tuple[str, ...], dict[tuple, list[Row]]] = {}
    for row in shown:
        place = (row["size"], row["split"], row["population"], row["cell"])
        groups.setdefault(place, {}).setdefault((row["method"], row["steps"]), []).append(row)
    return {place: [Line(own) for own in methods.values()] for place, methods in groups.items()}


def text(found: Sequence[Row], table: dict[str, Method], kind: str) -> str:
    """All tables, what was tried, and what the numbers are."""
    out = []
    for (size, split, population, cell), group in lines(found, table, kind).items():
        body = [line.cells() for line in group]
        widths = [max(len(row[i]) for row in (HEAD, *body)) for i in range(len(HEAD))]
        out.append(f"size {size}, {split} people, population {population}; {cell}")
        out += [_spaced(row, widths) for row in (HEAD, *body)] + [""]
    return "\n".join([*out, *_tried(found, table, kind), "", LEGEND, ""])


def _spaced(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  ".join([f"{first.strip():<{widths[0]}}", *others])


def _tried(found: Sequence[Row], table: dict[str, Method], kind: str) -> list[str]:
    """PSNR of every setting, on the people that chose."""
    out = ["settings (PSNR in dB on validation people, which chose *):"]
    for name, method in table.items():
        for size in dict.fromkeys(row["size"] for row in found):
            best = rows.chosen(found, name, method.chosen_at, kind, size=size)
            scores = rows.compared(found, name, method.chosen_at, kind, size=size)
            words = [f"{setting} {number(psnr, 2)}{' *' * (setting == best)}" for setting, psnr in scores.items()]
            out += [f"  {name} ({size}): {'; '.join(words)}"] if words else []
    return out


def report(found: Sequence[Row], table: dict[str, Method], kind: str, folder: Path) -> None:
    """table.txt, and for every population with its split seconds_*.png and training_*.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.txt").write_text(text(found, table, kind))
    for (size, split, population, cell), group in lines(found, table, kind).items():
        if cell == f"{kind}, noisy":
            name = f"{size}_{split}_{population}.png".replace(" ", "")
            title = f"{cell} context; population {population}, {split} people"
            (folder / f"seconds_{name}").write_bytes(figures.png(seconds_figure(group, table, title)))
            (folder / f"training_{name}").write_bytes(figures.png(training_figure(group, table, title)))


def seconds_figure(group: Sequence[Line], table: Iterable[str], title: str) -> Figure:
    """PSNR against seconds of adapting, a point's steps beside it; what has no steps is a level.

    A method has one colour; what is made of it (fine-tuned, put back, the field alone) markers of their own.
    """
    figure, axis = _axis(title, "seconds per scan, adaptation alone", "PSNR (dB)")
    scored = sorted((line for line in group if math.isfinite(line.mean("psnr"))), key=lambda line: line.name)
    colours, markers = _Styles(figures.PALETTE), _Styles("os^Dv")
    timed = [line for line in scored if line.mean("seconds_per_scan") > 0]
    for name, own in groupby(timed, lambda line: line.name):
        method = trained_as(name, table) or name
        points = sorted((line.mean("seconds_per_scan"), line.mean("psnr"), line.first["steps"]) for line in own)
        seconds, psnr, _ = zip(*points, strict=True)
        style = {"color": colours[method], "marker": markers[name.removeprefix(method)], "markersize": 4}
        axis.plot(seconds, psnr, label=name, **style)
        for x, y, steps in points:
            axis.annotate(str(steps or ""), (x, y), xytext=(3, -8), textcoords="offset points", fontsize=6)
    levels = [line for line in scored if math.isnan(line.mean("seconds_per_scan"))]
    for i, line in enumerate(sorted(levels, key=lambda line: line.mean("psnr"))):
        axis.axhline(line.mean("psnr"), color=figures.QUIET, linewidth=0.7, linestyle=":")
        side, align = ((0.01, "left"), (0.99, "right"))[i % 2]
        axis.annotate(line.name, (side, line.mean("psnr")), xycoords=("axes fraction", "data"), fontsize=6, va="bottom",
                      ha=align, color=figures.QUIET)  # fmt: skip
    return _finished(figure, axis)


def training_figure(group: Sequence[Line], table: Iterable[str], title: str) -> Figure:
    """PSNR of validation scans, noisy unmeasured voxels, along every training; a line for each seed."""
    figure, axis = _axis(f"{title.split(';')[1].strip()}: along training", "seconds of training", "PSNR (dB), noisy")
    trainings = {
        (trained_as(line.name, table), row["seed"]): row["curve"] for line in group for row in line.rows if row["curve"]
    }
    colours, labelled = _Styles(figures.PALETTE), set[str]()
    for (method, _), curve in sorted(trainings.items(), key=lambda item: str(item[0])):
        points = [(entry["seconds"], entry["psnr"]) for entry in curve]
        label = None if method in labelled else method
        axis.plot(*zip(*points, strict=True), color=colours[method], marker="o", markersize=4, label=label)
        labelled.add(method)
    return _finished(figure, axis)


class _Styles(dict):
    """A style for every name, in the order in which they are asked for."""

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__()
        self.choices = choices

    def __missing__(self, name: str | None) -> str:
        return self.setdefault(name, self.choices[len(self) % len(self.choices)])


def _axis(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.set(title=title, xlabel=x, ylabel=y, xscale="log")
    axis.grid(alpha=0.3)
    return figure, axis


def _finished(figure: Figure, axis: Axes) -> Figure:
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", fontsize=7)
    return figure
