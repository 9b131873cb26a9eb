"""Layers that somebody has drawn or corrected, as labels of a scan: what an adaptation can learn from, too.

A file of surfaces tells the labels between two that follow one another; where one of them is not known, neither is the
label. -1: unknown.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from inr_jax import scan_io, surfaces
from inr_jax.errors import InputError
from inr_jax.scan import Scan, checked_labels, index_of
from inr_jax.scan_io import IMAGE_SUFFIXES

UNKNOWN = -1
SAME = 1e-3  # B-scans and A-scans: so near is the scan's own
Surfaces = tuple[tuple[str, ...], Float[np.ndarray, "S D W"]]


def read(path: str | Path, scan: Scan, classes: Sequence[str]) -> Int[np.ndarray, "D H W"]:
    """The labels of a scan in a file: surfaces.csv as `adapt` writes it, an .xml of HEYEX or OCTExplorer, an image.

    classes: of the model. B-scans may be left out of a .csv, and be -1 in an image. Raises InputError for a file that
    is none of them, or of another scan.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not classes:
        raise InputError(f"{path}: layers: expected a model that has labels; found one without")
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        image = scan_io.read_scan(path)
        part = checked_labels(image.voxels, len(classes), str(path), unknown=True)
        found = np.full(scan.voxels.shape, UNKNOWN, np.int32)
        found[_part(image, scan, str(path))] = part
    elif path.suffix.lower() == ".csv":
        found = of_surfaces(*_in_table(path, scan), scan.voxels.shape[1], classes, str(path))
    elif path.suffix.lower() == ".xml":
        told = scan_io.with_surfaces(scan, path)
        assert told.surfaces is not None, "with_surfaces put them there"
        found = of_surfaces(told.surface_names, told.surfaces, scan.voxels.shape[1], classes, str(path))
    else:
        known = f".csv, .xml or one of {' '.join(IMAGE_SUFFIXES)}"
        raise InputError(f"{path}: layers: expected {known}; found {path.suffix or 'no suffix'}")
    return found


def _part(image: Scan, scan: Scan, where: str) -> tuple[slice, ...]:
    """Which voxels of a scan an image's are: all, or the part that was kept of it. InputError where they are others."""
    first = index_of(scan, np.array(image.origin))
    begin = np.rint(first).astype(int)
    is_same = np.allclose(image.spacing, scan.spacing, rtol=1e-3) and np.allclose(
        image.direction, scan.direction, atol=1e-3
    )
    is_within = (begin >= 0).all() and (begin + image.voxels.shape <= scan.voxels.shape).all()
    if not (is_same and is_within and np.abs(first - begin).max() < 0.1):
        raise InputError(
            f"{where}: layers: expected voxels of the scan, {scan.voxels.shape} or a part of them; found "
            f"{image.voxels.shape} of another size or elsewhere"
        )
    return tuple(slice(b, b + n) for b, n in zip(begin, image.voxels.shape, strict=True))


def checked(labels: Int[np.ndarray, "D H W"], scan: Scan, classes: Sequence[str]) -> Int[np.ndarray, "D H W"]:
    """Labels of a scan, or InputError where they are of another, not the model's, or nowhere known."""
    if not classes:
        raise InputError(f"{scan.name}: layers: expected a model that has labels; found one without")
    if labels.shape != scan.voxels.shape:
        raise InputError(f"{scan.name}: layers: expected labels {scan.voxels.shape}; found {labels.shape}")
    if (labels < 0).all():
        raise InputError(f"{scan.name}: layers: expected some that are known; found none")
    return checked_labels(labels, len(classes), f"{scan.name}: layers", unknown=True)


def told(scan: Scan) -> str:
    """Of which B-scans labels were given, and what that means for scores."""
    assert scan.labels is not None, "they were given"
    given = np.flatnonzero((scan.labels >= 0).any(axis=(1, 2))) + 1
    which = f"B-scans {', '.join(map(str, given))} (from 1)" if len(given) < len(scan.labels) else "all B-scans"
    return f"layers were given, and learned from, of {which}: scores of labels are no test there"


def of_surfaces(
    names: Sequence[str], rows: Float[np.ndarray, "S D W"], height: int, classes: Sequence[str], where: str
) -> Int[np.ndarray, "D {height} W"]:
    """Labels between surfaces that are known, -1 elsewhere. Raises InputError where they are not the model's."""
    own = surfaces.names_of(classes)
    known = np.full((len(own), *rows.shape[1:]), np.nan)
    known[_places(names, own, where)] = rows
    after = np.array([0, *surfaces.layers_of(classes), 0])  # the label above surface k, and that below the last
    depth = np.arange(height)[:, None, None]
    below = np.zeros((height, *rows.shape[1:]), int)  # how many known surfaces lie above: which one last
    for k, row in enumerate(known, start=1):
        below = np.where(depth > row, k, below)
    above = np.full_like(below, len(own))
    for k, row in reversed(list(enumerate(known))):
        above = np.where(depth < row, k, above)
    return np.moveaxis(np.where(above == below, after[below], UNKNOWN), 0, 1).astype(np.int32)


def _places(names: Sequence[str], own: Sequence[str], where: str) -> list[int]:
    """Which of a model's surfaces those of a file are: by name, or by order where there are as many."""
    known = [_key(name) for name in own]
    for end, usual in ((0, "ilm"), (-1, "bm")):
        if own[end].startswith(("top of", "bottom of")):
            known[end] = usual
    asked = [_key(name) for name in names]
    if len(set(asked)) == len(asked) and set(asked) <= set(known):
        return [known.index(key) for key in asked]
    if len(names) == len(own):
        return list(range(len(own)))
    raise InputError(f"{where}: layers: expected surfaces among {', '.join(own)}; found {', '.join(names)}")


def _key(name: str) -> str:
    """A surface by what lies above it: RNFL-GCL of one program is RNFL of another."""
    return name.casefold() if name.startswith(("top of", "bottom of")) else name.partition("-")[0].casefold()


def _in_table(path: Path, scan: Scan) -> Surfaces:
    """Names and rows of a surfaces.csv at the scan's own B-scans and A-scans; others, between them, are left out."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(line for line in file if not line.startswith("#")))
        names = tuple(key.removesuffix("_um") for key in (table[0] if table else {}) if str(key).endswith("_um"))
        found = np.full((len(names), scan.voxels.shape[0], scan.voxels.shape[2]), np.nan, np.float32)
        for row in table:
            top = np.array([float(row[f"{axis}_mm"]) for axis in "xyz"])  # of depth 0, LPS: the scan may be a part
            d, first, w = index_of(scan, top).tolist()
            if min(d, w) < -SAME:
                raise IndexError
            if abs(d - round(d)) > SAME or abs(w - round(w)) > SAME:
                continue
            depths = [float(row[f"{name}_um"] or "nan") for name in names]
            found[:, round(d), round(w)] = np.array(depths) / (surfaces.UM * scan.spacing[1]) + first
    except (KeyError, TypeError, ValueError, OverflowError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: layers: expected a table as adapt writes surfaces.csv; found: {error}") from error
    except IndexError as error:
        wanted = (scan.voxels.shape[0], scan.voxels.shape[2])
        raise InputError(f"{path}: layers: expected B-scans and A-scans within {wanted}; found others") from error
    if not names:
        raise InputError(f"{path}: layers: expected a table as adapt writes surfaces.csv; found no column of a surface")
    return names, found
