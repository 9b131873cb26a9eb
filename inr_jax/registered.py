"""Registration-based interpolation between measured B-scans, tuned on validation scans (SimpleITK underneath).

Where two neighbouring measured B-scans a and b correspond, a(x) ~ b(x + u(x)), a voxel is taken to move straight and
evenly from one to the other. Between them, at the share t of the way, the B-scan is

    i_t(y) = (1 - t) a(x) + t b(x + u(x)),    y = x + t u(x),

a for t = 0 and b for t = 1. Penney, Schnabel, Rueckert, Viergever and Niessen, IEEE TMI 23 (2004) 922. u is found by
demons with symmetric forces on a pyramid of resolutions: Vercauteren et al., NeuroImage 45 (2009) S61.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter, map_coordinates

from inr_jax import progress
from inr_jax.denoising import FAMILIES, Tuned, denoise
from inr_jax.errors import InputError
from inr_jax.interpolation import axis_masks, spread
from inr_jax.tuning import QUICK, THOROUGH, Parameters, quality, refine, tuning_scans
from inr_jax.types import Population

Slices = Float[np.ndarray, "S H W C"]
BSCANS = "whole measured B-scans with others between them"

# sigmas of the displacement's smoothing in pixels of each resolution, and iterations at each
FIELD = {"rows": (1.5, 2.0, 3.0), "columns": (1.0, 2.0, 4.0)}
ITERATIONS = (10.0, 20.0)  # tried after the sigmas, which are found at the fewest
SHRINKS = (16, 8, 4, 2)  # the pyramid: u is smooth, so the finest resolution would add time alone
SMALLEST = 6  # pixels: a coarser image has nothing to register
INVERSION = 6  # steps of the fixed point: u of neighbours has gradients of 1/2 at most or so, errors 1/4 a step
CUBIC = 3  # degree of the splines that read B-scans between pixels: linear ones would blur them


class Path(NamedTuple):
    """Where the voxels of an unmeasured B-scan come from, rows and columns in pixels."""

    before: int  # which measured B-scan is a; b is the next
    share: float  # t
    in_a: Float[np.ndarray, "2 H W"]  # x
    in_b: Float[np.ndarray, "2 H W"]  # x + u(x)


Paths = dict[int, Path]  # by the B-scan's place


class Registered(NamedTuple):
    """What tuning found: a denoiser, once to be registered by and once to be interpolated, and a field's smoothness."""

    family: str
    driving: Parameters
    carried: Parameters
    field: Parameters
    psnr: float  # dB, of the unmeasured places of the validation scans


def bscans_between(measured: Bool[np.ndarray, "*grid"]) -> Bool[np.ndarray, "D"] | None:
    """Which B-scans are measured, where whole ones of a volume are and no other places; else None."""
    masks = axis_masks(measured)
    return masks[0] if measured.ndim == 3 and masks is not None and all(mask.all() for mask in masks[1:]) else None


@contextmanager
def _single_thread() -> Iterator[None]:
    """The filters that are made inside, and those inside them, take one thread.

    A filter's own number does not reach the smoothing within it, whose threads are begun anew at every iteration: on
    busy cores waiting for them took fifteen times as long as the work.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@_single_thread()
def displacement(a: Float[np.ndarray, "H W"], b: Float[np.ndarray, "H W"], field: Parameters) -> np.ndarray:
    """u [2, H, W] in rows and columns with a(x) ~ b(x + u(x)); one thread, so that it is the same every time.

    The pixel is the unit of length throughout, however far apart rows and A-scans lie.
    """
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(int(field["iterations"]))
    demons.SetStandardDeviations((field["columns"], field["rows"]))  # ITK counts columns first
    found = None
    for shrink in [s for s in SHRINKS if min(a.shape) // s >= SMALLEST] or [1]:
        pair = [_shrunk(image, shrink) for image in (a, b)]
        found = demons.Execute(*pair) if found is None else demons.Execute(*pair, _on_grid(found, pair[0]))
    assert found is not None, "a pyramid has a level"
    columns, rows = np.moveaxis(sitk.GetArrayFromImage(_on_grid(found, _shrunk(a, 1))), -1, 0)
    return np.stack([rows, columns])


def _shrunk(image: Float[np.ndarray, "H W"], shrink: int) -> sitk.Image:
    smooth = gaussian_filter(image.astype(np.float32), shrink / 2 if shrink > 1 else 0, mode="nearest")
    return sitk.Shrink(sitk.GetImageFromArray(smooth), (shrink, shrink))


def _on_grid(field: sitk.Image, like: sitk.Image) -> sitk.Image:
    """A displacement at the pixels of another resolution, its edge repeated."""
    return sitk.Resample(field, like, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID(), True)


def along(
    u: Float[np.ndarray, "2 H W"],
    share: float | Float[np.ndarray, "*n"],
    y: Float[np.ndarray, "2 *n"] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """x and x + u(x), both [2, *n], of places y = x + share u(x): rows and columns, by default all pixels.

    x <- y - share u(x), a fixed point where share |grad u| < 1: Chen et al., Med. Phys. 35 (2008) 81.
    """

    def displaced(x: np.ndarray) -> np.ndarray:
        return np.stack([map_coordinates(axis, x, order=1, mode="nearest") for axis in u])

    y, moved = (np.indices(u.shape[1:]).astype(np.float64), u) if y is None else (y, displaced(y))
    for _ in range(INVERSION):
        x = y - share * moved
        moved = displaced(x)
    x = y - share * moved
    return x, x + moved


def paths_between(slices: Slices, measured: Bool[np.ndarray, "D"], field: Parameters) -> Paths:
    """The paths of all B-scans between measured ones, by registering these; beyond the outermost there are none."""
    out: Paths = {}
    places = np.flatnonzero(measured)
    images = slices.mean(axis=-1)
    for i, (first, last) in enumerate(zip(places[:-1].tolist(), places[1:].tolist(), strict=True)):
        if last > first + 1:
            u = displacement(images[i], images[i + 1], field)
            shares = {place: (place - first) / (last - first) for place in range(first + 1, last)}
            out |= {place: Path(i, share, *along(u, share)) for place, share in shares.items()}
    return out


def carry(slices: Slices, measured: Bool[np.ndarray, "D"], paths: Paths) -> np.ndarray:
    """All B-scans [D, H, W, C]: measured ones as they are, those between along their paths, others the nearest."""
    out = spread(slices, (measured,), "nearest")
    for place, (before, share, in_a, in_b) in paths.items():
        out[place] = (1 - share) * warped(slices[before], in_a) + share * warped(slices[before + 1], in_b)
    return out


def warped(image: Float[np.ndarray, "H W C"], at: Float[np.ndarray, "2 *n"], order: int = CUBIC) -> np.ndarray:
    """The image read at places in rows and columns, [*n, C], by splines of a degree."""
    channels = np.moveaxis(image, -1, 0)
    return np.stack([map_coordinates(c, at, order=order, mode="nearest") for c in channels], axis=-1)


def interpolate_registered(samples: Slices, measured: Bool[np.ndarray, "D"], found: Registered) -> np.ndarray:
    """All B-scans [D, H, W, C] of a scan from its measured ones, which come back denoised, by tuned parameters."""
    paths = paths_between(denoise(samples, found.family, found.driving), measured, found.field)
    return carry(denoise(samples, found.family, found.carried), measured, paths)


def tune_registration(validation: Population, denoiser: Tuned, quick: bool = False) -> Registered:
    """The parameters that predict the unmeasured B-scans of the validation scans best, as `tune_denoiser` has it.

    Starts from the best tuned denoiser, by whose B-scans u is found: the field's sigmas on a grid, its iterations, then
    for these paths the denoiser anew, of the B-scans that are carried along them (what linear interpolation blurs wants
    another strength). Raises InputError where no whole B-scans of volumes are measured.
    """
    effort = QUICK if quick else THOROUGH
    mask = bscans_between(validation.measured)
    if mask is None:
        raise InputError(f"registration: expected {BSCANS}, found other measured places")
    masks = (mask, *(np.ones(size, bool) for size in validation.measured.shape[1:]))
    scans = tuning_scans(validation, masks, effort.voxels)
    family, driving = denoiser.best, denoiser.parameters[denoiser.best]
    refined = (*FAMILIES[family].refined, "across")
    grid = [values[:: effort.every] for values in FIELD.values()]
    iterations = ITERATIONS[:: effort.every]
    most = len(list(product(*grid))) + len(iterations) + effort.evaluations * len(refined) + 1
    steps = progress.bar(desc="baselines: tuning the registration on validation scans", total=most, unit="trial")

    def score(carried: Parameters, paths: list[Paths]) -> float:
        steps.update()
        denoised = [denoise(scan.samples, family, carried) for scan in scans]
        return float(
            np.mean([quality(carry(d, mask, p), scan) for d, p, scan in zip(denoised, paths, scans, strict=True)])
        )

    def paths_of(field: Parameters) -> list[Paths]:
        return [paths_between(denoise(scan.samples, family, driving), mask, field) for scan in scans]

    fields = [dict(zip(FIELD, values, strict=True)) | {"iterations": iterations[0]} for values in product(*grid)]
    field = max(fields, key=lambda field: score(driving, paths_of(field)))
    field = max((field | {"iterations": i} for i in iterations), key=lambda field: score(driving, paths_of(field)))
    paths = paths_of(field)
    carried = refine(lambda values: score(values, paths), driving, refined, effort.evaluations)
    found = Registered(family, driving, carried, field, score(carried, paths))
    steps.close()
    return found
