"""Gaussian, non-local means and total variation denoising of measured slices, tuned on validation scans."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from inr_jax import progress
from inr_jax.errors import InputError
from inr_jax.interpolation import axis_masks, spread
from inr_jax.tuning import QUICK, THOROUGH, Effort, Parameters, TuningScan, quality, refine, tuning_scans
from inr_jax.types import Population

Slices = Float[np.ndarray, "S H W C"]


class Tuned(NamedTuple):
    """What tuning found, by family."""

    best: str
    parameters: dict[str, Parameters]
    psnr: dict[str, float]  # dB, of the unmeasured places of the validation scans


class Family(NamedTuple):
    """A denoiser of slices, a grid of its parameters, and those which are then refined continuously."""

    apply: Callable[..., Slices]
    grid: dict[str, Sequence[float]]
    refined: tuple[str, ...]


def _gaussian(slices: Slices, *, rows: float, columns: float) -> Slices:
    return gaussian_filter(slices, (0, rows, columns, 0), mode="nearest")


def _nlm(slices: Slices, *, h: float, patch: float, distance: float) -> Slices:
    sizes = {"patch_size": int(patch), "patch_distance": int(distance)}
    out = [denoise_nl_means(s, h=h, channel_axis=-1, **sizes) for s in slices]
    return np.stack(out).reshape(slices.shape)  # a single channel comes back without its axis


def _tv(slices: Slices, *, weight: float) -> Slices:
    return np.stack([denoise_tv_chambolle(s, weight=weight, channel_axis=-1) for s in slices])


# rows and columns: sigmas in pixels; h and weight in units of the intensity; patch and distance in pixels
FAMILIES = {
    "gaussian": Family(
        _gaussian,
        {"rows": (0.0, 0.4, 0.6, 0.8, 1.1, 1.5, 2.0), "columns": (0.0, 0.5, 0.8, 1.2, 1.7, 2.4, 3.4, 5.0)},
        ("rows", "columns"),
    ),
    "nlm": Family(
        _nlm,
        {"h": (0.03, 0.06, 0.1, 0.15, 0.25), "patch": (3.0, 5.0, 7.0), "distance": (5.0, 7.0)},
        ("h",),
    ),
    "tv": Family(_tv, {"weight": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)}, ("weight",)),
}
ACROSS = (0.0, 0.4, 0.6, 0.9, 1.3)  # measured slices: a Gaussian across them, after any denoiser


def denoise(
    samples: Float[np.ndarray, "*subgrid C"], family: str, parameters: Parameters
) -> Float[np.ndarray, "*subgrid C"]:
    """Each slice [H, W, C] of the samples denoised; a volume's slices then smoothed across by `across`."""
    within = {name: value for name, value in parameters.items() if name != "across"}
    slices = samples.reshape(-1, *samples.shape[-3:])
    out = FAMILIES[family].apply(slices, **within).reshape(samples.shape)
    across = (parameters["across"], 0, 0, 0) if samples.ndim == 4 else 0
    return gaussian_filter(out, across, mode="nearest").astype(samples.dtype)


def tune_denoiser(validation: Population, quick: bool = False) -> Tuned:
    """The parameters of each family that, before linear interpolation, predict the unmeasured places best.

    Maximises the mean PSNR (over slices, then scans) of the validation scans: over the family's grid, then
    over `across`, then by Nelder-Mead from there. Raises InputError for scattered samples: they have no
    slices.
    """
    effort = QUICK if quick else THOROUGH
    masks = axis_masks(validation.measured)
    if masks is None:
        raise InputError("denoising: expected measured slices or a regular subgrid, found scattered samples")
    few, scans = (tuning_scans(validation, masks, voxels) for voxels in (effort.grid_voxels, effort.voxels))
    parameters, psnr = {}, {}
    across = ACROSS if validation.measured.ndim == 3 else (0.0,)
    most = sum(_trials(family, effort, len(across)) for family in FAMILIES.values())
    steps = progress.bar(desc="baselines: tuning the denoisers on validation scans", total=most, unit="trial")
    for name, family in FAMILIES.items():

        def score(values: Parameters, scans: list[TuningScan], name: str = name) -> float:
            steps.update()
            return float(
                np.mean([quality(spread(denoise(s.samples, name, values), masks, "linear"), s) for s in scans])
            )

        grid = [values[:: effort.every] for values in family.grid.values()]
        start = max(
            (dict(zip(family.grid, values, strict=True)) | {"across": 0.0} for values in product(*grid)),
            key=lambda values: score(values, few),
        )
        start = max((start | {"across": a} for a in across), key=lambda values: score(values, few))
        refined = family.refined + (("across",) if len(across) > 1 else ())
        parameters[name] = refine(lambda values: score(values, scans), start, refined, effort.evaluations)
        psnr[name] = score(parameters[name], scans)
    steps.close()
    return Tuned(max(psnr, key=psnr.__getitem__), parameters, psnr)


def _trials(family: Family, effort: Effort, across: int) -> int:
    """How often a family is tried at most."""
    grid = int(np.prod([len(values[:: effort.every]) for values in family.grid.values()]))
    return grid + across + effort.evaluations * (len(family.refined) + (across > 1)) + 1
