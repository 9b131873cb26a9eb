"""Files read in a process of their own, which may take so long and so much memory, and no more.

One process reads file after file, since starting it takes longer than reading most of them; where it ends, hangs or has
grown it is replaced.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import inr_jax
from inr_jax.errors import InputError
from inr_jax.limits import resident
from inr_jax.readers import HEADERS, content_name, kind_of, message, parts_of
from inr_jax.scan import Scan

# Of a large file, by its voxels as float32: so long on a busy machine, and so many times their bytes in memory
BYTES_PER_SECOND, GROWTH = 5e6, 4.0
AS_FLOAT32, UNPACKED = 4, 16  # bytes for a byte of voxels, and for one that may be compressed so many times as many
PLAIN = (".vol", ".e2e", ".nii", ".raw", ".bmp", *HEADERS)  # never compressed
START = 60.0  # seconds until the process is there, or has loaded a library
KEPT = 0.75  # GB: one that is larger after an answer is replaced
ENDING = 1.0  # seconds from its last word to its end
LOOK = 0.05  # seconds between two looks at it


class Limit(NamedTuple):
    """What reading one file may take."""

    seconds: float
    gigabytes: float


SMALL = Limit(8.0, 2.0)  # for a small file


def limit_of(files: list[Path], small: Limit = SMALL) -> Limit:
    """What reading these files, which are one scan's, may take: as a small file, or longer and more by their sizes."""
    is_plain = [file.name.lower().endswith(PLAIN) for file in files]
    each = zip(files, is_plain, strict=True)
    decoded = sum(AS_FLOAT32 * (1 if plain else UNPACKED) * file.stat().st_size for file, plain in each)
    return Limit(max(small.seconds, decoded / BYTES_PER_SECOND), max(small.gigabytes, GROWTH * decoded / 2**30))


class Stopped(Exception):
    """The process has not answered, and why."""


class Worker:
    """The process: started at once, and ended by `close`."""

    def __init__(self) -> None:
        paths = [str(Path(inr_jax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "inr_jax.readers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **one},
            start_new_session=True,
        )
        self._received = bytearray()
        self._allow(SMALL._replace(seconds=START))
        self._line()  # it says that it is there

    def ask(self, question: dict[str, Any], limit: Limit) -> dict[str, Any]:
        """Its answer. Raises Stopped where there is none within the limit."""
        self._allow(limit._replace(seconds=START))
        assert self._process.stdin is not None, "it was started with one"
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Stopped("ended") from None
        self._line()  # it has loaded what it needs
        self._allow(limit)
        return message.received(self._line(), self._take)

    def _allow(self, limit: Limit) -> None:
        self._limit, self._until = limit, time.monotonic() + limit.seconds

    def is_fit(self) -> bool:
        """Whether another file may be read by it."""
        return self._process.poll() is None and resident(self._process.pid) < KEPT

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            self._more()
        return bytes(self._take(end + 1))

    def _take(self, count: int) -> bytearray:
        while len(self._received) < count:
            self._more()
        found, self._received = self._received[:count], self._received[count:]
        return found

    def _more(self) -> None:
        """Waits until it has written something."""
        assert self._process.stdout is not None, "it was started with one"
        output = self._process.stdout.fileno()
        while not select.select([output], [], [], LOOK)[0]:
            if time.monotonic() > self._until:
                raise Stopped(f"took more than {self._limit.seconds:.0f} s")
            if resident(self._process.pid) > self._limit.gigabytes:
                raise Stopped(f"needs more than {self._limit.gigabytes:.0f} GB of memory")
        written = os.read(output, 1 << 20)
        if not written:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING)
            is_killed = self._process.returncode == -signal.SIGKILL
            raise Stopped("needs more memory than the system had left: it was killed" if is_killed else "ended")
        self._received += written


class Reader:
    """Reads files by a worker, which it starts when it is first asked. limit: for a small file."""

    def __init__(self, limit: Limit = SMALL) -> None:
        self.limit = limit
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def scans(self, path: Path, **options: Any) -> list[Scan]:
        """Every scan of a file or folder. Raises InputError in one line, whatever is wrong with it."""
        return [message.to_scan(scan) for scan in self._found("scans", path, options)]

    def surfaces(self, path: Path) -> tuple[tuple[str, ...], Float[np.ndarray, "S D W"]]:
        """Names and rows of the surfaces of a file. Raises InputError in one line, whatever is wrong with it."""
        names, rows = self._found("surfaces", path, {})
        return tuple(names), rows

    def _found(self, wanted: str, path: Path, options: dict[str, Any]) -> Any:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        try:
            is_anonymous = wanted == "surfaces" or kind_of(path).is_anonymous
            name = content_name(path) if is_anonymous else str(path)
            limit = limit_of(parts_of(path), self.limit)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        question = {"wanted": wanted, "path": str(path.absolute()), "name": name, "options": options}
        with self._lock:
            answer = self._ask({**question, "gigabytes": limit.gigabytes}, limit)
        if "error" in answer:
            raise InputError(answer["error"])
        return answer[wanted]

    def close(self) -> None:
        """Ends the worker, if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _ask(self, question: dict[str, Any], limit: Limit) -> dict[str, Any]:
        fit = False
        try:
            if self._worker is not None and not self._worker.is_fit():
                self.close()
            self._worker = self._worker or Worker()
            found = self._worker.ask(question, limit)
            fit = self._worker.is_fit()
        except Stopped as stopped:
            return {"error": f"{question['name']}: not readable, or damaged: reading it {stopped}"}
        finally:
            if not fit:
                self.close()
        return found


READER = Reader()  # of this process: read_scans and read_surfaces of scan_io
