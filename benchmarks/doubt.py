"""Whether a model's doubt holds on validation people it was not calibrated on: a quarter of them left out in turn.

python benchmarks/doubt.py --workdir=runs/oct [--parts=laplace,residual]

Prints coverage by group, likelihood beside that of a spread by intensity alone, and AUROC of labels never learned from
on the validation people as they would be with lesions. One process per `--parts` asks what a part is worth.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from inr_jax import calibrate, data, doubt, doubt_scores, doubt_tables, trained
from inr_jax.doubt_tables import Table
from inr_jax.trained import Trained

FOLDS = 4


def left_out(model: Trained, tables: Sequence[Table], prior: dict) -> list[dict[str, Any]]:
    """Rows of doubt_scores for every group, a mean over folds, with the least and largest coverage of a fold."""
    people = sorted({table.person for table in tables})
    found: dict[tuple, list[dict[str, Any]]] = {}
    for fold in range(FOLDS):
        out = people[fold::FOLDS]
        fitted = calibrate.fit(model, [table for table in tables if table.person not in out], prior)
        held = [table for table in tables if table.person in out]
        for place, row in enumerate(doubt_scores.rows_of(fitted, held, model.classes)):
            name = place if row["grouping"] in ("intensity", "distance") else row["group"]
            found.setdefault((row["value"], row["grouping"], name), []).append(row)
    return [_mean(rows) for rows in found.values()]


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    numbers = {key: float(np.mean([row[key] for row in rows])) for key, value in rows[0].items() if _is_number(value)}
    covered = [row["coverage"] for row in rows]
    return rows[0] | numbers | {"group": f"{rows[0]['group']} ({min(covered):.3f} to {max(covered):.3f})"}


def _is_number(value: Any) -> bool:
    return isinstance(value, float)


def with_lesions(model: Trained, fitted: calibrate.Calibration) -> list[dict[str, Any]]:
    """Rows for the phantom's validation people, had they lesions: as they would be numbered among test people."""
    config = model.config.data.copy_and_resolve_references()
    train, validation, _ = config.phantom_oct.people
    config.phantom_oct.people = (train - 1, 1, validation)
    config.phantom_oct.variant = "pathology"
    population = data.load(config, "test")
    return doubt_scores.score(model, fitted, population, trained.adapt_population(model, population))


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--workdir", required=True)
    flags.add_argument("--parts", default=",".join(doubt.PARTS))
    values = flags.parse_args()
    model = trained.restore(values.workdir)
    model.config.doubt.parts = tuple(values.parts.split(","))
    population = data.load(model.config.data, "validation")
    mean = data.load(model.config.data, "train").intensity.mean(axis=0)[..., 0]
    tables, prior = doubt_tables.collect(model, population, mean)
    fitted = calibrate.fit(model, tables, prior)
    show = {"left out": left_out(model, tables, prior), "with lesions": with_lesions(model, fitted)}
    for title, rows in show.items():
        text = doubt_scores.table_of_rows(rows, population.note)
        print(f"\n{title}. {text.caption}")
        for row in (text.header, *text.rows):
            print(f"{row[0]:70}" + "".join(f"{cell:>18}" for cell in row[1:]))
    print(f"\nestimable up to {fitted.reach:.2f} mm from what was measured")


if __name__ == "__main__":
    main()
