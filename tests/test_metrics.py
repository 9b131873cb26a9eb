"""Metrics against closed forms, scikit-image and SimpleITK, and the kinds a scan is scored in."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
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


def test_mse_of_a_constant_error_is_its_square(random):
    truth = random.random((6, 7, 2))
    assert metrics.mse(truth + 0.1, truth) == pytest.approx(0.01)


def two_slices(shape=(24, 24, 1)):
    return np.random.default_rng(1).random((2, *shape))


def windowed_terms(p, t):
    """Luminance and structure of SSIM by an explicit 11 x 11 window, where it fits."""
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    window /= window.sum()
    patches = [np.lib.stride_tricks.sliding_window_view(a, (11, 11)) for a in (p, t)]
    m_p, m_t = ((patch * window).sum((-1, -2)) for patch in patches)
    a, b = patches[0] - m_p[..., None, None], patches[1] - m_t[..., None, None]
    s_p, s_t, s_pt = ((window * product).sum((-1, -2)) for product in (a * a, b * b, a * b))
    luminance = (2 * m_p * m_t + 1e-4) / (m_p**2 + m_t**2 + 1e-4)
    return luminance, (2 * s_pt + 9e-4) / (s_p + s_t + 9e-4)


@pytest.mark.parametrize(("side", "scales"), [(24, 2), (50, 3), (176, 5)])
def test_ms_ssim_agrees_with_its_formula_over_explicit_windows(side, scales, random):
    truth = random.random((side, side + 3))
    prediction = np.clip(truth + 0.1 * random.normal(size=truth.shape), 0, 1)
    assert metrics.ms_ssim_scales(truth.shape) == scales
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    expected, p, t = 1.0, prediction, truth
    for scale, weight in enumerate(weights / weights.sum()):
        luminance, structure = windowed_terms(p, t)
        expected *= (structure if scale < scales - 1 else luminance * structure).mean() ** weight
        h, w = p.shape[0] // 2 * 2, p.shape[1] // 2 * 2
        p, t = ((a[:h:2, :w:2] + a[1:h:2, :w:2] + a[:h:2, 1:w:2] + a[1:h:2, 1:w:2]) / 4 for a in (p, t))
    assert metrics.ms_ssim(prediction[..., None], truth[..., None]) == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_at_one_scale_is_ssim():
    prediction, truth = two_slices((20, 21, 2))
    assert metrics.ms_ssim_scales(truth.shape[:2]) == 1
    assert metrics.ms_ssim(prediction, truth) == pytest.approx(metrics.ssim(prediction, truth), rel=1e-9)


@pytest.mark.parametrize("metric", [metrics.ms_ssim, metrics.gmsd])
def test_invalid_pixels_change_neither_ms_ssim_nor_gmsd(metric):
    prediction, truth = two_slices((50, 50, 1))
    valid = np.ones((50, 50), bool)
    valid[:, 19:22] = False
    assert metric(np.where(valid[..., None], prediction, 7.0), truth, valid) == metric(prediction, truth, valid)


def test_ms_ssim_of_an_exact_match_is_1_and_of_the_negative_0():
    image = np.random.default_rng(2).random((24, 24, 1))
    assert metrics.ms_ssim(image, image) == pytest.approx(1)
    assert metrics.ms_ssim(1 - image, image) == 0


def test_gmsd_agrees_with_the_paper_s_equations_written_out(random):
    prediction, truth = random.random((2, 16, 18))

    def magnitude(image):
        small = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
        small = np.pad(small, 1, mode="edge")
        vertical = np.array([[1, 1, 1], [0, 0, 0], [-1, -1, -1]]) / 3
        patches = np.lib.stride_tricks.sliding_window_view(small, (3, 3))
        return np.hypot((patches * vertical).sum((-1, -2)), (patches * vertical.T).sum((-1, -2)))

    p, t = 255 * magnitude(prediction), 255 * magnitude(truth)  # the paper's intensities and its constant
    similarity = (2 * p * t + 170) / (p**2 + t**2 + 170)
    expected = np.sqrt(((similarity - similarity.mean()) ** 2).mean())
    assert metrics.gmsd(prediction[..., None], truth[..., None]) == pytest.approx(expected, rel=1e-9)


def test_gmsd_of_a_ramp_is_0_for_what_keeps_gradients_and_known_for_one_half_as_steep():
    """Half as steep, GMS takes one value inside and another in the edge columns, where one side of a gradient lacks."""
    ramp = np.tile(np.linspace(0.0, 0.78, 40), (40, 1))[..., None]  # 0.02 a pixel, 0.04 after 2 x 2 means
    assert metrics.gmsd(ramp, ramp) == 0
    assert metrics.gmsd(ramp + 0.1, ramp) == pytest.approx(0, abs=1e-9)
    inside, edge = ((g**2 + 170 / 255**2) / (1.25 * g**2 + 170 / 255**2) for g in (0.08, 0.04))
    share = 2 / 20
    assert metrics.gmsd(0.5 * ramp, ramp) == pytest.approx(np.sqrt(share * (1 - share)) * abs(inside - edge))


def test_gmsd_grows_with_blur():
    eye = layered_population(people=1, eyes=1, shape=(1, 40, 32)).truth[0, 0]
    blurred = [gaussian_filter(eye, (sigma, sigma, 0)) for sigma in (0.5, 1, 2)]
    scores = [metrics.gmsd(image, eye) for image in blurred]
    assert 0 < scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize(("metric", "name"), [(metrics.ms_ssim, "MS-SSIM"), (metrics.gmsd, "GMSD")])
@pytest.mark.parametrize("shape", [(100, 1), (5, 40, 1), (4, 20, 20, 1)])
def test_ms_ssim_and_gmsd_refuse_what_is_no_slice_or_too_small(metric, name, shape):
    with pytest.raises(InputError, match=rf"{name}: expected a slice .* found shape"):
        metric(np.zeros(shape), np.zeros(shape))


def test_volume_ssim_refuses_a_volume_thinner_than_its_box():
    with pytest.raises(InputError, match="at least 7 voxels"):
        metrics.volume_ssim(np.zeros((5, 9, 9)), np.zeros((5, 9, 9)))


def test_slices_too_small_for_a_window_leave_its_metrics_undefined():
    eye = layered_population(people=1, eyes=1, shape=(3, 10, 16))
    (row, _) = metrics.score(eye.truth[0], None, *metrics.reference(eye, 0), eye.measured, eye.valid[0], ())[:2]
    assert np.isnan([row["ssim"], row["ms_ssim"], row["gmsd"]]).all()
    assert row["mse"] == 0
