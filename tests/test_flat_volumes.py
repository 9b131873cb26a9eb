"""Volumes made ready for folds: what is held out sets nothing, everything has a way back."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from inr_jax.data.phantom_oct import scan_of, truth_of
from inr_jax.errors import InputError
from inr_jax.flat_volumes import Options, checked_options, chosen_bscans, crop_box, flat_volume, sampled_slo
from inr_jax.flattening import membrane_of_labels
from inr_jax.phantom import make_eye
from inr_jax.records import record_from_json, restore, restored_scan
from inr_jax.scan import Scan

OPTIONS = Options(
    fitted_every=8, membrane="labels", bscans="every", target=0.65, percentiles=(0.0, 100.0), normalise_by="fitted",
    crop=(0, 0),
)  # fmt: skip


@cache
def eye() -> Scan:
    made = scan_of(make_eye(person=0, laterality="R", shape=(33, 96, 48)))
    return replace(made, origin=(1.0, 2.0, 3.0), direction=(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


def test_of_512_b_scans_31_are_scored_and_every_second_of_them_is_fitted() -> None:
    places = chosen_bscans(512, 32, "")
    assert (len(places), len(places[::2])) == (31, 16)
    assert places[:3].tolist() == [0, 16, 32]
    assert places[-1] == 480


def test_flat_volumes_have_the_membrane_on_one_row_and_values_in_0_to_1() -> None:
    flat, record = flat_volume(eye(), OPTIONS, "eye.nii")
    assert flat.voxels.shape == (9, 96, 48)
    np.testing.assert_array_equal(membrane_of_labels(flat.labels), np.full((9, 48), 62))
    assert (flat.voxels.min(), flat.voxels.max()) == (0, 1)
    assert flat.voxels.dtype == np.float32
    np.testing.assert_allclose(flat.spacing, (eye().spacing[0] * 4, *eye().spacing[1:]))
    assert record.membrane == "labels of every B-scan"


def test_what_was_not_measured_and_what_flattening_moves_in_is_not_valid() -> None:
    measured = np.ones(eye().voxels.shape, bool)
    measured[8, :, 5] = False
    flat, record = flat_volume(replace(eye(), valid=measured), OPTIONS, "")
    rows = np.arange(96)[:, None]
    moved_in = (rows < record.shift[:, None]) | (rows >= 96 + record.shift[:, None])
    expected = ~moved_in
    expected[2, :, 5] = False
    np.testing.assert_array_equal(flat.valid, expected)
    assert 0 < moved_in.mean() < 0.3


def test_what_is_held_out_changes_nothing_that_is_fitted_nor_its_own_range_and_place() -> None:
    """The default for test eyes: the membrane found in fitted B-scans, ranges of fitted B-scans."""
    options = OPTIONS._replace(membrane="image", bscans="fitted")
    voxels = eye().voxels.copy()
    voxels[4::8] = np.random.default_rng(0).random(voxels[4::8].shape)
    labels = eye().labels.copy()
    labels[4::8] = 0
    one, first = flat_volume(eye(), options, "")
    other, second = flat_volume(replace(eye(), voxels=voxels, labels=labels), options, "")
    np.testing.assert_array_equal(one.voxels[::2], other.voxels[::2])
    for key in ("shift", "low", "high"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key), err_msg=key)


def test_by_its_own_labels_a_held_out_b_scan_is_flattened_better_than_the_fitted_ones_can_tell() -> None:
    """The leak that the default avoids: it is there to be measured."""
    own, fitted = (flat_volume(eye(), OPTIONS._replace(bscans=b), "")[0] for b in ("every", "fitted"))
    spread = [np.abs(membrane_of_labels(flat.labels)[1::2] - 62).mean() for flat in (own, fitted)]
    assert spread[0] == 0
    assert spread[1] > 0.2


def test_between_fitted_b_scans_membrane_and_range_are_their_mean() -> None:
    _, record = flat_volume(eye(), OPTIONS._replace(bscans="fitted"), "")
    assert np.abs(record.shift[1] - (record.shift[0] + record.shift[2]) / 2).max() <= 0.5
    np.testing.assert_allclose(record.high[1], (record.high[0] + record.high[2]) / 2)
    np.testing.assert_allclose(record.low[0], eye().voxels[0][eye().valid[0]].min())


def test_by_its_own_range_every_b_scan_fills_0_to_1_as_the_reference_s_do() -> None:
    dimmed = np.where(np.arange(33)[:, None, None] % 8 == 4, 0.5 * eye().voxels, eye().voxels)  # the held-out ones
    scan = replace(eye(), voxels=dimmed, valid=None)
    for normalise_by, fills in (("all", True), ("fitted", False)):
        flat, record = flat_volume(scan, OPTIONS._replace(normalise_by=normalise_by, membrane="none"), "")
        assert (np.ptp(flat.voxels[1::2], axis=(1, 2)) > 1 - 1e-6).all() == fills
        assert (np.ptp(flat.voxels[::2], axis=(1, 2)) > 1 - 1e-6).all()
        if fills:
            np.testing.assert_array_equal(record.high, scan.voxels[record.places].max((1, 2)))
            assert record.clipped == 0


@pytest.mark.parametrize("crop", [(0, 0), (72, 40)])
@pytest.mark.parametrize("source", ["labels", "image", "none"])
def test_a_prepared_volume_goes_back_to_where_and_what_it_was(crop: tuple[int, int], source: str) -> None:
    flat, record = flat_volume(eye(), OPTIONS._replace(crop=crop, membrane=source), "eye.nii")
    record = record_from_json(json.loads(json.dumps(record.to_json())))
    back = restored_scan(flat.voxels, flat.labels, record)
    chosen = eye().voxels[record.places]
    unclipped = (chosen >= record.low[:, None, None]) & (chosen <= record.high[:, None, None]) & back.valid
    assert unclipped.mean() > (0.9 if crop == (0, 0) else 0.55)
    np.testing.assert_allclose(back.voxels[unclipped], chosen[unclipped], atol=1e-6)
    np.testing.assert_array_equal(back.labels[back.valid], eye().labels[record.places][back.valid])
    assert (back.voxels[~back.valid] == 0).all()
    np.testing.assert_allclose(back.spacing, (eye().spacing[0] * 4, *eye().spacing[1:]))
    assert (back.origin, back.direction) == (eye().origin, eye().direction)


def test_rendered_b_scans_at_other_places_go_back_too() -> None:
    flat, record = flat_volume(eye(), OPTIONS, "")
    volume, known = restore(flat.voxels[:2], record, np.array([6.0, 8.0]))
    assert volume.shape == known.shape == (2, 96, 48)
    at_8 = restore(flat.voxels, record)[0][2]
    np.testing.assert_allclose(volume[1], restore(flat.voxels[1:2], record, np.array([8]))[0][0])
    assert at_8.shape == volume[1].shape
    scan = restored_scan(flat.voxels[:2], None, record, np.array([6.0, 8.0]))
    np.testing.assert_allclose(np.subtract(scan.origin, eye().origin), [6 * eye().spacing[0], 0, 0], atol=1e-6)


def test_half_way_between_two_b_scans_the_shift_is_the_nearest_row_to_their_mean() -> None:
    _, record = flat_volume(eye(), OPTIONS, "")
    shift = np.stack([np.full(48, 3), np.full(48, 6), *np.zeros((7, 48))]).astype(int)
    ramp = np.broadcast_to(np.arange(96.0)[None, :, None], (1, 96, 48))
    unit = record._replace(shift=shift, low=np.zeros(9), high=np.ones(9))
    for place, rows in ((0.0, 3), (1.0, 4), (1.3, 4), (3.0, 5), (4.0, 6)):
        volume, known = restore(ramp, unit, np.array([place]))
        np.testing.assert_allclose(volume[0, : 96 - rows, 0], np.arange(rows, 96), err_msg=str(place))
        assert known[0, : 96 - rows].all()
        assert not known[0, 96 - rows :].any()


def test_a_crop_keeps_the_membrane_at_its_share_of_the_height_and_the_middle_a_scans() -> None:
    box = crop_box((496, 512), OPTIONS._replace(crop=(230, 496)), "")
    assert box == (slice(322 - 149, 322 - 149 + 230), slice(8, 504))
    flat, _ = flat_volume(eye(), OPTIONS._replace(crop=(72, 40)), "")
    np.testing.assert_array_equal(membrane_of_labels(flat.labels), np.full((9, 40), int(0.65 * 72)))


def test_surfaces_flatten_as_labels_do() -> None:
    scan = truth_of(make_eye(person=1, laterality="L", shape=(33, 96, 48)))
    shifts = [flat_volume(scan, OPTIONS._replace(membrane=m), "")[1].shift for m in ("labels", "surfaces")]
    np.testing.assert_array_equal(*shifts)


def test_auto_takes_labels_then_surfaces_then_the_image() -> None:
    scan = truth_of(make_eye(person=1, laterality="L", shape=(33, 96, 48)))
    wanted = OPTIONS._replace(membrane="auto")
    scans = scan, replace(scan, labels=None), replace(scan, labels=None, surfaces=None)
    found = [flat_volume(s, wanted, "")[1].membrane.split()[0] for s in scans]
    assert found == ["labels", "surfaces", "image"]


def test_an_slo_is_read_where_the_a_scans_lie_or_by_index_where_nobody_says() -> None:
    y, x = np.meshgrid(np.arange(65.0), np.arange(95.0), indexing="ij")
    scan = replace(eye(), slo=(y / 64).astype(np.float32))
    places = chosen_bscans(33, 8, "")
    by_index, how = sampled_slo(replace(scan, ascans_on_slo=None), places, "")
    assert how == "index"
    np.testing.assert_allclose(by_index, np.broadcast_to(places[:, None] / 32, (9, 48)), atol=1e-6)
    at = np.stack(np.broadcast_arrays(10 + np.arange(33.0)[:, None], np.arange(48.0)), -1)
    by_geometry, how = sampled_slo(replace(scan, ascans_on_slo=0.5 * at, slo_spacing=(0.5, 0.5)), places, "")
    assert how == "geometry"
    np.testing.assert_allclose(by_geometry, np.broadcast_to((10 + places[:, None]) / 64, (9, 48)), atol=1e-6)
    with pytest.raises(InputError, match="found all of them beside it"):
        sampled_slo(replace(scan, ascans_on_slo=at + 500), places, "")
    assert x.shape == scan.slo.shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fitted_every": 3}, "fitted_every: expected an even number"),
        ({"membrane": "label"}, "membrane: expected one of auto, labels"),
        ({"bscans": "all"}, "bscans: expected one of fitted, every"),
        ({"target": 65.0}, "target: expected a share"),
        ({"target": 0.99}, "target: expected a share of the rows between 0.05 and 0.95, found 0.99"),
        ({"percentiles": (99.0, 1.0)}, "percentiles: expected two rising"),
        ({"normalise_by": "own"}, "normalise_by: expected one of fitted, all, found own"),
        ({"crop": (230,)}, "crop: expected rows and A-scans"),
    ],
)
def test_options_that_make_no_sense_are_named(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked_options(OPTIONS._replace(**change))


def test_volumes_that_cannot_be_prepared_are_named() -> None:
    bare = replace(eye(), labels=None)
    held = eye().voxels.copy()
    held[8] = 0.5
    for scan, options, words in (
        (bare, OPTIONS, "eye.nii: .*membrane: expected labels; found none"),
        (eye(), OPTIONS._replace(membrane="surfaces"), "expected surfaces; found none"),
        (replace(eye(), labels=0 * eye().labels), OPTIONS, "Bruch's membrane: .* found none"),
        (eye(), OPTIONS._replace(crop=(97, 0)), "crop: expected at most 96 rows"),
        (eye(), OPTIONS._replace(fitted_every=34), "expected more than 34 B-scans"),
        (replace(eye(), voxels=held, valid=None), OPTIONS, "B-scan 8: expected an image, found the value 0.5 alone"),
        (replace(eye(), slo=0 * eye().slo), OPTIONS, "SLO: expected an image"),
    ):
        with pytest.raises(InputError, match=words) as error:
            flat_volume(scan, options, "eye.nii")
        assert "\n" not in str(error.value)
