"""Progress bars: on a terminal one line that changes; in a file or a log plain lines, now and then."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 10.0  # seconds between two lines of a log; what takes less is not worth one


class _Lines:
    """stderr for tqdm, which goes back to a line's beginning to write it anew: here each time is a line of its own."""

    said = ""  # how far the last line was: tqdm closes a bar by writing it once more

    def write(self, text: str) -> None:
        line = text.strip()
        place = line.partition("[")[0]
        if line and place != self.said:
            sys.stderr.write(f"{line}\n")
            self.said = place

    def flush(self) -> None:
        sys.stderr.flush()


def columns() -> int:
    """The width of the terminal that stderr is; 0 where it is none, or one that does not say."""
    return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0


def bar(items: Iterable | None = None, desc: str | None = None, total: int | None = None, **options: Any) -> tqdm:
    """tqdm's bar over `items`, or one that is moved by `update`."""
    if not columns():
        layout = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
        options |= dict(file=_Lines(), mininterval=EVERY, maxinterval=EVERY, delay=EVERY, bar_format=layout)
    return tqdm(items, desc, total, **options)
