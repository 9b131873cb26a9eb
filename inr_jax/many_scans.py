"""`inr-jax adapt`: scans of many files, some at a time, read when their turn comes and written before the next.

A bad one is told in a line and stops no other. Those of one shape among some are adapted in one dispatch, and all of a
shape share programs; nothing else of a scan stays in memory. One that was written before by the same model and flags is
not computed again.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from inr_jax import adapted_record, grids, new_scan, readers, scan_io, trained
from inr_jax.errors import InputError, SomeFailed
from inr_jax.restored import Restored, restore
from inr_jax.result import Result, Seen, Spacing
from inr_jax.scan import Scan, Triple, checked_name, content_name

log = logging.getLogger(__name__)
NAMES = ("hash", "stem")  # of results: by the scan's content, or as the file names it
MOST_VOXELS = 8_000_000  # of scans at once
Given, Made = ParamSpec("Given"), TypeVar("Made")


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


class Plan(NamedTuple):
    """What is left to do for a scan."""

    of: Handed
    scan: Scan  # whose eye is known, where a flag says so
    places: Mapping[Path, float | None]  # folders to write, of a B-scan at mm or of all there is; none: written before
    record: Mapping[str, Any]  # by which what is written is known again
    seen: Seen | None  # as the model sees it; None where nothing is left


def adapt_files(
    folder: str | Path,
    files: Sequence[str],
    output: str | Path,
    asked: Asked,
    *,
    name: str | None = None,
    names: str = "hash",
    overwrite: bool = False,
    together: int = 4,
) -> None:
    """Adapts to every scan in the files; results of each in `output`/<its name>, and one line about it.

    folder: of a training or an exported model. name: of the results, where there is one scan. names: one of NAMES.
    overwrite: whether to compute again what was written before. together: scans at once, MOST_VOXELS at most.

    Raises InputError for what concerns all scans, or the only one, and SomeFailed in the end where some of many could
    not be read, do not fit the model or have no finite answer; the others are written.
    """
    model = restore(folder)
    trained.check_draws(model.config, fit=asked.fit)
    if model.known is None:
        log.info("%s: a scan unlike those it knows is not told: nothing is kept of them (inr-jax calibrate)", folder)
    flags = _flags(asked)
    if isinstance(asked.like, str):
        asked = asked._replace(like=scan_io.read_scan(asked.like))
    writer = _Writer(model, Path(output), asked, adapted_record.of_model(Path(folder), model), flags, overwrite)
    total, before, failed = 0, 0, []
    for window in _windows(_each(files, model, asked, name, names), together):
        for (file, found), said in zip(window, writer.write([found for _, found in window]), strict=True):
            total += 1
            if isinstance(said, InputError):
                if len(files) == 1 and (isinstance(found, InputError) or found.is_alone):
                    raise said
                failed.append(file)
                log.error("error: %s", said if str(file) in str(said) else f"{file}: {said}")
            elif isinstance(found, Handed):
                before += said is None
                print(f"scan {total}: {writer.output / found.name} ({said or 'written before'})", flush=True)
    _summary(total, before, failed)


def _windows(
    turns: Iterable[tuple[str, Handed | InputError]], together: int
) -> Iterator[list[tuple[str, Handed | InputError]]]:
    """So many scans in turn, fewer where they are large."""
    window: list[tuple[str, Handed | InputError]] = []
    voxels = 0
    for turn in turns:
        size = turn[1].scan.voxels.size if isinstance(turn[1], Handed) else 0
        if window and (len(window) == together or voxels + size > MOST_VOXELS):
            yield window
            window, voxels = [], 0
        window.append(turn)
        voxels += size
    if window:
        yield window


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


def _attempt(make: Callable[Given, Made], *given: Given.args, **named: Given.kwargs) -> Made | InputError:
    """What is made of what is given, or why it cannot be: other scans are not to wait for this one."""
    try:
        return make(*given, **named)
    except InputError as error:
        return error


@dataclass(frozen=True)
class _Writer:
    """Adapts a model to scans and writes what is asked of them."""

    model: Restored
    output: Path
    asked: Asked
    of_model: str  # which model it is
    flags: Mapping[str, Any]  # as records keep them
    overwrite: bool
    contents: dict[str, str] = field(default_factory=dict)  # of the scans so far, by their names

    def write(self, scans: Sequence[Handed | InputError]) -> list[str | InputError | None]:
        """What is not there yet of every scan; its adaptation in words, None where there was none, or what is wrong."""
        plans: list[Plan | InputError] = [
            one if isinstance(one, InputError) else _attempt(self._plan, one) for one in scans
        ]
        said: list[str | InputError | None] = [one if isinstance(one, InputError) else None for one in plans]
        left = {i: one for i, one in enumerate(plans) if isinstance(one, Plan) and one.seen is not None}
        for i, found in self._adapted({i: one.seen for i, one in left.items() if one.seen is not None}):
            said[i] = found if isinstance(found, InputError) else _attempt(self._save, left[i], found)
        return said

    def _plan(self, found: Handed) -> Plan:
        """Raises InputError for a scan of another's name, of another eye than was said, and that the model refuses."""
        if self.contents.setdefault(found.name, found.content) != found.content:
            raise InputError(f"name: {found.name} is that of another scan here, too (--names=hash)")
        record = adapted_record.of(found.content, self.of_model, self.flags)
        folder = self.output / found.name
        places: dict[Path, float | None] = {folder / f"bscan_{mm:g}mm": mm for mm in self.asked.bscan_at}
        places = places or {folder: None}
        why = {place: "" if self.overwrite else adapted_record.why_again(place, record) for place in places}
        left = {place: mm for place, mm in places.items() if why[place] is not None}
        if not left:
            return Plan(found, found.scan, left, record, None)
        eye, known = self.asked.laterality, found.scan.laterality
        if eye and known not in (None, eye):
            raise InputError(f"{found.name}: --laterality: expected {known}, as the file says; found {eye}")
        scan = replace(found.scan, laterality=known or eye)
        if self.asked.bscan_at:
            grids.of_bscans(grids.of_scan(scan), self.asked.bscan_at)  # refuses what lies beyond the scan
        for place in left:
            if why[place]:
                log.info("%s: written before, and again: %s", place, why[place])
        return Plan(found, scan, left, record, self.model.seen(scan, layers=self.asked.layers, name=found.name))

    def _adapted(self, scans: Mapping[int, Seen]) -> Iterator[tuple[int, Result | InputError]]:
        """At once; where that fails one by one, to know which of them it was."""
        left = dict(scans)
        try:
            for i, result in self.model.adapt_seen(list(scans.values()), steps=self.asked.steps, fit=self.asked.fit):
                place = list(scans)[i]
                del left[place]
                yield place, result
        except InputError as error:
            if len(scans) == 1:
                yield from ((place, error) for place in scans)
                return
        for place, one in left.items():
            yield from self._adapted({place: one})

    def _save(self, plan: Plan, result: Result) -> str:
        asked = self.asked
        scan_io.make_folder(self.output)
        for place, mm in plan.places.items():
            if mm is None:
                rendered = result.render(asked.slices, spacing=asked.spacing, like=asked.like)
            else:
                rendered = result.render_at(np.array([new_scan.bscan_index(plan.scan, result.scan, mm)]))
            result.save(place, rendered, dicom=asked.dicom, tiff=asked.tiff, record=plan.record)
        for remark in result.remarks:
            log.warning("%s: %s", plan.of.name, remark)
        score = next(row for row in result.rows if row["kind"] == "fitted")
        return f"{score['seconds']:.2f} s, {score['psnr']:.1f} dB on its own B-scans"
