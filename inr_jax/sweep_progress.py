"""How far a sweep is: a table on a terminal, a line for each group at work; in a file or a log a line now and then."""

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from inr_jax import progress
from inr_jax.engines import ENDED, SCORING, Progress
from inr_jax.sweeps import told

EVERY = 0.2  # seconds between two tables
UP, CLEAR = "\x1b[{}A", "\x1b[J"  # so many lines; from here to the screen's end


class Board:
    """Shows on stderr what an engine tells and the results that it gives, within `with`."""

    def __init__(self, variants: int, before: int = 0) -> None:
        """variants: to be finished in all; before: those that were, in an earlier run."""
        self._variants, self._before = variants, before
        self._statuses: Counter[str] = Counter()  # of this run's results
        self._running: dict[str, Progress] = {}
        self._began = self._shown = time.monotonic()
        self._height = 0  # of the table that is on the screen

    def tell(self, now: Progress) -> None:
        """What an engine is handed as `tell`."""
        before = self._running.pop(now.group, None)
        if now.doing != ENDED:
            self._running[now.group] = now
        self._show(at_once=before is None or before.doing != now.doing)

    def count(self, result: Mapping[str, Any]) -> None:
        """A result has come; one that is no success is said at once."""
        self._statuses[result["status"]] += 1
        if result["status"] != "finished":
            self._say(f"{told(result['variant'], result['settings'])} {result['status']}: {result['reason']}")
        self._show()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wipe()
        if kind is None:
            sys.stderr.write(f"{self._summary()}\n")

    def _summary(self) -> str:
        under_way = math.fsum(map(_share, self._running.values()))
        return summary(self._variants, self._before, self._statuses, time.monotonic() - self._began, under_way)

    def _show(self, at_once: bool = False) -> None:
        """at_once: whatever was shown a moment ago, since what is done now may say nothing for minutes."""
        width = progress.columns()
        if not at_once and time.monotonic() - self._shown < (EVERY if width else progress.EVERY):
            return
        self._shown = time.monotonic()
        if width:
            self._wipe()
            lines = table(list(self._running.values()), self._summary(), *os.get_terminal_size(sys.stderr.fileno()))
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            self._height = len(lines)
        else:
            doing = "; ".join(" ".join(_cells(one)) for one in self._running.values())
            sys.stderr.write(f"{self._summary()}{f': {doing}' if doing else ''}\n")
        sys.stderr.flush()

    def _say(self, line: str) -> None:
        self._wipe()
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _wipe(self) -> None:
        if self._height:
            sys.stderr.write(UP.format(self._height) + CLEAR)
            self._height = 0


def table(running: list[Progress], summary: str, columns: int, rows: int) -> list[str]:
    """A line for each group at work and the summary below, in so many columns and rows of a terminal."""
    room = max(rows - 2, 1)  # the cursor has a row of its own
    shown = running if len(running) <= room else running[: room - 1]
    cells = [_cells(one) for one in shown]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if len(shown) < len(running):
        lines.append(f"and {len(running) - len(shown)} more")
    return [line[: columns - 1] for line in (*lines, summary)]


def _share(now: Progress) -> float:
    """Variants' worth of training behind those at work."""
    if now.doing == SCORING:
        return float(now.variants)
    return now.variants * now.step / now.steps if now.steps else 0.0


def _cells(now: Progress) -> tuple[str, str, str, str]:
    far = f"{now.step}/{now.steps} {100 * now.step // now.steps:3d} %" if now.steps else ""
    return now.group, now.doing, counted(now.variants, "variant"), far


def counted(number: int, noun: str) -> str:
    """1 variant, 2 variants."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def summary(variants: int, before: int, statuses: Mapping[str, int], seconds: float, under_way: float = 0.0) -> str:
    """How many of the variants have results, and the time left if the others take as long.

    before: had a result before this run, which has seen results of these statuses within so many seconds, and is
    under_way with so many variants' worth of training.
    """
    now = sum(statuses.values())
    parts = [f"{before + now} of {counted(variants, 'variant')}"]
    parts += [f"{statuses[status]} {status}" for status in ("diverged", "failed") if statuses.get(status)]
    left = variants - before - now
    under_way = min(under_way, left)  # results of what is under way come one by one
    if left and now + under_way:
        known = "about" if now else "at least"  # what is not trained for the first time is compiled first
        parts.append(f"{known} {duration(seconds * (left - under_way) / (now + under_way))} left")
    else:
        parts.append(f"after {duration(seconds)}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """50 s, 12 min, 3 h 20 min: rounded up."""
    if seconds <= 60:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
