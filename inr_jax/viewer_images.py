"""What a viewer shows, as text for a page: grey and coloured images as data URIs, labels as SVG paths."""

from base64 import b64encode
from io import BytesIO

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from skimage import measure

STEPS = 15  # colours of a map: with UNKNOWN they fit four bits, which halves a file
UNKNOWN = (128, 128, 128)  # of nan
CURVE = "viridis"  # even in lightness, and told apart by colour-blind people


def window(images: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Grey levels that become black and white: all but the outermost thousandth of the values at either end."""
    low, high = np.quantile(images, (0.001, 0.999))
    return (float(low), float(high)) if high > low else (float(images.min()), float(images.max()) + 1.0)


def grey(image: Float[np.ndarray, "H W"], low: float, high: float) -> str:
    """A lossless image of 8 bits, black at `low` and white at `high`."""
    levels = np.clip((image - low) / (high - low), 0, 1) * 255
    return _uri(Image.fromarray(np.rint(levels).astype(np.uint8)))


def coloured(values: Float[np.ndarray, "H W"], low: float, high: float) -> str:
    """Values in STEPS colours from `low` to `high`, grey where they are nan."""
    known = np.isfinite(values)
    share = np.clip((np.where(known, values, low) - low) / ((high - low) or 1.0), 0, 1)
    steps = np.where(known, np.minimum((share * STEPS).astype(int), STEPS - 1), STEPS)
    image = Image.fromarray(steps.astype(np.uint8), mode="P")
    image.putpalette([level for colour in (*colours(), UNKNOWN) for level in colour])
    return _uri(image, bits=4)


def plain(labels: Int[np.ndarray, "H W"]) -> str:
    """Labels as the levels of a grey image, to be read again rather than looked at."""
    return _uri(Image.fromarray(labels.astype(np.uint8)))


def colours() -> list[tuple[int, int, int]]:
    """Red, green and blue of every step of a map, from low to high."""
    found = matplotlib.colormaps[CURVE](np.linspace(0, 1, STEPS))[:, :3]
    return [(int(r), int(g), int(b)) for r, g, b in np.rint(255 * found)]


def _uri(image: Image.Image, **options: int) -> str:
    file = BytesIO()
    image.save(file, format="PNG", **options)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def outline(region: Bool[np.ndarray, "H W"]) -> str:
    """The closed borders of a region as an SVG path in pixels from the image's corner; "" where it is empty.

    A path runs half-way between a pixel inside and one outside (marching squares).
    """
    rows = np.flatnonzero(region.any(axis=1))
    if not len(rows):
        return ""
    framed = np.pad(region[rows[0] : rows[-1] + 1], 1).astype(np.float32)
    corner = np.array([rows[0] - 0.5, -0.5])  # of the frame's first pixel, from the image's corner
    return "".join(_closed(path + corner) for path in measure.find_contours(framed, 0.5))


def _closed(path: Float[np.ndarray, "n 2"]) -> str:
    """(row, column) points as one closed SVG path in half pixels' precision, without points on a straight line."""
    steps = np.diff(path, axis=0)
    turns = np.r_[True, (np.diff(steps, axis=0) != 0).any(axis=1)]
    points = [f"{column:g} {row:g}" for row, column in path[:-1][turns]]
    return f"M{'L'.join(points)}Z"
