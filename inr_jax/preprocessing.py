"""Scans into the orientation and frame a model sees, each step with its way back."""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

from inr_jax.errors import InputError
from inr_jax.registration import estimate_motion
from inr_jax.scan_io import Scan
from inr_jax.types import Frame, Population


@dataclass(frozen=True)
class Undo:
    """The way back from a prepared scan to the geometry it was measured in.

    B-scan d was read at row h + shift[d] + tilt[d] u, u in [-1, 1] along its A-scans after mirroring.
    """

    mirrored: bool
    shift: Float[np.ndarray, " D"]  # rows
    tilt: Float[np.ndarray, " D"]  # rows from the middle to the last A-scan

    def __call__(
        self,
        volume: Shaped[np.ndarray, "P H W"],
        bscan_index: Float[np.ndarray, " P"],
        *,
        labels: bool = False,
    ) -> Shaped[np.ndarray, "P H W"]:
        """Bring rendered B-scans at (fractional) positions of the scan's own B-scans back to its geometry.

        Between two B-scans the motion is interpolated linearly, beyond the ends it holds. Rows and A-scans of
        `volume` are the scan's. Intensities are moved by cubic splines, labels by nearest neighbour.
        """
        known = np.arange(len(self.shift))
        shift, tilt = np.interp(bscan_index, known, self.shift), np.interp(bscan_index, known, self.tilt)
        motion = motion_field(shift, tilt, volume.shape[2])
        if motion.any():
            volume = _move_labels(volume, -motion) if labels else _move(volume, -motion)
        return _mirror(volume) if self.mirrored else volume

    def seen_at(self, index: Float[np.ndarray, "*n 3"], shape: tuple[int, ...]) -> Float[np.ndarray, "*n 3"]:
        """Where places of the scan, fractional (B-scan, row, A-scan), lie in the prepared scan; shape: of both.

        Rows of the scan that were moved out of the prepared one lie on its edge.
        """
        bscan, row, column = np.moveaxis(np.asarray(index, float), -1, 0)
        column = shape[2] - 1 - column if self.mirrored else column
        known = np.arange(len(self.shift))
        along = 2 * column / (shape[2] - 1) - 1 if shape[2] > 1 else np.zeros_like(column)
        moved = row - np.interp(bscan, known, self.shift) - np.interp(bscan, known, self.tilt) * along
        was_in = (row >= 0) & (row <= shape[1] - 1)
        moved = np.where(was_in, np.clip(moved, 0, shape[1] - 1), moved)
        return np.stack([bscan, moved, column], -1)


def prepare(scan: Scan, *, mirror: bool, align: bool) -> tuple[Scan, Undo]:
    """Turn a left eye into a right one (`mirror`) and undo the axial motion between B-scans (`align`).

    The motion is estimated from the B-scans of `scan` alone: of a new scan, hand in the measured ones.
    Rows that move in repeat the edge and are invalid.
    """
    bscans = scan.voxels.shape[0]
    mirrored = mirror and scan.laterality == "L"
    scan = mirrored_scan(scan) if mirrored else scan
    shift, tilt = estimate_motion(scan) if align else (np.zeros(bscans), np.zeros(bscans))
    scan = _moved_scan(scan, motion_field(shift, tilt, scan.voxels.shape[2])) if align else scan
    return scan, Undo(mirrored, shift, tilt)


def frame(scan: Scan, undo: Undo | None = None) -> Frame:
    """The frame of a scan before it was prepared, given what `prepare` did to it (nothing by default)."""
    still = np.zeros(scan.voxels.shape[0])
    return Frame(scan.origin, scan.direction, undo or Undo(False, still, still))


def image_frame(mirrored: bool) -> Frame:
    """The frame of an image that knows no place in space, only which way round it was."""
    plain = Scan(np.zeros((1, 1, 1), np.float32), (1.0, 1.0, 1.0))
    return frame(plain, Undo(mirrored, np.zeros(1), np.zeros(1)))


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


def _move(volume: Float[np.ndarray, "D H W"], motion: Float[np.ndarray, "D W"]) -> Float[np.ndarray, "D H W"]:
    """volume at row h + motion by cubic splines, edge rows repeated, within the range of its values."""
    depth = np.arange(volume.shape[1])[:, None] + motion[:, None, :]
    columns = np.broadcast_to(np.arange(volume.shape[2]), volume.shape[1:])
    moved = [
        ndimage.map_coordinates(bscan, (rows, columns), order=3, mode="nearest")
        for bscan, rows in zip(volume, depth, strict=True)
    ]
    return np.clip(np.stack(moved), volume.min(), volume.max()).astype(volume.dtype)


def _move_labels(volume: Shaped[np.ndarray, "D H W"], motion: Float[np.ndarray, "D W"]) -> Shaped[np.ndarray, "D H W"]:
    """volume at the row nearest to h + motion, edge rows repeated."""
    rows = np.rint(np.arange(volume.shape[1])[:, None] + motion[:, None, :]).astype(int)
    return np.take_along_axis(volume, np.clip(rows, 0, volume.shape[1] - 1), axis=1)


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


def from_unit_range(voxels: Float[np.ndarray, "*grid"], low: float, high: float) -> Float[np.ndarray, "*grid"]:
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


OF_ALL = ("measured", "classes", "note")  # what a population knows of all of its scans at once


def alike(population: Population) -> Hashable:
    """What populations that can be `joined` have in common: shapes of their scans, what was measured, classes."""
    each = (getattr(population, name) for name in Population._fields if name not in OF_ALL)
    shapes = tuple(values.shape[1:] if isinstance(values, np.ndarray) else values is None for values in each)
    return shapes, population.measured.tobytes(), population.classes


def joined(populations: Sequence[Population]) -> Population:
    """The scans of populations that are `alike` as one population, in their order."""

    def values(name: str) -> Any:
        each = [getattr(population, name) for population in populations]
        if name in OF_ALL or each[0] is None:
            return each[0]
        return np.concatenate(each) if isinstance(each[0], np.ndarray) else tuple(itertools.chain(*each))

    return Population(*map(values, Population._fields))
