"""A-scans of lines, circles and radial scans are asked for where they lie, rasters along their axes as before."""

import csv
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import inr_jax
from inr_jax import coordinates, cropping, measurements, places, preprocessing, trained
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.new_scan import as_population, in_box
from inr_jax.phantom import make_eye
from inr_jax.scan import Scan

PIXEL = (0.011, 0.013)
CENTRE = np.array([3.2, 3.9])
RADIUS = 1.7


def on_circle(columns=72, clockwise=True):
    turn = 2 * np.pi * (np.arange(columns) + 0.5) / columns * (1 if clockwise else -1)
    return (CENTRE + RADIUS * np.stack([-np.sin(turn), -np.cos(turn)], -1))[None].astype(np.float32)


def spokes(count=4, columns=40):
    turn = np.pi * np.arange(count)[:, None] / count
    along = np.linspace(-2.5, 2.5, columns)
    return (CENTRE + np.stack([along * np.sin(turn), along * np.cos(turn)], -1)).astype(np.float32)


def scan_at(ascans, pattern, laterality="R", seed=0):
    bscans, columns = ascans.shape[:2]
    step = float(np.linalg.norm(ascans[0, 1] - ascans[0, 0]))
    voxels = np.random.default_rng(seed).random((bscans, 24, columns), np.float32)
    slo = np.random.default_rng(1).random((700, 700)).astype(np.float32)
    return Scan(
        voxels, (step, 0.03, step), slo=slo, slo_spacing=PIXEL, ascans_on_slo=ascans, pattern=pattern,
        laterality=laterality, name=pattern,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return trained.restore(places.shipped("phantom"))


def placed(scan, mirror=True):
    """The population of one scan at its true places, and what is on the device, in the shipped model's box."""
    prepared, undo = preprocessing.prepare(scan, mirror=mirror, align=False)
    stacked = preprocessing.stack([prepared], measured=np.ones(len(scan.voxels), bool), classes=(), note="")
    population = preprocessing.at_true_places(stacked, prepared, undo)
    return population, measurements.to_device(population, HALF)


HALF = np.float32([3.08, 0.45, 2.95])


def mm_of(coords):
    return np.asarray(coords, float) * HALF


def test_gathered_coordinates_of_a_circle_lie_on_it():
    scan = scan_at(on_circle(), "circle")
    _, data = placed(scan)
    batch = measurements.gather(data, jnp.int32(0), jnp.arange(scan.voxels.size), scan.voxels.shape, labelled=False)
    mm = mm_of(batch.coords)
    np.testing.assert_allclose(np.hypot(mm[:, 0], mm[:, 2]), RADIUS, atol=1e-5)
    rows = (np.arange(24) - 11.5) * 0.03
    np.testing.assert_allclose(mm[:, 1].reshape(24, 72), np.broadcast_to(rows[:, None], (24, 72)), atol=1e-6)


def test_between_two_a_scans_a_circle_is_read_on_its_chord_and_beyond_the_last_held():
    scan = scan_at(on_circle(), "circle")
    _, data = placed(scan)
    index = jnp.asarray([[0, 3, 10], [0, 3, 10.5], [0, 3, 11], [0, 3, 71], [0, 3, 71.4], [0.4, 3, 10]], jnp.float32)
    mm = mm_of(measurements.coords_of(data, 0, index))
    np.testing.assert_allclose(mm[1], 0.5 * (mm[0] + mm[2]), atol=1e-6)
    assert np.hypot(*mm[1, [0, 2]]) == pytest.approx(RADIUS * np.cos(np.pi / 72), abs=1e-5)  # of the chord's middle
    np.testing.assert_allclose(mm[3], mm[4], atol=1e-6)
    np.testing.assert_allclose(mm[0], mm[5], atol=1e-6)


def test_between_radial_bscans_places_are_blended():
    scan = scan_at(spokes(), "radial")
    population, data = placed(scan)
    index = jnp.asarray([[1.25, 0, 7]], jnp.float32)
    expected = 0.75 * population.en_face[0, 1, 7] + 0.25 * population.en_face[0, 2, 7]
    np.testing.assert_allclose(mm_of(measurements.coords_of(data, 0, index))[0, [0, 2]], expected, atol=1e-6)


def test_a_raster_is_asked_by_the_affine_map_alone_to_the_bit():
    scale, shift = jnp.float32([0.3, 0.1, 0.02]), jnp.float32([-1.0, -0.5, -0.9])
    index = jnp.asarray(np.random.default_rng(0).random((50, 3)), jnp.float32) * 7
    np.testing.assert_array_equal(coordinates.of_index(index, scale, shift), index * scale + shift)


def raster_at(shape=(6, 24, 40), step=(0.7, 0.03, 0.1)):
    y, x = np.meshgrid(1.0 + step[0] * np.arange(shape[0]), 2.0 + step[2] * np.arange(shape[2]), indexing="ij")
    scan = scan_at(np.stack([y, x], -1).astype(np.float32), "raster")
    return replace(scan, spacing=step)


@pytest.mark.parametrize("eye", ["R", "L"])
def test_true_places_of_a_raster_are_its_affine_ones(eye):
    """Also of a left eye, which is mirrored: places and pixels alike."""
    scan = replace(raster_at(), laterality=eye)
    prepared, undo = preprocessing.prepare(scan, mirror=True, align=False)
    stacked = preprocessing.stack([prepared], measured=np.ones(6, bool), classes=(), note="")
    true = preprocessing.at_true_places(stacked, prepared, undo)
    flat = jnp.arange(scan.voxels.size)
    coords = [
        measurements.gather(
            measurements.to_device(p, HALF), jnp.int32(0), flat, scan.voxels.shape, labelled=False
        ).coords
        for p in (stacked, true)
    ]
    np.testing.assert_allclose(*coords, atol=2e-6)
    np.testing.assert_allclose(stacked.slo_affine, true.slo_affine, atol=1e-2)


def test_a_line_along_a_rasters_bscan_is_asked_where_the_raster_is():
    raster = raster_at()
    middle = replace(
        raster, voxels=raster.voxels[2:3], ascans_on_slo=raster.ascans_on_slo[2:3] + np.float32([0.35, 0.0]),
        pattern="line",
    )  # fmt: skip
    _, line = placed(middle)
    stacked = preprocessing.stack([raster], measured=np.ones(6, bool), classes=(), note="")
    whole = measurements.to_device(stacked, HALF)
    within = jnp.stack(jnp.meshgrid(jnp.arange(24.0), jnp.arange(40.0), indexing="ij"), -1).reshape(-1, 2)
    index = [jnp.concatenate([jnp.full((len(within), 1), b), within], -1) for b in (0.0, 2.5)]
    found = measurements.coords_of(line, 0, index[0]), measurements.coords_of(whole, 0, index[1])
    np.testing.assert_allclose(*found, atol=2e-6)


def test_a_turned_line_lies_across_the_box():
    along = np.linspace(-1, 1, 41)
    ascans = (CENTRE + np.stack([along, 0 * along], -1))[None].astype(np.float32)  # down the SLO
    _, data = placed(scan_at(ascans, "line"))
    ends = mm_of(measurements.coords_of(data, 0, jnp.float32([[0, 0, 0], [0, 0, 40]])))
    np.testing.assert_allclose(ends[:, [0, 2]], [[-1, 0], [1, 0]], atol=1e-5)


def test_a_left_eye_is_asked_where_the_right_one_that_mirrors_it_is():
    right = scan_at(on_circle(clockwise=True), "circle")
    mirrored = right.ascans_on_slo.copy()
    mirrored[..., 1] = 8.0 - mirrored[..., 1]  # the SLO of the other eye
    left = replace(right, laterality="L", ascans_on_slo=mirrored[:, ::-1].copy(), voxels=right.voxels[..., ::-1].copy())
    populations = [placed(scan)[0] for scan in (right, left)]
    np.testing.assert_allclose(populations[0].en_face, populations[1].en_face, atol=1e-5)
    np.testing.assert_array_equal(populations[0].intensity, populations[1].intensity)


@pytest.mark.parametrize("eye", ["R", "L"])
@pytest.mark.parametrize(("pattern", "ascans"), [("circle", on_circle()), ("radial", spokes()), ("line", spokes(1))])
def test_places_map_to_their_pixels_on_the_slo(pattern, ascans, eye):
    population, _ = placed(scan_at(ascans, pattern, eye))
    en_face = population.en_face[0].astype(float)
    pixels = np.concatenate([en_face, np.ones((*en_face.shape[:2], 1))], -1) @ population.slo_affine[0].T
    expected = ascans / np.array(PIXEL)
    np.testing.assert_allclose(pixels, expected[:, ::-1] if eye == "L" else expected, atol=1e-3)
    _, data = placed(scan_at(ascans, pattern, eye))
    index = jnp.asarray([[0, 2, 5]], jnp.float32)
    seen = coordinates.side_pixel(measurements.side_of(data, jnp.int32(0)), measurements.coords_of(data, 0, index))
    np.testing.assert_allclose(np.asarray(seen)[:, 0], pixels[0, 5], atol=1e-2)


@pytest.mark.parametrize(("pattern", "ascans"), [("circle", on_circle()), ("radial", spokes())])
def test_other_patterns_than_rasters_are_placed_and_told(model, pattern, ascans):
    remarks = []
    population, _ = as_population(model, scan_at(ascans, pattern), remarks)
    assert population.en_face.shape == (1, *ascans.shape)
    assert f"the model has learned from rasters: a {pattern} scan is new to it" in remarks
    unplaced = replace(scan_at(ascans, pattern), ascans_on_slo=None, slo=None)
    population, _ = as_population(model, in_box(model, unplaced, []), remarks)
    assert population.en_face is None
    assert "where its A-scans lie was not taken into account: as if its B-scans were parallel lines" in remarks


def test_a_phantoms_raster_has_no_places_of_its_own(model):
    eye = scan_of(make_eye(seed=3, person=40, laterality="R", shape=(5, 32, 48)))
    assert as_population(model, eye, [])[0].en_face is None


def test_a_circle_in_the_box_is_kept_whole_though_it_is_long_and_a_larger_one_is_refused(model):
    circle = scan_at(on_circle(), "circle")  # 10.7 mm of arc
    assert cropping.to_box(circle, model.half) == (circle, [])
    wide = replace(circle, ascans_on_slo=(2.5 * (circle.ascans_on_slo - CENTRE) + CENTRE).astype(np.float32))
    with pytest.raises(InputError, match=r"circle: extent: .* found 8.49 x 0.69 x 8.49 mm"):
        as_population(model, in_box(model, wide, []), [])


def test_a_line_askew_is_cropped_to_what_the_box_holds_in_its_direction():
    turn = np.deg2rad(60)
    along = np.linspace(-6, 6, 241)[:, None] * np.array([np.sin(turn), np.cos(turn)])
    scan = scan_at((CENTRE + along)[None].astype(np.float32), "line")
    found, remarks = cropping.to_box(scan, HALF.astype(float))
    length = np.linalg.norm(found.ascans_on_slo[0, -1] - found.ascans_on_slo[0, 0])
    assert length == pytest.approx(2 * HALF[0] / np.sin(turn), abs=0.15)
    assert remarks[0].startswith("A-scans")


@pytest.mark.parametrize(
    ("pattern", "ascans"), [("circle", on_circle()), pytest.param("radial", spokes(8), marks=pytest.mark.slow)]
)
def test_a_left_eye_that_mirrors_a_right_one_has_its_answers_and_thicknesses(pattern, ascans, toy_model, tmp_path):
    """From the scan to its files: places, the SLO and the names of sides turn over, the answer does not."""
    right = scan_at(ascans, pattern)
    assert right.slo is not None
    width = np.float32((right.slo.shape[1] - 1) * PIXEL[1])
    turned = np.stack([ascans[..., 0], width - ascans[..., 1]], -1)[:, ::-1].copy()
    other = {"slo": right.slo[:, ::-1].copy(), "voxels": right.voxels[..., ::-1].copy(), "ascans_on_slo": turned}
    left = replace(right, laterality="L", **other)
    found = inr_jax.restore(toy_model).adapt_all([right, left])
    np.testing.assert_allclose(found[0].own.intensity, found[1].own.intensity[..., ::-1], atol=2e-4)
    assert np.ptp(found[0].own.intensity) > 0.1
    folders = [result.save(tmp_path / name) for name, result in zip("RL", found, strict=True)]
    name = "thickness_sectors.csv" if pattern == "circle" else "etdrs.csv"
    of_right, of_left = (list(csv.DictReader((folder / name).open())) for folder in folders)
    named = [[(row["layer"], row["sector"]) for row in rows] for rows in (of_right, of_left)]
    assert named[0] == named[1]
    um = [np.array([float(row["thickness_um"] or "nan") for row in rows]) for rows in (of_right, of_left)]
    np.testing.assert_allclose(
        um[0], um[1], atol=5
    )  # of noise, whose triangles between spokes may be cut the other way
    assert np.nanstd(um[0]) > 1
    at = [np.array([float(row["slo_x_mm"]) for row in csv.DictReader((f / "places.csv").open())]) for f in folders]
    np.testing.assert_allclose(
        at[0].reshape(ascans.shape[:2]), width - at[1].reshape(ascans.shape[:2])[:, ::-1], atol=1e-4
    )
