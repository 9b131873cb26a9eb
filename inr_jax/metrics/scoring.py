"""A scan's rows of scores: one per kind of place, one per kind and label."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from inr_jax.errors import InputError
from inr_jax.metrics.intensity import UNIFORM, WINDOW, gmsd, mae, mean, ms_ssim, mse, psnr, ssim
from inr_jax.metrics.layers import dice, score_layers
from inr_jax.types import Population

Metric = Callable[..., float]  # (prediction, truth, valid) of one slice
CONVENTIONS = ("inr_jax", "interp_oct")
INTENSITY = ("psnr", "ssim", "ms_ssim", "gmsd", "mae", "mse")
OVER_LAYERS = ("assd_px", "assd_um", "hd95_px", "hd95_um", "hd_px", "hd_um", "thickness_mae_um", "thickness_bias_um")

MAIN_LAYER_SCORES = ("assd_um", "hd95_um", "thickness_mae_um")


def reference(population: Population, i: int) -> tuple[Float[np.ndarray, "*grid C"], Int[np.ndarray, "*grid"] | None]:
    """What scan i is scored against: intensity and labels, noise-free and motion-free where known."""
    intensity = population.intensity if population.truth is None else population.truth
    labels = population.labels if population.truth_labels is None else population.truth_labels
    return intensity[i], None if labels is None else labels[i]


def score(
    prediction_intensity: Float[np.ndarray, "*grid C"] | None,
    prediction_labels: Int[np.ndarray, "*grid"] | None,
    truth_intensity: Float[np.ndarray, "*grid C"],
    truth_labels: Int[np.ndarray, "*grid"] | None,
    measured: Bool[np.ndarray, "*grid"],
    valid: Bool[np.ndarray, "*grid"],
    classes: Sequence[str],
    *,
    conventions: str = "inr_jax",
    perceptual: Mapping[str, Metric] | None = None,
) -> list[dict[str, Any]]:
    """Rows of one scan, one per kind: kind, INTENSITY (psnr in dB), dice (mean of classes 1 ..), dice_<class>.

    A volume has the kinds "fitted" (B-scans measured throughout) and "interpolated" (the others): intensities are
    scored by B-scan and averaged; Dice pools the B-scans of the kind. An image has "measured", "unmeasured" and "all"
    pixels, and SSIM, MS-SSIM and GMSD for all alone. What is undefined, or was not predicted, is nan. conventions: one
    of CONVENTIONS; "interp_oct" takes PSNR's and SSIM's data range from each reference slice and a box for SSIM.
    perceptual: further metrics of whole slices, by name. Raises InputError for other conventions.
    """
    if conventions not in CONVENTIONS:
        raise InputError(f"conventions: expected one of {', '.join(CONVENTIONS)}; found {conventions}")
    rows = []
    for kind, mask in kinds(measured).items():
        seen = valid & mask
        scores = _intensity_scores(prediction_intensity, truth_intensity, seen, kind, conventions, perceptual or {})
        row: dict[str, Any] = {"kind": kind} | scores
        overlaps = np.full(len(classes), np.nan)
        if prediction_labels is not None and truth_labels is not None:
            overlaps = dice(prediction_labels, truth_labels, len(classes), seen)
        row["dice"] = mean(overlaps[1:])
        rows.append(row | {f"dice_{name}": float(overlap) for name, overlap in zip(classes, overlaps, strict=True)})
    return rows


def score_scan_layers(
    prediction: Int[np.ndarray, "D H W"] | None,
    truth: Int[np.ndarray, "D H W"] | None,
    measured: Bool[np.ndarray, "D H W"],
    valid: Bool[np.ndarray, "D H W"],
    classes: Sequence[str],
    spacing: Sequence[float],
) -> list[dict[str, Any]]:
    """Rows of one layered volume, one per kind and label (`score_layers`); none where labels are not known."""
    if prediction is None or truth is None:
        return []
    rows = []
    for kind, mask in kinds(measured).items():
        chosen = mask.any(axis=(1, 2))
        scores = score_layers(prediction[chosen], truth[chosen], valid[chosen], classes, spacing)
        rows += [{"kind": kind} | row for row in scores]
    return rows


def over_layers(rows: Iterable[Mapping[str, Any]], kind: str) -> dict[str, float]:
    """Of the label rows of a kind: the mean over labels of each of OVER_LAYERS, and unpaired_bscans in all."""
    chosen = [row for row in rows if row["kind"] == kind]
    if not chosen:
        return {}
    means = {name: mean(np.array([row[name] for row in chosen])) for name in OVER_LAYERS}
    return means | {"unpaired_bscans": sum(row["unpaired_bscans"] for row in chosen)}


def kinds(measured: Bool[np.ndarray, "*grid"]) -> dict[str, Bool[np.ndarray, "*grid"]]:
    """The voxels of each kind there is."""
    if measured.ndim == 2:
        masks = {"measured": measured, "unmeasured": ~measured, "all": np.ones_like(measured)}
    else:
        throughout = measured.all(axis=tuple(range(1, measured.ndim)), keepdims=True)
        fitted = np.broadcast_to(throughout, measured.shape)
        masks = {"fitted": fitted, "interpolated": ~fitted}
    return {kind: mask for kind, mask in masks.items() if mask.any()}


def undefined(population: Population, layered: bool, conventions: str = "inr_jax") -> dict[str, str]:
    """Why a metric has no score in these scans, whatever is predicted: what a table says of its dashes, by metric.

    layered: borders and thickness of labels were scored.
    """
    out = {}
    shape = population.measured.shape[-2:]
    for metric, window in _windows(conventions).items():
        if min(shape) < window:
            out[metric] = f"slices of {shape[0]} x {shape[1]} pixels are smaller than its window of {window} x {window}"
        elif population.measured.ndim == 2 and not population.measured.all():
            out[metric] = "of all pixels alone, loose ones have no neighbourhood"
    if reference(population, 0)[1] is None:
        out |= dict.fromkeys(("dice", *MAIN_LAYER_SCORES), "no labels in these scans")
    elif not layered:
        out |= dict.fromkeys(MAIN_LAYER_SCORES, "labels of these scans are not scored as layers of A-scans")
    return out


def _windows(conventions: str) -> dict[str, int]:
    """The pixels a side that metrics of whole slices want."""
    return {"ssim": WINDOW if conventions == "inr_jax" else UNIFORM, "ms_ssim": WINDOW, "gmsd": WINDOW}


def _intensity_scores(
    prediction: Float[np.ndarray, "*grid C"] | None,
    truth: Float[np.ndarray, "*grid C"],
    seen: Bool[np.ndarray, "*grid"],
    kind: str,
    conventions: str,
    perceptual: Mapping[str, Metric],
) -> dict[str, float]:
    """Means over the slices that hold a seen voxel; SSIM and its like where the kind has whole slices, large enough."""
    scores = dict.fromkeys((*INTENSITY, *perceptual), float("nan"))
    if prediction is None:
        return scores
    if seen.ndim == 2:
        prediction, truth, seen = prediction[None], truth[None], seen[None]
    whole = kind not in ("measured", "unmeasured")
    room = _windows(conventions) | dict.fromkeys(perceptual, WINDOW)
    slices = [(prediction[d], truth[d], seen[d]) for d in range(len(seen)) if seen[d].any()]
    for name in scores:
        if name not in room or (whole and min(truth.shape[1:3]) >= room[name]):
            found = [_metrics(conventions, s[1], perceptual)[name](*s) for s in slices]
            scores[name] = mean(np.array(found))
    return scores


def _metrics(
    conventions: str, truth: Float[np.ndarray, "H W C"], perceptual: Mapping[str, Metric]
) -> dict[str, Metric]:
    """The metrics of a slice by name; in the reference's conventions its own data range goes in."""
    same: dict[str, Metric] = {"ms_ssim": ms_ssim, "gmsd": gmsd, "mae": mae, "mse": mse, **perceptual}
    if conventions == "inr_jax":
        return same | {"psnr": psnr, "ssim": ssim}
    data_range = float(np.ptp(truth))
    return same | {
        "psnr": partial(psnr, data_range=data_range),
        "ssim": partial(ssim, data_range=data_range, gaussian=False),
    }
