"""How far labels are from the truth: overlap, distances of layer borders, thickness of layers.

Labels of a stack are [S, H, W] = (B-scan, depth, A-scan). The border of a label is its first row in each A-scan.
What is unknown (`valid` False, or truth below 0) bears no label. What is absent from prediction and truth alike has
no score (nan) and counts nowhere; what is absent from one of them has overlap 0, and no distance: that is counted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from inr_jax.metrics.intensity import mean

UM = 1000.0  # um in a mm
UNKNOWN = -1


class BorderDistances(NamedTuple):
    """Between two sets of border points, in the unit of their spacing."""

    assd: float  # average symmetric surface distance
    hd95: float  # the larger 95th percentile of the two directions
    hd: float  # Hausdorff distance, the largest of all


NO_DISTANCES = BorderDistances(float("nan"), float("nan"), float("nan"))


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


def upper_border(labels: Int[np.ndarray, "H W"], label: int) -> Int[np.ndarray, "points 2"]:
    """(row, column) of the first voxel of a label in every A-scan that bears it."""
    bears = labels == label
    columns = np.flatnonzero(bears.any(axis=0))
    return np.stack([bears.argmax(axis=0)[columns], columns], axis=1)


def border_distances(
    a: Int[np.ndarray, "n 2"], b: Int[np.ndarray, "m 2"], spacing: tuple[float, float] = (1.0, 1.0)
) -> BorderDistances:
    """ASSD, HD95 and HD of two borders, (row, column) each; `spacing` of rows and columns gives the unit.

    With d(x, B) the distance of x to its nearest point of B: ASSD is the mean of d(a, B) and d(b, A) over all points
    together, HD95 the larger of their 95th percentiles, HD the larger of their maxima. nan where a border has no point.
    Heimann et al., IEEE TMI 28 (2009) 1251; Huttenlocher et al., IEEE TPAMI 15 (1993) 850.
    """
    if not len(a) or not len(b):
        return NO_DISTANCES
    to_b, to_a = cKDTree(b * spacing).query(a * spacing)[0], cKDTree(a * spacing).query(b * spacing)[0]
    return BorderDistances(
        float(np.concatenate([to_b, to_a]).mean()),
        float(max(np.percentile(to_b, 95), np.percentile(to_a, 95))),
        float(max(to_b.max(), to_a.max())),
    )


def thickness(labels: Int[np.ndarray, "D H W"], chosen: Sequence[int], row_mm: float) -> Float[np.ndarray, "D W"]:
    """How much of each A-scan bears one of the chosen labels, in um; rows are `row_mm` apart."""
    return np.isin(labels, chosen).sum(axis=1) * row_mm * UM


def score_layers(
    labels: Int[np.ndarray, "S H W"],
    truth: Int[np.ndarray, "S H W"],
    valid: Bool[np.ndarray, "S H W"],
    classes: Sequence[str],
    spacing: Sequence[float],
) -> list[dict[str, Any]]:
    """One row per label 1 .. of a stack of B-scans; `spacing` in mm of (B-scans, rows, A-scans).

    label: its name; dice (all B-scans pooled); assd, hd95, hd with _px and _um: means over the B-scans that bear the
    border in prediction and truth; unpaired_bscans: how many bear it in one alone; the columns of `thickness_scores`.
    """
    known = valid & (truth >= 0)
    found, true = np.where(known, labels, UNKNOWN), np.where(known, truth, UNKNOWN)
    overlaps = dice(labels, truth, len(classes), valid)
    return [
        {"label": classes[label], "dice": float(overlaps[label])}
        | border_scores(found, true, label, spacing)
        | thickness_scores(found, true, label, float(spacing[1]))
        for label in range(1, len(classes))
    ]


def border_scores(
    found: Int[np.ndarray, "S H W"], true: Int[np.ndarray, "S H W"], label: int, spacing: Sequence[float]
) -> dict[str, float]:
    """The columns assd_px .. hd_um and unpaired_bscans of one label, as in `score_layers`."""
    borders = [(upper_border(f, label), upper_border(t, label)) for f, t in zip(found, true, strict=True)]
    both = [(a, b) for a, b in borders if len(a) and len(b)]
    out: dict[str, float] = {}
    for unit, scale in (("px", (1.0, 1.0)), ("um", (float(spacing[1]) * UM, float(spacing[2]) * UM))):
        distances = [border_distances(a, b, scale) for a, b in both] or [NO_DISTANCES]
        means = np.mean(distances, axis=0)
        out |= {f"{name}_{unit}": float(value) for name, value in zip(BorderDistances._fields, means, strict=True)}
    return out | {"unpaired_bscans": sum(bool(len(a)) != bool(len(b)) for a, b in borders)}


def thickness_scores(
    found: Int[np.ndarray, "S H W"], true: Int[np.ndarray, "S H W"], label: int, row_mm: float
) -> dict[str, float]:
    """thickness_um (predicted), thickness_true_um, thickness_mae_um, thickness_bias_um (predicted - true).

    Means over the A-scans that bear the label in prediction or truth, 0 um where one of them lacks it; nan without any.
    """
    predicted, known = thickness(found, (label,), row_mm), thickness(true, (label,), row_mm)
    bearing = (predicted > 0) | (known > 0)
    predicted, known = predicted[bearing], known[bearing]
    return {
        "thickness_um": mean(predicted),
        "thickness_true_um": mean(known),
        "thickness_mae_um": mean(np.abs(predicted - known)),
        "thickness_bias_um": mean(predicted - known),
    }
