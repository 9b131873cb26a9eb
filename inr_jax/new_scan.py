"""`inr-jax adapt`: scans of a person in; B-scans at any position, labels, numbers and a report out."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from inr_jax import (
    between,
    calibrate,
    metrics,
    preprocessing,
    records,
    residual,
    scan_io,
    scan_report,
    slo_registration,
    tables,
    trained,
)
from inr_jax.between import Doubted
from inr_jax.calibrate import Calibration
from inr_jax.errors import InputError
from inr_jax.scan import Scan, checked, checked_labels, checked_name
from inr_jax.trained import Adapted, Trained
from inr_jax.types import Population

log = logging.getLogger(__name__)
BEYOND = 1.1  # how far a scan may reach beyond the model's box, in half-extents


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


def as_population(model: Trained, scan: Scan, remarks: list[str]) -> tuple[Population, preprocessing.Undo]:
    """One scan, all of it measured, as the model was trained to see it; what was assumed goes to `remarks`.

    Raises InputError if the scan is not of the kind the model was trained for.
    """
    _check(model, scan)
    scan, options = _with_laterality(scan, model.config), model.config.data
    low, high = unit_range(scan, model.config)
    voxels = preprocessing.to_unit_range(scan.voxels, low, high)
    if (low, high) != (0.0, 1.0):
        remarks.append(f"intensities from {low:g} to {high:g} were taken as 0 to 1")
    if voxels.min() == voxels.max():
        raise InputError(f"{scan.name}: voxels: expected some within {low:g} to {high:g}; found none")
    if options.name == "interp_oct" and model.config.train.stages:
        remarks.append("the model has learned from folds, whose B-scans are flattened: it expects this scan to be, too")
    mirror = options.name == "phantom_oct" or (options.name == "interp_oct" and options.interp_oct.mirror_left)
    if mirror and scan.laterality is None:
        remarks.append("its laterality is unknown: it was taken as a right eye (--laterality=L says otherwise)")
    scan = replace(_with_slo(model, scan, remarks), voxels=voxels, labels=scan.labels if model.classes else None)
    if options.name == "phantom_oct" and options.phantom_oct.register_slo:
        scan = _placed_on_slo(scan, remarks)
    scan, undo = preprocessing.prepare(
        scan,
        mirror=mirror,
        align=options.name == "phantom_oct" and options.phantom_oct.align,
    )
    measured = np.ones(scan.voxels.shape[0], bool)
    return preprocessing.stack([scan], measured=measured, classes=model.classes, note=""), undo


def _check(model: Trained, scan: Scan) -> None:
    """InputError if the model is for something else, or the scan larger than what it knows, or too small to be one."""
    if model.signal.dimensions != 3 or model.signal.channels != 1:
        raise InputError(f"{scan.name}: expected a model of volumes; found one of {model.signal.dimensions}D images")
    if min(scan.voxels.shape[1:]) < 8:
        raise InputError(f"{scan.name}: shape: expected 8 or more rows and A-scans; found {scan.voxels.shape[1:]}")
    if scan.valid is not None and not scan.valid.any():
        raise InputError(f"{scan.name}: valid: expected voxels that were measured; found none")
    extent = (np.array(scan.voxels.shape) - 1) * scan.spacing  # between outermost centres: that is what is asked
    has_box = model.config.model.extent.of == "population"
    if has_box and (extent > 2 * BEYOND * model.half).any():
        known, found = (" x ".join(f"{v:.2f}" for v in values) for values in (2 * model.half, extent))
        raise InputError(f"{scan.name}: extent: the model knows a box of {known} mm; found {found} mm: crop the scan")
    if scan.labels is not None and model.classes:
        checked_labels(scan.labels, len(model.classes), scan.name)


def _with_laterality(scan: Scan, config: trained.ConfigDict) -> Scan:
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
        "ascans_on_slo": place.astype(np.float32),
    }


def adapt_scan(
    model: Trained,
    scan: Scan,
    *,
    steps: int | None = None,
    fit: bool = False,
    slices: int | None = None,
    calibration: Calibration | None = None,
) -> Rendered:
    """Adapts to one scan and renders B-scans at `slices` even places between its first and last (its own by default).

    calibration: of the model's doubt, which is told then. Raises InputError if the scan is not of the kind the model
    was trained for.
    """
    if slices is not None and slices > 1 and scan.voxels.shape[0] == 1:
        raise InputError(f"{scan.name}: slices: one B-scan has nothing between B-scans; found --slices={slices}")
    count = scan.voxels.shape[0]
    return adapt_at(
        model, scan, np.linspace(0, count - 1, slices or count), steps=steps, fit=fit, calibration=calibration
    )


def adapt_at(
    model: Trained,
    scan: Scan,
    places: Float[np.ndarray, " P"],
    *,
    steps: int | None = None,
    fit: bool = False,
    calibration: Calibration | None = None,
) -> Rendered:
    """Adapts to one scan and renders B-scans at (fractional) places among its own. Raises InputError as adapt_scan."""
    remarks: list[str] = []
    population, undo = as_population(model, scan, remarks)
    answers = trained.adapt_population(model, population, steps=steps, fit=fit, shown=f"adapt: {scan.name}")
    rows = metrics.score(
        answers.intensity[0],
        answers.labels[0] if answers.labels is not None else None,
        *metrics.reference(population, 0),
        population.measured,
        population.valid[0],
        population.classes if population.labels is not None else (),
    )
    left = residual.measure(
        answers.field[0], population.intensity[0], population.valid[0],
        [np.ones(n, bool) for n in population.measured.shape], population.spacing[0], **model.config.adapt.residual,
    )  # fmt: skip
    intensity, labels = between.render_at(model, population, answers.adapted[0], left, places)
    low, high = unit_range(scan, model.config)
    origin, doubted = between.doubt_of(
        model, calibration, population, answers, places, intensity, labels, undo, unit=high - low
    )
    intensity = preprocessing.from_unit_range(between.upright(intensity, places, undo), low, high)
    labels = between.upright(labels, places, undo, labels=True)
    facts = [row | {"seconds": answers.seconds[0]} for row in rows]
    known = labels if answers.labels is not None else None
    return Rendered(intensity, known, places, answers.adapted[0], facts, remarks, answers.losses[0], origin, doubted)


def save(folder: Path, model: Trained, scan: Scan, rendered: Rendered) -> None:
    """Writes intensity.nii.gz, segmentation.nii.gz (with label tables), modulation.npz, metrics.csv, report.html,

    measured.nii.gz and of a calibrated model its doubt (between.write). All or none; InputError where that cannot be.
    """
    spacing, origin = scan_io.resampled_geometry(scan, rendered.bscan_index)
    with scan_io.all_or_none(folder, ("segmentation.*", *between.FILES)) as part:
        scan_io.write_volume(part / "intensity.nii.gz", rendered.intensity, spacing, origin, scan.direction)
        if rendered.labels is not None:
            scan_io.write_labels(
                part / "segmentation.nii.gz", rendered.labels, spacing, origin, scan.direction, model.classes
            )
        between.write(part, model, scan, rendered.origin, rendered.doubt, rendered.bscan_index)
        trained.save_modulations(part / "modulation.npz", [scan.name], [rendered.adapted.modulation])
        tables.write_csv([{"subject": scan.name} | row for row in rendered.rows], part / "metrics.csv")
        scan_report.scan_report(part / "report.html", model, scan, rendered)


def adapt_files(
    workdir: str | Path,
    files: Sequence[str],
    output: str | Path,
    *,
    steps: int | None = None,
    fit: bool = False,
    slices: int | None = None,
    laterality: str | None = None,
) -> None:
    """Adapts to every scan in the files; results of each in `output`/<scan's name>, and one line about it.

    laterality: "R" or "L", of scans whose file does not say.

    Raises InputError at the first scan that cannot be read or does not fit the model; those before it are written.
    """
    model = trained.restore(workdir)
    calibration = calibrate.read(workdir, model)
    for scan in _scans(files, model.config):
        scan = replace(scan, laterality=scan.laterality or laterality)
        scan_io.make_folder(Path(output))
        rendered = adapt_scan(model, scan, steps=steps, fit=fit, slices=slices, calibration=calibration)
        folder = Path(output) / scan.name
        save(folder, model, scan, rendered)
        for remark in rendered.remarks:
            log.warning("%s: %s", scan.name, remark)
        score = next(row for row in rendered.rows if row["kind"] == "fitted")
        print(f"{scan.name}: {folder} ({score['seconds']:.2f} s, {score['psnr']:.1f} dB on its own B-scans)")


def _scans(files: Sequence[str], config: trained.ConfigDict) -> Iterator[Scan]:
    """Every scan of the files, read when its turn comes. Raises InputError where two would be written to one place."""
    written: dict[str, str] = {}
    for file in files:
        for scan in _scans_of(file, config.data.interp_oct):
            if checked_name(scan.name, file) in written:
                raise InputError(f"{file}: name: {scan.name} is that of a scan in {written[scan.name]}, too")
            written[scan.name] = file
            yield scan


def _scans_of(file: str, options: trained.ConfigDict) -> list[Scan]:
    """The scans of one file, as `data.interp_oct` says how an .npz is read."""
    if not file.endswith(".npz"):
        return [checked(scan, scan.name) for scan in scan_io.read_scans(file)]
    if records.find_manifest(Path(file).parent) is not None:
        log.warning("%s: was prepared: answers lie in its own geometry, flattened and cropped as it is", file)
    scans = scan_io.read_npz_scans(file, slo_axes=options.slo_axes if options.slo else None)
    return scans if options.use_valid else [replace(scan, valid=None) for scan in scans]
