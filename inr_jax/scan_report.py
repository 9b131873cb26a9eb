"""The page of `inr-jax adapt`: one scan, what the model answers at and between its B-scans."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from inr_jax import between, calibration, figures, grids, metrics, niivue, page, viewer
from inr_jax.between import Doubted
from inr_jax.grids import Grid
from inr_jax.scan import Scan, Triple, is_content_name
from inr_jax.surfaces import without_specks
from inr_jax.trained import Trained
from inr_jax.viewer import EnFace, Overlay, Thickness, View

if TYPE_CHECKING:
    import inr_jax.new_scan

MEANT = {
    "noisy": "of what a repeated scan would measure, noise included",
    "noise-free": "of the scan without noise, which of real scans nobody knows",
}
ALL = "all layers"


def scan_report(
    path: Path, model: Trained, scan: Scan, rendered: "inr_jax.new_scan.Rendered", pictures: Sequence[page.Picture]
) -> None:
    """Writes the page of `inr-jax adapt`; it calls the scan by its content, as other names may be those of people.

    pictures: what it shows besides, of layers.
    """
    has_across = rendered.like is None and len(rendered.bscan_index) > 1
    shown = [*pictures, *([_reslice(scan, rendered)] if has_across else [])]
    facts = _facts(model, scan, rendered)
    name = scan.name if is_content_name(scan.name) else ""
    write(path, view_of(model, scan, rendered), facts, shown, name=name, mark=model.mark)


def write(
    path: Path, view: View, facts: dict[str, str], pictures: list[page.Picture], *, name: str = "", mark: str = ""
) -> None:
    """Writes the page of an adapted scan: the viewer, then facts and further figures. Complete or not at all.

    name: of the scan. mark: what must be said of the model.
    """
    module, why_not = niivue.module()
    own = sum(viewer.given(view.origin))
    counts = f"{own} given B-scan{'s' * (own != 1)} and {len(view.places) - own} synthesised"
    lead = f"{counts}, each marked as what it is."
    lead += f" The model was {escape(mark)}." if mark else ""
    title = f"Adapted {name or 'scan'}"
    body = "\n".join(
        [
            f'<h1>{escape(title)}</h1>\n<p class="lead">{lead}</p>',
            f'<p class="disclaimer">{page.DISCLAIMER}</p>',
            viewer.html(view, why_not),
            f"<h2>About this scan</h2>\n{page.definitions(facts)}",
            *map(page.figure, pictures),
        ]
    )
    page.write_page(path, title=title, body=body, style=viewer.style(), scripts=viewer.scripts(module))


def view_of(model: Trained, scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> View:
    """What the viewer shows of a rendered scan."""
    labels, doubt, like = rendered.labels, rendered.doubt, rendered.like
    spacing = _spacing(scan, rendered) if like is None else like.spacing
    layers = without_specks(labels) if labels is not None and model.is_oct and like is None else None
    return View(
        intensity=rendered.intensity,
        spacing=spacing[1:],
        places=rendered.bscan_index * (scan.spacing[0] if like is None else like.spacing[0]),
        origin=rendered.origin,
        linear=_on_grid(scan.voxels, rendered.grid) if like is None else _on(scan, like),
        labels=labels,
        classes=model.classes,
        overlays=[] if doubt is None else _overlays(doubt),
        thickness={} if layers is None else _thickness(model.classes, layers, doubt, spacing[1]),
        level=f"{calibration.LEVEL:.0%}",
        slo=_en_face(scan, rendered) if like is None else None,
    )


def between_neighbours(
    stack: Float[np.ndarray, "D *rest"], index: Float[np.ndarray, " P"]
) -> Float[np.ndarray, "P *rest"]:
    """Linear interpolation at (fractional) places along the first axis, which lie within it."""
    below = np.clip(np.floor(index).astype(int), 0, len(stack) - 1)
    above = np.minimum(below + 1, len(stack) - 1)
    share = (index - below).reshape(-1, *[1] * (stack.ndim - 1)).astype(stack.dtype)
    return stack[below] + share * (stack[above] - stack[below])


def _on_grid(stack: np.ndarray, places: Sequence[Float[np.ndarray, "_"]]) -> np.ndarray:
    """The same along the first axes, at the places of each."""
    for axis, index in enumerate(places):
        stack = np.moveaxis(between_neighbours(np.moveaxis(stack, axis, 0), index), 0, axis)
    return stack


def _on(scan: Scan, grid: Grid) -> Float[np.ndarray, "P H W"]:
    """The measurement on any grid, linear between voxels; its lowest value outside of it."""
    own, low = grids.of_scan(scan), float(scan.voxels.min())
    index = (grids.index_in(own, grid, p) for p in range(grid.shape[0]))
    seen = [ndimage.map_coordinates(scan.voxels, np.moveaxis(i, -1, 0), order=1, cval=low) for i in index]
    return np.stack(seen)


def _spacing(scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> Triple:
    """mm between rendered B-scans, rows and A-scans."""
    d, h, w = (
        mm * (float(places[1] - places[0]) if len(places) > 1 else 1.0)
        for mm, places in zip(scan.spacing, rendered.grid, strict=True)
    )
    return d, h, w


def _overlays(doubt: Doubted) -> list[Overlay]:
    level = f"{calibration.LEVEL:.0%}"
    meaning = f"Half of the {level} interval {MEANT[doubt.of]}."
    found = [Overlay(doubt.half, "of intensity", "in the scan's units", meaning)]
    if doubt.wrong is not None:
        found.append(Overlay(100 * doubt.wrong, "of layers", "%", "How likely the layer named here is the wrong one."))
    return found


def _thickness(
    classes: tuple[str, ...], labels: Int[np.ndarray, "P H W"], doubt: Doubted | None, row_mm: float
) -> dict[str, Thickness]:
    """Of all labelled layers together and of each that is somewhere, um."""
    found = {ALL: Thickness(metrics.thickness(labels, range(1, len(classes)), row_mm))}
    for label in range(1, len(classes)):
        if not (labels == label).any():
            continue
        if doubt is None or doubt.thickness is None or doubt.thickness_half is None:
            found[classes[label]] = Thickness(metrics.thickness(labels, [label], row_mm))
        else:
            half = doubt.thickness_half[:, label]
            found[classes[label]] = Thickness(doubt.thickness[:, label], half if np.isfinite(half).any() else None)
    return found


def _en_face(scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> EnFace | None:
    """The scan's own SLO; None where the file does not tell where its A-scans lie on it."""
    if scan.slo is None or scan.slo_spacing is None or scan.ascans_on_slo is None:
        return None
    return EnFace(scan.slo, scan.slo_spacing, _on_grid(scan.ascans_on_slo, rendered.grid[::2]))


def _facts(model: Trained, scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> dict[str, str]:
    score = next(row for row in rendered.rows if row["kind"] == "fitted")
    depth, height, width = scan.voxels.shape
    facts = {
        "Scan": f"{depth} B-scans, {height} rows, {width} A-scans",
        "Spacing": " x ".join(f"{s * 1000:.4g}" for s in scan.spacing) + " µm (B-scans, rows, A-scans)",
        "Rendered": f"{len(rendered.bscan_index)} B-scans" + (" of another image's grid" if rendered.like else ""),
        "Voxels": _shares(rendered.origin),
        "Model": f"learned from {model.config.data.name}{page.noted(model.note)}",
        "Adaptation": f"{score['seconds']:.2f} s",
        "On its own B-scans": f"PSNR {score['psnr']:.2f} dB, against the measured intensities, noise included",
        "Uncertainty": "none: the model is not calibrated"
        if rendered.doubt is None
        else _said(rendered.doubt, model.note),
    }
    if rendered.doubt is not None:
        facts["Reach"] = f"farther than {rendered.doubt.reach:.2f} mm from a measured A-scan nothing is estimable"
    if rendered.judged:
        facts["Like the scans that the model knows"] = (
            "no, see the remarks" if any(one.unlike for one in rendered.judged) else "yes, as far as was compared"
        )
    return facts | {f"Remark {i}": remark for i, remark in enumerate(rendered.remarks, start=1)}


def _shares(origin: Int[np.ndarray, "P H W"]) -> str:
    """Of the voxels of every kind, as measured.nii.gz numbers them."""
    counts = dict(zip(between.ORIGINS, np.bincount(origin.ravel(), minlength=len(between.ORIGINS)), strict=True))
    kinds = {"measured": "measured", "synthesised": "synthesised between B-scans", "not estimable": "not estimable"}
    return ", ".join(f"{counts[kind] / origin.size:.1%} {words}" for kind, words in kinds.items())


def _said(doubt: Doubted, note: str) -> str:
    """Of which value the intervals are, and who they are known from."""
    level = f"{calibration.LEVEL:.0%}"
    return f"intervals hold {level} {MEANT[doubt.of]}; set by {doubt.people} validation people{page.noted(note)}"


def _reslice(scan: Scan, rendered: "inr_jax.new_scan.Rendered") -> page.Picture:
    """The middle A-scan of every B-scan: measured (the nearest B-scan repeated) and rendered."""
    column = scan.voxels.shape[2] // 2
    images = {
        "measured, nearest B-scan": scan.voxels[np.rint(rendered.bscan_index).astype(int), :, column].T,
        "model": rendered.intensity[:, :, rendered.intensity.shape[2] // 2].T,
    }
    figure = figures.bscan_panel(
        images,
        spacing=(scan.spacing[1], _spacing(scan, rendered)[0]),
        title=f"A cut across the B-scans, at A-scan {column + 1}",
        across="B-scan position (mm)",
    )
    alt = "The same cut across the B-scans in the measurement and in the model."
    return page.Picture(figures.png(figure), "Across the B-scans", alt, "The measurement repeats its nearest B-scan.")
