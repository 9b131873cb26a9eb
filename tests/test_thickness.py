"""Thickness of layers, and the doubt of its means against closed forms."""

import numpy as np
import pytest
from test_surfaces import NAMES, stack

from inr_jax import thickness


def test_thickness_counts_the_rows_of_a_layer_and_the_retina_holds_its_fluid():
    found = thickness.of_labels(stack(), NAMES, 0.004)
    assert found.names == ("A", "B", "retina")
    assert found.half is None
    np.testing.assert_allclose(found.um[:, 0, 0], [12, 8, 28])
    np.testing.assert_allclose(found.um[:, 0, 1], [0, 16, 16])
    np.testing.assert_array_equal(found.um[:, 0, 2], [0, 0, np.nan])


def test_halves_of_intervals_add_in_squares_for_the_retina_and_what_is_not_known_has_no_thickness():
    half = np.broadcast_to(np.array([9.0, 3, 4, 7])[:, None], (2, 4, 3))
    known = np.array([[True, False, True]] * 2)
    found = thickness.of_labels(stack(), NAMES, 0.004, half=half, level=0.9, known=known)
    np.testing.assert_allclose(found.half[:, 1, 0], [3, 4, 5])
    assert np.isnan(found.um[:, :, 1]).all()
    assert found.level == 0.9


def test_independent_errors_of_n_equal_parts_shrink_by_the_root_of_n():
    weights, deviations, at = np.full(400, 1 / 400), np.full(400, 8.0), np.random.default_rng(0).random((400, 2))
    assert thickness.deviation_of_mean(weights, deviations, at, 0.0) == pytest.approx(8 / 20)
    assert thickness.deviation_of_mean(weights, deviations, at) == pytest.approx(8)
    assert thickness.deviation_of_mean(weights, deviations, at, 1e-6) == pytest.approx(8 / 20)
    assert thickness.deviation_of_mean(weights, deviations, at, 1e6) == pytest.approx(8, rel=1e-4)


def test_errors_correlated_along_a_line_have_the_variance_of_their_double_integral():
    """(1/a^2) int int exp(-|x - y| / L) dx dy over [0, a]^2 = 2 (L/a) - 2 (L/a)^2 (1 - exp(-a/L))."""
    n, a, length = 2000, 3.0, 0.7
    at = np.stack([(np.arange(n) + 0.5) * a / n, np.zeros(n)], -1)
    ratio = length / a
    expected = 5 * np.sqrt(2 * ratio - 2 * ratio**2 * (1 - np.exp(-1 / ratio)))
    assert thickness.deviation_of_mean(np.full(n, 1 / n), np.full(n, 5.0), at, length) == pytest.approx(
        expected, rel=1e-5
    )


def test_draws_bring_their_correlation_along():
    """Gaussian draws of a covariance that is known, against the same covariance in closed form."""
    at = np.random.default_rng(0).random((30, 2))
    weights, deviations = np.random.default_rng(1).dirichlet(np.ones(30)), np.linspace(1, 4, 30)
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1)
    covariance = np.outer(deviations, deviations) * np.exp(-apart / 0.4)
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(30), covariance, 20000)
    expected = thickness.deviation_of_mean(weights, deviations, at, 0.4)
    assert (draws @ weights).std(ddof=1) == pytest.approx(expected, rel=0.02)
