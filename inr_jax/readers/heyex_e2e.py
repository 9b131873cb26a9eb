"""Heidelberg's `.e2e`, of which little is published: parsed by eyepy; places are in degrees, and become mm as there."""

from pathlib import Path
from typing import Any

import numpy as np

from inr_jax.errors import InputError
from inr_jax.readers import heyex
from inr_jax.scan import Scan

UNKNOWN = 1.99  # what is not measured has a reflectivity above
FIELD = 30.0  # degrees that the SLO is taken to show
REMARK = "an .e2e file says places in degrees: 289.6 um each and an SLO of 30 degrees were taken for every eye"


def read(path: Path, name: str) -> list[Scan]:
    """Every OCT series of an `.e2e` file that has B-scans with an SLO."""
    from eyepy.io.he import HeE2eReader
    from eyepy.io.he.e2e_format import TypesEnum

    with HeE2eReader(path) as file:
        series = [one for one in file.series if one.n_bscans and TypesEnum.image in one.folders]
        scans = [_scan(one, name if i == 0 else f"{name}-{i + 1}") for i, one in enumerate(series)]
    if not scans:
        raise InputError(f"{name}: expected an OCT series with an SLO in the .e2e file; found none")
    return scans


def _scan(series: Any, name: str) -> Scan:
    from eyepy.io.he.e2e_format import TypesEnum
    from eyepy.io.he.e2e_reader import MEDIUM_EYE_LENGTH_UM_PER_DEG, SEG_MAPPING

    mm = MEDIUM_EYE_LENGTH_UM_PER_DEG / 1e3
    facts = series.get_bscan_meta()
    pattern = heyex.PATTERNS.get(facts[0]["scan_pattern"])
    is_circle = pattern == "circle"
    end = ("center_y", "center_x") if is_circle else ("end_y", "end_x")
    starts = mm * (FIELD / 2 + np.array([(fact["start_y"], fact["start_x"]) for fact in facts]))
    ends = mm * (FIELD / 2 + np.array([(fact[end[0]], fact[end[1]]) for fact in facts]))
    length = np.linalg.norm(ends[0] - starts[0]) * (2 * np.pi if is_circle else 1)
    voxels, slo = series.get_bscans(), series.folders[TypesEnum.image][0].data.data
    has_layers = any(TypesEnum.layer_annotation in part.folders for part in series.slices.values())
    layers = series.get_layers() if has_layers else {}
    named = {layer: layers[number] for layer, number in SEG_MAPPING.items() if number in layers}
    eye = series.folders.get(TypesEnum.laterality)
    scan = heyex.assembled(
        heyex.shown(voxels, UNKNOWN),
        [{layer: rows[i] for layer, rows in named.items()} for i in range(len(voxels))],
        (np.nan, float(facts[0]["scale_y"]), float(length / facts[0]["size_x"])),
        name=name,
        pattern=pattern,
        laterality=heyex.EYES.get(eye[0].data.laterality.name) if eye else None,
        quality=np.array([fact["quality_ui"] for fact in facts], np.float32),
        slo=slo,
        pixel=(mm * FIELD / slo.shape[0], mm * FIELD / slo.shape[1]),
        starts=starts,
        ends=ends,
        remarks=(REMARK,),
    )
    return scan
