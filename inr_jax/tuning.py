"""How the rivals of a model are tuned: by what they predict of the unmeasured places of validation scans."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize

from inr_jax.interpolation import measured_samples
from inr_jax.types import Population

Parameters = dict[str, float]
NOTHING = 1e-3  # of a refined parameter: leaves the slices as they are (total variation cannot divide by 0)


class Effort(NamedTuple):
    """How hard to tune; the number of scans is told in voxels, so that large scans cost no more."""

    grid_voxels: float  # of the scans that the grid is searched on
    voxels: float  # of the scans that the refinement sees
    evaluations: int  # of the refinement, per parameter
    every: int  # which grid point of each parameter is tried


THOROUGH = Effort(grid_voxels=4e5, voxels=2.3e6, evaluations=12, every=1)
QUICK = Effort(grid_voxels=4e5, voxels=8e5, evaluations=6, every=2)


class TuningScan(NamedTuple):
    """A validation scan: what is measured of it, and what is scored."""

    samples: Float[np.ndarray, "*subgrid C"]
    truth: Float[np.ndarray, "*grid C"]
    scored: Bool[np.ndarray, "*grid"]


def tuning_scans(validation: Population, masks: tuple[Bool[np.ndarray, "_"], ...], voxels: float) -> list[TuningScan]:
    """As many scans as hold so many voxels, at least one, evenly over the population."""
    count = int(np.clip(voxels // validation.measured.size, 1, len(validation.names)))
    truth = validation.intensity if validation.truth is None else validation.truth
    return [
        TuningScan(
            measured_samples(validation.intensity[i], validation.valid[i], masks),
            truth[i],
            ~validation.measured & validation.valid[i],
        )
        for i in np.linspace(0, len(validation.names) - 1, count).round().astype(int)
    ]


def quality(prediction: Float[np.ndarray, "*grid C"], scan: TuningScan) -> float:
    """The mean over slices of PSNR where it is scored, in dB."""
    error = ((prediction - scan.truth) ** 2).mean(axis=-1) * scan.scored
    slices = (-1, error.shape[-2] * error.shape[-1])
    total, count = error.reshape(slices).sum(axis=1), scan.scored.reshape(slices).sum(axis=1)
    return float(np.mean(-10 * np.log10(total[count > 0] / count[count > 0])))


def refine(
    score: Callable[[Parameters], float], start: Parameters, refined: tuple[str, ...], evaluations: int
) -> Parameters:
    """Nelder-Mead from `start` in the `refined` parameters, `evaluations` for each, to the largest score.

    First steps: a third of a parameter, or 0.3 from nothing.
    """
    origin = np.maximum([start[name] for name in refined], NOTHING)
    steps = np.diag(np.where(origin > NOTHING, origin / 3, 0.3))
    found = minimize(
        lambda x: -score(start | dict(zip(refined, x.tolist(), strict=True))),
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
