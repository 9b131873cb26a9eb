"""Whether a model's doubt holds on people it was not calibrated on: coverage, likelihood, labels never learned from."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import mannwhitneyu

from inr_jax import asking, calibrate, calibration, doubt_tables, progress
from inr_jax.calibrate import Calibration
from inr_jax.doubt_tables import Table, join
from inr_jax.page import TextTable
from inr_jax.trained import Answers, Trained
from inr_jax.types import Population

Row = dict[str, Any]
NOVEL = "labels never learned from"
FEWEST = 50  # values of a person in a group, below which they say nothing of its coverage
FEWEST_NOVEL = 10  # voxels of such labels, below which a person's AUROC is left out


def score(model: Trained, found: Calibration, population: Population, answers: Answers) -> list[Row]:
    """Rows of `rows_of` for the scans of a population, so many as `doubt.scans` says, already adapted to."""
    options = model.config.doubt
    asker = asking.make_asker(model, *population.measured.shape[1:])
    bscans, nothing = range(len(population.measured)), np.zeros(population.measured.shape, np.float32)
    told = []
    for i in progress.bar(doubt_tables.spread_over_people(population, options.scans), "doubt", unit="scan"):
        some = doubt_tables.some_bscans(bscans, options.bscans, i)
        told.append(
            doubt_tables.table_of(asker, model, population, i, answers, found.prior, nothing, some, options.points)
        )
    return rows_of(found, told, model.classes)


def rows_of(found: Calibration, told: Sequence[Table], classes: Sequence[str]) -> list[Row]:
    """Rows of value, grouping, group, coverage, half_width, people; `nll` and that of a spread by intensity alone where

    all voxels are one group; `auroc` of the doubt for labels that nobody had who was calibrated on.
    """
    rows: list[Row] = []
    for value, intervals in found.values.items():
        halves, groups, near = [], [], []
        for table in told:
            one = calibrate.groups_of(table.columns, table.labels, found.edges)
            groups.append({"all": np.zeros(len(table.labels), int)} | one)
            halves.append(calibration.half_width(*intervals, table.columns, one))
            near.append(table.columns["distance"] <= found.reach)
        errors = [np.where(n, table.errors[value], np.nan) for table, n in zip(told, near, strict=True)]
        names = {"class": list(classes) or ["all"]} | {k: _between(edges) for k, edges in found.edges.items()}
        made = list(_coverage([t.person for t in told], errors, halves, groups, {"all": ["all"]} | names))
        made[0] |= _likelihoods(found, told, value)
        rows += [{"value": value} | row for row in made]
    if found.thickness is not None:
        rows += _thickness_rows(found, told, classes)
    return rows + _novel_rows(found, told)


def _between(edges: Sequence[float]) -> list[str]:
    """Names of the groups between edges."""
    inner = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    return [f"up to {edges[0]:.3g}", *inner, f"above {edges[-1]:.3g}"]


def _coverage(
    people: Sequence[str], errors: Sequence[Float[np.ndarray, "_"]], halves: Sequence[Float[np.ndarray, "_"]],
    groups: Sequence[Mapping[str, Int[np.ndarray, "_"]]], names: Mapping[str, Sequence[str]],
) -> Iterator[Row]:  # fmt: skip
    """A row per grouping and group that some person has: means over people of what lies within, and of half widths."""
    for grouping, members in names.items():
        for g, name in enumerate(members):
            within: dict[str, list[np.ndarray]] = {}
            for person, error, half, of in zip(people, errors, halves, groups, strict=True):
                use = np.isfinite(error) & (of[grouping] == g)
                pair = np.stack([np.abs(error[use]) <= half[use], half[use]])
                within.setdefault(person, []).append(pair)
            each = [np.concatenate(parts, -1) for parts in within.values()]
            means = [values.mean(-1) for values in each if values.shape[-1] >= FEWEST]
            if means:
                coverage, half_width = np.mean(means, axis=0).tolist()
                yield {
                    "grouping": grouping, "group": name, "coverage": coverage, "half_width": half_width,
                    "people": len(means),
                }  # fmt: skip


def _likelihoods(found: Calibration, told: Sequence[Table], value: str) -> Row:
    known, weight = join(told), doubt_tables.weights(told, [len(table.labels) for table in told])
    use = np.isfinite(known.errors[value]) & (known.columns["distance"] <= found.reach)
    columns = {name: column[use] for name, column in known.columns.items()}

    def of(spread: calibration.Spread) -> float:
        return calibration.likelihood(calibration.log_variance(spread, columns), known.errors[value][use], weight[use])

    return {"nll": of(found.values[value].spread), "nll_by_intensity": of(found.plain[value])}


def _thickness_rows(found: Calibration, told: Sequence[Table], classes: Sequence[str]) -> list[Row]:
    errors, halves, groups = [], [], []
    assert found.thickness is not None
    for table in told:
        columns = {name: column for name, column in table.layers.items() if name != "error"}
        one = calibrate.layer_groups(columns, found.edges)
        known = np.isin(one["label"], found.classes) & (columns["distance"] <= found.reach)
        errors.append(np.where(known, table.layers["error"], np.nan))
        halves.append(calibration.half_width(*found.thickness, columns, one))
        groups.append({"all": np.zeros(len(known), int)} | one)
    names = {"all": ["all"], "label": classes, "distance": _between(found.edges["distance"])}
    made = _coverage([t.person for t in told], errors, halves, groups, names)
    return [{"value": "thickness (µm)"} | row for row in made]


def _novel_rows(found: Calibration, told: Sequence[Table]) -> list[Row]:
    """How well a doubt tells voxels of labels that nobody had from those of other layers: AUROC, a mean over people.

    The doubts: the spread of each value, and how improbable the label is.
    """
    each: dict[str, dict[str, list[float]]] = {}
    for table in told:
        novel = (table.true_labels >= 0) & ~np.isin(table.true_labels, found.classes)
        if novel.sum() >= FEWEST_NOVEL:
            use = table.true_labels > 0
            spreads = {v: calibration.log_variance(one.spread, table.columns) for v, one in found.values.items()}
            for name, doubts in (spreads | {"label": table.columns["label"]}).items():
                each.setdefault(name, {}).setdefault(table.person, []).append(auroc(doubts[use], novel[use]))
    return [
        {"value": name, "grouping": NOVEL, "group": "all", "people": len(people)}
        | {"auroc": float(np.mean([np.mean(values) for values in people.values()]))}
        for name, people in each.items()
    ]


def auroc(score: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> float:
    """How often a positive has a larger score than a negative: the area under the ROC curve (Mann and Whitney)."""
    above, below = score[positive], score[~positive]
    return float(mannwhitneyu(above, below).statistic / (len(above) * len(below)))


def table_of_rows(rows: Sequence[Row], note: str) -> TextTable:
    """The rows as a report and the terminal show them."""
    columns = {"coverage": 3, "half_width": 4, "nll": 3, "nll_by_intensity": 3, "auroc": 3}

    def cell(row: Row, name: str) -> str:
        return f"{row[name]:.{columns[name]}f}" if name in row else "–"

    body = [
        (f"{row['value']}, {row['grouping']}: {row['group']}", *(cell(row, name) for name in columns))
        for row in rows
    ]  # fmt: skip
    caption = (
        f"Share of {calibration.LEVEL:.0%} intervals that hold{' (' + note + ')' if note else ''}, means over people; "
        "nll: negative log-likelihood in nats per value, beside that of a spread by intensity alone."
    )
    header = ("Value, voxels", "Coverage", "Half width", "NLL", "NLL by intensity", "AUROC")
    return TextTable(caption, header, body)


def printed(rows: Sequence[Row]) -> str:
    """A line per value: coverage over all, the least and the largest of a group. One of labels never learned from."""
    lines = []
    for value in dict.fromkeys(row["value"] for row in rows if "coverage" in row):
        of = [row for row in rows if row["value"] == value and "coverage" in row]
        least, most = (pick(of, key=lambda row: row["coverage"]) for pick in (min, max))
        lines.append(
            f"{calibration.LEVEL:.0%} intervals of {value} values hold {of[0]['coverage']:.1%}; of groups "
            f"{least['coverage']:.1%} ({least['grouping']}: {least['group']}) to {most['coverage']:.1%}"
        )
    novel = [row for row in rows if "auroc" in row]
    if novel:
        told = ", ".join(f"{row['value']} {row['auroc']:.3f}" for row in novel)
        lines.append(f"AUROC of voxels of {NOVEL}, by the doubt of each value: {told} ({novel[0]['people']} people)")
    return "\n".join(lines)
