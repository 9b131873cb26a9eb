"""Scans from .npz files: many of one population, or one. No jax here."""

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from inr_jax.errors import InputError
from inr_jax.scan import Scan, Triple, checked, checked_labels, checked_name


def read_npz(path: Path, only: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, or those of `only` that it has; nothing pickled."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if only is None or key in only}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not an .npz file, or cut short: {reason}") from error


def read_npz_scans(path: str | Path, *, slo_axes: str | None = "auto") -> list[Scan]:
    """Read every scan of an .npz file: several (`oct_vols`, `spacing_oct`, ...) or one (`voxels`, ...).

    Several: `oct_vols` [n, H, W, D], `spacing_oct` mm in that order [3] or [n, 3], and, where present,
    `seg_vols` and `valid_vols` of the same shape, `slo_imgs` [n, W, D] or [n, D, W] sampled at every A-scan
    (`slo_axes` says which where W == D: "WD" or "DW"; None: no SLO is taken) and `subject_names` [n]. One: the fields
    of `Scan`. Raises InputError in one line.
    """
    path = Path(path)
    arrays = read_npz(path)
    if slo_axes is None:
        arrays = {key: array for key, array in arrays.items() if key not in ("slo", "slo_imgs")}
    if "oct_vols" in arrays:
        return _several(arrays, str(path), slo_axes)
    if "voxels" in arrays:
        return [_one(arrays, path)]
    raise InputError(f"{path}: missing key: expected oct_vols or voxels, found {', '.join(arrays) or 'none'}")


def read_npz_names(path: Path, *, slo_axes: str = "auto") -> list[str]:
    """The names of the scans that `read_npz_scans` reads; their voxels are read only if the file has no names."""
    names = read_npz(path, ("subject_names", "name"))
    if "subject_names" in names:
        return [str(name) for name in np.atleast_1d(names["subject_names"])]
    if "name" in names:
        return [str(names["name"])]
    return [scan.name for scan in read_npz_scans(path, slo_axes=slo_axes)]


def _need(arrays: dict[str, np.ndarray], key: str, shapes: tuple[tuple[int, ...], ...], where: str) -> np.ndarray:
    if key not in arrays:
        raise InputError(f"{where}: missing key: expected {key}, found {', '.join(arrays)}")
    array = arrays[key]
    if array.shape not in shapes:
        raise InputError(f"{where}: {key}: expected shape {' or '.join(map(str, shapes))}, found {array.shape}")
    if array.dtype.kind not in "iufb":
        raise InputError(f"{where}: {key}: expected numbers, found {array.dtype}")
    return array


def _several(arrays: dict[str, np.ndarray], where: str, slo_axes: str | None) -> list[Scan]:
    volumes = arrays["oct_vols"]
    if volumes.ndim != 4:
        raise InputError(f"{where}: oct_vols: expected 4 axes [n, H, W, D], found shape {volumes.shape}")
    _need(arrays, "oct_vols", (volumes.shape,), where)
    count, _, columns, bscans = volumes.shape
    spacing = np.broadcast_to(_need(arrays, "spacing_oct", ((3,), (count, 3)), where), (count, 3))
    names = [checked_name(str(name), where) for name in arrays.get("subject_names", np.arange(count))]
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"{where}: subject_names: expected {count} different names, found {len(set(names))}")
    labels = valid = slos = None
    if "seg_vols" in arrays:
        labels = checked_labels(_need(arrays, "seg_vols", (volumes.shape,), where), None, f"{where}: seg_vols")
    if "valid_vols" in arrays:
        valid = _need(arrays, "valid_vols", (volumes.shape,), where).astype(bool)
    if "slo_imgs" in arrays and slo_axes is not None:
        slos = _need(arrays, "slo_imgs", ((count, columns, bscans), (count, bscans, columns)), where)
        slos = _slo_lines_first(slos.astype(np.float32), columns, bscans, slo_axes, where)
    scans = []
    for i, name in enumerate(names):
        h, w, d = map(float, spacing[i])
        scan = Scan(
            voxels=volumes[i].transpose(2, 0, 1).astype(np.float32),
            spacing=(d, h, w),
            labels=None if labels is None else labels[i].transpose(2, 0, 1),
            valid=None if valid is None else valid[i].transpose(2, 0, 1),
            name=name,
            person=name,
        )
        scans.append(checked(_with_sampled_slo(scan, None if slos is None else slos[i]), f"{where}: {name}"))
    return scans


def _slo_lines_first(
    slos: Float[np.ndarray, "n a b"], columns: int, bscans: int, slo_axes: str, where: str
) -> Float[np.ndarray, "n D W"]:
    if slo_axes == "auto" and columns == bscans:
        raise InputError(f"{where}: slo_imgs: W == D == {bscans}: expected slo_axes WD or DW, found auto")
    if slo_axes not in ("auto", "WD", "DW"):
        raise InputError(f"slo_axes: expected auto, WD or DW, found {slo_axes}")
    is_wd = slo_axes == "WD" or (slo_axes == "auto" and slos.shape[1:] == (columns, bscans))
    lines = slos.swapaxes(1, 2) if is_wd else slos
    if lines.shape[1:] != (bscans, columns):
        raise InputError(f"{where}: slo_imgs: slo_axes is {slo_axes}, found shape {slos.shape}")
    return lines


def _with_sampled_slo(scan: Scan, slo: Float[np.ndarray, "D W"] | None) -> Scan:
    """An SLO that was sampled at every A-scan: its pixels are the A-scans."""
    if slo is None:
        return scan
    spacing = (scan.spacing[0], scan.spacing[2])
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(slo.shape, spacing, strict=True)), indexing="ij"))
    return replace(scan, slo=slo, slo_spacing=spacing, ascans_on_slo=np.moveaxis(places, 0, -1))


def _one(arrays: dict[str, np.ndarray], path: Path) -> Scan:
    where, volume = str(path), arrays["voxels"]
    if volume.ndim != 3:
        raise InputError(f"{where}: voxels: expected 3 axes [B-scan, depth, A-scan], found shape {volume.shape}")
    shape, (bscans, _, columns) = volume.shape, volume.shape
    _need(arrays, "voxels", (shape,), where)
    spacing = _triple(_need(arrays, "spacing", ((3,),), where))
    rest: dict[str, object] = {}
    if "origin" in arrays:
        rest["origin"] = _triple(_need(arrays, "origin", ((3,),), where))
    if "direction" in arrays:
        rest["direction"] = tuple(map(float, _need(arrays, "direction", ((9,), (3, 3)), where).ravel()))
    if "labels" in arrays:
        rest["labels"] = checked_labels(_need(arrays, "labels", (shape,), where), None, where)
    if "surfaces" in arrays:
        lines = arrays["surfaces"].shape[:1]
        rest["surfaces"] = _need(arrays, "surfaces", ((*lines, bscans, columns),), where).astype(np.float32)
    if "valid" in arrays:
        rest["valid"] = _need(arrays, "valid", (shape,), where).astype(bool)
    if "slo" in arrays:
        rest["slo"] = _need(arrays, "slo", (arrays["slo"].shape[:2],), where).astype(np.float32)
        rest["slo_spacing"] = tuple(map(float, _need(arrays, "slo_spacing", ((2,),), where)))
        rest["ascans_on_slo"] = _need(arrays, "ascans_on_slo", ((bscans, columns, 2),), where).astype(np.float32)
    if "quality" in arrays:
        rest["quality"] = _need(arrays, "quality", ((bscans,),), where).astype(np.float32)
    for key in ("surface_names", "remarks"):
        rest[key] = tuple(map(str, np.atleast_1d(arrays.get(key, ()))))
    if "turned" in arrays:
        rest["turned"] = tuple(map(bool, _need(arrays, "turned", ((2,),), where)))
    text = {key: str(arrays[key]) for key in ("laterality", "name", "person", "pattern") if key in arrays}
    name = checked_name(text.get("name", path.stem), where)
    scan = Scan(volume.astype(np.float32), spacing, name=name, person=text.get("person", name), **rest)  # type: ignore[arg-type]
    return checked(replace(scan, laterality=text.get("laterality") or None, pattern=text.get("pattern") or None), where)


def _triple(values: np.ndarray) -> Triple:
    first, second, third = map(float, values)
    return first, second, third
