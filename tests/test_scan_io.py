"""Scan files: what is written reads back in its place; what cannot be a scan is refused in one line."""

import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from real_data import real_data

from inr_jax.errors import InputError
from inr_jax.npz_io import read_npz_scans
from inr_jax.scan import index_of, mm_of
from inr_jax.scan_io import Scan, all_or_none, read_labels, read_scan, resampled_geometry, write_labels, write_volume

SPACING, ORIGIN = (0.24, 0.004, 0.06), (-3.0, 5.5, 12.25)
TURNED = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)
SHAPE = (5, 9, 7)


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_volume_reads_back_with_its_geometry(tmp_path: Path, suffix: str) -> None:
    write_volume(tmp_path / f"eye{suffix}", noise(), SPACING, ORIGIN, TURNED)
    scan = read_scan(tmp_path / f"eye{suffix}")
    np.testing.assert_array_equal(scan.voxels, noise())
    assert scan.name == "eye"
    np.testing.assert_allclose(scan.spacing, SPACING, rtol=1e-6)
    np.testing.assert_allclose(scan.origin, ORIGIN, rtol=1e-6)
    np.testing.assert_allclose(scan.direction, TURNED, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == [f"eye{suffix}"]


def test_axes_are_b_scan_row_a_scan_of_itks_z_y_x(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(noise())
    image.SetSpacing((0.06, 0.004, 0.24))
    sitk.WriteImage(image, str(tmp_path / "eye.nii.gz"))
    scan = read_scan(tmp_path / "eye.nii.gz")
    np.testing.assert_allclose(scan.spacing, (0.24, 0.004, 0.06), rtol=1e-6)
    assert scan.voxels[4, 2, 1] == image.GetPixel(1, 2, 4)


def test_rendered_b_scans_lie_at_the_same_mm_as_in_the_scan(tmp_path: Path) -> None:
    scan = Scan(noise(), SPACING, ORIGIN, TURNED)
    index = np.arange(0.5, 4.0, 0.25)
    spacing, origin = resampled_geometry(scan, index)
    write_volume(tmp_path / "scan.nii.gz", scan.voxels, SPACING, ORIGIN, TURNED)
    write_volume(tmp_path / "out.nii.gz", noise((len(index), 9, 7)), spacing, origin, TURNED)
    before, after = (sitk.ReadImage(str(tmp_path / name)) for name in ("scan.nii.gz", "out.nii.gz"))
    for d, at in enumerate(index):
        expected = before.TransformContinuousIndexToPhysicalPoint((3.0, 2.0, at))
        np.testing.assert_allclose(after.TransformIndexToPhysicalPoint((3, 2, d)), expected, atol=1e-5)


def test_places_in_mm_are_those_of_itk() -> None:
    scan = Scan(noise(), SPACING, ORIGIN, TURNED)
    image = sitk.GetImageFromArray(scan.voxels)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(ORIGIN)
    image.SetDirection(TURNED)
    index = np.random.default_rng(1).random((6, 3)) * SHAPE
    mm = np.array([image.TransformContinuousIndexToPhysicalPoint(tuple(one[::-1].tolist())) for one in index])
    np.testing.assert_allclose(mm_of(scan, index), mm, atol=1e-9)
    np.testing.assert_allclose(index_of(scan, mm), index, atol=1e-9)


def test_a_note_stands_in_the_header(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        write_volume(tmp_path / f"a{suffix}", noise(), SPACING, ORIGIN, TURNED, note="trained on a phantom")
        assert sitk.ReadImage(str(tmp_path / f"a{suffix}")).GetMetaData("ITK_FileNotes") == "trained on a phantom"


@pytest.mark.parametrize("index", [[0.0, 1.0, 1.5], [2.0, 1.0]])
def test_uneven_or_falling_b_scan_positions_have_no_geometry(index: list[float]) -> None:
    with pytest.raises(InputError, match="even steps"):
        resampled_geometry(Scan(noise(), SPACING), np.array(index))


def test_labels_are_bytes_with_a_table_for_each_viewer(tmp_path: Path) -> None:
    labels = np.arange(315).reshape(SHAPE) % 3
    write_labels(tmp_path / "layers.nii.gz", labels, SPACING, ORIGIN, TURNED, ("background", "inner layer", "RPE"))
    image = sitk.ReadImage(str(tmp_path / "layers.nii.gz"))
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    snap = [line for line in (tmp_path / "layers.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line.split('"')[1] for line in snap] == ["background", "inner layer", "RPE"]
    assert [len(line.split('"')[0].split()) for line in snap] == [7, 7, 7]
    slicer = [line.split() for line in (tmp_path / "layers.ctbl").read_text().splitlines() if line[0] != "#"]
    assert [row[:2] for row in slicer] == [["0", "background"], ["1", "inner_layer"], ["2", "RPE"]]
    assert len({tuple(row[2:5]) for row in slicer}) == 3


def test_labels_beyond_the_classes_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 0 to 1, found 0 to 2"):
        write_labels(tmp_path / "l.nii.gz", np.arange(315).reshape(SHAPE) % 3, SPACING, ORIGIN, TURNED, ("a", "b"))
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written") as error:
        write_volume(tmp_path / "nowhere" / "eye.nii.gz", noise(), SPACING, ORIGIN, TURNED)
    assert "nowhere" in message(error)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"eye{suffix}"
    path.write_text("before")
    program = (
        "import sys, numpy as np\n"
        "from inr_jax.errors import InputError\n"
        "from inr_jax.scan_io import write_volume\n"
        "array = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)\n"
        "try: write_volume(sys.argv[1], array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))\n"
        "except InputError as error: print(error); sys.exit(3)\n"
    )

    def limit() -> None:  # writes fail beyond 20 kB, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(path)], capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert done.returncode == 3, done.stderr
    assert f"{path}: cannot be written" in done.stdout
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def write_contract(path: Path, **changes: object) -> Path:
    """Two subjects: oct_vols [n, H, W, D] = [2, 9, 7, 5]."""
    arrays = {
        "oct_vols": np.moveaxis(noise((2, *SHAPE)), 1, -1),
        "seg_vols": np.moveaxis(np.arange(630).reshape(2, *SHAPE) % 4, 1, -1),
        "slo_imgs": noise((2, 7, 5)),
        "subject_names": np.array(["a_OD", "a_OS"]),
        "spacing_oct": np.array([0.004, 0.06, 0.24]),
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_a_population_file_becomes_scans_in_memory_order(tmp_path: Path) -> None:
    first, second = read_npz_scans(write_contract(tmp_path / "fold.npz"))
    np.testing.assert_array_equal(np.stack([first.voxels, second.voxels]), noise((2, *SHAPE)))
    np.testing.assert_array_equal(second.labels, np.arange(630).reshape(2, *SHAPE)[1] % 4)
    assert (first.name, second.name) == ("a_OD", "a_OS")
    assert first.spacing == (0.24, 0.004, 0.06)


def test_both_orders_of_the_slo_give_the_same_scan(tmp_path: Path) -> None:
    slo = noise((2, 7, 5))
    wd = read_npz_scans(write_contract(tmp_path / "wd.npz", slo_imgs=slo))[0]
    dw = read_npz_scans(write_contract(tmp_path / "dw.npz", slo_imgs=slo.swapaxes(1, 2)))[0]
    np.testing.assert_array_equal(wd.slo, dw.slo)
    assert wd.slo[3, 6] == slo[0, 6, 3]
    np.testing.assert_allclose(wd.ascans_on_slo[3, 6], (3 * 0.24, 6 * 0.06))


def test_a_square_slo_needs_the_order(tmp_path: Path) -> None:
    square = noise((1, 9, 5, 5))
    path = write_contract(
        tmp_path / "s.npz", oct_vols=square, seg_vols=None, slo_imgs=noise((1, 5, 5)), subject_names=None
    )
    with pytest.raises(InputError, match="W == D == 5: expected slo_axes WD or DW"):
        read_npz_scans(path)
    wd, dw = (read_npz_scans(path, slo_axes=axes)[0].slo for axes in ("WD", "DW"))
    np.testing.assert_array_equal(wd, dw.T)


def test_one_of_several_subjects_is_read_by_name(tmp_path: Path) -> None:
    path = write_contract(tmp_path / "fold.npz")
    assert read_scan(path, subject="a_OS").name == "a_OS"
    with pytest.raises(InputError, match="expected one of a_OD, a_OS, found None"):
        read_scan(path)


def test_labels_and_slo_are_optional(tmp_path: Path) -> None:
    scan = read_npz_scans(write_contract(tmp_path / "fold.npz", seg_vols=None, slo_imgs=None))[0]
    assert scan.labels is None
    assert scan.slo is None


def test_one_scan_with_everything_reads_back(tmp_path: Path) -> None:
    wanted = Scan(
        voxels=noise(),
        spacing=SPACING,
        origin=ORIGIN,
        direction=TURNED,
        labels=np.arange(315).reshape(SHAPE) % 3,
        surfaces=noise((2, 5, 7)),
        valid=noise() > 0.1,
        slo=noise((11, 12)),
        slo_spacing=(0.01, 0.02),
        ascans_on_slo=noise((5, 7, 2)),
        laterality="L",
        name="x",
        person="y",
        pattern="raster",
        surface_names=("ILM", "BM"),
        quality=noise((5,)),
        turned=(True, False),
        source=".npz",
        remarks=("told",),
    )
    np.savez(tmp_path / "one.npz", **vars(wanted))
    found = read_scan(tmp_path / "one.npz")
    for key, value in vars(wanted).items():
        np.testing.assert_array_equal(getattr(found, key), value, err_msg=key)


NAN = noise()
NAN[1, 2, 3] = np.nan
INFINITE = noise()
INFINITE[1, 2, 3] = np.inf


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"oct_vols": None}, "missing key: expected oct_vols or voxels"),
        ({"spacing_oct": None}, "missing key: expected spacing_oct"),
        ({"oct_vols": noise()}, r"oct_vols: expected 4 axes"),
        ({"seg_vols": np.zeros((2, 9, 7, 4), int)}, r"seg_vols: expected shape \(2, 9, 7, 5\), found \(2, 9, 7, 4\)"),
        ({"slo_imgs": noise((2, 6, 5))}, r"slo_imgs: expected shape .* found \(2, 6, 5\)"),
        ({"seg_vols": np.full((2, 9, 7, 5), 0.5)}, "labels: expected integers"),
        ({"seg_vols": np.full((2, 9, 7, 5), -1)}, "labels: expected 0 or above, found -1"),
        ({"oct_vols": np.stack([np.moveaxis(NAN, 0, -1)] * 2)}, "a_OD: voxels: expected finite numbers, found 1"),
        ({"oct_vols": np.ones((2, 9, 7, 5))}, "a_OD: voxels: .* one value everywhere"),
        ({"spacing_oct": np.zeros(3)}, "spacing: expected three positive mm"),
        ({"subject_names": np.array(["a", "a"])}, "subject_names: expected 2 different names, found 1"),
        ({"oct_vols": np.array([None])}, "not an .npz file, or cut short"),
    ],
)
def test_a_population_file_with_a_mistake_is_one_line(tmp_path: Path, changes: dict, expected: str) -> None:
    path = write_contract(tmp_path / "fold.npz", **changes)
    with pytest.raises(InputError, match=expected) as error:
        read_npz_scans(path)
    assert str(path) in message(error)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"voxels": noise()}, "missing key: expected spacing"),
        ({"voxels": noise()[0], "spacing": SPACING}, "voxels: expected 3 axes"),
        ({"voxels": noise(), "spacing": (1.0, -1.0, 1.0)}, "spacing: expected three positive mm"),
        ({"voxels": noise(), "spacing": (1.0, 7e-40, 1.0)}, "spacing: expected three positive mm"),
        ({"voxels": noise(), "spacing": (2e4, 1.0, 1.0)}, "spacing: expected three positive mm"),
        ({"voxels": 1e30 * noise(), "spacing": SPACING}, r"voxels: expected intensities up to 1e\+15, found"),
        (
            {"voxels": noise(), "spacing": SPACING, "slo": noise((4, 4)), "slo_spacing": (1.0, 1e-7)}
            | {"ascans_on_slo": np.ones((5, 7, 2))},
            "slo_spacing: expected two positive mm",
        ),
        ({"voxels": INFINITE, "spacing": SPACING}, "expected finite numbers, found 1"),
        ({"voxels": noise(), "spacing": SPACING, "labels": np.zeros((5, 9, 6), int)}, "labels: expected shape"),
        ({"voxels": noise(), "spacing": SPACING, "slo": noise((4, 4))}, "missing key: expected slo_spacing"),
    ],
)
def test_one_scan_with_a_mistake_is_one_line(tmp_path: Path, arrays: dict, expected: str) -> None:
    path = tmp_path / "one.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=expected) as error:
        read_scan(path)
    assert str(path) in message(error)


@pytest.mark.parametrize("name", ["eye.nii", "eye.nii.gz", "eye.nrrd", "eye.npz", "eye.mha"])
@pytest.mark.parametrize("content", [None, b"", b"no image at all", "half"])
def test_a_missing_foreign_or_truncated_file_is_one_line(
    tmp_path: Path, name: str, content: bytes | str | None
) -> None:
    path = tmp_path / name
    if content == "half":
        if name == "eye.npz":
            write_contract(path)
        else:
            write_volume(path, noise((20, 30, 30)), SPACING, ORIGIN, TURNED)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"no such file|cut short") as error:
        read_scan(path)
    assert str(path) in message(error)


def test_a_flipped_byte_in_an_npz_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "eye.npz"
    np.savez_compressed(path, voxels=noise((20, 20, 20)), spacing=np.array(SPACING))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="cut short"):
        read_scan(path)


def test_other_suffixes_ranks_and_channels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "eye.txt").write_text("text")
    with pytest.raises(InputError, match=r"one of .* \.nii \.nii\.gz .*; found \.txt"):
        read_scan(tmp_path / "eye.txt")
    sitk.WriteImage(sitk.GetImageFromArray(noise()[0]), str(tmp_path / "flat.nrrd"))
    with pytest.raises(InputError, match="expected 3 axes of 1 channel, found 2 axes of 1"):
        read_scan(tmp_path / "flat.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(noise((4, 5, 6, 3)), isVector=True), str(tmp_path / "rgb.nrrd"))
    with pytest.raises(InputError, match="found 3 axes of 3 channels"):
        read_scan(tmp_path / "rgb.nrrd")


def test_the_real_brain_has_its_geometry_and_its_lesion() -> None:
    scan = read_scan(real_data("mri/brain1_image.nrrd"))
    assert scan.voxels.shape == (25, 256, 256)
    np.testing.assert_allclose(scan.spacing, (6.5, 0.78125, 0.78125), atol=1e-6)
    labels = read_labels(real_data("mri/brain1_label.nrrd"), scan, classes=2)
    assert set(np.unique(labels)) == {0, 1}
    with pytest.raises(InputError, match="expected 0 to 0"):
        read_labels(real_data("mri/brain1_label.nrrd"), scan, classes=1)


def test_the_real_torso_goes_out_where_it_came_in(tmp_path: Path) -> None:
    path = real_data("ct/torso_ct_3mm.nii.gz")
    scan = read_scan(path)
    write_volume(tmp_path / "out.nii.gz", scan.voxels, scan.spacing, scan.origin, scan.direction)
    before, after = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    for corner in ((0, 0, 0), (121, 100, 111)):
        here, there = (image.TransformIndexToPhysicalPoint(corner) for image in (before, after))
        np.testing.assert_allclose(there, here, atol=1e-4)


def filled(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_is_written_whole_or_left_as_it_was(tmp_path, there):
    out = tmp_path / "out"
    filled(out, a="old", sub__b="old", sub__theirs="kept") if there else None
    before = contents(tmp_path)
    with suppress(KeyboardInterrupt), all_or_none(out) as part:
        filled(part, a="new", sub__b="new")
        raise KeyboardInterrupt
    assert contents(tmp_path) == before
    assert out.exists() == there
    with all_or_none(out) as part:
        filled(part, a="new", sub__b="new")
    assert contents(out) == {"a": "new", "sub/b": "new"} | ({"sub/theirs": "kept"} if there else {})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_results_of_before_go_where_their_folder_is_written_to(tmp_path):
    filled(tmp_path, s="old", sub__s="old", other__s="theirs", sub__t="theirs")
    with all_or_none(tmp_path, ("sub/s",)) as part:
        filled(part, sub__a="new")
    assert contents(tmp_path) == {"s": "old", "sub/a": "new", "other/s": "theirs", "sub/t": "theirs"}


def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_replaced(tmp_path):
    filled(tmp_path, a="old", sub="a file")
    with (
        pytest.raises(InputError, match="sub: expected a folder or none; found a file"),
        all_or_none(tmp_path) as part,
    ):
        filled(part, a="new", sub__b="new")
    assert contents(tmp_path) == {"a": "old", "sub": "a file"}


def test_the_working_folder_can_be_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with all_or_none(Path(".")) as part:
        filled(part, a="new")
    assert contents(tmp_path) == {"a": "new"}
