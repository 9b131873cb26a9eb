"""One scan in memory, and what makes it a measurement. No jax here."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from inr_jax.errors import InputError

Triple = tuple[float, float, float]
PATTERNS = ("line", "circle", "raster", "radial")
NO_RASTER = ("line", "circle", "radial")
LEAST_MM, MOST_MM = 1e-4, 1e4  # between voxels or pixels: what lies beyond is a damaged number
LARGEST = 1e15  # of intensities, whose squares are to be finite


@dataclass(frozen=True)
class Scan:
    """One scan in memory: [D, H, W] = (B-scan, depth, A-scan), mm, ITK's (LPS) origin and direction."""

    voxels: Float[np.ndarray, "D H W"]
    spacing: tuple[float, float, float]  # mm between B-scans, rows, A-scans: the order of the axes
    origin: tuple[float, float, float] = (
        0.0,
        0.0,
        0.0,
    )  # mm, LPS (x, y, z) of voxel [0, 0, 0], as ITK has it
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # ITK's 3 x 3, row by row
    labels: Int[np.ndarray, "D H W"] | None = None
    surfaces: Float[np.ndarray, "S D W"] | None = None  # rows, NaN where unknown, from ILM down to BM
    valid: Bool[np.ndarray, "D H W"] | None = None  # None: every voxel was measured
    slo: Float[np.ndarray, "Y X"] | None = None
    slo_spacing: tuple[float, float] | None = None  # mm
    ascans_on_slo: Float[np.ndarray, "D W 2"] | None = None  # mm (y, x) on the SLO from its first pixel's centre
    laterality: str | None = None  # "R", "L" or unknown
    name: str = ""  # of the scan
    person: str = ""
    pattern: str | None = None  # how its A-scans lie: one of PATTERNS, or unknown
    surface_names: tuple[str, ...] = ()  # of `surfaces`, as the instrument calls them; (): not said
    quality: Float[np.ndarray, " D"] | None = None  # dB of every B-scan, as the instrument says
    # B-scans, A-scans: whether their order is the file's backwards; None: it is neither that nor the file's
    turned: tuple[bool | None, bool] = (False, False)
    source: str = ""  # kind of file it was read from
    remarks: tuple[str, ...] = ()  # what had to be assumed in reading it
    prepared: bool = False  # of a fold that `inr-jax prepare` wrote: flattened, scaled and cropped


@runtime_checkable
class Placed(Protocol):
    """Voxels in space: of a scan, or of what is rendered."""

    @property
    def spacing(self) -> Triple: ...
    @property
    def origin(self) -> Triple: ...
    @property
    def direction(self) -> tuple[float, ...]: ...


def index_of(scan: Placed, mm: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Fractional (B-scan, row, A-scan) of places in mm, (x, y, z) in LPS as ITK has them."""
    axes = np.array(scan.direction).reshape(3, 3) * np.array(scan.spacing[::-1])
    return np.linalg.solve(axes, (np.asarray(mm, float) - np.array(scan.origin))[..., None])[..., ::-1, 0]


def mm_of(scan: Placed, index: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Places in mm, (x, y, z) in LPS, of fractional (B-scan, row, A-scan)."""
    axes = np.array(scan.direction).reshape(3, 3) * np.array(scan.spacing[::-1])
    return np.array(scan.origin) + np.asarray(index, float)[..., ::-1] @ axes.T


def is_placed(scan: Scan) -> bool:
    """Whether its A-scans are no raster, and where each of them lies is known."""
    return scan.pattern in NO_RASTER and scan.ascans_on_slo is not None


def checked(scan: Scan, where: str, *, spacing_known: bool = True) -> Scan:
    """The scan, or InputError where its spacing or voxels cannot be a measurement.

    spacing_known: False where a spacing of nan, which stands for one that no file says, may pass.
    """
    is_unsaid = not spacing_known and np.isnan(scan.spacing).all()
    if not is_unsaid and not all(LEAST_MM <= mm <= MOST_MM for mm in scan.spacing):
        found = "none in the file (--scan-spacing tells them)" if np.isnan(scan.spacing).all() else scan.spacing
        raise InputError(f"{where}: spacing: expected three positive mm ({LEAST_MM:g} to {MOST_MM:g}), found {found}")
    if not np.isfinite(scan.voxels).all():
        count = int((~np.isfinite(scan.voxels)).sum())
        raise InputError(f"{where}: voxels: expected finite numbers, found {count} NaN or infinite")
    if scan.voxels.size and (most := float(np.abs(scan.voxels).max())) > LARGEST:
        raise InputError(f"{where}: voxels: expected intensities up to {LARGEST:g}, found {most:g}")
    if scan.voxels.size == 0 or scan.voxels.min() == scan.voxels.max():
        raise InputError(f"{where}: voxels: expected an image, found one value everywhere (shape {scan.voxels.shape})")
    if scan.slo is not None and not np.isfinite(scan.slo).all():
        raise InputError(f"{where}: SLO: expected finite numbers, found NaN or infinite")
    _check_place(scan, where)
    return scan


def _check_place(scan: Scan, where: str) -> None:
    """InputError where what a scan says of its place in space, on the SLO or in the body is none."""
    if not np.isfinite(scan.origin).all():
        raise InputError(f"{where}: origin: expected three finite mm, found {scan.origin}")
    axes = np.array(scan.direction, float)
    if axes.size != 9 or not np.isfinite(axes).all() or abs(np.linalg.det(axes.reshape(3, 3))) < 1e-6:
        raise InputError(f"{where}: direction: expected three axes that are none in a plane, found {scan.direction}")
    if scan.ascans_on_slo is not None and not np.isfinite(scan.ascans_on_slo).all():
        raise InputError(f"{where}: ascans_on_slo: expected finite mm, found NaN or infinite")
    if scan.slo_spacing is not None and not all(LEAST_MM <= mm <= MOST_MM for mm in scan.slo_spacing):
        said = f"expected two positive mm ({LEAST_MM:g} to {MOST_MM:g}), found {scan.slo_spacing}"
        raise InputError(f"{where}: slo_spacing: {said}")
    for name, value, known in (("laterality", scan.laterality, ("R", "L")), ("pattern", scan.pattern, PATTERNS)):
        if value not in (None, *known):
            raise InputError(f"{where}: {name}: expected one of {', '.join(known)}, found {value!r}")


def is_content_name(name: str) -> bool:
    """Whether a name is of the content of a file or scan, and so says nothing of a person."""
    return re.fullmatch(r"scan-[0-9a-f]{12}(-\d+)?", name) is not None


def content_name(scan: Scan) -> str:
    """A name that says nothing of a person: the reader's where that is one, otherwise made of voxels and geometry."""
    if is_content_name(scan.name):
        return scan.name
    found = hashlib.sha256(np.ascontiguousarray(scan.voxels).tobytes())
    found.update(repr((scan.voxels.shape, *map(tuple, (scan.spacing, scan.origin, scan.direction)))).encode())
    return f"scan-{found.hexdigest()[:12]}"


def checked_name(name: str, where: str) -> str:
    """The name of a scan, or InputError where no folder can have it: results are written to OUTPUT/<name>."""
    if name in ("", "..") or Path(name).name != name or not name.isprintable():
        raise InputError(f"{where}: name: expected one that can name a folder; found {name!r}")
    return name


def checked_labels(
    labels: Shaped[np.ndarray, "*grid"], classes: int | None, where: str, *, unknown: bool = False
) -> Int[np.ndarray, "*grid"]:
    """The labels as int32, or InputError unless all are integers in [0, classes). unknown: -1, for it, may be there."""
    if labels.dtype.kind not in "iufb" or not np.array_equal(labels, np.rint(labels)):
        raise InputError(f"{where}: labels: expected integers, found others ({labels.dtype})")
    low, high = int(labels.min()), int(labels.max())
    least = -1 if unknown else 0
    if low < least or (classes is not None and high >= classes):
        expected = f"{least} or above" if classes is None else f"{least} to {classes - 1}"
        raise InputError(f"{where}: labels: expected {expected}, found {low} to {high}")
    return labels.astype(np.int32)
