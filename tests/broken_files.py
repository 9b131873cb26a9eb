"""Files of every format, whole and broken: cut short, bits flipped, empty, renamed, huge numbers in the header."""

import struct
import zipfile
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import imageio.v3
import numpy as np
import tifffile
from scan_files import ID, NAME, dicom, eye_dicom, eye_e2e, eye_vol, eye_xml, oct_explorer, small_eye

from inr_jax.scan_io import write_volume

FLIPPED, CUTS = 12, (0.02, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)
HUGE = b"\xff\xff\xff\x7f"
Content = dict[str, bytes]  # of a folder: by the names of its files; of a file: its only one


class Variant(NamedTuple):
    """What was done to a file."""

    suffix: str  # of the format; "": a folder
    what: str
    content: Content
    ends: str  # "read": as the whole file is; "refused" in one line; "either" of both; "any": read somehow or refused


def write(folder: Path, content: Content) -> Path:
    """Puts a variant into an empty folder: the path to hand to a reader."""
    for name, found in content.items():
        (folder / name).write_bytes(found)
    return folder / next(iter(content)) if len(content) == 1 else folder


@cache
def whole() -> dict[str, Content]:
    """A scan in every format, by its suffix or what its folder is called."""
    eye = small_eye()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
            write_volume(folder / f"a{suffix}", eye.noisy, eye.spacing, (0.0, 1.0, 2.0), tuple(np.eye(3).ravel()))
        arrays = {"voxels": eye.noisy, "spacing": np.array(eye.spacing), "surfaces": eye.surfaces, "slo": eye.slo}
        np.savez_compressed(
            folder / "a.npz", **arrays, slo_spacing=eye.slo_spacing, ascans_on_slo=eye.ascans_on_slo, name="a"
        )
        pixels = np.rint(255 * eye.noisy).astype(np.uint8)
        facts = {"spacing": 0.24, "unit": "mm", "axes": "ZYX"}
        tifffile.imwrite(folder / "a.tif", pixels, imagej=True, resolution=(80, 250), metadata=facts)
        frames = dicom(pixels, PixelSpacing=["0.0039", "0.0118"], SpacingBetweenSlices="0.24")
        frames.save_as(folder / "a.dcm", enforce_file_format=True)
        files = {path.name.removeprefix("a"): {path.name: path.read_bytes()} for path in sorted(folder.iterdir())}
        pictures = folder / "pictures"
        pictures.mkdir()
        for i, page in enumerate(pixels):
            imageio.v3.imwrite(pictures / f"b{i}.png", page)
        folders = {"xml": eye_xml(folder / "xml", eye), "dicom": eye_dicom(folder / "dicom", eye), "pictures": pictures}
        read = {kind: {path.name: path.read_bytes() for path in sorted(f.iterdir())} for kind, f in folders.items()}
    return {**files, ".vol": {"a.vol": eye_vol(eye)}, ".e2e": {"a.e2e": eye_e2e(eye)}, **read}


@cache
def layers() -> dict[str, bytes]:
    """The surfaces of that scan, whose origin is at 0, in files of their own, by their names."""
    eye, names = small_eye(), ("ILM", "RNFL", "BM")
    some = np.round(eye.surfaces[[0, 1, 10]], 2)
    with TemporaryDirectory() as name:
        explorer = oct_explorer(Path(name) / "explorer.xml", some, names, ())
        heyex = eye_xml(Path(name) / "heyex", eye) / "export.xml"
        found = {"explorer.xml": explorer.read_bytes(), "heyex.xml": heyex.read_bytes()}
    (z_mm, row_mm, x_mm), lines = eye.spacing, [",".join(("x_mm", "y_mm", "z_mm", *(f"{name}_um" for name in names)))]
    for d, w in np.ndindex(some.shape[1:]):
        depths = (f"{1000 * row_mm * row:.5f}" for row in some[:, d, w])
        lines.append(",".join((f"{x_mm * w:.6f}", "0", f"{z_mm * d:.6f}", *depths)))
    return found | {"surfaces.csv": "\n".join(lines).encode()}


def layer_variants() -> Iterator[Variant]:
    """Broken files of surfaces, and such as say the same with more words; `suffix` is the file that they were."""
    for number, (name, found) in enumerate(layers().items()):
        is_table = name.endswith(".csv")
        for done, changed, ends in _damaged("layers", name, found, np.random.default_rng(number)):
            yield Variant(name, done, changed, "any" if is_table and done.startswith("cut") else ends)
        notes = (b"# note\n", b"# a\n# b\n") if is_table else (b"<!-- note -->", b"<?note it?>", b"\n")
        for i, note in enumerate(notes):
            yield Variant(name, f"a note {i}", {name: note + found if is_table else found + note}, "read")
        yield Variant(name, "another name", {f"{NAME} {ID}{Path(name).suffix}": found}, "read")


def variants() -> Iterator[Variant]:
    """All of them, in the same order and with the same bits every time."""
    for number, (kind, content) in enumerate(whole().items()):
        rng = np.random.default_rng(number)
        main = {"xml": "export.xml", "dicom": "scan.dcm"}.get(kind, next(iter(content)))
        for done, changed, ends in (*_damaged(kind, main, content[main], rng), *_harmless(kind, main, content[main])):
            yield Variant(kind, done, content | changed if len(content) > 1 else changed, ends)
        yield from _renamed(kind, content)
        for other in sorted(set(content) - {main})[::5] if kind in ("xml", "dicom") else ():
            for done, changed, _ in [*_damaged("image", other, content[other], rng)][::3]:
                yield Variant(kind, f"{other} {done}", content | changed, "any")
        if len(content) > 1:
            yield Variant(kind, "a file is missing", {n: c for n, c in content.items() if n != main}, "any")
    for i, found in enumerate((b"", b"FOCTFDA\x02" + bytes(200), np.random.default_rng(99).bytes(4000), b"text\n")):
        yield Variant(".fda", f"content {i}", {"a.fda": found}, "refused")


Change = tuple[str, Content, str]


def _damaged(kind: str, main: str, found: bytes, rng: np.random.Generator) -> Iterator[Change]:
    for cut in CUTS:
        yield f"cut at {cut:.0%}", {main: found[: int(cut * len(found))]}, "either" if cut > 0.9 else "refused"
    yield "empty", {main: b""}, "refused"
    yield "zeros", {main: bytes(len(found))}, "refused"
    yield "noise", {main: rng.bytes(len(found))}, "refused"
    for i in range(FLIPPED):
        yield f"flipped {i}", {main: _flipped(found, rng, 1 + 4 * (i % 3), len(found))}, "any"
        yield f"flipped header {i}", {main: _flipped(found, rng, 1 + i % 3, min(300, len(found)))}, "any"
    for i, changed in enumerate(_huge(kind, found)):
        yield f"huge {i}", {main: changed}, "refused"


def _flipped(found: bytes, rng: np.random.Generator, count: int, below: int) -> bytes:
    changed = bytearray(found)
    for place in rng.integers(0, below, count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _huge(kind: str, found: bytes) -> Iterator[bytes]:
    """The sizes in the header as large as they can be."""

    def at(place: int, content: bytes) -> bytes:
        return found[:place] + content + found[place + len(content) :]

    def text(old: bytes, new: bytes) -> bytes:
        assert old in found, (kind, old)
        return found.replace(old, new, 1)

    if kind == ".vol":
        yield from (at(place, HUGE) for place in (12, 16, 20, 48, 52))
    elif kind == ".nii":
        yield from (at(place, struct.pack("<h", 32767)) for place in (42, 44, 46))
        yield at(42, struct.pack("<3h", 32767, 32767, 32767))
    elif kind == ".nrrd":
        yield text(b"sizes: 24 64 5", b"sizes: 24000000 64 5")
        yield text(b"sizes: 24 64 5", b"sizes: 20000 20000 20000")
    elif kind == ".mha":
        yield text(b"DimSize = 24 64 5", b"DimSize = 24000000 64 5")
        yield text(b"DimSize = 24 64 5", b"DimSize = 20000 20000 20000")
    elif kind == ".e2e":
        yield at(36 + 52 + 36, HUGE)  # entries of the first chunk
        image = found.index(struct.pack("<I", 35652097))
        yield from (at(image + place, HUGE) for place in (4, 8, 12))
    elif kind in (".dcm", "dicom"):
        rows = found.index(b"\x28\x00\x10\x00US\x02\x00") + 8
        yield at(rows, b"\xff\xff")
        yield at(rows + 10, b"\xff\xff")
    elif kind == ".tif":
        order = "<" if found[:2] == b"II" else ">"
        tags = [found.find(struct.pack(f"{order}HH", 256, kind)) for kind in (3, 4)]  # ImageWidth
        yield at(max(tags) + 8, b"\xff\xff\xff\xff")
    elif kind == "pictures":
        yield at(16, b"\x7f\xff\xff\xff")
    elif kind == ".npz":
        for shape in ((5, 64, 24_000_000), (50_000, 50_000, 50_000)):
            file = BytesIO()
            with zipfile.ZipFile(BytesIO(found)) as old, zipfile.ZipFile(file, "w") as new:
                for name in old.namelist():
                    array = old.read(name)
                    new.writestr(name, _claiming(array, shape) if name == "voxels.npy" else array)
            yield file.getvalue()


def _claiming(array: bytes, shape: tuple[int, int, int]) -> bytes:
    """A .npy whose header has another shape."""
    start = 10 + int.from_bytes(array[8:10], "little")
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue() + array[start:]


def _harmless(kind: str, main: str, found: bytes) -> Iterator[Change]:
    """What changes nothing of the scan: who it is of, what comes after its end, notes."""
    names = (f"{NAME} {ID}{{}}", "1951-10-03{}", "Ärzte{}", "a b c.d{}", "-x{}", "%d{}")
    if not main.startswith("a."):
        yield from ((f"another file {i}", {name.format(".txt"): b"notes"}, "read") for i, name in enumerate(names))
    else:
        yield from ((f"another name {i}", {name.format(kind): found}, "read") for i, name in enumerate(names))
    if kind in (".vol", ".e2e", ".tif", ".nii", "xml", ".dcm"):
        ends = (b"\n", b"  \n\n") if kind == "xml" else (b"\0", bytes(5000), b"x" * 33)
        if kind != ".dcm":
            yield from ((f"more at the end {i}", {main: found + end}, "read") for i, end in enumerate(ends))
    who = NAME.encode()
    if who in found:
        for i, other in enumerate((b"X" * len(who), b"Aa Bb".ljust(len(who)), b"." * len(who), b"-" * len(who))):
            yield f"another person {i}", {main: found.replace(who, other)}, "read"
    if kind == ".vol":
        for i in range(6):
            other = np.random.default_rng(i).bytes(104)
            yield f"another header {i}", {main: found[:104] + other + found[208:]}, "read"
    if kind == ".nii":
        for i in range(6):
            yield f"another note {i}", {main: found[:148] + bytes([65 + i]) * 79 + found[227:]}, "read"
    if kind == ".nrrd":
        for i in range(8):
            yield f"a comment {i}", {main: found.replace(b"\n", b"\n# " + b"note " * (i + 1) + b"\n", 1)}, "read"
    if kind == ".mha":
        for i in range(8):
            yield f"a comment {i}", {main: found.replace(b"\n", b"\nComment = " + b"n" * (i + 1) + b"\n", 1)}, "read"


def _renamed(kind: str, content: Content) -> Iterator[Variant]:
    """A file as if it were of another format."""
    if len(content) > 1:
        return
    (name, found), others = next(iter(content.items())), [k for k in whole() if k.startswith(".")]
    for other in others[:: 2 if kind in (".nii", ".mha") else 3]:
        if other != kind:
            yield Variant(other, f"was {name}", {f"a{other}": found}, "any")
