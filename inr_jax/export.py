"""`inr-jax export`: a trained model as a small folder that adapts to scans with nothing else beside it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from inr_jax import calibrate, calibration, likeness, model_card, scan_io, sealed, starting, trained, workdir
from inr_jax.errors import InputError
from inr_jax.trained import Trained

UNLICENSED = "none stated: ask who trained it before you pass it on"


def export(folder: str | Path, output: str | Path, *, licence: str | None = None) -> Path:
    """Writes a training's best checkpoint into `output`, sealed: weights, config, facts, the validation scans'

    statistics, its calibration, a model card. No path, and nobody's name, goes with it.

    licence: its name or terms, in one line. Raises InputError if there is no training, its validation scans are gone
    and their statistics were not kept, or `output` holds anything but an exported model.
    """
    folder, output = Path(folder), Path(output)
    _check_free(output)
    model = trained.restore(folder)
    facts = _facts(folder, licence or UNLICENSED)
    known = likeness.read(folder, model) or likeness.learn(folder, model)
    found = calibrate.read(folder, model)
    model = _without_places(model)
    with scan_io.all_or_none(output, stale=("*.json",)) as part:
        _write(part / workdir.CONFIG, workdir.plain(model.config))
        _write(part / workdir.MODEL, facts)
        if known is not None:
            _write(part / likeness.FILE, known._asdict())
        if found is not None:
            _write(part / calibrate.FILE, calibration.as_json(calibrate.nameless(found)))
        sealed.write_weights(part, model.params)
        sealed.write_seal(part)
        (part / sealed.CARD).write_text(model_card.text(model, facts, known, found is not None), encoding="utf-8")
    return output


def _check_free(output: Path) -> None:
    if output.is_dir() and any(output.iterdir()) and not sealed.is_sealed(output):
        raise InputError(f"{output}: expected a folder that is empty, new or an exported model; found other files")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _without_places(model: Trained) -> Trained:
    """The model without where its scans lay, and the model that it went on from."""
    config = model.config.copy_and_resolve_references()
    config.data.path = ""
    if config.train.start_from not in ("", *starting.PACKAGED):
        config.train.start_from = "another model"
    return replace(model, config=config)


def _facts(folder: Path, licence: str) -> dict[str, Any]:
    """What a model is, what it was trained on and with: of the training's own files."""
    if "\n" in licence or not licence.isprintable():
        raise InputError(f"--licence: expected a name or terms in one line; found {licence!r}")
    known = workdir.read_json(folder / workdir.MANIFEST)
    kept = {name: known[name] for name in ("seed", "versions", "git", "data")}
    return workdir.read_json(folder / workdir.MODEL) | kept | {"licence": licence}
