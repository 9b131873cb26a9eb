"""TIFF stacks by tifffile, and folders of pictures: B-scans one after the other."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from inr_jax.errors import InputError
from inr_jax.readers import PICTURES, files_of
from inr_jax.scan import Scan, Triple

PER_UNIT = {
    "micron": 1e-3,
    "um": 1e-3,
    "\\u00b5m": 1e-3,
    "\u00b5m": 1e-3,
    "mm": 1.0,
    "cm": 10.0,
    "inch": 25.4,
    "nm": 1e-6,
}
UNKNOWN = (np.nan, np.nan, np.nan)


def read(path: Path, name: str) -> list[Scan]:
    """The scan of a TIFF file whose pages, or of a folder whose pictures (by name), are B-scans. Values as in the file.

    mm are known where ImageJ has written them.
    """
    if path.is_dir():
        pages = [_grey(_picture(file), name) for file in files_of(path) if file.suffix.lower() in PICTURES]
        if len({page.shape for page in pages}) > 1:
            raise InputError(f"{name}: expected pictures of one size; found several")
        return [_scan(np.stack(pages), UNKNOWN, name)]
    import tifffile

    faults = _Faults(logging.ERROR)
    logging.getLogger("tifffile").addHandler(faults)
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        found, spacing = series.asarray(), _spacing(file, series)
    if faults.count:
        raise InputError(f"{name}: TIFF cut short or damaged: {faults.count} faults in its directory of pages")
    has_colours = found.ndim > 2 and series.axes.endswith("S")
    if found.ndim - has_colours not in (2, 3):
        raise InputError(f"{name}: expected pages of rows and columns; found {found.ndim} axes")
    stack = found if found.ndim - has_colours == 3 else found[None]
    return [_scan(np.stack([_grey(page, name) for page in stack]), spacing, name)]


class _Faults(logging.Handler):
    """Counts what tifffile logs: it reads what is left of a file that was cut short, and tells nobody else."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def _scan(voxels: np.ndarray, spacing: Triple, name: str) -> Scan:
    return Scan(voxels.astype(np.float32), spacing, name=name, person=name)


def _picture(path: Path) -> np.ndarray:
    import imageio.v3

    return np.asarray(imageio.v3.imread(path))


def _grey(page: np.ndarray, name: str) -> np.ndarray:
    """The channel of a picture that has one, or three alike."""
    if page.ndim == 2:
        return page
    if page.ndim != 3 or not all(np.array_equal(page[..., 0], page[..., i]) for i in range(min(3, page.shape[-1]))):
        raise InputError(f"{name}: expected grey pictures; found colours")
    return page[..., 0]


def _spacing(file: Any, series: Any) -> Triple:
    """mm, where ImageJ has written a unit and all three; otherwise nan."""
    said = file.imagej_metadata or {}
    per_unit = PER_UNIT.get(str(said.get("unit", "")).lower())
    resolutions = [series.pages[0].tags.get(tag) for tag in ("YResolution", "XResolution")]
    if per_unit is None or "spacing" not in said or None in resolutions:
        return UNKNOWN
    down, along = (per_unit * tag.value[1] / tag.value[0] for tag in resolutions)
    return float(said["spacing"]) * per_unit, down, along
