"""Baselines against closed forms: what they reproduce exactly, what they may not look at, what tuning finds."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from synthetic import image_population, layered_population

from inr_jax import baselines, denoising, interpolation
from inr_jax.errors import InputError

KINDS = ("nearest", "linear", "cubic")


def every_second(shape):
    measured = np.zeros(shape, bool)
    measured[::2] = True
    return measured


def subgrid(shape, every):
    measured = np.zeros(shape, bool)
    measured[::every, ::every] = True
    return measured


def scattered(shape, share=0.4):
    return np.random.default_rng(1).random(shape) < share


MASKS = {"B-scans": every_second((9, 6, 5)), "subgrid": subgrid((13, 13), 3), "scattered": scattered((20, 20))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", MASKS)
def test_measured_samples_come_back_and_unmeasured_ones_are_never_read(mask, kind):
    measured = MASKS[mask]
    values = np.random.default_rng(0).random((*measured.shape, 2))
    out = interpolation.interpolate(values, measured, kind)
    np.testing.assert_array_equal(out[measured], values[measured])
    vandalised = np.where(measured[..., None], values, np.nan)
    np.testing.assert_array_equal(interpolation.interpolate(vandalised, measured, kind), out)


@pytest.mark.parametrize("kind", ["linear", "cubic"])
@pytest.mark.parametrize("mask", ["B-scans", "subgrid"])
def test_a_plane_is_interpolated_exactly_inside_the_samples(mask, kind):
    measured = MASKS[mask]
    plane = np.tensordot([1.0, -2.0, 3.0][: measured.ndim], np.indices(measured.shape), 1)[..., None]
    np.testing.assert_allclose(interpolation.interpolate(plane, measured, kind), plane, atol=1e-9)


def test_a_plane_is_interpolated_linearly_from_scattered_pixels_inside_their_hull():
    measured = MASKS["scattered"].copy()
    measured[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    plane = np.tensordot([1.0, -2.0], np.indices(measured.shape), 1)[..., None]
    np.testing.assert_allclose(interpolation.interpolate(plane, measured, "linear"), plane, atol=1e-9)


def test_cubic_between_slices_is_scipys_not_a_knot_spline():
    values = np.random.default_rng(0).random((11, 3, 4, 1))
    expected = CubicSpline(np.arange(0, 11, 2), values[::2])(np.arange(11))
    np.testing.assert_allclose(interpolation.interpolate(values, every_second((11, 3, 4)), "cubic"), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_last_sample_its_value_is_kept(kind):
    measured = np.zeros((9, 2, 2), bool)
    measured[[2, 4, 5, 6]] = True
    values = np.random.default_rng(0).random((9, 2, 2, 1))
    out = interpolation.interpolate(values, measured, kind)
    for outside, edge in ((0, 2), (1, 2), (7, 6), (8, 6)):
        np.testing.assert_allclose(out[outside], values[edge], atol=1e-12)


def test_cubic_of_scattered_voxels_is_refused():
    with pytest.raises(InputError, match="cubic of scattered samples"):
        interpolation.interpolate(np.zeros((5, 5, 5, 1)), scattered((5, 5, 5)), "cubic")


def test_a_missing_ascan_takes_its_neighbour_in_the_same_bscan_and_an_empty_bscan_the_next():
    values = np.random.default_rng(0).random((3, 4, 5, 1))
    known = np.ones((3, 4, 5), bool)
    known[0, :, 4] = known[2] = False
    out = interpolation.fill_invalid(values, known)
    np.testing.assert_array_equal(out[0, :, 4], values[0, :, 3])
    np.testing.assert_array_equal(out[2], values[1])
    np.testing.assert_array_equal(out[known], values[known])
    with pytest.raises(InputError, match="no valid measured sample"):
        interpolation.fill_invalid(values, np.zeros((3, 4, 5), bool))


def test_gaussian_denoising_is_scipys_within_slices_and_across_them():
    samples = np.random.default_rng(0).random((6, 9, 8, 1))
    out = denoising.denoise(samples, "gaussian", {"rows": 0.7, "columns": 1.5, "across": 0.8})
    np.testing.assert_allclose(out, gaussian_filter(samples, (0.8, 0.7, 1.5, 0), mode="nearest"), atol=1e-12)


@pytest.fixture(scope="module")
def tuned():
    return denoising.tune_denoiser(layered_population(people=2, eyes=1, shape=(9, 40, 32)), quick=True)


def test_every_tuned_denoiser_beats_interpolation_of_the_raw_slices(tuned):
    eyes = layered_population(people=2, eyes=1, shape=(9, 40, 32))
    raw = []
    for eye, truth in zip(eyes.intensity, eyes.truth, strict=True):
        error = (interpolation.interpolate(eye, eyes.measured, "linear") - truth)[1::2] ** 2
        raw.append(np.mean(-10 * np.log10(error.mean(axis=(1, 2, 3)))))
    assert min(tuned.psnr.values()) > np.mean(raw) + 1
    assert tuned.psnr[tuned.best] == max(tuned.psnr.values())


def test_no_point_of_a_coarse_grid_beats_the_tuned_gaussian(tuned):
    eyes = layered_population(people=2, eyes=1, shape=(9, 40, 32))
    masks = interpolation.axis_masks(eyes.measured)
    best = -np.inf
    for rows in (0.3, 0.6, 1.0, 1.5):
        for columns in (0.5, 1.0, 2.0, 3.0):
            values = {"rows": rows, "columns": columns, "across": 0.0}
            scores = []
            for eye, truth in zip(eyes.intensity, eyes.truth, strict=True):
                smooth = denoising.denoise(eye[::2], "gaussian", values)
                error = (interpolation.spread(smooth, masks, "linear") - truth)[1::2] ** 2
                scores.append(np.mean(-10 * np.log10(error.mean(axis=(1, 2, 3)))))
            best = max(best, np.mean(scores))
    assert tuned.psnr["gaussian"] > best - 0.05


def test_tuning_reads_no_unmeasured_sample_but_to_score():
    eyes = layered_population(people=1, eyes=1, shape=(5, 24, 20))
    hidden = np.where(eyes.measured[..., None], eyes.intensity, np.nan).astype(np.float32)
    assert denoising.tune_denoiser(eyes._replace(intensity=hidden), quick=True) == denoising.tune_denoiser(eyes, True)


def tilted_layers(shape=(9, 40, 12)):
    """Three layers whose surfaces rise by two rows per slice: linear, so that nothing is lost between slices."""
    slices, rows, _ = np.indices(shape)
    above = [rows >= edge + 2 * slices for edge in (4, 9, 13, 20)]
    return np.where(above[3], 0, above[0].astype(int) + above[1] + above[2])


def test_oracle_labels_of_plane_surfaces_are_the_true_labels():
    labels = tilted_layers()
    np.testing.assert_array_equal(baselines.oracle_labels(labels, every_second(labels.shape)), labels)


def test_oracle_labels_keep_a_layer_that_an_ascan_lacks_and_a_lesion_within_a_layer():
    labels = np.where((tilted_layers() == 2) & (np.arange(12) < 4), 3, tilted_layers())  # layer 2 absent there
    lesion = np.zeros(labels.shape, bool)
    lesion[:, :, 6:11] = (labels == 3)[:, :, 6:11] & (np.indices(labels.shape)[1] < 25)[:, :, 6:11]
    labels = np.where(lesion & (labels == 3) & (np.indices(labels.shape)[0] < 5), 5, labels)
    measured = every_second(labels.shape)
    out = baselines.oracle_labels(labels, measured)
    np.testing.assert_array_equal(out[::2], labels[::2])
    np.testing.assert_array_equal(out[:, :, :4], labels[:, :, :4])
    assert (out[1::2] == 5).any()


def test_oracle_labels_of_a_shape_that_is_no_stack_follow_it_between_slices():
    z, y, x = np.indices((9, 40, 40))
    ball = ((y - 12 - 2 * z) ** 2 + (x - 20) ** 2 < 64).astype(int)  # a tube that moves by two rows a slice
    out = baselines.oracle_labels(ball, every_second(ball.shape))
    assert 2 * (out & ball).sum() / (out.sum() + ball.sum()) > 0.97


@pytest.fixture(scope="module")
def volumes():
    sets = [layered_population(people=p, seed=s, shape=(7, 40, 32)) for p, s in ((3, 0), (2, 1), (1, 2))]
    return sets[2], baselines.all_baselines(*sets, quick=True)


def test_all_baselines_of_a_volume_predict_every_scan_in_range(volumes):
    test, predictions = volumes
    assert set(predictions) == {
        "nearest",
        "linear",
        "cubic",
        "gaussian + linear (tuned)",
        "nlm + linear (tuned)",
        "tv + linear (tuned)",
        "registration (tuned)",
        "mean atlas",
        "oracle: linear of noise-free slices",
        "oracle: true neighbouring labels",
    }
    for prediction in predictions.values():
        assert (prediction.intensity is None) != (prediction.labels is None)
        if prediction.intensity is not None:
            assert prediction.intensity.shape == test.intensity.shape
            assert prediction.intensity.min() >= 0
            assert prediction.intensity.max() <= 1
        else:
            assert prediction.labels.shape == test.labels.shape
    assert sum(p.note.startswith("best of the denoisers") for p in predictions.values()) == 1


def test_only_oracles_see_more_than_the_measured_intensities(volumes):
    test, predictions = volumes
    train, validation = (layered_population(people=p, seed=s, shape=(7, 40, 32)) for p, s in ((3, 0), (2, 1)))
    blind = test._replace(
        intensity=np.where(test.measured[..., None], test.intensity, np.nan).astype(np.float32),
        truth=None,
        truth_labels=None,
        labels=None,
    )
    again = baselines.all_baselines(train, validation, blind, quick=True)
    assert set(again) == {name for name in predictions if not name.startswith("oracle")}
    for name, prediction in again.items():
        ours, before = (p.labels if p.intensity is None else p.intensity for p in (prediction, predictions[name]))
        np.testing.assert_array_equal(ours, before)


def test_images_have_baselines_too_and_scattered_pixels_no_denoiser():
    sets = [image_population(seed=seed, size=24) for seed in range(3)]
    for prediction in baselines.all_baselines(*sets, quick=True).values():
        assert prediction.intensity is not None or prediction.labels is not None
    loose = [population._replace(measured=scattered((24, 24))) for population in sets]
    predictions = baselines.all_baselines(*loose, quick=True)
    assert predictions["cubic"].intensity.shape == (3, 24, 24, 3)
    assert len(predictions["cubic"].seconds) == 3
    denoised = predictions["gaussian + linear (tuned)"]
    assert denoised.intensity is None
    assert "scattered" in denoised.note
    with pytest.raises(InputError, match="found scattered samples"):
        denoising.tune_denoiser(loose[1], quick=True)
