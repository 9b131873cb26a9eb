"""A new scan made as `inr-jax prepare` made the volumes of the folds that a model has learned from.

Folds hold a window of rows round Bruch's membrane and the middle A-scans: in mm, the model's box.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from inr_jax import cropping, records
from inr_jax.errors import InputError
from inr_jax.flat_volumes import Options, in_window, options_of, range_of, read_slo, shift_of, slo_pixels
from inr_jax.preprocessing import Undo, Window
from inr_jax.scan import Scan, is_placed
from inr_jax.trained import Trained

FLAT = 0.9  # of the A-scans: where so many have BM within a row of where it is to lie, a scan is flat already


class Flat(NamedTuple):
    """What was done to a new scan; the way back from it."""

    shift: Int[np.ndarray, "D w"]  # rows that each A-scan was moved down, into the window
    first: int  # of the A-scans that were kept
    shape: tuple[int, int]  # rows and A-scans of the scan
    low: Float[np.ndarray, " D"]  # what became 0
    high: Float[np.ndarray, " D"]  # what became 1
    is_flattened: bool  # False: it was flat already, or the folds are not
    membrane: str  # where Bruch's membrane came from
    membrane_missing: float  # share of the A-scans it came from where it was not seen


def options_of_training(config: ConfigDict) -> Options | None:
    """How the test volumes of the folds were prepared that a training learns from; None where no manifest says it.

    Raises InputError for a manifest that cannot be read.
    """
    folder = Path(config.data.path)
    if config.data.name != "interp_oct" or not config.train.stages or not folder.is_dir():
        return None
    manifest = records.find_manifest(folder)
    if manifest is None:
        return None
    try:
        return options_of(manifest.config, "test")
    except (KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{folder / records.MANIFEST}: config: expected that of a preparation; found: {reason}"
        ) from error


def is_wanted(model: Trained, scan: Scan) -> bool:
    """Whether a scan is to be flattened: the model has learned from prepared folds, and it is not of some itself."""
    return model.prepared is not None and not scan.prepared


def in_box(model: Trained, scan: Scan, remarks: list[str]) -> Scan:
    """The B-scans that the model's box can hold, those in the middle; rows and A-scans are chosen in `flattened`."""
    if model.config.model.extent.of != "population":
        return scan
    kept, said = cropping.to_box(scan, model.half, axes=(0, 2) if is_placed(scan) else (0,))
    remarks += said
    return kept


def _voxels(model: Trained, scan: Scan, axis: int) -> int:
    """How many of a scan's rows (1) or A-scans (2) the folds' are."""
    return round(2 * float(model.half[axis]) / scan.spacing[axis])


def flattened(model: Trained, scan: Scan, remarks: list[str]) -> tuple[Scan, Flat]:
    """A scan as a fold would hold it, and what was done to it, also to `remarks`.

    Raises InputError where no Bruch's membrane is found, or its rows are too far apart for the model.
    """
    assert model.prepared is not None, "is_wanted asks"
    total = scan.voxels.shape[2]
    rows, columns = _voxels(model, scan, 1), total if is_placed(scan) else min(_voxels(model, scan, 2), total)
    if min(rows, columns) < cropping.LEAST:
        known, own = (" x ".join(f"{1000 * mm:.4g}" for mm in pair) for pair in (2 * model.half[1:], scan.spacing[1:]))
        expected = f"the model knows {known} um in depth and width: expected {cropping.LEAST} or more voxels in it"
        raise InputError(f"{scan.name}: spacing: {expected}; found voxels of {own} um")
    flat, done = flat_scan(_placed(scan, remarks) if model.signal.slo else scan, model.prepared, rows, columns)
    if done.membrane != "none":
        how = f"flattened at Bruch's membrane ({done.membrane})" if done.is_flattened else "flattened already"
        remarks.append(f"its B-scans were {how}, as those that the model has learned from")
    remarks.append(f"the model sees {rows} rows of it and A-scans {done.first} to {done.first + columns - 1}")
    if done.membrane_missing > 0.5:
        share = f"{done.membrane_missing:.0%}"
        remarks.append(f"Bruch's membrane was not seen, but interpolated, in {share} of the flattened A-scans")
    if model.signal.slo and flat.slo is not None and np.ptp(flat.slo) > 0 and not is_placed(scan):
        flat = _with_sampled_slo(flat)
    return flat if model.config.data.interp_oct.use_valid else replace(flat, valid=None), done


def _placed(scan: Scan, remarks: list[str]) -> Scan:
    """With places of its A-scans on its SLO, where there is one: by the corners of both where nothing says them."""
    if scan.slo is None or (scan.ascans_on_slo is not None and scan.slo_spacing is not None):
        return scan
    remarks.append("nothing says where its A-scans lie on its SLO: the SLO's corners were taken for the scan's")
    pixels = slo_pixels(scan, np.arange(len(scan.voxels)))[0]
    return replace(scan, ascans_on_slo=pixels.astype(np.float32), slo_spacing=(1.0, 1.0))


def flat_scan(scan: Scan, options: Options, rows: int, columns: int) -> tuple[Scan, Flat]:
    """A new scan, all of it measured, as a fold holds one: flattened, scaled, `rows` round BM of the middle `columns`.

    BM comes from its labels where all are known, else from its surfaces, else from the image; each B-scan is scaled by
    its own percentiles (one without an image by those beside it). Where most of BM lies within a row of its place
    already, nothing is moved. Rows of the window that the scan does not have are not valid. Raises InputError where no
    membrane is found.
    """
    count, height, width = scan.voxels.shape
    places, source = np.arange(count), "none" if options.membrane == "none" else "auto"
    options = options._replace(membrane=source, bscans="every")
    shift, source, missing = shift_of(_telling(scan), places, options, scan.name)
    is_flat = (np.abs(shift) <= 1).mean() >= FLAT
    shift = np.zeros_like(shift) if is_flat else shift
    low, high = range_of(scan, places[_has_image(scan)], places, options, scan.name)
    down = shift - int(options.target * height) + int(options.target * rows)
    (voxels, valid, labels), _ = in_window(scan, places, (low, high), down, rows)
    surfaces = None if scan.surfaces is None else (scan.surfaces + down).astype(scan.surfaces.dtype)
    flat = replace(scan, voxels=voxels, valid=valid, labels=labels, surfaces=surfaces)
    first = (width - columns) // 2
    middle = slice(first, first + columns)
    done = Flat(down[:, middle], first, (height, width), low, high, not is_flat, source, missing)
    return cropping.cropped(flat, slice(0, count), slice(0, rows), middle), done


def _telling(scan: Scan) -> Scan:
    """The scan with labels and surfaces as far as they tell BM: all labels known, more surfaces than the ILM."""
    has_all = scan.labels is not None and (scan.labels >= 0).all()
    has_last = scan.surfaces is not None and len(scan.surfaces) > 1
    return replace(scan, labels=scan.labels if has_all else None, surfaces=scan.surfaces if has_last else None)


def _has_image(scan: Scan) -> Bool[np.ndarray, " D"]:
    """B-scans whose measured voxels are not all alike; all of them where none is, so that it is told."""
    valid = np.ones(scan.voxels.shape, bool) if scan.valid is None else scan.valid
    found = np.array([v.any() and np.ptp(b[v]) > 0 for b, v in zip(scan.voxels, valid, strict=True)])
    return found if found.any() else ~found


def _with_sampled_slo(scan: Scan) -> Scan:
    """The scan with an SLO as folds have it: sampled at the A-scans of its B-scans and half-way between two of them."""
    assert scan.slo is not None, "flattened asks"
    own = slo_pixels(scan, np.arange(len(scan.voxels)))[0]
    every = np.repeat(own, 2, axis=0)[:-1]
    every[1::2] = 0.5 * (own[:-1] + own[1:])
    spacing = (0.5 * scan.spacing[0], scan.spacing[2])
    places = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(own.shape, scan.spacing[::2], strict=False)), indexing="ij"), -1
    )
    slo = read_slo(scan.slo, every, scan.name)
    return replace(scan, slo=slo, slo_spacing=spacing, ascans_on_slo=places)


def undone(undo: Undo, done: Flat, low: float, high: float) -> Undo:
    """The way back through flattening, too. low, high: of the flat scan, what the model sees as 0 and 1."""
    shift = done.shift[:, ::-1] if undo.mirrored else done.shift
    span, window = done.high - done.low, Window(*done.shape, done.first)
    return replace(
        undo, motion=undo.motion - shift, window=window, low=done.low + low * span, high=done.low + high * span
    )
