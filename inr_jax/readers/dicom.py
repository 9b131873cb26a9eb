"""DICOM by pydicom: OCT of many frames, series of slices, and the SLO that an OCT refers to."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from inr_jax.errors import InputError
from inr_jax.readers import files_of, is_dicom, placing
from inr_jax.scan import Scan

PHOTOGRAPHS = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")  # ophthalmic, 8 and 16 bits
EVEN = 0.02  # of the mean distance of slices: what differs more is no series that can be stacked
FLAT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
UNKNOWN = (np.nan, np.nan, np.nan)


class Slice(NamedTuple):
    """One frame, and where it lies."""

    pixels: Float[np.ndarray, "H W"]
    pixel: tuple[float, float] | None  # mm
    thickness: float  # mm, nan: not said
    place: tuple[float, ...] | None  # mm, LPS
    axes: tuple[float, ...]  # unit vectors along rows and columns, as DICOM has them
    on_slo: tuple[float, ...] | None  # (row, column) of its first and last A-scan on the SLO


def read(path: Path, name: str) -> list[Scan]:
    """Every series of a DICOM file, or of a folder of them, a scan each."""
    import pydicom

    files = [pydicom.dcmread(file) for file in files_of(path) if path.is_file() or _is_meant(file)]
    images = [file for file in files if "PixelData" in file]
    if not images:
        raise InputError(f"{name}: expected DICOM with pixels; found none")
    photographs = {f.SOPInstanceUID: f for f in images if f.get("SOPClassUID") in PHOTOGRAPHS}
    series = defaultdict(list)
    for file in images:
        if file.get("SOPInstanceUID") not in photographs:
            is_alone = int(file.get("NumberOfFrames", 1)) > 1
            series[(file.get("SeriesInstanceUID"), file.get("SOPInstanceUID") if is_alone else "")].append(file)
    if not series:
        raise InputError(f"{name}: expected DICOM with slices or B-scans; found a photograph alone")
    names = [name if i == 0 else f"{name}-{i + 1}" for i in range(len(series))]
    return [_scan(group, photographs, own) for own, group in zip(names, series.values(), strict=True)]


def _is_meant(file: Path) -> bool:
    return file.suffix.lower() == ".dcm" or is_dicom(file)


def _scan(group: list[Any], photographs: dict[str, Any], name: str) -> Scan:
    slices = [one for file in group for one in _slices(file, name)]
    if len({one.pixels.shape for one in slices}) > 1:
        raise InputError(f"{name}: expected slices of one size; found several in a series")
    slices, apart, backwards = _in_order(slices, name)
    first = slices[0]
    apart = first.thickness if np.isnan(apart) else apart
    spacing = UNKNOWN if first.pixel is None else (apart, *first.pixel)
    if np.isnan(spacing[0]) and first.pixel is not None:
        spacing = placing.bscan_spacing(spacing, 0.0) if len(slices) == 1 else UNKNOWN
    along, down = np.array(first.axes[:3]), np.array(first.axes[3:])
    direction = np.stack([along, down, np.cross(along, down)], axis=1)
    scan = Scan(
        voxels=np.stack([one.pixels for one in slices]),
        spacing=spacing,
        origin=(0.0, 0.0, 0.0) if first.place is None else (first.place[0], first.place[1], first.place[2]),
        direction=tuple(float(v) + 0.0 for v in direction.ravel()),
        laterality=_laterality(group[0]),
        name=name,
        person=name,
        turned=(backwards, False),
    )
    return _on_slo(scan, slices, group[0], photographs)


def _slices(file: Any, name: str) -> list[Slice]:
    from pydicom.pixels import apply_rescale, get_decoder

    kind, syntax = file.get("PhotometricInterpretation"), file.file_meta.TransferSyntaxUID
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{name}: expected grey values (MONOCHROME1 or 2); found others")
    if syntax.is_compressed and not get_decoder(syntax).is_available:
        raise InputError(f"{name}: compressed as {syntax.name}: pip install pylibjpeg pylibjpeg-libjpeg")
    pixels = apply_rescale(file.pixel_array, file).astype(np.float32)
    if kind == "MONOCHROME1":
        pixels = pixels.max() - pixels
    frames = pixels if pixels.ndim == 3 else pixels[None]
    own = file.get("PerFrameFunctionalGroupsSequence") or [None] * len(frames)
    shared = (file.get("SharedFunctionalGroupsSequence") or [None])[0]
    if len(own) != len(frames):
        raise InputError(f"{name}: expected facts of {len(frames)} frames; found those of {len(own)}")
    parts = [[part for part in (group, shared, file) if part is not None] for group in own]
    return [_slice(frame, nearest) for frame, nearest in zip(frames, parts, strict=True)]


def _slice(pixels: Float[np.ndarray, "H W"], parts: list[Any]) -> Slice:
    """parts: where facts may be said, the nearest first."""

    def said(sequence: str, key: str) -> Any:
        inner = [(part.get(sequence) or [part])[0] for part in parts]
        return next((one.get(key) for one in inner if one.get(key) is not None), None)

    def numbers(value: Any, count: int) -> tuple[float, ...] | None:
        return tuple(map(float, value)) if value is not None and len(value) == count else None

    pixel = numbers(said("PixelMeasuresSequence", "PixelSpacing"), 2)
    thickness = said("PixelMeasuresSequence", "SpacingBetweenSlices") or said("PixelMeasuresSequence", "SliceThickness")
    return Slice(
        pixels,
        (pixel[0], pixel[1]) if pixel else None,
        float(thickness) if thickness else np.nan,
        numbers(said("PlanePositionSequence", "ImagePositionPatient"), 3),
        numbers(said("PlaneOrientationSequence", "ImageOrientationPatient"), 6) or FLAT,
        numbers(said("OphthalmicFrameLocationSequence", "ReferenceCoordinates"), 4),
    )


def _in_order(slices: list[Slice], name: str) -> tuple[list[Slice], float, bool | None]:
    """Slices along their normal, mm between them, and `Scan.turned`; as they are, and nan, where no place is said."""
    places = [one.place for one in slices if one.place is not None]
    if len(slices) == 1 or len(places) < len(slices):
        return slices, np.nan, False
    along, down = np.array(slices[0].axes[:3]), np.array(slices[0].axes[3:])
    heights = np.array(places) @ np.cross(along, down)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    if steps.max() == 0:  # an OCT may say one place for all of its B-scans
        return slices, np.nan, False
    if np.abs(steps - steps.mean()).max() > EVEN * steps.mean():
        low, high = steps.min(), steps.max()
        raise InputError(f"{name}: expected slices evenly apart; found {low:.3g} to {high:.3g} mm")
    backwards = bool((np.diff(order) == -1).all())
    is_known = backwards or bool((np.diff(order) == 1).all())
    return [slices[i] for i in order], float(steps.mean()), backwards if is_known else None


def _laterality(file: Any) -> str | None:
    """ "R" or "L", wherever it is said."""
    shared = (file.get("SharedFunctionalGroupsSequence") or [file])[0]
    anatomy = (shared.get("FrameAnatomySequence") or [shared])[0]
    found = (anatomy.get("FrameLaterality"), file.get("ImageLaterality"), file.get("Laterality"))
    return next((eye for eye in found if eye in ("R", "L")), None)


def _on_slo(scan: Scan, slices: list[Slice], file: Any, photographs: dict[str, Any]) -> Scan:
    """The scan with the SLO beside it, and where its B-scans lie, if frames say it."""
    slo = _photograph(file, photographs)
    if slo is None:
        return scan
    scan = replace(scan, slo=slo.pixel_array.astype(np.float32))
    pixel = slo.get("PixelSpacing")
    lines = [one.on_slo for one in slices]
    if pixel is None or None in lines:
        return scan
    mm = np.array([pixel[0], pixel[1]], float)
    coordinates = np.array(lines, float).reshape(-1, 2, 2) - 1  # DICOM counts rows and columns from 1
    starts, ends = coordinates[:, 0] * mm, coordinates[:, 1] * mm
    columns = scan.voxels.shape[2]
    pattern = placing.pattern_of(starts, ends, columns * scan.spacing[2])
    centres = starts[:, None] + np.linspace(0, 1, columns)[None, :, None] * (ends - starts)[:, None]
    on_slo = {"slo_spacing": (float(mm[0]), float(mm[1])), "ascans_on_slo": centres.astype(np.float32)}
    return placing.placed(replace(scan, pattern=pattern, **on_slo))


def _photograph(file: Any, photographs: dict[str, Any]) -> Any:
    """The photograph that frames refer to, or the only one there is."""
    frames = file.get("PerFrameFunctionalGroupsSequence") or [file]
    places = [place for frame in frames for place in frame.get("OphthalmicFrameLocationSequence") or []]
    named = [
        photographs[p.ReferencedSOPInstanceUID] for p in places if p.get("ReferencedSOPInstanceUID") in photographs
    ]
    return next(iter(named or (photographs.values() if len(photographs) == 1 else [])), None)
