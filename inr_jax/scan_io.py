"""Scan files in and out. No jax here, so that reading can run in a process of its own."""

import gzip
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, Int, Shaped

from inr_jax.errors import InputError
from inr_jax.label_tables import itk_snap_table, slicer_table
from inr_jax.npz_io import read_npz_scans
from inr_jax.scan import Scan as Scan
from inr_jax.scan import Triple, checked, checked_labels, mm_of

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
SLO_SUFFIXES = (*IMAGE_SUFFIXES, ".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
EN_FACE = 0.9  # cosine between the SLO's normal and the A-scans from which on its geometry is believed


def read_scan(path: str | Path, *, subject: str | None = None, slo_axes: str = "auto") -> Scan:
    """Read one scan from NIfTI, NRRD, MHA or .npz; voxels as float32 in the file's own units.

    A file of several scans needs `subject`, one of its names. Raises InputError in one line.
    """
    path = Path(path)
    if path.suffix != ".npz":
        return read_image(path)
    scans = read_npz_scans(path, slo_axes=slo_axes)
    names = [scan.name for scan in scans]
    if subject is None and len(scans) == 1:
        return scans[0]
    if subject not in names:
        raise InputError(f"{path}: subject: expected one of {', '.join(names)}, found {subject}")
    return scans[names.index(subject)]


def stem(path: str | Path) -> str:
    """The file's name without its (double) suffix."""
    name = Path(path).name
    endings = [ending for ending in (*SLO_SUFFIXES, ".npz") if name.lower().endswith(ending)]
    return name[: -max(map(len, endings))] if endings else name


def read_image(path: Path) -> Scan:
    """Read a NIfTI, NRRD or MHA file of one channel and three axes."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(f"{path}: expected one of {' '.join(IMAGE_SUFFIXES)} .npz, found {path.suffix or 'no suffix'}")
    image = _read(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = f"{image.GetDimension()} axes of {image.GetNumberOfComponentsPerPixel()} channels"
        raise InputError(f"{path}: expected 3 axes of 1 channel, found {found}")
    x, y, z = image.GetSpacing()
    name = stem(path)
    scan = Scan(
        voxels=sitk.GetArrayFromImage(image).astype(np.float32),
        spacing=(z, y, x),
        origin=image.GetOrigin(),
        direction=image.GetDirection(),
        name=name,
        person=name,
    )
    return checked(scan, str(path))


def _read(path: Path) -> sitk.Image:
    try:
        _check_complete(path)
        return sitk.ReadImage(str(path))
    except (RuntimeError, EOFError, OSError, zlib.error) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise InputError(f"{path}: not readable as an image, or cut short: {reason}") from error


def _check_complete(path: Path) -> None:
    """Raise EOFError, OSError or zlib.error for a NIfTI file cut short: ITK would read zeros without a word."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = int(np.prod(reader.GetSize())) * int(reader.GetMetaData("bitpix")) // 8
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        found = sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
    if found < size:
        raise EOFError(f"expected at least {size} bytes, found {found}")


def read_labels(path: Path, scan: Scan, classes: int) -> Int[np.ndarray, "D H W"]:
    """Labels 0 .. classes - 1 from an image file that belongs to `scan`."""
    labels = read_image(path).voxels
    if labels.shape != scan.voxels.shape:
        raise InputError(f"{path}: shape: expected {scan.voxels.shape} as in {scan.name}, found {labels.shape}")
    return checked_labels(labels, classes, str(path))


def with_slo(scan: Scan, path: Path) -> Scan:
    """The scan with an SLO from an image file of one channel, and where its A-scans lie on it if both files tell.

    A slice in three axes (NIfTI, NRRD, MHA) whose plane is en face tells; a picture (PNG ...) does not.
    """
    image = _read(path)
    size = image.GetSize()
    if image.GetNumberOfComponentsPerPixel() != 1 or len(size) not in (2, 3) or size[2:] not in ((), (1,)):
        found = f"{size} pixels of {image.GetNumberOfComponentsPerPixel()} channels"
        raise InputError(f"{path}: SLO: expected one slice of 1 channel, found {found}")
    pixels = np.reshape(sitk.GetArrayFromImage(image), (size[1], size[0])).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise InputError(f"{path}: SLO: expected finite numbers, found NaN or infinite")
    scan = replace(scan, slo=pixels, slo_spacing=None, ascans_on_slo=None)
    if len(size) == 2:
        return scan
    axes, own = (np.array(direction).reshape(3, 3) for direction in (image.GetDirection(), scan.direction))
    if abs(axes[:, 2] @ own[:, 1]) < EN_FACE:
        return scan
    bscans, _, columns = scan.voxels.shape
    d, w = np.meshgrid(np.arange(bscans) * scan.spacing[0], np.arange(columns) * scan.spacing[2], indexing="ij")
    places = np.array(scan.origin) + d[..., None] * own[:, 2] + w[..., None] * own[:, 0] - np.array(image.GetOrigin())
    on_slo = np.stack([places @ axes[:, 1], places @ axes[:, 0]], axis=-1)
    x, y = image.GetSpacing()[:2]
    return replace(scan, slo_spacing=(y, x), ascans_on_slo=on_slo)


def resampled_geometry(scan: Scan, *index: Float[np.ndarray, "_"]) -> tuple[Triple, Triple]:
    """Spacing and origin of what is rendered at evenly spaced (fractional) positions among the scan's own B-scans,

    rows and A-scans, in this order; of axes left out at its own. Raises ValueError where positions do not rise in even
    steps: no NIfTI geometry can say that.
    """
    spacing, first = list(scan.spacing), np.zeros(3)
    for axis, places in enumerate(index):
        step = float(places[1] - places[0]) if len(places) > 1 else 1.0
        if step <= 0 or not np.allclose(np.diff(places), step):
            raise ValueError("positions must rise in even steps")
        spacing[axis], first[axis] = scan.spacing[axis] * step, places[0]
    (d, h, w), (x, y, z) = spacing, mm_of(scan, first).tolist()
    return (d, h, w), (x, y, z)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` on success and is removed on failure."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: cannot be written: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_volume(
    path: str | Path,
    array: Shaped[np.ndarray, "D H W"],
    spacing: Triple,
    origin: Triple,
    direction: tuple[float, ...],
    *,
    note: str = "",
) -> None:
    """Write [D, H, W] as a float32 image; the suffix says which kind, `note` goes into its header (NIfTI: descrip).

    InputError where that cannot be.
    """
    _write_image(Path(path), array.astype(np.float32), spacing, origin, direction, note)


def write_labels(
    path: str | Path,
    array: Shaped[np.ndarray, "D H W"],
    spacing: Triple,
    origin: Triple,
    direction: tuple[float, ...],
    classes: tuple[str, ...],
    *,
    note: str = "",
) -> None:
    """Write a uint8 image, their names beside it: `.txt` for ITK-SNAP, `.ctbl` for 3D Slicer. note: of its header."""
    path = Path(path)
    labels = checked_labels(array, len(classes), str(path)).astype(np.uint8)
    _write_image(path, labels, spacing, origin, direction, note)
    for suffix, table in ((".txt", itk_snap_table(classes)), (".ctbl", slicer_table(classes))):
        with replacing(path.with_name(stem(path) + suffix)) as temporary:
            temporary.write_text(table, encoding="utf-8")


def write_png(path: Path, channels: Float[np.ndarray, "C H W"]) -> None:
    """Write one grey or three colour channels in [0, 1] as 8 bits. InputError where that cannot be."""
    pixels = np.rint(255 * np.clip(channels, 0, 1)).astype(np.uint8)
    image = sitk.GetImageFromArray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1), len(pixels) > 1)
    _write(path, image)


def _write_image(
    path: Path,
    array: Shaped[np.ndarray, "D H W"],
    spacing: Triple,
    origin: Triple,
    direction: tuple[float, ...],
    note: str,
) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin)
    image.SetDirection(direction)
    if note:
        image.SetMetaData("ITK_FileNotes", note)
    _write(path, image)


def _write(path: Path, image: sitk.Image) -> None:
    with replacing(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        # ITK's NIfTI writer does not say when the disk is full: read back what is there.
        back = sitk.GetArrayFromImage(sitk.ReadImage(str(temporary)))
        if not np.array_equal(back, sitk.GetArrayViewFromImage(image), equal_nan=True):
            raise OSError("what was written does not read back (no space left?)")


def make_folder(path: Path) -> None:
    """A folder to write into; InputError where it cannot be made or written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: expected a folder that can be made; found: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: expected a writable folder; found one that is not")


def check_place(path: Path) -> None:
    """InputError where `make_folder` could not make a folder that can be written; makes none."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{path}: expected a folder that can be made; found the file {there}")
    if not os.access(there, os.W_OK):
        raise InputError(f"{path}: expected a writable folder; found one that is not")


@contextmanager
def all_or_none(folder: Path, stale: Sequence[str] = ()) -> Iterator[Path]:
    """A folder to write into, whose files and folders move into `folder` on success, and which goes on failure.

    What they do not replace in `folder` stays, but for files of results before these: those that match `stale`
    (patterns from `folder` on, such as "figures/*.png") in it and in its folders that are written to. Raises InputError
    where it cannot be written.
    """
    there = folder.is_dir()  # then what is written lies on its disk, which may be another than its parent's
    part = (folder if there else folder.parent) / f".{os.getpid()}.{folder.resolve().name}"
    try:
        make_folder(part)
        yield part
        moves = [(path, folder / path.relative_to(part)) for path in sorted(part.rglob("*"))]
        _check_free(moves)
        folders = [folder, *(target for path, target in moves if path.is_dir())]
        for target in folders:
            make_folder(target)
        for old in [old for target in folders for old in target.iterdir()]:
            if old.is_file() and any(old.relative_to(folder).match(pattern) for pattern in stale):
                old.unlink()
        for path, target in moves:
            if not path.is_dir():
                os.replace(path, target)
    except InputError as error:
        raise InputError(str(error).replace(str(part), str(folder))) from error
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_free(moves: Sequence[tuple[Path, Path]]) -> None:
    """InputError where a file would replace a folder, or a folder a file."""
    for path, target in moves:
        if target.exists() and target.is_dir() != path.is_dir():
            expected, found = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
            raise InputError(f"{target}: expected {expected} or none; found {found}")
