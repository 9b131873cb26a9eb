"""B-scans of a scan at any places among its own: what the model answers there, and how far it can be believed."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from inr_jax import calibrate, doubt, measurements, progress, render, residual, scan_io, tables
from inr_jax.calibrate import Calibration
from inr_jax.model import hyper_of
from inr_jax.scan import Scan
from inr_jax.thickness_files import UNKNOWN as UNKNOWN
from inr_jax.trained import Adapted, Answers, Trained
from inr_jax.types import Population

ORIGINS = ("synthesised", "measured", "not estimable")  # of a voxel, as measured.nii.gz numbers them
FILES = ("uncertainty.*", "label_uncertainty.*", "thickness.*")  # not every model writes them
Undo = Callable[..., np.ndarray]


class Doubted(NamedTuple):
    """How far B-scans at some places can be believed, in the scan's own geometry and units; nan: not estimable."""

    of: str  # the value the intervals hold: calibrate.VALUES
    people: int  # who set the intervals
    half: Float[np.ndarray, "P H W"]  # of the interval that holds calibration.LEVEL of the values
    wrong: Float[np.ndarray, "P H W"] | None  # how likely the label is wrong
    thickness: Float[np.ndarray, "P K W"] | None  # um, of every label in every A-scan
    thickness_half: Float[np.ndarray, "P K W"] | None  # um, of its interval


def render_at(
    model: Trained,
    population: Population,
    adapted: Adapted,
    left: residual.Residual,
    bscan_index: Float[np.ndarray, " P"],
) -> tuple[Float[np.ndarray, "P H W"], Int[np.ndarray, "P H W"]]:
    """B-scans at fractional places as the model sees them, one at a time: memory holds little but the result."""
    data = measurements.to_device(population, model.half, model.config.model.extent.to_dict())
    hyper = hyper_of(model.config)
    _, h, w = population.measured.shape

    @jax.jit
    def bscan(adapted: Adapted, data: measurements.Measurements, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, columns = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
        index = jnp.stack([jnp.full_like(rows, place, jnp.float32), rows, columns], -1).reshape(-1, 3)
        coords = index * data.scale[0] + data.shift[0]
        side = measurements.side_of(data, jnp.int32(0))
        intensity, labels = render.answer(model.built, hyper, *adapted, side, coords)
        return intensity.reshape(h, w), labels.reshape(h, w)

    intensity = np.empty((len(bscan_index), h, w), np.float32)
    labels = np.empty(intensity.shape, np.int8)
    for i, place in enumerate(progress.bar(bscan_index, "render", unit="B-scan")):
        values, classes = map(np.asarray, bscan(adapted, data, jnp.float32(place)))
        if left.length:
            here = np.array([place * population.spacing[0, 0]])
            values = values + residual.at(left, (here, *left.places[1:]))[0, ..., 0]
        intensity[i], labels[i] = np.clip(values, 0, 1), classes
    return intensity, labels


def upright(
    volume: Shaped[np.ndarray, "P H W"], bscan_index: Float[np.ndarray, " P"], undo: Undo, *, labels: bool = False
) -> Shaped[np.ndarray, "P H W"]:
    """B-scans as the model sees them in the scan's own geometry, each for itself."""
    places = [slice(i, i + 1) for i in range(len(volume))]
    return np.concatenate([undo(volume[one], bscan_index[one], labels=labels) for one in places])


def doubt_of(
    model: Trained, calibration: Calibration | None, population: Population, answers: Answers,
    bscan_index: Float[np.ndarray, " P"], intensity: Float[np.ndarray, "P H W"], labels: Int[np.ndarray, "P H W"],
    undo: Undo, *, unit: float,
) -> tuple[Int[np.ndarray, "P H W"], Doubted | None]:  # fmt: skip
    """Where each voxel comes from (ORIGINS), and, of a calibrated model, how far it can be believed.

    intensity, labels: what `render_at` gave at these places. unit: of the scan's intensities, what [0, 1] spans there.
    """
    own = np.rint(bscan_index).astype(int)
    is_own = np.isclose(bscan_index, own)[:, None, None]
    origin = (is_own & population.valid[0, own] & population.measured[own]).astype(np.int8)
    if calibration is None:
        return upright(origin, bscan_index, undo, labels=True), None
    asker = doubt.make_asker(model, *population.measured.shape[1:])
    evidence = doubt.gather(asker, model, population, 0, answers.adapted[0], answers.field[0], calibration.prior)
    of = model.config.doubt.of
    stated, thickness = [], []
    for place, shown, label in zip(progress.bar(bscan_index, "doubt", unit="B-scan"), intensity, labels, strict=True):
        told = doubt.ask(evidence, float(place), shown, label)
        stated.append(calibrate.state(calibration, of, told, label))
        thickness.append(told.thickness)
    origin[~np.stack([one.estimable for one in stated])] = ORIGINS.index("not estimable")
    origin = upright(origin, bscan_index, undo, labels=True)
    unknown = origin == ORIGINS.index("not estimable")

    def lain(values: list) -> Float[np.ndarray, "P H W"]:
        back = np.maximum(upright(np.stack(values), bscan_index, undo), 0)
        return np.where(unknown, np.nan, back).astype(np.float32)

    def along(values: list) -> Float[np.ndarray, "P K W"]:
        each = [undo(value[:, None], np.full(len(value), place), labels=True)[:, 0] for value, place in values]
        return np.stack(each).astype(np.float32)

    half = lain([one.half * unit for one in stated])
    if stated[0].wrong is None:
        return origin, Doubted(of, len(calibration.people[1]), half, None, None, None)
    wrong, halves = lain([one.wrong for one in stated]), [one.thickness for one in stated]
    maps = (along(list(zip(found, bscan_index, strict=True))) for found in (thickness, halves))
    return origin, Doubted(of, len(calibration.people[1]), half, wrong, *maps)


def write(
    folder: Path, model: Trained, scan: Scan, origin: Int[np.ndarray, "P H W"], found: Doubted | None,
    bscan_index: Float[np.ndarray, " P"],
) -> None:  # fmt: skip
    """measured.nii.gz, of ORIGINS; and if anything is known of them uncertainty.nii.gz (half of the interval, in the

    scan's units), label_uncertainty.nii.gz (how likely the label is wrong), both UNKNOWN where nothing is estimable,
    and thickness.csv, thickness.npz (um).
    """
    spacing, place = scan_io.resampled_geometry(scan, bscan_index)
    geometry = (spacing, place, scan.direction)
    scan_io.write_labels(folder / "measured.nii.gz", origin, *geometry, ORIGINS)
    if found is None:
        return
    scan_io.write_volume(folder / "uncertainty.nii.gz", np.nan_to_num(found.half, nan=UNKNOWN), *geometry)
    if found.wrong is None or found.thickness is None or found.thickness_half is None:
        return
    scan_io.write_volume(folder / "label_uncertainty.nii.gz", np.nan_to_num(found.wrong, nan=UNKNOWN), *geometry)
    maps = (found.thickness, found.thickness_half)
    tables.write_csv(_thickness_rows(*maps, bscan_index, model.classes), folder / "thickness.csv")
    with scan_io.replacing(folder / "thickness.npz") as temporary, temporary.open("wb") as file:
        names = np.array(model.classes)
        np.savez(file, bscan=bscan_index, labels=names, thickness_um=maps[0], half_interval_um=maps[1])


def _thickness_rows(
    maps: Float[np.ndarray, "P K W"], halves: Float[np.ndarray, "P K W"], places: Float[np.ndarray, " P"],
    classes: tuple[str, ...],
) -> list[dict]:  # fmt: skip
    """A row per label and B-scan: means over its A-scans of the thickness and of half an A-scan's interval."""
    rows = []
    for label, name in list(enumerate(classes))[1:]:
        for place, thickness, half in zip(places, maps, halves, strict=True):
            known = np.isfinite(half[label])
            mean = float(half[label][known].mean()) if known.any() else float("nan")
            row = {"label": name, "bscan": float(place), "thickness_um": float(thickness[label].mean())}
            rows.append(row | {"half_interval_um": mean, "estimable": float(known.mean())})
    return rows
