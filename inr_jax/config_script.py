"""Configs: scripts found, run, and what they say checked; a training's own read back.

No jax here: --device has to come before it.
"""

import functools
import json
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from inr_jax.errors import InputError

SHIPPED = Path(__file__).with_name("configs")  # where the package is installed; in the project it lies beside it
SHIPPED = SHIPPED if SHIPPED.is_dir() else Path(__file__).parents[1] / "configs"
# What a script of a user's may raise.
SCRIPT_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def load_config(path: str | Path) -> ConfigDict:
    """The config a script's `get_config()` returns, or a training's `config.json` holds.

    `configs/<name>.py` is also found outside the project. Scripts import those beside them, and the shipped ones, as
    `configs.<name>`. Raises InputError if there is no such script, or it does not run.
    """
    script = _find_script(Path(path))
    if script.suffix == ".json":
        return _resolved(script)
    with _running(path, script):
        config = runpy.run_path(str(script)).get("get_config", lambda: None)()
    if not isinstance(config, ConfigDict):
        raise InputError(f"{path}: expected a function get_config() that returns a ConfigDict; found none")
    return config


def load_functions(path: str | Path, prefix: str) -> dict[str, Callable[[], Any]]:
    """A script's functions of no arguments whose names begin with `prefix`, by the rest of their names.

    Found and run as `load_config` finds and runs one; what a generator yields comes as a list. Reading the script and
    calling a function raise InputError where the script does not run.
    """
    script = _find_script(Path(path), "axes")
    with _running(path, script):
        names = runpy.run_path(str(script))

    def running(function: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def run() -> Any:
            with _running(path, script):
                result = function()
                return list(result) if isinstance(result, Iterator) else result

        return run

    found = {name: value for name, value in names.items() if name.startswith(prefix) and callable(value)}
    return {name.removeprefix(prefix): running(function) for name, function in found.items()}


@contextmanager
def _running(path: str | Path, script: Path) -> Iterator[None]:
    """What a user's script raises is one line that names it as the user does; it can import what lies beside it."""
    try:
        with _importable(script.parent):
            yield
    except SCRIPT_ERRORS as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        place = f"line {lines[-1]}: " if lines else ""
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: {place}{type(error).__name__}: {reason}") from error


def _resolved(file: Path) -> ConfigDict:
    try:
        return ConfigDict(tuples(json.loads(file.read_text())))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected JSON; found: {error}") from error


def check_keys(config: ConfigDict, where: str | Path) -> None:
    """Raises InputError for a training's config that lacks keys which this version reads; `where` is its file.

    Which parts a stage learns (its `rates`) is free.
    """
    known = (key for key, _ in flat(load_config("configs/default.py").to_dict()) if ".rates." not in key)
    found = {key for key, _ in flat(config.to_dict())}
    missing = [key for key in known if key not in found]
    if missing:
        raise InputError(
            f"{where}: expected the keys of this version's configs/default.py; it lacks {', '.join(missing)}: "
            "add them with the values that the training had, or train again"
        )


def tuples(value: Any) -> Any:
    """Lists (JSON's) as tuples, all the way down."""
    if isinstance(value, dict):
        return {name: tuples(v) for name, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of nested dicts."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def wanted_elements(old: Any, new: Any) -> str | None:
    """What was expected where other things stand for the numbers of the tuple `old`; None: nothing else does."""
    if not isinstance(old, tuple) or not old or any(isinstance(v, str) for v in old):
        return None
    whole = all(isinstance(v, int) for v in old)
    if any(isinstance(v, str) or (whole and isinstance(v, float)) for v in new):
        return f"{'whole numbers' if whole else 'numbers'}, as in {old}"
    return None


def _find_script(path: Path, flag: str = "config") -> Path:
    if path.is_file():
        return path.absolute()
    shipped = SHIPPED / path.name
    if path.parent == Path("configs") and shipped.is_file():
        return shipped
    known = ", ".join(f"configs/{script.name}" for script in sorted(SHIPPED.glob("*.py")))
    listed = f" (shipped: {known})" if flag == "config" else ""
    raise InputError(f"{flag}: expected a script{listed}; found no file {path}")


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """`configs` is the folder, then the shipped one; afterwards it is what it was before."""
    package = ModuleType("configs")
    package.__path__ = [str(folder), str(SHIPPED)]
    before = _config_modules()
    for name in before:
        del sys.modules[name]
    sys.modules["configs"] = package
    try:
        yield
    finally:
        for name in _config_modules():
            del sys.modules[name]
        sys.modules.update(before)


def _config_modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "configs"}
