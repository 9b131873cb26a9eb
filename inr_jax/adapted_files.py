"""Files of an adapted scan beside its volumes: its layers measured, and on request DICOM and TIFF."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inr_jax import calibration, en_face, page, tables, thickness_files
from inr_jax.between import NOT_ESTIMABLE, ORIGINS
from inr_jax.dicom_files import new_study, write_dicom
from inr_jax.grids import Grid
from inr_jax.scan import Scan, is_placed
from inr_jax.surfaces import without_specks
from inr_jax.thickness_files import Labelled
from inr_jax.tiff_files import write_tiff
from inr_jax.trained import Trained

if TYPE_CHECKING:
    import inr_jax.new_scan

PLACES = "places.csv"
FILES = (*thickness_files.FILES, PLACES, "*.dcm", "*.tiff")
PICTURES = {  # of these: title, what it shows to who cannot see it, what it says
    "etdrs.png": (
        "Thickness in the ETDRS sectors",
        "A wheel of nine sectors per layer with the mean thickness of each.",
        "Mean thickness and half of its interval, µm, in circles of 1, 3 and 6 mm; numbers in etdrs.csv.",
    ),
    "thickness_maps.png": (
        "Thickness maps",
        "A map of the thickness of each layer, as the eye is looked at.",
        "Every layer has a scale of its own; white where nothing is known. Files in thickness_maps.",
    ),
    "thickness_profile.png": (
        "Thickness along the scan",
        "A curve of the thickness of each layer along the B-scan.",
        "Bands are intervals, where the model is calibrated; numbers in thickness_profile.csv.",
    ),
}


def write_layers(
    folder: Path, model: Trained, scan: Scan, rendered: "inr_jax.new_scan.Rendered", grid: Grid
) -> list[str]:
    """What thickness_files.write makes of rendered B-scans, and what a reader of it must know."""
    if rendered.labels is None:
        return []
    if rendered.like is not None:
        return ["surfaces and thickness are taken along a scan's own A-scans: none are written on another image's grid"]
    doubt, index = rendered.doubt, rendered.bscan_index
    is_known = (rendered.origin != NOT_ESTIMABLE).any(axis=1)
    half = None if doubt is None else doubt.thickness_half
    found = Labelled(
        labels=without_specks(rendered.labels),
        classes=model.classes,
        grid=grid,
        bscan_index=index,
        bscan_mm=index * scan.spacing[0],
        at=en_face.places(scan.ascans_on_slo, scan.spacing, index, rendered.grid[2]),
        laterality=scan.laterality,
        half=half,
        level=None if half is None else calibration.LEVEL,
        known=None if doubt is None and is_known.all() else is_known,
        note=model.mark,
    )
    said = thickness_files.write(folder, found, scan.name)
    return [*said, en_face.NO_SLO] if scan.ascans_on_slo is None and said else said


def layer_pictures(folder: Path) -> list[page.Picture]:
    """Those of `write_layers` in a folder, for a page."""
    found = ((folder / file, *said) for file, said in PICTURES.items())
    return [page.Picture(path.read_bytes(), *said) for path, *said in found if path.is_file()]


def write_places(folder: Path, scan: Scan, rendered: "inr_jax.new_scan.Rendered", note: str) -> None:
    """Where every A-scan of what was rendered lies on the SLO, mm and pixels, of scans that are no raster.

    Their volumes are unwrapped, so that no NIfTI geometry can say it.
    """
    if not is_placed(scan) or not rendered.grid:  # on another image's grid there are no A-scans of it
        return
    index, ascans = rendered.bscan_index, rendered.grid[2]
    at = en_face.places(scan.ascans_on_slo, scan.spacing, index, ascans)
    pixels = at / np.asarray(scan.slo_spacing or (np.nan, np.nan))
    rows = [
        {"bscan": float(index[p]), "ascan": w, "slo_y_mm": at[p, w, 0], "slo_x_mm": at[p, w, 1]}
        | {"slo_row": pixels[p, w, 0], "slo_column": pixels[p, w, 1]}
        for p, w in np.ndindex(*at.shape[:2])
    ]
    short = [{k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    tables.write_csv(tables.marked(short, note), folder / PLACES)


def write_others(
    folder: Path, scan: Scan, rendered: "inr_jax.new_scan.Rendered", grid: Grid, *, dicom: bool, tiff: bool, note: str
) -> None:
    """intensity and segmentation as .dcm (one study of two series) and as .tiff."""
    volumes = {"intensity": rendered.intensity}
    if rendered.labels is not None:
        volumes["segmentation"] = rendered.labels.astype(np.uint8)
    own = (rendered.origin == ORIGINS.index("measured")).any(axis=(1, 2))
    study, frames = new_study(), ["measured" if is_own else "synthesised" for is_own in own]
    for number, (name, volume) in enumerate(volumes.items(), start=1):
        if dicom:
            told: dict[str, Any] = {"said": name, "frames": frames, "laterality": scan.laterality, "number": number}
            told["note"] = note
            write_dicom(folder / f"{name}.dcm", volume, grid, study, **told)
        if tiff:
            write_tiff(folder / f"{name}.tiff", volume, grid, frames=frames, note=note)
