"""What each command does with its flags. The modules it needs are imported when it runs, so that --help is instant."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from inr_jax import command_flags, places
from inr_jax.errors import InputError

GRIDS = ("slices", "spacing", "like", "bscan_at")  # flags of `adapt` that say where to render
SINGLE = "configs/single.py"  # what `validate` fits without a training


def train(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if "train" not in values.config:
        raise InputError("train: expected the config of a training, such as configs/oct.py; found none of its keys")
    places.check_output(values.workdir)
    from inr_jax.train import train

    folder = train(values.config, values.workdir, allow_config_change=values.allow_config_change)
    print(f"trained: {folder}")


def prepare(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_output(values.output)
    from inr_jax.prepare import prepare

    folder = prepare(values.config, values.output, overwrite=values.overwrite)
    print(f"prepared: {folder}")


def adapt(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if not rest:
        raise InputError("adapt: expected at least one SCAN; found none (see inr-jax adapt --help)")
    if len(given := [name for name in GRIDS if values[name].value not in (None, [])]) > 1:
        all_of, found = (", ".join(f"--{name.replace('_', '-')}" for name in names) for names in (GRIDS, given))
        raise InputError(f"adapt: expected one of {all_of}; found {found}")
    folder = places.find_model(values.workdir, values.model)
    places.check_scans([*rest, *filter(None, [values.like, values.layers])])
    for flag in ("name", "layers"):
        if values[flag].value is not None and len(rest) > 1:
            raise InputError(f"--{flag}: expected one scan; found {len(rest)}")
    places.check_output(values.output)
    spacing = command_flags.spacing(values.spacing)
    scan_spacing = command_flags.three_mm("scan_spacing", values.scan_spacing)
    bscan_at = command_flags.millimetres("bscan-at", values.bscan_at)
    from inr_jax.many_scans import Asked, adapt_files
    from inr_jax.scan import checked_name

    if values.name is not None:
        checked_name(values.name, "--name")
    asked = Asked(
        steps=values.steps,
        fit=values.fit,
        slices=values.slices,
        spacing=spacing,
        like=values.like,
        bscan_at=bscan_at,
        layers=values.layers,
        laterality=values.laterality,
        scan_spacing=scan_spacing,
        dicom=values.dicom,
        tiff=values.tiff,
    )
    named = {"name": values.name, "names": values.names, "together": values.together}
    adapt_files(folder, rest, values.output, asked, **named, overwrite=values.overwrite)


def view(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 1:
        raise InputError(f"view: expected one folder that adapt has written; found {len(rest)}")
    from inr_jax.serve import view

    view(rest[0], open_browser=values.browser)


def inspect(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 1:
        raise InputError(f"inspect: expected one scan, a file or a folder; found {len(rest)}")
    places.check_scans(rest)
    if values.figure is not None:
        places.check_output(str(Path(values.figure).parent))
    from inr_jax.inspecting import inspect

    spacing = command_flags.three_mm("scan_spacing", values.scan_spacing)
    inspect(rest[0], figure=values.figure, spacing=spacing, layers=values.layers)


def calibrate(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_training(values.workdir)
    from inr_jax.calibrate import FILE, calibrate
    from inr_jax.likeness import learn

    if calibrate(values.workdir) is not None:
        print(f"calibrated: {values.workdir}/{FILE}")
    learn(values.workdir)


def export(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 2:
        raise InputError(f"export: expected the folder of a training and one to write the model to; found {len(rest)}")
    workdir, output = rest
    places.check_training(workdir)
    places.check_output(output)
    from inr_jax.export import export

    print(f"exported: {export(workdir, output, licence=values.licence)}")


def evaluate(values: flags.FlagValues, rest: Sequence[str]) -> None:
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


def compare(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 2:
        raise InputError(f"compare: expected two folders of inr-jax evaluate; found {len(rest)}")
    if values.output is not None:
        places.check_output(values.output)
    from inr_jax.compare import compare

    first, second = rest
    compare(first, second, values.output, method=values.method, against=values.against)


def validate(values: flags.FlagValues, rest: Sequence[str]) -> None:
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


def ablate(values: flags.FlagValues, rest: Sequence[str]) -> None:
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


def report(values: flags.FlagValues, rest: Sequence[str]) -> None:
    if len(rest) != 1:
        raise InputError(f"report: expected one folder of inr-jax ablate; found {len(rest)}")
    from inr_jax.sweep_report import report

    print(report(rest[0]))


def demo(values: flags.FlagValues, rest: Sequence[str]) -> None:
    places.check_output(values.output)
    from inr_jax.demo import demo

    demo(values.output)


def doctor(values: flags.FlagValues, rest: Sequence[str]) -> None:
    from inr_jax.doctor import doctor

    doctor()
