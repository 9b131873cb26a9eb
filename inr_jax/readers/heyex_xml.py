"""A folder that Heidelberg's HEYEX exports: one `.xml`, and an image for every B-scan and for the SLO."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from inr_jax.errors import InputError
from inr_jax.readers import files_of, heyex
from inr_jax.scan import Scan


def read(path: Path, name: str) -> list[Scan]:
    """The scan of an `.xml` or of the folder that has it: 8-bit images as they are shown, 0 to 1."""
    from eyepy.io.he.xml_reader import HeXmlReader

    found = [file for file in files_of(path) if file.suffix.lower() == ".xml"]  # eyepy would take hidden ones, too
    if len(found) != 1:
        raise InputError(f"{name}: expected one .xml; found {len(found)}")
    file = HeXmlReader(found[0])
    header, facts = file.parsed_values, file.bscan_meta
    bscans = file.xml_root[0].findall(".//ImageType[Type='OCT']..")
    if not bscans:
        raise InputError(f"{name}: expected one or more B-scans; found none")
    scan = heyex.assembled(
        np.stack([picture(file.path.parent, bscan) for bscan in bscans]) / np.float32(255),
        [boundaries(bscan) for bscan in bscans],
        (np.nan, header["scale_y"], header["scale_x"]),
        name=name,
        pattern=None,
        laterality=heyex.EYES.get(header["scan_position"]),
        quality=np.array([np.nan if f["quality"] is None else f["quality"] for f in facts], np.float32),
        slo=file.localizer.data,
        pixel=(header["scale_y_slo"], header["scale_x_slo"]),
        starts=np.array([f["start_pos"][::-1] for f in facts]),
        ends=np.array([f["end_pos"][::-1] for f in facts]),
    )
    return [scan]


def picture(folder: Path, bscan: ElementTree.Element) -> Float[np.ndarray, "H W"]:
    """The image of a B-scan, which lies beside the `.xml` whatever path is said there."""
    import imageio.v3

    said = bscan.findtext("./ImageData/ExamURL", "")
    pixels: Any = imageio.v3.imread(folder / said.replace("\\", "/").rpartition("/")[2])
    return (pixels[..., 0] if pixels.ndim == 3 else pixels).astype(np.float32)


def boundaries(bscan: ElementTree.Element) -> dict[str, Float[np.ndarray, " W"]]:
    """The rows of a B-scan's boundaries, by name."""
    return {
        line.findtext("./Name", "").strip(): np.array(line.findtext("./Array", "").split(), np.float32)
        for line in bscan.findall(".//SegLine")
    }
