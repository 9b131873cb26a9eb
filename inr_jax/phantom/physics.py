"""What the instrument does to a retina: motion, spot size, speckle, detector, display."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter


class Instrument(NamedTuple):
    """One way of measuring."""

    looks: float  # number of averaged frames that speckle sees: 1 / contrast^2
    axial_blur: float  # um, standard deviation of the spot in depth
    lateral_blur: float  # um, the same along a B-scan
    floor: float  # mean of the detector's noise, linear intensity
    falloff: float  # mm of depth in which sensitivity falls to 1 / e
    contrast: float  # exponent of the layers' brightness about its middle; 1 is the standard


class Motion(NamedTuple):
    """The true motion of each B-scan; all zero (gain 1) in a still eye."""

    axial: Float[np.ndarray, " D"]  # um, downwards
    tilt: Float[np.ndarray, " D"]  # um / mm along the A-scans
    lateral: Float[np.ndarray, " D"]  # mm along the A-scans
    gain: Float[np.ndarray, " D"]  # factor of linear intensity


STANDARD = Instrument(looks=8.0, axial_blur=2.8, lateral_blur=7.2, floor=0.9e-4, falloff=2.2, contrast=1.0)
SHIFTED = Instrument(looks=4.0, axial_blur=4.5, lateral_blur=9.0, floor=6e-4, falloff=1.2, contrast=0.8)


def draw_motion(rng: np.random.Generator, scans: int, strength: float) -> Motion:
    """Drift that an eye tracker pulls back, jumps in one B-scan of twenty, and small tilts, shifts and gains.

    A parabola over the B-scans cannot be told from the eye's shape: shift and tilt have none.
    """
    step = 3.0 * rng.standard_normal(scans)
    step += (rng.random(scans) < 0.05) * rng.choice([-1.0, 1.0], scans) * rng.uniform(15, 25, scans)
    axial = lfilter([1.0], [1.0, -0.8], step)
    tilt = 2.0 * rng.standard_normal(scans)
    lateral = np.clip(0.012 * rng.standard_normal(scans), -0.03, 0.03)
    gain = np.clip(1 + 0.025 * rng.standard_normal(scans), 0.9, 1.1)
    return Motion(
        strength * _without_shape(axial),
        strength * _without_shape(tilt),
        strength * (lateral - lateral.mean()),
        np.maximum(1 + strength * (gain - gain.mean()), 0.1),
    )


def _without_shape(motion: Float[np.ndarray, " D"]) -> Float[np.ndarray, " D"]:
    along = np.linspace(-1, 1, len(motion))
    shape = np.vander(along, min(3, len(motion)))
    return motion - shape @ np.linalg.lstsq(shape, motion, rcond=None)[0]


def draw_missing(rng: np.random.Generator, scans: int, width: int) -> Bool[np.ndarray, "D W"]:
    """A-scans that were never measured: a few short runs, as after a blink."""
    missing = np.zeros((scans, width), bool)
    for _ in range(rng.poisson(1.5)):
        run = max(1, round(width * rng.uniform(0.02, 0.12)))
        start = rng.integers(0, max(width - run, 1))
        missing[rng.integers(scans), start : start + run] = True
    return missing


def blur_depth(volume: Float[np.ndarray, "N H"], sigma: float) -> Float[np.ndarray, "N H"]:
    """The axial spot; `sigma` in rows."""
    return gaussian_filter1d(volume, sigma, axis=1, mode="nearest", truncate=3.0)


def measure(
    rng: np.random.Generator,
    reflected: Float[np.ndarray, "D W H"],
    instrument: Instrument,
    spacing: tuple[float, float],
) -> Float[np.ndarray, "D W H"]:
    """One noisy scan in the display domain: speckle on linear intensity, then the detector.

    `spacing` in um between (A-scans, rows). Speckle is gamma distributed with `looks` degrees (Goodman 2007),
    drawn as a Gaussian field with the spot's correlation and the Wilson-Hilferty cube, which is exact to 1 %.
    """
    field = rng.standard_normal(reflected.shape, dtype=np.float32)
    field = _correlate(field, instrument.axial_blur / spacing[1], axis=2)
    field = _correlate(field, instrument.lateral_blur / spacing[0], axis=1)
    looks = instrument.looks
    speckle = np.clip(1 - 1 / (9 * looks) + field / (3 * np.sqrt(looks)), 0, None) ** 3
    detector = instrument.floor * (1 + 0.6 * rng.standard_normal(reflected.shape, dtype=np.float32))
    return display(np.clip(reflected * speckle + detector, 0, None))


def _correlate(field: Float[np.ndarray, "*shape"], sigma: float, axis: int) -> Float[np.ndarray, "*shape"]:
    """Give white noise a Gaussian correlation along one axis at unit variance; none below a third of a sample."""
    if sigma < 1 / 3:
        return field
    reach = np.arange(-int(np.ceil(4 * sigma)), int(np.ceil(4 * sigma)) + 1)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    kernel /= kernel.sum()
    smooth = gaussian_filter1d(field, sigma, axis=axis, mode="wrap", truncate=4.0)
    return smooth / np.float32(np.sqrt((kernel**2).sum()))


def display(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The fourth root that Spectralis scans are looked at with, cut to [0, 1]."""
    return np.clip(np.sqrt(np.sqrt(linear)), 0, 1).astype(np.float32)
