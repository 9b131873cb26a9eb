"""The residual comes back where it was measured, and between as kriging says."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from inr_jax import residual
from inr_jax.errors import InputError

DRAW = np.random.default_rng(0)
PLACES = np.array([0.0, 0.4, 1.1, 1.5])


def options(length, sigma=(0.0, 0.0), path="straight"):
    return {"length": float(length), "sigma": sigma, "path": path, "path_sigma": sigma}


def volume(*shape):
    return DRAW.random((*shape, 1)).astype(np.float32)


@pytest.mark.parametrize("length", [0.1, 0.5, 3.0])
def test_weights_are_those_of_simple_kriging_with_an_exponential_covariance(length):
    """The process is Markov: the two neighbours (one, beyond the ends) make up the whole solution of C w = c."""
    asked = np.array([-0.3, 0.0, 0.1, 0.4, 0.9, 1.5, 2.2])
    covariance = np.exp(-np.abs(PLACES[:, None] - PLACES) / length)
    to_asked = np.exp(-np.abs(PLACES[:, None] - asked) / length)
    expected = np.linalg.solve(covariance, to_asked).T
    np.testing.assert_allclose(residual.weights(PLACES, asked, length), expected, atol=1e-9)


def test_a_long_correlation_interpolates_linearly_and_a_short_one_leaves_the_middle_alone():
    asked = np.linspace(0, 1.5, 16)
    values = np.array([1.0, -2.0, 0.5, 3.0])
    long = residual.weights(PLACES, asked, 1e5) @ values
    np.testing.assert_allclose(long, np.interp(asked, PLACES, values), atol=1e-6)
    assert np.abs(residual.weights(PLACES, np.array([0.75]), 1e-3)).max() < 1e-12


def test_one_place_alone_fades_with_distance():
    np.testing.assert_allclose(residual.weights(np.array([1.0]), np.array([1.0, 3.0]), 2.0), [[1.0], [np.exp(-1)]])


def test_without_smoothing_the_measurement_comes_back_where_it_was_measured():
    field, intensity = volume(5, 8, 6), volume(5, 8, 6)
    measured = np.zeros((5, 8, 6), bool)
    measured[::2] = True
    out = residual.corrected(
        field, intensity, np.ones_like(measured), measured, np.array([0.2, 0.1, 0.1]), **options(0.3)
    )
    np.testing.assert_allclose(out[::2], intensity[::2], atol=1e-6)
    share = 1 / (2 * np.cosh(0.2 / 0.3))  # sinh(a) / sinh(2 a)
    between = field[1] + share * (intensity[0] - field[0] + intensity[2] - field[2])
    np.testing.assert_allclose(out[1], np.clip(between, 0, 1), atol=1e-6)


def test_length_0_is_the_field_alone():
    field = 2 * volume(3, 8, 6) - 0.5
    measured = np.ones((3, 8, 6), bool)
    out = residual.corrected(field, volume(3, 8, 6), measured, measured, np.ones(3), **options(0))
    np.testing.assert_array_equal(out, np.clip(field, 0, 1))


def test_the_residual_is_smoothed_within_a_bscan_by_what_is_valid_alone():
    values, valid = volume(2, 20, 16), np.ones((2, 20, 16), bool)
    plain = residual.smoothed(values, valid, (1.0, 2.0))
    expected = [gaussian_filter(bscan[..., 0].astype(np.float64), (1.0, 2.0)) for bscan in values]
    np.testing.assert_allclose(plain[..., 0], expected, atol=1e-5)
    valid[:, :, 5:8] = False
    constant = np.where(valid[..., None], 0.25, 9.0).astype(np.float32)
    np.testing.assert_allclose(residual.smoothed(constant, valid, (1.0, 2.0)), 0.25, atol=1e-5)


@pytest.mark.parametrize("kind", ["subgrid", "scattered"])
def test_an_image_s_measured_pixels_come_back_and_a_plane_between_them_too(kind):
    rows, columns = np.meshgrid(np.arange(9), np.arange(9), indexing="ij")
    plane = (0.3 + 0.03 * rows + 0.02 * columns)[..., None].astype(np.float32)
    measured = np.zeros((9, 9), bool)
    measured[::2, ::2] = True
    if kind == "scattered":
        measured[1, 1] = measured[5, 3] = True
    field = np.full_like(plane, 0.2)
    out = residual.corrected(field, plane, np.ones_like(measured), measured, np.full(2, 0.1), **options(1e4))
    np.testing.assert_allclose(out, plane, atol=1e-4)


def test_a_place_between_two_voxels_is_answered_as_on_a_finer_grid():
    field, intensity = volume(3, 8, 6), volume(3, 8, 6)
    masks = [np.ones(n, bool) for n in (3, 8, 6)]
    found = residual.measure(
        field, intensity, np.ones((3, 8, 6), bool), masks, np.array([0.2, 0.1, 0.1]), **options(0.3)
    )
    halfway = residual.at(found, (np.array([0.1]), *found.places[1:]))[0]
    share = 1 / (2 * np.cosh(0.1 / 0.3))
    np.testing.assert_allclose(halfway, share * (intensity - field)[:2].sum(0), atol=1e-6)


def sloping(slope, pattern, count=5):
    """B-scans [count, 48, 40, 1] of a bright band that is `slope` rows lower in each than in the one before it."""
    rows = np.arange(48.0)[:, None] - np.zeros(40)
    return np.stack([pattern(rows - 14 - slope * d) for d in range(count)])[..., None].astype(np.float32)


def band(rows):
    return np.exp(-((rows / 4) ** 2))


def left_behind(rows):
    """What the field does not know of the band: a line within it, darker to its left."""
    return 0.3 * np.exp(-(((rows - 2) / 1.5) ** 2)) * np.linspace(0.2, 1, 40)


def between(path, slope, **changes):
    field, left = sloping(slope, band), sloping(slope, left_behind)
    measured = np.zeros(field.shape[:3], bool)
    measured[::2] = True
    options_ = options(1e4, path=path) | changes
    out = residual.corrected(0.5 * field, 0.5 * field + left, np.ones_like(measured), measured, np.ones(3), **options_)
    return out - np.clip(0.5 * field, 0, 1), left


def test_along_the_field_s_registered_bscans_a_residual_moves_as_the_layers_do():
    errors = {}
    for path in residual.PATHS:
        found, left = between(path, slope=3.0)
        errors[path] = np.abs(found - left)[1::2, 6:42].max()
    assert errors["straight"] > 0.1
    assert errors["registered"] < 0.02


def test_where_layers_lie_level_both_paths_are_one():
    registered, left = between("registered", slope=0.0)
    np.testing.assert_allclose(registered, between("straight", slope=0.0)[0], atol=1e-5)
    np.testing.assert_allclose(registered, left, atol=1e-5)


def test_measured_bscans_are_smoothed_by_their_own_sigma_and_carried_ones_by_the_paths():
    wide = {"path_sigma": (0.0, 3.0)}
    narrow, broad = between("registered", slope=0.0)[0], between("registered", slope=0.0, **wide)[0]
    np.testing.assert_array_equal(narrow[::2], broad[::2])
    smooth = gaussian_filter(sloping(0.0, left_behind)[1, ..., 0].astype(np.float64), (0, 3))
    np.testing.assert_allclose(broad[1, ..., 0], smooth, atol=1e-5)


@pytest.mark.parametrize("kind", ["subgrid", "scattered"])
def test_a_registered_path_needs_whole_bscans(kind):
    measured = np.zeros((9, 9), bool)
    measured[::2, ::2] = True
    measured[1, 1] = kind == "scattered"
    image = volume(9, 9)
    with pytest.raises(InputError, match=r"adapt\.residual\.path: expected straight"):
        residual.corrected(
            image, image, np.ones_like(measured), measured, np.ones(2), **options(1.0, path="registered")
        )
    with pytest.raises(InputError, match=r"path: expected one of straight, registered; found 'curved'"):
        residual.corrected(image, image, np.ones_like(measured), measured, np.ones(2), **options(1.0, path="curved"))


@pytest.mark.parametrize("path", residual.PATHS)
def test_loose_places_have_the_residual_of_the_grid_through_them(path):
    shape, spacing = (4, 24, 20), np.array([0.3, 0.01, 0.05])
    field, intensity = (gaussian_filter(volume(*shape), (0, 2, 2, 0)) for _ in range(2))
    masks = [np.ones(n, bool) for n in shape]
    found = residual.measure(
        field, intensity, np.ones(shape, bool), masks, spacing, **options(0.4, sigma=(0.5, 1.0), path=path)
    )
    asked = (
        np.array([-0.2, 0.0, 0.13, 0.3, 0.71, 0.9, 1.2]),
        *(np.arange(n) * s for n, s in zip(shape[1:], spacing[1:], strict=True)),
    )
    grid = residual.at(found, asked)
    loose = np.stack(np.meshgrid(*asked, indexing="ij"), -1).reshape(-1, 3)
    order = DRAW.permutation(len(loose))
    np.testing.assert_allclose(residual.at_points(found, loose[order])[:, 0], grid.reshape(-1)[order], atol=1e-5)


def test_one_bscan_s_residual_fades_at_loose_places_and_is_linear_within():
    found = residual.Residual(
        np.arange(6.0).reshape(1, 2, 3, 1), (np.array([1.0]), np.arange(2.0), np.arange(3.0)), 2.0, None
    )
    asked = np.array([[1.0, 0.5, 1.5], [3.0, 1.0, 2.0], [3.0, 9.0, 9.0]])
    np.testing.assert_allclose(residual.at_points(found, asked)[:, 0], [3.0, 5 * np.exp(-1), 5 * np.exp(-1)])
