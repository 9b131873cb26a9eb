"""What is measured of layers, in files that a lab's tools open: in place, in um, and empty where nothing is known."""

import csv
from pathlib import PurePath

import numpy as np
import pytest
import SimpleITK as sitk

from inr_jax import en_face, grids, surfaces, thickness_files
from inr_jax.phantom import CLASSES, SURFACES, make_eye
from inr_jax.thickness_files import UNKNOWN, Labelled

TURNED = (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8)
ORIGIN = (-3.0, 5.5, 12.25)


def found_of(eye, **changes) -> Labelled:
    labels = eye.labels_true.astype(np.int32)
    index = np.arange(float(len(labels)))
    grid = grids.Grid(labels.shape, eye.spacing, ORIGIN, TURNED)
    at = en_face.places(eye.ascans_on_slo, eye.spacing, index, np.arange(float(labels.shape[2])))
    half = np.full((len(labels), len(CLASSES), labels.shape[2]), 4.0)
    made = Labelled(labels, CLASSES, grid, index, index * eye.spacing[0], at, eye.laterality, half, 0.9)
    return made._replace(**changes)


@pytest.fixture(scope="module")
def raster():
    return found_of(make_eye(person=7, laterality="L", shape=(25, 64, 48)))


@pytest.fixture(scope="module")
def written(raster, tmp_path_factory):
    known = np.ones(raster.at.shape[:2], bool)
    known[0] = False
    folder = tmp_path_factory.mktemp("raster")
    said = thickness_files.write(folder, raster._replace(known=known), "eye")
    return folder, said


def rows_of(path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names_in(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_raster_has_maps_and_sectors_and_no_profile(written):
    layers = [name for name in CLASSES[1:] if name not in surfaces.LESIONS]
    maps = {f"thickness_maps/{name}{of}.nii.gz" for name in (*layers, "retina") for of in ("", "_half_interval")}
    expected = {"surfaces.csv", "etdrs.csv", "etdrs.png", "thickness_maps.png", "thickness_maps.csv"}
    assert names_in(written[0]) == expected | maps | {f"surfaces/{name}.nii.gz" for name in SURFACES}
    assert written[1] == [
        "centre of the ETDRS sectors: estimated: the retina is thinnest there within 1 mm of the scan's middle"
    ]


def test_maps_lie_over_their_a_scans_and_what_is_not_known_is_minus_one(written, raster):
    for name in ("thickness_maps/retina", "surfaces/ILM"):
        image = sitk.ReadImage(str(written[0] / f"{name}.nii.gz"))
        assert image.GetSize() == (48, 1, 25)
        for row in (0, 63):  # at every depth of the scan
            point = grids.lps(raster.grid, np.array([7, row, 5])).tolist()
            assert image.TransformPhysicalPointToIndex(point) == (5, 0, 7)
        values = sitk.GetArrayFromImage(image)[:, 0]
        np.testing.assert_array_equal(values[0], UNKNOWN)
        assert values[1:].min() >= 0
    surface = surfaces.of_labels(raster.labels, surfaces.layers_of(CLASSES))
    expected = (surface[-1] - surface[0]) * raster.grid.spacing[1] * 1000
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(written[0] / "thickness_maps/retina.nii.gz")))[:, 0]
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-5)


def test_the_table_of_maps_says_what_its_files_do_with_half_of_every_interval(written, raster):
    rows = rows_of(written[0] / "thickness_maps.csv")
    assert len(rows) == 25 * 48
    for name in ("RNFL", "retina", "RNFL_half_interval", "retina_half_interval"):
        file = sitk.ReadImage(str(written[0] / f"thickness_maps/{name}.nii.gz"))
        values = sitk.GetArrayFromImage(file)[:, 0].ravel()
        column = np.array([float(row[f"{name}_um"] or UNKNOWN) for row in rows])
        np.testing.assert_allclose(np.nan_to_num(column, nan=UNKNOWN), values, atol=1e-4)
    layers = len([name for name in CLASSES[1:] if name not in surfaces.LESIONS])
    assert float(rows[-1]["RNFL_half_interval_um"]) == pytest.approx(4.0)
    assert float(rows[-1]["retina_half_interval_um"]) == pytest.approx(4 * layers**0.5, abs=1e-4)
    place = [float(rows[-1]["slo_y_mm"]), float(rows[-1]["slo_x_mm"])]
    np.testing.assert_allclose(place, raster.at[-1, -1], atol=1e-4)


def test_a_surface_of_the_table_lies_in_the_map_of_the_same_name_and_is_empty_where_not_known(written):
    rows = rows_of(written[0] / "surfaces.csv")
    assert len(rows) == 25 * 48
    depths = sitk.GetArrayFromImage(sitk.ReadImage(str(written[0] / "surfaces/IPL-INL.nii.gz")))[:, 0].ravel()
    table = np.array([float(row["IPL-INL_um"] or UNKNOWN) for row in rows])
    np.testing.assert_allclose(table, depths, atol=1e-3)
    assert {row["ILM_um"] for row in rows[:48]} == {""}


def test_sectors_of_the_table_are_those_of_the_phantoms_own_surfaces(written):
    """An independent way: the mean over A-scans in the sector, which on a raster is the area's, too."""
    eye = make_eye(person=7, laterality="L", shape=(25, 64, 48))
    rows = {r["sector"]: r for r in rows_of(written[0] / "etdrs.csv") if r["layer"] == "retina"}
    assert len(rows) == 9
    at = eye.ascans_on_slo
    um = (eye.surfaces[-1] - eye.surfaces[0]) * eye.spacing[1] * 1000
    pit = np.unravel_index(um.argmin(), um.shape)
    up, right = at[pit][0] - at[..., 0], at[..., 1] - at[pit][1]
    distance, angle = np.hypot(up, right), np.rad2deg(np.arctan2(up, -right))  # from the nose of a left eye
    inner = (distance > 0.5) & (distance <= 1.5)
    for side, middle in (("N", 0), ("S", 90), ("I", -90)):
        own = inner & (np.abs((angle - middle + 180) % 360 - 180) < 45)
        assert float(rows[f"inner {side}"]["thickness_um"]) == pytest.approx(um[own].mean(), abs=5)
    assert float(rows["inner N"]["half_interval_um"]) == pytest.approx(4 * np.sqrt(10))


def circle(count: int) -> np.ndarray:
    turn = np.arange(count) * 2 * np.pi / count
    return (np.stack([np.sin(turn), np.cos(turn)], -1) * 1.7 + 3.0)[None]


def test_a_line_has_a_profile_and_a_circle_quadrants_too_and_both_say_why_they_have_no_sectors(tmp_path):
    line = found_of(make_eye(person=7, laterality="R", shape=(1, 64, 48)))
    for name, found, more in (
        ("line", line, set()),
        ("circle", line._replace(at=circle(48)), {"thickness_sectors.csv"}),
    ):
        (tmp_path / name).mkdir()
        said = thickness_files.write(tmp_path / name, found, "eye")
        own = {"surfaces.csv", "etdrs.csv", "thickness_profile.csv", "thickness_profile.png"} | more
        assert names_in(tmp_path / name) == own | {f"surfaces/{surface}.nii.gz" for surface in SURFACES}
        assert said[0].startswith(f"ETDRS sectors are not computable: a {'single B-' if not more else 'circle '}scan")
        rows = rows_of(tmp_path / name / "etdrs.csv")
        assert {row["thickness_um"] for row in rows} == {""}
        assert all("covers no area of the macula" in row["not_computable"] for row in rows)
        profile = rows_of(tmp_path / name / "thickness_profile.csv")
        assert ("quadrant" in profile[0]) == bool(more)
        assert float(profile[5]["retina_um"]) > 100


def test_without_intervals_tables_have_none_and_without_layers_nothing_is_written(raster, tmp_path):
    thickness_files.write(tmp_path, raster._replace(half=None, level=None), "eye")
    assert {row["half_interval_um"] for row in rows_of(tmp_path / "etdrs.csv")} == {""}
    (tmp_path / "none").mkdir()
    assert thickness_files.write(tmp_path / "none", raster._replace(classes=("outside",)), "eye") == []
    assert not list((tmp_path / "none").iterdir())


def test_what_is_written_is_what_is_removed_before_the_next_results(written, tmp_path):
    line = found_of(make_eye(person=7, laterality="R", shape=(1, 64, 48)))
    thickness_files.write(tmp_path, line._replace(at=circle(48)), "eye")
    for name in names_in(written[0]) | names_in(tmp_path):
        assert any(PurePath(name).match(pattern) for pattern in thickness_files.FILES), name
