"""The page of `inr-jax evaluate` and `validate`: scores, an example, maps, training."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from inr_jax import doubt_scores, figures, layer_report, metrics, starting
from inr_jax.page import Picture, all_scores, noted, save_pictures, write_report
from inr_jax.tables import METRICS, Table, per_person
from inr_jax.trained import Trained, own_name
from inr_jax.types import Population

if TYPE_CHECKING:
    import inr_jax.evaluate

PREDICTED = ("interpolated", "all")  # the kinds that tell how well what was not measured is predicted


def evaluation_report(
    path: Path,
    model: Trained,
    found: "inr_jax.evaluate.Evaluation",
    table: Table,
    *,
    title: str,
    lead: str,
    source: str,
    log: Path | None = None,
) -> None:
    """The page of `inr-jax evaluate`: scores of all methods, an example of median quality, maps, training.

    source: where the scans are from; log: of the training, for its curve. The pictures are also written beside it, into
    `figures/`.
    """
    population = found.population
    own = list(found.answers)
    kind = next(kind for kind in PREDICTED if any(line.kind == kind for line in table))
    example = _median_scan(found, own[0], kind)
    show = _volume_example if population.measured.ndim == 3 else _image_example
    pictures = [_score_dots(found, own, kind), show(found, own, example)]
    if population.measured.ndim == 3 and population.labels is not None and model.is_oct:
        pictures.append(_thickness_maps(found, own[0], example))
    more = {"All scores": all_scores(table, found.undefined)}
    if found.layers:
        atlas = [name for name in ("mean atlas",) if any(row["method"] == name for row in found.layers)]
        pictures += layer_report.layer_pictures(found.layers, [*own, *atlas], kind)
        more["Layers"] = layer_report.layer_table(found.layers, own[0], population.note)
    if found.doubt:
        more["Doubt"] = doubt_scores.table_of_rows(found.doubt, population.note)
    pictures += _adaptation_curve(found, own[0])
    pictures += _training_curve(log) if log is not None and log.is_file() else []
    save_pictures(path.parent / "figures", pictures)
    write_report(
        path,
        title=f"{title}{noted(population.note)}",
        lead=lead,
        facts=_facts(model, population, source) | _scored_how(found),
        scores={"Scores": table},
        figures=pictures,
        notes={name: prediction.note for name, prediction in found.predictions.items() if prediction.note},
        more=more,
        undefined=found.undefined,
    )


def scored_against(population: Population) -> str:
    return "noise-free, motion-free anatomy" if population.truth is not None else "the measured intensities"


def _facts(model: Trained, population: Population, source: str) -> dict[str, str]:
    spacing = " x ".join(f"{s * 1000:.4g}" for s in population.spacing.mean(axis=0))
    return {
        "Data": f"{source}{noted(population.note)}",
        "Grid": " x ".join(map(str, population.measured.shape)) + f" at {spacing} µm",
        "Measured": f"{population.measured.mean():.0%} of the places",
        "Scored against": scored_against(population),
        "Adaptation": own_name(model.config).partition(", ")[2],
        **starting.told(model.config),
        "Time": "of adapting one scan, compilation apart; of baselines, of all that a scan takes, tuning apart",
    }


def _scored_how(found: "inr_jax.evaluate.Evaluation") -> dict[str, str]:
    """What one must know to set the intensity scores beside others."""
    scales = metrics.ms_ssim_scales(found.population.measured.shape[-2:])
    ranges = {
        "inr_jax": "of the data range 1",
        "interp_oct": "of each reference slice's data range, as INteRp-OCT does",
    }
    return {"PSNR, SSIM": ranges[found.scoring.conventions], "MS-SSIM": f"{scales} of 5 scales: as many as fit"}


def _median_scan(found: "inr_jax.evaluate.Evaluation", method: str, kind: str) -> int:
    """The scan whose PSNR is the median: neither the best nor the worst is shown."""
    scores = {row["subject"]: row["psnr"] for row in found.rows if row["method"] == method and row["kind"] == kind}
    ordered = sorted(scores, key=scores.__getitem__)
    return found.population.names.index(ordered[(len(ordered) - 1) // 2])


def _best_denoiser(found: "inr_jax.evaluate.Evaluation") -> list[str]:
    return [name for name, prediction in found.predictions.items() if prediction.note.startswith("best of")]


def _by_model(found: "inr_jax.evaluate.Evaluation") -> list[str]:
    """The methods that are this model's, parts of them included."""
    return [name for name in found.predictions if name.startswith(tuple(found.answers))]


def _score_dots(found: "inr_jax.evaluate.Evaluation", own: list[str], kind: str) -> Picture:
    panels = {}
    for metric in ("psnr", "dice"):
        values = {
            name: list(
                per_person((r for r in found.rows if r["method"] == name and r["kind"] == kind), metric).values()
            )
            for name in found.predictions
        }
        if any(map(len, values.values())):
            panels[f"{METRICS[metric].title}, {kind}"] = values
    figure = figures.dots(panels, title="Every person, and mean ± SD", marked=_by_model(found))
    return Picture(
        figures.png(figure),
        "Scores by person",
        "Dots of each person's scores by method; the numbers are in the table above.",
        "Blue: this model. Orange: without a model. Hollow: oracles. One dot is one person.",
    )


def _volume_example(found: "inr_jax.evaluate.Evaluation", own: list[str], i: int) -> Picture:
    """The middle unmeasured B-scan of scan i, by every method that matters."""
    population = found.population
    fitted = np.asarray(population.measured.all(axis=(1, 2)))
    between = np.flatnonzero(~fitted)
    noun, across = ("slice", "position (mm)") if _is_ct(population) else ("B-scan", "A-scan position (mm)")
    place = int(between[len(between) // 2]) if len(between) else len(fitted) // 2
    nearest = int(np.flatnonzero(fitted)[np.abs(np.flatnonzero(fitted) - place).argmin()])
    truth = "truth" if population.truth is not None else "as measured"
    reference = population.intensity if population.truth is None else population.truth
    images = {truth: reference[i, place, ..., 0], f"nearest measured {noun}": population.intensity[i, nearest, ..., 0]}
    images |= {name: shown[i, place, ..., 0] for name, shown in _shown(found, ["linear", *_best_denoiser(found), *own])}
    labels = _example_labels(found, own[0], (i, place))
    figure = figures.bscan_panel(
        images,
        spacing=(float(population.spacing[i, 1]), float(population.spacing[i, 2])),
        title=f"{population.names[i]}: {noun} {place}, between measured ones",
        across=across,
        labels=labels,
        classes=population.classes,
        difference=(own[0], truth),
    )
    return Picture(
        figures.png(figure),
        "An example of median quality",
        f"Panels of one {noun}: {', '.join([*images, *labels, 'difference'])}.",
        "Outlines are the borders of the labels, one colour per class. In the difference, red is too bright.",
    )


def _shown(
    found: "inr_jax.evaluate.Evaluation", names: list[str]
) -> Iterator[tuple[str, Float[np.ndarray, "N *grid C"]]]:
    """The intensities of those methods that there are."""
    for name in names:
        intensity = found.predictions[name].intensity if name in found.predictions else None
        if intensity is not None:
            yield name, intensity


def _is_ct(population: Population) -> bool:
    """Whether the slices are those of a body rather than of a retina, which no OCT sees deeper than some mm."""
    return float(population.spacing[0, 1]) * population.measured.shape[1] > figures.TALL


def _example_labels(found: "inr_jax.evaluate.Evaluation", own: str, where: tuple[int, ...]) -> dict[str, np.ndarray]:
    """True and predicted labels at scan and B-scan (or scan alone), where there are any."""
    population = found.population
    truth = population.labels if population.truth_labels is None else population.truth_labels
    predicted = found.predictions[own].labels
    if truth is None or predicted is None:
        return {}
    return {"true labels": truth[where], f"labels: {own}": predicted[where]}


def _image_example(found: "inr_jax.evaluate.Evaluation", own: list[str], i: int) -> Picture:
    population = found.population
    reference = population.intensity if population.truth is None else population.truth
    images = {"truth": reference[i], "measured": np.where(population.measured[..., None], population.intensity[i], 0.0)}
    images |= {name: shown[i] for name, shown in _shown(found, ["nearest", "cubic", *own])}
    labels = _example_labels(found, own[0], (i,))
    figure = figures.image_panel(images, title=population.names[i], labels=labels, classes=population.classes)
    return Picture(
        figures.png(figure),
        "An example of median quality",
        f"Panels of one image: {', '.join([*images, *labels])}.",
        "The measured pixels are shown on black. Outlines are the borders of the labels.",
    )


def _thickness_maps(found: "inr_jax.evaluate.Evaluation", own: str, i: int) -> Picture:
    population = found.population
    labels = _example_labels(found, own, (i,))
    atlas = found.predictions.get("mean atlas")
    if atlas is not None and atlas.labels is not None:
        labels["mean atlas"] = atlas.labels[i]
    retina, row = range(1, len(population.classes)), float(population.spacing[i, 1])
    figure = figures.en_face_maps(
        {name: metrics.thickness(value, retina, row) for name, value in labels.items()},
        spacing=(float(population.spacing[i, 0]), float(population.spacing[i, 2])),
        measured=np.asarray(population.measured.all(axis=(1, 2))),
        title=f"{population.names[i]}: thickness of all labelled layers",
        quantity="thickness (µm)",
    )
    return Picture(
        figures.png(figure),
        "Thickness",
        "Maps of the thickness of all labelled layers from the true and from the predicted labels.",
        "Ticks at the right edge mark the measured B-scans.",
    )


CURVES = {  # of a training's log: title, the axis' name, what is drawn
    "Training": ("PSNR (dB)", {"psnr": "training", "validation_psnr": "validation"}),
    "Training by epochs": ("mean loss", {"epoch_loss": "training"}),
}


def _training_curve(log: Path) -> list[Picture]:
    """PSNR, and the loss by epochs where those were counted, over training from the log's lines."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    pictures = []
    for title, (axis, keys) in CURVES.items():
        series = {}
        for key, name in keys.items():
            points = [(record["step"], record[key]) for record in records if key in record]
            if points:
                series[name] = ([step for step, _ in points], [value for _, value in points])
        if series:
            figure = figures.curves(series, x_name="update", y_name=axis, title=title)
            said = "Validation: after adaptation to people not learned from." if "validation" in series else ""
            pictures.append(Picture(figures.png(figure), title, f"Lines of {axis} over the updates of training.", said))
    return pictures


def _adaptation_curve(found: "inr_jax.evaluate.Evaluation", method: str) -> list[Picture]:
    """The loss of adapting, a mean over the scans that were still at it."""
    losses = found.answers[method].losses
    longest = max(map(len, losses), default=0)
    if longest < 2:
        return []
    padded = np.array([np.pad(loss, (0, longest - len(loss)), constant_values=np.nan) for loss in losses])
    series = {"mean over scans": (list(range(longest)), np.nanmean(padded, axis=0).tolist())}
    figure = figures.curves(series, x_name="step or epoch", y_name="loss", title=f"Adaptation: {method}")
    alt = "A line of the loss over the steps or epochs of adapting a scan."
    return [Picture(figures.png(figure), "Adaptation", alt, "On the scan's own measured places.")]
