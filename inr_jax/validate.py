"""`inr-jax validate`: some B-scans of a dense scan are kept, the others are answered without having been seen.

What a laboratory can do with its own scans before it trusts anything: the model and all baselines get every k-th
B-scan, are tuned on these alone, and are scored on those between.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from inr_jax import (
    baselines,
    cropping,
    preprocessing,
    raw_scans,
    records,
    report,
    result,
    scan_io,
    tables,
    trained,
    workdir,
)
from inr_jax.baselines import Prediction
from inr_jax.between import NOT_ESTIMABLE
from inr_jax.config_script import load_config
from inr_jax.errors import InputError
from inr_jax.evaluate import PARTIAL, Evaluation, score_all, scoring_of, write_tables
from inr_jax.new_scan import Rendered
from inr_jax.raw_scans import RawScan
from inr_jax.scan import Scan, checked_labels, index_of
from inr_jax.trained import Answers, Trained
from inr_jax.types import Population

log = logging.getLogger(__name__)
LEAST = 3  # kept B-scans: the baselines are tuned by leaving every second of them out
CLIPPED = 1e-3  # share of the voxels that may be, without a word
TUNED_ON = 2_300_000  # voxels of the kept B-scans that the baselines are tuned on, at most


def validate(
    files: Sequence[str],
    output: str | Path,
    *,
    keep_every: int,
    folder: str | Path | None = None,
    config: ConfigDict | None = None,
    slo_axes: str = "auto",
    laterality: str | None = None,
    quick: bool = False,
) -> list[Evaluation]:
    """Scores on every scan of the files what is answered between its kept B-scans; results in output/<its name>.

    folder: a training whose model adapts to the kept B-scans; without, `config` (one with no stages) says how a network
    is fitted to them. Labels (NAME_labels.nii.gz) and SLO (NAME_slo.png) beside a file are used, none is needed.
    laterality: "R" or "L", of scans whose file does not say.
    Raises InputError for a scan with too few B-scans, or one that the model is not for.
    """
    model = None if folder is None else trained.restore(folder)
    found = []
    for raw in _scans(files, slo_axes):
        scan, manifest = raw_scans.read_scan(raw), records.find_manifest(Path(raw.file).parent)
        scan = replace(scan, laterality=scan.laterality or laterality, prepared=manifest is not None)
        _check(scan, keep_every)
        kept = kept_bscans(scan, keep_every)
        classes = _classes(scan, model)
        own = model or untrained_for(kept, classes, config or load_config("configs/single.py"))
        note = "" if manifest is None else manifest.note
        result, rendered, seen = _assess(own, scan, kept, classes, keep_every, quick, note)
        _write(Path(output) / scan.name, own, seen, result, rendered, keep_every)
        for remark in rendered.remarks:
            log.warning("%s: %s", scan.name, remark)
        found.append(result)
    return found


def _scans(files: Sequence[str], slo_axes: str) -> list[RawScan]:
    """All scans of the files. Raises InputError where two would be written to one place."""
    scans: dict[str, RawScan] = {}
    for raw in (raw for file in files for raw in raw_scans.find_scans(_where(file, slo_axes))):
        if raw.name in scans:
            raise InputError(f"{raw.file}: name: {raw.name} is that of a scan in {scans[raw.name].file}, too")
        scans[raw.name] = raw
    return list(scans.values())


def _where(file: str, slo_axes: str) -> ConfigDict:
    """How scans and what lies beside them are found: as `prepare` does."""
    config = load_config("configs/prepare_oct.py")
    config.path, config.slo_axes = file, slo_axes
    return config


def _check(scan: Scan, keep_every: int) -> None:
    least = (LEAST - 1) * keep_every + 1
    if len(scan.voxels) < least:
        raise InputError(
            f"{scan.name}: expected {least} or more B-scans, to keep {LEAST} by --keep-every={keep_every}; "
            f"found {len(scan.voxels)}"
        )


def last_kept(scan: Scan, keep_every: int) -> int:
    """What lies beyond it would be extrapolated, and is left out."""
    return (len(scan.voxels) - 1) // keep_every * keep_every


def _part(scan: Scan, which: slice) -> Scan:
    """Some B-scans in even steps from the first on, at their places."""
    step = scan.spacing[0] * (which.step or 1)
    return replace(
        scan,
        voxels=scan.voxels[which],
        spacing=(step, *scan.spacing[1:]),
        labels=None if scan.labels is None else scan.labels[which],
        surfaces=None if scan.surfaces is None else scan.surfaces[:, which],
        valid=None if scan.valid is None else scan.valid[which],
        ascans_on_slo=None if scan.ascans_on_slo is None else scan.ascans_on_slo[which],
    )


def kept_bscans(scan: Scan, keep_every: int) -> Scan:
    """B-scans 0, k, 2k ... as a scan of its own: all that a model and a baseline may see."""
    return _part(scan, slice(0, last_kept(scan, keep_every) + 1, keep_every))


def _classes(scan: Scan, model: Trained | None) -> tuple[str, ...]:
    """Names of the scan's labels, of the model's where there is one; none without labels."""
    if scan.labels is None or (model is not None and not model.classes):
        return ()
    most = raw_scans.MOST_CLASSES if model is None else len(model.classes)
    highest = int(checked_labels(scan.labels, most, scan.name).max())
    return model.classes if model is not None else ("background", *(f"label {i}" for i in range(1, highest + 1)))


def untrained_for(scan: Scan, classes: tuple[str, ...], config: ConfigDict) -> Trained:
    """A model with nothing learned for scans with (or without) labels and SLO like this one."""
    known = scan if classes else replace(scan, labels=None)
    every = np.ones(len(scan.voxels), bool)
    return trained.untrained(config, preprocessing.stack([known], measured=every, classes=classes, note=""))


def _assess(
    model: Trained, scan: Scan, kept: Scan, classes: tuple[str, ...], keep_every: int, quick: bool, note: str
) -> tuple[Evaluation, Rendered, Scan]:
    """The model's answer and the baselines' at all B-scans up to the last kept one, scored in the scan's geometry where

    the model can tell; and the part of the scan that it holds.
    """
    adapted = result.adapt(model, kept)
    dense, kept = _that_is_held(scan, kept, adapted.scan, keep_every), adapted.scan
    low, high = unit = float(kept.voxels.min()), float(kept.voxels.max())  # whatever the model takes as 0 and 1
    rendered = adapted.render_at(np.arange(len(dense.voxels)) / keep_every)
    if (is_unknown := rendered.origin == NOT_ESTIMABLE).any():
        dense = replace(dense, valid=~is_unknown if dense.valid is None else dense.valid & ~is_unknown)
    beyond = float(((dense.voxels < low) | (dense.voxels > high)).mean())
    if beyond > CLIPPED:
        rendered.remarks.append(f"{beyond:.1%} of the voxels lie beyond the kept B-scans' range and were clipped to it")
    if beyond_last := len(scan.voxels) - 1 - last_kept(scan, keep_every):
        rendered.remarks.append(f"the last {beyond_last} B-scans, beyond the last kept one, were left off")
    population = _population(dense, classes, unit, keep_every)._replace(note=note)
    intensity = preprocessing.to_unit_range(rendered.intensity, low, high)[None, ..., None]
    labels = None if rendered.labels is None else rendered.labels[None].astype(np.int32)
    name, seconds = trained.own_name(model.config), rendered.rows[0]["seconds"]
    answers = {name: Answers(intensity, intensity, labels, [rendered.adapted], [seconds], [rendered.losses])}
    learned = labels is not None and model.config.adapt.labels
    how = "learned from the labels of the kept B-scans, too" if learned else ""
    predictions = {name: Prediction(intensity, labels, how, [seconds])} | _baselines(population, kept, unit, quick)
    rows, layers = score_all(population, predictions, split=f"keep every {keep_every}", layered=bool(classes))
    return Evaluation(population, predictions, answers, rows, layers, scoring_of("inr_jax", None)), rendered, dense


def _that_is_held(scan: Scan, kept: Scan, held: Scan, keep_every: int) -> Scan:
    """All B-scans between the kept ones that a model's box holds, and of these the rows and A-scans that it holds."""
    first = np.rint(index_of(kept, np.array(held.origin))).astype(int) * (keep_every, 1, 1)
    count = (np.array(held.voxels.shape) - (1, 0, 0)) * (keep_every, 1, 1) + (1, 0, 0)
    bscans, rows, ascans = (slice(int(a), int(a + n)) for a, n in zip(first, count, strict=True))
    return cropping.cropped(scan, bscans, rows, ascans)


def _population(scan: Scan, classes: tuple[str, ...], unit: tuple[float, float], keep_every: int) -> Population:
    """The scan as it is, its kept B-scans measured; in the range that the kept ones have."""
    scaled = replace(
        scan,
        voxels=preprocessing.to_unit_range(scan.voxels, *unit),
        labels=scan.labels if classes else None,
        slo=None,
    )
    measured = np.arange(len(scan.voxels)) % keep_every == 0
    return preprocessing.stack([scaled], measured=measured, classes=classes, note="")


def _baselines(population: Population, kept: Scan, unit: tuple[float, float], quick: bool) -> dict[str, Prediction]:
    """What can be done without a model; tuned on kept B-scans from which every second is left out once more."""
    rows, columns = kept.voxels.shape[1:]
    most = int(np.clip(TUNED_ON // (rows * columns), LEAST, len(kept.voxels)))
    first = (len(kept.voxels) - most) // 2
    tuned_on = _population(_part(kept, slice(first, first + most)), (), unit, 2)
    return baselines.all_baselines(tuned_on, tuned_on, population, quick)


def _write(folder: Path, model: Trained, scan: Scan, found: Evaluation, rendered: Rendered, keep_every: int) -> None:
    """Tables, the answered volume in the scan's geometry and units, the report; and the table, printed."""
    table = tables.summarise(found.rows)
    geometry = (scan.spacing, scan.origin, scan.direction)
    with scan_io.all_or_none(folder, PARTIAL) as part:
        write_tables(part, found.rows, found.layers)
        tables.write_csv(tables.summary_rows(table), part / "summary.csv")
        workdir.write_json(part / "summary.json", json.loads(tables.to_json(table)))
        scan_io.write_volume(part / "intensity.nii.gz", rendered.intensity, *geometry)
        if rendered.labels is not None:
            scan_io.write_labels(part / "segmentation.nii.gz", rendered.labels, *geometry, classes=model.classes)
        report.evaluation_report(
            part / "report.html", model, found, table,
            title=f"{scan.name}: one B-scan of {keep_every} kept",
            lead="Every method has seen the kept B-scans alone, and is scored on them and on those between.",
            source="a scan of your own",
        )  # fmt: skip
    print(f"{scan.name}: one B-scan of {keep_every} kept; scored against the measured intensities, noise included")
    print(tables.print_table(table, found.undefined))
    print(verdict(found.rows))
    print(f"report: {folder / 'report.html'}")


def verdict(rows: Sequence[dict]) -> str:
    """One line: the model on what it has not seen, beside the best that can be done without it."""
    unseen = {row["method"]: row["psnr"] for row in rows if row["kind"] == "interpolated"}
    known = {name: value for name, value in unseen.items() if np.isfinite(value) and not name.startswith("oracle")}
    own = next(iter(unseen))
    others = {name: value for name, value in known.items() if name != own}
    best = max(others, key=others.__getitem__)
    return (
        f"one scan, between the kept B-scans: {own} {unseen[own]:.2f} dB, the best without a model "
        f"{others[best]:.2f} dB ({best}): {unseen[own] - others[best]:+.2f} dB"
    )
