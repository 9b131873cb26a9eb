"""`inr-jax validate`: nothing of a left-out B-scan is seen, everything is in place, and what is missing is told."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from command import SHAPE, SPACING, layers, say, tree, write_image, write_npz
from synthetic import layered_population

from inr_jax import validate as validation
from inr_jax.config_script import load_config
from inr_jax.errors import InputError
from inr_jax.scan import Scan
from inr_jax.validate import kept_bscans, last_kept, validate, verdict

SMALL = (
    "--config.model.width=16", "--config.model.depth=2", "--config.adapt.epochs=2", "--config.adapt.draws=3",
    "--config.adapt.points=128", "--quick",
)  # fmt: skip


def small():
    config = load_config("configs/single.py")
    config.model.update(width=16, depth=2)
    config.adapt.update(epochs=2, draws=3, points=128)
    return config


def dense(bscans: int = 8, **changes) -> dict:
    """A scan of layers with labels and an SLO, as arrays of an .npz file."""
    scans = layered_population(people=1, eyes=1, shape=(bscans, 24, 20))
    places = np.stack(np.meshgrid(np.arange(bscans) * 0.24, np.arange(20) * 0.06, indexing="ij"), -1)
    slo = np.random.default_rng(0).random((bscans, 20)).astype(np.float32)
    known = dict(
        voxels=scans.intensity[0, ..., 0], labels=scans.labels[0], spacing=np.array([0.24, 0.004, 0.06]), slo=slo,
        slo_spacing=np.array([0.24, 0.06]), ascans_on_slo=places,
    )  # fmt: skip
    return known | changes


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("eye") / "eye.npz", **dense())


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def found(eye, output):
    return validate([str(eye)], output, keep_every=3, config=small(), quick=True)[0]


def test_tables_and_a_report_stand_in_a_folder_of_the_scan_s_name(found, output):
    assert {"metrics.csv", "layers.csv", "summary.csv", "report.html", "intensity.nii.gz"} <= tree(output / "eye")
    with (output / "eye" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} == {"fitted", "interpolated"}
    assert {row["split"] for row in rows} == {"keep every 3"}
    page = (output / "eye" / "report.html").read_text()
    assert "eye: one B-scan of 3 kept" in page
    assert "2 epochs" in page


def test_every_method_but_the_oracle_says_the_same_whatever_the_left_out_b_scans_hold(found, tmp_path):
    arrays = dense()
    left_out = np.arange(8) % 3 != 0
    arrays["voxels"] = arrays["voxels"].copy()
    arrays["voxels"][left_out] = np.random.default_rng(1).random((left_out.sum(), 24, 20)) * 9 - 4
    arrays["labels"] = np.where(left_out[:, None, None], 1, arrays["labels"])
    other = write_npz(tmp_path / "eye.npz", **arrays)
    again = validate([str(other)], tmp_path / "out", keep_every=3, config=small(), quick=True)[0]
    assert {"linear", "cubic", "inr_jax, 2 epochs"} < set(found.predictions)
    for name, prediction in found.predictions.items():
        if prediction.intensity is not None:
            np.testing.assert_array_equal(prediction.intensity, again.predictions[name].intensity, err_msg=name)
    own = found.predictions["inr_jax, 2 epochs"].labels
    np.testing.assert_array_equal(own, again.predictions["inr_jax, 2 epochs"].labels)


def test_kept_b_scans_are_measured_and_the_rest_up_to_the_last_of_them_is_asked(found):
    measured = found.population.measured.all(axis=(1, 2))
    np.testing.assert_array_equal(measured, [True, False, False, True, False, False, True])
    linear = found.predictions["linear"].intensity[0]
    np.testing.assert_array_equal(linear[measured], found.population.intensity[0][measured])


def test_kept_b_scans_lie_where_they_lay():
    scan = Scan(layers((11, 8, 9)), SPACING, origin=(3.0, 4.0, 5.0), labels=np.zeros((11, 8, 9), int))
    kept = kept_bscans(scan, 4)
    np.testing.assert_array_equal(kept.voxels, scan.voxels[[0, 4, 8]])
    assert kept.labels.shape == (3, 8, 9)
    assert kept.spacing == (4 * SPACING[0], *SPACING[1:])
    assert kept.origin == scan.origin
    bare = replace(scan, labels=None)
    assert [last_kept(replace(bare, voxels=scan.voxels[:n]), 4) for n in (8, 9, 11)] == [4, 8, 8]


def test_the_answer_is_written_where_the_scan_lies_and_in_its_units(tmp_path):
    voxels = 1000 + 500 * layers((8, *SHAPE[1:]))
    eye = write_image(tmp_path / "eye.nii.gz", voxels, SPACING, origin=(5.0, -3.0, 2.0))
    validate([str(eye)], tmp_path / "out", keep_every=2, config=small(), quick=True)
    image = sitk.ReadImage(str(tmp_path / "out" / "eye" / "intensity.nii.gz"))
    np.testing.assert_allclose(image.GetOrigin(), (5.0, -3.0, 2.0), atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), SPACING[::-1], rtol=1e-6)
    assert image.GetSize()[::-1] == (7, *SHAPE[1:])
    found = sitk.GetArrayFromImage(image)
    assert 1000 <= found.min() < found.max() <= voxels[::2].max()


def test_a_label_that_no_kept_b_scan_has_is_scored_as_missed(tmp_path):
    arrays = dense()
    arrays["labels"] = arrays["labels"].copy()
    arrays["labels"][1, 5:9, 5:9] = 4
    eye = write_npz(tmp_path / "eye.npz", **arrays)
    found = validate([str(eye)], tmp_path / "out", keep_every=2, config=small(), quick=True)[0]
    row = next(row for row in found.rows if row["kind"] == "interpolated")
    assert row["dice_label 4"] < 0.1


def test_a_scan_without_labels_and_slo_is_scored_on_intensities(tmp_path, capsys):
    eye = write_image(tmp_path / "bare.nii.gz", layers((8, *SHAPE[1:])), SPACING)
    said = say(capsys, "validate", eye, "--keep-every=2", f"--output={tmp_path / 'out'}", *SMALL)
    assert said.code == 0
    assert "one scan, between the kept B-scans: inr_jax, 2 epochs" in said.out
    assert not (tmp_path / "out" / "bare" / "layers.csv").exists()
    with (tmp_path / "out" / "bare" / "metrics.csv").open() as file:
        assert all(row["dice"] == "" for row in csv.DictReader(file))


def test_a_second_validation_replaces_the_first(tmp_path, capsys):
    eye = write_image(tmp_path / "bare.nii.gz", layers((8, *SHAPE[1:])), SPACING)
    command = ("validate", eye, f"--output={tmp_path / 'out'}", *SMALL)
    assert say(capsys, *command, "--keep-every=2").code == 0
    written = tree(tmp_path)
    (tmp_path / "out" / "bare" / "layers.csv").write_text("of a scan with labels")
    (tmp_path / "out" / "bare" / "notes.txt").write_text("mine")
    assert say(capsys, *command, "--keep-every=3").code == 0
    assert tree(tmp_path) == written | {"out/bare/notes.txt"}
    assert "keep every 3" in (tmp_path / "out" / "bare" / "metrics.csv").read_text()


def test_labels_and_slo_beside_an_image_are_used(tmp_path):
    arrays = dense()
    write_image(tmp_path / "eye.nii.gz", arrays["voxels"], (0.24, 0.004, 0.06))
    write_image(tmp_path / "eye_labels.nii.gz", arrays["labels"].astype(np.uint8), (0.24, 0.004, 0.06))
    found = validate([str(tmp_path / "eye.nii.gz")], tmp_path / "out", keep_every=2, config=small(), quick=True)[0]
    assert found.population.classes == ("background", "label 1", "label 2", "label 3")
    assert np.isfinite(found.rows[0]["dice"])


def test_a_trained_model_adapts_to_the_kept_b_scans(toy_model, tmp_path, capsys):
    eye = write_npz(tmp_path / "eye.npz")
    said = say(capsys, "validate", eye, f"--workdir={toy_model}", f"--output={tmp_path / 'out'}", "--quick")
    assert said.code == 0
    assert "inr_jax, 2 steps" in said.out


def test_the_verdict_compares_what_was_not_seen_with_the_best_that_is_no_oracle():
    def row(method, kind, psnr):
        return {"method": method, "kind": kind, "psnr": psnr}

    rows = [
        row("inr_jax, 5 steps", "fitted", 40.0), row("inr_jax, 5 steps", "interpolated", 26.0),
        row("linear", "interpolated", 25.25), row("cubic", "interpolated", 24.0), row("atlas", "interpolated", np.nan),
        row("oracle: all", "interpolated", 50.0), row("linear", "fitted", np.inf),
    ]  # fmt: skip
    assert verdict(rows).endswith("inr_jax, 5 steps 26.00 dB, the best without a model 25.25 dB (linear): +0.75 dB")


BAD = {
    "no scan": ((), ("expected at least one SCAN",)),
    "absent": (("absent.npz",), ("absent.npz: no such file",)),
    "twice": (("{eye}", "{eye}"), ("name: eye is that of a scan in", "too")),
    "all kept": (("{eye}", "--keep-every=1"), ("--keep-every: expected a whole number of 2 or more; found '1'",)),
    "too few": (("{eye}", "--keep-every=4"), ("eye: expected 9 or more B-scans", "found 8")),
    "a config with stages": (("{eye}", "--config=configs/oct.py"), ("train.stages: expected none; found autodecoder",)),
    "both": (("{eye}", "--workdir={model}", "--config.adapt.epochs=3"), ("expected --workdir", "found both")),
    "no training": (("{eye}", "--workdir=absent"), ("expected a trained model",)),
    "cut short": (("{cut}",), ("not an .npz file",)),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_validated_is_told_in_one_line_and_nothing_is_written(kind, eye, toy_model, tmp_path, capsys):
    arguments, words = BAD[kind]
    (tmp_path / "cut.npz").write_bytes(eye.read_bytes()[:500])
    filled = [a.format(eye=eye, model=toy_model, cut=tmp_path / "cut.npz") for a in arguments]
    said = say(capsys, "validate", *filled, f"--output={tmp_path / 'out'}")
    assert all(word in said.error for word in words), said.error
    assert tree(tmp_path) == {"cut.npz"}


def test_no_more_voxels_than_enough_are_tuned_on(monkeypatch, tmp_path):
    """Of 8 kept B-scans the middle four, where four hold as many voxels as are taken."""
    seen = []
    monkeypatch.setattr(validation, "TUNED_ON", 4 * 24 * 20)
    monkeypatch.setattr(
        validation.baselines, "all_baselines", lambda train, validation, test, quick: seen.append(validation) or {}
    )
    arrays = dense(15)
    kept = Scan(arrays["voxels"][::2].astype(np.float32), (0.48, 0.004, 0.06))
    population = validation._population(kept, (), (0.0, 1.0), 2)
    validation._baselines(population, kept, (0.0, 1.0), False)
    np.testing.assert_array_equal(seen[0].intensity[0, ..., 0], np.clip(kept.voxels[2:6], 0, 1))


def test_a_scan_of_too_few_b_scans_is_refused_by_name():
    scan = Scan(layers((6, 8, 9)), SPACING, name="short")
    with pytest.raises(InputError, match="short: expected 7 or more B-scans, to keep 3 by --keep-every=3; found 6"):
        validation._check(scan, 3)
