"""New scans of a person: read, prepared as the model was trained to see them, and what was rendered of them written."""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from inr_jax import (
    adapted_files,
    adapted_record,
    between,
    cropping,
    flat_scans,
    grids,
    preprocessing,
    records,
    scan_io,
    scan_report,
    slo_registration,
    tables,
    trained,
)
from inr_jax.between import Doubted, Geometry
from inr_jax.errors import InputError
from inr_jax.likeness import Judged
from inr_jax.readers import guarded
from inr_jax.scan import Scan, Triple, checked, checked_labels, index_of, is_placed, mm_of
from inr_jax.trained import Adapted, Trained
from inr_jax.types import Population

log = logging.getLogger(__name__)


class Rendered(NamedTuple):
    """A scan as the model answers it, in the scan's own geometry and units."""

    intensity: Float[np.ndarray, "P H W"]
    labels: Int[np.ndarray, "P H W"] | None
    bscan_index: Float[np.ndarray, " P"]  # places of the B-scans among the scan's own
    adapted: Adapted
    rows: list[dict]  # scores on the scan's own B-scans
    remarks: list[str]  # what a reader of the result must know
    losses: Float[np.ndarray, "n"]  # before every learned step, or the mean of every epoch
    origin: Int[np.ndarray, "P H W"]  # of a voxel: between.ORIGINS
    doubt: Doubted | None  # None: not calibrated
    grid: tuple[Float[np.ndarray, "_"], ...]  # places of B-scans, rows and A-scans among the scan's own
    judged: list[Judged]  # how far the scan is like those the model knows; empty: not known
    like: grids.Grid | None = None  # that it lies on, of another image; `bscan_index` counts its B-scans, `grid` is ()


def unit_range(scan: Scan, config: trained.ConfigDict) -> tuple[float, float]:
    """The scan's intensities that become 0 and 1, as in training: the window of `volumes`, [0, 1] where folds are taken

    as they are (then InputError for others), the phantom's display range where the scan lies in it, otherwise the
    range of what was measured.
    """
    options = config.data
    if options.name == "volumes":
        low, high = options.volumes.window
        return low, high
    values = scan.voxels if scan.valid is None else scan.voxels[scan.valid]
    low, high = float(values.min()), float(values.max())
    is_unit = low >= 0 and high <= 1
    if _as_they_are(config) and not is_unit:
        raise InputError(f"{scan.name}: voxels: the model expects values in [0, 1]; found {low:g} to {high:g}")
    return (0.0, 1.0) if is_unit and (_as_they_are(config) or options.name == "phantom_oct") else (low, high)


def _as_they_are(config: trained.ConfigDict) -> bool:
    """Whether the model was trained on folds whose values were taken as they are."""
    return config.data.name == "interp_oct" and config.data.interp_oct.normalise_by == "none"


def in_box(model: Trained, scan: Scan, remarks: list[str]) -> Scan:
    """The part of a scan that an OCT model's box can hold (cropping.to_box); what is left out goes to `remarks`."""
    if flat_scans.is_wanted(model, scan):
        return flat_scans.in_box(model, scan, remarks)
    if not model.is_oct or not _has_box(model):
        return scan
    kept, said = cropping.to_box(scan, model.half)
    remarks += said
    return kept


def bscan_index(scan: Scan, kept: Scan, mm: float) -> float:
    """Where among the B-scans of what was kept of a scan a place lies, mm from the scan's own first B-scan.

    Raises InputError beyond what was kept.
    """
    index = float(index_of(kept, mm_of(scan, np.array([mm / scan.spacing[0], 0.0, 0.0])))[0])
    last = len(kept.voxels) - 1
    if not -1e-6 <= index <= last + 1e-6:
        first = mm - index * kept.spacing[0]
        kept_mm = f"{first:g} to {first + last * kept.spacing[0]:g}"
        raise InputError(f"{scan.name}: bscan-at: expected mm that the model's box holds ({kept_mm}); found {mm:g}")
    return min(max(index, 0.0), float(last))


def _has_box(model: Trained) -> bool:
    return bool(model.config.model.extent.of == "population")


def as_population(model: Trained, scan: Scan, remarks: list[str]) -> tuple[Population, preprocessing.Undo]:
    """One scan, all of it measured, as the model was trained to see it; what was assumed goes to `remarks`.

    Raises InputError if the scan is not of the kind the model was trained for.
    """
    _check(model, scan)
    scan, options = with_laterality(scan, model.config), model.config.data
    done = None
    if flat_scans.is_wanted(model, scan):
        scan, done = flat_scans.flattened(model, scan, remarks)
    elif options.name == "interp_oct" and model.config.train.stages:
        remarks.append(_taken_as_it_is(scan))
    _check_extent(model, scan)
    low, high = unit_range(scan, model.config)
    voxels = preprocessing.to_unit_range(scan.voxels, low, high)
    if done is None and (low, high) != (0.0, 1.0):
        remarks.append(f"intensities from {low:g} to {high:g} were taken as 0 to 1")
    if voxels.min() == voxels.max():
        raise InputError(f"{scan.name}: voxels: expected some within {low:g} to {high:g}; found none")
    mirror = options.name == "phantom_oct" or (options.name == "interp_oct" and options.interp_oct.mirror_left)
    if mirror and scan.laterality is None:
        remarks.append("its laterality is unknown: it was taken as a right eye (--laterality=L says otherwise)")
    has_places = _has_places(model, scan, remarks)
    scan = replace(_with_slo(model, scan, remarks), voxels=voxels, labels=scan.labels if model.classes else None)
    if options.name == "phantom_oct" and options.phantom_oct.register_slo:
        scan = _placed_on_slo(scan, remarks)
    scan, undo = preprocessing.prepare(
        scan,
        mirror=mirror,
        align=options.name == "phantom_oct" and options.phantom_oct.align,
    )
    undo = replace(undo, low=low, high=high) if done is None else flat_scans.undone(undo, done, low, high)
    measured = np.ones(scan.voxels.shape[0], bool)
    population = preprocessing.stack([scan], measured=measured, classes=model.classes, note="")
    return (preprocessing.at_true_places(population, scan, undo) if has_places else population), undo


def _taken_as_it_is(scan: Scan) -> str:
    """What that means with a model of folds."""
    if scan.prepared:
        return "it was prepared, flattened and cropped: taken as it is"
    return (
        "the model has learned from folds, and nothing says how these were prepared: if their B-scans were flattened, "
        "it expects this scan's to be, too"
    )


def _has_places(model: Trained, scan: Scan, remarks: list[str]) -> bool:
    """Whether a scan's A-scans are asked for where they truly lie, not as a raster's; what that means to `remarks`."""
    if not model.is_oct or scan.pattern in (None, "raster"):
        return False
    if scan.pattern != "line":
        remarks.append(f"the model has learned from rasters: a {scan.pattern} scan is new to it")
    is_asked_there = is_placed(scan) and _has_box(model)
    if not is_asked_there and scan.pattern != "line":
        remarks.append("where its A-scans lie was not taken into account: as if its B-scans were parallel lines")
    if is_asked_there and model.config.model.start == "encoder":
        remarks.append("the encoder that begins its adaptation saw its B-scans as if they were parallel lines")
    return is_asked_there


def _check(model: Trained, scan: Scan) -> None:
    """InputError if the model is for something else, or the scan too small to be one."""
    if model.signal.dimensions != 3 or model.signal.channels != 1:
        raise InputError(f"{scan.name}: expected a model of volumes; found one of {model.signal.dimensions}D images")
    if min(scan.voxels.shape[1:]) < cropping.LEAST:
        found = scan.voxels.shape[1:]
        raise InputError(f"{scan.name}: shape: expected {cropping.LEAST} or more rows and A-scans; found {found}")
    if scan.valid is not None and not scan.valid.any():
        raise InputError(f"{scan.name}: valid: expected voxels that were measured; found none")
    if scan.labels is not None and model.classes:
        checked_labels(scan.labels, len(model.classes), scan.name, unknown=True)


def _check_extent(model: Trained, scan: Scan) -> None:
    if _has_box(model) and cropping.beyond(scan, model.half):
        known, own = (" x ".join(f"{v:.2f}" for v in mm) for mm in (2 * model.half, cropping.extent(scan)))
        raise InputError(f"{scan.name}: extent: the model knows a box of {known} mm; found {own} mm: crop the scan")


def with_laterality(scan: Scan, config: trained.ConfigDict) -> Scan:
    """The eye by the scan's name where the file does not say, if the model's own data were named so."""
    if scan.laterality is not None or config.data.name != "interp_oct":
        return scan
    match = re.fullmatch(config.data.interp_oct.subject_pattern, scan.name)
    eye = match.groupdict().get("eye") if match else None
    return replace(scan, laterality={"OD": "R", "R": "R", "OS": "L", "L": "L"}.get(eye or ""))


def _with_slo(model: Trained, scan: Scan, remarks: list[str]) -> Scan:
    """The SLO in [0, 1], an even grey one where it is missing, none where the model has no use for it."""
    if not model.signal.slo:
        return replace(scan, slo=None)
    if scan.slo is None:
        remarks.append("the model was trained with an SLO image and this scan has none: an even grey one was used")
        return replace(scan, **_grey_slo(scan))
    low, high = float(scan.slo.min()), float(scan.slo.max())
    is_known = model.config.data.name == "phantom_oct" or _as_they_are(model.config)
    if low == high or (is_known and low >= 0 and high <= 1):
        return replace(scan, slo=np.clip(scan.slo, 0, 1))
    return replace(scan, slo=preprocessing.to_unit_range(scan.slo, low, high))


def _placed_on_slo(scan: Scan, remarks: list[str]) -> Scan:
    """As the scans that the model has learned from."""
    found = slo_registration.registered(scan)
    if found.ascans_on_slo is not None and scan.ascans_on_slo is not None:
        moved = float(np.abs(found.ascans_on_slo - scan.ascans_on_slo).max())
        if moved > 1e-6:
            remarks.append(
                f"its vessels say that its A-scans lie up to {1000 * moved:.0f} um elsewhere on the SLO: used"
            )
    return found


def _grey_slo(scan: Scan) -> dict:
    d, _, w = scan.voxels.shape
    extent = (d * scan.spacing[0], w * scan.spacing[2])
    place = np.stack(np.meshgrid(np.arange(d) * scan.spacing[0], np.arange(w) * scan.spacing[2], indexing="ij"), -1)
    return {
        "slo": np.full((2, 2), 0.5, np.float32),
        "slo_spacing": extent,
        "ascans_on_slo": place.astype(np.float32) if scan.ascans_on_slo is None else scan.ascans_on_slo,
    }


def geometry_of(scan: Scan, rendered: Rendered) -> Geometry:
    """Where what was rendered lies. Raises InputError for B-scans that are not in even steps."""
    if rendered.like is not None:
        return Geometry(rendered.like.spacing, rendered.like.origin, rendered.like.direction)
    return Geometry(*scan_io.resampled_geometry(scan, *rendered.grid), scan.direction)


def save(
    folder: Path, model: Trained, scan: Scan, rendered: Rendered, *, dicom: bool = False, tiff: bool = False,
    record: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Writes intensity.nii.gz, segmentation.nii.gz (with label tables), modulation.npz, metrics.csv, report.html,

    measured.nii.gz, of a calibrated model its doubt (between.write), of one that knows its population likeness.csv, of
    OCT its layers (thickness_files.write), and on request DICOM and TIFF. What a model answers that was trained on a
    phantom is marked so. record: what all of it was made of, written last (adapted_record.py). All or none; InputError
    where that cannot be.
    """
    geometry = geometry_of(scan, rendered)
    bscans, rows, columns = rendered.intensity.shape
    grid = grids.Grid((bscans, rows, columns), *geometry)
    files = ("segmentation.*", "likeness.*", *between.FILES, *adapted_files.FILES)
    with scan_io.all_or_none(folder, files, last=adapted_record.FILE) as part:
        scan_io.write_volume(part / "intensity.nii.gz", rendered.intensity, *geometry, note=model.mark)
        if rendered.labels is not None:
            scan_io.write_labels(
                part / "segmentation.nii.gz", rendered.labels, *geometry, model.classes, note=model.mark
            )
        between.write(part, model, geometry, rendered.origin, rendered.doubt, rendered.bscan_index)
        trained.save_modulations(part / "modulation.npz", [scan.name], [rendered.adapted.modulation], note=model.mark)
        scores = [{"subject": scan.name} | row for row in rendered.rows]
        tables.write_csv(tables.marked(scores, model.mark), part / "metrics.csv")
        if rendered.judged:
            judged = [one._asdict() for one in rendered.judged]
            tables.write_csv(tables.marked(judged, model.mark), part / "likeness.csv")
        said = adapted_files.write_layers(part, model, scan, rendered, grid) if model.is_oct else []
        adapted_files.write_places(part, scan, rendered, model.mark)
        adapted_files.write_others(part, scan, rendered, grid, dicom=dicom, tiff=tiff, note=model.mark)
        told = rendered._replace(remarks=[*rendered.remarks, *said])
        scan_report.scan_report(part / "report.html", model, scan, told, adapted_files.layer_pictures(part))
        if record is not None:
            adapted_record.write(part, record)


def scans_in(file: str, config: trained.ConfigDict, spacing: Triple | None = None) -> list[Scan]:
    """The scans of one file, as `data.interp_oct` says how an .npz is read. Raises InputError in one line.

    spacing: mm between B-scans, rows and A-scans, where the file does not say.
    """
    options = config.data.interp_oct
    if not file.endswith(".npz"):
        return [checked(scan, scan.name) for scan in scan_io.read_scans(file, spacing=spacing)]
    is_prepared = records.find_manifest(Path(file).parent) is not None
    if is_prepared:
        log.warning("%s: was prepared: answers lie in its own geometry, flattened and cropped as it is", file)
    scans = guarded.READER.scans(Path(file), slo_axes=options.slo_axes if options.slo else None)
    scans = [replace(scan, prepared=is_prepared) for scan in scans]
    return scans if options.use_valid else [replace(scan, valid=None) for scan in scans]
