"""Surfaces lie between rows, at the millimetre of their A-scan; what is not there is empty."""

import numpy as np
import pytest
import SimpleITK as sitk

from inr_jax import grids, surfaces
from inr_jax.phantom import CLASSES, SURFACES, make_eye

NAMES = ("outside", "A", "B", "fluid")
GRID = grids.Grid((2, 12, 3), (0.24, 0.004, 0.06), (-3.0, 5.5, 12.25), (0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8))


def stack() -> np.ndarray:
    """A from row 2, B from row 5 to 8; fluid within B of A-scan [0, 0], no A in [0, 1], nothing in [0, 2]."""
    labels = np.zeros((2, 12, 3), int)
    labels[:, 2:5], labels[:, 5:9] = 1, 2
    labels[0, 6:8, 0] = 3
    labels[0, 2:5, 1] = 0
    labels[0, :, 2] = 0
    return labels


def test_a_surface_lies_half_a_row_above_its_layer_and_is_nan_where_there_is_none():
    found = surfaces.of_labels(stack(), surfaces.layers_of(NAMES))
    expected = [[1.5, 4.5, np.nan], [4.5, 4.5, np.nan], [8.5, 8.5, np.nan]]
    np.testing.assert_array_equal(found[:, 0], expected)
    np.testing.assert_array_equal(found[:, 1], np.broadcast_to([[1.5], [4.5], [8.5]], (3, 3)))


def test_surfaces_of_a_phantoms_labels_are_its_own_within_half_a_row():
    eye = make_eye(person=3, laterality="R", shape=(4, 128, 32))
    found = surfaces.of_labels(eye.labels_true.astype(int), surfaces.layers_of(CLASSES))
    assert np.isfinite(found).mean() > 0.99
    assert np.nanmax(np.abs(found - eye.surfaces)) <= 0.5 + 1e-4


def test_surfaces_are_named_by_anatomy_where_the_layers_are_known_and_by_their_neighbours_else():
    assert surfaces.names_of(CLASSES) == SURFACES
    assert surfaces.names_of(NAMES) == ("top of A", "A-B", "bottom of B")
    assert surfaces.names_of(()) == ()


def test_a_row_of_the_table_leads_to_the_voxel_border_that_simpleitk_finds_there():
    found = surfaces.of_labels(stack(), [1, 2])
    at = np.arange(12.0).reshape(2, 3, 2)
    table = surfaces.rows(found, ("top", "middle", "bottom"), GRID, np.array([0.0, 0.5]), np.array([0.0, 0.24]), at)
    assert len(table) == 6
    image = sitk.GetImageFromArray(stack().astype(np.uint8))
    image.SetSpacing(GRID.spacing[::-1])
    image.SetOrigin(GRID.origin)
    image.SetDirection(GRID.direction)
    row = next(r for r in table if (r["bscan"], r["ascan"]) == (0.5, 1))
    assert (row["bscan_mm"], row["ascan_mm"]) == (0.24, 0.06)
    assert (row["slo_y_mm"], row["slo_x_mm"]) == (8, 9)
    down = np.array([row[f"depth_{axis}"] for axis in "xyz"])
    for name, border in (("top", 1.5), ("middle", 4.5), ("bottom", 8.5)):
        point = np.array([row[f"{axis}_mm"] for axis in "xyz"]) + row[f"{name}_um"] / 1000 * down
        np.testing.assert_allclose(image.TransformPhysicalPointToContinuousIndex(point), (1, border, 1), atol=1e-3)
    assert np.isnan([r["top_um"] for r in table if (r["bscan"], r["ascan"]) == (0.0, 2)]).all()


@pytest.mark.parametrize("classes", [("outside", "fluid"), ("outside",)])
def test_labels_without_layers_have_no_names_of_surfaces(classes):
    assert surfaces.names_of(classes) == ()


def test_specks_are_no_layers_and_what_is_left_is_as_it_was():
    labels = np.zeros((3, 40, 30), np.int8)
    labels[:, 10:20] = 2
    labels[:, 10:20, 14:16] = 0  # a shadow cuts it
    specked = labels.copy()
    specked[1, 38:, 25:27] = 1
    np.testing.assert_array_equal(surfaces.without_specks(specked), labels)
    np.testing.assert_array_equal(surfaces.without_specks(np.zeros_like(labels)), np.zeros_like(labels))
