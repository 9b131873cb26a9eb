"""A scan of few B-scans is stepped to as far as a whole raster, not beyond."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import inr_jax
from inr_jax import coverage, new_scan, trained
from inr_jax.data.phantom_oct import scan_of
from inr_jax.phantom import make_eye


def line(y, count=400):
    return jnp.asarray(np.stack([np.full(count, y), np.linspace(-1, 1, count)], -1), jnp.float32)


def test_a_line_covers_one_row_of_cells_through_their_centres_and_two_between_them():
    assert coverage.share((8, 6), line(1 / 8)) == pytest.approx(1 / 8, rel=0.02)
    assert coverage.share((8, 6), line(0.0)) == pytest.approx(2 / 8, rel=0.02)


def test_places_all_over_the_box_cover_it_all_however_many_they_are():
    for count in (16, 61):
        raster = jnp.concatenate([line(y) for y in (np.arange(count) + 0.5) * 2 / count - 1])
        assert coverage.share((8, 6), raster) == pytest.approx(1.0, abs=0.02)


def test_half_a_raster_covers_half_the_box():
    raster = jnp.concatenate([line(y) for y in np.linspace(-1, 0, 60)])
    assert coverage.share((16, 4), raster) == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_one_bscan_of_a_raster_is_adapted_to_as_well_as_all_of_them():
    model = inr_jax.restore(inr_jax.shipped("phantom"))
    eye = replace(scan_of(make_eye(seed=50, person=60, laterality="R", shape=(9, 96, 64))), labels=None)
    assert eye.ascans_on_slo is not None
    valid = None if eye.valid is None else eye.valid[4:5]
    one = replace(eye, voxels=eye.voxels[4:5], ascans_on_slo=eye.ascans_on_slo[4:5], valid=valid)

    def left(scan, paced):
        population, _ = new_scan.as_population(model, scan, [])
        found = trained.adapt_population(model, population, by_coverage=paced)
        return float(np.sqrt(np.mean((found.field - population.intensity) ** 2)))

    assert left(one, True) < 1.1 * left(eye, True)
    assert left(one, False) > 1.5 * left(eye, True)
