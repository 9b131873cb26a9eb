"""Intervals hold what they say, group by group, on values they were not set by."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from inr_jax import calibration
from inr_jax.calibration import LEVEL, Basis, Spread

BASIS = Basis({"intensity": (0.0, 0.5, 1.0), "distance": (0.0, 1.0)}, ("laplace",), 1e-7)
TRUE = np.array([-6.0, -4.0, -5.0, 0.8, 0.5])


def columns(count, seed):
    draw = np.random.default_rng(seed)
    return {
        "intensity": draw.random(count),
        "distance": draw.integers(0, 2, count).astype(float),
        "laplace": np.exp(draw.normal(size=count)),
    }


def errors(found, seed, *, heavy=False):
    scale = np.exp(0.5 * calibration.design(BASIS, found) @ TRUE)
    draw = np.random.default_rng(seed)
    return scale * (draw.standard_t(3, len(scale)) if heavy else draw.normal(size=len(scale)))


def test_a_log_linear_spread_is_found_from_its_errors():
    known = columns(40_000, 0)
    spread = calibration.fit_spread(BASIS, known, errors(known, 1), np.ones(40_000))
    np.testing.assert_allclose(spread.weights, TRUE, atol=0.06)


def test_weights_count_as_repetitions():
    known = columns(300, 0)
    error, repeat = errors(known, 1), np.random.default_rng(2).integers(1, 4, 300)
    once = calibration.fit_spread(BASIS, known, error, repeat.astype(float))
    many = calibration.fit_spread(
        BASIS, {k: np.repeat(v, repeat) for k, v in known.items()}, np.repeat(error, repeat), np.ones(repeat.sum())
    )
    np.testing.assert_allclose(once.weights, many.weights, atol=1e-4)


def test_hats_of_the_first_column_add_up_to_one():
    phi = calibration.design(BASIS, columns(50, 0))
    np.testing.assert_allclose(phi[:, :3].sum(axis=1), 1)
    assert phi.shape == (50, 5)


def test_the_likelihood_is_the_gaussian_s():
    log_var, error = np.array([-1.0, 0.5]), np.array([0.3, -2.0])
    expected = -norm.logpdf(error, scale=np.exp(log_var / 2)) @ [0.25, 0.75]
    assert calibration.likelihood(log_var, error, np.array([1.0, 3.0])) == pytest.approx(expected)


def test_quantiles_of_equal_weights_are_numpy_s():
    values = np.random.default_rng(0).normal(size=137)
    for level in (0.1, 0.5, 0.9):
        expected = np.quantile(values, level, method="inverted_cdf")
        assert calibration.quantile(values, np.ones(137), level) == expected


def test_intervals_hold_in_every_group_of_every_grouping_on_new_values():
    """Errors have heavy tails, and a scale that the spread does not know."""
    spread = Spread(BASIS, tuple(TRUE))

    def made(seed):
        known = columns(60_000, seed)
        groups = {
            "class": np.random.default_rng(seed + 1).integers(0, 3, 60_000),
            "distance": known["distance"].astype(int),
        }
        stretch = np.array([1.0, 3.0, 0.2])[groups["class"]] * np.array([1.0, 2.0])[groups["distance"]]
        return known, groups, stretch * errors(known, seed + 2, heavy=True)

    known, groups, error = made(0)
    scores = np.abs(error) * np.exp(-0.5 * calibration.log_variance(spread, known))
    factors = calibration.conformal(scores, groups, {"class": 3, "distance": 2}, np.ones(60_000))
    known, groups, error = made(10)
    held = np.abs(error) <= calibration.half_width(spread, factors, known, groups)
    for of in groups.values():
        for g in np.unique(of):
            assert held[of == g].mean() == pytest.approx(LEVEL, abs=0.01)


def test_every_person_counts_as_one_however_many_values_are_theirs():
    scores = np.concatenate([np.full(9000, 1.0), np.full(1000, 5.0)])
    weight = np.concatenate([np.full(9000, 1 / 9000), np.full(1000, 1 / 1000)])
    factors = calibration.conformal(scores, {"all": np.zeros(10_000, int)}, {"all": 1}, weight)
    assert np.exp(factors["all"][0]) == pytest.approx(5.0)


def test_a_group_that_was_hardly_seen_takes_the_widest_interval():
    scores = np.concatenate([np.full(1000, 1.0), np.full(1000, 4.0), np.full(3, 0.1)])
    group = np.repeat([0, 1, 2], [1000, 1000, 3])
    factors = calibration.conformal(scores, {"class": group}, {"class": 4}, np.ones(len(scores)))["class"]
    np.testing.assert_allclose(np.exp(factors), [1, 4, 4, 4], rtol=1e-6)


def test_how_often_labels_are_wrong_is_found_and_rises_with_their_doubt():
    draw = np.random.default_rng(0)
    doubt = draw.random(100_000)
    places, shares = calibration.fit_wrong(doubt, draw.random(100_000) < doubt**2, np.ones(100_000))
    assert (np.diff(shares) >= 0).all()
    np.testing.assert_allclose(np.interp([0.3, 0.6, 0.9], places, shares), [0.09, 0.36, 0.81], atol=0.03)


def test_named_tuples_become_json():
    spread = Spread(BASIS, (1.0, 2.0))
    back = json.loads(json.dumps(calibration.as_json({"a": spread, "b": (1, None)})))
    assert back == {
        "a": {
            "basis": {
                "hats": {"intensity": [0.0, 0.5, 1.0], "distance": [0.0, 1.0]}, "logs": ["laplace"], "floor": 1e-7,
            },
            "weights": [1.0, 2.0],
        },
        "b": [1, None],
    }  # fmt: skip


def test_edges_belong_to_the_group_below_them():
    np.testing.assert_array_equal(calibration.binned(np.array([0.0, 1e-6, 0.2, 0.3]), (1e-6, 0.2)), [0, 0, 1, 2])
