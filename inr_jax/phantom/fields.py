"""Random fields that are functions of a place in mm, so that every grid samples the same eye."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

VERSION = 1  # of everything the generator draws: a change of any number it returns is a new version

COMPONENTS = (
    "traits",
    "layers",
    "bottom",
    "vessels",
    "texture",
    "choroid",
    "lesions",
    "motion",
    "noise",
    "slo",
)


class Sites(NamedTuple):
    """Where A-scans look, mm from the fovea: x towards the disc, y downwards. B-scan d looks at x + shift[d]."""

    y: Float[np.ndarray, " D"]
    x: Float[np.ndarray, " W"]
    shift: Float[np.ndarray, " D"]

    @property
    def grid(self) -> tuple[Float[np.ndarray, "D W"], Float[np.ndarray, "D W"]]:
        """y and x of every A-scan."""
        x = self.x[None, :] + self.shift[:, None]
        return np.broadcast_to(self.y[:, None], x.shape), x


@dataclass(frozen=True)
class Waves:
    """Plane waves of a periodic plane: many fields of unit variance, exact at any place."""

    coefficients: Complex[np.ndarray, "n ky kx"]
    period: float  # mm

    def at(self, sites: Sites) -> Float[np.ndarray, "n D W"]:
        """Re sum_k c_k exp(2 pi i k . (y, x) / period), as two matrix products."""
        number, rows, columns = self.coefficients.shape
        turn, kx = 2j * np.pi / self.period, np.arange(columns)
        along_y = np.exp(turn * np.outer(sites.y, np.arange(rows) - rows // 2))
        along_x = np.exp(turn * np.outer(kx, sites.x))
        moved = np.exp(turn * np.outer(sites.shift, kx))
        flat = self.coefficients.transpose(1, 0, 2).reshape(rows, number * columns)
        per_row = (along_y @ flat).reshape(len(sites.y), number, columns) * moved[:, None, :]
        parts = np.concatenate([per_row.real, -per_row.imag], axis=2).transpose(1, 0, 2)
        return (parts.reshape(-1, 2 * columns) @ np.concatenate([along_x.real, along_x.imag])).reshape(
            number, len(sites.y), len(sites.x)
        )


def generator(seed: int, person: int, eye: int, component: str) -> np.random.Generator:
    """The random numbers of one component of one eye (0 right, 1 left, 2 what both share)."""
    return np.random.default_rng(np.random.SeedSequence((VERSION, seed, person, eye, COMPONENTS.index(component))))


def spectrum(period: float, shortest: float, longest: float, slope: float) -> Float[np.ndarray, "ky kx"]:
    """Amplitudes whose power falls as 1 / frequency^slope between two wavelengths (mm); their squares sum to 1."""
    top = int(period / shortest)
    ky, kx = np.arange(-top, top + 1)[:, None], np.arange(top + 1)[None, :]
    frequency = np.hypot(ky, kx) / period
    inside = (frequency >= 1 / longest) & (frequency <= 1 / shortest)
    amplitude = np.where(inside, np.maximum(frequency, 1 / longest) ** (-slope / 2), 0.0)
    return amplitude / np.sqrt((amplitude**2).sum())


def draw_waves(rng: np.random.Generator, number: int, amplitude: Float[np.ndarray, "ky kx"], period: float) -> Waves:
    """Draw `number` independent fields with one spectrum."""
    parts = rng.standard_normal((2, number, *amplitude.shape))
    return Waves((parts[0] + 1j * parts[1]) * amplitude, period)


def mix(shared: Waves, own: Waves, correlation: float) -> Waves:
    """The fields of one eye, correlated with those of the other eye that has the same `shared`."""
    both = np.sqrt(correlation) * shared.coefficients + np.sqrt(1 - correlation) * own.coefficients
    return Waves(both, shared.period)
