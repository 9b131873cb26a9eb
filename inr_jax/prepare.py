"""Dense volumes in, folds out: what `inr-jax prepare` does."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from inr_jax import progress, workdir
from inr_jax.config_script import load_config
from inr_jax.data._files import fold_file
from inr_jax.errors import InputError
from inr_jax.flat_volumes import FlatVolume, Options, flat_volume, options_of
from inr_jax.folds import PARTS, check_alike, deal_people, fold_arrays
from inr_jax.raw_scans import MOST_CLASSES, RawScan, find_scans, read_scan
from inr_jax.records import MANIFEST, Record
from inr_jax.scan import checked_labels
from inr_jax.scan_io import make_folder

LOG = logging.getLogger(__name__)


def prepare(config: ConfigDict, output: str | Path, *, overwrite: bool = False) -> Path:
    """Prepares all volumes that `config` (configs/prepare_oct.py) names and writes their folds into a folder.

    For every fold and part (train, test) the B-scans that are fitted and those that are scored, for
    data/interp_oct.py; and a manifest by which `records.restore` undoes it all. The folder is complete or as it was.
    Raises InputError in one line; also for a folder with other content, unless `overwrite`, which replaces files of
    the same names.
    """
    output = Path(output)
    _check_keys(config)
    options = {part: options_of(config.to_dict(), part) for part in PARTS}
    scans = find_scans(config)
    tested = deal_people([scan.person for scan in scans], config.folds, config.seed)
    with _staging(output, overwrite) as (staging, finished):
        records = _prepare_volumes(scans, options, staging / "volumes")
        for fold, people in enumerate(progress.bar(tested, "folds"), 1):
            _write_fold(staging / "volumes", finished, scans, people, fold, config.fitted_every)
        text = _manifest(config, scans, tested, records)
        (finished / MANIFEST).write_text(text, encoding="utf-8")
    return output


def _check_keys(config: ConfigDict) -> None:
    """Raises InputError for a config of something else."""
    absent = [key for key in load_config("configs/prepare_oct.py") if key not in config]
    if absent:
        raise InputError(f"config: expected the keys of configs/prepare_oct.py; found none of {', '.join(absent)}")


def _check_free(output: Path, overwrite: bool) -> None:
    found = [] if overwrite else sorted(path.name for path in output.iterdir() if path.name != workdir.LOCK)
    if found:
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(f"{output}: expected an empty folder (or --overwrite); found {shown}")


@contextmanager
def _staging(output: Path, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """A folder to work in, and one in it whose files move to `output` on success, the manifest last.

    For one process at a time. On failure nothing is left, not even a folder that was not there.
    """
    made = [path for path in (output, *output.parents) if not path.exists()]
    make_folder(output)
    staging = output / f".partial-{os.getpid()}"
    finished = staging / "finished"
    with workdir.locked(output, "preparing volumes", "--output"):
        try:
            _check_free(output, overwrite)
            finished.mkdir(parents=True)
            (staging / "volumes").mkdir()
            yield staging, finished
            (output / MANIFEST).unlink(missing_ok=True)  # it speaks of the folds before these
            for file in sorted(finished.iterdir(), key=lambda path: (path.name == MANIFEST, path.name)):
                os.replace(file, output / file.name)
            made = []
        except OSError as error:
            raise InputError(f"{output}: cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            (output / workdir.LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # someone else has put something into it
                for path in made:
                    path.rmdir()


def _prepare_volumes(scans: Sequence[RawScan], options: dict[str, Options], folder: Path) -> list[dict[str, Any]]:
    """Writes every volume, prepared once for each part (once for both if they are prepared alike).

    What was done: for each a dict of `parts` and `record`.
    """
    done: list[dict[str, Any]] = []
    first: tuple[str, FlatVolume] | None = None
    alike = options["train"] == options["test"]
    for number, raw in enumerate(progress.bar(scans, "volumes")):
        scan = read_scan(raw)
        if scan.labels is not None:
            checked_labels(scan.labels, MOST_CLASSES, raw.file)
        for part in PARTS[:1] if alike else PARTS:
            volume, record = flat_volume(scan, options[part], raw.file)
            first = first or (raw.name, volume)
            check_alike(first, (raw.name, volume))
            parts = PARTS if alike else (part,)
            for name in parts:
                _save_volume(folder / f"{number}-{name}.npz", volume)
            done.append({"parts": list(parts), "record": record.to_json()})
            _remark(record)
    assert first is not None
    bscans, _, columns = first[1].voxels.shape
    if first[1].slo is not None and columns in (bscans, (bscans + 1) // 2):
        LOG.info("SLO: as many A-scans as B-scans: load these folds with data.interp_oct.slo_axes=WD")
    return done


def _remark(record: Record) -> None:
    if record.slo == "index":
        LOG.info(f"{record.name}: SLO: nothing says where its A-scans lie: its corners are taken for the scan's")
    if record.membrane_missing > 0.5:
        share = round(100 * record.membrane_missing)
        LOG.info(f"{record.name}: Bruch's membrane was interpolated in {share}% of the A-scans ({record.membrane})")


def _save_volume(path: Path, volume: FlatVolume) -> None:
    arrays: dict[str, Any] = {"voxels": volume.voxels, "valid": volume.valid, "slo": volume.slo}
    arrays["spacing"] = np.array(volume.spacing)
    arrays["labels"] = None if volume.labels is None else volume.labels.astype(np.uint8)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def _load_volume(path: Path) -> FlatVolume:
    with np.load(path) as file:
        slices, rows, columns = file["spacing"].tolist()
        return FlatVolume(file["voxels"], file["valid"], file.get("labels"), file.get("slo"), (slices, rows, columns))


def _write_fold(
    volumes: Path, finished: Path, scans: Sequence[RawScan], tested: set[str], fold: int, fitted_every: int
) -> None:
    """Four files: what is fitted and what is scored, of who is tested and of all others."""
    for part in PARTS:
        chosen = [i for i, scan in enumerate(scans) if (scan.person in tested) == (part == "test")]
        loaded = [_load_volume(volumes / f"{i}-{part}.npz") for i in chosen]
        for every in (1, 2):
            path = finished / fold_file(fitted_every * every // 2, part, fold)
            arrays: dict[str, Any] = fold_arrays([scans[i].name for i in chosen], loaded, every)
            np.savez(path, **arrays)


def _manifest(
    config: ConfigDict, scans: Sequence[RawScan], tested: Sequence[set[str]], volumes: Sequence[dict[str, Any]]
) -> str:
    """JSON with what was done; a line for every volume, whose shifts are many."""
    folds = {
        str(fold): {part: [s.name for s in scans if (s.person in people) == (part == "test")] for part in PARTS}
        for fold, people in enumerate(tested, 1)
    }
    variant = config.phantom.variant
    head = {
        "note": "" if config.path else "phantom" if variant == "standard" else f"phantom, {variant}",
        "config": workdir.plain(config),
        "versions": workdir.versions(),
        "git": workdir.git_state(),
        "fitted_every": config.fitted_every,
        "scored_every": config.fitted_every // 2,
        "folds": folds,
    }
    lines = ",\n".join(f"  {json.dumps(volume)}" for volume in volumes)
    return f'{json.dumps(head, indent=1)[:-2]},\n "volumes": [\n{lines}\n ]\n}}\n'
