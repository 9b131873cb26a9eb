"""Layers that somebody has drawn go back into an adaptation, whatever file they are in."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import scan_files
from command import SHAPE, SPACING, layers, say, write_image

import inr_jax
from inr_jax import cropping, given_layers, grids, metrics, surfaces
from inr_jax.errors import InputError
from inr_jax.phantom import CLASSES, SURFACES
from inr_jax.scan import Scan, checked_labels
from inr_jax.scan_io import write_labels
from inr_jax.tables import write_csv

NINE = ("outside", "A", "B", "C")


def stacked(shape=(5, 48, 24), classes: int = 4) -> np.ndarray:
    """Labels of layers one below the other, whose depth changes from place to place."""
    bscans, rows, columns = np.indices(shape)
    depth = rows - (8 + bscans + columns // 6)
    return np.where((depth >= 0) & (depth < 4 * (classes - 1)), depth // 4 + 1, 0).astype(np.int32)


def scan_of(labels: np.ndarray) -> Scan:
    return Scan(layers(labels.shape), SPACING, labels=labels, name="eye")


def test_labels_are_what_lies_between_their_own_surfaces():
    labels = stacked()
    rows = surfaces.of_labels(labels, surfaces.layers_of(NINE))
    back = given_layers.of_surfaces(surfaces.names_of(NINE), rows, 48, NINE, "x")
    np.testing.assert_array_equal(back, labels)


def test_next_to_a_surface_that_is_not_known_no_label_is():
    labels = stacked()
    rows = surfaces.of_labels(labels, surfaces.layers_of(NINE))
    rows[1, 2] = np.nan  # between A and B, in one B-scan
    rows[:, 3] = np.nan
    back = given_layers.of_surfaces(surfaces.names_of(NINE), rows, 48, NINE, "x")
    np.testing.assert_array_equal(back[[0, 1, 4]], labels[[0, 1, 4]])
    np.testing.assert_array_equal(back[2], np.where(np.isin(labels[2], (1, 2)), -1, labels[2]))
    assert (back[3] == -1).all()


def test_surfaces_of_other_programs_are_known_by_what_lies_above_them():
    labels = stacked(classes=11)
    rows = surfaces.of_labels(labels, surfaces.layers_of(CLASSES))
    some = [0, 1, 4, 10]
    back = given_layers.of_surfaces(("ILM", "RNFL", "INL", "BM"), rows[some], 48, CLASSES, "x")
    expected = np.where(np.isin(labels, (0, 1)), labels, -1)  # layers 2 to 4, and 5 to 10, cannot be told apart
    np.testing.assert_array_equal(back, expected)
    with pytest.raises(InputError, match=r"x: layers: expected surfaces among ILM, .*; found cornea"):
        given_layers.of_surfaces(("cornea",), rows[:1], 48, CLASSES, "x")


@pytest.fixture(scope="module")
def model(toy_model):
    return inr_jax.restore(toy_model)


@pytest.fixture(scope="module")
def scan():
    return replace(scan_of(stacked(SHAPE, 11)), labels=None, laterality="R")


@pytest.fixture(scope="module")
def saved(model, scan, tmp_path_factory):
    """What adapt writes of the scan, with twice as many B-scans as it has."""
    result = model.adapt(scan)
    return result.save(tmp_path_factory.mktemp("saved") / "eye", result.render(9)), result.own


def test_the_table_that_adapt_writes_gives_its_labels_back(saved, model, scan):
    folder, own = saved
    back = given_layers.read(folder / "surfaces.csv", scan, model.classes)
    assert (back > 0).any()
    rows = surfaces.of_labels(own.labels, surfaces.layers_of(model.classes))
    expected = given_layers.of_surfaces(SURFACES, rows, scan.voxels.shape[1], model.classes, "x")
    np.testing.assert_array_equal(back, expected)


def test_bscans_that_a_table_leaves_out_are_not_known(saved, model, scan, tmp_path):
    with (saved[0] / "surfaces.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["bscan"]) in (0.0, 3.0)]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    back = given_layers.read(tmp_path / "mine.csv", scan, model.classes)
    assert np.flatnonzero((back >= 0).any(axis=(1, 2))).tolist() == [0, 3]
    (tmp_path / "cut.csv").write_text("bscan,ascan_mm,ILM_um\n0,0,here\n")
    with pytest.raises(InputError, match=r"cut\.csv: layers: expected a table as adapt writes surfaces\.csv"):
        given_layers.read(tmp_path / "cut.csv", scan, model.classes)
    (tmp_path / "beyond.csv").write_text(f"x_mm,y_mm,z_mm,ILM_um\n0,0,{9 * scan.spacing[0]},1\n")
    with pytest.raises(InputError, match=r"beyond\.csv: layers: expected B-scans and A-scans within \(5, 24\)"):
        given_layers.read(tmp_path / "beyond.csv", scan, model.classes)


def test_an_image_and_an_xml_of_surfaces_are_read_as_the_same_labels(model, scan, tmp_path):
    labels = stacked(SHAPE, 11)
    geometry = (scan.spacing, scan.origin, scan.direction)
    write_labels(tmp_path / "a.nii.gz", labels, *geometry, model.classes)
    np.testing.assert_array_equal(given_layers.read(tmp_path / "a.nii.gz", scan, model.classes), labels)
    some = np.where(np.arange(5)[:, None, None] == 2, labels, -1).astype(np.int16)
    write_image(tmp_path / "some.nii.gz", some, scan.spacing)
    np.testing.assert_array_equal(given_layers.read(tmp_path / "some.nii.gz", scan, model.classes), some)
    rows = surfaces.of_labels(labels, surfaces.layers_of(model.classes))[[0, 1, 10]]
    names = ("ILM (ILM)", "RNFL-GCL (RNFL-GCL)", "Outer boundary of RPE (OB_RPE)")
    xml = scan_files.oct_explorer(tmp_path / "s.xml", rows, names, ())
    expected = np.where(labels <= 1, labels, -1)
    np.testing.assert_array_equal(given_layers.read(xml, scan, model.classes), expected)
    write_image(tmp_path / "other.nii.gz", labels, (1.0, *scan.spacing[1:]))
    with pytest.raises(InputError, match=r"other\.nii\.gz: layers: expected voxels of the scan, \(5, 48, 24\)"):
        given_layers.read(tmp_path / "other.nii.gz", scan, model.classes)


def test_layers_of_what_was_kept_of_a_scan_go_to_their_places_in_it(model, scan, tmp_path):
    kept = cropping.cropped(scan, slice(1, 4), slice(5, 45), slice(2, 20))
    labels = stacked(SHAPE, 11)
    expected = np.full(SHAPE, -1)
    expected[1:4, 5:45, 2:20] = labels[1:4, 5:45, 2:20]
    write_labels(
        tmp_path / "kept.nii.gz", expected[1:4, 5:45, 2:20], kept.spacing, kept.origin, kept.direction, model.classes
    )
    np.testing.assert_array_equal(given_layers.read(tmp_path / "kept.nii.gz", scan, model.classes), expected)
    rows, named = surfaces.of_labels(labels, surfaces.layers_of(model.classes)), surfaces.names_of(model.classes)
    labels, at = given_layers.of_surfaces(named, rows, 48, model.classes, "x"), np.zeros((3, 18, 2))
    table = surfaces.rows(
        rows[:, 1:4, 2:20] - 5, named, grids.of_scan(kept), np.arange(3.0), kept.spacing[0] * np.arange(3), at
    )
    write_csv(table, tmp_path / "kept.csv")
    back = given_layers.read(tmp_path / "kept.csv", scan, model.classes)
    np.testing.assert_array_equal(back[1:4, :, 2:20], labels[1:4, :, 2:20])
    assert (np.delete(back, [1, 2, 3], axis=0) == -1).all()


def test_unknown_labels_pass_where_they_are_allowed_alone():
    labels = np.array([-1, 0, 2])
    np.testing.assert_array_equal(checked_labels(labels, 3, "x", unknown=True), labels)
    for wrong, unknown in ((labels, False), (labels - 1, True)):
        with pytest.raises(InputError, match="x: labels: expected"):
            checked_labels(wrong, 3, "x", unknown=unknown)


def test_layers_that_are_given_move_the_answer_towards_them_and_it_is_told(model, scan):
    labels = stacked(SHAPE, 11)
    given = np.where(np.isin(np.arange(5), (1, 3))[:, None, None], labels, -1)
    config = model.config.copy_and_resolve_references()
    config.fit.update({"steps": 60, "points": 1024, "weights_steps": 0, "rate": 0.03})
    config.hyper.context_segmentation = 1.0
    fitting = replace(model, config=config)
    without, taught = fitting.adapt(scan, fit=True), fitting.adapt(scan, layers=given)
    some = np.isin(np.arange(5), (1, 3))
    before, after = (metrics.dice(r.own.labels[some], labels[some], 13) for r in (without, taught))
    assert np.nanmean(after) > np.nanmean(before)
    assert "layers were given, and learned from, of B-scans 2, 4 (from 1): scores of labels are no test there" in (
        taught.remarks
    )
    assert not any("layers were given" in remark for remark in without.remarks)


def test_the_command_takes_layers_of_one_scan(saved, toy_model, scan, tmp_path, capsys):
    eye = write_image(tmp_path / "eye.nii.gz", scan.voxels, scan.spacing)
    flags = (f"--workdir={toy_model}", f"--output={tmp_path / 'out'}", f"--layers={saved[0] / 'surfaces.csv'}")
    assert say(capsys, "adapt", eye, *flags, "--name=e").code == 0
    assert "layers were given" in (tmp_path / "out" / "e" / "report.html").read_text()
    assert str(saved[0]) not in (tmp_path / "out" / "e" / "adapted.json").read_text()
    assert "--layers: expected one scan; found 2" in say(capsys, "adapt", eye, eye, *flags).error
