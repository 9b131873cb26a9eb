"""The flags of the commands, and a config's keys as flags."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from inr_jax.config_script import load_config
from inr_jax.errors import InputError

# name -> how absl defines it; those of the same name mean the same in every command
FLAGS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "workdir": (flags.DEFINE_string, dict(default=None, help="folder of the training")),
    "output": (flags.DEFINE_string, dict(default=None, help="folder for the results")),
    "allow_config_change": (
        flags.DEFINE_boolean,
        dict(default=False, help="resume although the config differs from the one the training began with"),
    ),
    "quick": (flags.DEFINE_boolean, dict(default=False, help="tune the baselines on fewer scans")),
    "fit": (
        flags.DEFINE_boolean,
        dict(default=False, help="after the learned steps, many Adam steps on the scan: better, and slower"),
    ),
    "steps": (flags.DEFINE_integer, dict(default=None, help="learned steps (as trained)", lower_bound=1)),
    "slices": (flags.DEFINE_integer, dict(default=None, help="B-scans to render (as scanned)", lower_bound=1)),
    "split": (
        flags.DEFINE_enum,
        dict(default="test", help="which people", enum_values=["train", "validation", "test"]),
    ),
    "device": (
        flags.DEFINE_enum,
        dict(default="auto", help="where to compute", enum_values=["auto", "cpu", "gpu"]),
    ),
    "threads": (flags.DEFINE_integer, dict(default=None, help="processor cores to use (all)", lower_bound=1)),
    "max_memory": (
        flags.DEFINE_float,
        dict(default=None, help="most of the computer's memory to use, in GB (no limit)", lower_bound=0.5),
    ),
}


def define(names: Iterable[str]) -> flags.FlagValues:
    """Flags that may stand before and after other arguments."""
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    for name in names:
        define_one, options = FLAGS[name]
        define_one(name=name, flag_values=values, **options)
    return values


def define_config(argv: Sequence[str], values: flags.FlagValues) -> tuple[list[str], dict[str, Any]]:
    """Reads the config script and defines its keys as flags: what is left of the arguments, and the keys' values.

    Raises InputError where there is no script, it does not run, or it lacks a key.
    """
    script, rest = _take(argv, "--config")
    rest = _last(rest)
    if script is None:
        raise InputError("inr-jax train: expected --config=FILE, for example --config=configs/oct.py; found none")
    config = load_config(script)
    known = dict(_keys(config.to_dict()))
    for key in (a.removeprefix("--config.").split("=", 1)[0] for a in rest if a.startswith("--config.")):
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f" (did you mean --config.{close[0]}?)" if close else ""
            raise InputError(f"--config.{key}: expected a key of {script}; found no such key{hint}")
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=rest)
    return rest, known


def check_numbers(before: Mapping[str, Any], config: ConfigDict) -> None:
    """Raises InputError where text stands for the numbers of a tuple: ml_collections compares no elements."""
    for key, after in _keys(config.to_dict()):
        old = before[key]
        had_numbers = isinstance(old, tuple) and bool(old) and not any(isinstance(v, str) for v in old)
        if had_numbers and any(isinstance(v, str) for v in after):
            raise InputError(f"--config.{key}: expected numbers, as in {old}; found {after}")


def _take(argv: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The last value of `--flag=value` or `--flag value`, and the arguments without it."""
    value, rest, left = None, [], iter(argv)
    for argument in left:
        if argument == flag:
            value = next(left, None)
        elif argument.startswith(f"{flag}="):
            value = argument.split("=", 1)[1]
        else:
            rest.append(argument)
    return value, rest


def _last(argv: Sequence[str]) -> list[str]:
    """Of a key that is given twice only the last: ml_collections would join the tuples."""
    keys = [a.split("=", 1)[0] if a.startswith("--config.") and "=" in a else str(i) for i, a in enumerate(argv)]
    return [a for i, a in enumerate(argv) if keys[i] not in keys[i + 1 :]]


def _keys(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def underscored(argument: str) -> str:
    """--max-memory=2 as --max_memory=2; a config's keys, values and files as they are."""
    name, equals, value = argument.partition("=")
    is_flag = name.startswith("--") and not name.startswith("--config.")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if is_flag else argument
