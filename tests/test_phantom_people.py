"""How phantom people, their instruments and their SLO images differ: spreads, motion, what only the SLO shows."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from inr_jax.phantom import Eye, make_eye, slo
from inr_jax.phantom.anatomy import Traits, bottom, draw_traits
from inr_jax.phantom.fields import Sites, generator
from inr_jax.phantom.physics import SHIFTED, STANDARD, blur_depth, draw_missing, draw_motion
from inr_jax.phantom.vessels import Vessels

# People


@pytest.fixture(scope="module")
def people() -> list[Traits]:
    return [draw_traits(0, person, 0) for person in range(250)]


def test_layers_differ_between_people_by_5_to_12_percent_with_a_common_part(people: list[Traits]) -> None:
    thickness = np.log([eye.thickness for eye in people])
    spread = thickness.std(axis=0)
    assert spread.min() > 0.04
    assert spread.max() < 0.135
    assert spread.argmax() == 0  # nerve fibres differ most
    assert np.median(np.exp(thickness), axis=0) == pytest.approx(np.ones(10), abs=0.03)
    between_layers = np.corrcoef(thickness.T)[np.triu_indices(10, 1)]
    assert between_layers.mean() == pytest.approx(0.36, abs=0.06)
    assert between_layers.min() > 0.1


def test_longer_eyes_are_thinner_flatter_and_magnified(people: list[Traits]) -> None:
    length = np.array([eye.axial_length for eye in people])
    assert 21 < length.min() < length.max() < 27
    thickness = np.log([eye.thickness for eye in people]).mean(axis=1)
    assert -0.02 < np.polyfit(length, thickness, 1)[0] < 0
    assert np.corrcoef(length, [eye.bend for eye in people])[0, 1] < -0.3
    np.testing.assert_allclose([eye.magnification for eye in people], length / 24)
    flat = Sites(np.zeros(1), np.array([-2.0, 0.0, 2.0]), np.zeros(1))
    rise = [np.diff(bottom(eye, flat)[0], 2)[0] + 8 * eye.bend for eye in people]  # what no parabola explains
    assert np.std(rise) < 10


def test_a_longer_eye_shows_more_of_its_retina_in_the_same_field() -> None:
    """What a scan shows at some mm from its middle lies that many times the magnification from there on the retina."""
    eyes = [make_eye(person=person, laterality="R", shape=(3, 64, 16)) for person in range(6)]
    for person, eye in enumerate(eyes):
        traits = draw_traits(0, person, 0)
        assert eye.axial_length == traits.axial_length
        y, x = np.linspace(-2.9, 2.9, 3), np.linspace(-2.9, 2.9, 16)
        scale, fovea = traits.axial_length / 24, traits.fovea
        floor = bottom(traits, Sites(scale * y - fovea[0], scale * x - fovea[1], np.zeros(3)))
        np.testing.assert_allclose((eye.surfaces[-1] - 63 / 2) * eye.spacing[1] * 1e3, floor, atol=2e-2)


# The instrument


def test_motion_drifts_by_3_um_jumps_once_in_twenty_and_pulls_back() -> None:
    steps = []
    for seed in range(40):
        axial = draw_motion(np.random.default_rng(seed), 200, 1.0).axial
        steps.append(axial[1:] - 0.8 * axial[:-1])
    found = np.concatenate(steps)
    jumps = np.abs(found) > 11.5
    assert jumps.mean() == pytest.approx(0.05, abs=0.008)
    assert found[~jumps].std() == pytest.approx(3.0, abs=0.15)
    assert np.quantile(np.abs(found[jumps]), [0.05, 0.95]) == pytest.approx([15, 25], abs=3)
    assert np.mean(found[jumps] > 0) == pytest.approx(0.5, abs=0.08)


def test_tilt_shift_and_gain_have_their_sizes() -> None:
    moved = [draw_motion(np.random.default_rng(seed), 200, 1.0) for seed in range(20)]
    assert np.std([motion.tilt for motion in moved]) == pytest.approx(2.0, rel=0.05)
    assert np.std([motion.lateral for motion in moved]) == pytest.approx(0.012, rel=0.05)
    assert np.abs([motion.lateral for motion in moved]).max() < 0.033  # 0.03 about their mean
    assert np.std([motion.gain for motion in moved]) == pytest.approx(0.025, rel=0.05)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_motion_scales_all_of_it(strength: float) -> None:
    one, scaled = (draw_motion(np.random.default_rng(5), 31, s) for s in (1.0, strength))
    for part in ("axial", "tilt", "lateral"):
        np.testing.assert_allclose(getattr(scaled, part), strength * getattr(one, part), rtol=1e-12)
    np.testing.assert_allclose(scaled.gain - 1, strength * (one.gain - 1), atol=1e-12)


def test_missing_ascans_are_few_short_runs() -> None:
    found = np.stack([draw_missing(np.random.default_rng(seed), 31, 96) for seed in range(3000)])
    assert 0.002 < found.mean() < 0.006
    runs = np.diff(np.pad(found.astype(int), ((0, 0), (0, 0), (1, 1))), axis=2)
    starts, ends = np.argwhere(runs == 1), np.argwhere(runs == -1)
    lengths = (ends - starts)[:, 2]
    assert len(lengths) / 3000 == pytest.approx(1.5, abs=0.1)
    assert np.quantile(lengths, 0.02) >= 2
    assert np.quantile(lengths, 0.98) <= 12


def test_the_axial_spot_has_its_width_and_keeps_the_light() -> None:
    line = np.zeros((1, 401), np.float32)
    line[0, 200] = 1
    spread = blur_depth(line, STANDARD.axial_blur / 0.5)[0].astype(float)
    um = (np.arange(401) - 200) * 0.5
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert np.sqrt((spread * um**2).sum()) == pytest.approx(2.8, rel=0.02)
    assert np.ptp(um[spread > spread.max() / 2]) == pytest.approx(6.6, abs=0.6)


def test_the_shifted_instrument_is_worse_in_every_way() -> None:
    assert SHIFTED.looks == STANDARD.looks / 2
    assert SHIFTED.floor > STANDARD.floor
    assert SHIFTED.axial_blur > STANDARD.axial_blur
    assert SHIFTED.lateral_blur > STANDARD.lateral_blur
    assert SHIFTED.contrast < STANDARD.contrast


# The SLO


def test_the_slo_is_turned_scaled_and_shifted_a_little() -> None:
    pixel = 6.4 / 191
    drawn = np.stack([slo.draw_misregistration(generator(0, person, 0, "slo"), pixel) for person in range(400)])
    linear, shift = drawn[..., :2], drawn[..., 2]
    distance = np.hypot(*shift.T) / pixel
    assert 1 <= distance.min() < 1.1
    assert 2.9 < distance.max() <= 3
    assert distance.mean() == pytest.approx(2, abs=0.1)
    direction = np.arctan2(*shift.T)
    assert np.abs(np.exp(1j * direction).mean()) < 0.1  # no direction is preferred
    scale = np.linalg.norm(linear, axis=1)  # of the columns
    turn = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    np.testing.assert_allclose((linear[..., 0] * linear[..., 1]).sum(axis=1), 0, atol=1e-12)  # no shear
    assert (np.linalg.det(linear) > 0.9).all()  # no mirror
    assert turn.std() == pytest.approx(0.4, rel=0.1)
    assert scale.std(axis=0) == pytest.approx([0.004, 0.004], rel=0.1)
    assert scale.mean() == pytest.approx(1, abs=1e-3)


def bloodless_slo(person: int) -> np.ndarray:
    """The SLO of a right eye without vessels, in its place: the light of the fundus alone."""
    traits, rng = draw_traits(0, person, 0), generator(0, person, 0, "slo")
    slo.draw_misregistration(rng, 1.0)  # comes before the image
    at = np.linspace(-3.2, 3.2, 192)
    y, x = (traits.magnification * at - fovea for fovea in traits.fovea)
    far = Vessels(np.full((2, 2), 99.0), np.array([0.01, 0.05]), np.full(2, 0.3))
    places = np.meshgrid(y, x, indexing="ij")
    return slo.draw_slo(rng, far, Sites(y, x, np.zeros(192)), *places).astype(float)


def test_the_slo_has_a_pattern_of_its_own_that_is_structure_and_not_noise() -> None:
    pattern = np.log(bloodless_slo(0) / bloodless_slo(1))  # what all eyes share is gone
    smooth = gaussian_filter(pattern, 2)
    assert 0.05 < smooth.std() < 0.2
    assert np.corrcoef(smooth[:, 8:].ravel(), smooth[:, :-8].ravel())[0, 1] > 0.5  # 0.27 mm


def en_face(eye: Eye) -> np.ndarray:
    """Mean linear intensity of each A-scan, as a logarithm."""
    return np.log((eye.clean.astype(float) ** 4).mean(axis=1))


def test_the_slos_own_pattern_has_no_counterpart_in_oct() -> None:
    """It tells of the eye's B-scans no more than of another eye's, while vessels do (test_phantom_measurement)."""
    eyes = [make_eye(person=person, laterality="R", motion=0.0) for person in range(8)]
    images = [en_face(eye) for eye in eyes]
    pixels = (eyes[0].ascans_on_slo / np.array(eyes[0].slo_spacing)).reshape(-1, 2).T
    mean = np.mean([np.log(bloodless_slo(person)) for person in range(8)], axis=0)
    patterns = []
    for person in range(8):
        own = gaussian_filter(np.log(bloodless_slo(person)) - mean, 2)
        patterns.append(map_coordinates(own, pixels, order=1))
    shown = [map_coordinates(np.log(np.maximum(eye.slo, 0.05)), pixels, order=1) for eye in eyes]
    in_slo = [np.corrcoef(own, image)[0, 1] for own, image in zip(patterns, shown, strict=True)]
    assert min(in_slo) > 0.3
    images = [(image - np.mean(images, axis=0)).ravel() for image in images]
    alike = np.corrcoef(patterns, images)[:8, 8:]
    assert np.abs(np.diag(alike).mean()) < 0.1
    assert np.abs(np.diag(alike)).max() < 0.15


def test_lesions_do_not_show_on_the_slo() -> None:
    sick, healthy = (
        make_eye(person=3, laterality="L", shape=(9, 64, 32), variant=variant) for variant in ("pathology", "standard")
    )
    assert sick.lesions
    assert np.abs(sick.surfaces - healthy.surfaces).max() > 1
    np.testing.assert_array_equal(sick.slo, healthy.slo)
    np.testing.assert_array_equal(sick.valid, healthy.valid)
    np.testing.assert_array_equal(sick.motion.axial, healthy.motion.axial)
