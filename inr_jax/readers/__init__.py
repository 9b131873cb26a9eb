"""Readers of scan files, each in a module of its own: `read(path, name)` gives every scan of a file or folder.

They read what others wrote, and may fail in any way: `guarded` asks them in a process of its own. No jax here.
"""

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from inr_jax.errors import InputError
from inr_jax.scan import Scan, checked, checked_name


class Kind(NamedTuple):
    """A kind of file: what it is called, and which module of this folder reads it."""

    name: str
    module: str
    is_anonymous: bool = True  # a scan's name is made of its content, since the file's could be a person's


KINDS = {
    ".vol": Kind("Heidelberg .vol", "heyex"),
    ".npz": Kind(".npz", "npz", is_anonymous=False),
    **{
        suffix: Kind(f"{name} image", "images", is_anonymous=False)
        for name, suffixes in (("NIfTI", (".nii", ".nii.gz")), ("NRRD", (".nrrd", ".nhdr")), ("MHA", (".mha", ".mhd")))
        for suffix in suffixes
    },
}


def kind_of(path: Path) -> Kind:
    """The kind of a file, by its suffix; of a folder, by what lies in it. InputError for others."""
    for suffix, kind in KINDS.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise InputError(f"expected one of {' '.join(KINDS)}; found {path.suffix or 'no suffix'}")


def files_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder by their names."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def content_name(path: Path) -> str:
    """scan- and the first 12 digits of the SHA-256 of a file, or of a folder's files by the order of their names."""
    digest = hashlib.sha256()
    for file in files_of(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"scan-{digest.hexdigest()[:12]}"


def read(path: Path, name: str, **options: Any) -> list[Scan]:
    """Every scan of a file or folder, checked; a spacing that the file does not say is nan. Raises what a parser does."""
    kind = kind_of(path)
    scans = importlib.import_module(f"inr_jax.readers.{kind.module}").read(path, name, **options)
    return [_checked(replace(scan, source=kind.name), name) for scan in scans]


def _checked(scan: Scan, name: str) -> Scan:
    checked_name(scan.name, name)
    return checked(scan, name, spacing_known=False)
