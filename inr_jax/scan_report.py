"""The page of `inr-jax adapt`: one scan, what the model answers at and between its B-scans."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from inr_jax import calibration, figures, metrics
from inr_jax.between import ORIGINS, Doubted
from inr_jax.page import Picture, noted, write_report
from inr_jax.scan import Scan, Triple
from inr_jax.trained import Trained

if TYPE_CHECKING:
    import inr_jax.new_scan


def scan_report(path: Path, model: Trained, scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> None:
    """The page of `inr-jax adapt`: a scan's own B-scans, the model's answer, labels and thickness."""
    score = next(row for row in rendered.rows if row["kind"] == "fitted")
    depth, height, width = scan.voxels.shape
    facts = {
        "Scan": f"{depth} B-scans, {height} rows, {width} A-scans",
        "Spacing": " x ".join(f"{s * 1000:.4g}" for s in scan.spacing) + " µm (B-scans, rows, A-scans)",
        "Rendered": f"{len(rendered.bscan_index)} B-scans",
        "Model": f"learned from {model.config.data.name}{noted(model.note)}",
        "Adaptation": f"{score['seconds']:.2f} s",
        "On its own B-scans": f"PSNR {score['psnr']:.2f} dB, against the measured intensities, noise included",
    }
    facts |= {f"Remark {i}": remark for i, remark in enumerate(rendered.remarks, start=1)}
    if rendered.judged:
        facts["Like the scans that the model knows"] = (
            "no, see the remarks" if any(one.unlike for one in rendered.judged) else "yes, as far as was compared"
        )
    pictures = [_scan_example(scan, rendered, model.classes), _reslice(scan, rendered)]
    if rendered.labels is not None and model.is_oct:
        pictures.append(_scan_thickness(scan, rendered, rendered.labels))
    if rendered.doubt is not None:
        facts["Uncertainty"] = _said(rendered.doubt, model.note)
        pictures += [_scan_doubt(scan, rendered, rendered.doubt), *_thickness_doubt(scan, rendered, rendered.doubt)]
    write_report(
        path,
        title=f"{scan.name}: adapted scan",
        lead="What was measured, and what the model answers at and between the measured B-scans.",
        facts=facts,
        scores={},
        figures=pictures,
    )


def _scan_example(scan: Scan, rendered: "inr_jax.new_scan.Rendered", classes: tuple[str, ...]) -> Picture:
    """The middle B-scan of a scan, what is rendered nearest to it, and the rendered one that follows."""
    middle = scan.voxels.shape[0] // 2
    near = int(np.abs(rendered.bscan_index - middle).argmin())
    images = {f"measured B-scan {middle}": scan.voxels[middle]}
    labels = {}
    for at in range(near, min(near + 2, len(rendered.bscan_index))):
        name = f"model, B-scan {rendered.bscan_index[at]:.2f}"
        images[name] = rendered.intensity[at]
        if rendered.labels is not None:
            images[f"labels: {name}"] = rendered.intensity[at]
            labels[f"labels: {name}"] = rendered.labels[at]
    figure = figures.bscan_panel(
        images, spacing=scan.spacing[1:], title=scan.name, labels=labels, classes=classes if labels else ()
    )
    alt = f"Panels of B-scans: {', '.join(images)}."
    return Picture(figures.png(figure), "B-scans", alt, "Fractions count from one measured B-scan to the next.")


def _reslice(scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> Picture:
    """The middle A-scan of every B-scan: measured (the nearest B-scan repeated) and rendered."""
    column = scan.voxels.shape[2] // 2
    images = {
        "measured, nearest B-scan": scan.voxels[np.rint(rendered.bscan_index).astype(int), :, column].T,
        "model": rendered.intensity[:, :, rendered.intensity.shape[2] // 2].T,
    }
    figure = figures.bscan_panel(
        images,
        spacing=(scan.spacing[1], _spacing(scan, rendered)[0]),
        title=f"A cut across the B-scans, at A-scan {column}",
        across="B-scan position (mm)",
    )
    alt = "The same cut across the B-scans in the measurement and in the model."
    return Picture(figures.png(figure), "Across the B-scans", alt, "The measurement repeats its nearest B-scan.")


def _spacing(scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> Triple:
    """mm between rendered B-scans, rows and A-scans."""
    d, h, w = (
        mm * (float(places[1] - places[0]) if len(places) > 1 else 1.0)
        for mm, places in zip(scan.spacing, rendered.grid, strict=True)
    )
    return d, h, w


def _scan_thickness(scan: Scan, rendered: "inr_jax.new_scan.Rendered", labels: Int[np.ndarray, "P H W"]) -> Picture:
    spacing, index = _spacing(scan, rendered), rendered.bscan_index
    figure = figures.en_face_maps(
        {"model": metrics.thickness(labels, range(1, int(labels.max()) + 1), spacing[1])},
        spacing=(spacing[0], spacing[2]),
        measured=np.isclose(index, np.rint(index)),
        title=f"{scan.name}: thickness of all labelled layers",
        quantity="thickness (µm)",
    )
    alt = "Map of the thickness of all labelled layers."
    return Picture(figures.png(figure), "Thickness", alt, "Ticks at the right edge mark measured B-scans.")


MEANT = {
    "noisy": "of what a repeated scan would measure, noise included",
    "noise-free": "of the scan without noise, which of real scans nobody knows",
}


def _said(doubt: Doubted, note: str) -> str:
    """Of which value the intervals are, and who they are known from."""
    level = f"{calibration.LEVEL:.0%}"
    return f"intervals hold {level} {MEANT[doubt.of]}; set by {doubt.people} validation people{noted(note)}"


def _scan_doubt(scan: Scan, rendered: "inr_jax.new_scan.Rendered", doubt: Doubted) -> Picture:
    """The middle B-scan that was not measured (or else the middle one): answer and half of its interval."""
    synthesised = np.flatnonzero((rendered.origin == ORIGINS.index("synthesised")).mean(axis=(1, 2)) > 0.5)
    places = synthesised if len(synthesised) else np.arange(len(rendered.origin))
    at = int(places[len(places) // 2])
    name = f"model, B-scan {rendered.bscan_index[at]:.2f}"
    half = f"half of its {calibration.LEVEL:.0%} interval"
    figure = figures.bscan_panel(
        {name: rendered.intensity[at], half: np.nan_to_num(doubt.half[at])},
        spacing=_spacing(scan, rendered)[1:],
        title=scan.name,
    )
    alt = "An answered B-scan beside half of the interval of every voxel, on one grey scale."
    caption = (
        f"In the scan's own units, on one grey scale, from {np.nanmin(doubt.half, initial=np.inf):.3g} to "
        f"{np.nanmax(doubt.half, initial=0):.3g} in the whole scan; black where nothing is estimable. "
        f"Intervals {MEANT[doubt.of]}."
    )
    return Picture(figures.png(figure), "Uncertainty", alt, caption)


def _thickness_doubt(scan: Scan, rendered: "inr_jax.new_scan.Rendered", doubt: Doubted) -> list[Picture]:
    """Half of the thickness interval, a mean over layers; nothing where no layer of any A-scan is estimable."""
    if doubt.thickness_half is None or not np.isfinite(doubt.thickness_half).any():
        return []
    known = np.isfinite(doubt.thickness_half)
    mean = np.where(known, doubt.thickness_half, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    figure = figures.en_face_maps(
        {"mean over layers": np.where(known.any(axis=1), mean, np.nan)},
        spacing=_spacing(scan, rendered)[::2],
        measured=np.isclose(rendered.bscan_index, np.rint(rendered.bscan_index)),
        title=f"{scan.name}: half of the {calibration.LEVEL:.0%} interval of a layer's thickness",
        quantity="half of the interval (µm)",
    )
    alt = "Map of how uncertain the thickness of a layer is."
    caption = "White where nothing is estimable. Labels that no validation person had are left out."
    return [Picture(figures.png(figure), "Uncertainty of thickness", alt, caption)]
