"""Where A-scans lie as the eye is looked at, and values read between them."""

import numpy as np
import pytest

from inr_jax import en_face
from inr_jax.phantom import make_eye


def raster(bscans: int = 5, ascans: int = 7) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(bscans) * 0.2, np.arange(ascans) * 0.1, indexing="ij"), -1)


def ring(count: int, radius: float, turn: float = 2 * np.pi) -> np.ndarray:
    angle = np.arange(count) / count * turn
    return np.stack([3 + radius * np.sin(angle), 4 + radius * np.cos(angle)], -1)


def test_places_of_an_scans_own_bscans_are_those_on_its_slo_and_between_two_of_them_the_middle():
    own = np.random.default_rng(0).random((4, 6, 2))
    found = en_face.places(own, (1.0, 1.0, 1.0), np.array([0.0, 1.5, 3.0]), np.arange(6.0))
    np.testing.assert_allclose(found[[0, 2]], own[[0, 3]])
    np.testing.assert_allclose(found[1], own[1:3].mean(axis=0))
    between = en_face.places(own, (1.0, 1.0, 1.0), np.array([2.0]), np.array([0.25, 5.0]))
    np.testing.assert_allclose(between[0], [0.75 * own[2, 0] + 0.25 * own[2, 1], own[2, 5]])


def test_without_an_slo_places_are_a_raster_of_the_scans_spacing():
    found = en_face.places(None, (0.24, 0.004, 0.06), np.array([0.0, 0.5]), np.arange(3.0))
    np.testing.assert_allclose(found, [[[0, 0], [0, 0.06], [0, 0.12]], [[0.12, 0], [0.12, 0.06], [0.12, 0.12]]])


def test_the_nose_lies_right_of_a_right_eye_and_left_of_a_left_one_as_in_the_phantom():
    """Nerve fibres are thickest towards the disc: the phantom's surfaces tell where that is."""
    for eye in "RL":
        found = make_eye(person=1, laterality=eye, shape=(9, 64, 48))
        fibres = found.surfaces[1] - found.surfaces[0]
        at = en_face.places(found.ascans_on_slo, found.spacing, np.arange(9.0), np.arange(48.0))
        side = np.sign(np.polyfit(at[..., 1].ravel(), fibres.ravel(), 1)[0])
        assert side == en_face.nasal(eye)
    assert en_face.quadrants("L") == ("N", "S", "T", "I")
    assert en_face.quadrants(None) == ("right", "above", "left", "below")


@pytest.mark.parametrize("count", [24, 768])
def test_a_closed_circle_is_found_with_its_centre_and_radius_through_noise(count):
    line = ring(count, 1.7) + np.random.default_rng(0).normal(0, 0.005, (count, 2))
    found = en_face.circle_through(line)
    np.testing.assert_allclose(found.centre, (3, 4), atol=0.005)
    assert found.radius == pytest.approx(1.7, abs=0.005)


@pytest.mark.parametrize(
    "line",
    [ring(100, 1.7, turn=np.pi), np.linspace([0, 0], [3, 6], 50), ring(100, 1.7) * (1, 1.3), np.zeros((9, 2))],
    ids=["half", "line", "ellipse", "point"],
)
def test_what_is_no_closed_circle_is_none(line):
    assert en_face.circle_through(line) is None


def test_a_plane_is_read_exactly_between_a_scans_and_nothing_beyond_them():
    at = raster()
    points = np.random.default_rng(0).uniform(-0.3, 1.1, (500, 2))
    found = en_face.read(en_face.between(en_face.mesh(at), points), 3 + at @ np.array([2.0, -5.0]))
    inside = ((points >= 0) & (points <= (0.8, 0.6))).all(axis=1)
    np.testing.assert_allclose(found[inside], (3 + points @ (2, -5))[inside])
    assert np.isnan(found[~inside]).all()


def test_a_place_next_to_an_a_scan_without_a_value_has_none_and_on_another_one_has():
    at, values = raster(), np.ones((5, 7))
    values[2, 3] = np.nan
    points = np.array([[0.4, 0.3], [0.39, 0.31], [0.4, 0.2], [0.0, 0.0]])
    found = en_face.read(en_face.between(en_face.mesh(at), points), values)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, False])


def test_what_is_far_from_all_a_scans_is_not_covered_though_they_surround_it():
    mesh = en_face.mesh(ring(100, 1.7)[None])
    found = en_face.between(mesh, np.array([[3.0, 4.0], [3.0, 5.6]]))
    np.testing.assert_array_equal(found.covered, [False, True])


def test_a_line_covers_nothing():
    mesh = en_face.mesh(np.linspace([0.0, 0.0], [3.0, 6.0], 50)[None])
    assert not en_face.between(mesh, np.array([[1.5, 3.0]])).covered.any()


def test_a_square_of_points_reaches_over_all_a_scans():
    points, shape, (left, right, low, top) = en_face.square(raster(), 0.05)
    assert points.shape == (shape[0] * shape[1], 2)
    assert points.min(axis=0) == pytest.approx([0, 0])
    assert (points.max(axis=0) >= np.array([0.8, 0.6]) - 1e-9).all()
    assert (left, top) == pytest.approx((-0.025, -0.025))
    assert right - left == pytest.approx(shape[1] * 0.05)
    assert low - top == pytest.approx(shape[0] * 0.05)
