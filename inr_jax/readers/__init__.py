"""Readers of scan files, each in a module of its own: `read(path, name)` gives every scan of a file or folder.

They read what others wrote, and may fail in any way: `guarded` asks them in a process of its own. No jax here.
"""

import hashlib
import importlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from inr_jax.errors import InputError
from inr_jax.scan import Scan, checked, checked_name


class Kind(NamedTuple):
    """A kind of file: what it is called, which module of this folder reads it, and by which libraries."""

    name: str
    module: str
    libraries: tuple[str, ...] = ()
    is_anonymous: bool = True  # a scan's name is made of its content, since the file's could be a person's


PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
HEADERS, MOST_OF_HEADER = (".mhd", ".nhdr", ".xml"), 1 << 26  # what names files beside it, and bytes read of it
PICTURE = ("tifffile", "imageio.v3")
XML = Kind("HEYEX .xml", "heyex_xml", ("eyepy.io.he.xml_reader", *PICTURE))
DICOM = Kind("DICOM", "dicom", ("pydicom.pixels",))
KINDS = {
    ".vol": Kind("Heidelberg .vol", "heyex", ("eyepy.io.he.vol_reader",)),
    ".e2e": Kind("Heidelberg .e2e", "heyex_e2e", ("eyepy.io.he.e2e_reader",)),
    ".xml": XML,
    ".fda": Kind("Topcon .fda", "topcon"),
    ".dcm": DICOM,
    **dict.fromkeys((".tif", ".tiff"), Kind("TIFF stack", "pictures", PICTURE)),
    **dict.fromkeys((".nii", ".nii.gz"), Kind("NIfTI image", "images", is_anonymous=False)),
    **dict.fromkeys((".nrrd", ".nhdr"), Kind("NRRD image", "images", is_anonymous=False)),
    **dict.fromkeys((".mha", ".mhd"), Kind("MHA image", "images", is_anonymous=False)),
    ".npz": Kind(".npz", "npz", is_anonymous=False),
}


def kind_of(path: Path) -> Kind:
    """The kind of a file, by its suffix; of a folder, by what lies in it. InputError for others."""
    if path.is_dir():
        return _kind_of_folder(path)
    for suffix, kind in KINDS.items():
        if path.name.lower().endswith(suffix):
            return kind
    if is_dicom(path):
        return DICOM
    raise InputError(f"{path}: expected one of {' '.join(KINDS)} or a folder; found {path.suffix or 'no suffix'}")


def _kind_of_folder(path: Path) -> Kind:
    suffixes = [file.suffix.lower() for file in files_of(path)]
    if ".xml" in suffixes:
        return XML
    if any(is_dicom(file) for file in files_of(path)):
        return DICOM
    if any(suffix in PICTURES for suffix in suffixes):
        return Kind("folder of pictures", "pictures", PICTURE)
    raise InputError(f"{path}: expected a folder with .xml, DICOM or {' '.join(PICTURES)}; found none of them")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def files_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder that are not hidden, by their names: numbers in them count as numbers."""
    if not path.is_dir():
        return [path]
    return sorted((file for file in path.iterdir() if file.is_file() and file.name[0] != "."), key=_by_number)


def _by_number(file: Path) -> tuple[list[str | int], str]:
    """scan2 before scan10; the name itself, where numbers are written in two ways."""
    parts = re.split("([0-9]+)", file.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], file.name


def parts_of(path: Path) -> list[Path]:
    """`files_of`, and after a header the files beside it that it names, each or by a pattern such as b%03d.raw."""
    if path.is_dir() or not path.name.lower().endswith(HEADERS):
        return files_of(path)
    with path.open("rb") as stream:
        text = stream.read(MOST_OF_HEADER)
    ends = tuple(re.findall(rb"%[0-9]*d(\.\w+)", text))
    beside = [(file, os.fsencode(file.name)) for file in files_of(path.parent) if file.name != path.name]
    return [path, *(file for file, name in beside if name in text or name.endswith(ends))]


def content_digest(path: Path) -> str:
    """The SHA-256 of a file and of what a header names, or of a folder's files by the order of their names."""
    digest = hashlib.sha256()
    for file in parts_of(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def content_name(path: Path) -> str:
    """scan- and the first 12 digits of `content_digest`."""
    return f"scan-{content_digest(path)[:12]}"


def load(kind: Kind) -> None:
    """Imports what reads a kind of file."""
    for library in (*kind.libraries, f"inr_jax.readers.{kind.module}"):
        importlib.import_module(library)


def read(path: Path, name: str, **options: Any) -> list[Scan]:
    """Every scan of a file or folder, checked; a spacing that none says is nan. Raises whatever a parser does."""
    kind = kind_of(path)
    scans = importlib.import_module(f"inr_jax.readers.{kind.module}").read(path, name, **options)
    return [_checked(replace(scan, source=kind.name), name) for scan in scans]


def read_surfaces(path: Path, name: str) -> Any:
    """`surfaces.read`."""
    return importlib.import_module("inr_jax.readers.surfaces").read(path, name)


def _checked(scan: Scan, name: str) -> Scan:
    checked_name(scan.name, name)
    return checked(scan, name, spacing_known=False)
