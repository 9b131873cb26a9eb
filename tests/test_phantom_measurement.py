"""How the phantom is measured: light, vessels, speckle, motion; and its sick and shifted eyes."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.stats import skew

from inr_jax.phantom import Eye, make_eye
from inr_jax.phantom.anatomy import DRUSEN, FLUID
from inr_jax.phantom.appearance import SCATTERED, SHADE, paint, shade
from inr_jax.phantom.pathology import Lesion, changes, deform, draw_lesions
from inr_jax.phantom.physics import STANDARD, display, draw_motion, measure
from inr_jax.phantom.vessels import Hits, Vessels, draw_vessels, meet


@pytest.fixture(scope="module")
def eye() -> Eye:
    return make_eye(person=0, laterality="R")


@pytest.fixture(scope="module")
def ill() -> Eye:
    return make_eye(person=3, laterality="L", variant="pathology")


# Appearance


def test_paint_gives_each_row_its_share_of_every_band() -> None:
    tops = np.array([[-10.0, -10.0], [2.25, 3.0], [2.25, 5.6]])
    values = np.array([[1.0, 2.0], [100.0, 4.0], [3.0, 0.0]])  # the middle band of the first column has no thickness
    painted = paint(tops, values, 8)
    np.testing.assert_allclose(painted[0], [1, 1, 0.75 * 1 + 0.25 * 3, 3, 3, 3, 3, 3], atol=1e-5)
    np.testing.assert_allclose(painted[1], [2, 2, 2, 3, 4, 4, 4 * 0.1, 0], atol=1e-5)


def test_vessels_dim_what_lies_below_them_and_nothing_above() -> None:
    z = np.arange(0.0, 400.0, 4.0)
    volume = np.full((2, len(z)), 0.5, np.float32)
    surfaces = np.stack([np.full((1, 2), 100.0 + 20 * k) for k in range(11)])
    blood = Hits(np.array([0.0, 0.05]), np.array([0.0, 0.025]), np.array([0.0, 0.5]))
    shade(volume, z, surfaces, blood)
    np.testing.assert_array_equal(volume[0], np.float32(0.5))
    lumen_top, lumen_bottom = 130 - 25, 130 + 25
    np.testing.assert_array_equal(volume[1, z <= lumen_top], np.float32(0.5))
    below = SCATTERED + (1 - SCATTERED) * np.exp(-SHADE * 50)
    np.testing.assert_allclose(volume[1, z >= lumen_bottom], 0.5 * below, rtol=1e-5)


def test_a_beam_through_the_middle_of_a_vessel_meets_its_diameter() -> None:
    line = np.stack([np.zeros(200), np.arange(200) * 0.02], axis=1)
    vessel = Vessels(line, np.full(200, 0.05), np.full(200, 0.3))
    vessel = Vessels(
        *(np.concatenate([a, b]) for a, b in zip(vessel, (line + 9, np.full(200, 0.01), vessel.depth), strict=True))
    )
    y = np.array([0.0, 0.03, 0.049, 0.06])
    chord = meet(vessel, y, np.full(4, 1.0), 1e-6).chord
    np.testing.assert_allclose(chord, 2 * np.sqrt(np.clip(0.05**2 - y**2, 0, None)), atol=1e-3)


def test_most_vessels_are_narrower_than_the_distance_between_bscans() -> None:
    for person in range(3):
        vessels = draw_vessels(0, person, 0)
        inside = np.abs(vessels.place).max(axis=1) < 2.9
        assert (2 * vessels.radius[inside] < 0.19 / 2).mean() > 0.8
        assert np.hypot(*vessels.place.T).min() > 0.25  # the fovea has none


def test_the_slo_shows_the_vessels_of_the_oct_one_to_three_pixels_off() -> None:
    for person in range(4):
        eye = make_eye(person=person, laterality="L", motion=0.0)
        offset = np.hypot(*eye.slo_to_retina[:, 2]) / eye.slo_spacing[0]
        assert 1 <= offset <= 3
        shadow = -eye.clean[:, 90:110].mean(axis=1)
        middle = (np.array(eye.slo.shape) - 1) / 2 * np.array(eye.slo_spacing)
        nominal = eye.ascans_on_slo - middle
        linear, shift = eye.slo_to_retina[:, :2], eye.slo_to_retina[:, 2]
        true = (nominal - shift) @ np.linalg.inv(linear).T

        def seen(places: np.ndarray, eye: Eye = eye, middle: np.ndarray = middle) -> np.ndarray:
            pixels = ((places + middle) / np.array(eye.slo_spacing)).reshape(-1, 2).T
            return map_coordinates(-eye.slo, pixels, order=1).reshape(places.shape[:2])

        def alike(a: np.ndarray, b: np.ndarray) -> float:
            return float(np.corrcoef(a[1:-1, 2:-2].ravel(), b[1:-1, 2:-2].ravel())[0, 1])

        assert alike(shadow, seen(true)) > 0.25
        assert alike(shadow, seen(true)) > alike(shadow, seen(true[::-1]))
        assert alike(shadow, seen(true)) > alike(shadow, seen(nominal))


# Physics


def test_speckle_is_gamma_with_the_number_of_looks_and_leaves_the_mean() -> None:
    flat = np.full((8, 64, 256), 0.05, np.float32)
    instrument = STANDARD._replace(floor=0.0, looks=9.0)
    ratio = measure(np.random.default_rng(0), flat, instrument, (60.0, 7.0)) ** 4 / 0.05
    assert ratio.mean() == pytest.approx(1.0, abs=0.005)
    assert ratio.var() == pytest.approx(1 / 9, rel=0.03)
    assert skew(ratio.ravel()) == pytest.approx(2 / 3, abs=0.05)


def test_speckle_is_correlated_by_the_spot_within_a_bscan_and_not_between() -> None:
    flat = np.full((6, 512, 256), 0.05, np.float32)
    instrument = STANDARD._replace(floor=0.0, looks=30.0, axial_blur=4.0, lateral_blur=8.0)
    noise = measure(np.random.default_rng(1), flat, instrument, (8.0, 4.0)) ** 4
    noise = noise / noise.mean() - 1

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).mean() / noise.var())

    for lag in (1, 2):
        expected = np.exp(-(lag**2) / 4)  # a Gaussian spot of one sample
        assert correlation(noise[:, lag:], noise[:, :-lag]) == pytest.approx(expected, abs=0.03)
        assert correlation(noise[:, :, lag:], noise[:, :, :-lag]) == pytest.approx(expected, abs=0.03)
    assert correlation(noise[1:], noise[:-1]) == pytest.approx(0, abs=0.01)


def test_labels_move_with_the_true_motion() -> None:
    eye = make_eye(person=2, laterality="R", motion=2.0)

    def bottom(labels: np.ndarray) -> np.ndarray:
        return labels.shape[1] - (labels[:, ::-1] > 0).argmax(axis=1)

    x = (np.arange(96) - 95 / 2) * eye.spacing[2]
    moved = (eye.motion.axial[:, None] + eye.motion.tilt[:, None] * x) / (1e3 * eye.spacing[1])
    assert np.abs(moved).max() > 3
    error = bottom(eye.labels) - bottom(eye.labels_true) - moved
    assert np.abs(error).max() < 1.6
    assert np.abs(error.mean(axis=1)).max() < 0.4


def test_a_still_eye_is_measured_where_it_is() -> None:
    eye = make_eye(person=4, laterality="R", motion=0.0, looks=1e6)
    np.testing.assert_array_equal(eye.labels, eye.labels_true)
    assert eye.valid.all()
    bright = eye.clean > 0.25
    np.testing.assert_allclose(eye.noisy[bright], eye.clean[bright], atol=0.02)


def test_motion_has_neither_offset_nor_parabola_that_could_be_the_eyes_shape() -> None:
    motion = draw_motion(np.random.default_rng(3), 31, 1.0)
    for part in (motion.axial, motion.tilt):
        np.testing.assert_allclose(np.polyfit(np.linspace(-1, 1, 31), part, 2), 0, atol=1e-9)
    assert motion.gain.mean() == pytest.approx(1.0)
    assert np.abs(motion.lateral).max() < 0.04
    assert 2 < motion.axial.std() < 15


def test_missing_ascans_hold_the_detectors_floor_and_say_so() -> None:
    eyes = [make_eye(person=p, laterality="R") for p in range(6)]
    missing = np.concatenate([eye.noisy[~eye.valid] for eye in eyes]) ** 4
    assert missing.size > 1000
    assert missing.mean() == pytest.approx(STANDARD.floor, rel=0.1)
    for eye in eyes:
        assert (eye.valid == eye.valid[:, :1]).all()  # whole A-scans


def test_display_is_the_fourth_root_cut_to_one() -> None:
    np.testing.assert_allclose(display(np.array([0.0, 0.0016, 1.0, 5.0])), [0, 0.2, 1, 1], rtol=1e-6)


# Pathology and the shifted set


def test_only_the_pathology_variant_has_lesions(eye: Eye, ill: Eye) -> None:
    assert eye.lesions == ()
    assert eye.labels.max() == 10
    assert {lesion.kind for lesion in ill.lesions} >= {"drusen", "cyst"}
    assert {FLUID, DRUSEN} <= set(np.unique(ill.labels_true))


def test_fluid_and_drusen_lie_where_the_lesions_say(ill: Eye) -> None:
    y = (np.arange(31) - 15) * ill.spacing[0]
    x = (np.arange(96) - 95 / 2) * ill.spacing[2]
    for label, kinds in ((DRUSEN, {"drusen"}), (FLUID, {"cyst", "subretinal fluid"})):
        inside = np.zeros((31, 96), bool)
        for lesion in ill.lesions:
            if lesion.kind in kinds:
                reach_y, reach_x = (y - lesion.y) / lesion.radius_y, (x - lesion.x) / lesion.radius_x
                inside |= reach_y[:, None] ** 2 + reach_x[None, :] ** 2 < 1
        seen = (ill.labels_true == label).any(axis=1)
        assert not (seen & ~inside).any()
        assert seen.sum() > 0.3 * inside.sum()


def test_every_sick_eye_has_lesions_that_fitted_bscans_do_not_see() -> None:
    fitted = np.linspace(-2.9, 2.9, 31)[::2]
    x = np.linspace(-2.9, 2.9, 300)
    for person in range(10):
        hidden = tuple(lesion for lesion in draw_lesions(0, person, 1) if lesion.between)
        assert {lesion.kind for lesion in hidden} == {"drusen", "cyst"}
        for places, visible in ((fitted, False), (np.linspace(-2.9, 2.9, 31)[1::2], True)):
            change = changes(hidden, *np.meshgrid(places, x, indexing="ij"))
            assert bool(change.drusen.any()) == visible
            assert bool(change.cyst.any()) == visible


def test_atrophy_takes_a_layers_whole_thickness() -> None:
    lesion = Lesion("atrophy", 0.0, 0.0, 1.0, 1.0, 0.0, False)
    places = np.array([[0.0]]), np.array([[0.0]])
    left = deform(np.full((10, 1, 1), 20.0), changes((lesion,), *places)).ravel()
    np.testing.assert_array_equal(left[6:], 0)
    np.testing.assert_array_equal(left[:5], 20)


def test_the_shifted_set_has_other_spacing_and_noise_but_the_same_anatomy(eye: Eye) -> None:
    distances = []
    for person in range(8):
        shifted = make_eye(person=person, laterality="R", variant="shifted")
        distances.append(shifted.spacing[0])
        assert 0.06 <= shifted.spacing[0] <= 0.24
        assert shifted.spacing[0] == make_eye(person=person, laterality="L", variant="shifted").spacing[0]
    assert max(distances) > 1.5 * min(distances)
    shifted = make_eye(person=0, laterality="R", variant="shifted", shape=(31, 128, 96), field=(5.8, 0.9, 5.8))
    np.testing.assert_array_equal(shifted.surfaces, eye.surfaces)
    assert (shifted.noisy - shifted.clean)[shifted.valid].std() > 0
    assert shifted.clean[:, :5].mean() > 1.3 * eye.clean[:, :5].mean()  # a higher floor
    band = np.ptp(np.percentile(shifted.clean, [5, 99]))
    assert band < 0.95 * np.ptp(np.percentile(eye.clean, [5, 99]))
