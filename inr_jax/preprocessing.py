"""Scans into the orientation and frame a model sees, each step with its way back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

from inr_jax.errors import InputError
from inr_jax.flattening import between
from inr_jax.registration import estimate_motion
from inr_jax.scan_io import Scan
from inr_jax.types import Frame, Population


class Window(NamedTuple):
    """The part of a scan that a prepared one is: rows by its motion, A-scans from `first` on."""

    rows: int  # of the scan
    columns: int
    first: int


@dataclass(frozen=True)
class Undo:
    """The way back from a prepared scan to the geometry and units it was measured in.

    A-scan w of B-scan d, w after mirroring, was read at row h + motion[d, w]; low and high of its units became 0 and 1.
    """

    mirrored: bool
    motion: Float[np.ndarray, "D W"]  # rows
    window: Window | None = None  # None: the prepared scan is all of the scan
    low: Float[np.ndarray, " D"] | float = 0.0
    high: Float[np.ndarray, " D"] | float = 1.0

    def __call__(
        self,
        volume: Shaped[np.ndarray, "P h w"],
        bscan_index: Float[np.ndarray, " P"],
        *,
        labels: bool = False,
    ) -> Shaped[np.ndarray, "P H W"]:
        """Bring rendered B-scans at (fractional) positions of the scan's own B-scans back to its geometry.

        Between two B-scans the motion is interpolated linearly, beyond the ends it holds. Rows and A-scans of
        `volume` are the prepared scan's. Intensities are moved by cubic splines, labels by nearest neighbour; what lies
        outside of a window is its edge.
        """
        rows = self.window.rows if self.window else volume.shape[1]
        if self.motion.any() or rows != volume.shape[1]:
            motion = between(self.motion, np.arange(len(self.motion)), bscan_index)
            volume = _move_labels(volume, -motion, rows) if labels else _move(volume, -motion, rows)
        volume = _mirror(volume) if self.mirrored else volume
        if self.window is None:
            return volume
        after = self.window.columns - self.window.first - volume.shape[2]
        return np.pad(volume, ((0, 0), (0, 0), (self.window.first, after)), mode="edge")

    def unit_at(self, bscan: Float[np.ndarray, "*n"] | float) -> tuple[Any, Any]:
        """What the prepared scan's 0 and 1 are in the scan's units at (fractional) B-scans: linear between two."""
        known = np.arange(len(self.motion))
        low, high = (np.interp(bscan, known, np.broadcast_to(end, len(known))) for end in (self.low, self.high))
        return low, high

    def seen_at(self, index: Float[np.ndarray, "*n 3"], shape: tuple[int, ...]) -> Float[np.ndarray, "*n 3"]:
        """Where places of the scan, fractional (B-scan, row, A-scan), lie in the prepared scan; shape: of that.

        Rows and A-scans of the scan that were moved out of the prepared one, or left out, lie on its edge.
        """
        bscan, moved, column = self._moved(index, shape)
        row = np.asarray(index, float)[..., 1]
        was_in = (row >= 0) & (row <= (self.window.rows if self.window else shape[1]) - 1)
        column = np.clip(column, -0.5, shape[2] - 0.5) if self.window else column
        return np.stack([bscan, np.where(was_in, np.clip(moved, 0, shape[1] - 1), moved), column], -1)

    def holds(self, index: Float[np.ndarray, "*n 3"], shape: tuple[int, ...]) -> Bool[np.ndarray, "*n"]:
        """Which of these places a window holds, up to its outer faces; all where the prepared scan is none."""
        if self.window is None:
            return np.ones(index.shape[:-1], bool)
        _, row, column = self._moved(index, shape)
        return (row >= -0.5) & (row <= shape[1] - 0.5) & (column >= -0.5) & (column <= shape[2] - 0.5)

    def _moved(self, index: Float[np.ndarray, "*n 3"], shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        bscan, row, column = np.moveaxis(np.asarray(index, float), -1, 0)
        column = column - self.window.first if self.window else column
        column = shape[2] - 1 - column if self.mirrored else column
        motion = ndimage.map_coordinates(self.motion, [bscan, column], order=1, mode="nearest")
        return bscan, row - motion, column


def prepare(scan: Scan, *, mirror: bool, align: bool) -> tuple[Scan, Undo]:
    """Turn a left eye into a right one (`mirror`) and undo the axial motion between B-scans (`align`).

    The motion is estimated from the B-scans of `scan` alone: of a new scan, hand in the measured ones.
    Rows that move in repeat the edge and are invalid.
    """
    bscans, _, columns = scan.voxels.shape
    mirrored = mirror and scan.laterality == "L"
    scan = mirrored_scan(scan) if mirrored else scan
    if not align:
        return scan, Undo(mirrored, np.zeros((bscans, columns)))
    motion = motion_field(*estimate_motion(scan), columns)
    return _moved_scan(scan, motion), Undo(mirrored, motion)


def frame(scan: Scan, undo: Undo | None = None) -> Frame:
    """The frame of a scan before it was prepared, given what `prepare` did to it (nothing by default)."""
    bscans, _, columns = scan.voxels.shape
    return Frame(scan.origin, scan.direction, undo or Undo(False, np.zeros((bscans, columns))))


def image_frame(mirrored: bool) -> Frame:
    """The frame of an image that knows no place in space, only which way round it was."""
    plain = Scan(np.zeros((1, 1, 1), np.float32), (1.0, 1.0, 1.0))
    return frame(plain, Undo(mirrored, np.zeros((1, 1))))


def mirrored_scan(scan: Scan) -> Scan:
    """The other eye's orientation: A-scans in reverse order, every voxel still at its place in mm."""
    *_, columns = scan.voxels.shape
    direction = np.array(scan.direction).reshape(3, 3)
    origin = np.array(scan.origin) + direction[:, 0] * (columns - 1) * scan.spacing[2]
    direction[:, 0] *= -1
    return replace(
        scan,
        voxels=_mirror(scan.voxels),
        origin=tuple(origin.tolist()),
        direction=tuple(direction.ravel().tolist()),
        labels=None if scan.labels is None else _mirror(scan.labels),
        surfaces=None if scan.surfaces is None else _mirror(scan.surfaces),
        valid=None if scan.valid is None else _mirror(scan.valid),
        ascans_on_slo=None if scan.ascans_on_slo is None else scan.ascans_on_slo[:, ::-1].copy(),
        laterality={"L": "R", "R": "L"}.get(scan.laterality or "", scan.laterality),
    )


def _mirror(array: Shaped[np.ndarray, "*rest W"]) -> Shaped[np.ndarray, "*rest W"]:
    return array[..., ::-1].copy()


def motion_field(
    shift: Float[np.ndarray, " D"], tilt: Float[np.ndarray, " D"], columns: int
) -> Float[np.ndarray, "D {columns}"]:
    """Rows by which each A-scan is displaced: shift + tilt u, u in [-1, 1] along the B-scan."""
    return shift[:, None] + tilt[:, None] * _unit(columns)


def _unit(count: int) -> Float[np.ndarray, " {count}"]:
    return np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)


def _move(
    volume: Float[np.ndarray, "D H W"], motion: Float[np.ndarray, "D W"], rows: int | None = None
) -> Float[np.ndarray, "D R W"]:
    """volume at row h + motion, h of so many rows (its own), by cubic splines, edges repeated, within its range."""
    depth = np.arange(rows or volume.shape[1])[:, None] + motion[:, None, :]
    columns = np.broadcast_to(np.arange(volume.shape[2]), depth.shape[1:])
    moved = [
        ndimage.map_coordinates(bscan, (rows, columns), order=3, mode="nearest")
        for bscan, rows in zip(volume, depth, strict=True)
    ]
    return np.clip(np.stack(moved), volume.min(), volume.max()).astype(volume.dtype)


def _move_labels(
    volume: Shaped[np.ndarray, "D H W"], motion: Float[np.ndarray, "D W"], rows: int | None = None
) -> Shaped[np.ndarray, "D R W"]:
    """The same at the nearest row."""
    nearest = np.rint(np.arange(rows or volume.shape[1])[:, None] + motion[:, None, :]).astype(int)
    return np.take_along_axis(volume, np.clip(nearest, 0, volume.shape[1] - 1), axis=1)


def _moved_scan(scan: Scan, motion: Float[np.ndarray, "D W"]) -> Scan:
    """Everything that a scan knows by row, with row h + motion brought to row h."""
    rows = np.arange(scan.voxels.shape[1])[:, None] + motion[:, None, :]
    inside = (rows >= 0) & (rows <= scan.voxels.shape[1] - 1)
    return replace(
        scan,
        voxels=_move(scan.voxels, motion),
        labels=None if scan.labels is None else _move_labels(scan.labels, motion),
        surfaces=None if scan.surfaces is None else (scan.surfaces - motion).astype(scan.surfaces.dtype),
        valid=inside if scan.valid is None else inside & _move_labels(scan.valid, motion),
    )


def to_unit_range(voxels: Float[np.ndarray, "*grid"], low: float, high: float) -> Float[np.ndarray, "*grid"]:
    """Map [low, high] to [0, 1] as float32; values beyond are clipped."""
    return np.clip((voxels - low) / (high - low), 0.0, 1.0).astype(np.float32)


def from_unit_range(
    voxels: Float[np.ndarray, "*grid"],
    low: Float[np.ndarray, "*grid"] | float,
    high: Float[np.ndarray, "*grid"] | float,
) -> Float[np.ndarray, "*grid"]:
    """Map [0, 1] back to [low, high] as float32."""
    return (voxels * (high - low) + low).astype(np.float32)


def slo_affine(scan: Scan) -> Float[np.ndarray, "2 3"]:
    """(row, column) on the SLO = affine @ [mm along B-scans, mm along A-scans, 1], mm from the grid's centre.

    The least-squares affine map through where all A-scans lie. Raises InputError where the scan does not say.
    """
    if scan.ascans_on_slo is None or scan.slo_spacing is None:
        raise InputError(f"{scan.name}: has an SLO but not where its A-scans lie on it (ascans_on_slo, slo_spacing)")
    bscans, _, columns = scan.voxels.shape
    first = (np.arange(bscans) - (bscans - 1) / 2) * scan.spacing[0]
    last = (np.arange(columns) - (columns - 1) / 2) * scan.spacing[2]
    places = np.stack([*np.meshgrid(first, last, indexing="ij"), np.ones((bscans, columns))], -1).reshape(-1, 3)
    pixels = (scan.ascans_on_slo / np.array(scan.slo_spacing)).reshape(-1, 2)
    return np.linalg.lstsq(places, pixels, rcond=None)[0].T.astype(np.float32)


def at_true_places(population: Population, scan: Scan, undo: Undo) -> Population:
    """The population of one prepared scan, its A-scans where they lie on the SLO and not as a raster's.

    Along the box's first and last axis are mm down the SLO's columns and along its rows (the other way in a mirrored
    eye), from the mean place of all A-scans.
    """
    assert scan.ascans_on_slo is not None, "scan.is_placed asks"
    places = np.asarray(scan.ascans_on_slo, np.float64)
    middle, side = places.mean(axis=(0, 1)), np.array([1.0, -1.0 if undo.mirrored else 1.0])
    en_face = ((places - middle) * side).astype(np.float32)[None]
    if population.slo_affine is None:
        return population._replace(en_face=en_face)
    assert scan.slo_spacing is not None, "slo_affine asks"
    pixel = np.asarray(scan.slo_spacing)
    affine = np.column_stack([np.diag(side / pixel), middle / pixel]).astype(np.float32)
    return population._replace(en_face=en_face, slo_affine=affine[None])


def _same(scans: Sequence[Scan], what: str, found: Sequence[object]) -> None:
    for scan, value in zip(scans, found, strict=True):
        if value != found[0]:
            raise InputError(f"{scan.name}: {what}: expected {found[0]} as in {scans[0].name}, found {value}")


def stack(
    scans: Sequence[Scan],
    *,
    measured: Bool[np.ndarray, "D H W"] | Bool[np.ndarray, " D"],
    classes: tuple[str, ...],
    note: str,
    frames: Sequence[Frame] | None = None,
    truth: Float[np.ndarray, "N D H W C"] | None = None,
    truth_labels: Int[np.ndarray, "N D H W"] | None = None,
) -> Population:
    """Prepared scans of one shape as a population whose offsets are 0 (the grid's centre).

    `measured` is per voxel or per B-scan; `frames` those before preparation, the scans' own by default.
    Raises InputError naming the scan whose shape, labels or SLO differ from the first one's.
    """
    if not scans:
        raise InputError("no scans: expected at least one")
    shape = scans[0].voxels.shape
    _same(scans, "shape [B-scans, rows, A-scans]", [s.voxels.shape for s in scans])
    _same(scans, "SLO shape", [None if s.slo is None else s.slo.shape for s in scans])
    _same(scans, "has labels", [s.labels is not None for s in scans])
    has_slo, has_labels = scans[0].slo is not None, scans[0].labels is not None
    return Population(
        names=tuple(s.name for s in scans),
        people=tuple(s.person for s in scans),
        intensity=np.stack([s.voxels for s in scans])[..., None].astype(np.float32),
        valid=np.stack([np.ones(shape, bool) if s.valid is None else s.valid for s in scans]),
        labels=np.stack([s.labels for s in scans if s.labels is not None]) if has_labels else None,
        spacing=np.array([s.spacing for s in scans], np.float32),
        offset=np.zeros((len(scans), 3), np.float32),
        measured=np.broadcast_to(measured.reshape(-1, 1, 1) if measured.ndim == 1 else measured, shape).copy(),
        truth=truth,
        truth_labels=truth_labels,
        slo=np.stack([s.slo for s in scans if s.slo is not None]).astype(np.float32) if has_slo else None,
        slo_affine=np.stack([slo_affine(s) for s in scans]) if has_slo else None,
        frames=tuple(frames or map(frame, scans)),
        classes=classes,
        note=note,
    )
