"""What a model answers anywhere in an adapted scan, how far it can be believed there, and the files that say so."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from inr_jax import asking, calibrate, doubt, measurements, preprocessing, progress, render, residual, scan_io, tables
from inr_jax.calibrate import Calibration, Stated
from inr_jax.doubt import Evidence
from inr_jax.measurements import Measurements
from inr_jax.model import hyper_of
from inr_jax.programs import Programs
from inr_jax.residual import Residual
from inr_jax.scan import Triple
from inr_jax.thickness_files import UNKNOWN as UNKNOWN
from inr_jax.trained import Adapted, Answers, Trained
from inr_jax.types import Population

ORIGINS = ("synthesised", "measured", "not estimable")  # of a voxel, as measured.nii.gz numbers them
NOT_ESTIMABLE = ORIGINS.index("not estimable")
AT_ONCE = 1024  # loose places: so many are asked at once, whatever their number, so that one program serves all
SAME_PLACE = 1e-6  # voxels
THICKNESS = "noise-free"  # of labels, in which there is no noise: what intervals of thickness hold, whatever `of` says
FILES = ("uncertainty.*", "label_uncertainty.*", "thickness.*")  # not every model writes them


class Geometry(NamedTuple):
    """Of a volume [P, H, W], as ITK has it but for the order of the spacing, which is that of the axes."""

    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]


class Doubted(NamedTuple):
    """How far B-scans at some places can be believed, in the scan's own geometry and units; nan: not estimable."""

    of: str  # the value the intervals hold: calibrate.VALUES
    people: int  # who set the intervals
    reach: float  # mm en face from a measured A-scan: beyond, nothing is estimable
    half: Float[np.ndarray, "P H W"]  # of the interval that holds calibration.LEVEL of the values
    wrong: Float[np.ndarray, "P H W"] | None  # how likely the label is wrong
    thickness: Float[np.ndarray, "P K W"] | None  # um, of every label in every A-scan
    thickness_half: Float[np.ndarray, "P K W"] | None  # um, of its interval


class Plane(NamedTuple):
    """What is answered at some places of a scan, [H, W], all of a column at one place en face."""

    intensity: Float[np.ndarray, "H W"]  # in [0, 1]
    probability: Float[np.ndarray, "H W K"]  # of the labels
    origin: Int[np.ndarray, "H W"]  # ORIGINS
    stated: Stated | None  # None: not calibrated
    thickness: Float[np.ndarray, "K W"] | None  # um, of every label

    @property
    def labels(self) -> Int[np.ndarray, "H W"]:
        return self.probability.argmax(-1).astype(np.int8)


def _map(change: Callable[[np.ndarray], np.ndarray], plane: Plane) -> Plane:
    """What is known voxel by voxel, changed; thicknesses are left out."""
    stated = None if plane.stated is None else plane.stated._replace(thickness=None)
    return jax.tree.map(change, plane._replace(stated=stated, thickness=None))


def _some(plane: Plane, chosen: Bool[np.ndarray, "H W"]) -> Plane:
    """Some voxels of a plane as one row [1, n]."""
    return _map(lambda values: values[chosen][None], plane)


Ask = Callable[..., tuple[Array, Array]]


def make_ask(model: Trained) -> Ask:
    """(adapted, data, index [*n, 3]) -> intensity [*n] and probabilities [*n, K]; compiled once for every shape."""
    hyper = hyper_of(model.config)

    @jax.jit
    def ask(adapted: Adapted, data: Measurements, index: Array) -> tuple[Array, Array]:
        side = measurements.side_of(data, jnp.int32(0))
        coords = measurements.coords_of(data, 0, index)
        intensity, probability = render.answer(model.built, hyper, *adapted, side, coords)
        return intensity[..., 0], probability

    return ask


@dataclass(frozen=True)
class Answered:
    """One scan after its adaptation. A population of one scan, all of it measured."""

    ask: Ask
    population: Population
    undo: preprocessing.Undo
    adapted: Adapted
    data: Measurements
    left: Residual
    of: str  # the value that intervals hold: calibrate.VALUES
    calibration: Calibration | None
    evidence: Evidence | None

    def plane(self, index: Float[np.ndarray, "H W 3"]) -> Plane:
        """The answer at fractional (B-scan, row, A-scan) of the scan as it was measured.

        Thicknesses are known where every column lies at one place en face, as in B-scans.
        """
        if np.ptp(index[..., [0, 2]], axis=0).max() <= SAME_PLACE:
            return self._columns(index)
        return _map(
            lambda values: values.reshape(*index.shape[:2], *values.shape[2:]), self.points(index.reshape(-1, 3))
        )

    def points(self, index: Float[np.ndarray, "n 3"]) -> Plane:
        """The answer at loose places as one row [1, n], without thicknesses."""
        padded = np.zeros((max(1, -(-len(index) // AT_ONCE)) * AT_ONCE, 3))  # the scan's first voxel fills the last
        padded[: len(index)] = index
        blocks = [_map(np.asarray, self._columns(block[None])) for block in padded.reshape(-1, AT_ONCE, 3)]
        return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, : len(index)], *blocks)

    def _columns(self, index: Float[np.ndarray, "H W 3"]) -> Plane:
        shape = self.population.measured.shape
        seen, held = self.undo.seen_at(index, shape), self.undo.holds(index, shape)
        values, probability = map(np.asarray, self.ask(self.adapted, self.data, jnp.asarray(seen, jnp.float32)))
        if self.left.length:
            mm = (seen * self.population.spacing[0]).reshape(-1, 3)
            values = values + residual.at_points(self.left, mm)[:, 0].reshape(values.shape)
        if not held.all():  # its lowest intensity and no label
            values = held * values
            probability = np.where(held[..., None], probability, np.arange(probability.shape[-1]) == 0)
        found = Plane(np.clip(values, 0, 1).astype(np.float32), probability, self._origin(seen, held), None, None)
        if self.evidence is None or self.calibration is None:
            return found
        rows = abs(float(index[1, 0, 1] - index[0, 0, 1])) if len(index) > 1 else 1.0
        row_mm = rows * float(self.population.spacing[0][1])
        told = doubt.ask_at(self.evidence, seen, found.intensity, found.labels, row_mm)
        stated = calibrate.state(self.calibration, self.of, told._replace(inside=told.inside & held), found.labels)
        if stated.thickness is not None and not held.all():
            stated.thickness[:, ~held.any(axis=0)] = np.nan
        origin = np.where(stated.estimable, found.origin, NOT_ESTIMABLE).astype(np.int8)
        return found._replace(origin=origin, stated=stated, thickness=told.thickness)

    def _origin(self, seen: Float[np.ndarray, "H W 3"], held: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
        """Measured: in a B-scan of the scan's own, at valid voxels. Not estimable: outside of what the model saw."""
        nearest = np.rint(seen).astype(int)
        bscan, row, column = np.moveaxis(np.clip(nearest, 0, np.array(self.population.measured.shape) - 1), -1, 0)
        is_own = np.isclose(seen[..., 0], bscan) & (nearest[..., 1] == row) & (nearest[..., 2] == column)
        return np.where(held, is_own & self.population.valid[0, bscan, row, column], NOT_ESTIMABLE).astype(np.int8)


def answered(
    model: Trained, population: Population, undo: preprocessing.Undo, answers: Answers,
    calibration: Calibration | None, programs: Programs,
) -> Answered:  # fmt: skip
    """The scan of a population of one, all of it measured, that was adapted; calibration: of the model's doubt."""
    within = population.measured.shape[1:]
    left = residual.measure(
        answers.field[0], population.intensity[0], population.valid[0],
        [np.ones(n, bool) for n in population.measured.shape], population.spacing[0], **model.config.adapt.residual,
    )  # fmt: skip
    evidence = None
    if calibration is not None:
        asker = programs.kept(("asker", within), lambda: asking.make_asker(model, *within))
        evidence = doubt.gather(asker, model, population, 0, answers.adapted[0], answers.field[0], calibration.prior)
    data = measurements.to_device(population, model.half, model.config.model.extent.to_dict())
    ask = programs.kept(("ask", within), lambda: make_ask(model))
    return Answered(
        ask, population, undo, answers.adapted[0], data, left, model.config.doubt.of, calibration, evidence
    )  # fmt: skip


Grid = tuple[Float[np.ndarray, "_"], ...]  # fractional places of B-scans, rows, A-scans among a scan's own


def _planes(grid: Grid) -> Iterator[Float[np.ndarray, "H W 3"]]:
    """B-scan after B-scan."""
    within = np.stack(np.meshgrid(*grid[1:], indexing="ij"), -1)
    for place in grid[0]:
        yield np.concatenate([np.full((*within.shape[:2], 1), place), within], -1)


class Volume(NamedTuple):
    """What is answered on a grid."""

    intensity: Float[np.ndarray, "P H W"]  # in the scan's units
    labels: Int[np.ndarray, "P H W"]
    origin: Int[np.ndarray, "P H W"]
    doubt: Doubted | None


def volume_of(scan: Answered, grid: Grid) -> Volume:
    """The answer on a grid, a B-scan at a time."""
    shape, told = tuple(map(len, grid)), []
    intensity, labels, origin = np.empty(shape, np.float32), np.empty(shape, np.int8), np.empty(shape, np.int8)
    for i, index in enumerate(progress.bar(_planes(grid), "render", total=len(grid[0]), unit="B-scan")):
        plane, (low, high) = scan.plane(index), map(float, scan.undo.unit_at(grid[0][i]))
        intensity[i] = preprocessing.from_unit_range(plane.intensity, low, high)
        labels[i], origin[i] = plane.labels, plane.origin
        if plane.stated is not None:
            told.append((plane.stated._replace(half=plane.stated.half * (high - low)), plane.thickness))
    doubted = None if scan.calibration is None else _doubted(scan.of, scan.calibration, told, origin)
    return Volume(intensity, labels, origin, doubted)


Within = tuple[Float[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]


def volume_in(scan: Answered, planes: Iterable[Within], shape: tuple[int, int, int]) -> Volume:
    """The answer on any grid, by the fractional voxels of the scan in which each of its B-scans lies and which of them

    are the scan's: elsewhere are its lowest intensity and no label, and nothing is estimable. No thicknesses.
    """
    intensity, labels = np.full(shape, np.min(scan.undo.low), np.float32), np.zeros(shape, np.int8)
    origin, knows_wrong = np.full(shape, NOT_ESTIMABLE, np.int8), False
    half, wrong = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for i, (index, inside) in enumerate(progress.bar(planes, "render", total=shape[0], unit="B-scan")):
        if not inside.any():
            continue
        is_upright = np.ptp(index[..., [0, 2]], axis=0).max() <= SAME_PLACE
        found = _some(scan.plane(index), inside) if is_upright else scan.points(index[inside])
        low, high = scan.undo.unit_at(index[inside][:, 0])
        intensity[i][inside] = preprocessing.from_unit_range(found.intensity[0], low, high)
        labels[i][inside], origin[i][inside] = found.labels[0], found.origin[0]
        if found.stated is not None:
            half[i][inside] = np.where(found.stated.estimable[0], found.stated.half[0] * (high - low), np.nan)
            if found.stated.wrong is not None:
                knows_wrong = True
                wrong[i][inside] = np.where(found.stated.estimable[0], found.stated.wrong[0], np.nan)
    if scan.calibration is None:
        return Volume(intensity, labels, origin, None)
    told = (len(scan.calibration.people[1]), scan.calibration.reach, half, wrong if knows_wrong else None, None, None)
    return Volume(intensity, labels, origin, Doubted(scan.of, *told))


def _doubted(of: str, calibration: Calibration, told: list[tuple], origin: Int[np.ndarray, "P H W"]) -> Doubted:
    def lain(values: list) -> Float[np.ndarray, "P H W"]:
        return np.where(origin == NOT_ESTIMABLE, np.nan, np.stack(values)).astype(np.float32)

    known = (of, len(calibration.people[1]), calibration.reach, lain([stated.half for stated, _ in told]))
    if told[0][0].wrong is None:
        return Doubted(*known, None, None, None)
    wrong = lain([stated.wrong for stated, _ in told])
    if told[0][1] is None:
        return Doubted(*known, wrong, None, None)
    maps = (np.stack(each).astype(np.float32) for each in zip(*((t, s.thickness) for s, t in told), strict=True))
    return Doubted(*known, wrong, *maps)


def write(
    folder: Path, model: Trained, geometry: Geometry, origin: Int[np.ndarray, "P H W"], found: Doubted | None,
    bscan_index: Float[np.ndarray, " P"],
) -> None:  # fmt: skip
    """measured.nii.gz, of ORIGINS; and if anything is known of them uncertainty.nii.gz (half of the interval, in the

    scan's units), label_uncertainty.nii.gz (how likely the label is wrong), both UNKNOWN where nothing is estimable,
    and thickness.csv, thickness.npz (um).
    """
    mark = model.mark
    scan_io.write_labels(folder / "measured.nii.gz", origin, *geometry, ORIGINS, note=mark)
    if found is None:
        return
    note = "; ".join(filter(None, (f"half interval, {found.of}", mark)))  # NIfTI has room for 79 letters
    half = np.nan_to_num(found.half, nan=UNKNOWN)
    scan_io.write_volume(folder / "uncertainty.nii.gz", half, *geometry, note=note)
    if found.wrong is None:
        return
    wrong = np.nan_to_num(found.wrong, nan=UNKNOWN)
    scan_io.write_volume(folder / "label_uncertainty.nii.gz", wrong, *geometry, note=mark)
    if found.thickness is None or found.thickness_half is None:
        return
    maps = (found.thickness, found.thickness_half)
    rows = _thickness_rows(*maps, bscan_index, model.classes)
    tables.write_csv(tables.marked(rows, mark), folder / "thickness.csv")
    with scan_io.replacing(folder / "thickness.npz") as temporary, temporary.open("wb") as file:
        names = np.array(model.classes)
        values: dict[str, Any] = {"thickness_um": maps[0], "half_interval_um": maps[1]}
        np.savez(file, bscan=bscan_index, labels=names, note=np.array(mark), interval_of=np.array(THICKNESS), **values)


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
            told = {"half_interval_um": mean, "interval_of": THICKNESS, "estimable": float(known.mean())}
            rows.append(row | told)
    return rows
