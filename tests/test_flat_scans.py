"""A new scan is made as the folds were that a model has learned from, and comes back as it was measured."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import toy
from command import say, write_npz
from command import untrained as made
from ml_collections import ConfigDict
from scipy import ndimage
from synthetic import layered_population, write_folds
from toy import ROOT

import inr_jax
from inr_jax import checkpoint, coordinates, cropping, flat_scans, new_scan, recipe, trained, validate, workdir
from inr_jax.config_script import load_config
from inr_jax.data import load
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.flat_volumes import Options
from inr_jax.flattening import membrane_of_labels
from inr_jax.model import Signal, build
from inr_jax.new_scan import as_population, in_box
from inr_jax.phantom import CLASSES, make_eye
from inr_jax.prepare import prepare
from inr_jax.records import known_region, read_records
from inr_jax.result import Result, adapt
from inr_jax.scan import Scan, mm_of
from inr_jax.train import prepare_workdir

SHAPE, CROP, EVERY = (33, 72, 40), (50, 31), 8  # 9 B-scans are scored
FIRST = (40 - 31) // 2  # of the A-scans that are kept
EYES = ("a_OD", "b_OS", "c_OS")
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
LOW, SPAN = 100.0, 900.0  # the units of the files
OPTIONS = Options(
    fitted_every=8, membrane="image", bscans="every", target=0.65, percentiles=(0.0, 100.0), normalise_by="all",
    crop=(0, 0),
)  # fmt: skip


@cache
def dense(name: str) -> Scan:
    """A phantom eye in units of its own, at an oblique place."""
    eye = "R" if name.endswith("OD") else "L"
    scan = scan_of(make_eye(person=EYES.index(name), laterality=eye, shape=SHAPE))
    voxels = (LOW + SPAN * scan.voxels).astype(np.float32)
    return replace(scan, voxels=voxels, surfaces=None, name=name, origin=(3.0, -4.0, 5.0), direction=OBLIQUE)


def new(name: str, *, labels: bool) -> Scan:
    """The scored B-scans of an eye, as a scan that nobody has prepared."""
    scan = validate.kept_bscans(dense(name), EVERY // 2)
    return scan if labels else replace(scan, labels=None)


@pytest.fixture(scope="module", params=["image", "labels"])
def source(request: pytest.FixtureRequest) -> str:
    """Of Bruch's membrane in test eyes."""
    return request.param


def prepared(folder: Path, source: str) -> Path:
    (folder / "raw").mkdir()
    for name in EYES:
        scan = dense(name)
        keys = ("voxels", "labels", "valid", "spacing", "origin", "direction", "slo", "slo_spacing", "ascans_on_slo")
        write_npz(folder / "raw" / f"{name}.npz", name=name, **{key: getattr(scan, key) for key in keys})
    config = load_config(ROOT / "configs" / "prepare_oct.py")
    config.update({"path": str(folder / "raw"), "fitted_every": EVERY, "crop": CROP, "folds": 3})
    config.update({"percentiles": (1.0, 99.0), "normalise_by": "all"})
    config.flatten.test.update({"membrane": source, "bscans": "every"})
    return prepare(config, folder / "folds")


@pytest.fixture(scope="module")
def folds(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp(source), source)


def learning(folds: Path, **changes: object) -> ConfigDict:
    config = toy.get_config()
    config.data.update({"name": "interp_oct", "path": str(folds)})
    config.data.interp_oct.update({"classes": CLASSES, "validation_people": 0.5} | changes)
    config.adapt.residual.length = 0.0
    return config


def begun(folder: Path, config: ConfigDict) -> Path:
    """What a training on folds leaves before its first step."""
    train, validation = load(config.data, "train"), load(config.data, "validation")
    half = coordinates.half_extent(train.measured.shape, train.spacing)
    prepare_workdir(folder, config, train, validation, half, allow_change=False)
    state = recipe.initial_state(config, build(config, Signal.of(train)), len(train.names))
    checkpoint.save(folder, state, step=recipe.stages(config)[-1].end, validation=0.0)
    return folder


@pytest.fixture(scope="module")
def workdir_of(folds: Path) -> Path:
    return begun(folds.parent / "w", learning(folds))


@pytest.fixture(scope="module")
def model(workdir_of: Path) -> trained.Trained:
    return trained.restore(workdir_of)


@pytest.mark.parametrize("name", ["a_OD", "b_OS"])
def test_a_new_scan_is_seen_as_preparing_and_reading_the_fold_would_have_made_it(folds, source, model, name):
    config, tested = learning(folds), []
    for fold in (1, 2, 3):
        config.data.interp_oct.fold = fold
        population = load(config.data, "test")
        tested += [(population, i) for i, found in enumerate(population.names) if found == name]
    ((expected, i),) = tested
    remarks: list[str] = []
    scan = in_box(model, new(name, labels=source == "labels"), remarks)
    found, _ = as_population(model, scan, remarks)
    np.testing.assert_array_equal(found.intensity[0], expected.intensity[i])
    np.testing.assert_array_equal(found.valid[0], expected.valid[i])
    if source == "labels":
        np.testing.assert_array_equal(found.labels[0], expected.labels[i])
    sampled = found.slo[0, ::2]  # at the B-scans; the fold's is scaled by these alone
    np.testing.assert_allclose((sampled - sampled.min()) / np.ptp(sampled), expected.slo[i], atol=1e-5)
    index = np.array([3 * found.spacing[0, 0], -4 * found.spacing[0, 2], 1.0])  # mm from the middle
    np.testing.assert_allclose((found.slo_affine[0] @ index) / (2, 1), (expected.slo_affine[i] @ index), atol=1e-4)
    assert any(f"flattened at Bruch's membrane ({source} of every B-scan)" in remark for remark in remarks)
    assert f"the model sees 50 rows of it and A-scans {FIRST} to {FIRST + 30}" in remarks


def test_the_way_back_is_that_of_the_fold_s_record_in_place_and_units(folds, source, model):
    """Voxels and labels by the prepared scan itself; to the last one at B-scans, by neighbours between them."""
    for name in ("a_OD", "b_OS"):
        record, scan = read_records(folds, "test")[name], new(name, labels=source == "labels")
        kept = in_box(model, scan, [])
        population, undo = as_population(model, kept, [])
        known = known_region(record, record.places)
        index = np.stack(np.meshgrid(*map(np.arange, kept.voxels.shape), indexing="ij"), -1).astype(float)
        shape = population.measured.shape
        np.testing.assert_array_equal(undo.holds(index, shape), known)
        seen = np.rint(undo.seen_at(index, shape)).astype(int)
        low, high = undo.unit_at(index[..., 0])
        values = low + population.intensity[0, ..., 0][tuple(np.moveaxis(seen, -1, 0))] * (high - low)
        ends = record.low[:, None, None], record.high[:, None, None]
        np.testing.assert_allclose(values[known], np.clip(kept.voxels, *ends)[known], rtol=1e-5)
        back = undo(population.intensity[0, ..., 0], np.arange(9.0))
        np.testing.assert_allclose((low + back * (high - low))[known], values[known], rtol=1e-4, atol=0.1)
        below, between, above = undo.seen_at(np.array([[d, 30.0, 7.0] for d in (2, 2.5, 3)]), shape)[:, 1]
        assert between == pytest.approx(0.5 * (below + above))


def echo(result: Result) -> Result:
    """The result of a model that answers, at every place, the voxel that it has seen there."""
    population = result.answered.population
    values, labels = population.intensity[0, ..., 0], population.labels[0]

    def ask(adapted, data, index):
        index = np.moveaxis(np.asarray(index), -1, 0)
        found = ndimage.map_coordinates(labels, index, order=0, mode="nearest")
        return (
            jnp.asarray(ndimage.map_coordinates(values, index, order=1, mode="nearest")),
            jnp.asarray(np.eye(len(CLASSES))[found]),
        )

    return replace(result, answered=replace(result.answered, ask=ask))


@pytest.fixture(scope="module")
def of_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on folds that are flattened by labels."""
    folds = prepared(tmp_path_factory.mktemp("labels"), "labels")
    return begun(folds.parent / "w", learning(folds))


@pytest.fixture(scope="module")
def result(of_labels: Path) -> Result:
    return adapt(trained.restore(of_labels), new("b_OS", labels=True))


def test_what_is_rendered_lies_where_and_in_the_units_the_scan_was_measured(result):
    scan, rendered = result.scan, echo(result).own
    known = rendered.origin != 2
    assert scan.voxels.shape == rendered.intensity.shape == (9, 72, 40)
    assert 0.4 < known.mean() < 50 / 72 * 31 / 40 + 0.01
    low, high = (np.percentile(dense("b_OS").voxels[:: EVERY // 2][0], q) for q in (1, 99))
    np.testing.assert_allclose(rendered.intensity[0][known[0]], np.clip(scan.voxels[0], low, high)[known[0]], rtol=1e-4)
    np.testing.assert_array_equal(rendered.labels[known], scan.labels[known])
    membranes = [membrane_of_labels(labels)[:, FIRST : FIRST + 31] for labels in (rendered.labels, scan.labels)]
    np.testing.assert_array_equal(*membranes)
    um = echo(result).thickness(CLASSES[1]).um
    held = np.where(known, scan.labels, 0)
    np.testing.assert_allclose(um, (held == 1).sum(axis=1) * 1000 * scan.spacing[1], rtol=1e-5)


def test_outside_of_the_window_nothing_is_estimable_and_the_lowest_intensity_is_shown(result, of_labels):
    rendered = result.own
    record = read_records(of_labels.parent / "folds", "test")["b_OS"]
    outside = ~known_region(record, record.places)
    np.testing.assert_array_equal(rendered.origin == 2, outside)
    assert (rendered.labels[outside] == 0).all()
    lowest = np.broadcast_to(record.low[:, None, None], outside.shape)
    np.testing.assert_allclose(rendered.intensity[outside], lowest[outside], rtol=1e-6)
    places = np.array([np.argwhere(outside)[0], np.argwhere(~outside)[100]])
    points = result.at(mm_of(result.scan, places.astype(float)))
    assert np.isnan(points.intensity[0])
    assert np.isnan(points.probability[0]).all()
    np.testing.assert_allclose(points.intensity[1], rendered.intensity[tuple(places[1])], rtol=1e-5)
    assert points.measured.tolist() == [False, True]


def test_between_two_b_scans_the_membrane_lies_between_theirs(result):
    rendered = echo(result).render_at(np.array([3.0, 3.5, 4.0]))
    membrane = membrane_of_labels(rendered.labels)[..., FIRST : FIRST + 31]
    np.testing.assert_allclose(membrane[1], 0.5 * (membrane[0] + membrane[2]), atol=1.01)
    assert np.ptp(membrane[1]) >= 2  # the scan's own course, not the flat one


def test_an_export_carries_the_preparation_and_sees_scans_alike(of_labels, tmp_path):
    folder = inr_jax.export(of_labels, tmp_path / "m")
    exported, own = inr_jax.restore(folder), trained.restore(of_labels)
    assert exported.prepared == own.prepared
    assert own.prepared.percentiles == (1.0, 99.0)
    assert own.prepared.membrane == "labels"
    for scan in (new(name, labels=False) for name in EYES[:2]):
        one, other = (as_population(m, in_box(m, scan, []), [])[0] for m in (exported, own))
        np.testing.assert_array_equal(one.intensity, other.intensity)
    card = (folder / "README.md").read_text()
    assert "B-scans scaled by their percentiles 1 to 99; flattened at Bruch's membrane, which lies at 0.65" in card


def test_an_exported_model_answers_to_the_bit_what_the_training_does(of_labels, result, tmp_path):
    folder = inr_jax.export(of_labels, tmp_path / "m")
    again = inr_jax.restore(folder).adapt(new("b_OS", labels=True)).own
    np.testing.assert_array_equal(again.intensity, result.own.intensity)
    np.testing.assert_array_equal(again.origin, result.own.origin)


def test_uncertainty_and_thickness_of_a_calibrated_model_are_told_within_the_window_alone(calibrated_model):
    model = replace(inr_jax.restore(calibrated_model), prepared=OPTIONS)
    eye = layered_population(people=1, eyes=1, shape=(5, 40, 12), seed=9)
    scan = Scan(eye.intensity[0, ..., 0], (0.24, 0.004, 0.06), labels=eye.labels[0].astype(np.int32), name="eye")
    rendered = model.adapt(scan).own
    outside = rendered.origin == 2
    height = np.arange(40)[:, None] - membrane_of_labels(scan.labels)[:, None]  # rows below BM, which lies on row 13
    np.testing.assert_array_equal(outside, (height < -13) | (height >= 20 - 13))
    np.testing.assert_array_equal(np.isnan(rendered.doubt.half), outside)
    np.testing.assert_array_equal(np.isnan(rendered.doubt.wrong), outside)
    assert np.isfinite(rendered.doubt.thickness).all()
    assert rendered.doubt.thickness[:, 1:].sum(axis=1).max() <= 20 * 4 + 1e-3


def test_a_scan_that_is_flat_already_is_moved_by_nothing(model):
    eye = new("a_OD", labels=True)
    shift = int(0.65 * 72) - membrane_of_labels(eye.labels).astype(int)
    ragged = shift + np.random.default_rng(0).integers(-1, 2, shift.shape)  # within a row
    rows = np.arange(72)[:, None] - ragged[:, None]
    flat = np.take_along_axis(eye.labels, np.clip(rows, 0, 71), 1)
    found, done = flat_scans.flat_scan(replace(eye, labels=flat), model.prepared, 72, 40)
    assert not done.is_flattened
    assert (done.shift == 0).all()
    np.testing.assert_array_equal(found.labels, flat)
    assert flat_scans.flat_scan(eye, model.prepared, 72, 40)[1].is_flattened


def test_rows_of_the_window_that_a_scan_does_not_have_are_not_valid(model):
    eye = replace(new("a_OD", labels=True), valid=None)
    found, _ = flat_scans.flat_scan(eye, model.prepared, 120, 40)
    np.testing.assert_array_equal(membrane_of_labels(found.labels), int(0.65 * 120))
    assert found.voxels.shape == (9, 120, 40)
    np.testing.assert_array_equal(found.valid.sum(axis=1), 72)
    assert (found.voxels[~found.valid] == 0).all()


def test_labels_of_some_b_scans_flatten_nothing_and_go_with_their_voxels(model):
    eye = new("a_OD", labels=True)
    some = eye.labels.copy()
    some[1:] = -1
    found, done = flat_scans.flat_scan(replace(eye, labels=some), model.prepared, 72, 40)
    assert done.membrane.startswith("image")
    assert (found.labels[1:] == -1).all()


def test_a_b_scan_without_an_image_is_scaled_as_those_beside_it(model):
    eye = new("a_OD", labels=False)
    voxels = eye.voxels.copy()
    voxels[4] = 0
    _, done = flat_scans.flat_scan(replace(eye, voxels=voxels, valid=None), model.prepared, 72, 40)
    assert done.low[4] == pytest.approx(0.5 * (done.low[3] + done.low[5]))
    assert done.high[4] == pytest.approx(0.5 * (done.high[3] + done.high[5]))


def test_a_scan_without_bruch_s_membrane_is_one_line(of_labels, tmp_path, capsys):
    columns = np.random.default_rng(0).random((5, 1, 96), np.float32)  # no row differs from the next
    path = write_npz(tmp_path / "bare.npz", voxels=np.repeat(columns, 128, 1), spacing=np.array(dense("a_OD").spacing))
    said = say(capsys, "adapt", f"--workdir={of_labels}", path, f"--output={tmp_path / 'out'}", "--name=bare")
    assert "bare (membrane: image): Bruch's membrane: expected it between rows 6.4 and 121.6; found none" in said.error
    assert not (tmp_path / "out").exists()


def test_scans_of_folds_are_taken_as_they_are(folds, model):
    file = folds / f"dataset_flat_subsmpl{EVERY // 2}_test_fold1.npz"
    (scan,) = new_scan.scans_in(str(file), model.config)
    remarks: list[str] = []
    found, undo = as_population(model, in_box(model, scan, remarks), remarks)
    np.testing.assert_array_equal(found.intensity[0, ..., 0], scan.voxels[..., :: -1 if undo.mirrored else 1])
    assert undo.window is None
    assert "it was prepared, flattened and cropped: taken as it is" in remarks


def test_of_folds_that_do_not_say_how_they_were_prepared_a_model_only_says_so(tmp_path):
    config = learning(write_folds(tmp_path), classes=("background", "inner", "middle", "outer"))
    assert flat_scans.options_of_training(config) is None
    model = trained.restore(begun(tmp_path / "w", config))
    assert model.prepared is None
    eye = layered_population(people=1, eyes=1, shape=(7, 16, 12))
    scan = Scan(eye.intensity[0, ..., 0], (0.12, 0.004, 0.06), name="p0_OD")
    remarks: list[str] = []
    found, _ = as_population(model, in_box(model, scan, remarks), remarks)
    assert any("nothing says how these were prepared" in remark for remark in remarks)
    expected = (scan.voxels - scan.voxels.min()) / np.ptp(scan.voxels)
    np.testing.assert_allclose(found.intensity[0, ..., 0], expected, atol=1e-6)


def test_a_model_from_before_is_restored_and_one_of_a_damaged_manifest_refused(of_labels, folds, tmp_path):
    folder = made(tmp_path / "w", learning(folds), Signal(3, 1, 13, slo=True), (1.0, 0.1, 1.0), CLASSES)
    assert "prepared" not in json.loads((folder / workdir.MODEL).read_text())
    assert trained.restore(folder).prepared is None
    content = json.loads((folds / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(content | {"config": {"flatten": {}}}))
    with pytest.raises(InputError, match=r"manifest.json: config: expected that of a preparation; found: KeyError"):
        flat_scans.options_of_training(learning(tmp_path))


def test_what_is_validated_of_a_cropped_scan_is_what_the_model_holds():
    scan = dense("a_OD")
    kept = validate.kept_bscans(scan, 8)
    held = cropping.cropped(kept, slice(1, 4), slice(2, 70), slice(3, 33))
    part = validate._that_is_held(scan, kept, held, 8)
    np.testing.assert_array_equal(part.voxels, scan.voxels[8:25, 2:70, 3:33])
    np.testing.assert_allclose(part.origin, held.origin)
