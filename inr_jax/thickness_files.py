"""What is measured of layers, as files: surfaces, thickness along lines and circles, en face and in ETDRS sectors."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from inr_jax import en_face, etdrs, figures, grids, profiles, scan_io, surfaces, tables, thickness, thickness_figures
from inr_jax.grids import Grid
from inr_jax.thickness import Thickness

UNKNOWN = -1.0  # in files, where nothing is there or estimable: ITK reads nan of NIfTI as 0
FILES = (
    "surfaces.csv", "surfaces/*.nii.gz", "thickness_maps.png", "thickness_maps.csv", "thickness_maps/*.nii.gz",
    "etdrs.csv", "etdrs.png", "thickness_profile.csv", "thickness_profile.png", "thickness_sectors.csv",
)  # fmt: skip


class Labelled(NamedTuple):
    """Labelled B-scans and where they lie."""

    labels: Int[np.ndarray, "P H W"]
    classes: tuple[str, ...]
    grid: Grid  # of the labels
    bscan_index: Float[np.ndarray, " P"]  # places among the scan's own B-scans
    bscan_mm: Float[np.ndarray, " P"]  # from the scan's first
    at: Float[np.ndarray, "P W 2"]  # mm en face of the A-scans
    laterality: str | None
    half: Float[np.ndarray, "P C W"] | None = None  # um, of the interval of every label's thickness
    level: float | None = None  # of the intervals
    known: Bool[np.ndarray, "P W"] | None = None  # A-scans of which something can be said; None: all
    fovea: tuple[float, float] | None = None  # mm en face, where known
    note: str = ""  # what every file must say


def write(folder: Path, found: Labelled, name: str) -> list[str]:
    """Writes FILES, as far as the scan's pattern allows; what a reader of the results must know.

    Lines and circles have profiles; what covers an area has maps; sectors have a row each, or the reason why not.
    """
    layers = surfaces.layers_of(found.classes)
    if not layers:
        return []
    rows = surfaces.of_labels(found.labels, layers)
    if found.known is not None:
        rows = np.where(found.known, rows, np.nan)
    _write_surfaces(folder, found, rows)
    thick = thickness.of_labels(
        found.labels, found.classes, found.grid.spacing[1], half=found.half, level=found.level, known=found.known
    )
    is_line = len(found.at) == 1 or all(en_face.circle_through(line) for line in found.at)
    sectors = etdrs.measure(thick, found.at, found.laterality, known=found.fovea)
    tables.write_csv(tables.marked(_short(sectors.rows), found.note), folder / "etdrs.csv")
    if is_line:
        _write_profile(folder, found, thick, name)
    else:
        _write_maps(folder, found, thick, sectors, name)
    if sectors.why_not is not None or sectors.centre is None:
        return [f"ETDRS sectors are not computable: {sectors.why_not}"]
    picture = thickness_figures.etdrs_figure(
        sectors, found.laterality, title=_title(found, f"{name}: ETDRS sectors{_said(thick)}")
    )
    _write_png(folder / "etdrs.png", picture)
    return [f"centre of the ETDRS sectors: {sectors.centre.said}"]


def _short(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers with as many digits as people read."""
    return [{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows]


def _said(found: Thickness) -> str:
    return "" if found.level is None else f", mean ± half of its {found.level:.0%} interval"


def _title(found: Labelled, text: str) -> str:
    return f"{text} ({found.note})" if found.note else text


def _write_surfaces(folder: Path, found: Labelled, rows: Float[np.ndarray, "S P W"]) -> None:
    names = surfaces.names_of(found.classes)
    table = surfaces.rows(rows, names, found.grid, found.bscan_index, found.bscan_mm, found.at)
    tables.write_csv(tables.marked(table, found.note), folder / "surfaces.csv")
    _write_each(folder / "surfaces", names, surfaces.depth_um(rows, found.grid), found)


def _write_each(folder: Path, names: tuple[str, ...], maps: Float[np.ndarray, "K P W"], found: Labelled) -> None:
    """A NIfTI file each, one voxel deep."""
    scan_io.make_folder(folder)
    flat = grids.en_face(found.grid)
    for name, values in zip(names, maps, strict=True):
        written = np.nan_to_num(values, nan=UNKNOWN)[:, None]
        path = folder / f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)}.nii.gz"
        scan_io.write_volume(path, written, flat.spacing, flat.origin, flat.direction, note=found.note)


def _write_profile(folder: Path, found: Labelled, thick: Thickness, name: str) -> None:
    courses = [profiles.course(line, found.laterality) for line in found.at]
    rows = profiles.rows(thick, courses, found.bscan_index, found.laterality)
    tables.write_csv(tables.marked(rows, found.note), folder / "thickness_profile.csv")
    if sectors := profiles.sector_rows(thick, courses, found.at, found.bscan_index, found.laterality):
        tables.write_csv(tables.marked(_short(sectors), found.note), folder / "thickness_sectors.csv")
    picture = thickness_figures.profile_figure(
        thick, courses, found.bscan_index, found.laterality, title=_title(found, f"{name}: thickness of layers")
    )
    _write_png(folder / "thickness_profile.png", picture)


def _write_maps(folder: Path, found: Labelled, thick: Thickness, sectors: etdrs.Etdrs, name: str) -> None:
    maps = dict(zip(thick.names, thick.um, strict=True))
    if thick.half is not None:
        maps |= {f"{name}_half_interval": half for name, half in zip(thick.names, thick.half, strict=True)}
    _write_each(folder / "thickness_maps", tuple(maps), np.stack([*maps.values()]), found)
    tables.write_csv(tables.marked(_map_rows(maps, found), found.note), folder / "thickness_maps.csv")
    picture = thickness_figures.map_figure(
        thick, found.at, found.laterality, sectors.centre, title=_title(found, f"{name}: thickness of layers")
    )
    _write_png(folder / "thickness_maps.png", picture)


def _map_rows(maps: dict[str, Float[np.ndarray, "P W"]], found: Labelled) -> list[dict[str, Any]]:
    """A row per A-scan: which it is, where it lies en face (mm), and what every map says there (um)."""
    rows = []
    for p, w in np.ndindex(*found.at.shape[:2]):
        place = {"bscan": float(found.bscan_index[p]), "bscan_mm": float(found.bscan_mm[p]), "ascan": w}
        place |= {"slo_y_mm": float(found.at[p, w, 0]), "slo_x_mm": float(found.at[p, w, 1])}
        rows.append(place | {f"{name}_um": float(values[p, w]) for name, values in maps.items()})
    return _short(rows)


def _write_png(path: Path, picture: Figure) -> None:
    with scan_io.replacing(path) as temporary:
        temporary.write_bytes(figures.png(picture))
