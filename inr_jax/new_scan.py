"""`inr-jax adapt`: scans of a person in; B-scans at any position, labels, numbers and a report out."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from inr_jax import measurements, metrics, preprocessing, render, report, scan_io, trained
from inr_jax.errors import InputError
from inr_jax.scan import checked_labels
from inr_jax.scan_io import Scan
from inr_jax.trained import Adapted, Trained
from inr_jax.types import Population

log = logging.getLogger(__name__)
OCT = ("phantom_oct", "interp_oct")
BEYOND = 1.1  # how far a scan may reach beyond the model's box, in half-extents


class Rendered(NamedTuple):
    """A scan as the model answers it, in the scan's own geometry and units."""

    intensity: Float[np.ndarray, "P H W"]
    labels: Int[np.ndarray, "P H W"] | None
    bscan_index: Float[np.ndarray, " P"]  # places of the B-scans among the scan's own
    adapted: Adapted
    rows: list[dict]  # scores on the scan's own B-scans
    remarks: list[str]  # what a reader of the result must know


def unit_range(scan: Scan, config: trained.ConfigDict) -> tuple[float, float]:
    """The scan's intensities that become 0 and 1, as in training: the window of `volumes`, the phantom's display range
    where the scan lies in it, the scan's own range otherwise.
    """
    if config.data.name == "volumes":
        return tuple(config.data.volumes.window)
    low, high = float(scan.voxels.min()), float(scan.voxels.max())
    return (0.0, 1.0) if config.data.name == "phantom_oct" and low >= 0 and high <= 1 else (low, high)


def _unit_slo(slo: Float[np.ndarray, "Y X"], config: trained.ConfigDict) -> Float[np.ndarray, "Y X"]:
    """The SLO in [0, 1], as in training: the phantom's is already, another's own range is taken."""
    low, high = float(slo.min()), float(slo.max())
    if (config.data.name == "phantom_oct" and low >= 0 and high <= 1) or low == high:
        return np.clip(slo, 0, 1).astype(np.float32)
    return preprocessing.to_unit_range(slo, low, high)


def as_population(model: Trained, scan: Scan, remarks: list[str]) -> tuple[Population, preprocessing.Undo]:
    """One scan, all of it measured, as the model was trained to see it; what was assumed goes to `remarks`."""
    low, high = unit_range(scan, model.config)
    if (low, high) != (0.0, 1.0):
        remarks.append(f"intensities from {low:g} to {high:g} were taken as 0 to 1")
    if model.signal.slo and scan.slo is None:
        scan = replace(scan, **_grey_slo(scan))
        remarks.append("the model was trained with an SLO image and this scan has none: an even grey one was used")
    scan = replace(scan, slo=_unit_slo(scan.slo, model.config) if model.signal.slo and scan.slo is not None else None)
    if model.config.data.name in OCT and scan.laterality is None:
        remarks.append("its laterality is unknown: it was taken as a right eye")
    if scan.labels is not None and model.classes:
        checked_labels(scan.labels, len(model.classes), scan.name)
    _check_extent(model, scan)
    is_oct = model.config.data.name in OCT
    scan, undo = preprocessing.prepare(
        replace(scan, voxels=preprocessing.to_unit_range(scan.voxels, low, high)),
        mirror=is_oct,
        align=model.config.data.name == "phantom_oct" and model.config.data.phantom_oct.align,
    )
    scan = replace(scan, labels=None) if not model.classes else scan
    measured = np.ones(scan.voxels.shape[0], bool)
    population = preprocessing.stack([scan], measured=measured, classes=model.classes, note="")
    return population, undo


def _grey_slo(scan: Scan) -> dict:
    d, _, w = scan.voxels.shape
    extent = (d * scan.spacing[0], w * scan.spacing[2])
    place = np.stack(np.meshgrid(np.arange(d) * scan.spacing[0], np.arange(w) * scan.spacing[2], indexing="ij"), -1)
    return {
        "slo": np.full((2, 2), 0.5, np.float32),
        "slo_spacing": extent,
        "ascans_on_slo": place.astype(np.float32),
    }


def _check_extent(model: Trained, scan: Scan) -> None:
    """InputError if the scan is larger than what the model knows, or too small to be a scan."""
    if min(scan.voxels.shape[1:]) < 8:
        raise InputError(f"{scan.name}: shape: expected 8 or more rows and A-scans; found {scan.voxels.shape[1:]}")
    extent = np.array(scan.voxels.shape) * scan.spacing
    if (extent > 2 * BEYOND * model.half).any():
        known, found = (" x ".join(f"{v:.2f}" for v in values) for values in (2 * model.half, extent))
        raise InputError(f"{scan.name}: extent: the model knows a box of {known} mm; found {found} mm: crop the scan")


def adapt_scan(
    model: Trained, scan: Scan, *, steps: int | None = None, fit: bool = False, slices: int | None = None
) -> Rendered:
    """Adapts to one scan and renders B-scans at `slices` even places between its first and last (its own by default).

    Raises InputError if the scan is not of the kind the model was trained for.
    """
    if model.signal.dimensions != 3 or model.signal.channels != 1:
        raise InputError(f"{scan.name}: expected a model of volumes; found one of {model.signal.dimensions}D images")
    if slices is not None and slices > 1 and scan.voxels.shape[0] == 1:
        raise InputError(f"{scan.name}: slices: one B-scan has nothing between B-scans; found --slices={slices}")
    remarks: list[str] = []
    population, undo = as_population(model, scan, remarks)
    answers = trained.adapt_population(model, population, steps=steps, fit=fit)
    labels = answers.labels[0] if answers.labels is not None else None
    rows = metrics.score(
        answers.intensity[0], labels, *metrics.reference(population, 0), population.measured, population.valid[0],
        population.classes if population.labels is not None else (),
    )  # fmt: skip
    index = np.linspace(0, scan.voxels.shape[0] - 1, slices or scan.voxels.shape[0])
    intensity, labels = _render_at(model, population, answers.adapted[0], index)
    low, high = unit_range(scan, model.config)
    intensity = preprocessing.from_unit_range(undo(np.clip(intensity, 0, 1), index), low, high)
    labels = undo(labels, index, labels=True) if model.classes else None
    facts = [row | {"seconds": answers.seconds[0]} for row in rows]
    return Rendered(intensity, labels, index, answers.adapted[0], facts, remarks)


def _render_at(
    model: Trained, population: Population, adapted: Adapted, bscan_index: Float[np.ndarray, " P"]
) -> tuple[Float[np.ndarray, "P H W"], Int[np.ndarray, "P H W"]]:
    """B-scans at fractional places, one at a time: memory holds one B-scan's hidden layers at most."""
    data = measurements.to_device(population, model.half)
    hyper = render.hyper_of(model.config.hyper)
    _, h, w = population.measured.shape

    @jax.jit
    def bscan(place: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, columns = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
        index = jnp.stack([jnp.full_like(rows, place, jnp.float32), rows, columns], -1).reshape(-1, 3)
        coords = index * data.scale[0] + data.shift[0]
        side = measurements.side_of(data, jnp.int32(0))
        intensity, labels = render.answer(model.built, hyper, *adapted, side, coords)
        return intensity.reshape(h, w), labels.reshape(h, w)

    pairs = [bscan(jnp.float32(place)) for place in tqdm(bscan_index, "render", unit="B-scan", disable=None)]
    return np.stack([np.asarray(i) for i, _ in pairs]), np.stack([np.asarray(j) for _, j in pairs])


def save(folder: Path, model: Trained, scan: Scan, rendered: Rendered) -> None:
    """Writes intensity.nii.gz, segmentation.nii.gz (with label tables), modulation.npz, metrics.csv, report.html."""
    spacing, origin = scan_io.resampled_geometry(scan, rendered.bscan_index)
    scan_io.make_folder(folder)
    scan_io.write_volume(folder / "intensity.nii.gz", rendered.intensity, spacing, origin, scan.direction)
    if rendered.labels is not None:
        scan_io.write_labels(
            folder / "segmentation.nii.gz", rendered.labels, spacing, origin, scan.direction, model.classes
        )
    trained.save_modulations(folder / "modulation.npz", [scan.name], [rendered.adapted.modulation])
    report.write_csv([{"subject": scan.name} | row for row in rendered.rows], folder / "metrics.csv")
    report.scan_report(folder / "report.html", model, scan, rendered)


def adapt_files(
    workdir: str | Path,
    files: Sequence[str],
    output: str | Path,
    *,
    steps: int | None = None,
    fit: bool = False,
    slices: int | None = None,
) -> None:
    """Adapts to every scan in the files; results of each in `output`/<scan's name>, and one line about it.

    Raises InputError before anything is written if a file cannot be read, and at the first scan that does not fit the
    model; those before it are written.
    """
    model = trained.restore(workdir)
    slo_axes = model.config.data.interp_oct.slo_axes
    scans = [scan for file in files for scan in _scans(Path(file), slo_axes)]
    _check_names([scan.name for scan in scans])
    for scan in scans:
        rendered = adapt_scan(model, scan, steps=steps, fit=fit, slices=slices)
        folder = Path(output) / scan.name
        save(folder, model, scan, rendered)
        for remark in rendered.remarks:
            log.warning("%s: %s", scan.name, remark)
        score = next(row for row in rendered.rows if row["kind"] == "fitted")
        print(f"{scan.name}: {folder} ({score['seconds']:.2f} s, {score['psnr']:.1f} dB on its own B-scans)")


def _scans(path: Path, slo_axes: str) -> list[Scan]:
    if path.suffix == ".npz":
        return scan_io.read_npz_scans(path, slo_axes=slo_axes)
    return [scan_io.read_scan(path)]


def _check_names(names: list[str]) -> None:
    """Results lie in a folder named after the scan: InputError where two would share one, or a name is none."""
    for name in names:
        if not name or name in (".", "..") or Path(name).name != name:
            raise InputError(f"{name!r}: scan name: expected one that a folder can have; found this")
        if names.count(name) > 1:
            raise InputError(f"{name}: scan name: expected a different one for every scan; found {names.count(name)}")
