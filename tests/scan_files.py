"""Scans written as instruments write them, for the tests of their readers."""

import struct
from pathlib import Path

import imageio.v3
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from inr_jax.phantom import Eye, make_eye

NAME, BORN, ID = "Mustermann", "19511003", "PID-4711"  # of nobody; must never be told
SLO_SHAPE = (96, 96)
ORDER = ("ILM", "RNFL", "GCL", "IPL", "INL", "OPL", "ELM", "PR1", "PR2", "RPE", "BM")  # of the phantom's surfaces
NUMBERS = {
    "ILM": 0,
    "BM": 1,
    "RNFL": 2,
    "GCL": 3,
    "IPL": 4,
    "INL": 5,
    "OPL": 6,
    "ELM": 8,
    "PR1": 14,
    "PR2": 15,
    "RPE": 16,
}
UNKNOWN = np.float32(3.4028235e38)


def small_eye(laterality: str = "R", bscans: int = 5, columns: int = 24) -> Eye:
    """A phantom of few voxels without motion."""
    return make_eye(person=3, laterality=laterality, shape=(bscans, 64, columns), motion=0.0, slo_shape=SLO_SHAPE)


def lines(eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    """Where its B-scans begin and end: mm (y, x) from the corner of its SLO, from edge to edge."""
    places = eye.ascans_on_slo + np.array(eye.slo_spacing) / 2
    half = (places[:, 1] - places[:, 0]) / 2
    return places[:, 0] - half, places[:, -1] + half


def vol_bytes(
    reflectivity: np.ndarray,  # [D, H, W], nan where unknown
    rows: np.ndarray,  # [17, D, W], nan where unknown
    slo: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    spacing: tuple[float, float, float],
    slo_spacing: tuple[float, float],
    pattern: int = 3,
    eye: str = "OD",
    quality: float = 30.0,
    person: str = ID,
) -> bytes:
    """A file in the layout of Heidelberg's `.vol` (version HSF-OCT-103)."""
    bscans, height, width = reflectivity.shape
    size = 256 + 17 * 4 * width
    d, h, w = spacing
    head = struct.pack(
        "<12s3I3d2I2dId4sQiI",
        b"HSF-OCT-103\0",
        width,
        bscans,
        height,
        w,
        d,
        h,
        *slo.shape[::-1],
        slo_spacing[1],
        slo_spacing[0],
        30,
        -1.5,
        eye.encode(),
        131_000_000_000_000_000,
        pattern,
        size,
    )
    who = b"716.0", b"", 86, person.encode("latin-1"), 18904.0, 145, NAME.encode(), 42746.0, 0, 0, 0, 0, b""
    head += struct.pack("<16s16sI24sdI24sdIIII34s", *who)
    parts = [head.ljust(2048, b"\0"), slo.astype(np.uint8).tobytes()]
    for i in range(bscans):
        place = *starts[i, ::-1], *ends[i, ::-1]
        own = struct.pack("<12sI4dIIfI6f", b"HSF-BS-103\0", size, *place, 17, 256, quality + i, 0, *np.zeros(6))
        kept = np.where(np.isnan(rows[:, i]), UNKNOWN, rows[:, i]).astype("<f4")
        voxels = np.where(np.isnan(reflectivity[i]), UNKNOWN, reflectivity[i]).astype("<f4")
        parts += [own.ljust(256, b"\0"), kept.tobytes(), voxels.tobytes()]
    return b"".join(parts)


def eye_vol(eye: Eye, *, bottom_up: bool = True, **changes: object) -> bytes:
    """A phantom as a `.vol`: B-scans from the bottom of the SLO up, as the instrument writes them."""
    starts, ends = lines(eye)
    rows = np.full((17, *eye.surfaces.shape[1:]), np.nan)
    for name, surface in zip(ORDER, eye.surfaces, strict=True):
        rows[NUMBERS[name]] = surface
    turn = slice(None, None, -1) if bottom_up else slice(None)
    facts = {"spacing": eye.spacing, "slo_spacing": eye.slo_spacing, "eye": {"R": "OD", "L": "OS"}[eye.laterality]}
    reflectivity = np.where(eye.valid, eye.noisy.astype(np.float64) ** 4, np.nan)
    return vol_bytes(
        reflectivity[turn], rows[:, turn], np.rint(255 * eye.slo), starts[turn], ends[turn], **(facts | changes)
    )


def eye_xml(folder: Path, eye: Eye) -> Path:
    """A phantom as a folder of HEYEX: an `.xml` and a PNG for every B-scan and for the SLO; bottom up."""
    folder.mkdir(parents=True, exist_ok=True)
    starts, ends = lines(eye)
    count, height, width = eye.noisy.shape
    imageio.v3.imwrite(folder / "slo.png", np.rint(255 * eye.slo).astype(np.uint8))

    def image(kind: str, file: str, facts: dict[str, object], more: str = "") -> str:
        inner = "".join(f"<{k}>{v}</{k}>" for k, v in facts.items())
        return (
            f"<Image><ImageType><Type>{kind}</Type></ImageType><OphthalmicAcquisitionContext>{inner}"
            f"</OphthalmicAcquisitionContext><ImageData><ExamURL>C:\\export\\{file}</ExamURL></ImageData>{more}</Image>"
        )

    y, x = eye.slo_spacing
    size = {"Width": SLO_SHAPE[1], "Height": SLO_SHAPE[0], "ScaleX": x, "ScaleY": y, "Angle": 30, "Focus": 0.5}
    images = [image("LOCALIZER", "slo.png", size)]
    for i in reversed(range(count)):
        imageio.v3.imwrite(folder / f"b{i}.png", np.rint(255 * eye.noisy[i]).astype(np.uint8))
        seg = "".join(
            f"<SegLine><Name>{name}</Name><Array>{' '.join(map(str, row))}</Array></SegLine>"
            for name, row in zip(ORDER, eye.surfaces[:, i], strict=True)
        )
        coordinates = {
            key: f"<Coord><X>{place[1]}</X><Y>{place[0]}</Y></Coord>"
            for key, place in (("Start", starts[i]), ("End", ends[i]))
        }
        facts = {"Width": width, "Height": height, "ScaleX": eye.spacing[2], "ScaleY": eye.spacing[1]}
        layers = f"<Segmentation><NumSegmentations>11</NumSegmentations>{seg}</Segmentation>"
        images.append(image("OCT", f"b{i}.png", facts | {"ImageQuality": 28} | coordinates, layers))
    date = "<Date><Year>1951</Year><Month>10</Month><Day>3</Day></Date>"
    who = (
        f"<Patient><ID>7</ID><PatientID>{ID}</PatientID><LastName>{NAME}</LastName><FirstNames>Erika</FirstNames>"
        f"<Birthdate>{date}</Birthdate><Study><StudyDate>{date}</StudyDate>"
    )
    series = (
        f"<Series><ID>1</ID><Laterality>{eye.laterality}</Laterality><ReferenceSeries><ID>1</ID><ExamDate>{date}</ExamDate>"
        f"</ReferenceSeries>{''.join(images)}</Series>"
    )
    version = "<SWVersion><Version>1</Version></SWVersion>"
    text = f"<HEDX><BODY>{version}{who}{series}</Study></Patient></BODY></HEDX>"
    (folder / "export.xml").write_text(text)
    return folder


def oct_explorer(
    path: Path, surfaces: np.ndarray, names: tuple[str, ...], undefined: tuple[tuple[int, int], ...]
) -> Path:
    """Surfaces [S, D, W] as OCTExplorer's `.xml`; undefined: (A-scan, B-scan) places."""
    holes = "".join(f"<ascan><x>{x}</x><z>{z}</z></ascan>" for x, z in undefined)
    inner = "".join(
        f"<surface><label>{10 * i}</label><name>{name} ({name})</name>"
        + "".join("<bscan>" + "".join(f"<y>{y:g}</y>" for y in row) + "</bscan>" for row in surface)
        + "</surface>"
        for i, (name, surface) in enumerate(zip(names, surfaces, strict=True))
    )
    holes = f"<undefined_region>{holes}</undefined_region>"
    path.write_text(f"<surfaces><version>3.8</version><unit>voxel</unit>{inner}{holes}</surfaces>")
    return path


def dicom(pixels: np.ndarray, sop_class: str = "1.2.840.10008.5.1.4.1.1.77.1.5.4", **facts: object) -> Dataset:
    """A file of one ([H, W]) or more ([D, H, W]) grey frames, with a person's name, birth date and id."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.PatientBirthDate, file.PatientID = NAME, BORN, ID
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
    file.HighBit = file.BitsStored - 1
    file.Rows, file.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        file.NumberOfFrames = len(pixels)
    file.PixelData = pixels.tobytes()
    for key, value in facts.items():
        setattr(file, key, value)
    return file


def item(**facts: object) -> Sequence:
    """A DICOM sequence of one item."""
    one = Dataset()
    for key, value in facts.items():
        setattr(one, key, value)
    return Sequence([one])


def eye_dicom(folder: Path, eye: Eye) -> Path:
    """A phantom as a DICOM OCT and the photograph that its frames refer to."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = eye.slo_spacing
    slo = dicom(np.rint(255 * eye.slo).astype(np.uint8), "1.2.840.10008.5.1.4.1.1.77.1.5.1", PixelSpacing=[y, x])
    pixel = np.array(eye.slo_spacing)
    frames = []
    for line in eye.ascans_on_slo:
        first, last = line[0] / pixel + 1, line[-1] / pixel + 1
        place = item(ReferencedSOPInstanceUID=slo.SOPInstanceUID, ReferenceCoordinates=[*first, *last])
        frames += item(OphthalmicFrameLocationSequence=place)
    d, h, w = eye.spacing
    shared = item(
        PixelMeasuresSequence=item(PixelSpacing=[f"{h:.8g}", f"{w:.8g}"], SliceThickness=f"{d:.8g}"),
        FrameAnatomySequence=item(FrameLaterality=eye.laterality),
    )
    pixels = np.rint(255 * eye.noisy).astype(np.uint8)
    scan = dicom(pixels, PerFrameFunctionalGroupsSequence=Sequence(frames), SharedFunctionalGroupsSequence=shared)
    for name, file in (("slo", slo), ("scan", scan)):
        pydicom.dcmwrite(folder / f"{name}.dcm", file, enforce_file_format=True)
    return folder


def e2e_bytes(
    reflectivity: np.ndarray, slo: np.ndarray, starts: np.ndarray, ends: np.ndarray, rows: np.ndarray
) -> bytes:
    """A file in the layout of Heidelberg's `.e2e` as eyepy has it.

    starts, ends: degrees (y, x) from the middle of the SLO; rows: of ILM, [D, W].
    """
    bscans, height, width = reflectivity.shape
    exponents = np.clip(np.floor(np.log2(np.maximum(reflectivity, 2.0**-62))), -62, 0)
    mantissas = np.clip(np.rint((reflectivity / 2.0**exponents - 1) * 1024), 0, 1023)
    # eyepy takes the mantissa's bits from the lowest to the highest
    mantissas = sum(((mantissas.astype(np.uint16) >> bit) & 1) << (9 - bit) for bit in range(10))
    halves = ((exponents + 63).astype(np.uint16) << 10 | mantissas).astype("<u2")

    def image(kind: int, pixels: np.ndarray) -> bytes:
        return struct.pack("<5I", pixels.nbytes + 20, kind, pixels.size, *pixels.shape) + pixels.tobytes()

    blocks = [(-1, 11, bytes(14) + b"R" + bytes(12)), (-1, 1073741824, image(33620481, slo.astype(np.uint8)))]
    blocks.append((-1, 9, bytes(31) + NAME.encode().ljust(66, b"\0") + bytes(60)))
    for i in range(bscans):
        (y0, x0), (y1, x1) = starts[i], ends[i]
        place = 0, height, width, x0, y0, x1, y1, 0, 0, 0.0039, 0, 0, 0, 0, 0, width, bscans, i
        fact = struct.pack("<3I4fIfffI2fI4I2fI", *place, 3, (x0 + x1) / 2, (y0 + y1) / 2, 0)
        fact += struct.pack("<QIff12sI16sf12sf", 0, 10, 0.8, 0, b"", 10, b"", 0.5, b"", 30.0)
        blocks.append((2 * i, 10004, fact.ljust(428, b"\0")))
        blocks.append((2 * i, 1073741824, image(35652097, halves[i])))
        blocks.append((2 * i, 10019, struct.pack("<5I", 0, 0, 0, width, 0) + rows[i].astype("<f4").tobytes()))
    head = struct.pack("<12sI20s", b"CMDb", 100, b"") + struct.pack("<12sI20s4I", b"MDbMDir", 100, b"", 512, 88, 88, 0)
    chunk = struct.pack("<12sI20s4I", b"MDbDir", 100, b"", len(blocks), 88, 0, 0)
    start = len(head) + len(chunk) + 44 * len(blocks)
    folders, data = b"", b""
    for part, kind, content in blocks:
        at = start + len(data)
        who = struct.pack("<4i2H2I", 1, 1, 1, part, 0, 0, kind, 0)
        folders += struct.pack("<4I", 0, at, len(content), 0) + who
        data += struct.pack("<12s5I", b"MDbData", 0, 0, at, len(content), 0) + who + content
    return head + chunk + folders + data


def eye_e2e(eye: Eye) -> bytes:
    """A phantom as an `.e2e` in degrees of 0.2896 mm on an SLO of 30 degrees."""
    mm = 0.2896
    scale = 30 * mm / (np.array(eye.slo.shape) * eye.slo_spacing)  # the SLO of an .e2e is taken to show 30 degrees
    starts, ends = (places * scale / mm - 15 for places in lines(eye))
    return e2e_bytes(eye.noisy.astype(float) ** 4, np.rint(255 * eye.slo), starts, ends, eye.surfaces[0])
