"""What an evaluation writes of a scan lies where the scan lay."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from synthetic import image_population

from configs import default
from inr_jax import data, evaluate, preprocessing
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
