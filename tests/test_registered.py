"""Registration-based interpolation against closed forms, where it applies, and what tuning finds."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from synthetic import image_population, layered_population

from inr_jax import baselines, denoising, registered
from inr_jax.errors import InputError
from inr_jax.interpolation import axis_masks, spread
from inr_jax.tuning import QUICK, quality, tuning_scans

FIELD = {"rows": 2.0, "columns": 2.0, "iterations": 20.0}
NAME = "registration (tuned)"
BETWEEN = np.array([True, False, False, False, True])  # shares of 1/4, 1/2, 3/4


def texture(seed=0, shape=(64, 56)):
    """Smooth random structure in [0, 1] on a dark margin, so that a shift brings nothing in from outside."""
    random = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.5)
    inside = np.zeros(shape)
    inside[12:-12, 12:-12] = 1
    return (0.5 + 0.15 * random / random.std()).clip(0, 1) * gaussian_filter(inside, 2)


def carried(a, b, measured=BETWEEN):
    slices = np.stack([a, b])[..., None]
    return registered.carry(slices, measured, registered.paths_between(slices, measured, FIELD))[..., 0]


def decibels(image, truth):
    return -10 * np.log10(np.mean((image - truth) ** 2))


@pytest.mark.parametrize("axis", [0, 1])
def test_between_a_bscan_and_itself_shifted_lies_the_bscan_shifted_by_the_share(axis):
    a = texture()
    between = carried(a, np.roll(a, 8, axis))
    linear = spread(np.stack([a, np.roll(a, 8, axis)])[..., None], (BETWEEN,), "linear")[..., 0]
    for place in (1, 2, 3):
        truth = np.roll(a, 2 * place, axis)
        assert decibels(between[place], truth) > decibels(linear[place], truth) + 12


@pytest.mark.parametrize("axis", [0, 1])
def test_a_shift_is_a_displacement_of_its_own_axis_in_pixels(axis):
    a = texture()
    u = registered.displacement(a, np.roll(a, 5, axis), FIELD)[:, 20:-20, 20:-20]  # a(x) ~ b(x + u)
    np.testing.assert_allclose(u.mean(axis=(1, 2)), np.eye(2)[axis] * 5, atol=0.25)


def test_bscans_that_are_alike_have_themselves_between_them():
    a = texture()
    np.testing.assert_allclose(carried(a, a), np.stack([a] * 5), atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_the_paths_are_the_pixels_of_the_two_bscans(share):
    rows, columns = np.meshgrid(np.linspace(0, 3, 30), np.linspace(0, 3, 20), indexing="ij")
    u = np.stack([2 * np.sin(rows), np.cos(columns)])
    ends = registered.along(u, share)[int(share)]
    np.testing.assert_allclose(ends, np.indices(rows.shape), atol=1e-3)


def test_the_path_of_a_voxel_goes_through_it_at_its_share():
    u = np.stack([gaussian_filter(n, 6) for n in np.random.default_rng(0).normal(0, 30, (2, 40, 40))])
    x, there = registered.along(u, 0.3)
    inner = (slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(((1 - 0.3) * x + 0.3 * there)[inner], np.indices((40, 40))[inner], atol=1e-9)
    assert np.abs(there - x).max() > 1


def test_measured_bscans_stay_and_beyond_the_last_its_copy_stands():
    slices = np.random.default_rng(0).random((2, 16, 16, 1))
    measured = np.array([False, True, False, True, False, False])
    out = registered.carry(slices, measured, registered.paths_between(slices, measured, FIELD))
    for place, source in ((0, 0), (1, 0), (3, 1), (4, 1), (5, 1)):
        np.testing.assert_array_equal(out[place], slices[source])


def test_a_registration_is_the_same_every_time():
    a, b = texture(0), texture(1)
    np.testing.assert_array_equal(registered.displacement(a, b, FIELD), registered.displacement(a, b, FIELD))


@pytest.fixture(scope="module")
def eyes():
    validation = layered_population(people=1, seed=1, shape=(5, 32, 24))
    return validation, denoising.tune_denoiser(validation, quick=True)


def test_tuning_ends_no_worse_on_its_scans_than_anything_it_started_from(eyes):
    validation, _ = eyes
    start = {"rows": 0.5, "columns": 2.0, "across": 0.3}
    denoiser = denoising.Tuned("gaussian", {"gaussian": start}, {"gaussian": 0.0})
    found = registered.tune_registration(validation, denoiser, quick=True)
    masks = axis_masks(validation.measured)
    scans = tuning_scans(validation, masks, QUICK.voxels)
    driving = [denoising.denoise(scan.samples, denoiser.best, denoiser.parameters[denoiser.best]) for scan in scans]
    assert len(scans) == 2
    for rows in registered.FIELD["rows"][::2]:
        for columns in registered.FIELD["columns"][::2]:
            field = {"rows": rows, "columns": columns, "iterations": 10.0}
            paths = [registered.paths_between(slices, masks[0], field) for slices in driving]
            started = [
                quality(registered.carry(d, masks[0], p), s) for d, p, s in zip(driving, paths, scans, strict=True)
            ]
            assert found.psnr >= np.mean(started)
    again = [quality(registered.interpolate_registered(s.samples, masks[0], found), s) for s in scans]
    assert found.psnr == pytest.approx(np.mean(again))


def prediction(validation, test):
    return baselines.all_baselines(validation._replace(labels=None), validation, test, quick=True)[NAME]


def test_neither_the_spacing_nor_what_is_invalid_or_unmeasured_is_read(eyes):
    validation, _ = eyes
    test = layered_population(people=1, seed=2, shape=(5, 32, 24))
    test.valid[:, 2, :, 5:8] = False  # missing A-scans
    before = prediction(validation, test).intensity
    hidden = ~(test.measured & test.valid)[..., None]
    blind = test._replace(
        intensity=np.where(hidden, np.nan, test.intensity).astype(np.float32), spacing=test.spacing * [1, 7, 0.1]
    )
    np.testing.assert_array_equal(prediction(validation, blind).intensity, before)


def test_it_answers_measured_bscans_denoised_by_what_the_note_says(eyes):
    validation, denoiser = eyes
    found = registered.tune_registration(validation, denoiser, quick=True)
    answer = prediction(validation, validation)
    samples = validation.intensity[0, ::2]
    np.testing.assert_array_equal(
        answer.intensity[0, ::2], np.clip(denoising.denoise(samples, found.family, found.carried), 0, 1)
    )
    assert f"carries {found.family}" in answer.note
    assert f"{found.psnr:.2f} dB" in answer.note


def test_volumes_without_whole_measured_bscans_are_told_apart_and_images_have_no_row(eyes):
    validation, denoiser = eyes
    subgrid = np.zeros(validation.measured.shape, bool)
    subgrid[::2, ::2, ::2] = True
    loose = np.random.default_rng(0).random(subgrid.shape) < 0.3
    for measured in (subgrid, loose):
        with pytest.raises(InputError, match="expected whole measured B-scans with others between them, found other"):
            registered.tune_registration(validation._replace(measured=measured), denoiser)
    few = validation._replace(measured=subgrid)
    answer = prediction(few, few)
    assert answer.intensity is None
    assert answer.labels is None
    assert answer.note == "not applicable: wants whole measured B-scans with others between them"
    images = image_population(size=24)
    assert NAME not in baselines.all_baselines(images, images, images, quick=True)
