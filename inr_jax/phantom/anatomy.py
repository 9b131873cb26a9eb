"""The layers of a macula in um, as functions of the place in mm. Sources: docs/phantom.md."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from inr_jax.phantom.fields import Sites, Waves, draw_waves, generator, mix, spectrum

SURFACES = ("ILM", "RNFL-GCL", "GCL-IPL", "IPL-INL", "INL-OPL", "OPL-ONL", "ELM", "EZ", "IZ", "RPE", "BM")
LAYERS = ("RNFL", "GCL", "IPL", "INL", "OPL", "ONL", "ELM-EZ", "EZ-IZ", "IZ-RPE", "RPE")
CLASSES = ("outside", *LAYERS, "fluid", "drusen")
FLUID, DRUSEN = CLASSES.index("fluid"), CLASSES.index("drusen")

DISC = (-0.6, 4.6)  # mm (y, x): the optic disc lies nasal of the fovea and a little above it
EYES_CORRELATION = 0.85
# relative spread of one layer's mean thickness between people, and of its variation over one retina
SPREAD = np.array([0.12, 0.07, 0.06, 0.06, 0.07, 0.07, 0.05, 0.05, 0.06, 0.06])
ROUGHNESS = np.array([0.13, 0.06, 0.06, 0.06, 0.08, 0.06, 0.035, 0.035, 0.05, 0.05])


@dataclass(frozen=True)
class Traits:
    """The few numbers of one eye; the waves hold the rest."""

    axial_length: float  # mm
    fovea: tuple[float, float]  # mm (y, x): its place in the scan
    pit_width: float  # 1 is the mean
    pit_depth: float
    thickness: Float[np.ndarray, "10"]  # factor of each layer's mean
    bend: float  # um / mm^2: how the bottom rises away from the middle
    tilt: tuple[float, float]  # um / mm along y and x
    depth: float  # mm: where BM lies at the fovea, from the middle of the depth range downwards
    layers: Waves  # one relative thickness field per layer
    bottom: Waves  # the unevenness of BM

    @property
    def magnification(self) -> float:
        """True mm per mm that the instrument believes, which takes every eye for 24 mm long."""
        return self.axial_length / 24.0


def draw_traits(seed: int, person: int, eye: int) -> Traits:
    """Draw one eye (0 right, 1 left); the two eyes of one person are alike."""
    pair = generator(seed, person, 2, "traits").standard_normal(32)
    own = generator(seed, person, eye, "traits").standard_normal(32)
    z = np.clip(np.sqrt(EYES_CORRELATION) * pair + np.sqrt(1 - EYES_CORRELATION) * own, -2.5, 2.5)
    aim = np.clip(own[16:], -2.0, 2.0)  # how the patient and the instrument were set up: each eye anew
    length = 23.7 + 0.9 * z[0]
    thickness = np.exp(SPREAD * (0.8 * z[4:14] + 0.6 * z[3])) * (1 - 0.008 * (length - 23.7))
    return Traits(
        axial_length=float(length),
        fovea=(float(0.12 * aim[0]), float(0.15 * aim[1])),
        pit_width=float(np.exp(0.13 * z[1])),
        pit_depth=float(np.clip(0.95 + 0.06 * z[2], 0.75, 1.0)),
        thickness=thickness,
        bend=float(np.clip(6.0 - 2.5 * z[14] - 1.5 * (length - 23.7), 1.0, 11.0)),
        tilt=(float(5.0 * aim[2]), float(6.0 * aim[3])),
        depth=float(0.19 + 0.02 * aim[4]),
        layers=_paired_waves(seed, person, eye, "layers", 10, spectrum(14.0, 0.22, 6.0, 3.0), 14.0),
        bottom=_paired_waves(seed, person, eye, "bottom", 1, spectrum(14.0, 0.6, 7.0, 4.0), 14.0),
    )


def _paired_waves(
    seed: int,
    person: int,
    eye: int,
    component: str,
    number: int,
    amplitude: Float[np.ndarray, "ky kx"],
    period: float,
) -> Waves:
    shared, own = (draw_waves(generator(seed, person, who, component), number, amplitude, period) for who in (2, eye))
    return mix(shared, own, EYES_CORRELATION)


def thickness_maps(traits: Traits, sites: Sites) -> Float[np.ndarray, "10 D W"]:
    """Thickness of each layer in um."""
    y, x = sites.grid
    mean = mean_thickness(np.hypot(1.08 * y, x) / traits.pit_width, np.arctan2(y, x), traits.pit_depth)
    factor = traits.thickness[:, None, None] * np.exp(ROUGHNESS[:, None, None] * traits.layers.at(sites))
    return mean * factor


def mean_thickness(
    r: Float[np.ndarray, "*grid"], angle: Float[np.ndarray, "*grid"], depth: float
) -> Float[np.ndarray, "10 *grid"]:
    """The mean macula: `r` mm from the fovea, `angle` from the nasal side; um."""

    def pit(width: float, power: float = 2.0) -> Float[np.ndarray, "*grid"]:
        return 1 - depth * np.exp(-((r / width) ** power))

    hill = np.exp(-((r / 1.9) ** 2))  # the thick ring round the pit
    fibres = 34.25 + 15.5 * np.cos(angle) - 3.75 * np.cos(2 * angle)  # nasal 46, above and below 38, temporal 15
    cone = np.exp(-((r / 0.38) ** 2))  # long, crowded foveal cones
    return np.stack(
        [
            4 + fibres * (1 - np.exp(-((r / 1.3) ** 2))),
            1 + pit(0.62, 2.6) * (30 + 30 * hill),
            2 + pit(0.48) * (24 + 22 * hill),
            2 + pit(0.45) * (29 + 14 * hill),
            3 + pit(0.38) * (23 + 9 * hill),
            52 + 16 * hill + 30 * np.exp(-((r / 0.7) ** 2)),
            18 + 5 * cone,
            26 + 13 * cone,
            18 - 1 * cone,
            21 + 0 * r,
        ]
    )


def bottom(traits: Traits, sites: Sites) -> Float[np.ndarray, "D W"]:
    """Depth of BM in um below the middle of the depth range."""
    y, x = sites.grid
    curve = -traits.bend * (x**2 + y**2) + traits.tilt[0] * y + traits.tilt[1] * x
    return 1e3 * traits.depth + curve + 3.0 * traits.bottom.at(sites)[0]


def stack_surfaces(
    floor: Float[np.ndarray, "D W"], thickness: Float[np.ndarray, "10 D W"]
) -> Float[np.ndarray, "11 D W"]:
    """Surfaces in um from ILM down to `floor`, which is BM."""
    above = np.cumsum(thickness[::-1], axis=0)[::-1]
    return np.concatenate([floor - above, floor[None]])
