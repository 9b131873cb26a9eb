"""Dense scans found and read: files with labels and SLO beside them, many in one .npz, phantoms."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command import SHAPE, SPACING, layers, write_image, write_npz, write_population
from ml_collections import ConfigDict
from toy import ROOT

from inr_jax.config_script import load_config
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.phantom import make_eye
from inr_jax.raw_scans import find_scans, read_scan
from inr_jax.scan import Scan
from inr_jax.scan_io import with_slo

TURNED = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # A-scans along y, depth along z, B-scans along x


def config_of(path: Path, **changes: object) -> ConfigDict:
    config = load_config(ROOT / "configs" / "prepare_oct.py")
    config.update({"path": str(path), **changes})
    return config


def picture(path: Path, pixels: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    return path


def test_images_are_read_with_what_lies_beside_them(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.float32)
    pixels = np.random.default_rng(1).integers(0, 255, (30, 20), np.uint8)
    for name in ("p1_OD", "p1_OS", "p2_OD"):
        write_image(tmp_path / f"{name}.nii.gz", layers())
        write_image(tmp_path / f"{name}_labels.nrrd", labels)
        picture(tmp_path / f"{name}_slo.png", pixels)
    (tmp_path / "readme.txt").write_text("not a scan")
    found = find_scans(config_of(tmp_path))
    assert [(raw.name, raw.person, raw.laterality) for raw in found] == [
        ("p1_OD", "p1", "R"),
        ("p1_OS", "p1", "L"),
        ("p2_OD", "p2", "R"),
    ]
    scan = read_scan(found[1])
    assert (scan.name, scan.person, scan.laterality) == ("p1_OS", "p1", "L")
    np.testing.assert_array_equal(scan.voxels, layers())
    np.testing.assert_array_equal(scan.labels, labels)
    np.testing.assert_array_equal(scan.slo, pixels)
    assert scan.ascans_on_slo is None  # a picture does not say where it was taken
    np.testing.assert_allclose(scan.spacing, SPACING, rtol=1e-5)


def test_without_suffixes_every_image_is_a_scan_without_labels(tmp_path: Path) -> None:
    for name in ("p1", "p1_labels"):
        write_image(tmp_path / f"{name}.nii.gz", layers())
    found = find_scans(config_of(tmp_path, label_suffix="", slo_suffix=""))
    assert [raw.name for raw in found] == ["p1", "p1_labels"]
    assert read_scan(found[0]).labels is None


def test_one_npz_holds_many_scans_and_another_one(tmp_path: Path) -> None:
    write_population(tmp_path / "a.npz", count=3)
    write_npz(tmp_path / "q_OS.npz")
    write_npz(tmp_path / "z.npz", name="r_OD")
    found = find_scans(config_of(tmp_path))
    assert [raw.name for raw in found] == ["p0_OD", "p1_OD", "p2_OD", "q_OS", "r_OD"]
    np.testing.assert_array_equal(read_scan(found[2]).voxels, layers(seed=2))
    assert read_scan(found[3]).person == "q"


def test_names_are_known_before_a_volume_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_population(tmp_path / "a.npz", count=3)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr("inr_jax.raw_scans.read_npz_scans", never)
    monkeypatch.setattr("inr_jax.npz_io.read_npz_scans", never)
    assert len(find_scans(config_of(tmp_path))) == 3


def test_without_a_path_there_are_phantoms() -> None:
    config = config_of(Path())
    config.path = ""
    config.phantom.update({"people": 2, "shape": (5, 48, 24)})
    found = find_scans(config)
    assert [raw.name for raw in found] == ["phantom-0000-R", "phantom-0000-L", "phantom-0001-R", "phantom-0001-L"]
    made = scan_of(make_eye(person=0, laterality="L", shape=(5, 48, 24)))
    read = read_scan(found[1])
    np.testing.assert_array_equal(read.voxels, made.voxels)
    assert (read.laterality, read.person) == ("L", "phantom-0000")


def test_names_that_do_not_parse_or_come_twice_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "p1.nii.gz", layers())
    write_image(tmp_path / "p1.nrrd", layers())
    with pytest.raises(InputError, match=r"p1\.nrrd: name: expected every name once, found p1 in .*p1\.nii\.gz, too"):
        find_scans(config_of(tmp_path))
    with pytest.raises(InputError, match="name p1 does not match subject_pattern"):
        find_scans(config_of(tmp_path, subject_pattern=r"eye(?P<person>\d)"))


def test_an_en_face_slice_says_where_the_a_scans_lie_on_it(tmp_path: Path) -> None:
    """The SLO is a plane in the scan's own world: turned, larger, of other pixels."""
    scan = Scan(layers(), SPACING, origin=(10.0, 20.0, 30.0), direction=TURNED)
    axes = np.array(TURNED).reshape(3, 3)
    along = np.stack([axes[:, 0], axes[:, 2], axes[:, 1]], axis=1)  # of the SLO: columns, rows, normal
    corner = np.array(scan.origin) - 0.5 * axes[:, 2] - 0.25 * axes[:, 0]
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((1, 40, 50)).astype(np.float32))
    image.SetSpacing((0.1, 0.2, 1.0))
    image.SetOrigin(corner.tolist())
    image.SetDirection(along.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "slo.nrrd"))
    found = with_slo(scan, tmp_path / "slo.nrrd")
    assert found.slo.shape == (40, 50)
    np.testing.assert_allclose(found.slo_spacing, (0.2, 0.1))
    for d, w in ((0, 0), (3, 7)):
        place = (0.5 + d * SPACING[0], 0.25 + w * SPACING[2])
        np.testing.assert_allclose(found.ascans_on_slo[d, w], place, atol=1e-9)


def test_a_slice_that_is_not_en_face_counts_as_a_picture(tmp_path: Path) -> None:
    """As when a picture was saved as NIfTI: its plane is that of a B-scan by default."""
    write_image(tmp_path / "slo.nii.gz", layers((1, 40, 50)))
    found = with_slo(Scan(layers(), SPACING), tmp_path / "slo.nii.gz")
    assert found.slo.shape == (40, 50)
    assert found.ascans_on_slo is None


@pytest.mark.parametrize(("shape", "words"), [((4, 9, 9), "one slice of 1 channel, found"), (None, "not readable")])
def test_an_slo_that_is_no_slice_is_one_line(tmp_path: Path, shape: tuple | None, words: str) -> None:
    path = tmp_path / "slo.nrrd"
    if shape is None:
        path.write_text("nothing")
    else:
        write_image(path, layers(shape))
    with pytest.raises(InputError, match=words) as error:
        with_slo(Scan(layers(), SPACING), path)
    assert "\n" not in str(error.value)
