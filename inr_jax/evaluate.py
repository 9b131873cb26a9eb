"""`inr-jax evaluate`: a trained model's answers on people it never saw, beside what a user would do without it."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from inr_jax import baselines, data, losses, metrics, progress, report, scan_io, trained, workdir
from inr_jax.baselines import Prediction
from inr_jax.trained import Answers, Trained
from inr_jax.types import Frame, Population


class Evaluation(NamedTuple):
    """All that was found: predictions by method, and one row per scan, method and kind of place."""

    population: Population
    predictions: dict[str, Prediction]
    answers: dict[str, Answers]  # of the model's own methods
    rows: list[dict[str, Any]]


def score_all(
    population: Population, predictions: dict[str, Prediction], seconds: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """Rows of subject, person, method, kind and scores, against the truth where it is known."""
    rows = []
    for method, prediction in predictions.items():
        for i, (name, person) in enumerate(zip(population.names, population.people, strict=True)):
            scores = metrics.score(
                None if prediction.intensity is None else prediction.intensity[i],
                None if prediction.labels is None else prediction.labels[i],
                *metrics.reference(population, i),
                population.measured,
                _scored(population, i),
                population.classes,
            )
            facts = {"subject": name, "person": person, "method": method, "note": population.note}
            timing = {"seconds": seconds[method][i]} if method in seconds else {}
            rows += [facts | row | timing for row in scores]
    return rows


def _scored(population: Population, i: int) -> np.ndarray:
    """With a known truth every voxel is scored, also where the measurement has a hole."""
    return np.ones_like(population.valid[i]) if population.truth is not None else population.valid[i]


def assess(model: Trained, split: str, *, quick: bool = False, fit: bool = True) -> Evaluation:
    """Adapts to every scan of a split, and scores it beside all baselines. quick: tune those on fewer scans."""
    config = model.config.data
    population = data.load(config, split)
    adapt = model.config.adapt
    # `fit` draws loose points, which SSIM cannot take
    fit = fit and model.config.loss.intensity not in losses.NEED_PATCHES
    taken = f"{adapt.epochs} epochs" if adapt.epochs else f"{adapt.steps} steps"
    own = {f"inr_jax, {taken}": False} | ({"inr_jax, fit": True} if fit else {})
    answers = {
        name: trained.adapt_population(model, population, fit=fit, progress=_bar(name)) for name, fit in own.items()
    }
    print("baselines: tuning the denoisers on validation scans", file=sys.stderr)
    others = baselines.all_baselines(data.load(config, "train"), data.load(config, "validation"), population, quick)
    predictions = {name: Prediction(a.intensity, a.labels, "") for name, a in answers.items()} | others
    rows = score_all(population, predictions, {name: a.seconds for name, a in answers.items()})
    return Evaluation(population, predictions, answers, rows)


def _bar(name: str) -> Callable[[Iterable[int]], Iterable[int]]:
    return lambda items: progress.bar(items, f"adapt: {name}", unit="scan")


def evaluate(
    folder: str | Path,
    output: str | Path,
    *,
    split: str = "test",
    quick: bool = False,
    fit: bool = True,
    config: ConfigDict | None = None,
) -> Evaluation:
    """Scores the best checkpoint of a training on a split; writes tables, volumes, modulations and report.html.

    config: the training's, with other settings of `data`, `adapt` or `fit` (another variant of the phantom).
    Raises InputError if there is no training in `folder`, or `output` cannot be written.
    """
    output = Path(output)
    model = trained.restore(folder)
    model = model if config is None else replace(model, config=config)
    scan_io.make_folder(output)
    found = assess(model, split, quick=quick, fit=fit)
    report.write_csv(found.rows, output / "metrics.csv")
    table = report.summarise(found.rows)
    workdir.write_json(output / "summary.json", json.loads(report.to_json(table)))
    first = next(iter(found.answers))
    modulations = [adapted.modulation for adapted in found.answers[first].adapted]
    trained.save_modulations(output / "modulations.npz", found.population.names, modulations)
    for i, name in enumerate(found.population.names):
        own = output / name
        scan_io.make_folder(own)
        report.write_csv([row for row in found.rows if row["subject"] == name], own / "metrics.csv")
        write_scan(own, found.population, found.answers[first], model.classes, i)
    report.evaluation_report(output / "report.html", model, found, table, log=Path(folder) / workdir.LOG, split=split)
    print(f"{split} scans{f' ({found.population.note})' if found.population.note else ''}")
    print(report.print_table(table))
    print(f"{found.population.note or 'data'}; report: {output / 'report.html'}")
    return found


def write_scan(folder: Path, population: Population, answers: Answers, classes: tuple[str, ...], i: int) -> None:
    """The answer for scan i, in [0, 1], in the scan's own geometry: left eyes left, motion put back.

    intensity and segmentation as .nii.gz with label tables, or as .png of images. Raises InputError if not writable.
    """
    write = _write_volume if population.measured.ndim == 3 else _write_image
    labels = None if answers.labels is None else answers.labels[i]
    write(folder, population.frames[i], population.spacing[i], answers.intensity[i], labels, classes)


def _write_volume(
    folder: Path, frame: Frame, spacing: np.ndarray, intensity: np.ndarray, labels: np.ndarray | None,
    classes: tuple[str, ...],
) -> None:  # fmt: skip
    d, h, w = map(float, spacing)
    geometry = ((d, h, w), frame.origin, frame.direction)
    places = np.arange(float(len(intensity)))
    scan_io.write_volume(folder / "intensity.nii.gz", frame.undo(intensity[..., 0], places), *geometry)
    if labels is not None:
        upright = frame.undo(labels, places, labels=True)
        scan_io.write_labels(folder / "segmentation.nii.gz", upright, *geometry, classes=classes)


def _write_image(
    folder: Path, frame: Frame, spacing: np.ndarray, intensity: np.ndarray, labels: np.ndarray | None,
    classes: tuple[str, ...],
) -> None:  # fmt: skip
    channels = np.arange(float(intensity.shape[-1]))
    scan_io.write_png(folder / "intensity.png", frame.undo(np.moveaxis(intensity, -1, 0), channels))
    if labels is not None:
        shown = labels / max(len(classes) - 1, 1)  # the last class is white
        scan_io.write_png(folder / "segmentation.png", frame.undo(shown[None], np.zeros(1)))
