"""Scan files in and out. No jax here, so that reading can run in a process of its own."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import Float, Shaped

from inr_jax.errors import InputError
from inr_jax.label_tables import itk_snap_table, slicer_table
from inr_jax.npz_io import read_npz_scans as read_npz_scans
from inr_jax.readers import guarded
from inr_jax.readers.images import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from inr_jax.readers.images import SLO_SUFFIXES as SLO_SUFFIXES
from inr_jax.readers.images import read_image as read_image
from inr_jax.readers.images import read_labels as read_labels
from inr_jax.readers.images import stem as stem
from inr_jax.readers.images import with_slo as with_slo
from inr_jax.scan import Scan as Scan
from inr_jax.scan import Triple, checked, checked_labels, mm_of


def read_scans(path: str | Path, *, spacing: Triple | None = None, slo_axes: str | None = None) -> list[Scan]:
    """Every scan of a file or folder of any kind that docs/formats.md names, read in a process of its own.

    spacing: mm between B-scans, rows and A-scans, where the file does not say (else it is nan). slo_axes: of an .npz.
    Raises InputError in one line.
    """
    options = {"slo_axes": slo_axes} if slo_axes and Path(path).suffix.lower() == ".npz" else {}
    scans = guarded.READER.scans(Path(path), **options)
    return [replace(s, spacing=spacing) if spacing and np.isnan(s.spacing).all() else s for s in scans]


def read_scan(
    path: str | Path, *, subject: str | None = None, slo_axes: str = "auto", spacing: Triple | None = None
) -> Scan:  # fmt: skip
    """Read one scan, as `read_scans` does; voxels as float32 in the file's own units.

    A file of several scans needs `subject`, one of their names. Raises InputError in one line, also where no spacing is
    known.
    """
    scans = read_scans(path, slo_axes=slo_axes, spacing=spacing)
    names = [scan.name for scan in scans]
    if subject is None and len(scans) == 1:
        return checked(scans[0], names[0])
    if subject not in names:
        raise InputError(f"{path}: subject: expected one of {', '.join(names)}, found {subject}")
    return checked(scans[names.index(subject)], subject)


def with_surfaces(scan: Scan, path: str | Path) -> Scan:
    """The scan with the surfaces of a HEYEX or OCTExplorer file in the place of its own, read as scans are.

    Raises InputError in one line, also where they are not of the scan's B-scans and A-scans, or it is not known of
    which.
    """
    if scan.turned[0] is None:
        expected = "slices along their normal as their frames or names of files follow, or backwards"
        raise InputError(f"{scan.name}: layers: expected {expected}; found another order")
    names, rows = guarded.READER.surfaces(Path(path))
    wanted = (scan.voxels.shape[0], scan.voxels.shape[2])
    if rows.shape[1:] != wanted:
        raise InputError(f"{scan.name}: layers: expected {wanted} B-scans and A-scans; found {rows.shape[1:]}")
    turned = tuple(axis for axis, is_turned in zip((1, 2), scan.turned, strict=True) if is_turned)
    return replace(scan, surfaces=np.flip(rows, turned), surface_names=names)


def resampled_geometry(scan: Scan, *index: Float[np.ndarray, "_"]) -> tuple[Triple, Triple]:
    """Spacing and origin of what is rendered at evenly spaced (fractional) positions among the scan's own B-scans,

    rows and A-scans, in this order; of axes left out at its own. Raises InputError where positions do not rise in even
    steps: no NIfTI geometry can say that.
    """
    spacing, first = list(scan.spacing), np.zeros(3)
    for axis, places in enumerate(index):
        step = float(places[1] - places[0]) if len(places) > 1 else 1.0
        if step <= 0 or not np.allclose(np.diff(places), step):
            raise InputError(f"{scan.name}: expected positions that rise in even steps, as files know no others")
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
    for suffix, table in ((".txt", itk_snap_table(classes, note)), (".ctbl", slicer_table(classes, note))):
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
def all_or_none(folder: Path, stale: Sequence[str] = (), last: str = "") -> Iterator[Path]:
    """A folder to write into, whose files and folders move into `folder` on success, and which goes on failure.

    What they do not replace in `folder` stays, but for files of results before these: those that match `stale`
    (patterns from `folder` on, such as "figures/*.png") in it, in its folders that are written to, and in those that a
    pattern names; folders that are empty then go, too. last: a file that goes before all others and is put into its
    place after them. Raises InputError where it cannot be written.
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
        if last:
            (folder / last).unlink(missing_ok=True)
        _remove(folder, stale, folders)
        for path, target in sorted(moves, key=lambda move: move[1] == folder / last):
            if not path.is_dir():
                os.replace(path, target)
    except InputError as error:
        raise InputError(str(error).replace(str(part), str(folder))) from error
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove(folder: Path, stale: Sequence[str], written: Sequence[Path]) -> None:
    """Files of patterns, and their folders where nothing is left in them."""
    found = [(old, "*" in str(Path(pattern).parent)) for pattern in stale for old in folder.glob(pattern)]
    for old in dict.fromkeys(old for old, is_any in found if old.is_file() and (old.parent in written or not is_any)):
        old.unlink()
        if old.parent not in written and not any(old.parent.iterdir()):
            old.parent.rmdir()


def _check_free(moves: Sequence[tuple[Path, Path]]) -> None:
    """InputError where a file would replace a folder, or a folder a file."""
    for path, target in moves:
        if target.exists() and target.is_dir() != path.is_dir():
            expected, found = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
            raise InputError(f"{target}: expected {expected} or none; found {found}")
