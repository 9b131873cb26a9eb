"""A scan comes back in its own geometry and units, whatever way it was held, and whoever else is in the file."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import toy
from command import SHAPE, SPACING, layers, say, tree, untrained, write_image, write_npz, write_population

from inr_jax import data, measurements, new_scan, preprocessing, slo_registration, trained
from inr_jax.config_script import load_config
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.main import main
from inr_jax.model import Signal
from inr_jax.new_scan import as_population, unit_range
from inr_jax.phantom import CLASSES, LAYERS, SURFACES, make_eye
from inr_jax.prepare import prepare
from inr_jax.result import adapt
from inr_jax.scan import Scan
from inr_jax.scan_io import read_scan

FILES = {
    "adapted.json",
    "etdrs.csv",
    "surfaces",
    *(f"surfaces/{name}.nii.gz" for name in SURFACES),
    "surfaces.csv",
    "thickness_maps",
    *(f"thickness_maps/{name}.nii.gz" for name in (*LAYERS, "retina")),
    "thickness_maps.png",
    "thickness_maps.csv",
    "intensity.nii.gz",
    "measured.ctbl",
    "measured.nii.gz",
    "measured.txt",
    "metrics.csv",
    "modulation.npz",
    "report.html",
    "segmentation.ctbl",
    "segmentation.nii.gz",
    "segmentation.txt",
}
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def model(toy_model):
    return trained.restore(toy_model)


@pytest.fixture(scope="module")
def written(toy_model, tmp_path_factory):
    """An oblique volume, adapted with more slices than it has, and what was said."""
    folder = tmp_path_factory.mktemp("adapt")
    eye = write_image(folder / "eye.nii.gz", 255 * layers(), SPACING, (3.0, -4.0, 5.0), OBLIQUE)
    flags = (f"--workdir={toy_model}", f"--output={folder / 'out'}", "--slices=9", "--name=eye")
    code = main(["adapt", str(eye), *flags])
    assert code == 0
    return folder


def test_adapt_writes_its_files_and_nothing_else(written):
    assert tree(written) == {"eye.nii.gz", "out", "out/eye"} | {f"out/eye/{name}" for name in FILES}


@pytest.mark.parametrize("name", ["intensity.nii.gz", "segmentation.nii.gz"])
def test_rendered_volumes_span_the_place_of_the_scan(written, name):
    scan, out = (sitk.ReadImage(str(written / p)) for p in ("eye.nii.gz", f"out/eye/{name}"))
    assert out.GetSize() == (SHAPE[2], SHAPE[1], 9)
    np.testing.assert_allclose(out.GetSpacing(), (SPACING[2], SPACING[1], SPACING[0] / 2), rtol=1e-5)
    np.testing.assert_allclose(out.GetDirection(), OBLIQUE, atol=1e-6)
    for corner in np.ndindex(2, 2, 2):
        first, last = ((np.array(image.GetSize()) - 1) * corner for image in (scan, out))
        places = [im.TransformIndexToPhysicalPoint(tuple(map(int, at))) for im, at in ((scan, first), (out, last))]
        np.testing.assert_allclose(*places, atol=1e-4)


def test_label_tables_name_every_class(written):
    snap = (written / "out" / "eye" / "segmentation.txt").read_text()
    slicer = (written / "out" / "eye" / "segmentation.ctbl").read_text().splitlines()
    assert all(f'"{name}"' in snap for name in CLASSES)
    assert "# trained on a phantom" in slicer
    assert "# trained on a phantom\n" in snap
    slicer = [line for line in slicer if not line.startswith("#")]
    assert [line.split()[:2] for line in slicer] == [[str(i), n.replace(" ", "_")] for i, n in enumerate(CLASSES)]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(written / "out" / "eye" / "segmentation.nii.gz")))
    assert labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)


def test_intensities_come_back_in_the_units_of_the_file(written):
    scan, out = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(written / p))) for p in ("eye.nii.gz", "out/eye/intensity.nii.gz")
    )
    assert out.min() >= scan.min() - 1e-3
    assert out.max() <= scan.max() + 1e-3
    assert out.max() > 10  # not [0, 1]


def test_scores_and_the_modulation_are_read_by_csv_and_numpy(written, model):
    with (written / "out" / "eye" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["subject"], row["kind"]) for row in rows if row["kind"] == "fitted"] == [("eye", "fitted")]
    assert float(rows[0]["psnr"]) > 0
    with np.load(written / "out" / "eye" / "modulation.npz", allow_pickle=False) as file:
        assert file["names"].tolist() == ["eye"]
        assert file["grid/level_0"].shape[0] == 1
        assert np.isfinite(file["grid/level_0"]).all()


@pytest.fixture
def still_model(model):
    """The model of a training whose scans were not aligned: what is marked stays sharp."""
    config = model.config.copy_and_resolve_references()
    config.data.phantom_oct.align = False
    return trained.Trained(
        config, *[getattr(model, f) for f in ("built", "params", "signal", "half", "classes", "note")]
    )


@pytest.mark.parametrize("eye", ["R", "L"])
def test_a_point_marked_in_the_scan_is_found_at_the_same_voxel_after_the_way_there_and_back(eye, still_model):
    voxels = layers()
    voxels[2, 30, 4] = 1.0
    scan = Scan(voxels, SPACING, (3.0, -4.0, 5.0), OBLIQUE, laterality=eye, name="eye")
    population, undo = as_population(still_model, scan, [])
    seen = population.intensity[0, ..., 0]
    assert np.unravel_index(seen.argmax(), seen.shape) == (2, 30, 4 if eye == "R" else SHAPE[2] - 1 - 4)
    back = undo(seen, np.arange(5.0))
    np.testing.assert_array_equal(back, voxels)


def test_a_left_eye_is_rendered_as_the_mirror_image_of_the_same_scan_held_as_a_right_one(still_model):
    left = Scan(layers(), SPACING, laterality="L", name="eye")
    right = preprocessing.mirrored_scan(left)
    assert right.laterality == "R"
    rendered = [adapt(still_model, scan).render(3) for scan in (left, right)]
    np.testing.assert_allclose(rendered[0].intensity, rendered[1].intensity[..., ::-1], atol=1e-5)
    assert (rendered[0].labels != rendered[1].labels[..., ::-1]).mean() < 0.01


def test_what_was_assumed_in_reading_a_scan_is_among_the_remarks(still_model):
    scan = Scan(layers(), SPACING, laterality="R", name="eye", remarks=("its circle was taken to run clockwise",))
    assert "its circle was taken to run clockwise" in adapt(still_model, scan).remarks


def test_fewer_rendered_bscans_are_those_of_the_full_rendering(still_model):
    scan = Scan(layers(), SPACING, laterality="R", name="eye")
    all_of_them, some = (adapt(still_model, scan).render(n) for n in (None, 3))
    np.testing.assert_array_equal(some.bscan_index, [0, 2, 4])
    np.testing.assert_allclose(some.intensity, all_of_them.intensity[::2], atol=1e-6)
    assert all_of_them.intensity.dtype == np.float32


@pytest.mark.parametrize("bscans", [1, 2])
def test_a_scan_of_one_or_two_bscans_is_adapted(bscans, model):
    scan = Scan(layers((bscans, *SHAPE[1:])), SPACING, laterality="R", name="eye")
    rendered = adapt(model, scan).render()
    assert rendered.intensity.shape == scan.voxels.shape
    assert np.isfinite(rendered.rows[0]["psnr"])


def test_another_spacing_and_shape_is_another_part_of_the_same_box(still_model):
    """Coordinates follow mm: a scan of half the spacing and twice the rows asks for the same places."""
    coarse = Scan(layers((3, 24, 12)), (1.45, 0.0382, 0.504), laterality="R", name="coarse")
    fine = Scan(layers((3, 48, 24)), (1.45, 0.0191, 0.252), laterality="R", name="fine")

    placed = [measurements.to_device(as_population(still_model, s, [])[0], still_model.half) for s in (coarse, fine)]
    np.testing.assert_allclose(placed[0].scale[0, 1:], 2 * placed[1].scale[0, 1:], rtol=1e-6)
    edges = [d.shift[0] - d.scale[0] / 2 for d in placed]  # where the grid begins
    np.testing.assert_allclose(edges[0], edges[1], rtol=1e-5)
    assert adapt(still_model, coarse).render().intensity.shape == (3, 24, 12)


def test_several_subjects_of_one_file_are_written_each(toy_model, tmp_path, capsys):
    eyes = write_population(tmp_path / "eyes.npz")
    said = say(capsys, "adapt", f"--workdir={toy_model}", eyes, f"--output={tmp_path / 'out'}", "--names=stem")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "2 of 2 scans written"
    for i, name in enumerate(("p0_OD", "p1_OD"), start=1):
        out = sitk.ReadImage(str(tmp_path / "out" / name / "intensity.nii.gz"))
        np.testing.assert_allclose(out.GetSpacing()[::-1], SPACING, rtol=1e-5)
        assert f"scan {i}: {tmp_path / 'out' / name} (" in said.out


def test_a_file_that_does_not_say_which_eye_it_is_can_be_told_by_a_flag(toy_model, tmp_path, capsys):
    files = write_npz(tmp_path / "said.npz", laterality="L"), write_image(tmp_path / "told.nrrd", layers())
    flags = [f"--workdir={toy_model}", f"--output={tmp_path / 'out'}", "--names=stem"]
    assert say(capsys, "adapt", *flags, files[0]).code == 0
    main(["adapt", *flags, "--laterality=L", str(files[1])])
    assert "laterality" not in capsys.readouterr().err
    images = [sitk.ReadImage(str(tmp_path / "out" / name / "intensity.nii.gz")) for name in ("said", "told")]
    np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, images))


def test_what_is_assumed_of_a_scan_is_told_in_remarks(model, tmp_path):
    full = read_scan(write_npz(tmp_path / "full.npz", laterality="L", **slo(layers())))
    bare = read_scan(write_npz(tmp_path / "bare.npz", voxels=255 * layers()))
    remarks = []
    as_population(model, full, remarks)
    assert remarks == []
    as_population(model, bare, remarks)
    assert [any(word in r for r in remarks) for word in ("SLO", "right eye", "taken as 0 to 1")] == [True] * 3


def test_a_new_scan_is_placed_on_its_slo_as_those_that_were_learned_from_and_it_is_told(model):
    eye = scan_of(make_eye(seed=3, person=40, laterality="R", shape=(16, 32, 96)))
    remarks = []
    population, _ = as_population(model, eye, remarks)
    expected = preprocessing.slo_affine(slo_registration.registered(eye))
    np.testing.assert_allclose(population.slo_affine[0], expected, atol=1e-5)
    assert np.abs(population.slo_affine[0] - preprocessing.slo_affine(eye)).max() > 0.5  # pixels
    assert any("elsewhere on the SLO" in remark for remark in remarks)


def slo(voxels, values=None):
    d, _, w = voxels.shape
    places = np.stack(np.meshgrid(np.arange(d) * SPACING[0], np.arange(w) * SPACING[2], indexing="ij"), -1)
    image = np.random.default_rng(0).random((d, w)) if values is None else values
    return {"slo": image, "slo_spacing": np.array([SPACING[0], SPACING[2]]), "ascans_on_slo": places}


def other_model(folder, *, name, **keys):
    """An untrained model of another data set, as a training leaves it."""
    config = toy.get_config()
    config.data.name = name
    config.data[name].update(keys)
    return trained.restore(untrained(folder, config, Signal(3, 1, 0, slo=name == "interp_oct"), (4.0, 1.0, 4.0)))


def test_a_scan_for_an_interp_oct_model_is_scaled_mirrored_and_left_as_its_loader_does(tmp_path):
    """Against the loader itself: the same file through data.load and through adapt's reading."""
    model = other_model(tmp_path / "w", name="interp_oct", validation_people=0.3)
    volumes = np.stack([40 + 100 * layers(seed=i).transpose(1, 2, 0) for i in range(3)])
    for volume in volumes:  # the extremes lie in fitted B-scans: the loader looks at no others
        volume[0, 0, 0], volume[1, 0, 0] = 0, 255
    images = 30 + 200 * np.random.default_rng(1).random((3, SHAPE[0], SHAPE[2]))
    names = np.array(["a_OS", "b_OS", "c_OD"])
    path = write_population(tmp_path / "eyes.npz", 3, oct_vols=volumes, slo_imgs=images, subject_names=names)
    config = model.config.copy_and_resolve_references()
    config.data.path = str(path)

    loaded = {}
    for split in ("train", "validation", "test"):
        population = data.load(config.data, split)
        loaded |= {
            n: (population.intensity[i], population.slo[i], population.slo_affine[i])
            for i, n in enumerate(population.names)
        }
    for scan in new_scan.scans_in(str(path), config):
        population, _ = as_population(model, scan, [])
        for found, expected in zip(
            (population.intensity, population.slo, population.slo_affine), loaded[scan.name], strict=True
        ):
            np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_a_scan_for_a_model_of_volumes_is_scaled_by_the_window_and_neither_mirrored_nor_aligned(tmp_path):
    model = other_model(tmp_path / "w", name="volumes", window=(-100.0, 300.0))
    scan = Scan(1000 * layers() - 200, (1.0, 0.03, 0.2), laterality="L", name="ct")
    assert unit_range(scan, model.config) == (-100.0, 300.0)
    population, undo = as_population(model, scan, [])
    np.testing.assert_allclose(population.intensity[0, ..., 0], np.clip((scan.voxels + 100) / 400, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(undo(scan.voxels, np.arange(5.0)), scan.voxels)


def test_where_folds_are_taken_as_they_are_so_is_a_scan(tmp_path):
    model = other_model(tmp_path / "w", name="interp_oct", normalise_by="none", slo=False, use_valid=False)
    dim = np.stack([0.5 * layers(seed=i).transpose(1, 2, 0) for i in range(2)])
    path = write_population(tmp_path / "eyes.npz", oct_vols=dim, valid_vols=dim > 0.1, slo_imgs=np.ones((2, 1, 1)))
    for scan in new_scan.scans_in(str(path), model.config):
        assert unit_range(scan, model.config) == (0, 1)
        assert scan.slo is None
        assert scan.valid is None
    with pytest.raises(InputError, match=r"p0: voxels: the model expects values in \[0, 1\]; found .* to 2"):
        unit_range(Scan(2 * dim[0] / dim[0].max(), (1.0, 1.0, 1.0), name="p0"), model.config)


def test_what_was_not_measured_sets_no_range_and_a_scan_without_measurement_is_refused(tmp_path):
    model = other_model(tmp_path / "w", name="interp_oct")
    voxels, valid = layers(), np.ones(SHAPE, bool)
    voxels[:, 0], valid[:, 0] = 9.0, False
    scan = Scan(voxels, (1.0, 0.03, 0.2), valid=valid, name="eye")
    assert unit_range(scan, model.config) == (voxels[valid].min(), voxels[valid].max())
    with pytest.raises(InputError, match="eye: valid: expected voxels that were measured; found none"):
        as_population(model, replace(scan, valid=np.zeros(SHAPE, bool)), [])


def test_of_prepared_files_it_is_said_that_they_stay_as_they_are(tmp_path, caplog):
    config = load_config("configs/prepare_oct.py")
    config.phantom.update({"people": 2, "eyes": 1, "shape": (9, 64, 24)})
    config.update({"fitted_every": 4, "folds": 2})
    folder = prepare(config, tmp_path / "folds")
    model = other_model(tmp_path / "w", name="interp_oct")
    with caplog.at_level("WARNING"):
        new_scan.scans_in(str(folder / "dataset_flat_subsmpl4_test_fold1.npz"), model.config)
    assert "was prepared: answers lie in its own geometry, flattened and cropped as it is" in caplog.text
