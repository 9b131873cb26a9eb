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
    from eyepy.io.he.e2e_format import TypesEnum
    from eyepy.io.he.e2e_reader import HeE2eReader

    with HeE2eReader(path) as file:
        series = [(one, _slices(one)) for one in file.series if TypesEnum.image in one.folders]
        names = [name if i == 0 else f"{name}-{i + 1}" for i in range(len(series))]
        scans = [_scan(one, slices, own) for own, (one, slices) in zip(names, series, strict=True) if slices]
    if not scans:
        raise InputError(f"{name}: expected an OCT series with an SLO in the .e2e file; found none")
    return scans


def _slices(series: Any) -> list[Any]:
    """What a series has of B-scans with a header, in their order."""
    from eyepy.io.he.e2e_format import TypesEnum

    needed = {TypesEnum.bscanmeta, TypesEnum.image}
    return [part for _, part in sorted(series.slices.items()) if needed <= set(part.folders)]


def _scan(series: Any, slices: list[Any], name: str) -> Scan:
    from eyepy.io.he.e2e_format import TypesEnum
    from eyepy.io.he.e2e_reader import MEDIUM_EYE_LENGTH_UM_PER_DEG, SEG_MAPPING

    mm = MEDIUM_EYE_LENGTH_UM_PER_DEG / 1e3
    facts = [part.get_meta() for part in slices]
    pattern = heyex.PATTERNS.get(facts[0]["scan_pattern"])
    end = "center" if pattern == "circle" else "end"
    starts, ends = (
        mm * (FIELD / 2 + np.array([(fact[f"{at}_y"], fact[f"{at}_x"]) for fact in facts])) for at in ("start", end)
    )
    length = np.linalg.norm(ends[0] - starts[0]) * (2 * np.pi if pattern == "circle" else 1)
    layers = [part.get_layers() if TypesEnum.layer_annotation in part.folders else {} for part in slices]
    slo = series.folders[TypesEnum.image][0].data.data
    eye = series.folders.get(TypesEnum.laterality)
    return heyex.assembled(
        heyex.shown(np.stack([part.get_bscan() for part in slices]).astype(np.float32), UNKNOWN),
        [{layer: own[number] for layer, number in SEG_MAPPING.items() if number in own} for own in layers],
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
