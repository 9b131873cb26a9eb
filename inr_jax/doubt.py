"""What an adapted scan's doubt is made of, asked B-scan by B-scan.

Parts, each at every voxel: `laplace`, the variance by the codes' posterior (uncertainty.py); `residual`, the square of
what the field leaves of the measurement nearby, noise and what was never learned alike; `label`, how improbable the
label is under the codes' posterior. The distance to what was measured is always there.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from inr_jax import asking, measurements, modulations, residual, uncertainty
from inr_jax.asking import Asker
from inr_jax.measurements import Measurements
from inr_jax.residual import Residual
from inr_jax.trained import Adapted, Trained
from inr_jax.types import Population
from inr_jax.uncertainty import Posterior

PARTS = ("laplace", "residual", "label")
MOST_CODES = 8192  # whose covariance is kept: 256 MB
LINEAR = 1e6  # mm: a correlation so long that kriging interpolates linearly


def why_not(model: Trained) -> str | None:
    """Why this model's doubt cannot be told; None: it can."""
    config, options = model.config, model.config.model.modulation
    if model.signal.dimensions != 3 or model.signal.channels != 1:
        return f"it is for volumes of one channel; this model is of {model.signal.dimensions}D images"
    if config.adapt.epochs or not config.train.stages:
        return "it is for models that learned to adapt; this one is fitted to each scan"
    kinds = {part for part in options.parts if part in modulations.ZEROS}
    if not kinds or not kinds <= {"grid", "vector"} or options.read != "linear" or 1 in tuple(options.axes):
        return "it is for codes of a vector or of grids en face, read linearly"
    if modulations.size(model.built.codes) > MOST_CODES:
        return f"it is for at most {MOST_CODES} codes; this model has {modulations.size(model.built.codes)}"
    return None


def prior_of(model: Trained, found: list[Adapted]) -> dict[str, list[float]]:
    """Mean squares of adapted codes about the learned start, by array and channel: what codes do in people."""
    start = asking.arrays({part: model.params.start[part] for part in model.built.codes})

    def of(name: str) -> list[float]:
        each = np.stack([np.asarray(asking.arrays(one.modulation)[name] - start[name]) for one in found])
        return np.maximum((each**2).mean(axis=tuple(range(each.ndim - 1))), 1e-8).tolist()

    return {name: of(name) for name in start}


class Evidence(NamedTuple):
    """One adapted scan, ready to be asked."""

    asker: Asker
    adapted: Adapted
    posterior: Posterior
    deviations: Float[Array, "draws m"]
    data: Measurements
    scan: Int[Array, ""]
    residual: Residual  # squares, smoothed
    spacing: Float[np.ndarray, "3"]
    known: cKDTree  # mm en face of A-scans that were measured
    en_face: Float[np.ndarray, "D W 2"] | None  # mm, of A-scans that are no raster


def gather(
    asker: Asker, model: Trained, population: Population, i: int, adapted: Adapted, field: Float[np.ndarray, "D H W C"],
    prior: Mapping[str, Sequence[float]],
) -> Evidence:  # fmt: skip
    """The evidence of scan i of a population, whose `field` was rendered on its whole grid."""
    options = model.config.doubt
    measured = population.measured & population.valid[i]
    bscans = np.flatnonzero(measured.any(axis=(1, 2)))
    left = population.intensity[i, bscans] - field[bscans]
    noise = float((left[..., 0] ** 2)[measured[bscans]].mean())
    data = measurements.to_device(population, model.half, model.config.model.extent.to_dict())
    scan = jnp.int32(i)
    informed = asker.informed(
        adapted, data, scan, jnp.asarray(bscans, jnp.float32), jnp.asarray(measured[bscans], jnp.float32)
    )
    found = uncertainty.posterior(informed, _prior_variances(adapted, prior), max(noise, 1e-6))
    spacing = np.asarray(population.spacing[i], np.float64)
    places = (bscans * spacing[0], *(np.arange(n) * spacing[k] for k, n in enumerate(population.measured.shape) if k))

    near = residual.smoothed(left**2, measured[bscans], options.sigma)
    seen = np.argwhere(measured.mean(axis=1) > 0.5).astype(float)
    en_face = None if population.en_face is None else population.en_face[i]
    return Evidence(
        asker, adapted, found,
        uncertainty.draw(jax.random.key(model.config.train.seed + 7), found.factor, options.draws),
        data, scan, Residual(near, places, LINEAR, None), spacing,
        cKDTree(_en_face(seen, spacing, en_face)), en_face,
    )  # fmt: skip


def _prior_variances(adapted: Adapted, prior: Mapping[str, Sequence[float]]) -> Float[Array, "m"]:
    each = [
        jnp.broadcast_to(jnp.asarray(tuple(prior[name])), a.shape).ravel()
        for name, a in asking.arrays(adapted.modulation).items()
    ]
    return jnp.concatenate(each)


class Told(NamedTuple):
    """The parts of a B-scan's doubt, in the columns that calibration.py takes, and of its layers."""

    columns: dict[str, Float[np.ndarray, "H W"]]  # intensity, distance and PARTS
    distance: Float[np.ndarray, "W"]  # mm en face to the nearest measured A-scan
    inside: Bool[np.ndarray, "H W"]  # the model's box
    thickness: Float[np.ndarray, "K W"]  # um, of the labels that are shown
    deviation: Float[np.ndarray, "K W"]  # um, its standard deviation over draws of the codes


def ask(evidence: Evidence, place: float, intensity: Float[np.ndarray, "H W"], labels: Int[np.ndarray, "H W"]) -> Told:
    """The doubt of a B-scan at a fractional place, given what is shown there (intensity in [0, 1])."""
    index = np.broadcast_arrays(place, *np.ogrid[: intensity.shape[0], : intensity.shape[1]])
    return ask_at(evidence, np.stack(index, -1).astype(float), intensity, labels)


def ask_at(
    evidence: Evidence,
    index: Float[np.ndarray, "H W 3"],
    intensity: Float[np.ndarray, "H W"],
    labels: Int[np.ndarray, "H W"],
    row_mm: float | None = None,
) -> Told:
    """The same of voxels at fractional (B-scan, row, A-scan), all of a column at one place en face.

    row_mm: between rows, by default the scan's: thicknesses are labels times it. It cannot be told from `index`, where
    rows that motion took out of a prepared scan lie on its edge.
    """
    e = evidence
    seen = e.asker.seen(
        e.adapted, e.deviations, e.posterior.covariance, e.data, e.scan, jnp.asarray(index, jnp.float32)
    )
    probability = np.asarray(seen.probability)
    shown = np.take_along_axis(probability, np.minimum(labels, probability.shape[-1] - 1)[..., None], -1)[..., 0]
    mm = index * e.spacing
    distance = e.known.query(_en_face(index[0][:, [0, 2]], e.spacing, e.en_face))[0]
    um = 1000 * (e.spacing[1] if row_mm is None else row_mm)
    classes = range(probability.shape[-1])
    return Told(
        {
            "intensity": intensity,
            "distance": np.broadcast_to(distance, intensity.shape),
            "laplace": np.asarray(seen.laplace),
            "residual": np.maximum(residual.at_points(e.residual, mm.reshape(-1, 3))[:, 0], 0).reshape(labels.shape),
            "label": 1 - shown,
        },
        distance,
        _inside(e, index),
        np.stack([(labels == k).sum(axis=0) * um for k in classes]),
        np.asarray(seen.rows).std(axis=0).T * um,
    )


def _en_face(
    index: Float[np.ndarray, "n 2"], spacing: Float[np.ndarray, "3"], places: Float[np.ndarray, "D W 2"] | None
) -> Float[np.ndarray, "n 2"]:
    """mm of fractional (B-scan, A-scan): along a raster's axes, or between the places of A-scans that are none."""
    if places is None:
        return index * spacing[[0, 2]]
    return np.stack([map_coordinates(places[..., a], index.T, order=1, mode="nearest") for a in (0, 1)], axis=-1)


def _inside(evidence: Evidence, index: Float[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
    """Which voxels lie in the box that people were learned in."""
    coords = measurements.coords_of(evidence.data, evidence.scan, jnp.asarray(index, jnp.float32))
    return np.asarray((jnp.abs(coords) <= 1 + 1e-4).all(axis=-1))
