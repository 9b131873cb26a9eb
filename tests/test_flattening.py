"""Flattening at Bruch's membrane: the published result, the way back, and what is done where it is not seen."""

import numpy as np
import pytest
import toy

from inr_jax.errors import InputError
from inr_jax.flattening import (
    between,
    filled_membrane,
    flattening_shift,
    membrane_of_labels,
    move_rows,
    moved_inside,
)

D, H, W = 3, 40, 12


def wavy_labels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1 and 2 above a wavy BM, 0 below it and above the retina; and BM's rows."""
    membrane = 25 + np.random.default_rng(seed).integers(-6, 7, (D, W))
    rows = np.arange(H)[None, :, None]
    above = membrane[:, None] - rows
    return np.where(above < 0, 0, np.where(above < 4, 2, np.where(above < 12, 1, 0))), membrane


def test_flattening_gives_the_published_volumes() -> None:
    with np.load(toy.fixture("flattening.npz")) as file:
        image, label, image_flat, label_flat = (file[k] for k in ("image", "label", "image_flat", "label_flat"))
    rows = image.shape[1]
    membrane = filled_membrane(membrane_of_labels(label), rows, "fixture")
    shift = flattening_shift(membrane, rows)
    scale = np.abs(image_flat).max()
    assert np.abs(move_rows(image, shift, edge=False) - image_flat).max() < 1e-8 * scale
    np.testing.assert_array_equal(move_rows(label, shift, edge=True), label_flat)


def test_the_membrane_is_the_last_labelled_row_and_lands_on_row_065_h() -> None:
    labels, membrane = wavy_labels()
    np.testing.assert_array_equal(membrane_of_labels(labels), membrane)
    flat = move_rows(labels, flattening_shift(membrane_of_labels(labels), H), edge=True)
    np.testing.assert_array_equal(membrane_of_labels(flat), np.full((D, W), 26))


def test_the_way_back_is_exact_wherever_nothing_left_the_image() -> None:
    labels, membrane = wavy_labels()
    image = np.random.default_rng(1).random((D, H, W)).astype(np.float32) + 0.5
    shift = flattening_shift(membrane.astype(float), H)
    inside = moved_inside(H, shift)
    back = move_rows(move_rows(image, shift, edge=False), -shift, edge=False)
    np.testing.assert_array_equal(back[inside], image[inside])
    assert (back[~inside] == 0).all()
    assert 0 < (~inside).sum() == np.abs(shift).sum()
    np.testing.assert_array_equal(move_rows(move_rows(labels, shift, edge=True), -shift, edge=True), labels)


def test_rows_that_move_in_are_0_in_images_and_the_edge_row_in_labels() -> None:
    volume = np.arange(1, 6).reshape(1, 5, 1)
    assert move_rows(volume, np.array([[2]]), edge=False).ravel().tolist() == [0, 0, 1, 2, 3]
    assert move_rows(volume, np.array([[-2]]), edge=True).ravel().tolist() == [3, 4, 5, 5, 5]


def test_a_membrane_that_is_absent_or_near_the_edge_is_interpolated_along_the_b_scan() -> None:
    line = np.array([[20.0, np.nan, 24.0, 1.0, 39.0, 30.0, np.nan]])
    np.testing.assert_allclose(filled_membrane(line, H, ""), [[20, 22, 24, 26, 28, 30, 30]])
    # the bounds themselves (2 and 38 of 40 rows) are outside
    np.testing.assert_allclose(filled_membrane(np.array([[20.0, 2.0, 38.0, 20.0]]), H, ""), [[20, 20, 20, 20]])


def test_a_b_scan_without_a_membrane_takes_it_from_its_neighbours() -> None:
    lines = np.array([[20.0, 22.0], [np.nan, np.nan], [30.0, 24.0]])
    np.testing.assert_allclose(filled_membrane(lines, H, "")[1], [25, 23])


def test_no_membrane_anywhere_is_one_line() -> None:
    with pytest.raises(InputError, match="eye: Bruch's membrane: expected it between rows 2 and 38; found none"):
        filled_membrane(np.full((2, 3), np.nan), H, "eye")


def test_lines_are_linear_between_known_b_scans_and_held_beyond() -> None:
    found = between(np.array([[10.0, 0.0], [20.0, 0.0]]), np.array([0, 4]), np.array([0, 1, 4, 6]))
    np.testing.assert_allclose(found, [[10, 0], [12.5, 0], [20, 0], [20, 0]])
