"""Scores as tables: mean and spread over people, for the terminal, as CSV and as JSON."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap

from inr_jax.scan_io import replacing

Row = Mapping[str, Any]
ORACLE = "oracle"
ROUNDING = 120.0  # dB: what differs by less than 1e-6 of the range is the same number, rounded
LEVEL, RESAMPLES, SEED = 0.95, 2000, 0  # of bootstrap intervals
FEWEST = 4  # people that an interval is told of: that of two is the two values


class Metric(NamedTuple):
    """How a score is written."""

    title: str  # with its unit
    digits: int
    better: str = "larger"  # or "smaller", or "nearer 0"
    printed: bool = False  # in the first table; the others stand in files and further down in reports


METRICS = {
    "psnr": Metric("PSNR (dB)", 2, printed=True),
    "ssim": Metric("SSIM", 3, printed=True),
    "dice": Metric("Dice", 3, printed=True),
    "seconds": Metric("Time (s)", 2, "smaller", printed=True),
    "ms_ssim": Metric("MS-SSIM", 3),
    "gmsd": Metric("GMSD", 4, "smaller"),
    "lpips": Metric("LPIPS", 4, "smaller"),
    "mae": Metric("MAE", 4, "smaller"),
    "mse": Metric("MSE", 5, "smaller"),
    "assd_um": Metric("ASSD (µm)", 2, "smaller"),
    "hd95_um": Metric("HD95 (µm)", 2, "smaller"),
    "hd_um": Metric("HD (µm)", 2, "smaller"),
    "assd_px": Metric("ASSD (px)", 2, "smaller"),
    "hd95_px": Metric("HD95 (px)", 2, "smaller"),
    "hd_px": Metric("HD (px)", 2, "smaller"),
    "thickness_mae_um": Metric("Thickness MAE (µm)", 2, "smaller"),
    "thickness_bias_um": Metric("Thickness bias (µm)", 2, "nearer 0"),
    "unpaired_bscans": Metric("Unpaired borders", 1, "smaller"),
}


class Summary(NamedTuple):
    """Mean, standard deviation and 95% bootstrap interval of the mean, over people; nan where undefined."""

    mean: float
    sd: float
    people: int
    low: float
    high: float
    undefined: int  # scans without a score, which are in none of the numbers before


class Line(NamedTuple):
    """A method on one kind of places; an oracle sees what no user has."""

    method: str
    kind: str
    scores: dict[str, Summary]  # by the keys of METRICS
    note: str  # what must be said of the data: "phantom", "within one subject"; or nothing

    @property
    def oracle(self) -> bool:
        return self.method.startswith(ORACLE)


Table = list[Line]
Undefined = Mapping[str, str]  # why a metric has no score, by metric
NOTHING: Undefined = {}


def per_person(rows: Iterable[Row], metric: str) -> dict[str, float]:
    """Each person's mean of what is defined: two eyes of a person are not two people. Without any: left out."""
    values: dict[str, list[float]] = {}
    for row in rows:
        value = row.get(metric, math.nan)
        if not math.isnan(value):
            values.setdefault(row["person"], []).append(value)
    return {person: float(np.mean(found)) for person, found in values.items()}


def summarise(rows: Sequence[Row]) -> Table:
    """One line per method and kind of the rows (person, method, kind, note, scores), in their order, oracles last."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["kind"]), []).append(row)
    lines = [
        Line(method, kind, {metric: _summary(group, metric) for metric in METRICS}, group[0]["note"])
        for (method, kind), group in groups.items()
    ]
    return sorted(lines, key=lambda line: line.oracle)


def _summary(rows: Sequence[Row], metric: str) -> Summary:
    values = np.array(list(per_person(rows, metric).values()))
    undefined = sum(math.isnan(row.get(metric, math.nan)) for row in rows)
    mean = float(values.mean()) if len(values) else math.nan
    sd = float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else math.nan
    return Summary(mean, sd, len(values), *mean_interval(values), undefined)


def mean_interval(values: Float[np.ndarray, "people"]) -> tuple[float, float]:
    """The 95% interval of the mean over people, by the percentile bootstrap from a fixed seed: (low, high).

    nan for fewer than FEWEST people or where a value is infinite. With few people it is too narrow: it never leaves the
    values that were seen. Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    if len(values) < FEWEST or not np.isfinite(values).all():
        return math.nan, math.nan
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def kinds(table: Table) -> list[str]:
    """The kinds of a table, each once."""
    return list(dict.fromkeys(line.kind for line in table))


def shown_metrics(table: Table, undefined: Undefined = NOTHING) -> list[str]:
    """The metrics of the first table that some line has, and those that are known to be undefined: dashes."""
    return [metric for metric in found_metrics(table, undefined) if METRICS[metric].printed]


def found_metrics(table: Table, undefined: Undefined = NOTHING) -> list[str]:
    """All metrics that some line has, and those that are known to be undefined."""
    return [m for m in METRICS if m in undefined or any(line.scores[m].people for line in table)]


def reasons(undefined: Undefined) -> list[str]:
    """What stands below a table with dashes, a line per reason: "Dice, ASSD: no labels in these scans"."""
    lines: dict[str, list[str]] = {}
    for metric, why in undefined.items():
        lines.setdefault(why, []).append(METRICS[metric].title.partition(" (")[0])
    return [f"{', '.join(names)}: {why}" for why, names in lines.items()]


def best(table: Table, kind: str, metric: str) -> float:
    """The best mean of a kind among the methods that are no oracles; nan if there is none."""
    means = [line.scores[metric].mean for line in table if line.kind == kind and not line.oracle]
    defined = [mean for mean in means if not math.isnan(mean)]
    if not defined:
        return math.nan
    if METRICS[metric].better == "nearer 0":
        return min(defined, key=abs)
    return (max if METRICS[metric].better == "larger" else min)(defined)


def text_of(summary: Summary, metric: str) -> str:
    """mean ± SD; "exact" where the error is 0 (but for rounding); "–" where nothing is defined."""
    digits = METRICS[metric].digits
    if math.isnan(summary.mean):
        return "–"
    if math.isinf(summary.mean) or (metric == "psnr" and summary.mean > ROUNDING):
        return "exact"
    spread = "" if math.isnan(summary.sd) else f" ± {summary.sd:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def interval_text(summary: Summary, metric: str) -> str:
    """mean [low, high]; the mean alone where there is no interval."""
    digits = METRICS[metric].digits
    mean = text_of(summary._replace(sd=math.nan), metric)
    return mean if math.isnan(summary.low) else f"{mean} [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"


def print_table(table: Table, undefined: Undefined = NOTHING) -> str:
    """The table in columns of one width, a block per kind; * marks the best of a column, oracles apart.

    Below it stands why metrics are undefined.
    """
    metrics = shown_metrics(table, undefined)
    width = max(len(line.method) for line in table) + 2
    blocks = []
    for kind in kinds(table):
        header = f"{kind:{width}}" + "".join(f"{METRICS[metric].title:>18}" for metric in metrics)
        block = [header, "-" * len(header)]
        for line in (line for line in table if line.kind == kind):
            cells = [_marked(table, line, metric) for metric in metrics]
            block.append(f"{line.method:{width}}" + "".join(f"{cell:>18}" for cell in cells))
        blocks.append("\n".join(block))
    people = max(summary.people for line in table for summary in line.scores.values())
    said = f"mean ± SD over {people} people{noted(table)}; * best, oracles apart"
    return "\n\n".join([*blocks, "\n".join([said, *reasons(undefined)])])


def noted(table: Table) -> str:
    """What must be said of a table's data, to stand behind its explanation: " (phantom)"; or nothing."""
    return "".join(f" ({note})" for note in dict.fromkeys(line.note for line in table) if note)


def _marked(table: Table, line: Line, metric: str) -> str:
    is_best = not line.oracle and line.scores[metric].mean == best(table, line.kind, metric)
    return text_of(line.scores[metric], metric) + (" *" if is_best else "  ")


def to_json(table: Table) -> str:
    """A list of {method, kind, note, <metric>: {mean, sd, people, low, high}}; null for the undefined and infinite."""
    lines = [
        {"method": line.method, "kind": line.kind, "note": line.note}
        | {metric: {k: _finite(v) for k, v in s._asdict().items()} for metric, s in line.scores.items()}
        for line in table
    ]
    return json.dumps(lines, indent=1, allow_nan=False)


def summary_rows(table: Table) -> list[Row]:
    """One row per method, kind and metric that is defined: the table for a CSV file."""
    return [
        {"method": line.method, "kind": line.kind, "note": line.note, "metric": metric} | summary._asdict()
        for line in table
        for metric, summary in line.scores.items()
        if summary.people
    ]


def _finite(value: float | int) -> float | int | None:
    return value if math.isfinite(value) else None


def marked(rows: Sequence[Row], mark: str) -> list[Row]:
    """The rows with what must be said of all of them (`note`); as they are where nothing must."""
    return [{**row, "note": mark} if mark else row for row in rows]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Rows under the names of all their keys; what a row lacks, and nan, is left empty. Complete or not at all."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows({name: "" if value != value else value for name, value in row.items()} for row in rows)
