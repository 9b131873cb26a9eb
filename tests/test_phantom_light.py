"""What shines and what dims in the phantom: Henle's fibres, membranes, lost layers, depth, vessels."""

from typing import NamedTuple

import numpy as np
import pytest

from inr_jax.phantom import LAYERS, Eye, Lesion, make_eye, physics
from inr_jax.phantom.anatomy import bottom, draw_traits, stack_surfaces, thickness_maps
from inr_jax.phantom.appearance import Looks, draw_looks, reflect
from inr_jax.phantom.fields import Sites
from inr_jax.phantom.pathology import Changes, changes, draw_lesions
from inr_jax.phantom.vessels import Hits, draw_vessels, meet

BSCANS, ASCANS, STEP = 25, 121, 2.0  # um between rows
SHAPE = (31, 450, 96)


class Retina(NamedTuple):
    """A right eye's layers on a grid round the fovea, without vessels or lesions."""

    looks: Looks
    sites: Sites
    z: np.ndarray  # um
    surfaces: np.ndarray  # um

    def light(self, *, blood: Hits | None = None, falloff: float = 2.2, **looks: object) -> np.ndarray:
        """Linear intensity [A-scan, row]."""
        change = Changes(*(np.zeros((BSCANS, ASCANS)) for _ in Changes._fields))
        blood = Hits(*(np.zeros(BSCANS * ASCANS) for _ in Hits._fields)) if blood is None else blood
        chosen = self.looks._replace(**looks)
        return reflect(chosen, self.sites, self.z, self.surfaces, change, blood, falloff).astype(float)


@pytest.fixture(scope="module")
def retina() -> Retina:
    sites = Sites(np.linspace(-2.8, 2.8, BSCANS), np.linspace(-2.8, 2.8, ASCANS), np.zeros(BSCANS))
    traits = draw_traits(0, 1, 0)
    surfaces = stack_surfaces(bottom(traits, sites), thickness_maps(traits, sites))
    return Retina(draw_looks(0, 1, 0, 1.0), sites, np.arange(-450.0, 450.0, STEP), surfaces)


# Henle's fibres


def henle_gain(retina: Retina, pupil: tuple[float, float]) -> np.ndarray:
    """How much brighter than through the pupil's middle each place's Henle layer is, [D, W]; all else stays."""
    centred = retina.light(henle=np.zeros(2))
    tilted = retina.light(henle=np.array(pupil))
    ratio = np.divide(tilted, centred, out=np.ones_like(centred), where=centred > 0)  # below the sclera there is none
    np.testing.assert_array_equal(tilted > 0, centred > 0)
    top, bottom_ = (retina.surfaces[layer].reshape(-1, 1) for layer in (5, 6))
    outside = (retina.z < top - STEP) | (retina.z > bottom_)
    np.testing.assert_allclose(ratio[outside], 1, rtol=1e-6)
    first = np.argmax(retina.z > top + STEP, axis=1)  # a row that lies wholly in the fibres
    return ratio[np.arange(len(first)), first].reshape(BSCANS, ASCANS)


def test_henle_fibres_are_bright_on_the_side_where_the_beam_enters_and_dark_on_the_other(retina: Retina) -> None:
    nasal = henle_gain(retina, (0.0, 0.5))
    right, left = retina.sites.x > 0.1, retina.sites.x < -0.1
    assert (nasal[:, right] > 1).all()
    assert (nasal[:, left] < 1).all()
    assert 1.2 < nasal.max() < 2
    np.testing.assert_allclose(nasal * nasal[:, ::-1], 1, rtol=1e-4)  # what one side gains the other loses
    np.testing.assert_allclose(nasal[:, ASCANS // 2], 1, rtol=1e-6)
    below = henle_gain(retina, (0.5, 0.0))
    assert (below[retina.sites.y > 0.1] > 1).all()
    assert (below[retina.sites.y < -0.1] < 1).all()


def test_henle_fibres_follow_the_beam_through_the_pupil(retina: Retina) -> None:
    little, much, other = (henle_gain(retina, (0.0, tilt)) for tilt in (0.2, 0.8, -0.8))
    np.testing.assert_allclose(np.log(much), 4 * np.log(little), atol=2e-4)
    np.testing.assert_allclose(other, much[:, ::-1], rtol=1e-4)


def test_the_side_of_bright_henle_fibres_is_each_eyes_own_and_is_seen_in_its_bscans() -> None:
    drawn, seen = [], []
    for person in range(12):
        eye = make_eye(person=person, laterality="R", shape=(1, 225, 24), field=(0.0, 0.9, 4.0), motion=0.0)
        rows = np.rint(eye.surfaces[5] + 8 / (1e3 * eye.spacing[1])).astype(int)[0]
        linear = eye.clean[0, rows, np.arange(24)].astype(float) ** 4
        x = np.linspace(-2, 2, 24) - draw_traits(0, person, 0).fovea[1]
        seen.append(np.log(linear[(x > 0.5) & (x < 1.5)].mean() / linear[(x < -0.5) & (x > -1.5)].mean()))
        drawn.append(draw_looks(0, person, 0, 1.0).henle[1])
    assert min(drawn) < -0.2
    assert max(drawn) > 0.2
    assert np.corrcoef(drawn, seen)[0, 1] > 0.85


# Depth


def test_sensitivity_falls_off_exponentially_with_depth(retina: Retina) -> None:
    near, far = retina.light(falloff=1.1), retina.light(falloff=4.4)
    seen = near > 1e-7
    depth = np.broadcast_to(retina.z - retina.z.mean(), near.shape)[seen]  # um
    np.testing.assert_allclose(np.log(near[seen] / far[seen]), -depth * (1 / 1100 - 1 / 4400), atol=1e-5)


@pytest.mark.parametrize("falloff", [0.8, 2.2])
def test_an_eye_is_measured_with_its_instruments_falloff(monkeypatch: pytest.MonkeyPatch, falloff: float) -> None:
    def measured(length: float) -> np.ndarray:
        monkeypatch.setattr(physics, "STANDARD", before._replace(falloff=length))
        return make_eye(person=0, laterality="R", shape=(3, 225, 16)).clean.astype(float)

    before = physics.STANDARD
    found, even = measured(falloff), measured(1e9)
    sure = (even > 0.2) & (even < 1) & (found > 0.2) & (found < 1)
    z = np.broadcast_to(np.linspace(-0.45, 0.45, 225)[:, None], even.shape)[sure]  # mm
    slope, offset = np.polyfit(z, np.log((found[sure] ** 4 - before.floor) / (even[sure] ** 4 - before.floor)), 1)
    assert slope == pytest.approx(-1 / falloff, rel=0.01)
    assert offset == pytest.approx(0, abs=0.01)


# Vessels


@pytest.fixture(scope="module")
def blood(retina: Retina) -> Hits:
    y, x = retina.sites.grid
    return meet(draw_vessels(0, 1, 0), y.ravel(), x.ravel(), 7.2e-3)


def lumens(retina: Retina, blood: Hits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The A-scans that meet a vessel, and the depth of its middle and half its width along the beam, um."""
    hit = np.flatnonzero(blood.chord > 0)
    ilm, inner = (retina.surfaces[surface].ravel()[hit] for surface in (0, 3))
    middle = ilm + np.maximum(blood.depth[hit] * (inner - ilm), 1e3 * blood.radius[hit])
    return hit, middle[:, None], 500 * blood.chord[hit, None]


def test_a_lumen_outshines_the_ganglion_cells_it_lies_in(retina: Retina, blood: Hits) -> None:
    """Nerve fibres are as bright as blood: a vessel among them shows by its shadow."""
    hit, middle, half = lumens(retina, blood)
    fibres_end = retina.surfaces[1].ravel()[hit, None]
    upper = (retina.z > middle - half) & (retina.z < middle) & (retina.z > fibres_end + 4)
    deep = upper.sum(axis=1) >= 2
    assert deep.sum() > 100
    with_, without = (
        np.where(upper, light[hit], 0).sum(axis=1)[deep] for light in (retina.light(blood=blood), retina.light())
    )
    assert np.mean(with_ > without) > 0.97
    assert np.median(with_ / without) > 2


def test_a_vessel_dims_all_that_lies_below_it_alike_and_nothing_above_or_beside_it(retina: Retina, blood: Hits) -> None:
    hit, middle, half = lumens(retina, blood)
    without = np.maximum(retina.light(), 1e-12)
    ratio = np.maximum(retina.light(blood=blood), 1e-12) / without
    beside = np.setdiff1d(np.arange(len(ratio)), hit)
    assert len(beside) > len(hit)
    np.testing.assert_array_equal(ratio[beside], 1)
    rim = 1.2 * (half + 3)  # a lumen has a soft edge
    np.testing.assert_array_equal(ratio[hit][retina.z < middle - rim], 1)
    below = (retina.z > middle + rim) & (without[hit] > 1e-6)
    shadow = np.where(below, ratio[hit], np.nan)
    darkest, brightest = np.nanmin(shadow, axis=1), np.nanmax(shadow, axis=1)
    np.testing.assert_allclose(darkest, brightest, rtol=1e-3)  # down to the sclera
    assert (brightest < 1).all()
    order = np.argsort(half[:, 0])
    assert (np.diff(darkest[order]) <= 1e-6).all()  # the more blood, the darker


# Sick eyes


class Pair(NamedTuple):
    """An eye with a lesion, the same eye without any, and the A-scans in its middle that no other lesion touches."""

    sick: Eye
    healthy: Eye
    inside: np.ndarray


def pair(kind: str) -> Pair:
    y, x = np.linspace(-2.9, 2.9, SHAPE[0]), np.linspace(-2.9, 2.9, SHAPE[2])
    places = np.meshgrid(y, x, indexing="ij")
    for person in range(40):
        lesions = draw_lesions(0, person, 0)
        own = tuple(lesion for lesion in lesions if lesion.kind == kind)
        rest = changes(tuple(lesion for lesion in lesions if lesion.kind != kind), *places)
        found = dict(zip(("atrophy", "epiretinal membrane"), changes(own, *places)[3:], strict=True))[kind]
        inside = (found == 1) & (np.max(rest, axis=0) == 0)
        if inside.sum() > 30:
            sick, healthy = (
                make_eye(person=person, laterality="R", shape=SHAPE, variant=variant, motion=0.0)
                for variant in ("pathology", "standard")
            )
            return Pair(sick, healthy, inside)
    raise AssertionError(f"no eye of forty has a large {kind}")


def brightness(eye: Eye, surface: int, offset: float) -> np.ndarray:
    """The clean image `offset` um below a surface, [D, W]."""
    rows = np.rint(eye.surfaces[surface] + offset / (1e3 * eye.spacing[1])).astype(int)
    return np.take_along_axis(eye.clean, rows[:, None], axis=1)[:, 0]


def test_an_epiretinal_membrane_is_a_bright_sheet_on_the_ilm() -> None:
    sick, healthy, inside = pair("epiretinal membrane")
    sheet, bare = (brightness(eye, 0, -6)[inside] for eye in (sick, healthy))
    assert np.quantile(sheet, 0.05) > 0.5
    assert np.quantile(bare, 0.95) < 0.35
    for above in (-30, -40):
        np.testing.assert_allclose(
            np.median(brightness(sick, 0, above)[inside]), np.median(brightness(healthy, 0, above)[inside]), atol=0.02
        )
    rows = np.rint(sick.surfaces[0] - 6 / (1e3 * sick.spacing[1])).astype(int)
    assert not np.take_along_axis(sick.labels_true, rows[:, None], axis=1)[:, 0][inside].any()  # it is no layer


def test_atrophy_leaves_neither_photoreceptors_nor_rpe_and_a_bright_choroid() -> None:
    sick, healthy, inside = pair("atrophy")
    lost = [LAYERS.index(name) for name in ("ELM-EZ", "EZ-IZ", "IZ-RPE", "RPE")]
    thickness = np.diff(sick.surfaces, axis=0)
    np.testing.assert_allclose(thickness[lost][:, inside], 0, atol=1e-4)
    assert (np.diff(healthy.surfaces, axis=0)[lost][:, inside] > 2).all()
    labels = np.moveaxis(sick.labels_true, 1, -1)[inside]
    assert not np.isin(labels, [layer + 1 for layer in lost]).any()
    assert np.isin([1, 2, 3, 4, 5, 6], labels).all()
    linear = [brightness(eye, 10, 60)[inside] ** 4 - physics.STANDARD.floor for eye in (sick, healthy)]
    assert np.median(linear[0] / linear[1]) == pytest.approx(5, rel=0.1)


def test_every_kind_of_lesion_is_some_peoples_and_not_all_peoples() -> None:
    eyes = [[lesion.kind for lesion in draw_lesions(0, person, 0)] for person in range(300)]
    for kind in ("subretinal fluid", "atrophy", "epiretinal membrane"):
        assert 0.3 < np.mean([kind in eye for eye in eyes]) < 0.5
        assert max(eye.count(kind) for eye in eyes) == 1
    assert all({"drusen", "cyst"} <= set(eye) for eye in eyes)


def test_a_lesion_ends_at_its_ellipse() -> None:
    x = np.linspace(-1, 1, 401)
    places = np.meshgrid(x, x, indexing="ij")
    inside = ((places[0] - 0.1) / 0.3) ** 2 + ((places[1] + 0.2) / 0.5) ** 2 < 1
    for kind, height in (
        ("drusen", 50.0),
        ("cyst", 80.0),
        ("subretinal fluid", 60.0),
        ("atrophy", 0.0),
        ("epiretinal membrane", 0.0),
    ):
        change = changes((Lesion(kind, 0.1, -0.2, 0.3, 0.5, height, False),), *places)
        (found,) = [part for part in change if part.any()]
        np.testing.assert_array_equal(found > 0, inside)
        assert found.max() == pytest.approx(height or 1.0, rel=1e-3)
