"""The process that reads files for `guarded`: a question a line on its input, an answer each on its output.

Here, and nowhere else, every exception is caught: parsers of others' formats fail in ways that nobody lists. What they
say of it is not told on, since it may hold what a header says of a person.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from inr_jax import readers
from inr_jax.errors import InputError
from inr_jax.readers import message


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """What was found in a file, or what is wrong with it in one line."""
    path, name, gigabytes = Path(question["path"]), question["name"], question["gigabytes"]
    try:
        _limit(int(gigabytes * 2**30))
        if question["wanted"] == "surfaces":
            return {"surfaces": readers.read_surfaces(path, name)}
        scans = readers.read(path, name, **question["options"])
        return {"scans": [message.of_scan(scan) for scan in scans]}
    except InputError as error:
        return {"error": " ".join(str(error).split())}
    except MemoryError:
        return {"error": f"{name}: not readable, or damaged: reading it needs more than {gigabytes:.0f} GB of memory"}
    except Exception as error:  # noqa: BLE001
        kind = "surfaces" if question["wanted"] == "surfaces" else readers.kind_of(path).name
        return {"error": f"{name}: not readable as {kind}, or damaged ({type(error).__name__})"}


def _limit(memory: int) -> None:
    """No more bytes of data than these: what asks for more gets a MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or memory <= hard:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))


def main() -> None:
    """Says that it is there, and answers until its input ends. What libraries print goes nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides
    out = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    message.send(out, {})
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if question["wanted"] == "scans":
            readers.load(readers.kind_of(Path(question["path"])))
        message.send(out, {})  # what takes long now is the file's fault
        message.send(out, answer(question))


if __name__ == "__main__":
    main()
