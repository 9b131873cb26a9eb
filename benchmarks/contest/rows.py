"""JSON lines of the comparison: their schema, what is there already, which setting validation people chose."""

import json
import math
import os
from collections.abc import Iterable, Sequence
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
KEY = ("size", "split", "method", "setting", "seed", "population", "context", "steps")
SCORES = {  # of a row: of a scan's
    **{name: name for name in ("psnr", "ssim", "dice", "assd_um")}, "thickness_error_um": "thickness_mae_um",
}  # fmt: skip


def key(row: Row) -> tuple:
    return tuple(row[name] for name in KEY)


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file. A last line that was cut short is dropped, from the file, too.

    Raises InputError for any other line that is no row.
    """
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text("".join(lines := lines[:-1]))
        os.replace(temporary, path)
    return [_parsed(path, number, line) for number, line in enumerate(lines, 1)]


def _parsed(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {number}: expected a JSON row; found: {error}") from error
    if not isinstance(row, dict) or set(row) != {*FIELDS, *ALSO}:
        raise InputError(f"{path}: line {number}: expected a row of this benchmark; found other keys")
    return row


def append(path: Path, found: Iterable[Row]) -> None:
    """All rows of one result in one write: all of them are there or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({name: _plain(row[name]) for name in (*FIELDS, *ALSO)}) + "\n" for row in found)
    with path.open("a") as file:
        file.write(text)


def _plain(value: Any) -> Any:
    """NaN and infinities as null: JSON has none."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chosen(found: Iterable[Row], method: str, steps: int, kind: str, *, size: str) -> str | None:
    """The setting of a method with the best mean PSNR on validation people, noisy context; None where none is known.

    kind: of the places that decide. Settings are compared on the first population and seed that all of them have.
    """
    scores: dict[tuple, dict[str, float]] = {}
    for row in found:
        is_asked = (row["method"], row["steps"], row["size"]) == (method, steps, size)
        if is_asked and row["split"] == "validation" and row["cell"] == f"{kind}, noisy":
            psnr = -math.inf if row["psnr"] is None else row["psnr"]
            scores.setdefault((row["population"], row["seed"]), {})[row["setting"]] = psnr
    if not scores:
        return None
    most = max(scores.values(), key=len)
    return max(most, key=lambda setting: most[setting])


def newest(found: Sequence[Row]) -> list[Row]:
    """One row of each key and cell, the last that was written."""
    return list({(key(row), row["cell"]): row for row in found}.values())
