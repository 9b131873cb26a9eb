"""One volume made as folds hold it: B-scans chosen, flattened, scaled, cropped; the SLO read where they lie."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from inr_jax.errors import InputError
from inr_jax.flattening import (
    INSIDE,
    between,
    filled_membrane,
    flattening_shift,
    is_seen,
    membrane_of_labels,
    move_rows,
)
from inr_jax.membrane import find_membrane
from inr_jax.records import Record
from inr_jax.scan import Scan

SOURCES = ("auto", "labels", "surfaces", "image", "none")  # of Bruch's membrane
BSCANS = ("fitted", "every")
NORMALISE_BY = {"fitted": 2, "all": 1}  # every which of the scored B-scans


class Options(NamedTuple):
    """How volumes are prepared; the config's keys."""

    fitted_every: int  # every which B-scan is fitted; between two of them one is scored
    membrane: str  # of SOURCES
    bscans: str  # of BSCANS: where Bruch's membrane is looked for; elsewhere it is interpolated
    target: float  # of the rows: where it comes to lie
    percentiles: tuple[float, float]  # of a B-scan's intensities: what becomes 0 and 1
    normalise_by: str  # of NORMALISE_BY: B-scans whose percentiles are taken; of others they are interpolated
    crop: tuple[int, int]  # rows, A-scans; 0: all

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> "Options | None":
        """What JSON gives back of one's `_asdict`, or of None."""
        if content is None:
            return None
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
        return cls(**values)


class FlatVolume(NamedTuple):
    """What a fold holds of one volume; even B-scans are the fitted ones."""

    voxels: Float[np.ndarray, "P h w"]  # float32 in [0, 1]
    valid: Bool[np.ndarray, "P h w"]  # False: not measured, or moved in by flattening
    labels: Int[np.ndarray, "P h w"] | None
    slo: Float[np.ndarray, "P w"] | None  # in [0, 1]
    spacing: tuple[float, float, float]  # mm between B-scans, rows, A-scans


def options_of(config: Mapping[str, Any], part: str) -> Options:
    """How volumes of a part (train, test) are prepared by a config of `inr-jax prepare`, or as a manifest holds one.

    Raises InputError for values that make no sense.
    """
    flatten = config["flatten"]
    try:
        return checked_options(
            Options(
                fitted_every=config["fitted_every"],
                membrane=flatten[part]["membrane"],
                bscans=flatten[part]["bscans"],
                target=flatten["target"],
                percentiles=tuple(config["percentiles"]),
                normalise_by=config["normalise_by"],
                crop=tuple(config["crop"]),
            )
        )
    except InputError as error:
        raise InputError(f"config, {part} volumes: {error}") from error


def checked_options(options: Options) -> Options:
    """Raises InputError for values that make no sense, naming the key."""
    if options.fitted_every < 2 or options.fitted_every % 2:
        raise InputError(f"fitted_every: expected an even number of 2 or more, found {options.fitted_every}")
    if options.membrane not in SOURCES:
        raise InputError(f"membrane: expected one of {', '.join(SOURCES)}, found {options.membrane}")
    if options.bscans not in BSCANS:
        raise InputError(f"bscans: expected one of {', '.join(BSCANS)}, found {options.bscans}")
    first, last = INSIDE
    if not first < options.target < last:
        raise InputError(f"target: expected a share of the rows between {first} and {last}, found {options.target}")
    if len(options.percentiles) != 2 or not 0 <= options.percentiles[0] < options.percentiles[1] <= 100:
        raise InputError(f"percentiles: expected two rising numbers from 0 to 100, found {options.percentiles}")
    if options.normalise_by not in NORMALISE_BY:
        raise InputError(f"normalise_by: expected one of {', '.join(NORMALISE_BY)}, found {options.normalise_by}")
    if len(options.crop) != 2 or min(options.crop) < 0:
        raise InputError(f"crop: expected rows and A-scans (0: all), found {options.crop}")
    return options


def chosen_bscans(count: int, fitted_every: int, where: str) -> Int[np.ndarray, " P"]:
    """The scored B-scans of `count`: from the first fitted one to the last, with one between each two.

    512 at every 32nd are 0, 16, ..., 480: 31 of which 16 are fitted. Raises InputError for fewer than two fitted.
    """
    last = (count - 1) // fitted_every * fitted_every
    if last == 0:
        raise InputError(f"{where}: expected more than {fitted_every} B-scans (fitted_every), found {count}")
    return np.arange(0, last + 1, fitted_every // 2)


def flat_volume(scan: Scan, options: Options, file: str) -> tuple[FlatVolume, Record]:
    """The volume as a fold holds it, and how it is undone. `file` is where the scan came from, for messages.

    What is interpolated between fitted B-scans: the range that becomes [0, 1] with `normalise_by` "fitted", Bruch's
    membrane with `bscans` "fitted". Raises InputError where no membrane is found, a B-scan is empty or the crop larger
    than the scan.
    """
    places = chosen_bscans(scan.voxels.shape[0], options.fitted_every, file)
    rows, columns = scan.voxels.shape[1:]
    shift, source, missing = shift_of(scan, places, options, f"{file}: {scan.name}")
    low, high = range_of(scan, places[:: NORMALISE_BY[options.normalise_by]], places, options, f"{file}: {scan.name}")
    box = crop_box((rows, columns), options, file)
    start, height = box[0].start, box[0].stop - box[0].start
    (voxels, valid, labels), clipped = in_window(scan, places, (low, high), shift - start, height)
    slo, how = (None, "none") if scan.slo is None else sampled_slo(scan, places, file)
    record = Record(
        name=scan.name,
        person=scan.person,
        laterality=scan.laterality,
        file=file,
        shape=(scan.voxels.shape[0], rows, columns),
        spacing=scan.spacing,
        origin=scan.origin,
        direction=scan.direction,
        places=places,
        shift=shift,
        low=low,
        high=high,
        clipped=clipped,
        crop_start=(start, box[1].start),
        crop_shape=voxels[..., box[1]].shape[1:],
        membrane=source,
        membrane_missing=missing,
        slo=how,
    )
    spacing = (scan.spacing[0] * options.fitted_every / 2, *scan.spacing[1:])
    labels, slo = (None if array is None else array[..., box[1]] for array in (labels, slo))
    return FlatVolume(voxels[..., box[1]], valid[..., box[1]], labels, slo, spacing), record


Window = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # voxels in [0, 1], valid, labels


def in_window(
    scan: Scan, places: Int[np.ndarray, " P"], ends: tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]],
    shift: Int[np.ndarray, "P W"], rows: int,
) -> tuple[Window, float]:  # fmt: skip
    """B-scans at `places`, `ends` of each as 0 and 1, A-scans moved down into so many rows; the share beyond `ends`."""
    chosen = scan.voxels[places]
    low, high = (end[:, None, None] for end in ends)
    scaled = (chosen - low) / (high - low)
    flat = move_rows(np.clip(scaled, 0.0, 1.0).astype(np.float32), shift, edge=False, window=rows)
    measured = np.ones(chosen.shape, bool) if scan.valid is None else np.asarray(scan.valid)[places]
    valid = move_rows(measured, shift, edge=False, window=rows)
    labels = None if scan.labels is None else move_rows(scan.labels[places], shift, edge=True, window=rows)
    return (flat, valid, labels), float(((scaled < 0) | (scaled > 1)).mean())


def shift_of(
    scan: Scan, places: Int[np.ndarray, " P"], options: Options, where: str
) -> tuple[Int[np.ndarray, "P W"], str, float]:
    """Rows that flatten the chosen B-scans, where the membrane came from, and the share of A-scans without it."""
    rows, columns = scan.voxels.shape[1:]
    if options.membrane == "none":
        return np.zeros((len(places), columns), int), "none", 0.0
    source = options.membrane
    if source == "auto":
        source = "labels" if scan.labels is not None else "surfaces" if scan.surfaces is not None else "image"
    looked_at = places[::2] if options.bscans == "fitted" else places
    lines = _membrane(scan, looked_at, source, where)
    known = filled_membrane(lines, rows, f"{where} (membrane: {source})")
    shift = flattening_shift(between(known, looked_at, places), rows, options.target)
    said = {"every": "every B-scan", "fitted": "fitted B-scans"}[options.bscans]
    return shift, f"{source} of {said}", float(1 - is_seen(lines, rows).mean())


def _membrane(scan: Scan, bscans: Int[np.ndarray, " K"], source: str, where: str) -> Float[np.ndarray, "K W"]:
    """The last row above Bruch's membrane in some B-scans, NaN where it is not seen."""
    if source == "image":
        valid = None if scan.valid is None else scan.valid[bscans]
        return find_membrane(Scan(scan.voxels[bscans], scan.spacing, valid=valid))
    if source == "labels" and scan.labels is not None:
        return membrane_of_labels(scan.labels[bscans])
    if source == "surfaces" and scan.surfaces is not None:
        return np.ceil(scan.surfaces[-1, bscans]).astype(float) - 1  # the surface lies between two rows
    raise InputError(f"{where}: membrane: expected {source}; found none in the scan")


def range_of(
    scan: Scan, looked_at: Int[np.ndarray, " K"], places: Int[np.ndarray, " P"], options: Options, where: str
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """What becomes 0 and 1 in every chosen B-scan, by the measured voxels of some: others are between these."""
    ranges = []
    for place in looked_at:
        valid = np.ones(scan.voxels.shape[1:], bool) if scan.valid is None else scan.valid[place]
        values = scan.voxels[place][valid]
        low, high = np.percentile(values, options.percentiles) if values.size else (0.0, 0.0)
        if low >= high:
            raise InputError(f"{where}: B-scan {place}: expected an image, found the value {low:g} alone")
        ranges.append((low, high))
    low, high = between(np.array(ranges), looked_at, places).T
    return low, high


def crop_box(shape: tuple[int, int], options: Options, file: str) -> tuple[slice, slice]:
    """Rows in which the membrane keeps its share `target` of the height, and the middle A-scans."""
    sizes = [wanted or whole for wanted, whole in zip(options.crop, shape, strict=True)]
    if sizes[0] > shape[0] or sizes[1] > shape[1]:
        raise InputError(f"{file}: crop: expected at most {shape[0]} rows and {shape[1]} A-scans, found {options.crop}")
    row = min(max(int(options.target * shape[0]) - int(options.target * sizes[0]), 0), shape[0] - sizes[0])
    column = (shape[1] - sizes[1]) // 2
    return slice(row, row + sizes[0]), slice(column, column + sizes[1])


def sampled_slo(scan: Scan, places: Int[np.ndarray, " P"], file: str) -> tuple[Float[np.ndarray, "P W"], str]:
    """The SLO in [0, 1] (of its own range) at every A-scan of some B-scans, linear between pixels; and how.

    By geometry where the scan says where its A-scans lie; otherwise by index: its corners are the scan's.
    """
    assert scan.slo is not None
    pixels, how = slo_pixels(scan, places)
    return read_slo(scan.slo, pixels, f"{file}: {scan.name}"), how


def read_slo(slo: Float[np.ndarray, "Y X"], pixels: Float[np.ndarray, "P W 2"], where: str) -> Float[np.ndarray, "P W"]:
    """An SLO in [0, 1] at (row, column), linear between pixels. Raises InputError where it is even or nothing on it."""
    low, high = float(slo.min()), float(slo.max())
    if low == high:
        raise InputError(f"{where}: SLO: expected an image, found the value {low:g} everywhere")
    inside = _on_image(pixels, slo.shape)
    if not inside.any():
        raise InputError(f"{where}: SLO: expected A-scans that lie on it, found all of them beside it")
    values = ndimage.map_coordinates(slo.astype(np.float64), np.moveaxis(pixels, -1, 0), order=1, mode="nearest")
    return ((values - low) / (high - low)).astype(np.float32)


def slo_pixels(scan: Scan, places: Int[np.ndarray, " P"]) -> tuple[Float[np.ndarray, "P W 2"], str]:
    """(row, column) on the SLO of every A-scan."""
    assert scan.slo is not None
    if scan.ascans_on_slo is not None and scan.slo_spacing is not None:
        return scan.ascans_on_slo[places] / np.array(scan.slo_spacing, float), "geometry"
    bscans, _, columns = scan.voxels.shape
    row = places * (scan.slo.shape[0] - 1) / max(bscans - 1, 1)
    column = np.arange(columns) * (scan.slo.shape[1] - 1) / max(columns - 1, 1)
    return np.stack(np.meshgrid(row, column, indexing="ij"), axis=-1), "index"


def _on_image(pixels: Float[np.ndarray, "P W 2"], shape: tuple[int, ...]) -> Bool[np.ndarray, "P W"]:
    return np.all((pixels >= -0.5) & (pixels <= np.array(shape) - 0.5), axis=-1)
