"""The flags of the commands, and a config's keys as flags."""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from inr_jax.config_script import flat, load_config, wanted_elements
from inr_jax.errors import InputError


class Flag(NamedTuple):
    """How absl defines it. Flags of the same name mean the same in every command."""

    define: Callable[..., Any]
    help: str
    default: Any = None
    absent: str = "none"  # what is done without it
    options: Mapping[str, Any] = {}


FLAGS = {
    "workdir": Flag(
        flags.DEFINE_string,
        "folder of the training, or of the sweep",
        absent="adapt: --model; validate: a network for the scan alone; ablate: --dry-run",
    ),
    "model": Flag(
        flags.DEFINE_string, "folder that inr-jax export wrote; phantom: the small shipped one", absent="--workdir"
    ),
    "licence": Flag(flags.DEFINE_string, "under which the model is passed on, in one line", absent="none stated"),
    "output": Flag(flags.DEFINE_string, "folder for the results", absent="print alone"),
    "allow_config_change": Flag(
        flags.DEFINE_boolean, "resume although config or data are not those the training began with", False
    ),
    "overwrite": Flag(
        flags.DEFINE_boolean,
        "write into a folder that has other content; adapt: compute again what was written before",
        False,
    ),
    "baselines": Flag(flags.DEFINE_boolean, "score what can be done without a model, too; --no-baselines: not", True),
    "quick": Flag(flags.DEFINE_boolean, "tune the baselines on fewer scans", False),
    "fit": Flag(
        flags.DEFINE_boolean,
        "after the learned steps, many Adam steps on the scan: finer where it was measured, and slower",
        False,
    ),
    "together": Flag(
        flags.DEFINE_integer,
        "scans of one shape that are adapted in one dispatch; 1: the least memory",
        4,
        options={"lower_bound": 1},
    ),
    "steps": Flag(
        flags.DEFINE_integer,
        "learned steps; more than were trained shrink, and gain a little",
        absent="as trained",
        options={"lower_bound": 0},
    ),
    "slices": Flag(flags.DEFINE_integer, "B-scans to render", absent="as scanned", options={"lower_bound": 1}),
    "spacing": Flag(
        flags.DEFINE_string,
        "mm between rendered B-scans, rows and A-scans; 0.06,, leaves the others as scanned",
        absent="as scanned",
    ),
    "like": Flag(
        flags.DEFINE_string, "an image (NIfTI ...) on whose grid to render, voxel for voxel", absent="the scan's own"
    ),
    "bscan_at": Flag(
        flags.DEFINE_list,
        "B-scans to render alone, mm from the scan's first, each into a folder of its own: 0.5,1.25",
        [],
        absent="as --slices says",
    ),
    "dicom": Flag(
        flags.DEFINE_boolean, "write intensity and segmentation as DICOM (derived secondary capture), too", False
    ),
    "tiff": Flag(flags.DEFINE_boolean, "write intensity and segmentation as TIFF stacks, too", False),
    "name": Flag(
        flags.DEFINE_string, "what the results of one scan are called", absent="scan- and a hash of its content"
    ),
    "names": Flag(
        flags.DEFINE_enum,
        "of results: a hash of the scan's content, or the file's own name, which may be a person's",
        "hash",
        options={"enum_values": ["hash", "stem"]},
    ),
    "browser": Flag(flags.DEFINE_boolean, "open a browser; --no-browser: print the address alone", True),
    "keep_every": Flag(flags.DEFINE_integer, "every which B-scan is kept: 2, 4, 8 ...", 2, options={"lower_bound": 2}),
    "slo_axes": Flag(
        flags.DEFINE_enum,
        "axes of slo_imgs in .npz files, needed where W == D",
        "auto",
        options={"enum_values": ["auto", "WD", "DW"]},
    ),
    "laterality": Flag(
        flags.DEFINE_enum,
        "which eye it is, where the file does not say",
        absent="unknown",
        options={"enum_values": ["R", "L"]},
    ),
    "figure": Flag(flags.DEFINE_string, "a PNG to draw B-scan, layers and SLO into", absent="no figure"),
    "scan_spacing": Flag(
        flags.DEFINE_list,
        "mm between B-scans, rows, A-scans, where the file does not say: 0.24,0.0039,0.0118",
        [],
        absent="as the file says",
    ),
    "layers": Flag(
        flags.DEFINE_string,
        "layers of the scan: .xml of HEYEX or OCTExplorer; adapt learns from them, and reads surfaces.csv and labels",
        absent="those of the scan",
    ),
    "split": Flag(flags.DEFINE_enum, "which people", "test", options={"enum_values": ["train", "validation", "test"]}),
    "conventions": Flag(
        flags.DEFINE_enum,
        "how PSNR and SSIM are taken; interp_oct: data range of each reference B-scan, docs/interp_oct.md",
        "inr_jax",
        options={"enum_values": ["inr_jax", "interp_oct"]},
    ),
    "method": Flag(flags.DEFINE_string, "which method of the evaluations", absent="the model's first"),
    "against": Flag(flags.DEFINE_string, "which method of the second one", absent="the same"),
    "lpips_weights": Flag(
        flags.DEFINE_string, ".npz of AlexNet's and the linear weights, to score LPIPS too", absent="no LPIPS"
    ),
    "sweep": Flag(flags.DEFINE_list, "axes whose product is trained: activation,seed", [], absent="no axis"),
    "one_at_a_time": Flag(
        flags.DEFINE_list, "axes of which one is changed from the base at a time", [], absent="no axis"
    ),
    "axes": Flag(flags.DEFINE_string, "a script of your own sweep_<axis>() functions", absent="the shipped axes alone"),
    "dry_run": Flag(flags.DEFINE_boolean, "print variants, groups, memory and time; train nothing", False),
    "engine": Flag(
        flags.DEFINE_enum,
        "group after group in this process, or spread by Ray",
        "local",
        options={"enum_values": ["local", "ray"]},
    ),
    "workers": Flag(flags.DEFINE_integer, "Ray's processes", absent="as there is room", options={"lower_bound": 1}),
    "worker_threads": Flag(
        flags.DEFINE_integer, "cores of each of Ray's processes", absent="shared evenly", options={"lower_bound": 1}
    ),
    "memory": Flag(
        flags.DEFINE_float,
        "GB that the variants in one program may take: more of them follow one another",
        absent="70 % of what is free",
        options={"lower_bound": 0.01},
    ),
    "over": Flag(
        flags.DEFINE_enum,
        "variants of one shape at once (vmap) or one after the other (map) in their program; auto: timed",
        "auto",
        options={"enum_values": ["auto", "vmap", "map"]},
    ),
    "cache": Flag(
        flags.DEFINE_boolean, "keep compiled programs, so that the next start is faster; --no-cache: not", True
    ),
    "device": Flag(flags.DEFINE_enum, "where to compute", "auto", options={"enum_values": ["auto", "cpu", "gpu"]}),
    "threads": Flag(flags.DEFINE_integer, "processor cores to use", absent="all", options={"lower_bound": 1}),
    "max_memory": Flag(
        flags.DEFINE_float, "most memory to use, in GB", absent="no limit", options={"lower_bound": 0.5}
    ),
}


def define(names: Iterable[str], defaults: Mapping[str, Any]) -> flags.FlagValues:
    """Flags that may stand before and after other arguments. defaults: where they are not those of FLAGS."""
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    for name in names:
        flag = FLAGS[name]
        default = defaults.get(name, flag.default)
        flag.define(name=name, default=default, help=flag.help, flag_values=values, **flag.options)
    return values


def three_mm(name: str, words: Sequence[str]) -> tuple[float, float, float] | None:
    """The three lengths in mm of a flag, None where it was not given. Raises InputError for others."""
    if not words:
        return None
    try:
        first, second, third = map(float, words)
    except ValueError:
        first = second = third = 0.0
    if not all(0 < mm < math.inf for mm in (first, second, third)):
        raise InputError(
            f"--{name.replace('_', '-')}: expected three mm above 0: 0.24,0.0039,0.0118; found {','.join(words)}"
        )
    return first, second, third


def shown_default(flag: flags.Flag) -> str:
    if isinstance(flag.value, bool):
        return "on" if flag.value else "off"
    return FLAGS[flag.name].absent if flag.value in (None, []) else str(flag.value)


def reason(error: Exception, values: flags.FlagValues) -> str:
    """What is wrong with a flag, in one line and without the words of Python where they say less."""
    if not isinstance(error, flags.IllegalFlagValueError):
        return str(error).splitlines()[0]
    name, _, value = str(error).removeprefix("flag --").removesuffix(f": {error.__context__}").partition("=")
    shown = name if name.startswith("config.") else name.replace("_", "-")
    return f"--{shown}: expected {_expected(values[name].parser)}; found {value!r}"


def _expected(parser: flags.ArgumentParser) -> str:
    if isinstance(parser, flags.EnumParser):
        return f"one of {', '.join(parser.enum_values)}"
    kinds = {flags.IntegerParser: "a whole number", flags.FloatParser: "a number", flags.BooleanParser: "true or false"}
    kind = next((kind for known, kind in kinds.items() if isinstance(parser, known)), "another value")
    bound = getattr(parser, "lower_bound", None)
    return kind if bound is None else f"{kind} of {bound} or more"


def define_config(script: str, argv: Sequence[str], values: flags.FlagValues) -> tuple[list[str], dict[str, Any]]:
    """Reads a config and defines its keys as flags: what is left of the arguments, and the keys' values.

    Raises InputError where there is no such config, it does not run, or it lacks a key.
    """
    rest = _last(argv)
    config = load_config(script)
    known = dict(flat(config.to_dict()))
    for key in (a.removeprefix("--config.").split("=", 1)[0] for a in rest if a.startswith("--config.")):
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f" (did you mean --config.{close[0]}?)" if close else ""
            raise InputError(f"--config.{key}: expected a key of {script}; found no such key{hint}")
    config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=rest)
    flags.DEFINE_string("config_script", script, "what reports call the config", flag_values=values)
    return rest, known


def check_numbers(before: Mapping[str, Any], config: ConfigDict) -> None:
    """Raises InputError where other things stand for the numbers of a tuple: ml_collections compares no elements."""
    for key, new in flat(config.to_dict()):
        if wanted := wanted_elements(before[key], new):
            raise InputError(f"--config.{key}: expected {wanted}; found {new}")


def take(argv: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
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


def spacing(text: str | None) -> tuple[float | None, float | None, float | None] | None:
    """The three mm of --spacing, None where one is left out. Raises InputError for anything else."""
    try:
        bscans, rows, ascans = (float(mm) if mm else None for mm in (text or ",,").split(","))
    except ValueError as error:
        raise InputError(
            f"--spacing: expected three mm (B-scans, rows, A-scans) such as 0.06,,; found {text}"
        ) from error
    return None if text is None else (bscans, rows, ascans)


def millimetres(flag: str, texts: Sequence[str]) -> list[float]:
    """The numbers of a flag's list. Raises InputError for what is none."""
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise InputError(f"--{flag}: expected mm such as 0.5,1.25; found {','.join(texts)!r}") from error


def underscored(argument: str) -> str:
    """--max-memory=2 as --max_memory=2, --no-quick as --noquick; a config's keys, values and files as they are."""
    name, equals, value = argument.partition("=")
    is_flag = name.startswith("--") and not name.startswith("--config.")
    name = name.replace("--no-", "--no", 1) if is_flag else name
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if is_flag else argument
