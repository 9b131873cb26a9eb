"""Borders and thickness of layers against closed forms, scipy, scikit-image and SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist, directed_hausdorff
from skimage.metrics import hausdorff_distance
from synthetic import CLASSES, layered_population

from inr_jax import metrics

SPACING = (0.24, 0.004, 0.012)  # mm: 4 um a row, 12 um an A-scan
NAMES = ("background", "layer", "deep")


def slab(top: int, bottom: int, shape=(2, 30, 20)) -> np.ndarray:
    """Label 1 in rows top .. bottom - 1, label 2 in the four rows below."""
    labels = np.zeros(shape, int)
    labels[:, top:bottom], labels[:, bottom : bottom + 4] = 1, 2
    return labels


def scored(labels, truth, classes=NAMES, valid=None):
    valid = np.ones(truth.shape, bool) if valid is None else valid
    return metrics.score_layers(labels, truth, valid, classes, SPACING)


@pytest.mark.parametrize("shift", [0, 1, 3, -2])
def test_a_shifted_plane_is_its_shift_away_in_pixels_and_micrometres(shift):
    first, _ = scored(slab(10 + shift, 16), slab(10, 16))
    for name in ("assd", "hd95", "hd"):
        assert first[f"{name}_px"] == pytest.approx(abs(shift))
        assert first[f"{name}_um"] == pytest.approx(4 * abs(shift))
    assert first["unpaired_bscans"] == 0


def test_the_border_of_a_label_is_its_first_row_not_its_last():
    first, deep = scored(slab(10, 18), slab(10, 16))
    assert first["assd_px"] == 0
    assert deep["assd_px"] == 2


def test_distances_in_micrometres_go_to_the_point_that_is_nearest_in_micrometres():
    """A step of 6 rows (24 um) beside a column of 12 um: the neighbouring column is nearer."""
    truth = np.zeros((1, 30, 20), int)
    truth[:, 10:20, :10], truth[:, 16:20, 10:] = 1, 1
    labels = np.zeros_like(truth)
    labels[:, 10:20, :11], labels[:, 16:20, 11:] = 1, 1
    row = scored(labels, truth, NAMES[:2])[0]
    assert row["hd_px"] == pytest.approx(1.0)  # one A-scan to the side
    assert row["hd_um"] == pytest.approx(12.0)


def wavy_borders() -> tuple[np.ndarray, np.ndarray]:
    """Two borders (row, column) that cross an image, of different lengths."""
    random = np.random.default_rng(0)
    rows = np.rint(20 + 40 * gaussian_filter(random.normal(size=(2, 60)), (0, 3))).astype(int)
    columns = np.arange(60)
    return np.stack([rows[0], columns], axis=1), np.stack([rows[1], columns], axis=1)[:50]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.9, 11.0)])
def test_border_distances_agree_with_all_pairs_scipy_and_simpleitk(spacing):
    a, b = wavy_borders()
    found = metrics.border_distances(a, b, spacing)
    pairs = cdist(a * spacing, b * spacing)
    to_b, to_a = pairs.min(axis=1), pairs.min(axis=0)
    assert found.assd == pytest.approx((to_b.sum() + to_a.sum()) / (len(a) + len(b)))
    assert found.hd95 == pytest.approx(max(np.percentile(to_b, 95), np.percentile(to_a, 95)))
    directed = [directed_hausdorff(u * spacing, v * spacing)[0] for u, v in ((a, b), (b, a))]
    assert found.hd == pytest.approx(max(directed))
    itk = sitk.HausdorffDistanceImageFilter()
    itk.Execute(*(drawn(points, spacing) for points in (a, b)))
    assert found.hd == pytest.approx(itk.GetHausdorffDistance(), rel=1e-5)
    if spacing == (1.0, 1.0):
        masks = [sitk.GetArrayFromImage(drawn(points, spacing)) > 0 for points in (a, b)]
        assert found.hd == pytest.approx(hausdorff_distance(*masks))


def drawn(points: np.ndarray, spacing: tuple[float, float]) -> sitk.Image:
    mask = np.zeros((60, 60), np.uint8)
    mask[tuple(points.T)] = 1
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(spacing[::-1])
    return image


def test_outliers_move_hd_and_not_hd95():
    a = np.stack([np.full(100, 10), np.arange(100)], axis=1)
    b = a.copy()
    b[50, 0] += 7
    found = metrics.border_distances(a, b)
    assert found.hd == pytest.approx(7.0)
    assert found.hd95 == 0
    # b's stray point is 7 rows and one column from its neighbours' columns, a's lost one a column from its neighbours
    assert found.assd == pytest.approx((7 + 1) / 200)


def test_a_label_absent_from_both_has_no_score():
    row = scored(slab(10, 16), slab(10, 16), (*NAMES, "lesion"))[-1]
    assert row["unpaired_bscans"] == 0
    assert all(np.isnan(value) for name, value in row.items() if name not in ("label", "unpaired_bscans"))


def test_a_label_absent_from_one_has_overlap_0_no_distance_and_is_counted():
    labels, truth = slab(10, 16), slab(10, 16)
    labels[0][labels[0] == 2] = 0
    deep = scored(labels, truth)[1]
    assert deep["unpaired_bscans"] == 1
    assert deep["assd_px"] == 0  # of the other B-scan
    assert deep["dice"] == pytest.approx(2 / 3)  # pooled: 1 of 2 B-scans found
    labels[labels == 2] = 0
    deep = scored(labels, truth)[1]
    assert deep["unpaired_bscans"] == 2
    assert deep["dice"] == 0
    assert np.isnan([deep["assd_px"], deep["hd95_um"], deep["hd_px"]]).all()
    assert deep["thickness_bias_um"] == pytest.approx(-16.0)


def test_thickness_errors_are_absolute_and_signed_means_over_a_scans():
    truth, labels = slab(10, 16), slab(10, 16)
    labels[:, 16:18, :10] = 1  # two rows thicker in half of the A-scans
    labels[:, 15, 10:] = 2  # one row thinner in the other
    first = scored(labels, truth)[0]
    assert first["thickness_true_um"] == pytest.approx(24.0)
    assert first["thickness_mae_um"] == pytest.approx((8 + 4) / 2)
    assert first["thickness_bias_um"] == pytest.approx((8 - 4) / 2)
    assert first["thickness_um"] == pytest.approx(24 + 2)


def test_a_scans_that_bear_no_lesion_do_not_dilute_its_thickness_error():
    truth = np.zeros((1, 30, 100), int)
    truth[:, 10:14, 40:44] = 1
    labels = np.zeros_like(truth)
    labels[:, 10:12, 40:44] = 1
    assert scored(labels, truth, NAMES[:2])[0]["thickness_mae_um"] == pytest.approx(8.0)


def test_what_is_invalid_or_unknown_changes_no_score():
    truth, labels = slab(10, 16), slab(11, 16)
    valid = np.ones(truth.shape, bool)
    valid[:, :, 5:8] = False
    vandalised = labels.copy()
    vandalised[:, 2:9, 5:8] = 1
    assert scored(vandalised, truth, valid=valid) == scored(labels, truth, valid=valid)
    unknown = np.where(valid, truth, -1)
    assert scored(vandalised, unknown) == scored(labels, truth, valid=valid)


def test_an_eyes_labels_are_scored_by_kind_and_label_and_their_means_over_labels():
    eye = layered_population(people=1, eyes=1)
    truth = eye.labels[0]
    labels = np.roll(truth, 1, axis=1) * ~eye.measured + truth * eye.measured
    rows = metrics.score_scan_layers(labels, truth, eye.measured, eye.valid[0], CLASSES, SPACING)
    assert [(row["kind"], row["label"]) for row in rows] == [
        (kind, name) for kind in ("fitted", "interpolated") for name in CLASSES[1:]
    ]
    assert metrics.over_layers(rows, "fitted")["hd_px"] == 0
    assert 0 < metrics.over_layers(rows, "interpolated")["assd_px"] <= 1
    expected = np.mean([row["assd_um"] for row in rows if row["kind"] == "interpolated"])
    assert metrics.over_layers(rows, "interpolated")["assd_um"] == pytest.approx(expected)


def test_without_labels_there_are_no_rows_and_no_means():
    eye = layered_population(people=1, eyes=1, shape=(3, 20, 16))
    rest = (eye.measured, eye.valid[0], CLASSES, SPACING)
    assert metrics.score_scan_layers(None, eye.labels[0], *rest) == []
    assert metrics.score_scan_layers(eye.labels[0], None, *rest) == []
    assert metrics.over_layers([], "fitted") == {}


def test_thickness_counts_rows_in_micrometres():
    labels = np.zeros((2, 10, 3), int)
    labels[:, 2:5], labels[:, 5:9] = 1, 2
    np.testing.assert_allclose(metrics.thickness(labels, (1,), 0.004), np.full((2, 3), 12.0))
    np.testing.assert_allclose(metrics.thickness(labels, (1, 2), 0.004), np.full((2, 3), 28.0))
