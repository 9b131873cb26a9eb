"""The mean atlas: how training labels vote, in millimetres, and how depth is aligned by the image alone."""

import numpy as np
import pytest
from synthetic import layered_population

from inr_jax import baselines, metrics


def test_the_atlas_is_the_most_frequent_label_and_the_invalid_have_no_vote():
    train = layered_population(people=3, eyes=1, shape=(3, 12, 8))
    labels = np.zeros((3, 3, 12, 8), int)
    labels[0], labels[1], labels[2] = 2, 2, 1
    valid = np.ones(labels.shape, bool)
    valid[:2, :, :, 3] = False
    train = train._replace(labels=labels, valid=valid)
    atlas = baselines.mean_atlas(train, train.spacing[0], train.offset[0])
    assert (atlas[:, :, 3] == 1).all()
    assert (np.delete(atlas, 3, axis=2) == 2).all()


def test_the_atlas_is_read_in_millimetres():
    train = layered_population(people=1, eyes=1, shape=(9, 12, 8))
    labels, spacing = train.labels[0], train.spacing[0]
    shifted = baselines.mean_atlas(train, spacing, train.offset[0] + [2 * spacing[0], 0, -3 * spacing[2]])
    np.testing.assert_array_equal(shifted[:-2, :, 3:], labels[2:, :, :-3])
    halved = baselines.mean_atlas(train, spacing * [0.5, 1, 1], train.offset[0])
    np.testing.assert_array_equal(halved[::2], labels[2:-2])


def flat_layers(count, seed, shape=(9, 256, 24)):
    """The same three layers in every eye, the deepest one bright: eyes differ in depth and in tilt alone."""
    random = np.random.default_rng(seed)
    eyes = layered_population(people=count, eyes=1, shape=shape, seed=seed)
    across, rows, along = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    labels = []
    for depth, tilt, slope in random.uniform(-1, 1, (count, 3)) * [50, 15, 15]:
        below = (rows + 1) / 2 * (shape[1] - 1) - (120 + depth + tilt * across + slope * along)
        above = [below >= edge for edge in (-60, -20, 20, 50)]
        labels.append(np.where(above[3], 0, above[0].astype(int) + above[1] + above[2]))
    labels = np.stack(labels)
    noise = 0.05 * random.normal(size=(*labels.shape, 1))
    intensity = (np.array([0.05, 0.4, 0.2, 0.9])[labels][..., None] + noise).astype(np.float32)
    return eyes._replace(intensity=intensity, labels=labels, truth=None, truth_labels=None)


def worst_dice(labels, truth):
    return min(metrics.dice(a, b, 4)[1:].min() for a, b in zip(labels, truth, strict=True))


@pytest.fixture(scope="module")
def tilted_eyes():
    return flat_layers(8, seed=0), flat_layers(3, seed=1)


def test_eyes_that_differ_in_depth_and_tilt_alone_are_one_eye_to_the_aligned_atlas(tilted_eyes):
    train, test = tilted_eyes
    plain = np.stack([baselines.mean_atlas(train, *grid) for grid in zip(test.spacing, test.offset, strict=True)])
    assert worst_dice(baselines.aligned_atlas(train, test), test.labels) > 0.99
    assert worst_dice(plain, test.labels) < 0.7


def test_the_aligned_atlas_counts_depth_in_millimetres_of_each_scan(tilted_eyes):
    train, test = tilted_eyes
    coarse = test._replace(
        intensity=test.intensity[:, :, ::2], labels=test.labels[:, :, ::2], valid=test.valid[:, :, ::2]
    )
    rows = coarse.labels.shape[2]
    half = ((0, 0), (0, 0), (rows // 2, rows // 2), (0, 0))
    padded = coarse._replace(
        intensity=np.pad(coarse.intensity, (*half, (0, 0)), mode="edge"),
        labels=np.pad(coarse.labels, half),
        valid=np.pad(coarse.valid, half),
        spacing=test.spacing * [1, 2, 1],
    )
    assert worst_dice(baselines.aligned_atlas(train, padded), padded.labels) > 0.98  # rows twice as thick


def test_the_aligned_atlas_looks_at_nothing_but_the_measured_bscans_of_a_new_scan(tilted_eyes):
    train, test = tilted_eyes
    hidden = np.where(test.measured[..., None], test.intensity, np.nan).astype(np.float32)
    blind = test._replace(intensity=hidden, labels=None, valid=test.valid & test.measured)
    np.testing.assert_array_equal(baselines.aligned_atlas(train, blind), baselines.aligned_atlas(train, test))


def test_the_deep_surface_is_the_band_whatever_one_bscan_does(tilted_eyes):
    eyes = tilted_eyes[0]
    eye, valid, spacing = eyes.intensity[0], eyes.valid[0], eyes.spacing[0]
    every = np.ones(len(eye), bool)
    jumped = eye.copy()
    jumped[4] = np.roll(eye[4], 30, axis=0)
    surface = baselines.deep_surface(eye, valid, spacing, every)
    np.testing.assert_allclose(baselines.deep_surface(jumped, valid, spacing, every), surface, atol=0.5)


def test_the_atlas_is_aligned_where_labels_are_layered_and_whole_bscans_are_measured():
    eyes = layered_population(people=2, eyes=1, shape=(5, 24, 20))
    upside_down = eyes._replace(labels=eyes.labels[:, :, ::-1])
    columns = eyes._replace(measured=np.indices(eyes.measured.shape)[2] % 2 == 0)

    def note(train, test):
        return baselines.all_baselines(train, eyes, test, quick=True)["mean atlas"].note

    plain = "mode over 2 training scans"
    assert note(eyes, eyes) == f"{plain}, aligned at the deep bright band found in the measured B-scans"
    assert note(upside_down, eyes) == plain
    assert note(eyes, columns) == plain
