"""Rendered B-scans as DICOM: a derived multi-frame secondary capture in the scan's place, with nobody's name.

DICOM PS3.3: Multi-frame Grayscale Word Secondary Capture Image (A.8.4), with the functional groups of pixel measures,
plane orientation and plane position (C.7.6.16). New UIDs; patient, dates and device are empty.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Num

from inr_jax import grids
from inr_jax.grids import Grid
from inr_jax.scan_io import replacing

if TYPE_CHECKING:
    from pydicom import Dataset

STEPS = 65535  # of what is stored in 16 bits
RESEARCH = "For research use, not for diagnosis."


class Study(NamedTuple):
    """What the files of one scan share."""

    uid: str
    frame_of_reference: str


def new_study() -> Study:
    """UIDs that nothing has had."""
    from pydicom.uid import generate_uid

    return Study(generate_uid(), generate_uid())


def write_dicom(
    path: Path, volume: Num[np.ndarray, "P H W"], grid: Grid, study: Study,
    *, said: str, frames: Sequence[str], laterality: str | None, number: int = 1, note: str = "",
) -> None:  # fmt: skip
    """Writes B-scans as one file; InputError where that cannot be.

    said: what it is, for the series' description. frames: what to say of each B-scan ("measured", "synthesised").
    Integers of 0 .. 65535 are stored as they are. Of others their range is; the real-world value mapping leads back.
    number: of the series. note: what must be said of it.
    """
    if not _right_handed(grid):  # frames are taken to follow rows x columns
        last = grid.shape[0] - 1
        own = grids.part(grid, (last, 0, 0), grid.shape, grid.spacing)
        volume, frames, grid = volume[::-1], frames[::-1], own._replace(direction=_turned(grid))
    stored, slope, intercept = _stored(volume)
    content = _described(said, laterality, study, number, note)
    _add_pixels(content, stored)
    _add_place(content, grid, frames)
    content.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [_mapping(slope, intercept, stored)]
    with replacing(path) as temporary:
        content.save_as(temporary, enforce_file_format=True)


def _right_handed(grid: Grid) -> bool:
    bscans, depth, ascans = grids.axes(grid)
    return float(np.cross(ascans, depth) @ bscans) > 0


def _turned(grid: Grid) -> tuple[float, ...]:
    """The direction with the B-scans' axis reversed."""
    return tuple((np.array(grid.direction).reshape(3, 3) * (1, 1, -1)).ravel().tolist())


def _stored(volume: Num[np.ndarray, "P H W"]) -> tuple[np.ndarray, float, float]:
    """16 bits, and slope and intercept of the way back."""
    if volume.dtype.kind in "iu" and volume.min() >= 0 and volume.max() <= STEPS:
        return volume.astype("<u2"), 1.0, 0.0
    low, high = float(volume.min()), float(volume.max())
    slope = (high - low) / STEPS or 1.0
    return np.rint((volume.astype(np.float64) - low) / slope).astype("<u2"), slope, low


def _described(said: str, laterality: str | None, study: Study, number: int, note: str) -> "Dataset":
    """All that is neither pixels nor their place."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid

    content = Dataset()
    content.SpecificCharacterSet = "ISO_IR 192"
    content.ImageType = ["DERIVED", "SECONDARY"]
    content.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    content.SOPInstanceUID = generate_uid()
    content.StudyInstanceUID, content.SeriesInstanceUID = study.uid, generate_uid()
    content.FrameOfReferenceUID, content.PositionReferenceIndicator = study.frame_of_reference, ""
    empty = (
        "StudyDate", "StudyTime", "ContentDate", "ContentTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "Manufacturer", "PatientOrientation",
    )  # fmt: skip
    for keyword in empty:
        setattr(content, keyword, "")
    content.PatientIdentityRemoved, content.DeidentificationMethod = "YES", "made without the source's header"
    content.Modality, content.ConversionType = "OPT", "SYN"
    content.SeriesNumber, content.InstanceNumber = number, 1
    content.SeriesDescription = said[:64]
    content.DerivationDescription = f"Computed by a neural field adapted to a scan (inr_jax). {RESEARCH}"
    content.ImageComments = f"{RESEARCH} {note}".strip()
    content.BurnedInAnnotation, content.LossyImageCompression = "NO", "00"
    content.ImageLaterality = laterality or "U"
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    return content


def _add_pixels(content: "Dataset", stored: np.ndarray) -> None:
    content.NumberOfFrames, content.Rows, content.Columns = map(int, stored.shape)
    content.SamplesPerPixel, content.PhotometricInterpretation, content.PresentationLUTShape = (
        1, "MONOCHROME2", "IDENTITY",
    )  # fmt: skip
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 16, 16, 15, 0
    content.RescaleIntercept, content.RescaleSlope, content.RescaleType = 0, 1, "US"
    low, high = int(stored.min()), int(stored.max())
    content.WindowCenter, content.WindowWidth = 0.5 * (low + high), max(high - low, 1)
    content.PixelData = stored.tobytes()


def _add_place(content: "Dataset", grid: Grid, frames: Sequence[str]) -> None:
    """Spacing, orientation, and where every frame lies."""
    from pydicom import Dataset

    _, depth, ascans = grids.axes(grid)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [_ds(grid.spacing[1]), _ds(grid.spacing[2])]
    measures.SpacingBetweenSlices = measures.SliceThickness = _ds(grid.spacing[0])
    orientation.ImageOrientationPatient = [_ds(v) for v in (*ascans, *depth)]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    content.SharedFunctionalGroupsSequence = [shared]
    each = []
    for p, comment in enumerate(frames):
        position, told, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [_ds(v) for v in grids.lps(grid, np.array([p, 0, 0]))]
        told.FrameComments, told.StackID, told.InStackPositionNumber = comment, "1", p + 1
        told.DimensionIndexValues = [p + 1]
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [told]
        each.append(frame)
    content.PerFrameFunctionalGroupsSequence = each
    content.FrameIncrementPointer = 0x00182005
    content.SliceLocationVector = [_ds(p * grid.spacing[0]) for p in range(len(frames))]


def _mapping(slope: float, intercept: float, stored: np.ndarray) -> "Dataset":
    from pydicom import Dataset

    unit, found = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "1", "UCUM", "no units"
    found.MeasurementUnitsCodeSequence = [unit]
    found.LUTExplanation, found.LUTLabel = "units of the scan", "SCAN"
    found.RealWorldValueFirstValueMapped, found.RealWorldValueLastValueMapped = int(stored.min()), int(stored.max())
    found.RealWorldValueSlope, found.RealWorldValueIntercept = slope, intercept
    return found


def _ds(value: float | int) -> str:
    """A decimal string of DICOM: at most 16 bytes."""
    return next(text for digits in range(15, 0, -1) if len(text := f"{float(value):.{digits}g}") <= 16)
