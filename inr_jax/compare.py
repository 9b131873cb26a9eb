"""`inr-jax compare`: two evaluations of the same people, paired by person."""

import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

from inr_jax.errors import InputError
from inr_jax.page import TextTable, write_report
from inr_jax.scan_io import make_folder, replacing
from inr_jax.tables import METRICS, mean_interval, per_person, write_csv

FACTS = (
    "subject",
    "person",
    "split",
    "method",
    "kind",
    "label",
    "note",
    "conventions",
)  # columns of words; all others are numbers
NEEDED = ("person", "subject", "method", "kind")
BY_LABEL = ("dice", "assd_um", "hd95_um", "thickness_mae_um", "thickness_bias_um")
ARROWS = {"larger": "↑", "smaller": "↓", "nearer 0": "→0"}
HEADER = ("", "people", "first", "second", "second - first [95%]", "p")
EXPLANATION = (
    "Means over people{noted}, a person's eyes averaged first; 95% interval of the mean difference by bootstrap over"
    " people; p: Wilcoxon's signed-rank test, two-sided, not corrected for the number of rows."
    " ↑ larger is better, ↓ smaller, →0 nearer 0."
)


class Run(NamedTuple):
    """One method of an evaluation."""

    folder: Path
    method: str
    rows: list[dict[str, Any]]
    layers: list[dict[str, Any]]  # by label; empty where the method has none

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(row["label"] for row in self.layers))

    def all_of(self, fact: str) -> set[str]:
        return {row[fact] for row in self.rows}

    @property
    def name(self) -> str:
        notes = dict.fromkeys(row.get(fact, "") for fact in ("split", "note") for row in self.rows)
        return f"{self.folder}: {', '.join([self.method, *filter(None, notes)])}"


class Difference(NamedTuple):
    """A metric on one kind of places, of the scan or of one label, paired by person; nan where undefined."""

    kind: str
    label: str  # "": the scan as a whole
    metric: str
    people: int  # of whom both runs have a finite score
    first: float  # means
    second: float
    difference: float  # the mean of second - first
    low: float  # the 95% bootstrap interval of that mean
    high: float
    p: float


def compare(
    first: str | Path,
    second: str | Path,
    output: str | Path | None = None,
    *,
    method: str | None = None,
    against: str | None = None,
) -> list[Difference]:
    """Compares two folders of `inr-jax evaluate`; prints a table, writes comparison.csv, .json and .html into `output`.

    Scores by label stand in the files alone; the printed table has their means over labels.
    method: of both runs; against: of the second, where it is another (a baseline, say). By default the model's own
    first method of each. Raises InputError where a folder has no evaluation or no such method, or people, scans or
    kinds of places differ.
    """
    a = read_run(Path(first), method)
    b = read_run(Path(second), method if against is None else against)
    check_pairs(a, b)
    found = differences(a.rows, b.rows)
    print(print_comparison(a, b, found))
    found += label_differences(a, b)
    if output is not None:
        write_comparison(Path(output), a, b, found)
        print(f"report: {Path(output) / 'comparison.html'}")
    return found


def read_run(folder: Path, method: str | None) -> Run:
    """A method's rows of an evaluation's metrics.csv and, where there is one, layers.csv; its first method by default.

    Empty cells are nan. Raises InputError where there is no metrics.csv, a file is none of an evaluation, or lacks the
    method.
    """
    path, by_label = folder / "metrics.csv", folder / "layers.csv"
    if not path.is_file():
        raise InputError(f"{folder}: expected a folder of inr-jax evaluate (metrics.csv); found none")
    rows = _read_rows(path, NEEDED)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    chosen = methods[0] if method is None else method
    if chosen not in methods:
        raise InputError(f"{path}: expected one of the methods {'; '.join(methods)}; found {chosen}")
    layers = _read_rows(by_label, (*NEEDED, "label")) if by_label.is_file() else []
    return Run(folder, chosen, *([row for row in found if row["method"] == chosen] for found in (rows, layers)))


def _read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_numbers(row) for row in csv.DictReader(file)]
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected a table of inr-jax evaluate; found {str(error).splitlines()[0]}") from error
    if not rows or any(not row.get(name) for row in rows for name in needed):
        raise InputError(f"{path}: expected rows with {', '.join(needed)}; found {'none' if not rows else 'others'}")
    named = needed[1:]  # a scan is one person's
    ((key, count),) = Counter(tuple(row[name] for name in named) for row in rows).most_common(1)
    if count > 1:
        raise InputError(f"{path}: expected one row for every {', '.join(named)}; found {count} for {', '.join(key)}")
    return rows


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError where a number is none, or a row is longer or shorter than the header."""
    if None in row or None in row.values():
        raise ValueError("a row of another length than the header")
    return {name: value if name in FACTS else float(value or "nan") for name, value in row.items()}


def check_pairs(a: Run, b: Run) -> None:
    """Raises InputError where two runs are not of the same people, scans and kinds of places, or not scored alike."""
    for fact, called in (("person", "people"), ("subject", "scans"), ("kind", "kinds")):
        found = [run.all_of(fact) for run in (a, b)]
        if found[0] != found[1]:
            odd = min(found[0] ^ found[1])
            owner, other = (a, b) if odd in found[0] else (b, a)
            raise InputError(
                f"compare: expected the same {called} in both; found {len(found[0])} and {len(found[1])},"
                f" {odd} in {owner.folder} and not in {other.folder}"
            )
    scored = [" and ".join(sorted({row.get("conventions", "") for row in run.rows})) for run in (a, b)]
    if scored[0] != scored[1]:
        raise InputError(f"compare: expected the same conventions in both; found {scored[0]} and {scored[1]}")


def differences(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], chosen: Sequence[str] = tuple(METRICS)
) -> list[Difference]:
    """One per kind and chosen metric that both have, in the order of the first's kinds and of `chosen`."""
    out = []
    for kind in dict.fromkeys(row["kind"] for row in first):
        a, b = ([row for row in rows if row["kind"] == kind] for rows in (first, second))
        for metric in chosen:
            x, y = per_person(a, metric), per_person(b, metric)
            pairs = [(x[person], y[person]) for person in x if person in y]
            finite = [pair for pair in pairs if np.isfinite(pair).all()]
            if finite:
                out.append(_difference(kind, metric, np.array(finite)))
    return out


def label_differences(a: Run, b: Run) -> list[Difference]:
    """Those of BY_LABEL for every label that both runs have."""
    out = []
    for label in a.labels:
        first, second = ([row for row in run.layers if row["label"] == label] for run in (a, b))
        out += [d._replace(label=label) for d in differences(first, second, BY_LABEL)]
    return out


def _difference(kind: str, metric: str, pairs: Float[np.ndarray, "people 2"]) -> Difference:
    change = pairs[:, 1] - pairs[:, 0]
    means = (float(pairs[:, 0].mean()), float(pairs[:, 1].mean()), float(change.mean()))
    return Difference(kind, "", metric, len(pairs), *means, *mean_interval(change), paired_p(change))


def paired_p(change: Float[np.ndarray, "people"]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that changes are symmetric about 0; 1 where none is a change.

    Without normality, but blind with few people: below six no p is under 0.05. Wilcoxon, Biometrics Bull. 1 (1945) 80.
    """
    return float(wilcoxon(change).pvalue) if np.any(change) else 1.0


def _cells(d: Difference) -> tuple[str, ...]:
    """A row of HEADER."""
    metric = METRICS[d.metric]
    digits = metric.digits
    interval = "" if math.isnan(d.low) else f" [{d.low:+.{digits}f}, {d.high:+.{digits}f}]"
    return (
        f"{d.label}{': ' if d.label else ''}{metric.title} {ARROWS[metric.better]}",
        str(d.people),
        f"{d.first:.{digits}f}",
        f"{d.second:.{digits}f}",
        f"{d.difference:+.{digits}f}{interval}",
        "<0.001" if d.p < 0.001 else f"{d.p:.3f}",
    )


def _explanation(a: Run, b: Run) -> str:
    """What stands under a table, the notes on its data included: a table that is copied says what it is of."""
    notes = dict.fromkeys(row.get("note", "") for run in (a, b) for row in run.rows)
    return EXPLANATION.format(noted="".join(f" ({note})" for note in notes if note))


def _layers_compared(a: Run, b: Run) -> str:
    """Which scores by label there are to compare: what cannot be is said, not passed over."""
    without = [str(run.folder) for run in (a, b) if not run.layers]
    if without:
        return f"not compared: this method has no scores by label in {' and '.join(dict.fromkeys(without))}"
    odd = [label for label in dict.fromkeys([*a.labels, *b.labels]) if (label in a.labels) != (label in b.labels)]
    return f"labels in both: {len({*a.labels} & {*b.labels})}{'; in one alone: ' if odd else ''}{', '.join(odd)}"


def print_comparison(a: Run, b: Run, found: Sequence[Difference]) -> str:
    """A block of aligned columns per kind."""
    blocks = [f"first:  {a.name}\nsecond: {b.name}"]
    for kind in dict.fromkeys(d.kind for d in found):
        rows = [(kind, *HEADER[1:]), *(_cells(d) for d in found if d.kind == kind)]
        widths = [max(len(row[i]) for row in rows) + 2 for i in range(len(HEADER))]
        lines = [
            row[0].ljust(widths[0]) + "".join(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))
            for row in rows
        ]
        blocks.append("\n".join([lines[0], "-" * len(lines[0]), *lines[1:]]))
    return "\n\n".join([*blocks, _explanation(a, b)])


def write_comparison(output: Path, a: Run, b: Run, found: Sequence[Difference]) -> None:
    """comparison.csv, comparison.json and comparison.html, each complete or not at all."""
    make_folder(output)
    rows = [d._asdict() for d in found]
    write_csv(rows, output / "comparison.csv")
    runs = {name: {"folder": str(run.folder), "method": run.method} for name, run in (("first", a), ("second", b))}
    clean = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
    with replacing(output / "comparison.json") as temporary:
        temporary.write_text(json.dumps(runs | {"rows": clean}, indent=1, allow_nan=False), encoding="utf-8")
    said = _explanation(a, b)
    parts = {d.kind + (", by label" if d.label else ""): (d.kind, bool(d.label)) for d in found}
    write_report(
        output / "comparison.html",
        title="Two evaluations compared",
        lead=f"{len(a.all_of('person'))} people, paired: the second minus the first.",
        facts={"First": a.name, "Second": b.name, "By label": _layers_compared(a, b)},
        scores={},
        figures=[],
        more={
            name: TextTable(said, HEADER, [_cells(d) for d in found if (d.kind, bool(d.label)) == part])
            for name, part in parts.items()
        },
    )
