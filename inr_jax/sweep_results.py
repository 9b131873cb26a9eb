"""What a sweep left in its folder: the plan, and what came of every variant so far."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inr_jax.errors import InputError
from inr_jax.sweeps import SEED
from inr_jax.tables import METRICS, per_person

PLAN, RESULTS = "sweep.json", "results"
REPEATED = "product"  # how an axis is varied: every value with every other axis; or "one at a time"
FINISHED, DIVERGED, FAILED, BROKEN, OPEN = "finished", "diverged", "failed", "broken file", "not finished"
PREDICTED = ("interpolated", "unmeasured", "all")  # the kinds that tell how well what was not measured is predicted
PLAN_KEYS = ("base", "config_file", "axes", "reference", "varied", "repeats", "variants", "scored_on")
RESULT_KEYS = ("settings", "changes", "status", "reason")
FINISHED_KEYS = (
    "config",
    "modulation_size",
    "parameters",
    "seconds_training",
    "seconds_per_scan",
    "curve",
    "rows",
    "data",
    "device",
    "note",
)

Place = tuple[str, str]  # kind of places, metric: ("interpolated", "psnr")
People = Mapping[str, float]  # a score by person


class Checked(NamedTuple):
    """A training's score on the way."""

    step: int
    seconds: float  # of training, as Result.seconds_training
    psnr: float  # in dB, of validation people after adaptation


class Result(NamedTuple):
    """A variant and what came of it. Only a finished one has numbers; the others have a reason, or are open."""

    name: str
    settings: Mapping[str, str]  # axis -> what it is set to
    changes: Mapping[str, Any]  # of the base config, by dotted key
    status: str = OPEN  # or FINISHED, DIVERGED, FAILED, BROKEN
    reason: str = ""
    config: Mapping[str, Any] = {}  # as JSON has it
    scores: Mapping[Place, People] = {}  # a person's eyes averaged
    curve: Sequence[Checked] = ()
    seconds_training: float = math.nan  # its share of what it was trained together with
    seconds_per_scan: float = math.nan
    modulation_size: float = math.nan  # numbers that are adapted
    parameters: float = math.nan  # shared weights
    data: str = ""  # fingerprint of the scans
    device: str = ""
    note: str = ""  # what must be said of the data: "phantom"

    @property
    def seed(self) -> str:
        """Which repetition of its setting it is; "" where seeds are not varied."""
        return str(self.changes.get(SEED, ""))


class Sweep(NamedTuple):
    """A plan and its results, a result for every planned variant."""

    folder: Path
    config_file: str
    base: Mapping[str, Any]
    axes: Mapping[str, tuple[str, ...]]  # values as words, in order
    reference: Mapping[str, str]  # what the axes are compared with
    varied: Mapping[str, str]  # "product" or "one at a time", by axis
    repeats: Sequence[str]  # axes whose values are repetitions: seeds
    scored_on: str  # the split
    results: tuple[Result, ...]

    @property
    def compared(self) -> list[str]:
        """The axes whose values are compared: all but seeds."""
        return [axis for axis in self.axes if axis not in self.repeats]

    def values(self, axis: str) -> list[str]:
        """The reference's value of an axis, then the others in order."""
        return list(dict.fromkeys((self.reference[axis], *self.axes[axis])))

    def having(self, status: str) -> list[Result]:
        return [result for result in self.results if result.status == status]

    def places(self) -> list[Place]:
        """Kinds and metrics that some variant is scored in: kinds as they come, metrics as reports order them."""
        found = dict.fromkeys(place for result in self.results for place in result.scores)
        kinds = dict.fromkeys(kind for kind, _ in found)
        return [(kind, metric) for kind in kinds for metric in METRICS if (kind, metric) in found]

    def headline(self) -> list[Place]:
        """PSNR of what was not measured and, where there are labels, its Dice; empty before anything is finished."""
        found = self.places()
        kind = next((kind for kind in PREDICTED if (kind, "psnr") in found), "")
        return [(kind, metric) for metric in ("psnr", "dice") if (kind, metric) in found]


def read_sweep(folder: str | Path) -> Sweep:
    """The plan and the results so far; variants without one are OPEN, an unreadable file's is BROKEN and names it.

    Raises InputError where the folder has no plan, or one that is broken or not of this version.
    """
    path = Path(folder) / PLAN
    plan = _read_plan(path)
    try:
        axes = {axis: tuple(words) for axis, words in plan["axes"].items()}
        planned = [Result(v["name"], dict(v["settings"]), dict(v["changes"])) for v in plan["variants"]]
        lacking = [axis for axis in axes if axis not in plan["reference"] or axis not in plan["varied"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected a plan of inr-jax ablate; found {_told(error)}") from error
    if lacking or any(set(result.settings) != set(axes) for result in planned):
        raise InputError(f"{path}: expected variants and a reference set on the axes {', '.join(axes)}; found others")
    return Sweep(
        folder=Path(folder),
        axes=axes,
        results=tuple(_read_result(path.parent / RESULTS / f"{result.name}.json", result) for result in planned),
        **{key: plan[key] for key in ("config_file", "base", "reference", "varied", "repeats", "scored_on")},
    )


def _read_plan(path: Path) -> Mapping[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path.parent}: expected a folder of inr-jax ablate ({PLAN}); found none") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON; found {_told(error)}") from error
    lacking = [key for key in PLAN_KEYS if key not in plan] if isinstance(plan, dict) else list(PLAN_KEYS)
    if lacking:
        raise InputError(f"{path}: expected a plan of this version; it lacks {', '.join(lacking)}")
    return plan


def _read_result(path: Path, planned: Result) -> Result:
    """The planned variant with what its file says; as planned where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _check(found, RESULT_KEYS)
        if (found["settings"], found["changes"]) != (planned.settings, planned.changes):
            raise ValueError("a variant of another plan")
        if found["status"] in (DIVERGED, FAILED):
            return planned._replace(status=found["status"], reason=str(found["reason"]))
        _check(found, FINISHED_KEYS)
        return _finished(found, planned)
    except FileNotFoundError:
        return planned
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{path}: expected a result of this sweep; found {_told(error)}; inr-jax ablate computes it again"
        return planned._replace(status=BROKEN, reason=reason)


def _check(found: Any, keys: Iterable[str]) -> None:
    """Raises ValueError for what is no result."""
    lacking = [key for key in keys if key not in found] if isinstance(found, dict) else ["all"]
    if lacking:
        raise ValueError(f"one that lacks {', '.join(lacking)}")


def _finished(found: Mapping[str, Any], planned: Result) -> Result:
    if found["status"] != FINISHED:
        raise ValueError(f"status {found['status']}")
    return planned._replace(
        status=FINISHED,
        config=dict(found["config"]),
        scores=_scores(found["rows"]),
        curve=[
            Checked(entry["step"], float(entry["seconds"]), float(entry["validation_psnr"]))
            for entry in found["curve"]
            if entry["validation_psnr"] is not None
        ],
        seconds_training=_number(found["seconds_training"]),
        seconds_per_scan=_number(found["seconds_per_scan"]),
        modulation_size=_number(found["modulation_size"]),
        parameters=_number(found["parameters"]),
        data=str(found["data"]),
        device=str(found["device"]),
        note=str(found["note"]),
    )


def _scores(rows: Sequence[Mapping[str, Any]]) -> dict[Place, People]:
    """Each person's mean, by kind and metric, of the model's own first method; null is undefined."""
    own = [row for row in rows if row["method"] == rows[0]["method"]]
    numbers = [
        {"kind": row["kind"], "person": row["person"]} | {metric: _number(row.get(metric)) for metric in METRICS}
        for row in own
    ]
    out: dict[Place, People] = {}
    for kind in dict.fromkeys(row["kind"] for row in numbers):
        chosen = [row for row in numbers if row["kind"] == kind]
        for metric in METRICS:
            people = per_person(chosen, metric)
            if people and metric != "seconds":  # told by seconds_per_scan
                out[kind, metric] = people
    return out


def _number(value: float | int | None) -> float:
    """JSON's null is undefined."""
    return math.nan if value is None else float(value)


def _told(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
