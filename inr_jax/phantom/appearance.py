"""How much light each depth sends back: bands, texture, choroid, vessels and their shadows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from inr_jax.phantom.anatomy import SURFACES
from inr_jax.phantom.fields import Sites, Waves, draw_waves, generator, spectrum
from inr_jax.phantom.pathology import Changes
from inr_jax.phantom.vessels import Hits

# Brightness in the display domain (fourth root) as measured on real Spectralis scans: docs/phantom.md
LEVELS = {
    "vitreous": 0.045,
    "RNFL": 0.54,
    "GCL": 0.355,
    "IPL": 0.38,
    "INL": 0.295,
    "OPL": 0.35,
    "Henle": 0.235,
    "ONL": 0.213,
    "ELM": 0.28,
    "IS": 0.225,
    "EZ": 0.84,
    "OS": 0.43,
    "IZ": 0.83,
    "gap": 0.55,
    "RPE": 0.71,
    "fluid": 0.13,
    "drusen": 0.50,
    "membrane": 0.72,
}
TEXTURE_PERIOD, CHOROID_PERIOD = 3.2, 7.0  # mm
SHADE, SCATTERED = (
    0.06,
    0.005,
)  # 1 / um of blood: how fast it dims what lies below, and the share that gets round


class Looks(NamedTuple):
    """One eye's own brightness, texture and choroid."""

    levels: dict[str, float]  # linear intensity
    henle: Float[np.ndarray, "2"]  # where the light comes from: brightness of Henle's fibres along (y, x)
    patches: Waves  # slow brightness of 5 bands, and of all
    fine: Waves  # en-face parts of the fine texture
    fine_depth: Float[np.ndarray, "2 n"]  # frequency (1 / um) and phase of each part
    choroid: tuple[Waves, Waves]  # small vessels and large ones
    choroid_depth: tuple[Float[np.ndarray, "2 n"], Float[np.ndarray, "2 n"]]
    hyaloid: Waves  # the vitreous' back face
    stripes: Waves  # how much light reaches each A-scan


def draw_looks(seed: int, person: int, eye: int, contrast: float) -> Looks:
    """Draw one eye's looks; `contrast` stretches the bands' brightness about 0.35."""
    rng = generator(seed, person, eye, "texture")
    jitter = np.exp(0.025 * rng.standard_normal(len(LEVELS)) + 0.03 * rng.standard_normal())
    levels = {
        name: float((0.35 * (level / 0.35) ** contrast * factor) ** 4)
        for (name, level), factor in zip(LEVELS.items(), jitter, strict=True)
    }
    parts, blobs = 16, 10
    deep = generator(seed, person, eye, "choroid")
    return Looks(
        levels=levels,
        henle=0.6 * rng.standard_normal(2),
        patches=draw_waves(rng, 6, spectrum(14.0, 0.25, 5.0, 2.0), 14.0),
        fine=draw_waves(rng, parts, spectrum(TEXTURE_PERIOD, 0.04, 0.3, 1.5), TEXTURE_PERIOD),
        fine_depth=_frequencies(rng, parts, 14.0, 120.0),
        choroid=(
            draw_waves(deep, blobs, spectrum(CHOROID_PERIOD, 0.07, 0.25, 1.0), CHOROID_PERIOD),
            draw_waves(deep, blobs, spectrum(CHOROID_PERIOD, 0.2, 1.0, 1.5), CHOROID_PERIOD),
        ),
        choroid_depth=(_frequencies(deep, blobs, 35.0, 90.0), _frequencies(deep, blobs, 90.0, 400.0)),
        hyaloid=draw_waves(rng, 1, spectrum(14.0, 1.5, 7.0, 3.0), 14.0),
        stripes=draw_waves(rng, 1, spectrum(TEXTURE_PERIOD, 0.04, 0.3, 1.5), TEXTURE_PERIOD),
    )


def _frequencies(rng: np.random.Generator, number: int, short: float, long: float) -> Float[np.ndarray, "2 n"]:
    """Frequencies (1 / um) of waves in depth, evenly between two wavelengths in um, and their phases."""
    return np.stack([rng.uniform(1 / long, 1 / short, number), rng.uniform(0, 2 * np.pi, number)])


class Band(NamedTuple):
    """From `top` (um) down to the next band's top: its linear intensity and its relative texture."""

    top: Float[np.ndarray, "D W"]
    level: Float[np.ndarray, "D W"] | float
    grain: float


def bands(
    looks: Looks, sites: Sites, surfaces: Float[np.ndarray, "11 D W"], change: Changes
) -> tuple[list[Band], Float[np.ndarray, "6 D W"]]:
    """Everything that reflects, from the vitreous down to BM, and the slow patches of brightness."""
    s, t, level = dict(zip(SURFACES, surfaces, strict=True)), np.diff(surfaces, axis=0), looks.levels
    patch = np.exp(0.12 * looks.patches.at(sites))
    y, x = sites.grid
    r = np.hypot(y, x)
    lit = np.exp((looks.henle[0] * y + looks.henle[1] * x) * r / (0.4 + r**3))
    henle = t[5] * (0.2 + 0.3 * np.exp(-((r / 1.6) ** 2)))
    nerve = 0.020 + (level["RNFL"] - 0.020) * (1 - np.exp(-t[0] / 22))  # thin fibre layers hardly outshine the GCL
    face = s["BM"] - 400 - 45 * looks.hyaloid.at(sites)[0]
    middle = s["IPL-INL"] + t[3] / 2
    drusen_top = s["BM"] - change.drusen * (1 - change.atrophy)
    fluid_top = s["RPE"] - change.subretinal * (1 - change.atrophy)
    stack = [
        Band(np.full_like(r, -1e6), level["vitreous"] * 2, 0.0),
        Band(np.minimum(face, s["ILM"]), 9e-4 * (face < s["ILM"] - 8), 0.0),
        Band(np.minimum(face + 7, s["ILM"]), level["vitreous"], 0.0),
        Band(s["ILM"] - 12 * change.membrane, level["membrane"] * change.membrane, 0.2),
        Band(s["ILM"], nerve * patch[4], 0.32),
        Band(s["RNFL-GCL"], level["GCL"] * patch[0], 0.30),
        Band(s["GCL-IPL"], level["IPL"] * patch[0], 0.22),
        Band(s["IPL-INL"], level["INL"] * patch[1], 0.26),
        Band(middle - change.cyst / 2, level["fluid"], 0.0),
        Band(middle + change.cyst / 2, level["INL"] * patch[1], 0.26),
        Band(s["INL-OPL"], level["OPL"] * patch[1], 0.32),
        Band(s["OPL-ONL"], level["Henle"] * lit, 0.16),
        Band(s["OPL-ONL"] + henle, level["ONL"], 0.12),
        Band(s["ELM"], level["ELM"], 0.20),
        Band(s["ELM"] + np.minimum(7, t[6]), level["IS"], 0.12),
        Band(s["EZ"], level["EZ"] * patch[2], 0.32),
        Band(s["EZ"] + np.minimum(14, t[7]), level["OS"], 0.22),
        Band(s["IZ"], level["IZ"] * patch[3], 0.34),
        Band(np.minimum(s["IZ"] + 11, fluid_top), level["gap"], 0.22),
        Band(fluid_top, level["fluid"], 0.0),
        Band(s["RPE"], level["RPE"] * patch[3], 0.28),
        Band(np.maximum(drusen_top, s["RPE"]), level["drusen"], 0.2),
        Band(s["BM"], 0.0, 0.0),
    ]
    return stack, patch


def paint(tops: Float[np.ndarray, "B N"], values: Float[np.ndarray, "B N"], rows: int) -> Float[np.ndarray, "N H"]:
    """Piecewise constant columns: `values[b]` from row `tops[b]` on; a row that an edge cuts gets its share of both."""
    columns = np.arange(tops.shape[1])
    steps = np.zeros((tops.shape[1], rows + 2))
    for top, jump in zip(tops, np.diff(values, axis=0, prepend=0.0), strict=True):
        place = np.clip(top + 0.5, 0, rows)
        row = place.astype(int)
        share = row + 1 - place
        steps[columns, row] += jump * share
        steps[columns, row + 1] += jump * (1 - share)
    return np.cumsum(steps, axis=1)[:, :rows].astype(np.float32)


def ripple(
    waves: Waves,
    depth: Float[np.ndarray, "2 n"],
    sites: Sites,
    z: Float[np.ndarray, " H"],
    base: Float[np.ndarray, "D W"],
) -> Float[np.ndarray, "N H"]:
    """A random volume of unit variance that follows `base`: sum_j f_j(y, x) cos(2 pi k_j (z - base) + phase_j)."""
    turn, phase = 2 * np.pi * depth[0], depth[1]
    parts = waves.at(sites) * np.sqrt(2 / len(turn))
    angle = phase[:, None, None] - turn[:, None, None] * base
    en_face = np.concatenate([parts * np.cos(angle), -parts * np.sin(angle)]).reshape(2 * len(turn), -1)
    along = np.concatenate([np.cos(np.outer(turn, z)), np.sin(np.outer(turn, z))])
    return en_face.T.astype(np.float32) @ along.astype(np.float32)


def choroid(
    looks: Looks,
    sites: Sites,
    z: Float[np.ndarray, " H"],
    floor: Float[np.ndarray, "D W"],
    bare: Float[np.ndarray, "D W"],
) -> Float[np.ndarray, "N H"]:
    """Light from below BM: decays fitted to real profiles, dark vessels that widen with depth, a plain sclera.

    `bare` is 1 where the RPE is lost, which lets more light through.
    """
    under = (z[None, :] - floor.reshape(-1, 1)).astype(np.float32)
    depths = np.arange(2000.0, dtype=np.float32)
    decay = 0.026 * np.exp(-depths / 10) + 0.009 * np.exp(-depths / 35) + 0.0012 * np.exp(-depths / 130)
    narrow, sclera = np.exp(-depths / 60), np.exp(-((depths / 250) ** 4))
    row = np.clip(under, 0, 1999).astype(np.int32)
    small, large = (
        ripple(waves, depth, sites, z, floor) for waves, depth in zip(looks.choroid, looks.choroid_depth, strict=True)
    )
    vessels = large + narrow[row] * (small - large)
    lumen = (np.clip(depths / 25, 0, 1) * sclera)[row] * (0.5 + 0.5 * np.tanh(2.2 * vessels))
    light = decay[row] * (1.45 - 1.05 * lumen) * (1 + 4 * bare.reshape(-1, 1))
    return np.where(under > -0.5 * (z[1] - z[0]), light, 0).astype(np.float32)


def reflect(
    looks: Looks,
    sites: Sites,
    z: Float[np.ndarray, " H"],
    surfaces: Float[np.ndarray, "11 D W"],
    change: Changes,
    blood: Hits,
    falloff: float,
) -> Float[np.ndarray, "N H"]:
    """Linear intensity of every A-scan before the axial spot; `z` and surfaces in um, N = D * W."""
    layers, patch = bands(looks, sites, surfaces, change)
    step = z[1] - z[0]
    shape = surfaces.shape[1:]
    tops = np.stack([(band.top - z[0]) / step for band in layers]).reshape(len(layers), -1)
    tops = np.maximum.accumulate(tops, axis=0)  # a lost layer must not reach above the one before
    levels = np.stack([np.broadcast_to(band.level, shape) for band in layers]).reshape(len(layers), -1)
    grain = np.array([[band.grain] for band in layers]) * np.ones((1, tops.shape[1]))
    volume = paint(tops, levels, len(z))
    fine = ripple(looks.fine, looks.fine_depth, sites, z, surfaces[-1])
    volume *= np.exp(paint(tops, grain, len(z)) * np.clip(fine, -2.5, 2.5))
    volume += choroid(looks, sites, z, surfaces[-1], change.atrophy)
    shade(volume, z, surfaces, blood)
    light = patch[5] * np.exp(0.10 * looks.stripes.at(sites)[0])
    dim = light.reshape(-1, 1) * np.exp(-(z - z.mean()) / (1e3 * falloff))[None, :]
    volume *= dim.astype(np.float32)
    return volume


def shade(
    volume: Float[np.ndarray, "N H"],
    z: Float[np.ndarray, " H"],
    surfaces: Float[np.ndarray, "11 D W"],
    blood: Hits,
) -> None:
    """Draw lumens and dim what lies below them, in place: Beer's law along the path through blood."""
    hit = np.flatnonzero(blood.chord > 0)
    ilm, inner = surfaces[0].reshape(-1)[hit], surfaces[3].reshape(-1)[hit]
    path = 1e3 * blood.chord[hit]
    middle = ilm + np.maximum(blood.depth[hit] * (inner - ilm), 1e3 * blood.radius[hit])
    through = np.clip(z[None, :] - (middle - path / 2)[:, None], 0, path[:, None])
    inside = np.clip(1.2 - np.abs(z[None, :] - middle[:, None]) / (path / 2 + 3)[:, None], 0, 1)
    lumen = 0.30 * (1 - np.exp(-path / 30))[:, None] * inside
    left = SCATTERED + (1 - SCATTERED) * np.exp(-SHADE * through)
    volume[hit] = (np.maximum(volume[hit], lumen) * left).astype(np.float32)
