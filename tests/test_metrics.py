"""Metrics against closed forms, scikit-image and SimpleITK, and the kinds a scan is scored in."""

import numpy as np
import pytest
import SimpleITK as sitk
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from synthetic import image_population, layered_population

from inr_jax import metrics
from inr_jax.errors import InputError


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_psnr_of_a_constant_error_is_minus_20_log10_of_it(random):
    truth = random.random((6, 7, 2))
    assert metrics.psnr(truth + 0.01, truth) == pytest.approx(40.0)
    assert metrics.mae(truth - 0.01, truth) == pytest.approx(0.01)


def test_psnr_agrees_with_scikit_image(random):
    prediction, truth = random.random((2, 20, 16, 3))
    assert metrics.psnr(prediction, truth) == pytest.approx(peak_signal_noise_ratio(truth, prediction, data_range=1))


def test_psnr_of_an_exact_match_is_infinite_and_of_nothing_undefined(random):
    truth = random.random((5, 5, 1))
    assert metrics.psnr(truth, truth) == np.inf
    assert np.isnan(metrics.psnr(truth, truth, np.zeros((5, 5), bool)))


def test_ssim_agrees_with_scikit_image_where_all_is_valid(random):
    prediction, truth = random.random((2, 20, 16, 3))
    expected = structural_similarity(
        prediction,
        truth,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(prediction, truth) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.mae, metrics.ssim])
def test_what_stands_in_invalid_pixels_changes_no_metric(metric, random):
    prediction, truth = random.random((2, 24, 24, 1))
    valid = np.ones((24, 24), bool)
    valid[:, 9:12] = False
    vandalised = np.where(valid[..., None], prediction, 7.0)
    assert metric(vandalised, truth, valid) == metric(prediction, truth, valid)


@pytest.mark.parametrize("shape", [(100, 1), (10, 40, 1), (4, 20, 20, 1)])
def test_ssim_of_anything_but_a_large_enough_slice_is_refused(shape):
    with pytest.raises(InputError, match=r"SSIM: expected a slice .* found shape"):
        metrics.ssim(np.zeros(shape), np.zeros(shape))


def test_dice_agrees_with_simpleitk(random):
    labels, truth = random.integers(0, 4, (2, 5, 9, 9))
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(a.astype(np.uint8)) for a in (truth, labels)))
    expected = [overlap.GetDiceCoefficient(label) for label in (1, 2, 3)]
    np.testing.assert_allclose(metrics.dice(labels, truth, 4)[1:], expected)


def test_dice_is_undefined_where_a_class_is_absent_from_both_and_0_where_from_one():
    labels, truth = np.array([[0, 1, 1]]), np.array([[0, 1, 2]])
    np.testing.assert_allclose(metrics.dice(labels, truth, 4), [1, 2 / 3, 0, np.nan])


def test_dice_leaves_out_unknown_truth_and_invalid_voxels():
    labels, truth = np.array([[1, 1, 1, 1]]), np.array([[1, -1, 0, 1]])
    np.testing.assert_allclose(metrics.dice(labels, truth, 2, np.array([[True, True, False, True]])), [np.nan, 1])


def test_a_volume_is_scored_by_fitted_and_interpolated_slices():
    eye = layered_population(people=1, eyes=1, shape=(5, 20, 16))
    truth, labels = metrics.reference(eye, 0)
    prediction = truth + np.array([0.1, 0.01, 0.1, 0.001, 0.1])[:, None, None, None]
    fitted, between = metrics.score(prediction, labels, truth, labels, eye.measured, eye.valid[0], eye.classes)
    assert (fitted["kind"], between["kind"]) == ("fitted", "interpolated")
    assert fitted["psnr"] == pytest.approx(20, abs=1e-4)
    assert between["psnr"] == pytest.approx((40 + 60) / 2, abs=1e-2)  # the mean over slices of dB, not of errors
    assert fitted["dice"] == between["dice"] == between["dice_outer"] == 1


def test_an_image_is_scored_by_measured_unmeasured_and_all_pixels_with_ssim_of_the_whole():
    image = image_population(count=1)
    truth, labels = metrics.reference(image, 0)
    prediction = truth + np.where(image.measured, 0.1, 0.01)[..., None]
    rows = metrics.score(prediction, None, truth, labels, image.measured, image.valid[0], image.classes)
    scores = {row["kind"]: row for row in rows}
    assert scores["measured"]["psnr"] == pytest.approx(20, abs=1e-4)
    assert scores["unmeasured"]["psnr"] == pytest.approx(40, abs=1e-3)
    assert scores["all"]["psnr"] == pytest.approx(metrics.psnr(prediction, truth))
    assert scores["all"]["ssim"] == pytest.approx(metrics.ssim(prediction, truth))
    assert np.isnan([scores["measured"]["ssim"], scores["unmeasured"]["ssim"], scores["all"]["dice"]]).all()


def test_what_was_not_predicted_scores_nan():
    eye = layered_population(people=1, eyes=1, shape=(3, 20, 16))
    truth, labels = metrics.reference(eye, 0)
    for row in metrics.score(None, labels, truth, labels, eye.measured, eye.valid[0], eye.classes):
        assert np.isnan([row["psnr"], row["ssim"], row["mae"]]).all()
        assert row["dice"] == 1


def test_predictions_are_compared_with_the_truth_where_it_is_known():
    eye = layered_population(people=1, eyes=1)
    np.testing.assert_array_equal(metrics.reference(eye, 0)[0], eye.truth[0])
    np.testing.assert_array_equal(metrics.reference(eye._replace(truth=None), 0)[0], eye.intensity[0])
    assert metrics.reference(eye._replace(labels=None, truth_labels=None), 0)[1] is None
