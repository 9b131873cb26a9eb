"""Compiled programs, kept between starts: a second `adapt` compiles nothing. Safe to delete at any time.

$INR_JAX_CACHE names the folder ("off": none); without it the platform's own for caches. Programs lie in a folder of
their own for each jaxlib, processor and number of cores, so that two machines may share a home; what a program is
of, its options and the device are in JAX's own key of an entry. Called before anything imports jax, which reads its
environment once.
"""

import hashlib
import logging
import os
import platform
import sys
import warnings
import zlib
from importlib.metadata import version
from pathlib import Path

from inr_jax.errors import InputError
from inr_jax.limits import cores

log = logging.getLogger(__name__)
VARIABLE = "INR_JAX_CACHE"
OFF = "off"
MOST = 2 * 2**30  # bytes of entries that are kept
ENTRY, SEAL = "-cache", ".sha256"  # ends of names: JAX's, and of the checksum beside it


def place() -> Path | None:
    """The folder of all hosts' programs; None where there is to be none."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named == OFF else Path(named).expanduser()
    default = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    return Path(default.get(sys.platform, os.environ.get("XDG_CACHE_HOME", "~/.cache")), "inr_jax").expanduser()


def processor() -> str:
    """What this machine's code may be made of: the instructions it knows, or its name where it does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.partition(":")[2].split()))
    return f"{platform.processor()} {platform.node()}"


def key(jaxlib: str, processor: str, cores: int) -> str:
    """The name of a host's folder. XLA divides work among the cores it finds when it compiles."""
    of_host = hashlib.sha256(f"{platform.machine()} {processor} {cores}".encode()).hexdigest()[:16]
    return f"jaxlib-{jaxlib}-{of_host}"


def enable() -> Path | None:
    """Lets every program be kept, whatever it took to compile. Returns the host's folder; None: there is none.

    Leaves a place that the user gave to JAX itself. Raises InputError where $INR_JAX_CACHE cannot be written.
    """
    root = place()
    if root is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    folder = root / key(version("jaxlib"), processor(), cores())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
        clean(folder)
    except OSError as error:
        if VARIABLE in os.environ:
            raise InputError(
                f"{VARIABLE}: expected a folder that can be written, or {OFF}; found {root}: {error.strerror}"
            ) from error
        log.info("%s cannot be written (%s): programs are compiled anew at every start", root, error.strerror)
        return None
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # an entry that went, or is being written by another process, costs a compilation and is no user's business
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    return folder


def entries(folder: Path) -> list[Path]:
    """Of one host's folder, or of all."""
    return sorted(folder.rglob(f"*{ENTRY}"))


def clean(folder: Path) -> None:
    """Removes damaged entries, and the oldest ones beyond MOST bytes.

    JAX never replaces an entry that is there, so that a damaged one would be read, and refused, at every start. An
    entry is whole when it is first seen if it can be unpacked, later if it has the checksum of then.
    """
    found = [(entry, size) for entry in entries(folder) if (size := _checked(entry))]
    found.sort(key=lambda one: _age(one[0]))
    total = 0
    for entry, size in found:
        total += size
        if total > MOST:
            _remove(entry)


def _age(entry: Path) -> float:
    """Newest first; what another process has just removed comes last."""
    return -entry.stat().st_mtime if entry.is_file() else 0.0


def _remove(entry: Path) -> None:
    for path in (entry, entry.with_name(entry.name + SEAL)):
        path.unlink(missing_ok=True)


def _checked(entry: Path) -> int:
    """Bytes of an entry; 0 where it was damaged and is removed, or is gone."""
    seal = entry.with_name(entry.name + SEAL)
    try:
        content = entry.read_bytes()
    except FileNotFoundError:
        return 0
    digest = hashlib.sha256(content).hexdigest()
    if not (seal.read_text() == digest if seal.is_file() else is_whole(content)):
        _remove(entry)
        return 0
    if not seal.is_file():
        part = seal.with_name(f"{seal.name}.{os.getpid()}")
        part.write_text(digest)
        os.replace(part, seal)
    return len(content)


def is_whole(content: bytes) -> bool:
    """Whether an entry can be unpacked. One of zstandard, which JAX takes where it is installed, counts as whole."""
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return True
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True
