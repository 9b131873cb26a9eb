"""NIfTI, NRRD and MHA by SimpleITK, and an SLO from a picture. No jax here."""

import gzip
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from jaxtyping import Int

from inr_jax.errors import InputError
from inr_jax.scan import Scan, checked, checked_labels

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
SLO_SUFFIXES = (*IMAGE_SUFFIXES, ".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
EN_FACE = 0.9  # cosine between the SLO's normal and the A-scans from which on its geometry is believed


def read(path: Path, name: str) -> list[Scan]:
    """The scan of a NIfTI, NRRD or MHA file."""
    return [read_image(path)]


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
        if "allocat" in str(error) or "bad_alloc" in str(error):  # ITK's way to say so
            raise MemoryError from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise InputError(f"{path}: not readable as an image, or cut short: {reason}") from error


def _check_complete(path: Path) -> None:
    """Raise EOFError, OSError or zlib.error for a NIfTI file cut short: ITK would read zeros without a word."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    voxels = int(np.prod(reader.GetSize())) * int(reader.GetMetaData("bitpix")) // 8
    size = int(float(reader.GetMetaData("vox_offset"))) + voxels
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
