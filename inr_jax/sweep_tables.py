"""A sweep's tables: settings with their spread, their paired difference to the reference, the effect of every axis."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from inr_jax.sweep_results import DIVERGED, FINISHED, REPEATED, People, Place, Result, Sweep
from inr_jax.tables import Row, mean_interval


class Estimate(NamedTuple):
    """A mean over people, each averaged over repetitions first; nan where undefined.

    Repetitions are seeds of a setting, or pairs of settings of an effect. The interval is of people: with these
    repetitions, on other people. How much repetitions differ is told by `sd_repeats` alone.
    """

    mean: float
    low: float  # the 95% bootstrap interval over people
    high: float
    people: int
    sd_people: float
    repeats: int
    sd_repeats: float  # of the repetitions' own means over people


NONE = Estimate(math.nan, math.nan, math.nan, 0, math.nan, 0, math.nan)


class Setting(NamedTuple):
    """Variants that differ in their seed alone: repetitions of one setting."""

    name: str  # what it is set to, where that is not the reference of an axis varied one at a time
    settings: Mapping[str, str]  # by axis, seeds apart
    is_reference: bool
    variants: tuple[Result, ...]
    scores: Mapping[Place, Estimate]
    differences: Mapping[Place, Estimate]  # to the reference, paired by seed and person

    def having(self, status: str) -> list[Result]:
        return [variant for variant in self.variants if variant.status == status]

    def mean_of(self, quantity: str) -> float:
        """Over finished seeds, of a number of Result such as "seconds_per_scan"; nan if there is none."""
        values = [getattr(variant, quantity) for variant in self.having(FINISHED)]
        return float(np.mean(values)) if values else math.nan

    def score(self, place: Place) -> Estimate:
        return self.scores.get(place, NONE)

    def difference(self, place: Place) -> Estimate:
        return self.differences.get(place, NONE)


class Effect(NamedTuple):
    """What one value of an axis does: its score minus that of the axis' reference, all other axes alike."""

    axis: str
    value: str
    reference: str
    varied: str  # "product": a mean over pairs of settings; "one at a time": mostly one pair
    kind: str
    metric: str
    difference: Estimate  # repetitions: pairs of settings


def mean_by_person(repeats: Sequence[People]) -> dict[str, float]:
    """Each person's mean over the repetitions that have one of theirs."""
    values: dict[str, list[float]] = {}
    for people in repeats:
        for person, value in people.items():
            values.setdefault(person, []).append(value)
    return {person: float(np.mean(found)) for person, found in values.items()}


def estimate(repeats: Sequence[People]) -> Estimate:
    """Mean and spreads of a score by person, given once per repetition; repetitions without anyone do not count."""
    filled = [people for people in repeats if people]
    if not filled:
        return NONE
    people = np.array(list(mean_by_person(filled).values()))
    repeated = np.array([np.mean(list(found.values())) for found in filled])
    return Estimate(
        float(people.mean()), *mean_interval(people), len(people), _sd(people), len(repeated), _sd(repeated)
    )


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def paired(first: Sequence[Result], second: Sequence[Result], place: Place) -> list[dict[str, float]]:
    """Second minus first by person, once for each seed that both have finished."""
    by_seed = {result.seed: result.scores.get(place, {}) for result in first}
    return [
        {person: y - by_seed[result.seed][person] for person, y in found.items() if person in by_seed[result.seed]}
        for result in second
        if result.seed in by_seed and (found := result.scores.get(place, {}))
    ]


def settings(sweep: Sweep) -> list[Setting]:
    """All settings of the plan in its order, finished or not."""
    groups, places = _by_setting(sweep), sweep.places()
    reference = tuple(sweep.reference[axis] for axis in sweep.compared)
    out = []
    for words, variants in groups.items():
        scores = {place: estimate([v.scores.get(place, {}) for v in variants]) for place in places}
        changes = {place: estimate(paired(groups.get(reference, []), variants, place)) for place in places}
        out.append(
            Setting(
                name=_name(sweep, words),
                settings=dict(zip(sweep.compared, words, strict=True)),
                is_reference=words == reference,
                variants=tuple(variants),
                scores={place: found for place, found in scores.items() if found.people},
                differences={place: found for place, found in changes.items() if found.people},
            )
        )
    return out


def effects(sweep: Sweep) -> list[Effect]:
    """Of every value that is no reference, on every kind and metric: the mean over pairs of settings, by person.

    A pair agrees in all axes but one, and in its seeds. A product has as many pairs as its other axes have settings.
    """
    groups = _by_setting(sweep)
    out = []
    for nth, axis in enumerate(sweep.compared):
        reference, *others = sweep.values(axis)
        for value in others:
            pairs = [
                (groups.get((*words[:nth], reference, *words[nth + 1 :]), []), variants)
                for words, variants in groups.items()
                if words[nth] == value
            ]
            for kind, metric in sweep.places():
                found = estimate([mean_by_person(paired(a, b, (kind, metric))) for a, b in pairs])
                if found.people:
                    out.append(Effect(axis, value, reference, sweep.varied[axis], kind, metric, found))
    return out


def ranked(found: Sequence[Setting], headline: Sequence[Place]) -> list[Setting]:
    """The largest score in the first of the headline's places first; those without one at the end, as planned."""

    def by_score(setting: Setting) -> float:
        mean = setting.score(headline[0]).mean if headline else math.nan
        return math.inf if math.isnan(mean) else -mean

    return sorted(found, key=by_score)


def complete(setting: Setting) -> bool:
    """Every planned seed is finished: none is open, failed or diverged."""
    return len(setting.having(FINISHED)) == len(setting.variants)


def best(found: Sequence[Setting], headline: Sequence[Place]) -> Setting | None:
    """The complete setting of the largest mean in the first of the headline's places; None where there is none."""
    first = next(iter(ranked([setting for setting in found if complete(setting)], headline)), None)
    return first if first is not None and any(place in first.scores for place in headline[:1]) else None


def variant_rows(sweep: Sweep) -> list[Row]:
    """A row per variant: what it is set to, its status, its means over people, times and sizes."""
    return [
        {"variant": result.name}
        | dict(result.settings)
        | {"status": result.status, "reason": result.reason}
        | {
            f"{kind} {metric}": estimate([result.scores.get((kind, metric), {})]).mean
            for kind, metric in sweep.places()
        }
        | {name: getattr(result, name) for name in QUANTITIES}
        | {"device": result.device, "note": result.note}
        for result in sweep.results
    ]


def setting_rows(found: Sequence[Setting]) -> list[Row]:
    """A row per setting: of every kind and metric all numbers of its score and of its difference to the reference.

    Columns are "interpolated psnr", "interpolated psnr low", "interpolated psnr difference",
    "interpolated psnr difference low" and so on.
    """
    return [
        _facts(setting)
        | {
            " ".join((*place, *of, *([] if name == "mean" else [name]))): value
            for place in setting.scores
            for of, estimated in (((), setting.score(place)), (("difference",), setting.difference(place)))
            for name, value in _by_seeds(estimated).items()
        }
        for setting in found
    ]


def setting_tree(found: Sequence[Setting]) -> list[dict[str, Any]]:
    """The same for JSON: numbers by kind and metric; null for the undefined."""
    return [
        {name: _null(value) for name, value in _facts(setting).items()}
        | {"settings": dict(setting.settings)}
        | {
            "scores": [
                {"kind": kind, "metric": metric}
                | {"score": _plain(setting.score((kind, metric)))}
                | {"difference": _plain(setting.difference((kind, metric)))}
                for kind, metric in setting.scores
            ]
        }
        for setting in found
    ]


def effect_rows(found: Sequence[Effect]) -> list[Row]:
    """A row per axis, value, kind and metric; `pairs` of settings are its repetitions."""
    named = {"repeats": "pairs", "sd_repeats": "sd_pairs", "mean": "difference"}
    return [
        {name: value for name, value in effect._asdict().items() if name != "difference"}
        | {named.get(name, name): value for name, value in effect.difference._asdict().items()}
        for effect in found
    ]


QUANTITIES = ("seconds_training", "seconds_per_scan", "modulation_size", "parameters")


def _facts(setting: Setting) -> dict[str, Any]:
    return (
        {"setting": setting.name}
        | dict(setting.settings)
        | {"reference": setting.is_reference, "seeds": len(setting.variants)}
        | {"finished": len(setting.having(FINISHED)), "diverged": len(setting.having(DIVERGED))}
        | {name: setting.mean_of(name) for name in QUANTITIES}
    )


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by_seeds(found: Estimate) -> dict[str, Any]:
    """Its numbers by name, where repetitions are seeds."""
    return {{"repeats": "seeds", "sd_repeats": "sd_seeds"}.get(k, k): value for k, value in found._asdict().items()}


def _plain(found: Estimate) -> dict[str, Any]:
    return {name: _null(value) for name, value in _by_seeds(found).items()}


def _by_setting(sweep: Sweep) -> dict[tuple[str, ...], list[Result]]:
    """The variants of every setting, by its words in the order of the compared axes."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in sweep.results:
        groups.setdefault(tuple(result.settings[axis] for axis in sweep.compared), []).append(result)
    return groups


def _name(sweep: Sweep, words: Sequence[str]) -> str:
    """ "activation=wire, slo=off": axes of the product always, the others where they leave the reference."""
    said = [
        f"{axis}={word}"
        for axis, word in zip(sweep.compared, words, strict=True)
        if sweep.varied[axis] == REPEATED or word != sweep.reference[axis]
    ]
    return ", ".join(said) or "reference"
