"""The command line: flags and dispatch, nothing else."""

import difflib
import errno
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from absl import flags

from inr_jax import command_flags, limits, places, program_cache, stopping
from inr_jax.commands import COMMANDS, Command
from inr_jax.errors import InputError, SomeFailed

COMMON = ("cache", "device", "threads", "max_memory")
HELP = ("--help", "-h", "-help", "help")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


def _parse(command: Command, name: str, argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags and the other arguments. Raises InputError in one line."""
    values = command_flags.define((*command.flags, *COMMON), command.defaults)
    script, rest = _config_file(command, name, [command_flags.underscored(argument) for argument in argv])
    try:
        if script is not None:
            rest, before = command_flags.define_config(script, rest, values)
        positional = values([f"inr-jax {name}", *rest])[1:]
        if script is not None:
            command_flags.check_numbers(before, values.config)
    except InputError:
        raise
    except flags.UnrecognizedFlagError as error:
        known = [flag.replace("_", "-") for flag in (*command.flags, *COMMON)]
        close = difflib.get_close_matches(error.flagname.replace("_", "-"), known, n=1, cutoff=0.5)
        hint = f" (did you mean --{close[0]}?)" if close else ""
        raise InputError(f"{name}: unknown flag --{error.flagname}{hint}") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(command_flags.reason(error, values)) from error
    if positional and not command.takes_scans:
        raise InputError(f"{name}: expected flags alone; found {positional[0]}")
    for needed in command.needs:
        if not getattr(values, needed):
            raise InputError(f"{name}: expected --{needed}=FOLDER; found none")
    return values, positional


def _config_file(command: Command, name: str, argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The config whose keys are flags (None: there is none), and the other arguments. Raises InputError."""
    if command.takes_config:
        script, rest = command_flags.take(argv, "--config")
        script = script or command.default_config
        if script is None:
            example = next(word for word in command.example.split() if word.startswith("--config="))
            raise InputError(f"{name}: expected --config=FILE, for example {example}; found none")
        return script, rest
    if not command.changes:
        return None, list(argv)
    changed = [argument for argument in argv if argument.startswith("--config.")]
    for argument in changed:
        if argument.split(".")[1] not in command.changes:
            allowed = ", ".join(f"--config.{part}" for part in command.changes)
            raise InputError(f"{name}: expected keys of {allowed} alone; found {argument}")
    own = f"{command_flags.take(argv, '--workdir')[0]}/config.json"
    if places.is_file(own):
        return own, list(argv)
    return None, [argument for argument in argv if argument not in changed]  # that there is no training is told later


def _help(name: str | None = None) -> str:
    if name is None:
        lines = [f"  {n:10}{c.summary}" for n, c in COMMANDS.items()]
        first = "inr-jax: neural fields of medical scans, learned once, adapted to a new scan in seconds"
        last = "inr-jax COMMAND --help tells more. For research use, not for diagnosis."
        return "\n".join([first, "", *lines, "", last])
    command = COMMANDS[name]
    values = command_flags.define((*command.flags, *COMMON), command.defaults)
    defaults = {n: "required" if n in command.needs else command_flags.shown_default(values[n]) for n in values}
    shown = [f"  --{n.replace('_', '-')}: {values[n].help} [{defaults[n]}]" for n in sorted(values)]
    if command.changes:
        parts = ", ".join(f"config.{part}.KEY" for part in command.changes)
        shown.insert(0, f"  --config.KEY=VALUE: another setting than in training, of {parts} [as trained]")
    if command.takes_config:
        keys = "configs/prepare_oct.py" if name == "prepare" else "configs/default.py"
        default = command.default_config or "required"
        text = f"a config script; --config.KEY=VALUE changes a key, all of them in {keys} [{default}]"
        shown.insert(0, f"  --config: {text}")
    head = [f"inr-jax {name}: {command.summary}", "", f"  inr-jax {name} {command.usage}".rstrip(), ""]
    return "\n".join([*head, "for example", "", f"  {command.example}", "", "flags [default]", "", *shown])


def _command(name: str, rest: Sequence[str]) -> None:
    """Parses and runs one command, or prints its help."""
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"expected a command ({', '.join(COMMANDS)}); found {name}{hint}")
    if any(a in HELP[:-1] for a in rest):
        print(_help(name))
        return
    command = COMMANDS[name]
    values, positional = _parse(command, name, rest)
    limits.limit(device=values.device, threads=values.threads, max_memory=values.max_memory)
    with _remarks():
        if values.cache:
            program_cache.enable()
        command.run(values, positional)


@contextmanager
def _remarks() -> Iterator[None]:
    """What the program has to say besides results goes to stderr, a line each, once."""
    log, handler = logging.getLogger("inr_jax"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("inr-jax: %(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # libraries give the root logger handlers of their own
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def main(argv: Sequence[str]) -> int:
    """Runs a command; the exit code, which one line explains.

    0, 2 for a mistake or lack of room, 3 where some of many scans failed, 130 and 143 if stopped, 141 if nobody reads.
    """
    if not argv or argv[0] in HELP:
        print(_help())
        return 0
    stop = stopping.Stop()
    # Printed after the exception is gone, so that progress bars have ended their line.
    try:
        with stop.listening():
            _command(argv[0], argv[1:])
            sys.stdout.flush()
        return 0
    except BrokenPipeError:  # whoever read has gone (`inr-jax adapt --help | head`): nothing is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except InputError as error:
        code, line = 2, f"error: {error}"
    except SomeFailed as error:
        code, line = 3, str(error)
    except MemoryError as error:
        code, line = 2, f"error: {str(error) or 'out of memory'}"
    except (KeyboardInterrupt, InterruptedError) as error:
        code, line = 128 + stop.number, str(error) or "stopped"
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        code, line = 2, f"error: {error.filename or 'output'}: cannot be written: {error.strerror}"
    except RuntimeError as error:
        reason = limits.of_memory(error)
        if reason is None:
            raise
        code, line = 2, f"error: {reason}"
    print(f"inr-jax: {line}", file=sys.stderr)
    return code


def run() -> None:
    """Ends the process with the exit code."""
    if code := main(sys.argv[1:]):
        sys.stdout.flush()
        os._exit(code)  # threads of XLA that still compute would crash while the interpreter is taken down
