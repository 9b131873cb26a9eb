"""One phantom eye: anatomy, measured."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from inr_jax.errors import InputError
from inr_jax.phantom import anatomy, appearance, physics, slo
from inr_jax.phantom.fields import Sites, generator
from inr_jax.phantom.pathology import Changes, Lesion, changes, deform, draw_lesions
from inr_jax.phantom.physics import Instrument, Motion
from inr_jax.phantom.vessels import Vessels, draw_vessels, meet

FIELD = (5.8, 0.9, 5.8)  # mm from the first sample to the last: across B-scans, in depth, along A-scans
SLO_MARGIN = 0.3  # mm that the SLO shows beyond the OCT's field on each side
VARIANTS = ("standard", "shifted", "pathology")


@dataclass(frozen=True)
class Eye:
    """One eye as it is and as it was measured: [D, H, W] = (B-scan, depth, A-scan). A left eye is a left eye."""

    noisy: Float[np.ndarray, "D H W"]  # as measured: moved, noisy, fourth root, in [0, 1]
    clean: Float[np.ndarray, "D H W"]  # neither noise nor motion, fourth root, in [0, 1]
    labels: UInt8[np.ndarray, "D H W"]  # of `noisy`
    labels_true: UInt8[np.ndarray, "D H W"]  # of `clean`
    surfaces: Float[np.ndarray, "11 D W"]  # rows of `clean`, from ILM down to BM
    valid: Bool[np.ndarray, "D H W"]  # False: an A-scan that was not measured, all detector noise in `noisy`
    spacing: tuple[float, float, float]  # mm between B-scans, rows, A-scans
    slo: Float[np.ndarray, "Y X"]
    slo_spacing: tuple[float, float]  # mm
    ascans_on_slo: Float[np.ndarray, "D W 2"]  # mm (y, x) from the first pixel's centre, as the instrument believes
    slo_to_retina: Float[
        np.ndarray, "2 3"
    ]  # mm from the middle: where a place of the SLO really lies, [y, x, 1] -> (y, x)
    motion: Motion
    lesions: tuple[Lesion, ...]
    laterality: str  # "R" or "L"
    person: int
    axial_length: float  # mm


def make_eye(
    *,
    person: int,
    laterality: str,
    shape: tuple[int, int, int] = (31, 128, 96),
    field: tuple[float, float, float] | None = None,
    variant: str = "standard",
    seed: int = 0,
    motion: float = 1.0,
    looks: float | None = None,
    slo_shape: tuple[int, int] = (192, 192),
) -> Eye:
    """Make one eye of one person; what is there depends on neither shape, field, motion nor looks.

    `field` in mm; None: 5.8 x 0.9 x 5.8, or for "shifted" with B-scans 0.06 to 0.24 mm apart. `motion` scales
    all motion; `looks` is the number of frames averaged (None: the variant's). Raises InputError.
    """
    _check(person, laterality, shape, variant, seed, motion)
    who = (seed, person, "RL".index(laterality))
    instrument = _instrument(variant, looks)
    field = _field(seed, person, variant, shape) if field is None else field
    spacing = (_step(shape[0], field[0]), _step(shape[1], field[1]), _step(shape[2], field[2]))
    y, z, x = (_places(n, step) for n, step in zip(shape, spacing, strict=True))
    scene = _draw_scene(who, laterality, variant, instrument)
    still = physics.draw_motion(generator(*who, "motion"), len(y), 0.0)
    moving = physics.draw_motion(generator(*who, "motion"), len(y), motion)
    true = _render(scene, y, x, 1e3 * z, still)
    seen = _render(scene, y, x, 1e3 * z, moving)
    rng = generator(*who, "noise")
    missing = physics.draw_missing(rng, len(y), len(x)) & (motion > 0)
    noisy = physics.measure(rng, seen.reflected * ~missing[..., None], instrument, (1e3 * spacing[2], 1e3 * spacing[1]))
    image, pixel, retina = _slo(scene, who, slo_shape, field)
    return Eye(
        noisy=_depth_second(noisy),
        clean=_depth_second(physics.display(true.reflected + np.float32(instrument.floor))),
        labels=_depth_second(seen.labels),
        labels_true=_depth_second(true.labels),
        surfaces=(true.surfaces / (1e3 * spacing[1]) + (len(z) - 1) / 2).astype(np.float32),
        valid=_depth_second(np.broadcast_to(~missing[..., None], noisy.shape)),
        spacing=spacing,
        slo=image,
        slo_spacing=pixel,
        ascans_on_slo=_on_slo(y, x, slo_shape, pixel),
        slo_to_retina=retina,
        motion=moving,
        lesions=scene.lesions,
        laterality=laterality,
        person=person,
        axial_length=scene.traits.axial_length,
    )


def _check(person: int, laterality: str, shape: tuple[int, int, int], variant: str, seed: int, motion: float) -> None:
    if laterality not in ("R", "L"):
        raise InputError(f"phantom: laterality: expected 'R' or 'L', found {laterality!r}")
    if variant not in VARIANTS:
        raise InputError(f"phantom: variant: expected one of {', '.join(VARIANTS)}, found {variant!r}")
    if person < 0:
        raise InputError(f"phantom: person: expected 0 or more, found {person}")
    if seed < 0:
        raise InputError(f"phantom: seed: expected 0 or more, found {seed}")
    if motion < 0:
        raise InputError(f"phantom: motion: expected 0 or more, found {motion}")
    if len(shape) != 3 or min(shape) < 1 or min(shape[1:]) < 8:
        raise InputError(f"phantom: shape: expected B-scans, rows >= 8, A-scans >= 8, found {tuple(shape)}")


def _instrument(variant: str, looks: float | None) -> Instrument:
    instrument = physics.SHIFTED if variant == "shifted" else physics.STANDARD
    return instrument if looks is None else instrument._replace(looks=looks)


def _field(seed: int, person: int, variant: str, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """The default field; a shifted population has another distance between B-scans for each person."""
    if variant != "shifted":
        return FIELD
    pitch = 0.06 * 4.0 ** generator(seed, person, 2, "motion").random()
    return (pitch * max(shape[0] - 1, 1), *FIELD[1:])


def _step(n: int, size: float) -> float:
    return float(size / max(n - 1, 1))


def _places(n: int, step: float) -> Float[np.ndarray, " n"]:
    return (np.arange(n) - (n - 1) / 2) * step


@dataclass(frozen=True)
class _Scene:
    """All that was drawn of one eye, before anything is sampled."""

    traits: anatomy.Traits
    looks: appearance.Looks
    vessels: Vessels
    lesions: tuple[Lesion, ...]
    instrument: Instrument
    side: int  # 1 right, -1 left

    def sites(self, y: Float[np.ndarray, " n"], x: Float[np.ndarray, " m"], shift: Float[np.ndarray, " n"]) -> Sites:
        """Places in the scan (mm from its middle) as places on the retina of a right eye (mm from the fovea)."""
        scale, (fovea_y, fovea_x) = self.traits.magnification, self.traits.fovea
        return Sites(scale * y - fovea_y, self.side * scale * x - fovea_x, self.side * scale * shift)


def _draw_scene(who: tuple[int, int, int], laterality: str, variant: str, instrument: Instrument) -> _Scene:
    side = 1 if laterality == "R" else -1
    return _Scene(
        traits=anatomy.draw_traits(*who),
        looks=appearance.draw_looks(*who, instrument.contrast),
        vessels=draw_vessels(*who),
        lesions=draw_lesions(*who) if variant == "pathology" else (),
        instrument=instrument,
        side=side,
    )


class _Rendered(NamedTuple):
    reflected: Float[np.ndarray, "D W H"]  # linear intensity after the axial spot
    labels: UInt8[np.ndarray, "D W H"]
    surfaces: Float[np.ndarray, "11 D W"]  # um


def _render(
    scene: _Scene,
    y: Float[np.ndarray, " D"],
    x: Float[np.ndarray, " W"],
    z: Float[np.ndarray, " H"],
    motion: Motion,
) -> _Rendered:
    """Sample one eye where it is looked at under `motion`; y, x in mm, z in um."""
    sites = scene.sites(y, x, motion.lateral)
    across = x[None, :] + motion.lateral[:, None]
    change = changes(scene.lesions, np.broadcast_to(y[:, None], across.shape), across)
    thickness = deform(anatomy.thickness_maps(scene.traits, sites), change)
    floor = anatomy.bottom(scene.traits, sites) + motion.axial[:, None] + motion.tilt[:, None] * x[None, :]
    surfaces = anatomy.stack_surfaces(floor, thickness)
    places_y, places_x = sites.grid
    blood = meet(scene.vessels, places_y.ravel(), places_x.ravel(), 1e-3 * scene.instrument.lateral_blur)
    columns = appearance.reflect(scene.looks, sites, z, surfaces, change, blood, scene.instrument.falloff)
    columns = physics.blur_depth(columns, scene.instrument.axial_blur / (z[1] - z[0]))
    shape = (len(y), len(x), len(z))
    reflected = columns.reshape(shape) * motion.gain[:, None, None].astype(np.float32)
    return _Rendered(reflected, label(surfaces, change, z), surfaces)


def label(
    surfaces: Float[np.ndarray, "11 D W"], change: Changes, z: Float[np.ndarray, " H"]
) -> UInt8[np.ndarray, "D W H"]:
    """The class at each row's middle: the number of surfaces at or above it, 0 below BM; then fluid and drusen."""
    step, rows, columns = z[1] - z[0], len(z), surfaces[0].size
    starts = np.clip(np.ceil((surfaces - z[0]) / step - 1e-9), 0, rows).astype(int).reshape(len(surfaces), -1)
    jumps = np.zeros((columns, rows + 1), np.int16)
    for start, jump in zip(starts, [1] * 10 + [-10], strict=True):
        jumps[np.arange(columns), start] += jump
    found = np.cumsum(jumps[:, :rows], axis=1).astype(np.uint8)
    middle = (surfaces[3] + surfaces[4]) / 2
    whole = 1 - change.atrophy
    for name, top, bottom in (
        (anatomy.FLUID, middle - change.cyst / 2, middle + change.cyst / 2),
        (anatomy.FLUID, surfaces[9] - whole * change.subretinal, surfaces[9]),
        (anatomy.DRUSEN, surfaces[10] - whole * change.drusen, surfaces[10]),
    ):
        touched = np.flatnonzero((bottom > top).ravel())
        top, bottom = top.ravel()[touched, None], bottom.ravel()[touched, None]
        found[touched] = np.where((z >= top) & (z < bottom), name, found[touched])
    return found.reshape(*surfaces.shape[1:], rows)


def _slo(
    scene: _Scene, who: tuple[int, int, int], shape: tuple[int, int], field: tuple[float, float, float]
) -> tuple[Float[np.ndarray, "Y X"], tuple[float, float], Float[np.ndarray, "2 3"]]:
    """The SLO, its pixels' size in mm, and where its places really lie."""
    size = [max(extent, default) + 2 * SLO_MARGIN for extent, default in zip(field[::2], FIELD[::2], strict=True)]
    pixel = (float(size[0] / (shape[0] - 1)), float(size[1] / (shape[1] - 1)))
    rng = generator(*who, "slo")
    retina = slo.draw_misregistration(rng, pixel[0])
    y, x = _places(shape[0], pixel[0]), _places(shape[1], pixel[1])
    nominal = np.stack([*np.meshgrid(y, x, indexing="ij"), np.ones(shape)])
    real_y, real_x = np.einsum("ij,jyx->iyx", retina, nominal)
    scale, (fovea_y, fovea_x) = scene.traits.magnification, scene.traits.fovea
    image = slo.draw_slo(
        rng,
        scene.vessels,
        scene.sites(y, x, np.zeros(len(y))),
        scale * real_y - fovea_y,
        scene.side * scale * real_x - fovea_x,
    )
    return image, pixel, retina


def _on_slo(
    y: Float[np.ndarray, " D"], x: Float[np.ndarray, " W"], shape: tuple[int, int], pixel: tuple[float, float]
) -> Float[np.ndarray, "D W 2"]:
    middle = [(n - 1) / 2 * step for n, step in zip(shape, pixel, strict=True)]
    return np.stack(np.meshgrid(y + middle[0], x + middle[1], indexing="ij"), axis=-1)


def _depth_second(volume: np.ndarray) -> np.ndarray:
    """[D, W, H], which is fast to paint, to [D, H, W], which everyone else has."""
    return np.ascontiguousarray(volume.transpose(0, 2, 1))
