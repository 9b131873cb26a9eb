"""A scan that a model has adapted to: ask it anywhere in mm, render it, measure its layers, save all of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from inr_jax import between, grids, joining, likeness, measurements, metrics, new_scan, preprocessing, trained
from inr_jax.between import Answered
from inr_jax.calibrate import Calibration
from inr_jax.errors import InputError
from inr_jax.likeness import Judged, Likeness
from inr_jax.new_scan import Rendered
from inr_jax.programs import Programs
from inr_jax.scan import Scan, checked, index_of
from inr_jax.scan_io import read_scan
from inr_jax.trained import Answers, Trained
from inr_jax.types import Population

UNWRAPPED = ("circle", "radial")  # whose places in space are not those of their files
Spacing = Sequence[float | int | None]  # mm between B-scans, rows, A-scans; None: as scanned


class Points(NamedTuple):
    """What a model answers at n places; nan where it knows nothing: outside its box, above or below the scan."""

    intensity: Float[np.ndarray, " n"]  # in the scan's units
    probability: Float[np.ndarray, "n K"] | None  # of every label; None: the model has none
    half_interval: Float[np.ndarray, " n"] | None  # of the intensity, in the scan's units; None: not calibrated
    wrong: Float[np.ndarray, " n"] | None  # how likely the most probable label is wrong; None: not calibrated
    measured: Bool[np.ndarray, " n"]  # on a B-scan of the scan's own; all else is synthesised


class Thickness(NamedTuple):
    """Of one label, in every A-scan of P B-scans."""

    um: Float[np.ndarray, "P W"]
    half_interval_um: Float[np.ndarray, "P W"] | None  # nan: not estimable; None: not calibrated
    bscan_index: Float[np.ndarray, " P"]  # places of the B-scans among the scan's own


@dataclass(frozen=True)
class Result:
    """An adapted scan. `remarks` are what a reader must know; `judged` how far it is like the scans the model knows."""

    model: Trained
    scan: Scan
    answered: Answered
    rows: list[dict]  # scores on the scan's own B-scans
    losses: Float[np.ndarray, " n"]
    remarks: list[str]
    judged: list[Judged]

    def at(self, mm: ArrayLike) -> Points:
        """The answer at places [n, 3] in mm, (x, y, z) in LPS as the scan's file has them.

        Raises InputError for other shapes, and for places that are not finite.
        """
        mm = np.asarray(mm, float)
        if mm.ndim != 2 or mm.shape[1] != 3 or not np.isfinite(mm).all():
            raise InputError(f"{self.scan.name}: at: expected finite places [n, 3] in mm; found shape {mm.shape}")
        index = index_of(self.scan, mm)
        found, (low, high) = self.answered.points(index), self.answered.undo.unit_at(index[:, 0])
        known = self._knows(index)
        estimable = known & (found.origin[0] != between.NOT_ESTIMABLE)
        probability = np.where(known[:, None], found.probability[0], np.nan).astype(np.float32)

        def believed(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else np.where(estimable, values[0], np.nan).astype(np.float32)

        stated = found.stated
        return Points(
            preprocessing.from_unit_range(np.where(known, found.intensity[0], np.nan), low, high),
            probability if self._has_labels else None,
            None if stated is None else believed(stated.half * (high - low)),
            None if stated is None else believed(stated.wrong),
            known & (found.origin[0] == between.ORIGINS.index("measured")),
        )

    def _knows(self, index: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Which places lie in the scan's depth, the model's box, and what it saw of the scan."""
        rows, shape = self.scan.voxels.shape[1], self.answered.population.measured.shape
        seen, data = self.answered.undo.seen_at(index, shape), self.answered.data
        coords = np.asarray(measurements.coords_of(data, 0, jnp.asarray(seen, jnp.float32)))
        inside = (np.abs(coords) <= 1 + 1e-4).all(-1) & self.answered.undo.holds(index, shape)
        return inside & (index[:, 1] >= -0.5) & (index[:, 1] <= rows - 0.5)

    @property
    def _has_labels(self) -> bool:
        return trained.has_labels(self.model, self.scan.labels is not None)

    def render(
        self, slices: int | None = None, *, spacing: Spacing | None = None, like: Scan | str | Path | None = None
    ) -> Rendered:
        """B-scans at `slices` even places between the scan's first and last, or voxels of another `spacing` (mm between

        B-scans, rows, A-scans; None: as scanned) from the scan's first voxel on, or those of another image, `like`: a
        scan or its file; by default the scan's own voxels. Raises InputError for several of them, for B-scans between
        one alone, for an image that the scan does not meet, and for more voxels than memory holds.
        """
        if sum(asked is not None for asked in (slices, spacing, like)) > 1:
            raise InputError(f"{self.scan.name}: expected one of slices, spacing and like; found several")
        if like is not None:
            return self._render_like(*((like, like.name) if isinstance(like, Scan) else (read_scan(like), str(like))))
        count = self.scan.voxels.shape[0]
        if slices is not None and slices > 1 and count == 1:
            raise InputError(
                f"{self.scan.name}: slices: one B-scan has nothing between B-scans; found --slices={slices}"
            )
        if spacing is None:
            return self.render_at(np.linspace(0, count - 1, slices or count))
        return self.render_at(*_spaced(self.scan, spacing))

    def _render_like(self, other: Scan, file: str) -> Rendered:
        """On the grid of another image; what lies outside of the scan has its lowest intensity and no label."""
        if self.scan.pattern in UNWRAPPED:
            raise InputError(f"{file}: like: expected a scan of parallel B-scans; found a {self.scan.pattern} scan")
        own = grids.of_scan(self.scan)
        grid = grids.like(own, other, file)
        index = (grids.index_in(own, grid, p) for p in range(grid.shape[0]))
        planes = ((places, grids.inside(own, places * np.asarray(own.spacing))) for places in index)
        found = between.volume_in(self.answered, planes, grid.shape)
        return Rendered(
            found.intensity, found.labels if self._has_labels else None,
            np.arange(grid.shape[0], dtype=float), self.answered.adapted, self.rows, self.remarks, self.losses,
            found.origin, found.doubt, (), self.judged, grid,
        )  # fmt: skip

    def render_at(
        self,
        bscans: Float[np.ndarray, " P"],
        rows: Float[np.ndarray, " H"] | None = None,
        ascans: Float[np.ndarray, " W"] | None = None,
    ) -> Rendered:
        """The same at (fractional) places among the scan's own B-scans, rows and A-scans."""
        _, height, width = self.scan.voxels.shape
        grid = (
            bscans,
            np.arange(height, dtype=float) if rows is None else rows,
            np.arange(width, dtype=float) if ascans is None else ascans,
        )
        found = between.volume_of(self.answered, grid)
        labels = found.labels if self._has_labels else None
        return Rendered(
            found.intensity, labels, bscans, self.answered.adapted, self.rows, self.remarks, self.losses, found.origin,
            found.doubt, grid, self.judged,
        )  # fmt: skip

    @cached_property
    def own(self) -> Rendered:
        """The scan's own voxels as the model answers them."""
        return self.render()

    def thickness(self, label: str, rendered: Rendered | None = None) -> Thickness:
        """A label's thickness in every A-scan of what was rendered (of the scan's own B-scans by default).

        Raises InputError for a label that the model does not have.
        """
        shown = self.own if rendered is None else rendered
        names = {name.casefold(): i for i, name in enumerate(self.model.classes) if i}
        if shown.labels is None or label.casefold() not in names:
            known = ", ".join(self.model.classes[1:]) if shown.labels is not None else "none: the model has no labels"
            raise InputError(f"{self.scan.name}: thickness: expected one of {known}; found {label!r}")
        if not shown.grid:
            raise InputError(f"{self.scan.name}: thickness: expected B-scans of the scan; found another image's grid")
        k = names[label.casefold()]
        row_mm = new_scan.geometry_of(self.scan, shown).spacing[1] if len(shown.grid[1]) > 1 else self.scan.spacing[1]
        um = (shown.labels == k).sum(axis=1) * np.float32(1000 * row_mm)
        half = None if shown.doubt is None or shown.doubt.thickness_half is None else shown.doubt.thickness_half[:, k]
        return Thickness(um.astype(np.float32), half, shown.bscan_index)

    def save(
        self,
        folder: str | Path,
        rendered: Rendered | None = None,
        *,
        dicom: bool = False,
        tiff: bool = False,
        record: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes what `inr-jax adapt` writes, of the scan's own voxels or of others that were rendered; all or none.

        dicom, tiff: whether to write these, too. record: what all of it was made of (adapted_record.py). Raises
        InputError where the folder cannot be written.
        """
        shown = self.own if rendered is None else rendered
        new_scan.save(Path(folder), self.model, self.scan, shown, dicom=dicom, tiff=tiff, record=record)
        return Path(folder)


def _spaced(scan: Scan, spacing: Spacing) -> list[Float[np.ndarray, "_"]]:
    """Fractional places along every axis, so many mm apart. Raises InputError for other mm, or too many voxels."""
    grid = grids.of_spacing(grids.of_scan(scan), spacing)
    return [np.arange(n) * (mm / own) for n, mm, own in zip(grid.shape, grid.spacing, scan.spacing, strict=True)]


def _uncalibrated(trained_steps: int, steps: int | None, is_fitted: bool, is_unlike: bool) -> Iterator[str]:
    """Why intervals need not hold: the scan is unlike those they were calibrated on, or it was adapted otherwise."""
    if is_unlike:
        yield "uncertainty: its intervals were calibrated on scans that this one is unlike: they may be far too narrow"
    if is_fitted or steps not in (None, trained_steps):
        taken = f"{trained_steps if steps is None else steps} learned steps" + (" and a fit" if is_fitted else "")
        yield (
            f"uncertainty: its intervals were calibrated for {trained_steps} learned steps alone; nobody has checked "
            f"what they hold after {taken}"
        )


class Seen(NamedTuple):
    """A scan as a model sees it."""

    scan: Scan  # what of it the model's box holds
    population: Population  # of it alone
    undo: preprocessing.Undo
    remarks: list[str]  # that a reader must know
    teaches: bool  # its labels were drawn by somebody, and are learned from


def seen(model: Trained, scan: Scan, remarks: Sequence[str] = (), *, teaches: bool = False) -> Seen:
    """Prepares a scan as those that a model has learned from; of one larger than its box what that can hold.

    remarks: that a reader must know, before those found here. teaches: as `Seen`. Raises InputError if the scan is not
    of the kind the model was trained for.
    """
    said = [*remarks, *scan.remarks, *([f"the model was {model.mark}, not on anybody's eyes"] if model.mark else [])]
    scan = new_scan.in_box(model, checked(scan, scan.name), said)
    return Seen(scan, *new_scan.as_population(model, scan, said), said, teaches)


def adapt(model: Trained, scan: Scan, *, steps: int | None = None, calibration: Calibration | None = None) -> Result:
    """Adapts a model to one scan alone; the arguments of `adapt_alike`, the errors of `seen`."""
    (found,) = adapt_alike(model, [seen(model, scan)], steps=steps, calibration=calibration)
    return found


def adapt_alike(
    model: Trained,
    scans: Sequence[Seen],
    *,
    steps: int | None = None,
    fit: bool = False,
    calibration: Calibration | None = None,
    known: Likeness | None = None,
    programs: Programs | None = None,
    fitter: Trained | None = None,
) -> Iterator[Result]:
    """Adapts a model to scans that are `joining.alike` at once, to each from its measured B-scans.

    steps: learned steps, the trained number by default. fit: many Adam steps after them. calibration: of the model's
    doubt, which is told then. known: of the population, which scans are compared with. programs: of the model, where
    several calls are to share them. fitter: as in `trained.adapt_population`. Raises InputError where steps run away.
    """
    config = model.config.copy_and_resolve_references()
    config.adapt.together = max(config.adapt.together, len(scans))
    programs = Programs() if programs is None else programs
    answers = trained.adapt_population(
        replace(model, config=config),
        joining.joined([one.population for one in scans]),
        steps=steps,
        fit=fit,
        shown=f"adapt: {scans[0].scan.name if len(scans) == 1 else f'{len(scans)} scans'}",
        programs=programs,
        fitter=fitter,
        by_coverage=True,
    )
    for i, one in enumerate(scans):  # one after the other, as what doubt keeps of a scan is large
        yield _result(model, one, answers.of(i), steps, fit or fitter is not None, calibration, known, programs)


def _result(
    model: Trained, of: Seen, answers: Answers, steps: int | None, is_fitted: bool,
    calibration: Calibration | None, known: Likeness | None, programs: Programs,
) -> Result:  # fmt: skip
    """One scan's answers, scored on its own B-scans and compared with the population."""
    population, remarks = of.population, list(of.remarks)
    rows = metrics.score(
        answers.intensity[0],
        answers.labels[0] if answers.labels is not None else None,
        *metrics.reference(population, 0),
        population.measured,
        population.valid[0],
        population.classes if population.labels is not None else (),
    )
    judged = [] if known is None else likeness.judged(known, likeness.traits(population, 0, answers.field[0]))
    remarks += [one.sentence for one in judged if one.unlike]
    if calibration is not None:
        is_unlike = any(one.unlike for one in judged)
        remarks += _uncalibrated(model.config.adapt.steps, steps, is_fitted, is_unlike)
    answered = between.answered(model, population, of.undo, answers, calibration, programs)
    rows = [row | {"seconds": answers.seconds[0]} for row in rows]
    return Result(model, of.scan, answered, rows, answers.losses[0], remarks, judged)
