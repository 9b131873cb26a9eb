"""JSON lines of the comparison: their schema, what is there already, which setting validation people chose."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inr_jax.errors import InputError

Row = dict[str, Any]
FIELDS = (
    "method", "steps", "cell", "seed", "population", "psnr", "ssim", "dice", "assd_um", "thickness_error_um",
    "seconds_per_scan", "points_evaluated", "model_flops", "compile_seconds", "train_seconds", "modulation_size",
    "peak_memory_mb", "device",
)  # fmt: skip
ALSO = (
    "size", "split", "context", "setting", "scans", "by_person", "train_memory_mb", "train_compile_seconds", "curve",
    "note", "cores", "time", "git", "jax",
)  # fmt: skip
SCORES = {  # of a row: of a scan's
    **{name: name for name in ("psnr", "ssim", "dice", "assd_um")}, "thickness_error_um": "thickness_mae_um",
}  # fmt: skip
EXACT = "inf"
KEY = ("size", "split", "method", "setting", "seed", "population", "context", "steps")


def key(row: Row) -> tuple:
    return tuple(row[name] for name in KEY)


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file.

    A last line that was cut short is dropped, with all that was written together with it, from the file, too. Raises
    InputError for any other line that is no row.
    """
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    is_cut = bool(lines) and not lines[-1].endswith("\n")
    found = [_parsed(path, number, line) for number, line in enumerate(lines[: len(lines) - is_cut], 1)]
    if is_cut:
        kept = [line for line, row in zip(lines[:-1], found, strict=True) if row["time"] != found[-1]["time"]]
        found = [row for row in found if row["time"] != found[-1]["time"]]
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text("".join(kept))
        os.replace(temporary, path)
    return found


def _parsed(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {number}: expected a JSON row; found: {error}") from error
    if not isinstance(row, dict) or set(row) != {*FIELDS, *ALSO}:
        raise InputError(f"{path}: line {number}: expected a row of this benchmark; found other keys")
    people = {score: {name: _number(v) for name, v in own.items()} for score, own in row["by_person"].items()}
    return row | {name: _number(row[name]) for name in SCORES} | {"by_person": people}


def _number(value: float | str | None) -> float | None:
    return math.inf if value == EXACT else value


def append(path: Path, found: Iterable[Row]) -> None:
    """All rows of one result in one write, with its time: all of them are there or, once read again, none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    now = {"time": datetime.now(UTC).isoformat()}
    lines = [json.dumps({name: _plain((row | now)[name]) for name in (*FIELDS, *ALSO)}) for row in found]
    text = "".join(f"{line}\n" for line in lines)
    with path.open("a") as file:
        file.write(text)


def _plain(value: Any) -> Any:
    """NaN as null and infinity (the PSNR of what is exact) as a word: JSON has neither."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return EXACT if value > 0 else None
    return value


def compared(found: Iterable[Row], method: str, steps: int, kind: str, *, size: str) -> dict[str, float]:
    """Mean PSNR of a method's settings on validation people, noisy context, after so many steps.

    kind: of the places that decide. Settings are compared on the population and seed that has most of them. -inf: it
    diverged.
    """
    scores: dict[tuple, dict[str, float]] = {}
    for row in found:
        is_asked = (row["method"], row["steps"], row["size"]) == (method, steps, size)
        if is_asked and row["split"] == "validation" and row["cell"] == f"{kind}, noisy":
            psnr = -math.inf if row["psnr"] is None else row["psnr"]
            scores.setdefault((row["population"], row["seed"]), {})[row["setting"]] = psnr
    return max(scores.values(), key=len, default={})


def chosen(found: Iterable[Row], method: str, steps: int, kind: str, *, size: str) -> str | None:
    """The setting with the best of `compared`; None where none is known."""
    scores = compared(found, method, steps, kind, size=size)
    return max(scores, key=lambda setting: scores[setting]) if scores else None


def newest(found: Sequence[Row]) -> list[Row]:
    """One row of each key and cell, the last that was written."""
    return list({(key(row), row["cell"]): row for row in found}.values())
