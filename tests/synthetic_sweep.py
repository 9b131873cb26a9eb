"""The folder of a sweep that never ran: scores in closed form, so that every mean and difference is known."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from inr_jax.config_script import load_config

PEOPLE = ("a", "b", "c", "d")
KEYS = {"activation": "model.activation", "width": "model.width", "omega": "hyper.omega_first", "seed": "train.seed"}
BASE = 25.0  # dB of the first person at the reference
PER_PERSON, PER_SEED = 2.0, 0.25  # dB more of every next one
EYES = {"R": 0.5, "L": -0.5}
Axes = Mapping[str, Mapping[str, float]]  # what every value adds to the PSNR of the first person, in dB

ACTIVATIONS: Axes = {"activation": {"sine": 0.0, "wire": 1.0, "relu": -2.0}, "seed": {"0": 0.0, "1": 0.0}}


def words(axes: Axes, single: Sequence[str]) -> list[dict[str, str]]:
    """What every variant is set to: the product of most axes, and in each of these the `single` ones one at a time."""
    first = {axis: next(iter(values)) for axis, values in axes.items()}
    crossed = [axis for axis in axes if axis not in single]
    out = [first | dict(zip(crossed, chosen, strict=True)) for chosen in product(*(axes[axis] for axis in crossed))]
    changed = [
        setting | {axis: word} for axis in single for word in axes[axis] if word != first[axis] for setting in out
    ]
    return [*out, *changed]


def gain(axes: Axes, settings: Mapping[str, str], person: int) -> float:
    """dB above the reference: values help the nth person (1 + n) times as much as the first."""
    return (1 + person) * sum(axes[axis][word] for axis, word in settings.items())


def rows_of(axes: Axes, settings: Mapping[str, str], people: Sequence[str], labels: bool) -> list[dict[str, Any]]:
    """Two eyes a person, 1 dB apart; fitted places 3 dB above those between, whose Dice is a 50th of the PSNR."""
    facts = {"split": "validation", "method": "inr_jax, 5 steps", "note": "phantom", "ssim": None}
    out = []
    for n, person in enumerate(people):
        seed = PER_SEED * int(settings.get("seed", "0"))
        psnr = BASE + PER_PERSON * n + seed + gain(axes, settings, n)
        for eye, offset in EYES.items():
            for kind, more in (("fitted", 3.0), ("interpolated", 0.0)):
                value = psnr + offset + more
                dice = {"dice": value / 50} if labels else {}
                out.append(facts | {"subject": f"{person}-{eye}", "person": person, "kind": kind, "psnr": value} | dice)
    return out


def write_sweep(
    folder: Path,
    axes: Axes = ACTIVATIONS,
    *,
    single: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    labels: bool = True,
    people: Sequence[str] = PEOPLE,
) -> list[str]:
    """Writes a finished sweep and gives its variants' names. The first value of every axis is the reference."""
    plain = json.loads(json.dumps(base or load_config("configs/oct.py").to_dict()))
    settings = words(axes, single)
    variants = [
        {"name": f"{n:04}", "settings": s, "changes": {_key(axis): _value(word) for axis, word in s.items()}}
        for n, s in enumerate(settings)
    ]
    plan = {
        "base": plain,
        "config_file": "configs/oct.py",
        "axes": {axis: list(values) for axis, values in axes.items()},
        "reference": {axis: next(iter(values)) for axis, values in axes.items()},
        "varied": {axis: "one at a time" if axis in single else "product" for axis in axes},
        "repeats": ["seed"] if "seed" in axes else [],
        "variants": variants,
        "scored_on": "validation",
    }
    (folder / "results").mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(plan))
    for variant in variants:
        rows = rows_of(axes, variant["settings"], people, labels)
        change_result(folder, variant["name"], _finished(variant, plain, rows, gain(axes, variant["settings"], 0)))
    return [variant["name"] for variant in variants]


def _key(axis: str) -> str:
    return KEYS.get(axis, f"hyper.{axis}")


def _value(word: str) -> Any:
    return int(word) if word.isdigit() else word


def _finished(variant: dict[str, Any], base: dict[str, Any], rows: list, more: float) -> dict[str, Any]:
    config = json.loads(json.dumps(base))
    for key, value in variant["changes"].items():
        *path, last = key.split(".")
        part = config
        for name in path:
            part = part[name]
        part[last] = value
    seed = variant["changes"].get("train.seed", 0)
    curve = [
        (1000, "autodecoder", None),
        *((1000 + 200 * n, "joint", BASE + more + 0.1 * seed - 4 / n) for n in range(1, 6)),
    ]
    return {
        "variant": variant["name"],
        "settings": variant["settings"],
        "changes": variant["changes"],
        "config": config,
        "status": "finished",
        "reason": "",
        "modulation_size": 8 * config["model"]["width"],
        "parameters": 51234,
        "seconds_training": 60.0 + 10 * more + seed,
        "seconds_per_scan": 0.44,
        "together": {"variants": 4, "over": "map", "compile_seconds": 20.1},
        "curve": [
            {"step": step, "stage": stage, "seconds": step / 100, "loss": 0.01, "validation_psnr": psnr}
            for step, stage, psnr in curve
        ],
        "rows": rows,
        "data": "5b2c",
        "device": "cpu",
        "note": "phantom",
    }  # fmt: skip


def read_result(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "results" / f"{name}.json").read_text())


def change_result(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    (folder / "results" / f"{name}.json").write_text(json.dumps(found))


def end_without_scores(folder: Path, name: str, status: str, reason: str) -> None:
    """The variant diverged or failed."""
    kept = {key: read_result(folder, name)[key] for key in ("variant", "settings", "changes", "config")}
    change_result(
        folder, name, kept | {"status": status, "reason": reason, "together": {}, "device": "cpu", "note": ""}
    )
