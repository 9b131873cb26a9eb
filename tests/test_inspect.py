"""`inr-jax inspect`: what it says of real and of spoilt scans, what it draws, and what it never tells."""

import dataclasses

import imageio.v3
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from command import layers, run, say, write_image
from real_data import real_data
from scan_files import BORN, ID, NAME, eye_vol, small_eye

from inr_jax.inspecting import concerns, described, missing
from inr_jax.phantom import make_eye
from inr_jax.scan import content_name
from inr_jax.scan_figures import overview
from inr_jax.scan_io import read_scan

EYE = make_eye(person=1, laterality="R", shape=(9, 64, 96), motion=0.0)


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    path = tmp_path_factory.mktemp("raster") / "a.vol"
    path.write_bytes(eye_vol(EYE))
    return read_scan(path)


def test_inspect_says_of_the_real_circle_what_its_header_says(tmp_path, capsys):
    path = real_data("spectralis/Willis_B_716_4.vol")
    said = say(capsys, "inspect", path, f"--figure={tmp_path / 'circle.png'}")
    assert said.code == 0
    for text in (
        "1 B-scan x 496 rows x 768 A-scans", "3.87 um in depth, 14.72 um between A-scans", "11.31 mm along", "right",
        "circle", "ILM (100%), RNFL (100%), BM (100%)", "768 x 768 pixels of 11.72 x 11.72 um", "30.8 dB",
    ):  # fmt: skip
        assert text in said.out
    assert "look at" not in said.out
    assert "Willis" not in said.out.replace(str(tmp_path), "")
    assert imageio.v3.imread(tmp_path / "circle.png").std() > 20


def test_inspect_tells_that_layers_of_the_diseased_eye_are_poor():
    assert list(concerns(read_scan(real_data("spectralis/Willis_B_716_0.vol")))) == []
    told = " ".join(concerns(read_scan(real_data("spectralis/valid.vol"))))
    assert "cut off at the upper edge" in told


def test_the_figure_has_the_layers_and_the_scan_lines_where_the_scan_has_them(raster):
    bscan, slo = overview([raster]).axes
    assert [line.get_label() for line in bscan.lines] == list(raster.surface_names)
    for line, surface in zip(bscan.lines, raster.surfaces[:, 4], strict=True):
        np.testing.assert_allclose(line.get_ydata(), (surface + 0.5) * raster.spacing[1])
    drawn = [line.get_xydata() for line in slo.lines if len(line.get_xydata()) > 1]
    np.testing.assert_allclose(np.array(drawn), raster.ascans_on_slo[..., ::-1])


def test_a_sound_raster_has_nothing_to_look_at_and_lacks_nothing(raster):
    assert list(concerns(raster)) == []
    assert missing(raster) == []


def test_a_mirrored_slo_is_told(raster):
    mirrored = dataclasses.replace(raster, slo=raster.slo[:, ::-1])
    assert any("mirrored SLO" in told for told in concerns(mirrored))


def test_low_signal_is_told_by_the_instrument_or_by_the_image(raster):
    weak = dataclasses.replace(raster, quality=np.array([30.0] * 7 + [9.0, 14.0]))
    assert "low signal: 2 of 9 B-scans below 15 dB" in list(concerns(weak))
    noise = np.random.default_rng(0).random(raster.voxels.shape, np.float32)
    dark = dataclasses.replace(raster, quality=None, voxels=noise, surfaces=None)
    assert any(told.startswith("low signal: in") for told in concerns(dark))


def test_tissue_cut_off_at_the_lower_edge_is_told_with_and_without_layers(raster):
    rows = int(np.nanmin(raster.surfaces[-1]))
    cut = dataclasses.replace(raster, voxels=raster.voxels[:, :rows])
    assert any("BM lies at the lower edge" in told for told in concerns(cut))
    bare = dataclasses.replace(cut, surfaces=None, surface_names=())
    assert any("brightest layer lies at the lower edge" in told for told in concerns(bare))


def test_layers_that_cross_and_a_scan_beyond_its_slo_are_told(raster):
    crossed = dataclasses.replace(raster, surfaces=raster.surfaces[::-1])
    assert any("layers cross in 100%" in told for told in concerns(crossed))
    away = dataclasses.replace(raster, ascans_on_slo=raster.ascans_on_slo + 3)
    assert any("lie outside the SLO" in told for told in concerns(away))


@pytest.mark.parametrize("file", ["Willis_B_716_0.vol", "Willis_B_716_4.vol"])
def test_a_bm_that_has_left_a_real_image_is_told_though_the_file_does_not_have_it_there(file):
    scan = read_scan(real_data(f"spectralis/{file}"))
    rows = int(np.nanmedian(scan.surfaces[scan.surface_names.index("BM")]))
    assert not any("clipped" in told for told in concerns(scan))
    known = np.where(scan.surfaces <= rows - 1, scan.surfaces, np.nan)
    cut = dataclasses.replace(scan, voxels=scan.voxels[:, :rows], surfaces=known, valid=None)
    (told,) = (told for told in concerns(cut) if "BM" in told)
    assert 40 <= int(told.split("in ")[1].split("%")[0]) <= 60


def test_what_a_stack_of_pages_does_not_say_is_missing_and_may_be_told(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (3, 12, 10)).astype(np.uint8))
    said = say(capsys, "inspect", tmp_path / "a.tif")
    assert "missing    spacing, laterality, scan pattern, layers or labels, SLO, quality" in said.out
    told = say(
        capsys, "inspect", tmp_path / "a.tif", "--scan-spacing=0.2,0.0039,0.012", f"--figure={tmp_path / 'a.png'}"
    )
    assert "200.0 um between B-scans, 3.90 um in depth, 12.00 um between A-scans" in told.out
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "inspect: expected one scan, a file or a folder; found 0"),
        (("nothing.vol",), "nothing.vol: no such file"),
        (("a.nii", "--scan-spacing=1,2"), "--scan-spacing: expected three mm above 0"),
        (("a.nii", "--figure=no/a.nii/x.png"), "expected a folder"),
        (("empty",), "expected a folder with .xml, DICOM or .png"),
    ],
)
def test_inspect_refuses_what_it_cannot_read_in_one_line(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "no").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).random((3, 8, 8))), "a.nii")
    (tmp_path / "no" / "a.nii").write_bytes(b"")
    assert expected in say(capsys, "inspect", *arguments).error


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_nothing_that_inspect_prints_or_draws_says_who_it_is(tmp_path, cut):
    """In a process of its own, so that everything on both streams is seen."""
    content = eye_vol(small_eye())
    (tmp_path / f"{NAME}_{BORN}.vol").write_bytes(content[: len(content) // 2] if cut else content)
    said = run("inspect", f"{NAME}_{BORN}.vol", "--figure=a.png", cwd=tmp_path)
    assert said.code == (2 if cut else 0)
    assert (tmp_path / "a.png").is_file() != cut
    drawn = b"" if cut else (tmp_path / "a.png").read_bytes()
    told = said.out + " ".join(said.err) + drawn.decode("latin-1")
    assert not any(word in told for word in (NAME, BORN, ID, "1951"))


def test_inspect_calls_a_scan_as_adapt_would_and_not_by_its_file(tmp_path, capsys):
    path = write_image(tmp_path / f"{NAME}.nii.gz", layers())
    said = say(capsys, "inspect", path)
    assert said.out.splitlines()[0] == content_name(read_scan(path))
    assert NAME not in said.out


def test_what_is_told_of_a_plain_volume_is_its_shape_and_spacing():
    told = dict(described(read_scan(real_data("mri/brain1_image.nrrd"))))
    assert told["shape"] == "25 B-scans x 256 rows x 256 A-scans"
    assert told["spacing"].startswith("6500.0 um between B-scans, 781.25 um in depth")
