"""The B-scan viewer of a report: arrays in, HTML out. It knows neither models nor files."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from inr_jax import viewer_images as images
from inr_jax.between import ORIGINS
from inr_jax.figures import class_style
from inr_jax.page import Script

MEASURED = ORIGINS.index("measured")
DASHES = {"-": "", "--": "6 4", ":": "1.5 3"}  # of class_style's lines, in CSS pixels
MOST_ROWS = 600  # of a map's image
LINE_POINTS = 65  # of a scan line on the SLO


class Overlay(NamedTuple):
    """A quantity of every voxel, to be shown in colour on the B-scans; nan: not estimable."""

    values: Float[np.ndarray, "P H W"]
    title: str
    unit: str  # in words, behind a number
    meaning: str  # a sentence


class Thickness(NamedTuple):
    """A layer's thickness in every A-scan, um; nan where there is none."""

    value: Float[np.ndarray, "P W"]
    half: Float[np.ndarray, "P W"] | None = None  # of its interval


class EnFace(NamedTuple):
    """The SLO image, and where the A-scans of every B-scan lie on it: mm (y, x) from its first pixel's centre."""

    image: Float[np.ndarray, "Y X"]
    spacing: tuple[float, float]  # mm
    places: Float[np.ndarray, "P W 2"]


class View(NamedTuple):
    """What a reader scrolls through: P B-scans in the order of their places."""

    intensity: Float[np.ndarray, "P H W"]  # the model's answer
    spacing: tuple[float, float]  # mm between rows, A-scans
    places: Float[np.ndarray, " P"]  # mm, of the B-scans
    origin: Int[np.ndarray, "P H W"]  # of a voxel: between.ORIGINS
    linear: Float[np.ndarray, "P H W"]  # the given B-scans, and linearly between them
    labels: Int[np.ndarray, "P H W"] | None = None
    classes: Sequence[str] = ()  # names of the labels; the first is the background
    overlays: Sequence[Overlay] = ()
    thickness: Mapping[str, Thickness] = {}  # by layer, or several of them
    level: str = ""  # of the thickness intervals, such as "90%"
    slo: EnFace | None = None


def given(origin: Int[np.ndarray, "P H W"]) -> list[bool]:
    """Whether a B-scan was measured: some voxel of it was."""
    return [bool(found) for found in (origin == MEASURED).any(axis=(1, 2))]


def html(view: View, volume: str) -> str:
    """The viewer's part of a page, to which `scripts` belong. volume: "" with 3D, otherwise why there is none."""
    data = json.dumps(described(view), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return "\n".join(
        [
            _asset("viewer.html"),
            f'<p class="note" id="volume">{escape(volume)}</p>' if volume else _asset("volume.html"),
            "</section>",
            f'<script type="application/json" id="viewer-data">{data}</script>',
        ]
    )


def style() -> str:
    return _asset("viewer.css")


def scripts(niivue: str | None) -> list[Script]:
    """What brings the viewer to life. niivue: the source of its module, where there is to be a 3D view."""
    own = Script(_asset("viewer.js"))
    if niivue is None:
        return [own]
    return [
        own,
        Script(f"{niivue}\nglobalThis.Niivue = Niivue;", module=True),
        Script(_asset("volume.js"), module=True),
    ]


def _asset(name: str) -> str:
    return files("inr_jax").joinpath("assets", name).read_text(encoding="utf-8")


def described(view: View) -> dict[str, Any]:
    """Everything that the viewer shows, as plain values: images as data URIs, layers as SVG paths, mm and um."""
    low, high = images.window(view.linear)
    _, rows, ascans = view.intensity.shape
    return {
        "places": _rounded(view.places, 4),
        "extent": edges(view.places),
        "given": given(view.origin),
        "rows": rows,
        "ascans": ascans,
        "spacing": list(view.spacing),
        "window": [f"{low:.4g}", f"{high:.4g}"],
        "model": [images.grey(bscan, low, high) for bscan in view.intensity],
        "linear": [images.grey(bscan, low, high) for bscan in view.linear],
        "colours": [f"rgb{colour}" for colour in images.colours()],
        "layers": _layers(view),
        "overlays": [_overlay(overlay) for overlay in view.overlays],
        "thickness": [_thickness(name, found, view.places) for name, found in view.thickness.items()],
        "level": view.level,
        "slo": None if view.slo is None else _slo(view.slo),
        "upwards": view.slo is not None and upwards(view.slo),
    }


def upwards(slo: EnFace) -> bool:
    """Whether the first B-scan lies below the last one on the SLO: maps are shown as the SLO is."""
    return bool(np.nanmean(slo.places[0, :, 0]) > np.nanmean(slo.places[-1, :, 0]))


def _layers(view: View) -> list[dict[str, Any]]:
    """Of every label that is somewhere: name, line, and its outline in each B-scan."""
    if view.labels is None:
        return []
    found = []
    for label in range(1, len(view.classes)):
        if (view.labels == label).any():
            colour, line = class_style(label)
            paths = [images.outline(bscan == label) for bscan in view.labels]
            found.append({"name": view.classes[label], "colour": colour, "dash": DASHES[line], "paths": paths})
    return found


def _overlay(overlay: Overlay) -> dict[str, Any]:
    low, high = _limits(overlay.values)
    shown = [images.coloured(bscan, low, high) for bscan in overlay.values]
    about = {"title": overlay.title, "unit": overlay.unit, "meaning": overlay.meaning}
    return about | {"low": f"{low:.3g}", "high": f"{high:.3g}", "images": shown}


def _limits(values: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """What the lowest and the highest colour stand for: 0 or less, and all but the uppermost hundredth."""
    known = values[np.isfinite(values)]
    return (min(0.0, float(known.min())), float(np.quantile(known, 0.99))) if known.size else (0.0, 0.0)


def _thickness(name: str, found: Thickness, places: Float[np.ndarray, " P"]) -> dict[str, Any]:
    known = found.value[np.isfinite(found.value)]
    low, high = (float(v) for v in np.quantile(known, (0.01, 0.99))) if known.size else (0.0, 0.0)
    return {
        "name": name,
        "low": f"{low:.0f}",
        "high": f"{high:.0f}",
        "map": images.coloured(found.value[nearest_rows(places)], low, high),
        "value": [_rounded(row, 1) for row in found.value],
        "half": None if found.half is None else [_rounded(row, 1) for row in found.half],
    }


def nearest_rows(places: Float[np.ndarray, " P"]) -> Int[np.ndarray, " M"]:
    """The B-scans that lie nearest to evenly spaced rows from first to last, half a step beyond either."""
    first, last = edges(places)
    rows = min(MOST_ROWS, max(1, round((last - first) / max(np.diff(places).min(initial=np.inf), 1e-9))))
    if np.allclose(np.diff(places), (last - first) / len(places)):
        rows = len(places)
    at = first + (np.arange(rows) + 0.5) / rows * (last - first)
    return np.abs(at[:, None] - places).argmin(axis=1)


def edges(places: Float[np.ndarray, " P"]) -> tuple[float, float]:
    """mm: where a map of B-scans begins and ends, half a step beyond the outermost of them."""
    if len(places) < 2:
        return float(places[0]) - 0.5, float(places[0]) + 0.5
    steps = np.diff(places)
    return float(places[0] - steps[0] / 2), float(places[-1] + steps[-1] / 2)


def _slo(slo: EnFace) -> dict[str, Any]:
    """The picture and its size in mm; lines as (x, y) mm from its corner."""
    low, high = images.window(slo.image)
    chosen = np.unique(np.linspace(0, slo.places.shape[1] - 1, LINE_POINTS).round().astype(int))
    size = [slo.image.shape[1] * slo.spacing[1], slo.image.shape[0] * slo.spacing[0]]
    corner = slo.places[:, chosen, ::-1] + np.array(slo.spacing[::-1]) / 2
    return {
        "image": images.grey(slo.image, low, high),
        "size": size,
        "ascans": chosen.tolist(),
        "lines": [[_rounded(point, 3) for point in line] for line in corner],
    }


def _rounded(values: Float[np.ndarray, " n"], digits: int) -> list[float | None]:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]
