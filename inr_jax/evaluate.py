"""`inr-jax evaluate`: a trained model's answers on people it never saw, beside what a user would do without it."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from inr_jax import baselines, calibrate, data, doubt_scores, lpips, metrics, report, scan_io, tables, trained, workdir
from inr_jax.baselines import Prediction
from inr_jax.errors import InputError
from inr_jax.scan import checked_name
from inr_jax.trained import Answers, Trained
from inr_jax.types import Frame, Population

Row = dict[str, Any]
FITS = ".fits"  # where fits of minutes and hours are kept until the evaluation is written
RESULTS = (
    "metrics.csv",
    "layers.csv",
    "doubt.csv",
    "summary.csv",
    "summary.json",
    "modulations.npz",
    "report.html",
    "figures",
)
PARTIAL = (
    "layers.csv",
    "doubt.csv",
    "*/segmentation.*",
    "*/known.*",
    "figures/*.png",
)  # what not every evaluation writes


class Scoring(NamedTuple):
    """How intensities are scored: one of metrics.CONVENTIONS, and further metrics of whole slices by name."""

    conventions: str = "inr_jax"
    perceptual: Mapping[str, Callable[..., float]] = {}


PLAIN = Scoring()


def scoring_of(conventions: str, lpips_weights: str | Path | None) -> Scoring:
    """Scoring, with LPIPS where a file of weights is given. Raises InputError if it is none."""
    if lpips_weights is None:
        return Scoring(conventions)
    return Scoring(conventions, {"lpips": lpips.load(lpips_weights, unit_range=conventions == "interp_oct")})


class Evaluation(NamedTuple):
    """All that was found: predictions by method, one row per scan, method and kind of place, and one per label too."""

    population: Population
    predictions: dict[str, Prediction]
    answers: dict[str, Answers]  # of the model's own methods
    rows: list[Row]
    layers: list[Row]  # empty where labels are no layers of A-scans
    scoring: Scoring
    doubt: Sequence[Row] = ()  # whether what the model doubts holds (doubt_scores.rows_of); none: not calibrated

    @property
    def undefined(self) -> dict[str, str]:
        """Why metrics have no score, by metric."""
        return metrics.undefined(self.population, bool(self.layers), self.scoring.conventions)


def score_all(
    population: Population,
    predictions: dict[str, Prediction],
    *,
    split: str,
    layered: bool,
    scoring: Scoring = PLAIN,
) -> tuple[list[Row], list[Row]]:
    """Rows of subject, person, split, method, kind and scores, against the truth where it is known; and by label.

    layered: labels are layers of A-scans, whose borders and thickness are scored; else there are no rows by label.
    """
    rows, layers = [], []
    for method, prediction in predictions.items():
        for i, (name, person) in enumerate(zip(population.names, population.people, strict=True)):
            facts: Row = {"subject": name, "person": person, "split": split, "method": method, "note": population.note}
            facts |= {"conventions": scoring.conventions}
            by_label = _layer_rows(population, prediction, i) if layered else []
            timing = {} if prediction.seconds is None else {"seconds": prediction.seconds[i]}
            for row in _scan_rows(population, prediction, i, scoring):
                rows.append(facts | row | metrics.over_layers(by_label, row["kind"]) | timing)
            layers += [facts | row for row in by_label]
    return rows, layers


def _scan_rows(population: Population, prediction: Prediction, i: int, scoring: Scoring) -> list[Row]:
    return metrics.score(
        None if prediction.intensity is None else prediction.intensity[i],
        None if prediction.labels is None else prediction.labels[i],
        *metrics.reference(population, i),
        population.measured,
        _scored(population, i),
        population.classes,
        conventions=scoring.conventions,
        perceptual=scoring.perceptual,
    )


def _layer_rows(population: Population, prediction: Prediction, i: int) -> list[Row]:
    return metrics.score_scan_layers(
        None if prediction.labels is None else prediction.labels[i],
        metrics.reference(population, i)[1],
        population.measured,
        _scored(population, i),
        population.classes,
        population.spacing[i].tolist(),
    )


def _scored(population: Population, i: int) -> np.ndarray:
    """With a known truth every voxel is scored, also where the measurement has a hole."""
    return np.ones_like(population.valid[i]) if population.truth is not None else population.valid[i]


def check_names(names: tuple[str, ...]) -> None:
    """InputError for a scan whose folder of results would lie where something of the whole evaluation does."""
    for name in names:
        if checked_name(name, "evaluate") in (*RESULTS, FITS):
            raise InputError(f"evaluate: name: expected another than {', '.join((*RESULTS, FITS))}; found {name}")


def assess(
    model: Trained,
    split: str,
    *,
    compared: bool = True,
    quick: bool = False,
    fit: bool = True,
    scoring: Scoring = PLAIN,
    keep: Path | None = None,
) -> Evaluation:
    """Adapts to every scan of a split and scores it; compared: beside all baselines; quick: tuned on fewer scans."""
    config = model.config.data
    population = data.load(config, split)
    check_names(population.names)
    fit = fit and not model.config.adapt.epochs  # it goes on from learned steps
    own = {trained.own_name(model.config): False} | ({"inr_jax, fit": True} if fit else {})
    answers = {
        name: trained.adapt_population(model, population, fit=fit, shown=f"adapt: {name}", keep=keep)
        for name, fit in own.items()
    }
    others = {}
    if compared:
        others = baselines.all_baselines(data.load(config, "train"), data.load(config, "validation"), population, quick)
    predictions = own_predictions(model, answers) | others
    rows, layers = score_all(
        population,
        predictions,
        split=split,
        layered=model.is_oct and population.measured.ndim == 3,
        scoring=scoring,
    )
    return Evaluation(population, predictions, answers, rows, layers, scoring)


def own_predictions(model: Trained, answers: Mapping[str, Answers]) -> dict[str, Prediction]:
    """The model's answers as rows of a table; the field alone, too, where a residual was put back."""
    has_residual = bool(model.config.adapt.residual.length)
    notes = ["the field with the residual put back"] if has_residual else []
    notes += ["learned from the scan's own labels on its fitted B-scans, too"] if model.config.adapt.labels else []
    predictions = {}
    for name, answer in answers.items():
        predictions[name] = Prediction(answer.intensity, answer.labels, "; ".join(notes), answer.seconds)
        if has_residual:
            predictions[f"{name}, field alone"] = Prediction(answer.field, None, "")
    return predictions


def evaluate(
    folder: str | Path,
    output: str | Path,
    *,
    split: str = "test",
    compared: bool = True,
    quick: bool = False,
    fit: bool = True,
    config: ConfigDict | None = None,
    scoring: Scoring = PLAIN,
) -> Evaluation:
    """Scores the best checkpoint of a training on a split; writes tables, volumes, modulations and report.html.

    config: the training's, with other settings of `data`, `adapt` or `fit` (another variant of the phantom).
    compared: the baselines are scored, too. scoring: other conventions of intensity scores, further metrics.
    All of them are written at the end or none; they replace those of an evaluation before, and leave all else in
    `output` as it is. One that was stopped in its fits by epochs goes on with the scans that are left.
    Raises InputError if there is no training in `folder`, a scan is named as a file of results, or `output` cannot be
    written.
    """
    output = Path(output)
    model = trained.restore(folder)
    model = model if config is None else replace(model, config=config)
    scan_io.check_place(output)
    found = assess(
        model, split, compared=compared, quick=quick, fit=fit, scoring=scoring, keep=output / FITS
    )  # fmt: skip
    calibration = calibrate.read(folder, model)
    if calibration is not None:
        first = next(iter(found.answers.values()))
        found = found._replace(doubt=doubt_scores.score(model, calibration, found.population, first))
    table = tables.summarise(found.rows)
    with scan_io.all_or_none(output, PARTIAL) as part:
        _write_results(part, model, found, table, split=split, log=Path(folder) / workdir.LOG)
    shutil.rmtree(output / FITS, ignore_errors=True)  # all it was for is written
    note = f" ({found.population.note})" if found.population.note else ""
    print(f"{split} scans{note}, scored against {report.scored_against(found.population)}")
    print(tables.print_table(table, found.undefined))
    if found.doubt:
        print(doubt_scores.printed(found.doubt))
    if scoring.conventions != PLAIN.conventions:
        print(f"PSNR and SSIM in the conventions of {scoring.conventions}")
    print(f"{found.population.note or 'data'}; report: {output / 'report.html'}")
    return found


def _write_results(
    output: Path, model: Trained, found: Evaluation, table: tables.Table, *, split: str, log: Path
) -> None:
    """Tables and modulations of all scans, the report, and in a folder for each scan its tables and volumes."""
    write_tables(output, found.rows, found.layers)
    if found.doubt:
        tables.write_csv(found.doubt, output / "doubt.csv")
    tables.write_csv(tables.summary_rows(table), output / "summary.csv")
    workdir.write_json(output / "summary.json", json.loads(tables.to_json(table)))
    first = next(iter(found.answers))
    modulations = [adapted.modulation for adapted in found.answers[first].adapted]
    trained.save_modulations(output / "modulations.npz", found.population.names, modulations)
    for i, name in enumerate(found.population.names):
        own = output / name
        scan_io.make_folder(own)
        write_tables(own, *([row for row in rows if row["subject"] == name] for rows in (found.rows, found.layers)))
        write_scan(own, found.population, found.answers[first], model.classes, i)
    name, people = model.config.data.name, len(set(found.population.people))
    report.evaluation_report(
        output / "report.html", model, found, table,
        title=f"{name}: {split} scans",
        lead=f"{len(found.population.names)} scans of {people} people ({split} split), each adapted to its measured"
        " places and scored beside what can be done without a model.",
        source=f"{name}, {split} split",
        log=log,
    )  # fmt: skip


def write_tables(folder: Path, rows: list[Row], layers: list[Row]) -> None:
    tables.write_csv(rows, folder / "metrics.csv")
    if layers:
        tables.write_csv(layers, folder / "layers.csv")


def write_scan(folder: Path, population: Population, answers: Answers, classes: tuple[str, ...], i: int) -> None:
    """The answer for scan i in the scan's own geometry: left eyes left, motion put back; of prepared folds the scan

    that was prepared, in its units, with what the folds hold of it as `known` (all else is 0).
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
    if frame.known is not None:
        known = frame.known(places).astype(np.uint8)
        scan_io.write_labels(folder / "known.nii.gz", known, *geometry, classes=("unknown", "known"))


def _write_image(
    folder: Path, frame: Frame, spacing: np.ndarray, intensity: np.ndarray, labels: np.ndarray | None,
    classes: tuple[str, ...],
) -> None:  # fmt: skip
    channels = np.arange(float(intensity.shape[-1]))
    scan_io.write_png(folder / "intensity.png", frame.undo(np.moveaxis(intensity, -1, 0), channels))
    if labels is not None:
        shown = labels / max(len(classes) - 1, 1)  # the last class is white
        scan_io.write_png(folder / "segmentation.png", frame.undo(shown[None], np.zeros(1)))
