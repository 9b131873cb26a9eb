"""The command line: flags and dispatch, nothing else. Modules are imported where a command needs them."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from inr_jax.errors import InputError


class Command(NamedTuple):
    run: Callable[[flags.FlagValues, Sequence[str]], None]
    summary: str
    usage: str
    example: str
    flags: tuple[str, ...]  # names in FLAGS


def _train(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.train import train

    folder = train(_config(values), values.workdir, allow_config_change=values.allow_config_change)
    print(f"trained: {folder}")


def _adapt(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.new_scan import adapt_files

    if not rest:
        raise InputError("inr-jax adapt: expected at least one SCAN; found none (see inr-jax adapt --help)")
    adapt_files(values.workdir, rest, values.output, steps=values.steps, fit=values.fit, slices=values.slices)


def _evaluate(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.evaluate import evaluate

    evaluate(values.workdir, values.output, split=values.split, quick=values.quick)


def _demo(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.demo import demo

    demo(values.output or "demo_output")


def _doctor(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.doctor import doctor

    doctor()


COMMANDS = {
    "train": Command(
        _train,
        "learn a population",
        "--config=FILE --workdir=FOLDER [--config.KEY=VALUE ...]",
        "inr-jax train --config=configs/oct.py --workdir=runs/oct --config.train.seed=1",
        ("config", "workdir", "allow_config_change"),
    ),
    "adapt": Command(
        _adapt,
        "adapt to new scans (NIfTI, NRRD, MHA, .npz); write intensities, labels, report",
        "--workdir=FOLDER SCAN... --output=FOLDER",
        "inr-jax adapt --workdir=runs/oct eye.nii.gz --output=eye --slices=61",
        ("workdir", "output", "steps", "fit", "slices"),
    ),
    "evaluate": Command(
        _evaluate,
        "score a trained model beside the baselines; write tables, figures, report",
        "--workdir=FOLDER --output=FOLDER",
        "inr-jax evaluate --workdir=runs/oct --split=test --output=runs/oct/test",
        ("workdir", "output", "split", "quick"),
    ),
    "demo": Command(
        _demo,
        "phantom eyes, training, adaptation, report: the whole of it in minutes",
        "[--output=FOLDER]",
        "inr-jax demo",
        ("output",),
    ),
    "doctor": Command(_doctor, "versions, devices, a timed step, what is missing", "", "inr-jax doctor", ()),
}
COMMON = ("device", "threads", "max_memory")


def _define(name: str, values: flags.FlagValues, config_file: str | None) -> None:
    """Defines one flag; those of the same name mean the same in every command."""
    if name == "config":
        from ml_collections import config_flags

        config_flags.DEFINE_config_file("config", config_file, "the config script, see configs/", flag_values=values)
    elif name in ("workdir", "output"):
        text = {"workdir": "folder of the training", "output": "folder for the results"}[name]
        flags.DEFINE_string(name, None, text, flag_values=values)
    elif name in ("allow_config_change", "quick", "fit"):
        text = {
            "allow_config_change": "resume although the config differs from the one the training began with",
            "quick": "tune the baselines on fewer scans",
            "fit": "after the learned steps, many Adam steps on the scan: better, and slower",
        }[name]
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    elif name in ("steps", "slices"):
        text = {"steps": "learned steps (as trained)", "slices": "B-scans to render (as many as scanned)"}[name]
        flags.DEFINE_integer(name, None, text, lower_bound=1, flag_values=values)
    elif name == "split":
        flags.DEFINE_enum(name, "test", ["train", "validation", "test"], "which people", flag_values=values)
    elif name == "device":
        flags.DEFINE_enum(name, "auto", ["auto", "cpu", "gpu"], "where to compute", flag_values=values)
    elif name == "threads":
        flags.DEFINE_integer(name, None, "processor cores to use (all)", lower_bound=1, flag_values=values)
    elif name == "max_memory":
        flags.DEFINE_float(name, None, "most memory to use, in GB (no limit)", lower_bound=0.5, flag_values=values)


def _find_config(argv: Sequence[str]) -> None:
    """Checks the config script first, and puts its folder's parent on the path: scripts import `configs.default`."""
    given = [a.split("=", 1)[1] for a in argv if a.startswith("--config=")]
    for name in given:
        path = Path(name.split(":", 1)[0])
        if not path.is_file():
            raise InputError(f"--config: expected a config script; found no file {path}")
        sys.path.insert(0, str(path.absolute().parent.parent))


def _config(values: flags.FlagValues) -> Any:
    if values.config is None:
        raise InputError("inr-jax train: expected --config=FILE, for example --config=configs/oct.py; found none")
    return values.config


def _parse(command: Command, name: str, argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    values = flags.FlagValues()
    for flag in (*command.flags, *COMMON):
        _define(flag, values, None)
    try:
        return values, values([f"inr-jax {name}", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise InputError(
            f"inr-jax {name}: unknown flag --{error.flagname}{_did_you_mean(error.flagname, values)}"
        ) from error
    except (flags.Error, TypeError, ValueError, AttributeError, KeyError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise InputError(f"inr-jax {name}: {reason}") from error


def _did_you_mean(flag: str, values: flags.FlagValues) -> str:
    """The flag, or the config's key, that comes closest to a mistyped one."""
    known = [n for n in values if n != "config"]
    if "config" in values and values["config"].value is not None:
        known += [f"config.{key}" for key in _keys(values["config"].value.to_dict())]
    close = difflib.get_close_matches(flag, known, n=1, cutoff=0.5)
    return f" (did you mean --{close[0]}?)" if close else ""


def _keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    inner = [_keys(v, f"{prefix}{k}.") if isinstance(v, dict) else [f"{prefix}{k}"] for k, v in tree.items()]
    return [key for keys in inner for key in keys]


def _limit(values: flags.FlagValues) -> None:
    """Device, cores and memory: before anything imports jax, which reads them once."""
    if values.device != "auto":
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[values.device]
    if values.threads is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: values.threads])
    if values.max_memory is not None:
        import resource

        size = int(values.max_memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _help(name: str | None = None) -> str:
    if name is None:
        lines = [f"  {n:10}{c.summary}" for n, c in COMMANDS.items()]
        return "\n".join(
            ["inr-jax: neural fields of medical scans, learned once, adapted to a new scan in seconds", "", *lines, ""]
            + ["inr-jax COMMAND --help tells more. For research use, not for diagnosis."]
        )
    command = COMMANDS[name]
    values = flags.FlagValues()
    for flag in (*(f for f in command.flags if f != "config"), *COMMON):
        _define(flag, values, None)
    shown = [
        f"  --{n}: {values[n].help} [{'none' if values[n].value is None else values[n].value}]" for n in sorted(values)
    ]
    if "config" in command.flags:
        shown.insert(
            0, "  --config: a config script; --config.KEY=VALUE changes a key (all of them: configs/default.py)"
        )
    head = [f"inr-jax {name}: {command.summary}", "", f"  inr-jax {name} {command.usage}", "", "for example", ""]
    return "\n".join([*head, f"  {command.example}", "", "flags [default]", "", *shown])


def main(argv: Sequence[str]) -> int:
    """Runs a command; the exit code: 0, 2 for a user's mistake (one line on stderr), 143 when told to stop."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_help())
        return 0
    name, *rest = argv
    try:
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise InputError(f"inr-jax: expected a command ({', '.join(COMMANDS)}); found {name}{hint}")
        if any(a in ("--help", "-h", "-help") for a in rest):
            print(_help(name))
            return 0
        _find_config(rest)
        command = COMMANDS[name]
        values, positional = _parse(command, name, rest)
        for needed in ("workdir", "output"):
            if needed in command.flags and name != "demo" and getattr(values, needed) is None:
                raise InputError(f"inr-jax {name}: expected --{needed}=FOLDER; found none")
        _limit(values)
        command.run(values, positional)
    except InputError as error:
        print(f"inr-jax: error: {error}", file=sys.stderr)
        return 2
    except InterruptedError as error:
        print(f"inr-jax: {error}", file=sys.stderr)
        return 143
    return 0


def run() -> None:
    sys.exit(main(sys.argv[1:]))
