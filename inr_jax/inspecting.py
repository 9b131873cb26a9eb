"""`inr-jax inspect`: what was understood of a scan file, what is missing and what looks wrong. No jax here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from inr_jax import scan_io, slo_registration
from inr_jax.scan import Scan, Triple, content_name

WEAK = 15.0  # dB: less is left out by OSCAR-IB (Tewarie et al., PLoS ONE 7:e34823, 2012)
STANDS_OUT = 6.0  # robust deviations of an A-scan that its brightest place is above its median where there is tissue
EDGE = 2.0  # rows: what is nearer to the lower edge is taken as cut off
STEEP = 10.0  # rows: a surface that is so near to the edge where it is lost has left the image
SEVERAL = 0.02  # share of A-scans from which on something is told
OUT_OF_RANGE = 0.02  # share of voxels at the largest value from which on they are taken as saturated


def inspect(
    path: str | Path,
    *,
    figure: str | Path | None = None,
    spacing: Triple | None = None,
    layers: str | Path | None = None,
) -> None:
    """Prints what was understood of every scan of a file or folder; figure: a PNG to draw them into.

    spacing: mm between B-scans, rows, A-scans, where the file does not say. layers: a file of surfaces of HEYEX or
    OCTExplorer. Raises InputError in one line.
    """
    scans = scan_io.read_scans(path, spacing=spacing)
    if layers is not None:
        scans = [scan_io.with_surfaces(scan, layers) for scan in scans]
    scans = [replace(scan, name=content_name(scan)) for scan in scans]  # as `adapt` calls them: no name of a file
    for scan in scans:
        print("\n".join([scan.name, *(f"  {name:<10} {text}" for name, text in described(scan))]), flush=True)
    if figure is not None:
        from inr_jax.scan_figures import write_overview

        write_overview(Path(figure), scans)
        print(f"figure: {figure}")


def described(scan: Scan) -> Iterator[tuple[str, str]]:
    """What is told of a scan, line by line: its name and a text."""
    bscans, rows, columns = scan.voxels.shape
    yield "file", scan.source or "unknown"
    yield "shape", f"{bscans} B-scan{'s' * (bscans > 1)} x {rows} rows x {columns} A-scans"
    if not np.isnan(scan.spacing).any():
        yield "spacing", _spacing(scan)
    if scan.laterality:
        yield "eye", {"R": "right", "L": "left"}.get(scan.laterality, scan.laterality)
    if scan.pattern:
        yield "pattern", scan.pattern
    if scan.surfaces is not None:
        yield "layers", _layers(scan)
    if scan.labels is not None:
        yield "labels", ", ".join(map(str, np.unique(scan.labels)))
    if scan.slo is not None:
        yield "SLO", _slo(scan)
    if scan.quality is not None and np.isfinite(scan.quality).any():
        low, high = np.nanmin(scan.quality), np.nanmax(scan.quality)
        yield "quality", f"{low:.1f} dB" if low == high else f"{low:.1f} to {high:.1f} dB"
    if lacking := missing(scan):
        yield "missing", ", ".join(lacking)
    for remark in scan.remarks:
        yield "assumed", remark
    for concern in concerns(scan):
        yield "look at", concern


def missing(scan: Scan) -> list[str]:
    """What a file could have said, and did not."""
    has = {
        "spacing": not np.isnan(scan.spacing).any(),
        "laterality": scan.laterality,
        "scan pattern": scan.pattern,
        "layers or labels": scan.surfaces is not None or scan.labels is not None,
        "SLO": scan.slo is not None,
        "place of the A-scans on the SLO": scan.slo is None or scan.ascans_on_slo is not None,
        "quality": scan.quality is not None and np.isfinite(scan.quality).any(),
    }
    return [name for name, there in has.items() if not there]


def concerns(scan: Scan) -> Iterator[str]:
    """What looks wrong: signal, cut-off tissue, layers that cross, an SLO that is mirrored or shows another place."""
    yield from _signal(scan)
    yield from _cut_off(scan)
    if scan.surfaces is not None and len(scan.surfaces) > 1:
        crossed = float((np.diff(scan.surfaces, axis=0) < -1).any(axis=0).mean())
        if crossed > SEVERAL:
            yield f"layers cross in {crossed:.0%} of A-scans"
    is_sized = not np.isnan(scan.spacing).any()
    if is_sized and scan.slo is not None and scan.ascans_on_slo is not None and scan.slo_spacing is not None:
        yield from _on_slo(scan, scan.slo, scan.ascans_on_slo, scan.slo_spacing)


def _spacing(scan: Scan) -> str:
    between, down, along = scan.spacing
    _, rows, columns = scan.voxels.shape
    apart = "" if scan.voxels.shape[0] == 1 else f"{1e3 * between:.1f} um between B-scans, "
    return (
        f"{apart}{1e3 * down:.2f} um in depth, {1e3 * along:.2f} um between A-scans: "
        f"{rows * down:.2f} mm deep, {columns * along:.2f} mm along"
    )


def _layers(scan: Scan) -> str:
    assert scan.surfaces is not None, "described() asks"
    names = scan.surface_names or tuple(f"surface {i + 1}" for i in range(len(scan.surfaces)))
    known = np.isfinite(scan.surfaces).mean(axis=(1, 2))
    return ", ".join(f"{name} ({share:.0%})" for name, share in zip(names, known, strict=True)) + " of A-scans"


def _slo(scan: Scan) -> str:
    assert scan.slo is not None, "described() asks"
    size = " x ".join(map(str, scan.slo.shape))
    if scan.slo_spacing is None:
        return f"{size} pixels"
    return f"{size} pixels of {1e3 * scan.slo_spacing[0]:.2f} x {1e3 * scan.slo_spacing[1]:.2f} um"


def _signal(scan: Scan) -> Iterator[str]:
    if scan.quality is not None and (weak := np.flatnonzero(scan.quality < WEAK)).size:
        yield f"low signal: {len(weak)} of {len(scan.quality)} B-scans below {WEAK:.0f} dB"
    elif (bare := float(1 - _tissue(scan).mean())) > 0.2:
        yield f"low signal: in {bare:.0%} of A-scans nothing stands out of the noise"
    top = float((scan.voxels == scan.voxels.max()).mean())
    if top > OUT_OF_RANGE:
        yield f"saturated: {top:.0%} of voxels have the largest value"


def _smooth(scan: Scan) -> Float[np.ndarray, "D H W"]:
    """Every voxel's mean with the two above and the two below it."""
    from scipy import ndimage

    return ndimage.uniform_filter1d(scan.voxels, 5, axis=1)


def _tissue(scan: Scan) -> np.ndarray:
    """[D, W]: whether something stands out of the noise of an A-scan."""
    middle = np.median(scan.voxels, axis=1, keepdims=True)
    spread = 1.48 * np.median(np.abs(scan.voxels - middle), axis=1)
    return (_smooth(scan) - middle).max(axis=1) > STANDS_OUT * spread / np.sqrt(5)


def _cut_off(scan: Scan) -> Iterator[str]:
    """By BM where the file has it, by the brightest place of every A-scan where not."""
    lowest = scan.voxels.shape[1] - 1 - EDGE
    if scan.surfaces is not None and "BM" in scan.surface_names:
        bm, name = scan.surfaces[scan.surface_names.index("BM")], "BM"
        is_cut = (bm >= lowest) | _left_at(bm, lowest - STEEP)
    else:
        is_cut, name = _smooth(scan).argmax(axis=1) >= lowest, "the brightest layer"
    cut = float(is_cut.mean())
    if cut > SEVERAL:
        yield f"clipped: {name} lies at the lower edge in {cut:.0%} of A-scans"
    above = float(_touches_the_top(scan).mean())
    if above > SEVERAL:
        yield f"clipped: tissue is cut off at the upper edge, and may be folded over, in {above:.0%} of A-scans"


def _left_at(surface: Float[np.ndarray, "D W"], row: float) -> np.ndarray:
    """[D, W]: whether a surface is not known, and was this deep where it was last known along its B-scan."""
    unknown, found = np.isnan(surface), np.zeros(surface.shape, bool)
    places = np.arange(surface.shape[1])
    for b in np.flatnonzero(unknown.any(axis=1) & ~unknown.all(axis=1)):
        known = places[~unknown[b]]
        before = known[np.maximum(np.searchsorted(known, places) - 1, 0)]
        after = known[np.minimum(np.searchsorted(known, places), len(known) - 1)]
        found[b] = unknown[b] & (np.maximum(surface[b, before], surface[b, after]) >= row)
    return found


def _touches_the_top(scan: Scan) -> np.ndarray:
    """[D, W]: whether the uppermost rows that were measured are as bright as tissue."""
    smooth = _smooth(scan)
    middle, bright = np.quantile(smooth, (0.5, 0.97), axis=1)
    return smooth[:, : max(4, scan.voxels.shape[1] // 40)].max(axis=1) > (middle + bright) / 2


def _on_slo(
    scan: Scan, slo: Float[np.ndarray, "Y X"], places: Float[np.ndarray, "D W 2"], pixel: tuple[float, float]
) -> Iterator[str]:  # fmt: skip
    size = np.array(slo.shape) * pixel
    outside = float(((places < -np.array(pixel)) | (places > size)).any(axis=-1).mean())
    if outside > SEVERAL:
        yield f"{outside:.0%} of A-scans lie outside the SLO"
    seen, mirrored = (slo_registration.find(replace(scan, slo=s)).correlation for s in (slo, slo[:, ::-1]))
    needed = max(slo_registration.SURE, slo_registration.CHANCE / np.sqrt(places.size / 2))
    if mirrored > max(needed, seen):
        yield f"mirrored SLO: vessels agree with it (r = {seen:.2f}) less than with its mirror image ({mirrored:.2f})"
    elif seen < needed / 2:
        yield f"vessels do not agree with the SLO where the file says that A-scans lie (r = {seen:.2f})"
