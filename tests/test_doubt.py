"""What a model doubts of a scan, from the posterior of its codes to the files of `inr-jax adapt`."""

import csv
import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import SimpleITK as sitk
from command import tree

from inr_jax import (
    asking,
    between,
    calibrate,
    calibration,
    data,
    doubt,
    doubt_scores,
    doubt_tables,
    measurements,
    render,
    trained,
)
from inr_jax.errors import InputError
from inr_jax.main import main
from inr_jax.model import hyper_of
from inr_jax.residual import corrected

DOUBTED = {"uncertainty.nii.gz", "label_uncertainty.nii.gz", "thickness.csv", "thickness.npz"}


@pytest.fixture(scope="module")
def folder(calibrated_model):
    return calibrated_model


@pytest.fixture(scope="module")
def model(folder):
    return trained.restore(folder)


@pytest.fixture(scope="module")
def found(folder, model):
    return calibrate.read(folder, model)


@pytest.fixture(scope="module")
def population(model):
    return data.load(model.config.data, "validation")


@pytest.fixture(scope="module")
def answers(model, population):
    return trained.adapt_population(model, population)


@pytest.fixture(scope="module")
def asker(model, population):
    return asking.make_asker(model, *population.measured.shape[1:])


@pytest.fixture(scope="module")
def evidence(asker, model, population, answers, found):
    return doubt.gather(asker, model, population, 0, answers.adapted[0], answers.field[0], found.prior)


def dense_jacobian(model, evidence, places):
    """d intensity [n] / d codes [m] at voxels (B-scan, row, A-scan), the network differentiated as it is."""
    data, modulation = evidence.data, evidence.adapted.modulation
    coords = jnp.asarray(places, jnp.float32) * data.scale[0] + data.shift[0]
    side = measurements.side_of(data, jnp.int32(0))

    def answer(codes):
        field = model.built.learner.bind(
            evidence.adapted.field, asking.with_arrays(modulation, codes), side, hyper_of(model.config)
        )
        return field(coords)["intensity"][:, 0]

    codes = asking.arrays(modulation)
    jacobian = jax.jit(jax.jacobian(answer))(codes)
    return np.concatenate([np.asarray(jacobian[name]).reshape(len(places), -1) for name in codes], -1)


def test_the_information_is_that_of_the_jacobian_of_every_measured_voxel(model, population, answers, evidence, found):
    places = np.argwhere(population.measured & population.valid[0])
    j = dense_jacobian(model, evidence, places)
    noise = np.mean((population.intensity[0] - answers.field[0])[tuple(places.T)] ** 2)
    codes = asking.arrays(evidence.adapted.modulation)
    prior = np.concatenate([np.broadcast_to(found.prior[name], codes[name].shape).ravel() for name in codes])
    precision = j.T @ j / noise + np.diag(1 / prior)
    factor = np.asarray(evidence.posterior.factor)
    np.testing.assert_allclose(factor @ factor.T, precision, rtol=2e-3, atol=1e-4 * precision.max())


def test_the_variance_of_a_voxel_is_the_codes_covariance_seen_through_its_jacobian(
    model, population, answers, evidence
):
    told = doubt.ask(evidence, 3.0, answers.intensity[0, 3, ..., 0], answers.labels[0, 3])
    places = np.array([[3, row, column] for row in (0, 7, 15) for column in (0, 5, 11)])
    j = dense_jacobian(model, evidence, places)
    expected = np.einsum("ni,ij,nj->n", j, np.asarray(evidence.posterior.covariance), j)
    found = told.columns["laplace"][places[:, 1], places[:, 2]]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3 * expected.max())


def test_distances_are_in_mm_to_the_nearest_measured_a_scan(evidence, population, answers):
    for place, expected in ((2.0, 0.0), (3.0, 1.0), (2.5, 0.5)):
        told = doubt.ask(evidence, place, answers.intensity[0, 3, ..., 0], answers.labels[0, 3])
        np.testing.assert_allclose(told.distance, expected * population.spacing[0, 0], rtol=1e-5, atol=1e-9)
    beyond = doubt.ask(evidence, 30.0, answers.intensity[0, 3, ..., 0], answers.labels[0, 3])
    assert not beyond.inside.any()
    assert told.inside.all()


def test_ever_wider_gaps_keep_the_first_second_fourth_and_seventh_measured_bscan():
    measured = np.zeros((17, 2, 2), bool)
    measured[::2] = True
    assert np.flatnonzero(doubt_tables.thinned(measured).all(axis=(1, 2))).tolist() == [0, 2, 6, 12]
    far = doubt_tables._farther(measured, doubt_tables.thinned(measured))
    assert far == [4, 8, 9, 10, 14, 15, 16]


def test_a_measured_voxel_s_own_share_of_its_answer_is_what_a_change_of_it_moves(model):
    draw, measured = np.random.default_rng(0), np.ones((3, 24, 24), bool)
    field, intensity = 0.3 + 0.2 * draw.random((2, 3, 24, 24, 1)).astype(np.float32)
    changed = intensity.copy()
    changed[1, 12, 12] += 0.1
    before, after = (
        corrected(field, values, measured, measured, np.ones(3), **model.config.adapt.residual)
        for values in (intensity, changed)
    )
    share = (after - before)[1, 12, 12, 0] / 0.1
    assert doubt_tables.own_share(model) == pytest.approx(share, rel=1e-3)


def test_nothing_is_estimable_beyond_where_the_population_s_mean_is_better():
    distance = np.repeat([0.0, 0.2, 0.4, 0.6], 100)
    error = np.repeat([0.1, 0.2, 0.5, 0.1], 100)
    assert calibrate.reach(distance, error, np.full(400, 0.3)) == pytest.approx(0.2)
    assert calibrate.reach(distance, error, np.full(400, 0.9)) == pytest.approx(0.6)  # nobody looked farther
    assert calibrate.reach(distance, error, np.full(400, 0.05)) == 0.0


def test_nobody_both_fits_the_spread_and_sets_the_intervals(found, population):
    fitted, set_by = found.people
    assert set(fitted) | set(set_by) == set(population.people)
    assert not set(fitted) & set(set_by)


def test_a_calibration_comes_back_from_its_file_as_it_was(folder, model, found):
    again = calibration.as_json(found)
    assert json.loads(json.dumps(again)) == json.loads((folder / calibrate.FILE).read_text())
    assert calibrate.is_current(folder)


def test_intervals_of_half_the_people_hold_for_themselves_in_every_group(model, found, population, answers, asker):
    """Those they were set by: a tenth lies outside, of every class, tercile and distance with enough voxels."""
    mean = np.zeros(population.measured.shape, np.float32)
    told = [
        doubt_tables.table_of(asker, model, population, i, answers, found.prior, mean, range(9), 0)
        for i, person in enumerate(population.people)
        if person in found.people[1]
    ]
    rows = doubt_scores.rows_of(found, told, model.classes)
    held = [row["coverage"] for row in rows if row["value"] == "noisy" and row["grouping"] in ("all", "distance")]
    assert min(held) > 0.8
    assert rows[0]["nll"] <= rows[0]["nll_by_intensity"] + 0.1


def test_labels_never_learned_from_have_a_line_of_their_own():
    rows = [
        {"value": "noisy", "grouping": "all", "group": "all", "coverage": 0.9, "people": 3},
        {"value": "noisy", "grouping": doubt_scores.NOVEL, "group": "all", "people": 2, "auroc": 0.8125},
    ]
    *_, line = doubt_scores.printed(rows).splitlines()
    assert line == "AUROC of voxels of labels never learned from, by the doubt of each value: noisy 0.812 (2 people)"


def test_auroc_is_how_often_a_positive_has_the_larger_score():
    assert doubt_scores.auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])) == 0.75


def test_thickness_is_labels_times_rows_whatever_motion_did_to_their_places(evidence, population):
    """Rows that motion took out of the prepared scan lie on its edge: their places say nothing of how far apart."""
    _, height, width = population.measured.shape
    index = np.stack(np.broadcast_arrays(1.0, *np.ogrid[:height, :width]), -1).astype(float)
    index[:3, :, 1] = 0.0
    labels = np.zeros((height, width), int)
    labels[4:9] = 1
    told = doubt.ask_at(evidence, index, np.zeros((height, width), np.float32), labels)
    np.testing.assert_allclose(told.thickness[1], 5 * 1000 * population.spacing[0][1], rtol=1e-6)


@pytest.fixture(scope="module")
def written(folder, model, tmp_path_factory):
    """A scan of five B-scans, adapted with one more between each two, by the command."""
    out = tmp_path_factory.mktemp("out")
    path = model.config.data.path + "/dataset_flat_subsmpl32_test_fold1.npz"
    assert main(["adapt", f"--workdir={folder}", path, f"--output={out}", "--slices=9", "--names=stem"]) == 0
    return out


def test_adapt_writes_what_it_doubts_in_the_scan_s_geometry(written):
    name = "p5_OD"
    assert tree(written / name) >= DOUBTED | {"measured.nii.gz"}
    answer, half, origin = (
        sitk.ReadImage(str(written / name / f"{file}.nii.gz")) for file in ("intensity", "uncertainty", "measured")
    )
    assert answer.GetSize() == half.GetSize() == origin.GetSize()
    np.testing.assert_allclose(answer.GetSpacing(), half.GetSpacing())
    origin, half = sitk.GetArrayFromImage(origin), sitk.GetArrayFromImage(half)
    assert (origin[1::2] != between.ORIGINS.index("measured")).all()
    assert (origin[::2] == between.ORIGINS.index("measured")).mean() > 0.9
    unknown = origin == between.ORIGINS.index("not estimable")
    np.testing.assert_array_equal(half == between.UNKNOWN, unknown)
    assert (half[~unknown] > 0).all()


def test_thickness_has_an_interval_for_labels_that_people_had_and_none_for_others(written):
    with (written / "p5_OD" / "thickness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows if row["half_interval_um"]} == {"layer 1", "layer 2", "layer 3"}
    with np.load(written / "p5_OD" / "thickness.npz") as file:
        assert file["half_interval_um"].shape == file["thickness_um"].shape == (9, 13, 12)


def test_the_page_says_of_which_value_the_intervals_are(written):
    page = (written / "p5_OD" / "report.html").read_text()
    assert "of what a repeated scan would measure, noise included" in page
    told = json.loads(page.split('id="viewer-data">')[1].split("</script>")[0])
    assert [overlay["title"] for overlay in told["overlays"]] == ["of intensity", "of layers"]
    assert any(found["half"] for found in told["thickness"])
    assert "p5_OD" not in page  # a scan's name is that of its file, or of a person


def test_the_page_tells_the_shares_of_the_mask_that_is_written_and_the_reach(written, found):
    page = (written / "p5_OD" / "report.html").read_text()
    origin = sitk.GetArrayFromImage(sitk.ReadImage(str(written / "p5_OD" / "measured.nii.gz")))
    assert origin.shape == (9, *origin.shape[1:])
    (told,) = re.findall(r"<dt>Voxels</dt><dd>(.*?)</dd>", page)
    shares = re.findall(r"([\d.]+)% (measured|synthesised|not estimable)", told)
    assert [kind for _, kind in shares] == ["measured", "synthesised", "not estimable"]
    for share, kind in shares:
        assert float(share) == pytest.approx(100 * (origin == between.ORIGINS.index(kind)).mean(), abs=0.051), kind
    assert f"farther than {found.reach:.2f} mm from a measured A-scan nothing is estimable" in page


def test_of_other_weights_no_uncertainty_is_told(folder, model, caplog):
    other = replace(model, params=jax.tree.map(lambda leaf: leaf + 1, model.params))
    assert calibrate.read(folder, other) is None
    assert "calibrated for other weights" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("model.modulation.read", "nearest", "read linearly"),
        ("model.modulation.axes", (0, 1, 2), "en face"),
        ("adapt.epochs", 3, "fitted to each scan"),
    ],
)
def test_what_cannot_be_told_is_said(model, key, value, why):
    config = model.config.copy_and_resolve_references()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    assert why in doubt.why_not(replace(model, config=config))


def test_one_validation_person_is_too_few(model, population, answers, asker, found):
    mean = np.zeros(population.measured.shape, np.float32)
    told = doubt_tables.table_of(asker, model, population, 0, answers, found.prior, mean, [3], 0)
    with pytest.raises(InputError, match="calibrate: expected 2 or more validation people; found 1"):
        calibrate.fit(model, [told], found.prior)


def test_a_value_that_nobody_knows_is_refused(folder, model):
    model.config.doubt.of = "noise-free"
    with pytest.raises(InputError, match=r"doubt.of: expected one of noisy; found noise-free"):
        calibrate.read(folder, model)
    model.config.doubt.of = "noisy"


def test_doubt_asked_some_columns_at_a_time_is_that_of_all_at_once(monkeypatch, asker, model, population, evidence):
    e, rows = evidence, population.measured.shape[1]
    monkeypatch.setattr(render, "BLOCK_CPU", 5 * rows)  # of twelve columns: four, four and four
    in_parts = asking.make_asker(model, *population.measured.shape[1:])
    bscans, valid = jnp.asarray([0.0, 4.0]), jnp.asarray((population.measured & population.valid[0])[[0, 4]], float)
    each = [one.informed(e.adapted, e.data, e.scan, bscans, valid) for one in (asker, in_parts)]
    np.testing.assert_allclose(each[1], each[0], rtol=1e-3, atol=1e-6 * float(jnp.abs(each[0]).max()))
    places = np.stack(np.broadcast_arrays(1.5, *np.ogrid[: rows - 2, :11]), -1).astype(np.float32)  # 11: 4, 4 and 3
    asked = (e.adapted, e.deviations, e.posterior.covariance, e.data, e.scan, jnp.asarray(places))
    for whole, parts in zip(asker.seen(*asked), in_parts.seen(*asked), strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-5 * float(jnp.abs(whole).max()))
