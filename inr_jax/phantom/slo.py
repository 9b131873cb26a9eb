"""The en-face (SLO) image: the same vessels through another optic, and things that OCT does not show."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from inr_jax.phantom.anatomy import DISC
from inr_jax.phantom.fields import Sites, draw_waves, spectrum
from inr_jax.phantom.vessels import Vessels, meet

SPOT = 0.010  # mm, standard deviation


def draw_misregistration(rng: np.random.Generator, pixel: float) -> Float[np.ndarray, "2 3"]:
    """Where on the retina a place of the SLO really is: nearly the identity, one to three `pixel`s (mm) off."""
    turn, scale = np.deg2rad(0.4) * rng.standard_normal(), 1 + 0.004 * rng.standard_normal(2)
    angle, distance = rng.uniform(0, 2 * np.pi), pixel * rng.uniform(1, 3)
    shift = distance * np.array([np.sin(angle), np.cos(angle)])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.concatenate([rotation * scale, shift[:, None]], axis=1)


def draw_slo(
    rng: np.random.Generator,
    vessels: Vessels,
    sites: Sites,
    y: Float[np.ndarray, "Y X"],
    x: Float[np.ndarray, "Y X"],
) -> Float[np.ndarray, "Y X"]:
    """Draw the image in [0, 1]; `y`, `x` are the places that its pixels really show, mm from the fovea."""
    own = draw_waves(rng, 3, spectrum(9.0, 0.09, 3.0, 2.0), 9.0).at(sites)  # fundus pattern without a counterpart
    blood = meet(vessels, y.ravel(), x.ravel(), SPOT).chord.reshape(y.shape)
    r, to_disc = np.hypot(y, x), np.hypot(y - DISC[0], x - DISC[1])
    light = 0.50 + 0.16 * np.exp(-((to_disc / 1.8) ** 2)) - 0.10 * np.exp(-((r / 0.45) ** 2))
    light = light * np.exp(0.07 * own[0] + 0.05 * own[1])
    fibres = np.sin(2 * np.pi * np.arctan2(y - DISC[0], x - DISC[1]) * 60 + 3 * own[2])
    light = light * (1 + 0.03 * fibres * np.exp(-((to_disc / 2.5) ** 2)))
    light = light * np.exp(-9.0 * blood)
    light = np.where(to_disc < 0.8, 0.25 + 0.2 * light, light)
    pixel = abs(sites.x[1] - sites.x[0])
    light = gaussian_filter(light, SPOT / pixel)
    return np.clip(light * (1 + 0.04 * rng.standard_normal(light.shape)), 0, 1).astype(np.float32)
