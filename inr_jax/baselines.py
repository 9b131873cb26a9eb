"""What a user would do without a model, from measured samples alone: interpolate, denoise, read an atlas.

Rows called an oracle see what no user has (noise-free slices, true labels): yardsticks, not competitors.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt

from inr_jax import progress
from inr_jax.denoising import FAMILIES, Tuned, denoise, tune_denoiser
from inr_jax.interpolation import (
    KINDS,
    axis_masks,
    fill_invalid,
    interpolate,
    measured_samples,
    spread,
)
from inr_jax.registered import BSCANS, bscans_between, interpolate_registered, tune_registration
from inr_jax.registration import smooth_surface, trace_band
from inr_jax.tuning import Parameters
from inr_jax.types import Population

LAYERED = 0.98  # share of the A-scans that a stack of layers must cross
Geometry = tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]  # a grid's spacing and offset in mm
Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (intensity [*grid C], valid [*grid]) -> intensity


class Prediction(NamedTuple):
    """What a baseline says of the N scans of a population; None where it says nothing."""

    intensity: Float[np.ndarray, "N *grid C"] | None
    labels: Int[np.ndarray, "N *grid"] | None
    note: str  # its parameters, or why it says nothing
    seconds: Sequence[float] | None = None  # for each scan, tuning and training apart; None: not taken


def all_baselines(
    train: Population, validation: Population, test: Population, quick: bool = False
) -> dict[str, Prediction]:
    """Every baseline's prediction of the test scans, by name; `quick` tunes on fewer scans.

    Intensities are clipped to [0, 1]. Names that begin with "oracle" see the truth of the measured slices.
    """
    out = {kind: _interpolated(test, kind) for kind in KINDS}
    tuned = None if axis_masks(test.measured) is None else tune_denoiser(validation, quick)
    out |= _denoised(test, tuned)
    if test.measured.ndim == 3:
        out["registration (tuned)"] = _registered(validation, test, tuned, quick)
    if train.labels is not None:
        out["mean atlas"] = _atlas(train, test)
    if test.truth is not None:
        clean = np.stack([oracle_clean(truth, test.measured) for truth in test.truth])
        out["oracle: linear of noise-free slices"] = Prediction(clean, None, "sees noise-free measured slices")
    labels = test.labels if test.truth_labels is None else test.truth_labels
    if labels is not None:
        shapes = np.stack([oracle_labels(label, test.measured) for label in labels])
        out["oracle: true neighbouring labels"] = Prediction(None, shapes, "sees true labels of measured slices")
    return out


def mean_atlas(
    train: Population, spacing: Float[np.ndarray, "k"], offset: Float[np.ndarray, "k"]
) -> Int[np.ndarray, "*grid"]:
    """The most frequent label of the training scans at each place of a grid in the box.

    The grid has the size of the training scans and `spacing` and `offset` in mm, as in Population. Each
    training scan votes with its nearest voxel, edges repeated; invalid and unlabelled voxels have no vote;
    the lower label wins a tie.
    """
    own = zip(train.spacing, train.offset, strict=True)
    grid = train.intensity.shape[1:-1]
    return _mode(train, (_nearest_voxels(grid, (spacing, offset), geometry) for geometry in own))


def aligned_atlas(train: Population, test: Population) -> Int[np.ndarray, "N D H W"]:
    """The most frequent label at each place of every test scan, depth counted from the deep bright band.

    Volumes of whole B-scans. The band (an eye's RPE) is a smooth surface found in all B-scans of a training scan and in
    the measured ones of a test scan alone. Within a B-scan and across them places are those of `mean_atlas`; depth is
    in mm from each scan's own surface, edges repeated.
    """
    every = np.ones(len(train.measured), bool)
    measured = np.asarray(test.measured.all(axis=(1, 2)))
    floors = [deep_surface(*scan, every) for scan in zip(train.intensity, train.valid, train.spacing, strict=True)]
    rows = np.arange(test.measured.shape[1])[:, None]
    out = []
    for intensity, valid, spacing, offset in zip(test.intensity, test.valid, test.spacing, test.offset, strict=True):
        depth = (rows - deep_surface(intensity, valid, spacing, measured)[:, None]) * spacing[1]
        own = zip(floors, zip(train.spacing, train.offset, strict=True), strict=True)
        out.append(_mode(train, (_voxels_at_depth(depth, (spacing, offset), *scan) for scan in own)))
    return np.stack(out)


def deep_surface(
    intensity: Float[np.ndarray, "D H W C"],
    valid: Bool[np.ndarray, "D H W"],
    spacing: Float[np.ndarray, "3"],
    measured: Bool[np.ndarray, "D"],
) -> Float[np.ndarray, "D W"]:
    """Rows of the smooth surface through the bright deep band of the measured B-scans, linear between them."""
    seen = np.asarray(valid[measured].any(axis=1))
    d, h, w = spacing.tolist()
    band = trace_band(intensity[measured].mean(axis=-1), seen, (d, h, w))
    return spread(smooth_surface(band, seen), (measured, np.ones(seen.shape[1], bool)), "linear")


def oracle_clean(
    truth: Float[np.ndarray, "*grid C"], measured: Bool[np.ndarray, "*grid"]
) -> Float[np.ndarray, "*grid C"]:
    """Linear interpolation between noise-free measured samples: what perfect denoising would give."""
    return np.clip(interpolate(truth, measured, "linear"), 0, 1)


def oracle_labels(labels: Int[np.ndarray, "*grid"], measured: Bool[np.ndarray, "*grid"]) -> Int[np.ndarray, "*grid"]:
    """True labels of the measured slices, carried to the others.

    A stack of layers (classes 1 .. K in this order down every A-scan) has its surfaces interpolated linearly.
    Other classes have their signed distances within a slice interpolated (Raya and Udupa, IEEE TMI 9 (1990)
    32); the largest positive one wins, over the layers too. Scattered samples: the nearest one's label.
    """
    masks = axis_masks(measured)
    if masks is None:
        return interpolate(labels[..., None].astype(np.float32), measured, "nearest")[..., 0].astype(labels.dtype)
    samples = labels[np.ix_(*masks)]
    out = np.zeros(labels.shape, labels.dtype)
    layers = _stack_of_layers(samples) if labels.ndim == 3 and masks[1].all() else 0
    if layers:
        surfaces = _surfaces(samples, layers)
        out = _between(spread(surfaces, (masks[0], masks[2]), "linear"), labels.shape[1]).astype(labels.dtype)
    farthest = np.zeros(labels.shape)
    for label in [c for c in np.unique(samples) if c > layers]:
        inside = spread(_signed_distance(samples == label)[..., None], masks, "linear")[..., 0]
        out = np.where(inside > farthest, label, out)
        farthest = np.maximum(farthest, inside)
    return out


def _scan_by_scan(test: Population, answer: Answer, note: str, shown: str | None = None) -> Prediction:
    """What `answer` makes of each scan's measurement, clipped to [0, 1]. shown: what a progress bar is called."""
    found, seconds = [], []
    scans = list(zip(test.intensity, test.valid, strict=True))
    for intensity, valid in progress.bar(scans, shown, unit="scan", disable=shown is None):
        began = time.perf_counter()
        found.append(np.clip(answer(intensity, valid), 0, 1))
        seconds.append(time.perf_counter() - began)
    return Prediction(np.stack(found), None, note, seconds)


def _interpolated(test: Population, kind: str) -> Prediction:
    masks = axis_masks(test.measured)

    def answer(intensity: Float[np.ndarray, "*grid C"], valid: Bool[np.ndarray, "*grid"]) -> np.ndarray:
        if masks is None:
            return interpolate(intensity, test.measured & valid, kind)
        return spread(measured_samples(intensity, valid, masks), masks, kind)

    return _scan_by_scan(test, answer, "")


def _denoised(test: Population, tuned: Tuned | None) -> dict[str, Prediction]:
    """Each family of denoisers at its tuned parameters, then linear; None: samples are scattered."""
    names = {family: f"{family} + linear (tuned)" for family in FAMILIES}
    masks = axis_masks(test.measured)
    if masks is None or tuned is None:
        return {name: Prediction(None, None, "not applicable to scattered samples") for name in names.values()}

    def answer(family: str) -> Answer:
        return lambda intensity, valid: spread(
            denoise(measured_samples(intensity, valid, masks), family, tuned.parameters[family]), masks, "linear"
        )

    return {name: _scan_by_scan(test, answer(family), _note(tuned, family)) for family, name in names.items()}


def _note(tuned: Tuned, family: str) -> str:
    best = "best of the denoisers; " if family == tuned.best else ""
    return f"{best}{_values(tuned.parameters[family])}; validation {tuned.psnr[family]:.2f} dB"


def _values(parameters: Parameters) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in parameters.items())


def _registered(validation: Population, test: Population, tuned: Tuned | None, quick: bool) -> Prediction:
    """Denoised B-scans carried along their registration, all of it tuned."""
    mask = bscans_between(test.measured)
    if mask is None or tuned is None:
        return Prediction(None, None, f"not applicable: wants {BSCANS}")
    found = tune_registration(validation, tuned, quick)
    every = tuple(np.ones(size, bool) for size in test.measured.shape[1:])
    note = (
        f"demons: {_values(found.field)}; driven by {found.family}: {_values(found.driving)}; carries {found.family}:"
        f" {_values(found.carried)}; validation {found.psnr:.2f} dB"
    )

    def answer(intensity: Float[np.ndarray, "*grid C"], valid: Bool[np.ndarray, "*grid"]) -> np.ndarray:
        return interpolate_registered(measured_samples(intensity, valid, (mask, *every)), mask, found)

    return _scan_by_scan(test, answer, note, "baselines: registering B-scans")


def _atlas(train: Population, test: Population) -> Prediction:
    """Aligned in depth where training labels are stacks of layers and whole B-scans are measured, else plain."""
    note = f"mode over {len(train.names)} training scans"
    masks = axis_masks(test.measured)
    if _layered(train) and masks is not None and masks[1].all() and masks[2].all():
        note += ", aligned at the deep bright band found in the measured B-scans"
        return Prediction(None, aligned_atlas(train, test), note)
    grids = zip(test.spacing, test.offset, strict=True)
    return Prediction(None, np.stack([mean_atlas(train, *grid) for grid in grids]), note)


def _layered(population: Population) -> bool:
    """Whether all labels are stacks of two layers or more: with one alone there is no order to tell."""
    labels = population.labels
    return labels is not None and labels.ndim == 4 and _stack_of_layers(labels.reshape(-1, *labels.shape[2:])) > 1


def _mode(train: Population, places: Iterable[tuple[np.ndarray, ...]]) -> Int[np.ndarray, "*grid"]:
    """The most frequent label, each training scan voting with its voxels at its own `places` (indices per axis)."""
    assert train.labels is not None, "an atlas needs labels"
    votes = np.zeros((len(train.classes), *train.labels.shape[1:]), np.int32)
    for labels, valid, at in zip(train.labels, train.valid, places, strict=True):
        vote = np.where(valid, labels, -1)[at]
        for label in range(len(train.classes)):
            votes[label] += vote == label
    return votes.argmax(axis=0)


def _nearest_voxels(grid: tuple[int, ...], asked: Geometry, own: Geometry) -> tuple[Int[np.ndarray, "..."], ...]:
    """Of every axis: the indices in a training scan nearest to the places of the asked grid, as np.ix_ has them."""
    out = []
    for size, spacing, offset, own_spacing, own_offset in zip(grid, *asked, *own, strict=True):
        centre = (size - 1) / 2
        place = (np.arange(size) - centre) * spacing + offset
        out.append(np.clip(np.rint((place - own_offset) / own_spacing + centre), 0, size - 1).astype(int))
    return np.ix_(*out)


def _voxels_at_depth(
    depth: Float[np.ndarray, "D H W"], asked: Geometry, floor: Float[np.ndarray, "D W"], own: Geometry
) -> tuple[Int[np.ndarray, "..."], ...]:
    """Indices in a training scan of the voxels at `depth` (mm) below its own `floor` (rows), as _nearest_voxels."""
    d, _, w = _nearest_voxels(depth.shape, asked, own)
    rows = np.rint(floor[d, w] + depth / own[0][1])
    return d, np.clip(rows, 0, depth.shape[1] - 1).astype(int), w


def _stack_of_layers(labels: Int[np.ndarray, "S H W"]) -> int:
    """The largest K such that nearly every A-scan holds classes of 1 .. K, in order; 0 if there is none."""
    layers = 0
    for last in range(1, int(labels.max()) + 1):
        layer = np.where((labels >= 1) & (labels <= last), labels, 0)
        if (layer[layer > 0] < np.maximum.accumulate(layer, axis=1)[layer > 0]).any():
            break
        if layer.any(axis=1).mean() >= LAYERED:
            layers = last
    return layers


def _surfaces(labels: Int[np.ndarray, "S H W"], layers: int) -> Float[np.ndarray, "S W edges"]:
    """The upper edge of each of the classes 1 .. `layers` and the lower edge of the last, in rows.

    A class that an A-scan lacks has its edge where the next begins; an A-scan without any takes its
    neighbour's.
    """
    stack = np.where(labels <= layers, labels, 0)
    bottom = labels.shape[1] - np.argmax(stack[:, ::-1] > 0, axis=1)
    edges = []
    for layer in range(1, layers + 1):
        below = stack >= layer
        edges.append(np.where(below.any(axis=1), below.argmax(axis=1), bottom))
    crossed = np.asarray((stack > 0).any(axis=1))
    return fill_invalid(np.stack([*edges, bottom], axis=-1).astype(np.float64), crossed)


def _between(surfaces: Float[np.ndarray, "D W edges"], rows: int) -> Int[np.ndarray, "D rows W"]:
    """Labels from edges: a voxel belongs to the last layer whose upper edge lies above its centre."""
    centre = np.arange(rows)[None, :, None] + 0.5
    above = [centre >= edge[:, None] for edge in np.moveaxis(surfaces, -1, 0)]
    return np.where(above[-1], 0, np.sum(above[:-1], axis=0))


def _signed_distance(mask: Bool[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """Pixels to the edge of the mask within its slice, positive inside; at most the slice's size."""
    slices = mask if mask.ndim == 3 else mask[None]
    size = max(slices.shape[1:])
    out = np.full(slices.shape, -float(size))
    for distance, inside in zip(out, slices, strict=True):
        if inside.all():
            distance[:] = size
        elif inside.any():
            distance[:] = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return out.reshape(mask.shape)
