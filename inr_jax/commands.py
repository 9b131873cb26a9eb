"""The commands: what each is for, its flags, and the function that runs it. They import modules when they run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from inr_jax import command_flags, places
from inr_jax.errors import InputError

SINGLE = "configs/single.py"  # what `validate` fits without a training


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


def _train(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if "train" not in values.config:
        raise InputError("train: expected the config of a training, such as configs/oct.py; found none of its keys")
    places.check_output(values.workdir)
    from inr_jax.train import train

    folder = train(values.config, values.workdir, allow_config_change=values.allow_config_change)
    print(f"trained: {folder}")


def _prepare(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_output(values.output)
    from inr_jax.prepare import prepare

    folder = prepare(values.config, values.output, overwrite=values.overwrite)
    print(f"prepared: {folder}")


def _adapt(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if not rest:
        raise InputError("adapt: expected at least one SCAN; found none (see inr-jax adapt --help)")
    if values.bscan_at and (values.slices is not None or values.spacing is not None):
        raise InputError("adapt: expected one of --slices, --spacing and --bscan-at; found --bscan-at and another")
    folder = places.find_model(values.workdir, values.model)
    places.check_scans(rest)
    places.check_output(values.output)
    from inr_jax.restored import adapt_files

    adapt_files(
        folder,
        rest,
        values.output,
        steps=values.steps,
        fit=values.fit,
        slices=values.slices,
        spacing=command_flags.spacing(values.spacing),
        bscan_at=command_flags.millimetres("bscan-at", values.bscan_at),
        laterality=values.laterality,
        dicom=values.dicom,
        tiff=values.tiff,
    )


def _view(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 1:
        raise InputError(f"view: expected one folder that adapt has written; found {len(rest)}")
    from inr_jax.serve import view

    view(rest[0], open_browser=values.browser)


def _inspect(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 1:
        raise InputError(f"inspect: expected one scan, a file or a folder; found {len(rest)}")
    places.check_scans(rest)
    if values.figure is not None:
        places.check_output(str(Path(values.figure).parent))
    from inr_jax.inspecting import inspect

    spacing = command_flags.three_mm("scan_spacing", values.scan_spacing)
    inspect(rest[0], figure=values.figure, spacing=spacing, layers=values.layers)


def _calibrate(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_training(values.workdir)
    from inr_jax.calibrate import FILE, calibrate
    from inr_jax.likeness import learn

    if calibrate(values.workdir) is not None:
        print(f"calibrated: {values.workdir}/{FILE}")
    learn(values.workdir)


def _export(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 2:
        raise InputError(f"export: expected the folder of a training and one to write the model to; found {len(rest)}")
    workdir, output = rest
    places.check_training(workdir)
    places.check_output(output)
    from inr_jax.export import export

    print(f"exported: {export(workdir, output, licence=values.licence)}")


def _evaluate(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_training(values.workdir)
    places.check_output(values.output)
    places.check_files([values.lpips_weights] if values.lpips_weights else [])
    from inr_jax.evaluate import evaluate, scoring_of

    scoring = scoring_of(values.conventions, values.lpips_weights)
    evaluate(
        values.workdir,
        values.output,
        split=values.split,
        compared=values.baselines,
        quick=values.quick,
        config=values.config,
        scoring=scoring,
    )


def _compare(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 2:
        raise InputError(f"compare: expected two folders of inr-jax evaluate; found {len(rest)}")
    if values.output is not None:
        places.check_output(values.output)
    from inr_jax.compare import compare

    first, second = rest
    compare(first, second, values.output, method=values.method, against=values.against)


def _validate(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if not rest:
        raise InputError("validate: expected at least one SCAN; found none (see inr-jax validate --help)")
    if values.workdir is not None:
        places.check_training(values.workdir)
    places.check_files(rest)
    places.check_output(values.output)
    from inr_jax.config_script import flat, load_config
    from inr_jax.validate import validate

    if values.workdir is not None and dict(flat(values.config.to_dict())) != dict(flat(load_config(SINGLE).to_dict())):
        raise InputError(
            "validate: expected --workdir, whose config is the training's, or --config and its keys; found both"
        )
    validate(
        rest,
        values.output,
        keep_every=values.keep_every,
        folder=values.workdir,
        config=values.config,
        slo_axes=values.slo_axes,
        laterality=values.laterality,
        quick=values.quick,
    )


def _ablate(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if "train" not in values.config:
        raise InputError("ablate: expected the config of a training, such as configs/oct.py; found none of its keys")
    if not values.dry_run and values.workdir is None:
        raise InputError("ablate: expected --workdir=FOLDER (or --dry-run); found none")
    if values.workdir is not None:
        places.check_output(values.workdir)
    for flag in ("workers", "worker_threads"):
        if values.engine != "ray" and values[flag].value is not None:
            raise InputError(f"--{flag.replace('_', '-')}: expected --engine=ray beside it; found {values.engine}")
    from inr_jax import ablate

    plan = {"sweep": values.sweep, "one_at_a_time": values.one_at_a_time, "axes": values.axes}
    how = {"memory": values.memory, "over": values.over}
    if values.dry_run:
        ablate.dry_run(values.config, **plan, **how)
        return
    ray = {"workers": values.workers, "threads": values.worker_threads}
    ablate.ablate(
        values.config, values.workdir, **plan, **how, engine=values.engine, **ray, config_file=values.config_script
    )


def _report(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 1:
        raise InputError(f"report: expected one folder of inr-jax ablate; found {len(rest)}")
    from inr_jax.sweep_report import report

    print(report(rest[0]))


def _demo(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_output(values.output)
    from inr_jax.demo import demo

    demo(values.output)


def _doctor(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.doctor import doctor

    doctor()


COMMANDS = {
    "train": Command(
        _train,
        "learn a population",
        "--config=FILE --workdir=FOLDER [--config.KEY=VALUE ...]",
        "inr-jax train --config=configs/oct.py --workdir=runs/oct --config.train.seed=1",
        ("workdir", "allow_config_change"),
        needs=("workdir",),
        takes_config=True,
    ),
    "prepare": Command(
        _prepare,
        "dense OCT volumes, labels and SLO to folds by person (.npz)",
        "--config=FILE [--output=FOLDER] [--config.KEY=VALUE ...]",
        "inr-jax prepare --config=configs/prepare_oct.py --config.path=scans --output=prepared",
        ("output", "overwrite"),
        defaults={"output": "prepared"},
        takes_config=True,
    ),
    "adapt": Command(
        _adapt,
        "adapt to new scans (.vol, DICOM, NIfTI, .npz ...: docs/formats.md); write intensities, labels, report",
        "(--workdir=FOLDER | --model=FOLDER) SCAN... --output=FOLDER",
        "inr-jax adapt --workdir=runs/oct eye.nii.gz --output=eye --slices=61",
        ("workdir", "model", "output", "steps", "fit", "slices", "spacing", "bscan_at", "laterality", "dicom", "tiff"),
        needs=("output",),
        takes_scans=True,
    ),
    "export": Command(
        _export,
        "a trained model as a small folder that adapts with nothing else beside it",
        "WORKDIR MODEL [--licence=TERMS]",
        "inr-jax export runs/oct model --licence=CC-BY-4.0",
        ("licence",),
        takes_scans=True,
    ),
    "view": Command(
        _view,
        "look at what adapt has written, in the browser; served to this machine alone",
        "FOLDER [--no-browser]",
        "inr-jax view eye",
        ("browser",),
        takes_scans=True,
    ),
    "inspect": Command(
        _inspect,
        "what is understood of a scan file, what it lacks, what looks wrong",
        "SCAN [--figure=PNG]",
        "inr-jax inspect eye.vol --figure=eye.png",
        ("figure", "scan_spacing", "layers"),
        takes_scans=True,
    ),
    "calibrate": Command(
        _calibrate,
        "learn on validation people how sure a trained model may be; train does so at its end",
        "--workdir=FOLDER",
        "inr-jax calibrate --workdir=runs/oct",
        ("workdir",),
        needs=("workdir",),
    ),
    "evaluate": Command(
        _evaluate,
        "score a trained model beside the baselines; write tables, figures, report",
        "--workdir=FOLDER --output=FOLDER [--config.data.KEY=VALUE ...]",
        "inr-jax evaluate --workdir=runs/oct --split=test --output=runs/oct/test",
        ("workdir", "output", "split", "baselines", "quick", "conventions", "lpips_weights"),
        needs=("workdir", "output"),
        changes=("data", "adapt", "fit"),
    ),
    "compare": Command(
        _compare,
        "compare two evaluations of the same people: differences, intervals, paired tests",
        "W1 W2 [--output=FOLDER]",
        "inr-jax compare runs/slo/test runs/no_slo/test --output=runs/slo_or_not",
        ("output", "method", "against"),
        takes_scans=True,
    ),
    "validate": Command(
        _validate,
        "on a dense scan of your own: keep every k-th B-scan, predict the others, score all methods",
        "SCAN... [--keep-every=K] --output=FOLDER [--workdir=FOLDER | --config=FILE [--config.KEY=VALUE ...]]",
        "inr-jax validate eye.nii.gz --keep-every=4 --output=eye_validated",
        ("workdir", "output", "keep_every", "slo_axes", "laterality", "quick"),
        needs=("output",),
        takes_scans=True,
        takes_config=True,
        default_config=SINGLE,
    ),
    "ablate": Command(
        _ablate,
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
        _report,
        "make a sweep's tables and report again, also of an unfinished one",
        "FOLDER",
        "inr-jax report runs/activation",
        (),
        takes_scans=True,
    ),
    "demo": Command(
        _demo,
        "phantom eyes, training, adaptation, report: the whole of it in minutes",
        "[--output=FOLDER]",
        "inr-jax demo",
        ("output",),
        defaults={"output": "demo_output"},
    ),
    "doctor": Command(_doctor, "versions, devices, a timed step, what is missing", "", "inr-jax doctor", ()),
}
