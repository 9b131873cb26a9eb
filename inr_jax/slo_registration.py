"""Where the scan lies on its SLO, from both images: vessels are dark on the SLO and cast shadows in B-scans.

An instrument says where its A-scans lie to some 0.1 mm, which is a vessel's width. The mean over depth of every A-scan,
p, and the SLO, s, each without what varies slowly, go together best (Pearson) at the true place:

    max over shift, turn, stretch of   corr(p(a), s(c + M (a - c) + shift)),    M = [[1 + v, -t], [t, 1 + h]],

a the places that the instrument says, c their middle. Shifts are tried on a grid, then all five numbers are refined by
the simplex of Nelder and Mead (1965).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage, optimize

from inr_jax.scan import Scan

SLOW = 0.35  # mm, Gaussian sigma: what varies more slowly is no vessel
SPOT = 0.02  # mm, Gaussian sigma on the SLO
FARTHEST, STEP = 0.15, 0.025  # mm, of the shifts that are tried
SURE, CHANCE = 0.25, 8.0  # correlation, and in 1 / sqrt(A-scans): with less of either nothing is moved


class Placement(NamedTuple):
    """A place (mm on the SLO) that the instrument says, and where it is: middle + matrix @ (place - middle) + shift."""

    matrix: Float[np.ndarray, "2 2"]
    shift: Float[np.ndarray, "2"]  # mm
    middle: Float[np.ndarray, "2"]  # mm
    correlation: float

    def of(self, places: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        return (places - self.middle) @ self.matrix.T + self.middle + self.shift


def registered(scan: Scan, by: Scan | None = None) -> Scan:
    """The scan with its A-scans where they lie on the SLO, found by those of `by` (None: by its own).

    A scan without an SLO, or whose A-scans' places are not said, comes back as it is.
    """
    if scan.slo is None or scan.ascans_on_slo is None or scan.slo_spacing is None:
        return scan
    placement = find(scan if by is None else by)
    return replace(scan, ascans_on_slo=placement.of(scan.ascans_on_slo))


def find(scan: Scan) -> Placement:
    """The placement of all A-scans of a scan. The instrument's own where the images do not say.

    White noise in the place of shadows reaches 4.4 / sqrt(A-scans), by the best of all places (30 draws each of 1 to 31
    B-scans): a few B-scans seldom say where they lie.
    """
    assert scan.slo is not None, "registered() asks"
    assert scan.ascans_on_slo is not None, "registered() asks"
    assert scan.slo_spacing is not None, "registered() asks"
    profile, seen = shadows(scan)
    pixel = np.asarray(scan.slo_spacing)
    slo = scan.slo.astype(float)
    spot, slow = (np.minimum(mm / pixel, slo.shape) for mm in (SPOT, SLOW))  # no wider than the image
    vessels = ndimage.gaussian_filter(slo, spot) - ndimage.gaussian_filter(slo, slow)
    middle = scan.ascans_on_slo.reshape(-1, 2).mean(axis=0)
    edge = np.abs(scan.ascans_on_slo - middle).max()
    places, wanted = scan.ascans_on_slo[seen], profile[seen]

    def placement(x: Float[np.ndarray, "5"]) -> Placement:
        """x: shift, and by turn and stretches what the edge moves by; mm."""
        turn, down, along = np.asarray(x[2:]) / edge
        return Placement(np.array([[1 + down, -turn], [turn, 1 + along]]), np.asarray(x[:2]), middle, 0.0)

    def correlation(x: Float[np.ndarray, "5"]) -> float:
        there = ndimage.map_coordinates(vessels, (placement(x).of(places) / pixel).T, order=1, mode="nearest")
        there -= there.mean()
        return float(wanted @ there / np.sqrt((wanted @ wanted) * (there @ there) + 1e-12))

    tried = np.arange(-FARTHEST, FARTHEST + STEP / 2, STEP)
    begin = max((np.array([y, x, 0.0, 0.0, 0.0]) for y in tried for x in tried), key=correlation)
    simplex = begin + np.concatenate([np.zeros((1, 5)), 0.8 * STEP * np.eye(5)])
    options = {"initial_simplex": simplex, "maxiter": 600, "xatol": 1e-4, "fatol": 1e-5}
    best = optimize.minimize(lambda x: -correlation(x), begin, method="Nelder-Mead", options=options)
    if -best.fun < max(SURE, CHANCE / np.sqrt(len(wanted))):
        return Placement(np.eye(2), np.zeros(2), middle, correlation(np.zeros(5)))
    return placement(best.x)._replace(correlation=-float(best.fun))


def shadows(scan: Scan) -> tuple[Float[np.ndarray, "D W"], Bool[np.ndarray, "D W"]]:
    """The mean over depth of every A-scan less that of those around it, and which were seen at all."""
    valid = np.ones(scan.voxels.shape, bool) if scan.valid is None else scan.valid
    seen = np.asarray(valid.any(axis=1))
    mean = (scan.voxels * valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
    sigma = min(SLOW / scan.spacing[2], scan.voxels.shape[2])
    around = ndimage.gaussian_filter1d(mean * seen, sigma, axis=1)
    weight = ndimage.gaussian_filter1d(seen.astype(float), sigma, axis=1)
    return np.where(seen, mean - around / np.maximum(weight, 1e-3), 0.0), seen
