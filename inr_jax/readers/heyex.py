"""Heidelberg's `.vol`, and what all of Heidelberg's formats share. Parsed by eyepy."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from inr_jax.errors import InputError
from inr_jax.readers import placing
from inr_jax.scan import Scan, Triple

# From ILM down to BM. A boundary has the name of what lies above it: RNFL is where the nerve fibres end.
LAYERS = (
    "ANT", "VIT", "ILM", "RNFL", "GCL", "IPL-", "IPL", "IPL+", "INL", "OPL", "ONL", "ELM", "IOS", "EZ", "PR1", "IZ",
    "PR2", "OPT", "RPE", "BM", "CHO",
)  # fmt: skip
UNKNOWN = 1e38  # stands in a file, a little larger, for what is not known
PATTERNS = {1: "line", 2: "circle", 3: "raster", 4: "raster", 5: "radial"}
EYES = {"OD": "R", "R": "R", "OS": "L", "L": "L"}
WHO = (slice(88, 96), slice(104, 208), slice(224, 258))  # bytes of a .vol: times, ids, birth date


def read(path: Path, name: str) -> list[Scan]:
    """The scan of a `.vol` file. What its header says of a person is blanked before it is parsed."""
    from eyepy.io.he.vol_reader import SEG_MAPPING, vol_format

    content = bytearray(path.read_bytes())
    if not content.startswith(b"HSF-OCT"):
        raise InputError(f"{name}: expected HSF-OCT at the beginning of a .vol file; found other content")
    for part in WHO:
        content[part] = bytes(len(content[part]))
    header = vol_format.parse_stream(BytesIO(content))
    if not header.bscans:
        raise InputError(f"{name}: expected one or more B-scans; found none")
    numbered = {number: layer for layer, number in SEG_MAPPING.items()}
    scan = assembled(
        shown(np.stack([bscan.data for bscan in header.bscans]), UNKNOWN),
        [{numbered[i]: row for i, row in enumerate(b.layer_segmentations) if i in numbered} for b in header.bscans],
        (header.distance, header.scale_y, header.scale_x),
        name=name,
        pattern=PATTERNS.get(header.scan_pattern),
        laterality=EYES.get(header.scan_position.strip("\0 ")),
        quality=np.array([bscan.quality for bscan in header.bscans], np.float32),
        slo=header.localizer,
        pixel=(header.scale_y_slo, header.scale_x_slo),
        starts=np.array([(bscan.start_y, bscan.start_x) for bscan in header.bscans]),
        ends=np.array([(bscan.end_y, bscan.end_x) for bscan in header.bscans]),
    )
    return [scan]


def shown(reflectivity: Float[np.ndarray, "D H W"], unknown: float) -> Float[np.ndarray, "D H W"]:
    """The fourth root of what the instrument measures, as it is shown; nan from `unknown` on."""
    known = reflectivity < unknown
    return np.where(known, np.clip(reflectivity, 0, None, where=known, out=reflectivity.copy()), np.nan) ** np.float32(
        0.25
    )


def assembled(
    voxels: Float[np.ndarray, "D H W"], rows: Sequence[Mapping[str, Float[np.ndarray, " W"]]], spacing: Triple, *,
    name: str, pattern: str | None, laterality: str | None, quality: Float[np.ndarray, " D"] | None,
    slo: Shaped[np.ndarray, "Y X"], pixel: tuple[float, float], starts: Float[np.ndarray, "D 2"],
    ends: Float[np.ndarray, "D 2"], remarks: tuple[str, ...] = (),
) -> Scan:  # fmt: skip
    """The scan of what a file of Heidelberg's says.

    voxels: as they are shown, nan where not known. rows: of every B-scan its boundaries by name. spacing: as the header
    says, nan or 0 where it does not. slo, pixel (mm), starts, ends: as `placing.places` takes them. remarks: what was
    assumed before. Raises InputError where places are no numbers.
    """
    _check_places(starts, ends, pixel, name)
    told = list(remarks)
    if pattern is None:
        pattern = placing.pattern_of(starts, ends, voxels.shape[2] * spacing[2])
        told.append(f"the file names no scan pattern: by the places of its B-scans it is {pattern or 'none known'}")
    if pattern == "circle" and laterality == "L":
        told.append("a circle of a left eye was taken to run against the clock, from temporal over superior to nasal")
    apart, doubt = placing.distance((starts + ends) / 2, spacing[0]) if pattern == "raster" else (0.0, None)
    told += [doubt] if doubt else []
    known = np.isfinite(voxels)
    names, surfaces = stacked(rows, voxels.shape[2])
    if quality is not None:
        quality = np.where(np.abs(quality) < UNKNOWN, quality, np.nan).astype(np.float32)
    scan = Scan(
        voxels=np.where(known, voxels, 0).astype(np.float32),
        spacing=placing.bscan_spacing(spacing, apart),
        surfaces=surfaces,
        surface_names=names,
        valid=None if known.all() else known,
        slo=slo.astype(np.float32),
        slo_spacing=pixel,
        ascans_on_slo=placing.places(
            starts, ends, voxels.shape[2], pattern=pattern, laterality=laterality, pixel=pixel
        ),
        laterality=laterality,
        name=name,
        person=name,
        pattern=pattern,
        quality=quality,
        remarks=tuple(told),
    )
    return placing.placed(scan)


def _check_places(
    starts: Float[np.ndarray, "D 2"], ends: Float[np.ndarray, "D 2"], pixel: tuple[float, float], name: str
) -> None:
    if not (np.isfinite(starts).all() and np.isfinite(ends).all() and np.abs([starts, ends]).max() < UNKNOWN):
        raise InputError(f"{name}: expected places of B-scans in mm; found others")
    if not all(np.isfinite(p) and 0 < p < 1 for p in pixel):
        raise InputError(f"{name}: expected an SLO with pixels of up to 1 mm; found {pixel[0]:g} x {pixel[1]:g}")


def stacked(
    rows: Sequence[Mapping[str, Float[np.ndarray, " W"]]], columns: int
) -> tuple[tuple[str, ...], Float[np.ndarray, "S D W"] | None]:
    """Names and rows, nan where unknown, of the boundaries that any B-scan has, from ILM down to BM."""
    order = {layer: i for i, layer in enumerate(LAYERS)}
    names = sorted(
        {layer for bscan in rows for layer in bscan}, key=lambda layer: (order.get(layer, len(order)), layer)
    )
    unknown = np.full(columns, np.nan, np.float32)
    found = np.array([[bscan.get(layer, unknown) for bscan in rows] for layer in names], np.float32)
    if not names:
        return (), None
    found[~(np.abs(found) < UNKNOWN)] = np.nan
    kept = [i for i, surface in enumerate(found) if np.nan_to_num(surface).any()]  # rows of 0: not segmented
    return tuple(names[i] for i in kept), found[kept] if kept else None
