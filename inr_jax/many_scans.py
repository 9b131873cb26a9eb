"""`inr-jax adapt`: scan after scan of many files, each read when its turn comes and written before the next.

A bad one is told in a line and stops no other. Programs are shared by scans of one shape; nothing else of a scan stays
in memory. One that was written before by the same model and flags is not computed again.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inr_jax import adapted_record, grids, new_scan, readers, scan_io, trained
from inr_jax.errors import InputError, SomeFailed
from inr_jax.restored import Restored, restore
from inr_jax.result import Spacing
from inr_jax.scan import Scan, Triple, checked_name, content_name

log = logging.getLogger(__name__)
NAMES = ("hash", "stem")  # of results: by the scan's content, or as the file names it


class Asked(NamedTuple):
    """What is asked of every scan: `Restored.adapt`, `Result.render` and `Result.save` say what each means."""

    steps: int | None = None
    fit: bool = False
    slices: int | None = None
    spacing: Spacing | None = None
    like: Scan | str | None = None  # an image or its file, on whose grid it is rendered
    bscan_at: Sequence[float] = ()  # mm from the first B-scan: these alone, each into a folder bscan_<mm>mm
    layers: str | None = None  # a file of those that are known, of one scan
    laterality: str | None = None  # "R" or "L", of scans whose file does not say
    scan_spacing: Triple | None = None  # mm between B-scans, rows, A-scans, of scans whose file does not say
    dicom: bool = False
    tiff: bool = False


class Handed(NamedTuple):
    """A scan of a file."""

    scan: Scan
    name: str  # of its results
    content: str  # which content of the file it is
    is_alone: bool  # in its file


def adapt_files(
    folder: str | Path,
    files: Sequence[str],
    output: str | Path,
    asked: Asked,
    *,
    name: str | None = None,
    names: str = "hash",
    overwrite: bool = False,
) -> None:
    """Adapts to every scan in the files; results of each in `output`/<its name>, and one line about it.

    folder: of a training or an exported model. name: of the results, where there is one scan. names: one of NAMES.
    overwrite: whether to compute again what was written before.

    Raises InputError for what concerns all scans, or the only one, and SomeFailed in the end where some of many could
    not be read, do not fit the model or have no finite answer; the others are written.
    """
    model, output = restore(folder), Path(output)
    trained.check_draws(model.config, fit=asked.fit)
    if model.known is None:
        log.info("%s: a scan unlike those it knows is not told: nothing is kept of them (inr-jax calibrate)", folder)
    flags = _flags(asked)
    if isinstance(asked.like, str):
        asked = asked._replace(like=scan_io.read_scan(asked.like))
    of_model = adapted_record.of_model(Path(folder), model)
    total, before, failed = 0, 0, []
    contents: dict[str, str] = {}
    for file, found in _each(files, model, asked, name, names):
        total += 1
        try:
            if isinstance(found, InputError):
                raise found
            if contents.setdefault(found.name, found.content) != found.content:
                raise InputError(f"{file}: name: {found.name} is that of another scan here, too (--names=hash)")
            record = adapted_record.of(found.content, of_model, flags)
            said = _written(model, found, output / found.name, asked, record, overwrite)
            before += said is None
            print(f"scan {total}: {output / found.name} ({said or 'written before'})", flush=True)
        except InputError as error:
            if len(files) == 1 and (isinstance(found, InputError) or found.is_alone):
                raise
            failed.append(file)
            log.error("error: %s", error if str(file) in str(error) else f"{file}: {error}")
    _summary(total, before, failed)


def _flags(asked: Asked) -> dict[str, Any]:
    """As a record keeps them: of files the content, since names may be a person's."""
    files = {name: getattr(asked, name) for name in ("like", "layers")}
    content = {name: readers.content_digest(Path(file)) for name, file in files.items() if file is not None}
    return asked._asdict() | content


def _summary(total: int, before: int, failed: Sequence[str]) -> None:
    """Raises SomeFailed where it is so."""
    if total == 1:
        return
    line = f"{total - len(failed)} of {total} scans written" + (f" ({before} before)" if before else "")
    if failed:
        raise SomeFailed(f"{line}; {len(failed)} failed: {', '.join(dict.fromkeys(failed))}")
    print(line)


def _each(
    files: Sequence[str], model: Restored, asked: Asked, name: str | None, names: str
) -> Iterator[tuple[str, Handed | InputError]]:
    """Every scan of the files by its file, read when its turn comes; what is wrong with a file that cannot be read."""
    for file in files:
        try:
            scans = new_scan.scans_in(file, model.config, asked.scan_spacing)
            for flag, value in (("name", name), ("layers", asked.layers)):
                if value is not None and (len(files) > 1 or len(scans) > 1):
                    raise InputError(f"--{flag}: expected one scan; found {max(len(files), len(scans))}")
            content = readers.content_digest(Path(file))
        except InputError as error:
            yield file, error
            continue
        for i, scan in enumerate(scans):
            called = content_name(scan) if names == "hash" else checked_name(scan.name, file)
            yield file, Handed(scan, name or called, f"{content} {i}", len(scans) == 1)


def _written(model: Restored, found: Handed, folder: Path, asked: Asked, record: dict, overwrite: bool) -> str | None:
    """Adapts to a scan and writes what is not there yet, or all of it; the adaptation in words, None where none was.

    record: by which what was written before is known again.
    """
    places: dict[Path, float | None] = {folder / f"bscan_{mm:g}mm": mm for mm in asked.bscan_at}
    places = places or {folder: None}
    why = {place: "" if overwrite else adapted_record.why_again(place, record) for place in places}
    left = [place for place in places if why[place] is not None]
    if not left:
        return None
    if asked.laterality and found.scan.laterality not in (None, asked.laterality):
        known = found.scan.laterality
        raise InputError(f"{found.name}: --laterality: expected {known}, as the file says; found {asked.laterality}")
    scan = replace(found.scan, laterality=found.scan.laterality or asked.laterality)
    if asked.bscan_at:
        grids.of_bscans(grids.of_scan(scan), asked.bscan_at)  # refuses what lies beyond the scan
    for place in left:
        if why[place]:
            log.info("%s: written before, and again: %s", place, why[place])
    result = model.adapt(scan, steps=asked.steps, fit=asked.fit, layers=asked.layers, name=found.name)
    scan_io.make_folder(folder.parent)
    for place in left:
        if (mm := places[place]) is not None:
            rendered = result.render_at(np.array([new_scan.bscan_index(scan, result.scan, mm)]))
        else:
            rendered = result.render(asked.slices, spacing=asked.spacing, like=asked.like)
        result.save(place, rendered, dicom=asked.dicom, tiff=asked.tiff, record=record)
    for remark in result.remarks:
        log.warning("%s: %s", found.name, remark)
    score = next(row for row in result.rows if row["kind"] == "fitted")
    return f"{score['seconds']:.2f} s, {score['psnr']:.1f} dB on its own B-scans"
