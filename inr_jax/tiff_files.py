"""Rendered B-scans as a TIFF stack that ImageJ opens with its millimetres."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num

from inr_jax.grids import Grid
from inr_jax.scan_io import replacing


def write_tiff(
    path: Path, volume: Num[np.ndarray, "P H W"], grid: Grid, *, frames: Sequence[str], note: str = ""
) -> None:
    """Writes a page for each B-scan (uint8 and uint16 as they are, all else as float32); InputError where that cannot

    be. Resolution in pixels per cm, the distance of pages in cm, as ImageJ and general readers take them. A TIFF knows
    no place and no direction in space. frames: what to say of each page. note: what must be said of all.
    """
    import tifffile

    kept = volume if volume.dtype in (np.uint8, np.uint16) else volume.astype(np.float32)
    step, row, column = (mm / 10 for mm in grid.spacing)
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            kept,
            imagej=True,
            resolution=(1 / column, 1 / row),
            resolutionunit="CENTIMETER",
            metadata={"axes": "ZYX", "spacing": step, "unit": "cm", "Labels": list(frames)}
            | ({"Info": note} if note else {}),
        )
