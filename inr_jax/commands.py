"""The commands: what each is for, its flags, and the function that runs it (command_runs.py)."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from absl import flags

from inr_jax import command_runs


class Command(NamedTuple):
    run: Callable[[flags.FlagValues, Sequence[str]], None]
    summary: str
    usage: str
    example: str
    flags: tuple[str, ...]
    needs: tuple[str, ...] = ()  # of the flags
    defaults: Mapping[str, str] = {}  # of the flags, where not those of every command
    takes_scans: bool = False  # or other places, beside the flags
    takes_config: bool = False
    default_config: str | None = None  # where none is given
    changes: tuple[str, ...] = ()  # parts of the training's config that may be changed


COMMANDS = {
    "train": Command(
        command_runs.train,
        "learn a population",
        "--config=FILE --workdir=FOLDER [--config.KEY=VALUE ...]",
        "inr-jax train --config=configs/oct.py --workdir=runs/oct --config.train.seed=1",
        ("workdir", "allow_config_change"),
        needs=("workdir",),
        takes_config=True,
    ),
    "prepare": Command(
        command_runs.prepare,
        "dense OCT volumes, labels and SLO to folds by person (.npz)",
        "--config=FILE [--output=FOLDER] [--config.KEY=VALUE ...]",
        "inr-jax prepare --config=configs/prepare_oct.py --config.path=scans --output=prepared",
        ("output", "overwrite"),
        defaults={"output": "prepared"},
        takes_config=True,
    ),
    "adapt": Command(
        command_runs.adapt,
        "adapt to new scans (.vol, DICOM, NIfTI, .npz ...: docs/formats.md); write intensities, labels, report",
        "(--workdir=FOLDER | --model=FOLDER) SCAN... --output=FOLDER",
        "inr-jax adapt --workdir=runs/oct eye.nii.gz --output=eye --slices=61",
        (
            "workdir",
            "model",
            "output",
            "steps",
            "fit",
            "slices",
            "spacing",
            "like",
            "bscan_at",
            "layers",
            "laterality",
            "scan_spacing",
            "dicom",
            "tiff",
            "name",
            "names",
            "together",
            "overwrite",
        ),
        needs=("output",),
        takes_scans=True,
    ),
    "export": Command(
        command_runs.export,
        "a trained model as a small folder that adapts with nothing else beside it",
        "WORKDIR MODEL [--licence=TERMS]",
        "inr-jax export runs/oct model --licence=CC-BY-4.0",
        ("licence",),
        takes_scans=True,
    ),
    "view": Command(
        command_runs.view,
        "look at what adapt has written, in the browser; served to this machine alone",
        "FOLDER [--no-browser]",
        "inr-jax view eye",
        ("browser",),
        takes_scans=True,
    ),
    "inspect": Command(
        command_runs.inspect,
        "what is understood of a scan file, what it lacks, what looks wrong",
        "SCAN [--figure=PNG]",
        "inr-jax inspect eye.vol --figure=eye.png",
        ("figure", "scan_spacing", "layers"),
        takes_scans=True,
    ),
    "calibrate": Command(
        command_runs.calibrate,
        "learn on validation people how sure a trained model may be; train does so at its end",
        "--workdir=FOLDER",
        "inr-jax calibrate --workdir=runs/oct",
        ("workdir",),
        needs=("workdir",),
    ),
    "evaluate": Command(
        command_runs.evaluate,
        "score a trained model beside the baselines; write tables, figures, report",
        "--workdir=FOLDER --output=FOLDER [--config.data.KEY=VALUE ...]",
        "inr-jax evaluate --workdir=runs/oct --split=test --output=runs/oct/test",
        ("workdir", "output", "split", "baselines", "quick", "conventions", "lpips_weights"),
        needs=("workdir", "output"),
        changes=("data", "adapt", "fit"),
    ),
    "compare": Command(
        command_runs.compare,
        "compare two evaluations of the same people: differences, intervals, paired tests",
        "W1 W2 [--output=FOLDER]",
        "inr-jax compare runs/slo/test runs/no_slo/test --output=runs/slo_or_not",
        ("output", "method", "against"),
        takes_scans=True,
    ),
    "validate": Command(
        command_runs.validate,
        "on a dense scan of your own: keep every k-th B-scan, predict the others, score all methods",
        "SCAN... [--keep-every=K] --output=FOLDER [--workdir=FOLDER | --config=FILE [--config.KEY=VALUE ...]]",
        "inr-jax validate eye.nii.gz --keep-every=4 --output=eye_validated",
        ("workdir", "output", "keep_every", "slo_axes", "laterality", "quick"),
        needs=("output",),
        takes_scans=True,
        takes_config=True,
        default_config=command_runs.SINGLE,
    ),
    "ablate": Command(
        command_runs.ablate,
        "train and score the variants of a config, those of one shape in one program; write tables, report, best.py",
        "--config=FILE --sweep=AXIS,... [--one-at-a-time=AXIS,...] --workdir=FOLDER [--config.KEY=VALUE ...]",
        "inr-jax ablate --config=configs/oct.py --sweep=activation,seed --workdir=runs/activation",
        (
            "workdir",
            "sweep",
            "one_at_a_time",
            "axes",
            "dry_run",
            "engine",
            "workers",
            "worker_threads",
            "memory",
            "over",
        ),
        takes_config=True,
    ),
    "report": Command(
        command_runs.report,
        "make a sweep's tables and report again, also of an unfinished one",
        "FOLDER",
        "inr-jax report runs/activation",
        (),
        takes_scans=True,
    ),
    "demo": Command(
        command_runs.demo,
        "phantom eyes, training, adaptation, report: the whole of it in minutes",
        "[--output=FOLDER]",
        "inr-jax demo",
        ("output",),
        defaults={"output": "demo_output"},
    ),
    "doctor": Command(
        command_runs.doctor, "versions, devices, a timed step, what is missing", "", "inr-jax doctor", ()
    ),
}
