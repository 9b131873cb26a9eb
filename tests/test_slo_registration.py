"""Where a scan lies on its SLO: found to a fraction of a vessel's width, left alone where nothing says otherwise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from inr_jax import slo_registration
from inr_jax.data.phantom_oct import prepared, scan_of
from inr_jax.phantom import make_eye
from inr_jax.scan import Scan

SHAPE, SPACING, PIXEL = (16, 12, 96), (0.39, 0.007, 0.06), (0.033, 0.033)
MEASURED = np.arange(31) % 2 == 0


@pytest.fixture(scope="module", params=[(40, "R"), (41, "L"), (42, "R"), (43, "L")], ids=str)
def eye(request):
    person, laterality = request.param
    return make_eye(person=person, laterality=laterality)


def errors(eye, places):
    """um by which places on the SLO [D, W, 2] miss what the phantom knows."""
    middle = (np.array(eye.slo.shape) - 1) / 2 * np.asarray(eye.slo_spacing)
    retina = eye.ascans_on_slo - middle  # where A-scans are: the instrument errs about the SLO
    true = (retina - eye.slo_to_retina[:, 2]) @ np.linalg.inv(eye.slo_to_retina[:, :2]).T + middle
    return 1000 * np.linalg.norm(places - true, axis=-1)


def test_a_phantom_s_scan_is_placed_by_its_measured_b_scans_to_less_than_a_pixel_of_the_slo(eye):
    found, _ = prepared(scan_of(eye), MEASURED, align=True, register_slo=True)
    places = found.ascans_on_slo if eye.laterality == "R" else found.ascans_on_slo[:, ::-1]
    assert errors(eye, eye.ascans_on_slo).mean() > 35
    assert errors(eye, places).mean() < 15
    assert errors(eye, places).max() < 33


def test_unless_asked_a_scan_lies_where_the_instrument_says(eye):
    left_alone, _ = prepared(scan_of(eye), MEASURED, align=False, register_slo=False)
    said = eye.ascans_on_slo if eye.laterality == "R" else eye.ascans_on_slo[:, ::-1]
    np.testing.assert_array_equal(left_alone.ascans_on_slo, said)


def vessels(seed=0):
    """An SLO of smooth dark curves on a bright ground."""
    drawn = gaussian_filter(np.random.default_rng(seed).normal(size=(200, 200)), 6)
    return 0.6 - 0.5 * np.exp(-((drawn / (0.25 * drawn.std())) ** 2))


def seen_at(slo, places, noise=0.0):
    """A scan whose A-scans are as bright as the SLO is at these places (mm), though it says others."""
    bright = map_coordinates(slo, np.moveaxis(places, -1, 0) / PIXEL[0], order=1)
    voxels = np.repeat(bright[:, None, :], SHAPE[1], axis=1)
    voxels = voxels + noise * np.random.default_rng(1).normal(size=voxels.shape)
    return Scan(voxels=voxels.astype(np.float32), spacing=SPACING, slo=slo, slo_spacing=PIXEL, ascans_on_slo=said())


def said():
    y, x = (0.4 + step * np.arange(n) for n, step in zip(SHAPE[::2], SPACING[::2], strict=True))
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1)


def test_a_known_shift_turn_and_stretch_is_found():
    matrix, shift = np.array([[1.004, -0.008], [0.008, 0.996]]), np.array([0.07, -0.05])
    middle = said().reshape(-1, 2).mean(axis=0)
    places = (said() - middle) @ matrix.T + middle + shift
    scan = seen_at(vessels(), places, noise=0.1)
    found = slo_registration.find(scan)
    np.testing.assert_allclose(found.shift, shift, atol=0.005)
    np.testing.assert_allclose(found.matrix, matrix, atol=0.002)
    np.testing.assert_allclose(slo_registration.registered(scan).ascans_on_slo, places, atol=0.01)


def test_what_was_never_measured_counts_nothing():
    places = said() + 0.06
    scan = seen_at(vessels(), places)
    holes = np.ones(SHAPE, bool)
    holes[::3, :, 20:50] = False
    spoilt = replace(scan, voxels=np.where(holes, scan.voxels, 9.0).astype(np.float32), valid=holes)
    np.testing.assert_allclose(slo_registration.registered(spoilt).ascans_on_slo, places, atol=0.005)


@pytest.mark.parametrize("bscans", [1, 3, 16])
@pytest.mark.parametrize("seed", range(5))
def test_without_vessels_in_common_nothing_is_moved(seed, bscans):
    noise = np.random.default_rng(seed).normal(size=(bscans, *SHAPE[1:])).astype(np.float32)
    scan = replace(seen_at(vessels(seed), said()), voxels=noise, ascans_on_slo=said()[:bscans])
    np.testing.assert_allclose(slo_registration.registered(scan).ascans_on_slo, scan.ascans_on_slo, atol=1e-12)


def test_a_scan_without_an_slo_or_its_places_comes_back_itself():
    scan = seen_at(vessels(), said())
    for missing in ({"slo": None}, {"ascans_on_slo": None}, {"slo_spacing": None}):
        bare = replace(scan, **missing)
        assert slo_registration.registered(bare) is bare
