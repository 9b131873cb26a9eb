"""What an evaluation writes of a scan lies where the scan lay."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from synthetic import image_population, layered_population

from configs import default
from inr_jax import command_flags, data, evaluate, metrics, preprocessing
from inr_jax.baselines import Prediction
from inr_jax.errors import InputError
from inr_jax.phantom import make_eye
from inr_jax.preprocessing import frame, prepare, stack
from inr_jax.scan import Scan
from inr_jax.trained import Answers

CLASSES = ("background", "a", "b")
TURNED = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def left_eye() -> Scan:
    """A smooth scan of a left eye, turned and away from the origin."""
    voxels = gaussian_filter(np.random.default_rng(0).random((5, 24, 12)), (0, 3, 2)).astype(np.float32)
    labels = np.digitize(voxels, np.quantile(voxels, [0.3, 0.7])).astype(np.int32)
    return Scan(voxels, (0.24, 0.004, 0.06), (1.0, -2.0, 3.0), TURNED, labels=labels, laterality="L", name="eye")


def echoed(population) -> Answers:
    """The answers of a model that repeats what it was given."""
    return Answers(population.intensity, population.intensity, population.labels, [], [])


def test_a_left_eyes_volume_is_written_where_and_as_it_was(tmp_path):
    scan = left_eye()
    upright, undo = prepare(scan, mirror=True, align=False)
    assert not np.array_equal(upright.voxels, scan.voxels)
    population = stack([upright], measured=np.ones(5, bool), classes=CLASSES, note="", frames=[frame(scan, undo)])
    evaluate.write_scan(tmp_path, population, echoed(population), CLASSES, 0)
    image, labels = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("intensity", "segmentation"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), scan.voxels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), scan.labels)
    for written in (image, labels):
        np.testing.assert_allclose(written.GetOrigin(), scan.origin, atol=1e-6)
        np.testing.assert_allclose(written.GetDirection(), scan.direction, atol=1e-6)
        np.testing.assert_allclose(written.GetSpacing(), scan.spacing[::-1], rtol=1e-6)


def test_the_motion_that_was_taken_out_of_a_phantom_eye_is_put_back(tmp_path):
    """Repeating the aligned measured B-scans gives the scan as it was measured, not the aligned one."""
    options = {"people": (1, 1, 1), "eyes": 2, "shape": (9, 96, 48), "motion": 3.0}
    config = default.data()
    config.phantom_oct.update(options)
    population = data.load(config, "test")
    measured = population.measured.all((1, 2))
    for i, laterality in enumerate("RL"):
        folder = tmp_path / laterality
        folder.mkdir()
        evaluate.write_scan(folder, population, echoed(population), population.classes, i)
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "intensity.nii.gz")))[measured]
        eye = make_eye(person=2, laterality=laterality, shape=(9, 96, 48), motion=3.0).noisy[measured]
        aligned = population.intensity[i, ..., 0][measured][..., :: 1 if laterality == "R" else -1]
        inner = (slice(None), slice(16, -16))
        assert np.abs(written - eye)[inner].mean() < 0.4 * np.abs(aligned - eye)[inner].mean()


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_image_is_written_the_way_round_it_was(tmp_path, mirrored):
    population = image_population(count=1)
    population = population._replace(frames=(preprocessing.image_frame(mirrored),))
    evaluate.write_scan(tmp_path, population, echoed(population), population.classes, 0)
    order = slice(None, None, -1 if mirrored else 1)
    files = [tmp_path / "intensity.png", tmp_path / "segmentation.png"]
    image, labels = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files)
    np.testing.assert_allclose(image / 255, population.intensity[0][:, order], atol=0.003)
    np.testing.assert_array_equal(labels, 255 * population.labels[0][:, order])


def shifted(population) -> Prediction:
    """The truth, labels one row too deep."""
    return Prediction(population.truth, np.roll(population.truth_labels, 1, axis=2), "", [1.0] * 4)


def test_every_scan_method_kind_and_label_has_its_row_and_the_means_of_labels_stand_with_the_scan():
    eyes = layered_population()
    predictions = {"ours": shifted(eyes), "linear": Prediction(eyes.intensity, None, "")}
    rows, layers = evaluate.score_all(eyes, predictions, split="test", layered=True)
    assert len(rows) == 2 * 4 * 2
    assert len(layers) == 4 * 2 * 3  # of the method that predicts labels
    assert {(row["split"], row["person"]) for row in rows + layers} == {("test", "p0"), ("test", "p1")}
    ours, linear = rows[0], rows[8]
    own = [row for row in layers if (row["subject"], row["kind"]) == (ours["subject"], ours["kind"])]
    assert ours["hd_px"] == pytest.approx(np.mean([row["hd_px"] for row in own]))
    assert 0 < ours["assd_px"] <= 1
    assert "assd_px" not in linear
    assert linear["gmsd"] > ours["gmsd"] == 0


def test_labels_that_are_no_layers_have_no_borders():
    eyes = layered_population(people=1, eyes=1)
    rows, layers = evaluate.score_all(eyes, {"ours": shifted(eyes)}, split="test", layered=False)
    assert layers == []
    assert not {"assd_px", "thickness_mae_um"} & set(rows[0])


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("layered", [True, False])
@pytest.mark.parametrize("rows", [10, 11])
@pytest.mark.parametrize("conventions", metrics.CONVENTIONS)
def test_what_is_said_to_be_undefined_is_what_has_no_score(labelled, layered, rows, conventions):
    eyes = layered_population(people=1, eyes=1, shape=(5, rows, 16))
    ours = shifted(eyes)
    eyes = eyes if labelled else eyes._replace(labels=None, truth_labels=None)
    scores, layers = evaluate.score_all(
        eyes, {"a": ours}, split="test", layered=layered, scoring=evaluate.Scoring(conventions)
    )
    said = metrics.undefined(eyes, bool(layers), conventions)
    watched = ("psnr", "ssim", "ms_ssim", "gmsd", "dice", "assd_um", "hd95_um", "thickness_mae_um")
    assert set(said) == {m for m in watched if all(np.isnan(row.get(m, np.nan)) for row in scores)}
    assert said.get("dice") == (None if labelled else "no labels in these scans")
    small = f"slices of {rows} x 16 pixels are smaller than its window of 11 x 11"
    assert said.get("ms_ssim") == (small if rows == 10 else None)


def test_of_images_it_is_said_that_loose_pixels_have_no_structure():
    images = image_population(size=24)
    said = metrics.undefined(images, layered=False)
    assert said["ssim"] == "of all pixels alone, loose ones have no neighbourhood"
    assert said["assd_um"] == "labels of these scans are not scored as layers of A-scans"
    assert "ssim" not in metrics.undefined(images._replace(measured=np.ones((24, 24), bool)), layered=False)


def test_the_flag_offers_the_conventions_that_there_are_and_others_are_refused():
    assert tuple(command_flags.FLAGS["conventions"].options["enum_values"]) == metrics.CONVENTIONS
    eyes = layered_population(people=1, eyes=1, shape=(3, 20, 16))
    with pytest.raises(InputError, match="conventions: expected one of inr_jax, interp_oct; found theirs"):
        evaluate.score_all(eyes, {"a": shifted(eyes)}, split="test", layered=False, scoring=evaluate.Scoring("theirs"))
