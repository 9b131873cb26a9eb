"""The reference's published scores, by the options in which it differs; and that the default differs."""

import numpy as np
import pytest
import toy

from inr_jax import metrics

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def given():
    """The file's arrays as the package has them: [D, H, W]; its numbers as floats."""
    with np.load(toy.fixture("metrics.npz")) as file:
        return {k: np.moveaxis(file[k], -1, 0) if file[k].ndim == 3 else float(file[k]) for k in file.files}


def test_intensities_by_bscan_in_the_reference_s_conventions(given):
    truth, prediction = given["image_true"][..., None], given["image_pred"][..., None]
    everywhere = np.ones(truth.shape[:-1], bool)
    (row,) = metrics.score(prediction, None, truth, None, everywhere, everywhere, (), conventions="interp_oct")
    for name in ("MSE", "MAE", "PSNR", "SSIM"):
        assert row[name.lower()] == pytest.approx(given[f"bscan_{name}"], rel=TOLERANCE), name


def test_intensities_of_the_whole_volume(given):
    truth, prediction = given["image_true"], given["image_pred"]
    data_range = float(np.ptp(truth))
    pair = prediction[..., None], truth[..., None]
    assert metrics.mse(*pair) == pytest.approx(given["volume_MSE"], rel=TOLERANCE)
    assert metrics.mae(*pair) == pytest.approx(given["volume_MAE"], rel=TOLERANCE)
    assert metrics.psnr(*pair, data_range=data_range) == pytest.approx(given["volume_PSNR"], rel=TOLERANCE)
    found = metrics.volume_ssim(prediction, truth, data_range=data_range)
    assert found == pytest.approx(given["volume_SSIM"], rel=TOLERANCE)


def test_labels_by_bscan_and_label(given):
    labels, truth = given["labels_pred"].astype(int), given["labels_true"].astype(int)
    names = [str(label) for label in range(int(truth.max()) + 1)]
    everywhere = np.ones(truth[:1].shape, bool)
    bscans = [
        metrics.score_layers(labels[d : d + 1], truth[d : d + 1], everywhere, names, (1.0, 1.0, 1.0))
        for d in range(len(truth))
    ]
    for name, ours in (("DICE", "dice"), ("ASSD", "assd_px"), ("HD95", "hd95_px"), ("HD", "hd_px")):
        found = np.mean([[row[ours] for row in rows] for rows in bscans])
        assert found == pytest.approx(given[f"segmentation_{name}"], rel=TOLERANCE), name


def test_the_default_takes_the_data_range_of_the_unit_interval_and_a_gaussian_window():
    random = np.random.default_rng(0)
    truth = 0.4 + 0.2 * random.random((2, 24, 24, 1))
    prediction = truth + 0.01
    everywhere = np.ones(truth.shape[:-1], bool)
    (right,) = metrics.score(prediction, None, truth, None, everywhere, everywhere, ())
    (theirs,) = metrics.score(prediction, None, truth, None, everywhere, everywhere, (), conventions="interp_oct")
    assert right["psnr"] == pytest.approx(40.0)
    shift = np.mean([20 * np.log10(np.ptp(bscan)) for bscan in truth])
    assert theirs["psnr"] == pytest.approx(40.0 + shift)
    assert theirs["ssim"] < right["ssim"]


def test_a_black_reference_bscan_has_no_data_range_and_no_score():
    black = np.zeros((1, 16, 16, 1))
    everywhere = np.ones(black.shape[:-1], bool)
    (row,) = metrics.score(black + 0.1, None, black, None, everywhere, everywhere, (), conventions="interp_oct")
    assert np.isnan([row["psnr"], row["ssim"]]).all()
    assert row["mae"] == pytest.approx(0.1)
