"""What a reconstruction and a segmentation of one scan are worth: PSNR, SSIM, MAE and Dice, in NumPy.

Intensities are in [0, 1]. Voxels that were not measured (`valid` False: missing A-scans, padding) do not
count.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from skimage.metrics import structural_similarity

from inr_jax.errors import InputError
from inr_jax.types import Population

WINDOW = 11  # pixels: the Gaussian window of SSIM, sigma 1.5 cut off at 3.5 sigma


def reference(population: Population, i: int) -> tuple[Float[np.ndarray, "*grid C"], Int[np.ndarray, "*grid"] | None]:
    """What scan i is scored against: intensity and labels, noise-free and motion-free where known."""
    intensity = population.intensity if population.truth is None else population.truth
    labels = population.labels if population.truth_labels is None else population.truth_labels
    return intensity[i], None if labels is None else labels[i]


def mae(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Mean absolute error, mean |prediction - truth| over the valid samples; nan where there is none."""
    return _mean(np.abs(_difference(prediction, truth, valid)))


def psnr(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / MSE) over the valid samples; the peak is 1.

    Infinite for an exact match, nan where no sample is valid.
    """
    mse = _mean(_difference(prediction, truth, valid) ** 2)
    return float("inf") if mse == 0 else float(-10 * np.log10(mse))


def ssim(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Structural similarity of one slice [H, W, C], the mean over pixels and channels of

        (2 m_p m_t + C1) (2 s_pt + C2) / ((m_p^2 + m_t^2 + C1) (s_p^2 + s_t^2 + C2)),

    C1 = 0.01^2, C2 = 0.03^2, with an 11 x 11 Gaussian window of sigma 1.5; pixels whose window leaves the
    image are left out, and so are invalid ones, which are set to the truth first. Raises InputError for
    anything but a slice of at least 11 x 11 pixels: loose points have no neighbourhood. Wang et al., IEEE TIP
    13 (2004) 600.
    """
    if truth.ndim != 3 or min(truth.shape[:2]) < WINDOW:
        raise InputError(
            f"SSIM: expected a slice [H, W, C] of at least {WINDOW} x {WINDOW} pixels, not loose points,"
            f" found shape {truth.shape}"
        )
    seen = np.ones(truth.shape[:2], bool) if valid is None else valid
    _, similarity = structural_similarity(
        np.where(seen[..., None], prediction, truth),
        truth,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    return _mean(similarity[inner][seen[inner]])


def dice(
    labels: Int[np.ndarray, "*grid"],
    truth: Int[np.ndarray, "*grid"],
    classes: int,
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> Float[np.ndarray, "classes"]:
    """Dice overlap of each class, 2 |A and B| / (|A| + |B|), over valid voxels whose truth is known (>= 0).

    nan for a class absent from both, so that it counts nowhere; 0 for one absent from one of them.
    """
    known = (truth >= 0) if valid is None else (truth >= 0) & valid
    found, true = labels[known], truth[known]
    sizes = np.bincount(found, minlength=classes) + np.bincount(true, minlength=classes)
    both = np.bincount(true[found == true], minlength=classes)
    with np.errstate(invalid="ignore"):
        return (2.0 * both / sizes)[:classes]


def score(
    prediction_intensity: Float[np.ndarray, "*grid C"] | None,
    prediction_labels: Int[np.ndarray, "*grid"] | None,
    truth_intensity: Float[np.ndarray, "*grid C"],
    truth_labels: Int[np.ndarray, "*grid"] | None,
    measured: Bool[np.ndarray, "*grid"],
    valid: Bool[np.ndarray, "*grid"],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows of one scan, one per kind: kind, psnr (dB), ssim, mae, dice (mean of classes 1 ..), dice_<class>.

    A volume has the kinds "fitted" (B-scans measured throughout) and "interpolated" (the others): psnr, ssim
    and mae are means over B-scans; Dice pools the B-scans of the kind. An image has "measured", "unmeasured"
    and "all" pixels, and SSIM for all alone. What is undefined, or was not predicted, is nan.
    """
    rows = []
    for kind, mask in _kinds(measured).items():
        seen = valid & mask
        row: dict[str, Any] = {"kind": kind} | _intensity_scores(prediction_intensity, truth_intensity, seen, kind)
        overlaps = np.full(len(classes), np.nan)
        if prediction_labels is not None and truth_labels is not None:
            overlaps = dice(prediction_labels, truth_labels, len(classes), seen)
        row["dice"] = _mean(overlaps[1:])
        rows.append(row | {f"dice_{name}": float(overlap) for name, overlap in zip(classes, overlaps, strict=True)})
    return rows


def _kinds(measured: Bool[np.ndarray, "*grid"]) -> dict[str, Bool[np.ndarray, "*grid"]]:
    """The voxels of each kind there is."""
    if measured.ndim == 2:
        masks = {"measured": measured, "unmeasured": ~measured, "all": np.ones_like(measured)}
    else:
        throughout = measured.all(axis=tuple(range(1, measured.ndim)), keepdims=True)
        fitted = np.broadcast_to(throughout, measured.shape)
        masks = {"fitted": fitted, "interpolated": ~fitted}
    return {kind: mask for kind, mask in masks.items() if mask.any()}


def _intensity_scores(
    prediction: Float[np.ndarray, "*grid C"] | None,
    truth: Float[np.ndarray, "*grid C"],
    seen: Bool[np.ndarray, "*grid"],
    kind: str,
) -> dict[str, float]:
    """Means over the slices that hold a seen voxel; SSIM where the kind has whole slices, large enough."""
    undefined = {"psnr": float("nan"), "ssim": float("nan"), "mae": float("nan")}
    if prediction is None:
        return undefined
    if seen.ndim == 2:
        prediction, truth, seen = prediction[None], truth[None], seen[None]
    slices = [(prediction[d], truth[d], seen[d]) for d in range(len(seen)) if seen[d].any()]
    has_neighbours = kind not in ("measured", "unmeasured") and min(truth.shape[1:3]) >= WINDOW
    metrics = {"psnr": psnr, "mae": mae} | ({"ssim": ssim} if has_neighbours else {})
    return undefined | {name: _mean(np.array([metric(*s) for s in slices])) for name, metric in metrics.items()}


def _difference(
    prediction: Shaped[np.ndarray, "*grid C"], truth: Shaped[np.ndarray, "*grid C"], valid: np.ndarray | None
) -> np.ndarray:
    difference = prediction.astype(np.float64) - truth
    return difference if valid is None else difference[valid]


def _mean(values: np.ndarray) -> float:
    """The mean of what is defined; nan where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
