"""Images, colours and outlines of a viewer, decoded again by others than those who wrote them."""

import io
import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from inr_jax import viewer_images as images


def decoded(uri):
    return Image.open(io.BytesIO(b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)))


def test_a_grey_image_holds_256_levels_of_its_window_and_cuts_what_lies_beyond():
    levels = np.linspace(10, 20, 256).reshape(16, 16)
    np.testing.assert_array_equal(np.asarray(decoded(images.grey(levels, 10.0, 20.0))).ravel(), np.arange(256))
    assert np.asarray(decoded(images.grey(np.array([[-5.0, 99.0]]), 10.0, 20.0))).tolist() == [[0, 255]]


def test_a_window_leaves_out_a_lone_bright_pixel_and_an_even_image_has_one_too():
    noise = np.random.default_rng(0).random((100, 100))
    noise[0, 0] = 1e6
    low, high = images.window(noise)
    assert -1 < low < 0.01
    assert 0.99 < high < 1.01
    low, high = images.window(np.full((4, 4), 7.0))
    assert low == 7.0 < high


def test_colours_rise_in_steps_and_what_is_unknown_is_grey():
    values = np.array([[0.0, 0.999, 5.0, np.nan, -1.0]])
    shown = np.asarray(decoded(images.coloured(values, 0.0, 1.0)).convert("RGB"))[0].tolist()
    low, high = images.colours()[0], images.colours()[-1]
    assert [tuple(colour) for colour in shown] == [low, high, high, images.UNKNOWN, low]


def test_the_colours_of_a_map_grow_lighter_without_exception():
    """So they are told apart in grey, and by people who see fewer colours."""
    lightness = np.array(images.colours()) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > 4).all()
    assert images.UNKNOWN not in images.colours()


def test_a_map_of_one_value_or_of_nothing_is_drawn():
    assert decoded(images.coloured(np.full((2, 3), 4.0), 4.0, 4.0)).size == (3, 2)
    shown = np.asarray(decoded(images.coloured(np.full((2, 3), np.nan), 0.0, 0.0)).convert("RGB"))
    assert (shown == images.UNKNOWN).all()


def corners(path):
    """The polygons of an SVG path, (row, column) from the image's corner."""
    assert re.fullmatch(r"(M[\d. ]+(L[\d. ]+)+Z)*", path)
    return [
        np.array([[float(n) for n in point.split()[::-1]] for point in part.split("L")])
        for part in re.findall(r"M([^Z]+)Z", path)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_an_outline_encloses_the_very_pixels_of_its_region(seed):
    rng = np.random.default_rng(seed)
    region = np.kron(rng.random((5, 6)) < 0.5, np.ones((4, 3))).astype(bool)
    inside = np.zeros(region.shape, bool)
    for polygon in corners(images.outline(region)):
        inside ^= polygon2mask(region.shape, polygon - 0.5)  # to pixels' centres; even-odd
    np.testing.assert_array_equal(inside, region)


def test_an_outline_has_its_corners_alone_and_an_empty_region_has_none():
    region = np.zeros((40, 30), bool)
    region[10:20] = True
    (points,) = corners(images.outline(region))
    assert len(points) <= 8  # a rectangle with its corners cut
    assert (points.min(axis=0).tolist(), points.max(axis=0).tolist()) == ([10, 0], [20, 30])
    assert images.outline(np.zeros((4, 4), bool)) == ""
