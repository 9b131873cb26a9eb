"""An exported model is the training's, wherever it lies; a damaged one is told in a line; Python and command agree."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command import layers, say, tree, write_image, write_npz

import inr_jax
from inr_jax import calibrate, likeness, places, restored, sealed
from inr_jax.errors import InputError
from inr_jax.main import main
from inr_jax.scan_io import read_scan

SEALED = {"config.json", "model.json", "population.json", "calibration.json", "weights.npz"}


@pytest.fixture(scope="module")
def exported(calibrated_model, tmp_path_factory):
    """A calibrated model's export, far from its training."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    assert main(["export", str(calibrated_model), str(folder), "--licence=CC-BY-4.0"]) == 0
    return folder


@pytest.fixture(scope="module")
def eye(calibrated_model, tmp_path_factory):
    """A test person's scan, alone in its file, at an oblique place."""
    folds = json.loads((calibrated_model / "config.json").read_text())["data"]["path"]
    with np.load(f"{folds}/dataset_flat_subsmpl32_test_fold1.npz") as file:
        voxels = file["oct_vols"][1].transpose(2, 0, 1)
        arrays = {"labels": file["seg_vols"][1].transpose(2, 0, 1)}
    h, w, d = 0.004, 0.06, 0.24
    arrays |= {"voxels": voxels, "spacing": np.array([d, h, w]), "origin": np.array([3.0, -4.0, 5.0])}
    arrays |= {"direction": np.array([0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1.0]), "laterality": "L"}
    return write_npz(tmp_path_factory.mktemp("eye") / "p5.npz", **arrays)


@pytest.fixture(scope="module")
def model(exported):
    return inr_jax.restore(exported)


@pytest.fixture(scope="module")
def result(model, eye):
    return model.adapt(inr_jax.load(eye), name="p5")


@pytest.fixture(scope="module")
def commanded(calibrated_model, exported, eye, tmp_path_factory):
    """What the command writes with the training itself; exporting it has left its statistics there."""
    out = tmp_path_factory.mktemp("commanded")
    assert main(["adapt", f"--workdir={calibrated_model}", str(eye), f"--output={out}", "--slices=9", "--name=p5"]) == 0
    return out / "p5"


@pytest.fixture(scope="module")
def from_python(result, tmp_path_factory):
    """The same of the exported model, by Python."""
    return result.save(tmp_path_factory.mktemp("python") / "p5", result.render(9))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_and_python_give_to_the_bit_what_the_training_and_the_command_give(commanded, from_python):
    assert (
        tree(commanded) - {"adapted.json"}
        == tree(from_python)
        >= {"intensity.nii.gz", "uncertainty.nii.gz", "likeness.csv"}
    )
    for name in sorted(name for name in tree(commanded) if name.endswith(".nii.gz")):
        images = [sitk.ReadImage(str(folder / name)) for folder in (commanded, from_python)]
        np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, images))
        assert len({(image.GetSpacing(), image.GetOrigin(), image.GetDirection()) for image in images}) == 1
    for name in ("modulation.npz", "thickness.npz"):
        with np.load(commanded / name) as first, np.load(from_python / name) as second:
            assert first.files == second.files
            for key in first.files:
                np.testing.assert_array_equal(first[key], second[key])
    for name in ("likeness.csv", "thickness.csv", "metrics.csv"):
        first, second = ([row | {"seconds": ""} for row in rows(folder / name)] for folder in (commanded, from_python))
        assert first == second


def test_an_exported_model_has_its_training_s_weights_calibration_and_population(calibrated_model, model):
    trained = inr_jax.restore(calibrated_model)
    assert calibrate.digest(trained) == calibrate.digest(model)
    assert trained.calibration.values == model.calibration.values
    assert model.known.quantiles.keys() == likeness.TRAITS.keys()
    assert model.known.people == 2
    np.testing.assert_array_equal(trained.half, model.half)


def test_nothing_exported_names_a_place_or_a_person(calibrated_model, exported):
    people = json.loads((calibrated_model / "calibration.json").read_text())["people"]
    names = [name for half in people for name in half]
    assert names
    written = b"".join(path.read_bytes() for path in sorted(exported.iterdir()) if path.name != "weights.npz")
    assert str(calibrated_model.parent).encode() not in written
    for name in names:
        assert json.dumps(name).encode() not in written
    assert json.loads((exported / "config.json").read_text())["data"]["path"] == ""


def test_the_card_says_what_it_is_for_where_it_is_from_and_under_which_terms(exported):
    card = (exported / "README.md").read_text()
    fingerprint = json.loads((exported / "model.json").read_text())["data"]["train"]
    for said in ("For research use, not for diagnosis", "CC-BY-4.0", fingerprint, "patient data", "2 of 2 people"):
        assert said in card


def test_files_are_sealed_but_for_the_card_which_may_be_added_to(exported, tmp_path):
    assert tree(exported) == SEALED | {"seal.json", "README.md"}
    folder = shutil.copytree(exported, tmp_path / "elsewhere" / "model")
    (folder / "README.md").write_text("and what we found")
    assert calibrate.digest(inr_jax.restore(folder)) == calibrate.digest(inr_jax.restore(exported))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flipped", "cut", "absent"])
@pytest.mark.parametrize("name", sorted(SEALED))
def test_a_damaged_file_is_named(name, damage, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "m")
    damage(folder / name)
    with pytest.raises(InputError, match=name) as error:
        inr_jax.restore(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1, "files": 3}', '{"format": 7, "files": {}}'])
def test_a_damaged_seal_is_told(content, exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "m")
    (folder / "seal.json").write_text(content)
    with pytest.raises(InputError, match=r"seal\.json"):
        inr_jax.restore(folder)


def test_weights_of_another_config_are_refused_though_they_are_sealed(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["width"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    sealed.write_seal(folder)
    with pytest.raises(InputError, match=r"weights\.npz: field/.*: expected .* by its config; found"):
        inr_jax.restore(folder)


def test_the_command_tells_a_damaged_model_in_one_line_and_writes_nothing(exported, eye, tmp_path, capsys):
    folder = shutil.copytree(exported, tmp_path / "m")
    cut(folder / "weights.npz")
    said = say(capsys, "adapt", f"--model={folder}", eye, f"--output={tmp_path / 'out'}", "--name=eye")
    assert "weights.npz: damaged" in said.error
    assert not (tmp_path / "out").exists()


def test_adapt_wants_a_training_or_a_model_and_not_both(exported, eye, tmp_path, capsys):
    output = f"--output={tmp_path / 'out'}"
    assert "found none" in say(capsys, "adapt", eye, output).error
    assert "found both" in say(capsys, "adapt", f"--model={exported}", f"--workdir={exported}", eye, output).error
    assert "expected a trained model" in say(capsys, "adapt", f"--model={tmp_path}", eye, output).error


def test_an_export_takes_no_other_s_folder_and_replaces_its_own(calibrated_model, exported, tmp_path, capsys):
    said = say(capsys, "export", calibrated_model, calibrated_model)
    assert "expected a folder that is empty, new or an exported model; found other files" in said.error
    (tmp_path / "mine").write_text("")
    assert "found other files" in say(capsys, "export", calibrated_model, tmp_path).error
    again = shutil.copytree(exported, tmp_path / "again")
    assert say(capsys, "export", calibrated_model, again, "--licence=ours").code == 0
    assert json.loads((again / "model.json").read_text())["licence"] == "ours"
    sealed.check_seal(again)


def test_two_folders_are_wanted_to_export_and_a_licence_of_one_line(calibrated_model, tmp_path, capsys):
    assert "found 1" in say(capsys, "export", calibrated_model).error
    said = say(capsys, "export", calibrated_model, tmp_path / "m", "--licence=a\nb")
    assert "--licence: expected a name or terms in one line" in said.error


# a model that was trained on a phantom


@pytest.fixture(scope="module")
def marked(toy_model, tmp_path_factory):
    """What a model of phantoms answers of a volume."""
    out = tmp_path_factory.mktemp("marked")
    eye = write_image(out / "eye.nii.gz", layers())
    assert main(["adapt", f"--workdir={toy_model}", str(eye), f"--output={out / 'out'}", "--name=eye"]) == 0
    return out / "out" / "eye"


def test_everything_that_a_model_of_phantoms_answers_is_marked(marked):
    for path in marked.glob("*.nii.gz"):
        assert sitk.ReadImage(str(path)).GetMetaData("descrip") == "trained on a phantom", path.name
    for path in marked.glob("*.csv"):
        assert {row["note"] for row in rows(path)} == {"trained on a phantom"}, path.name
    with np.load(marked / "modulation.npz") as file:
        assert str(file["note"]) == "trained on a phantom"
    assert "trained on a phantom, not on anybody" in (marked / "report.html").read_text()


def test_nothing_else_is_marked(commanded):
    assert sitk.ReadImage(str(commanded / "intensity.nii.gz")).GetMetaData("descrip").strip() == ""
    assert "note" not in rows(commanded / "metrics.csv")[0]
    assert "phantom" not in (commanded / "report.html").read_text()


SHIPPED = places.SHIPPED / "phantom"


def test_an_unknown_shipped_model_is_told():
    with pytest.raises(InputError, match=r"expected one of the shipped models .*; found nobody"):
        inr_jax.shipped("nobody")


def test_the_shipped_model_is_small_sealed_and_says_what_it_is():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 300_000
    sealed.check_seal(SHIPPED)
    model = inr_jax.restore(inr_jax.shipped("phantom"))
    assert model.mark == "trained on a phantom"
    assert replace(model, note="phantom, pathology").mark == model.mark
    assert not replace(model, note="within one subject").mark
    assert model.known is not None
    assert "It was trained on a phantom" in (SHIPPED / "README.md").read_text()


def test_the_shipped_model_answers_a_scan_and_marks_it(tmp_path, capsys):
    eye = write_image(tmp_path / "eye.nii.gz", layers())
    said = say(capsys, "adapt", "--model=phantom", eye, f"--output={tmp_path / 'out'}", "--name=eye")
    assert said.code == 0
    out = sitk.ReadImage(str(tmp_path / "out" / "eye" / "intensity.nii.gz"))
    assert out.GetMetaData("descrip") == "trained on a phantom"
    assert np.corrcoef(sitk.GetArrayFromImage(out).ravel(), layers().ravel())[0, 1] > 0.8


# what is asked of an adapted scan


def test_at_the_centre_of_a_voxel_is_what_was_rendered_there(result, eye):
    rendered, draw = result.render(9), np.random.default_rng(0)
    places = np.stack([draw.integers(n, size=40) for n in rendered.intensity.shape], -1)
    scan = read_scan(eye)
    image = sitk.GetImageFromArray(rendered.intensity)
    image.SetSpacing((scan.spacing[2], scan.spacing[1], scan.spacing[0] / 2))
    image.SetOrigin(scan.origin)
    image.SetDirection(scan.direction)
    mm = np.array([image.TransformIndexToPhysicalPoint(tuple(map(int, place[::-1]))) for place in places])
    found, at = result.at(mm), tuple(places.T)
    np.testing.assert_allclose(found.intensity, rendered.intensity[at], atol=1e-4)
    assert (found.probability.argmax(-1) == rendered.labels[at]).mean() > 0.95
    np.testing.assert_allclose(found.half_interval, rendered.doubt.half[at], rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(found.wrong, rendered.doubt.wrong[at], atol=1e-2)
    np.testing.assert_array_equal(found.measured, rendered.origin[at] == 1)
    np.testing.assert_allclose(found.probability.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("laterality", ["R", "L"])
def test_a_point_marked_in_a_scan_is_found_at_its_millimetre(laterality, model, eye):
    """A bright ball in the file: the brightest place asked is its place in mm as ITK tells it."""
    scan = read_scan(eye)
    voxels = 0.2 * scan.voxels
    voxels[2, 5:8, 2:5] = 1.0
    marked = restored.replace(scan, voxels=voxels, laterality=laterality)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(scan.spacing[::-1])
    image.SetOrigin(scan.origin)
    image.SetDirection(scan.direction)
    result = model.adapt(marked)
    asked = np.array([(w, h, 2) for h in range(16) for w in range(12)])
    mm = np.array([image.TransformIndexToPhysicalPoint(tuple(map(int, one))) for one in asked])
    brightest = asked[result.at(mm).intensity.argmax()]
    assert np.abs(brightest - (3, 6, 2)).max() <= 1
    fine = result.render(spacing=(None, scan.spacing[1] / 2, scan.spacing[2] / 2))
    assert np.abs(np.unravel_index(fine.intensity[2].argmax(), fine.intensity.shape[1:]) - np.array([12, 6])).max() <= 2


def test_outside_the_scan_s_depth_and_the_model_s_box_nothing_is_known(result):
    centre = result.scan.origin + np.array(result.scan.direction).reshape(3, 3) @ (0.3, 0.03, 0.4)
    down = np.array(result.scan.direction).reshape(3, 3)[:, 1]
    found = result.at(np.stack([centre, centre + 1.0 * down, centre + np.array([90.0, 0, 0])]))
    assert np.isfinite(found.intensity).tolist() == [True, False, False]
    assert np.isfinite(found.probability).all(-1).tolist() == [True, False, False]
    assert not found.measured[1:].any()
    assert len(result.at(np.zeros((0, 3))).intensity) == 0
    for wrong in (np.zeros(3), np.zeros((2, 2)), np.array([[0, 0, np.nan]])):
        with pytest.raises(InputError, match="at: expected finite places"):
            result.at(wrong)


def test_another_spacing_spans_the_same_place(result, tmp_path):
    d, h, w = result.scan.spacing
    fine = result.render(spacing=(d / 3, None, w * 2))
    result.save(tmp_path / "fine", fine)
    image = sitk.ReadImage(str(tmp_path / "fine" / "intensity.nii.gz"))
    np.testing.assert_allclose(image.GetSpacing(), (2 * w, h, d / 3), rtol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), result.scan.origin, rtol=1e-5)
    own = result.own.intensity
    assert image.GetSize() == (len(range(0, own.shape[2], 2)), own.shape[1], 3 * (len(own) - 1) + 1)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image)[::3], own[:, :, ::2], atol=1e-4)
    for wrong in ((0, 1, 1), (1, -1, 1), (np.nan, 1, 1), (1, 1)):
        with pytest.raises(InputError, match="spacing: expected three positive mm"):
            result.render(spacing=wrong)
    with pytest.raises(InputError, match="spacing: expected at most"):
        result.render(spacing=(1e-6, 1e-6, 1e-6))


def test_thickness_is_that_of_the_rendered_labels_in_um_with_an_interval(result):
    found, own = result.thickness("Layer 2"), result.own
    np.testing.assert_allclose(found.um, (own.labels == 2).sum(axis=1) * 4.0, rtol=1e-5)
    assert found.half_interval_um.shape == found.um.shape
    assert (found.half_interval_um[np.isfinite(found.half_interval_um)] > 0).all()
    half_as_far = result.thickness("layer 2", result.render(spacing=(None, 0.002, None)))
    assert np.abs(half_as_far.um - found.um).mean() < 4.0
    with pytest.raises(InputError, match=r"thickness: expected one of layer 1, .*; found 'background'"):
        result.thickness("background")


# is a scan like those that the model knows?


def test_the_validation_scans_are_like_themselves_and_a_sparse_or_larger_one_is_not(model):
    own = {name: quantiles[likeness.MEDIAN] for name, quantiles in model.known.quantiles.items()}
    assert not any(one.unlike for one in likeness.judged(model.known, own))
    many = model.known._replace(people=20)
    sparse = own | {"bscan_spacing": 3 * own["bscan_spacing"], "residual": own["residual"] / 50}
    unlike = [one for one in likeness.judged(many, sparse) if one.unlike]
    assert [one.trait for one in unlike] == ["bscan_spacing"]  # that little is left is no warning
    assert unlike[0].spreads == pytest.approx(np.log(3) / likeness.LEAST, rel=1e-3)
    assert f"the distance of its B-scans is {3 * own['bscan_spacing']:.3g} mm" in unlike[0].sentence
    assert f"({unlike[0].spreads:+.1f} spreads" in unlike[0].sentence


def test_how_far_is_too_far_is_the_prediction_interval_of_few_people(model):
    """Of draws of one Gaussian, a thousandth or so is called unlike the others, however few the others are."""
    draw, called = np.random.default_rng(0), 0
    for _ in range(400):
        logs = draw.normal(0, 0.5, size=9)
        quantiles = tuple(np.exp(np.quantile(logs[:8], likeness.LEVELS)))
        known = likeness.Likeness("", 8, {"contrast": quantiles})
        called += likeness.judged(known, {"contrast": float(np.exp(logs[8]))})[0].unlike
    assert called <= 8


def test_a_scan_unlike_the_population_is_flagged_in_its_files_and_on_the_screen(model, eye, tmp_path, capsys):
    scan = read_scan(eye)
    near = restored.replace(scan, spacing=(0.24, 0.0004, 0.06))
    found = restored.replace(model, known=model.known._replace(people=20)).adapt(near)
    folder = found.save(tmp_path / "near")
    flagged = {row["trait"] for row in rows(folder / "likeness.csv") if row["unlike"] == "True"}
    assert {"row_spacing", "depth"} <= flagged
    assert any("the distance of its rows is 0.0004 mm" in remark for remark in found.remarks)
    page = (folder / "report.html").read_text()
    assert "the distance of its rows is 0.0004 mm" in page
    assert "no, see the remarks" in page


def test_statistics_of_other_weights_are_not_taken_for_a_model_s_own(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "m")
    content = json.loads((folder / "population.json").read_text())
    (folder / "population.json").write_text(json.dumps(content | {"model": "0" * 64}))
    sealed.write_seal(folder)
    assert inr_jax.restore(folder).known is None


def test_a_spacing_on_the_command_line_is_three_mm_of_which_some_may_be_left_out(exported, eye, tmp_path, capsys):
    arguments = ("adapt", f"--model={exported}", eye, f"--output={tmp_path / 'out'}", "--name=eye")
    assert say(capsys, *arguments, "--spacing=0.12,,0.12").code == 0
    image = sitk.ReadImage(str(tmp_path / "out" / "eye" / "intensity.nii.gz"))
    np.testing.assert_allclose(image.GetSpacing(), (0.12, 0.004, 0.12), rtol=1e-5)
    for wrong in ("0.1", "0.1,0.1,a", ",,,"):
        assert "--spacing: expected three mm" in say(capsys, *arguments, f"--spacing={wrong}").error
    assert "expected one of --slices, --spacing" in say(capsys, *arguments, "--spacing=,,", "--slices=3").error


def test_planes_that_stand_oblique_are_answered_voxel_by_voxel_alike(result):
    """A B-scan on its side has no column at one place en face."""
    index = np.stack(np.broadcast_arrays(1.5, *np.ogrid[:16, :12]), -1).astype(float)
    upright, lying = result.answered.plane(index), result.answered.plane(index.transpose(1, 0, 2))
    np.testing.assert_allclose(lying.intensity.T, upright.intensity, atol=1e-5)
    np.testing.assert_allclose(lying.stated.half.T, upright.stated.half, rtol=1e-3)
    np.testing.assert_array_equal(lying.origin.T, upright.origin)
    assert lying.thickness is None
    assert upright.thickness is not None
