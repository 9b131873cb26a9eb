"""Gaussian, non-local means and total variation denoising of measured slices, tuned on validation scans."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from inr_jax import progress
from inr_jax.errors import InputError
from inr_jax.interpolation import axis_masks, measured_samples, spread
from inr_jax.types import Population

Parameters = dict[str, float]
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


class Effort(NamedTuple):
    """How hard to tune; the number of scans is told in voxels, so that large scans cost no more."""

    grid_voxels: float  # of the scans that the grid is searched on
    voxels: float  # of the scans that the refinement sees
    evaluations: int  # of the refinement, per parameter
    every: int  # which grid point of each parameter is tried


class _Scan(NamedTuple):
    """A validation scan: what is measured of it, and what is scored."""

    samples: Float[np.ndarray, "*subgrid C"]
    truth: Float[np.ndarray, "*grid C"]
    scored: Bool[np.ndarray, "*grid"]


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
NOTHING = 1e-3  # of a refined parameter: leaves the slices as they are (total variation cannot divide by 0)
ACROSS = (0.0, 0.4, 0.6, 0.9, 1.3)  # measured slices: a Gaussian across them, after any denoiser
THOROUGH = Effort(grid_voxels=4e5, voxels=2.3e6, evaluations=12, every=1)
QUICK = Effort(grid_voxels=4e5, voxels=8e5, evaluations=6, every=2)


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
    few, scans = (_scans(validation, masks, voxels) for voxels in (effort.grid_voxels, effort.voxels))
    parameters, psnr = {}, {}
    across = ACROSS if validation.measured.ndim == 3 else (0.0,)
    most = sum(_trials(family, effort, len(across)) for family in FAMILIES.values())
    steps = progress.bar(desc="baselines: tuning the denoisers on validation scans", total=most, unit="trial")
    for name, family in FAMILIES.items():

        def quality(values: Parameters, scans: list[_Scan], name: str = name) -> float:
            steps.update()
            return float(
                np.mean([_quality(spread(denoise(s.samples, name, values), masks, "linear"), s) for s in scans])
            )

        grid = [values[:: effort.every] for values in family.grid.values()]
        start = max(
            (dict(zip(family.grid, values, strict=True)) | {"across": 0.0} for values in product(*grid)),
            key=lambda values: quality(values, few),
        )
        start = max((start | {"across": a} for a in across), key=lambda values: quality(values, few))
        refined = family.refined + (("across",) if len(across) > 1 else ())
        parameters[name] = _refine(lambda values: quality(values, scans), start, refined, effort.evaluations)
        psnr[name] = quality(parameters[name], scans)
    steps.close()
    return Tuned(max(psnr, key=psnr.__getitem__), parameters, psnr)


def _trials(family: Family, effort: Effort, across: int) -> int:
    """How often a family is tried at most."""
    grid = int(np.prod([len(values[:: effort.every]) for values in family.grid.values()]))
    return grid + across + effort.evaluations * (len(family.refined) + (across > 1)) + 1


def _refine(
    quality: Callable[[Parameters], float], start: Parameters, refined: tuple[str, ...], evaluations: int
) -> Parameters:
    """Nelder-Mead from `start` in the `refined` parameters; first steps: a third, or 0.3 from nothing."""
    origin = np.maximum([start[name] for name in refined], NOTHING)
    steps = np.diag(np.where(origin > NOTHING, origin / 3, 0.3))
    found = minimize(
        lambda x: -quality(start | dict(zip(refined, x.tolist(), strict=True))),
        origin,
        method="Nelder-Mead",
        bounds=[(NOTHING, None)] * len(refined),
        options={
            "initial_simplex": np.vstack([origin, origin + steps]),
            "maxfev": evaluations * len(refined),
            "xatol": 1e-3,
        },
    )
    return start | dict(zip(refined, found.x.tolist(), strict=True))


def _scans(validation: Population, masks: tuple[Bool[np.ndarray, "_"], ...], voxels: float) -> list[_Scan]:
    """As many scans as hold so many voxels, at least one, evenly over the population."""
    count = int(np.clip(voxels // validation.measured.size, 1, len(validation.names)))
    truth = validation.intensity if validation.truth is None else validation.truth
    return [
        _Scan(
            measured_samples(validation.intensity[i], validation.valid[i], masks),
            truth[i],
            ~validation.measured & validation.valid[i],
        )
        for i in np.linspace(0, len(validation.names) - 1, count).round().astype(int)
    ]


def _quality(prediction: Float[np.ndarray, "*grid C"], scan: _Scan) -> float:
    """The mean over slices of PSNR where it is scored, in dB."""
    error = ((prediction - scan.truth) ** 2).mean(axis=-1) * scan.scored
    slices = (-1, error.shape[-2] * error.shape[-1])
    total, count = error.reshape(slices).sum(axis=1), scan.scored.reshape(slices).sum(axis=1)
    return float(np.mean(-10 * np.log10(total[count > 0] / count[count > 0])))
