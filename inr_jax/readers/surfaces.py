"""Surfaces (layers) of a scan from files of their own: HEYEX's `.xml` and OCTExplorer's."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool, Float

from inr_jax.errors import InputError
from inr_jax.readers import heyex, heyex_xml

Surfaces = tuple[tuple[str, ...], Float[np.ndarray, "S D W"]]
# OCTExplorer's names of its surfaces, as those here
OCT_EXPLORER = {
    "ILM": "ILM",
    "RNFL-GCL": "RNFL",
    "GCL-IPL": "GCL",
    "IPL-INL": "IPL",
    "INL-OPL": "INL",
    "OPL-HFL": "OPL",
    "BMEIS": "ELM",
    "IS/OSJ": "PR1",
    "IB_OPR": "PR2",
    "IB_RPE": "RPE",
    "OB_RPE": "BM",
}


def read(path: Path, name: str) -> Surfaces:
    """Names, and rows [S, D, W] from 0 on (nan where unknown), in the order of the file's B-scans and A-scans."""
    root = ElementTree.parse(path).getroot()
    if root.tag == "surfaces":
        return _oct_explorer(root, name)
    bscans = root.findall(".//ImageType[Type='OCT']..")
    rows = [heyex_xml.boundaries(bscan) for bscan in bscans]
    columns = {len(row) for bscan in rows for row in bscan.values()}
    if len(columns) != 1:
        raise InputError(f"{name}: expected surfaces of OCTExplorer or HEYEX with one width; found {len(columns)}")
    names, found = heyex.stacked(rows, columns.pop())
    if found is None:
        raise InputError(f"{name}: expected surfaces; found none that is known anywhere")
    return names, found


def _oct_explorer(root: ElementTree.Element, name: str) -> Surfaces:
    """Rows are counted from 0 there, too; 0, NA and the undefined region are not known."""
    unit = root.findtext("unit", "voxel")
    if unit != "voxel":
        raise InputError(f"{name}: expected surfaces in voxels; found {unit}")
    found = {}
    for surface in root.findall("surface"):
        said = surface.findtext("name", "")
        short = said.rpartition("(")[2].rstrip(") ") or said
        rows = [[_row(y.text) for y in bscan.findall("y")] for bscan in surface.findall("bscan")]
        if len({len(row) for row in rows}) != 1:
            raise InputError(f"{name}: expected B-scans of one width in every surface; found others")
        found[OCT_EXPLORER.get(short, short)] = np.array(rows, np.float32)
    if len({rows.shape for rows in found.values()}) != 1:
        raise InputError(f"{name}: expected surfaces of one shape; found {len({r.shape for r in found.values()})}")
    undefined = _undefined(root, next(iter(found.values())).shape)
    bscans = [{k: np.where(undefined[i], np.nan, v[i]) for k, v in found.items()} for i in range(len(undefined))]
    names, surfaces = heyex.stacked(bscans, undefined.shape[1])
    if surfaces is None:
        raise InputError(f"{name}: expected surfaces; found none that is known anywhere")
    return names, surfaces


def _row(text: str | None) -> float:
    text = (text or "").strip()
    return np.nan if text in ("", "NA", "0") else float(text)


def _undefined(root: ElementTree.Element, shape: tuple[int, ...]) -> Bool[np.ndarray, "D W"]:
    undefined = np.zeros(shape, bool)
    for ascan in root.iterfind("undefined_region/ascan"):
        undefined[int(ascan.findtext("z", "")), int(ascan.findtext("x", ""))] = True
    return undefined
