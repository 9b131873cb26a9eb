"""What is drawn of a population: measured voxels for the context, no labels there, values as the arrays have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import image_population, layered_population

from inr_jax import coordinates, measurements

POPULATION = layered_population(people=2, eyes=1, shape=(7, 12, 8))
GRID = POPULATION.measured.shape
HALF = coordinates.half_extent(GRID, POPULATION.spacing)


@pytest.fixture(scope="module")
def data():
    return measurements.to_device(POPULATION, HALF)


def voxels_of(data, subject, coords):
    """Voxel indices from coordinates: the frame's inverse."""
    return np.rint((np.asarray(coords) - np.asarray(data.shift[subject])) / np.asarray(data.scale[subject])).astype(int)


@pytest.mark.parametrize("seed", range(3))
def test_context_batches_hold_neither_an_unmeasured_voxel_nor_a_label(data, seed):
    pools = measurements.pools(POPULATION.measured)
    pool = pools.context
    batch = measurements.draw(data, jnp.int32(1), pool, 500, GRID, key=jax.random.key(seed), labelled=False)
    assert POPULATION.measured[tuple(voxels_of(data, 1, batch.coords).T)].all()
    np.testing.assert_array_equal(batch.labels, -1)


def test_target_batches_hold_labels_and_every_kind_of_voxel(data):
    pools = measurements.pools(POPULATION.measured)
    np.testing.assert_array_equal(np.sort(pools.target), np.arange(POPULATION.measured.size))
    pool = pools.target
    batch = measurements.draw(data, jnp.int32(0), pool, 500, GRID, key=jax.random.key(0), labelled=True)
    index = tuple(voxels_of(data, 0, batch.coords).T)
    assert 0 < POPULATION.measured[index].mean() < 1
    np.testing.assert_array_equal(batch.labels, POPULATION.labels[0][index])


def test_gathered_values_are_the_arrays_own(data):
    valid = POPULATION.valid.copy()
    valid[1, 2, :, 3] = False
    masked = measurements.to_device(POPULATION._replace(valid=valid), HALF)
    flat = np.arange(POPULATION.measured.size).reshape(GRID)
    batch = measurements.gather(masked, jnp.int32(1), jnp.asarray(flat), GRID, labelled=True)
    np.testing.assert_array_equal(batch.intensity, POPULATION.intensity[1])
    np.testing.assert_array_equal(batch.labels, POPULATION.labels[1])
    np.testing.assert_array_equal(batch.valid, valid[1])
    millimetres = (np.indices(GRID).transpose(1, 2, 3, 0) - (np.array(GRID) - 1) / 2) * POPULATION.spacing[1]
    np.testing.assert_allclose(batch.coords, millimetres / HALF, atol=1e-6)


def test_without_labels_nothing_is_known(data):
    bare = measurements.to_device(POPULATION._replace(labels=None), HALF)
    np.testing.assert_array_equal(bare.labels, -1)
    assert measurements.side_of(bare, jnp.int32(0)) is None


def test_every_subject_gets_its_own_slo_and_the_way_to_its_pixels():
    slo = np.random.default_rng(0).random((2, 9, 11)).astype(np.float32)
    affine = np.array([[[10.0, 0, 4], [0, 20, 5]], [[11.0, 1, 3], [2, 19, 6]]])
    data = measurements.to_device(POPULATION._replace(slo=slo, slo_affine=affine), HALF)
    side = measurements.side_of(data, jnp.int32(1))
    np.testing.assert_array_equal(side.image, slo[1])
    corner = affine[1] @ [-HALF[0], HALF[2], 1]
    np.testing.assert_allclose(side.to_pixel @ jnp.array([-1.0, 1.0, 1.0]), corner, rtol=1e-5)


@pytest.mark.parametrize("people", ["ab", "aabb", "abc", "aabbc", "abab", "abbb"])
def test_a_donor_is_never_a_scan_of_the_same_person(people):
    donor = measurements.donors(tuple(people))
    assert all(people[i] != people[j] for i, j in enumerate(donor))
    np.testing.assert_array_equal(measurements.donors("aaa"), [0, 1, 2])


@pytest.mark.parametrize("swapped", [0, 1])
def test_another_person_s_slo_comes_with_its_own_way_to_the_pixels(swapped):
    slo = np.random.default_rng(0).random((2, 9, 11)).astype(np.float32)
    affine = np.array([[[10.0, 0, 4], [0, 20, 5]], [[11.0, 1, 3], [2, 19, 6]]])
    data = measurements.to_device(POPULATION._replace(slo=slo, slo_affine=affine), HALF)
    for i in range(2):
        found = measurements.side_of(data, jnp.int32(i), jnp.float32(swapped))
        own = measurements.side_of(data, jnp.int32((i + swapped) % 2))
        np.testing.assert_array_equal(found.image, own.image)
        np.testing.assert_array_equal(found.to_pixel, own.to_pixel)


@pytest.mark.parametrize("count", range(1, GRID[0] + 1))
def test_so_many_whole_b_scans_have_labels_evenly_spread(data, count):
    flat = np.arange(POPULATION.measured.size).reshape(GRID)
    every = (jnp.int32(1), jnp.asarray(flat), GRID)
    labels = np.asarray(
        measurements.gather(data, *every, labelled=measurements.labelled_bscans(GRID, float(count))).labels
    )
    labelled = (labels != -1).any(axis=(1, 2))
    assert labelled.sum() == count
    np.testing.assert_array_equal(labels[labelled], POPULATION.labels[1][labelled])
    gaps = np.diff(np.flatnonzero(labelled))
    assert not gaps.size or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_labels_of_a_context_are_of_measured_b_scans_that_have_some_evenly_spread(data, count):
    """B-scans 0, 2, 4, 6 are measured; nobody has labelled number 2, and half of number 4 is not known."""
    labels = POPULATION.labels.copy()
    labels[0, 2], labels[0, 4, :3] = -1, -1
    some = data._replace(labels=jnp.asarray(labels.reshape(len(labels), -1), jnp.int8))
    pool = measurements.pools(POPULATION.measured).context
    known = measurements.context_labels(some, jnp.int32(0), pool, GRID, jnp.float32(count))
    expected = {0: [0, 4, 6], 1: [6], 2: [4, 6], 3: [0, 4, 6], 9: [0, 4, 6]}[count]
    assert np.flatnonzero(known).tolist() == expected
    few = measurements.context_labels(some, jnp.int32(0), pool, GRID, jnp.float32(0), jnp.float32(1))
    assert set(np.flatnonzero(few)) <= set(np.flatnonzero(measurements.labelled_bscans(GRID, 1.0)))


def columns_of(flat):
    """(B-scan, A-scan) of flat voxel indices."""
    d, _, w = np.unravel_index(flat, GRID)
    return set(zip(d.tolist(), w.tolist(), strict=True))


def test_held_out_a_scans_are_whole_and_apart_from_those_that_train():
    pools = measurements.pools(POPULATION.measured, held_out=0.25)
    held, training = columns_of(pools.held_out), columns_of(pools.training)
    assert not held & training
    assert len(held) == round(0.25 * 4 * 8)  # of four measured B-scans of eight A-scans
    assert len(pools.held_out) == len(held) * GRID[1]
    np.testing.assert_array_equal(np.sort(np.concatenate([pools.training, pools.held_out])), np.sort(pools.context))


def test_held_out_pixels_of_an_image_are_apart_from_those_that_train():
    measured = image_population(count=1, size=16).measured
    pools = measurements.pools(measured, held_out=0.25)
    assert len(pools.held_out) == 16
    np.testing.assert_array_equal(np.sort(np.concatenate([pools.training, pools.held_out])), np.flatnonzero(measured))


def test_the_seed_alone_decides_what_is_held_out():
    first, again, other = (measurements.pools(POPULATION.measured, seed=s).held_out for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
