"""A sweep in words: its plan, and its settings and effects as tables of text."""

import json
import math
from collections.abc import Sequence

from inr_jax.compare import ARROWS
from inr_jax.page import TextTable, noted
from inr_jax.sweep_results import FINISHED, OPEN, REPEATED, Place, Result, Sweep
from inr_jax.sweep_tables import NONE, Effect, Estimate, Setting, best, complete, ranked
from inr_jax.tables import METRICS

INTERVALS = (
    "Means over people, a person's eyes and then the seeds averaged first; [95% bootstrap interval over people]."
    " Differences to the reference are paired by person, on the seeds that both have finished. An interval is of other"
    " people with these seeds, not of other seeds: how much those differ is the SD over seeds, where there are two."
)
EFFECT = (
    "Difference of the mean score to that of the axis' reference value, all other axes alike, paired by person and"
    " seed; [95% bootstrap interval over people]. Of an axis in a product it is the mean over all pairs of settings"
    " that differ in this axis alone; of an axis varied one at a time it holds beside the reference of the others."
)
DASH = "–"


def chosen_on(sweep: Sweep) -> str:
    """What must be said of every score of a sweep."""
    people = {person for result in sweep.results for found in result.scores.values() for person in found}
    count = f"{len(people)} " if people else ""
    return (
        f"{count}{sweep.scored_on} people{data_told(sweep)}, on whom the best setting is chosen: its own score is"
        " optimistic until other people are scored (inr-jax evaluate)"
    )


def data_told(sweep: Sweep) -> str:
    """What must be said of the data: " (phantom)"; or nothing."""
    return "".join(noted(note) for note in dict.fromkeys(result.note for result in sweep.results) if note)


def mixed(sweep: Sweep) -> dict[str, str]:
    """What must be said where scans that the same config names were not the same for all variants; or nothing."""
    found: dict[str, set[str]] = {}
    for result in sweep.having(FINISHED):
        found.setdefault(json.dumps(result.config["data"], sort_keys=True), set()).add(result.data)
    if all(len(fingerprints) == 1 for fingerprints in found.values()):
        return {}
    return {"Data": "changed between variants: their scores do not compare (delete results/ and run the sweep again)"}


def plan_told(sweep: Sweep) -> str:
    """The axes in words: "activation (sine, wire) x seed (0, 1); one at a time: slo (on, off)"."""
    told = {axis: f"{axis} ({', '.join(words)})" for axis, words in sweep.axes.items()}
    product = " x ".join(told[axis] for axis in told if sweep.varied[axis] == REPEATED)
    single = ", ".join(told[axis] for axis in told if sweep.varied[axis] != REPEATED)
    return "; ".join([*([product] if product else []), *([f"one at a time: {single}"] if single else [])])


def counted(results: Sequence[Result]) -> str:
    """ "24: 20 finished, 1 diverged, 3 not finished"."""
    statuses = [result.status for result in results]
    known = [FINISHED, *(status for status in statuses if status not in (FINISHED, OPEN)), OPEN]
    parts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(known) if status in statuses]
    return f"{len(results)}: {', '.join(parts)}"


def best_told(sweep: Sweep, found: Sequence[Setting]) -> str:
    """The best setting with its score and spread, and among how many it was chosen; or that there is none yet."""
    chosen = best(found, sweep.headline())
    if chosen is None:
        return "none yet: no setting has all its seeds finished, so there is no best.py"
    among = [setting for setting in found if complete(setting)]
    variants = sum(len(setting.variants) for setting in among)
    place = sweep.headline()[0]
    score = chosen.score(place)
    seeds = f", SD over {score.repeats} seeds {rounded(score.sd_repeats, place)}" if score.repeats > 1 else ", one seed"
    people = f"SD over {score.people} people {rounded(score.sd_people, place)}"
    rivals = f"the best of {len(among)} settings" if len(among) > 1 else "with no other to compare it to, of those"
    return (
        f"{chosen.name}: {METRICS[place[1]].title} {place[0]} {interval(score, place)} ({people}{seeds}),"
        f" {rivals} that have all their seeds ({variants} variants)"
    )


def print_settings(sweep: Sweep, found: Sequence[Setting]) -> str:
    """The settings in columns of one width, the best first, the reference marked; what is not finished stands below."""
    places = sweep.headline()
    header = ["setting", "seeds"]
    for kind, metric in places:
        header += [f"{METRICS[metric].title} {kind} {ARROWS[METRICS[metric].better]}", "minus reference [95%]"]
    rows = [header, *(_short_row(setting, places) for setting in ranked(found, places))]
    widths = [max(len(row[i]) for row in rows) + 2 for i in range(len(header))]
    lines = [
        row[0].ljust(widths[0]) + "".join(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    said = [
        f"variants: {counted(sweep.results)}",
        f"scored on {chosen_on(sweep)}",
        f"best: {best_told(sweep, found)}",
        *(f"{result.name}: {result.status}: {result.reason}" for result in unfinished(sweep)),
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *said])


def _short_row(setting: Setting, places: Sequence[Place]) -> list[str]:
    cells = [_named(setting), _seeds(setting)]
    for place in places:
        cells += [rounded(setting.score(place).mean, place), _change(setting, place)]
    return cells


def setting_table(sweep: Sweep, found: Sequence[Setting]) -> TextTable:
    """Settings by the headline metric: scores, spreads, differences, times and sizes."""
    places = sweep.headline()
    header = ["Setting", "seeds"]
    for kind, metric in places:
        header += [f"{METRICS[metric].title}, {kind} {ARROWS[METRICS[metric].better]}"]
        header += ["SD people", "SD seeds", "minus reference", "pairs"]
    header += ["training (s)", "a scan (s)", "modulation", "weights"]
    rows = [_long_row(setting, places) for setting in ranked(found, places)]
    said = f"On {chosen_on(sweep)}. {INTERVALS} Modulation: numbers that are adapted; weights: numbers that are shared."
    return TextTable(said, header, rows)


def _long_row(setting: Setting, places: Sequence[Place]) -> list[str]:
    cells = [_named(setting), _seeds(setting)]
    for place in places:
        score, change = setting.score(place), setting.difference(place)
        cells += [interval(score, place), rounded(score.sd_people, place), rounded(score.sd_repeats, place)]
        cells += [_change(setting, place), DASH if setting.is_reference else str(change.people)]
    return [
        *cells,
        _number(setting.mean_of("seconds_training"), 1),
        _number(setting.mean_of("seconds_per_scan"), 2),
        _number(setting.mean_of("modulation_size"), 0),
        _number(setting.mean_of("parameters"), 0),
    ]


def score_table(sweep: Sweep, found: Sequence[Setting]) -> TextTable:
    """Every metric of every kind, settings in the order of the plan."""
    kinds = dict.fromkeys(kind for kind, _ in sweep.places())
    metrics = [metric for metric in METRICS if any(metric == m for _, m in sweep.places())]
    rows = [
        [f"{setting.name}, {kind}", *(interval(setting.score((kind, metric)), (kind, metric)) for metric in metrics)]
        for setting in found
        for kind in kinds
        if any(place[0] == kind for place in setting.scores)
    ]
    header = ["Setting, places", *(f"{METRICS[m].title} {ARROWS[METRICS[m].better]}" for m in metrics)]
    return TextTable(f"On {chosen_on(sweep)}. Mean [95% bootstrap interval over people].", header, rows)


def effect_table(sweep: Sweep, changed: Sequence[Effect]) -> TextTable:
    """A row per axis and value, of the headline metrics."""
    places = sweep.headline()
    by_value: dict[tuple[str, ...], dict[Place, Estimate]] = {}
    for effect in changed:
        key = (f"{effect.axis}: {effect.value}", effect.reference, effect.varied)
        by_value.setdefault(key, {})[effect.kind, effect.metric] = effect.difference
    header = ["Axis: value", "reference", "varied"]
    header += [cell for kind, metric in places for cell in (f"{METRICS[metric].title}, {kind}", "pairs of settings")]
    rows = [
        [*key, *(cell for place in places for cell in _effect_cells(differences.get(place, NONE), place))]
        for key, differences in by_value.items()
    ]
    return TextTable(EFFECT, header, rows)


def _effect_cells(found: Estimate, place: Place) -> tuple[str, str]:
    return interval(found, place, sign="+"), str(found.repeats)


def unfinished_table(sweep: Sweep) -> TextTable:
    """Variants that ended without scores, and why."""
    rows = [[result.name, _set_to(result), result.status, result.reason] for result in unfinished(sweep)]
    return TextTable("These are in no number above.", ["Variant", "set to", "status", "reason"], rows)


def _set_to(result: Result) -> str:
    return ", ".join(f"{axis}={word}" for axis, word in result.settings.items())


def unfinished(sweep: Sweep) -> list[Result]:
    """The variants that ended without scores."""
    return [result for result in sweep.results if result.status not in (FINISHED, OPEN)]


def interval(found: Estimate, place: Place, sign: str = "") -> str:
    """ "27.31 [26.80, 27.90]" in the digits of the place's metric; a dash where undefined."""
    form = f"{sign}.{METRICS[place[1]].digits}f"
    if math.isnan(found.mean):
        return DASH
    return f"{found.mean:{form}}" + ("" if math.isnan(found.low) else f" [{found.low:{form}}, {found.high:{form}}]")


def rounded(value: float, place: Place) -> str:
    return _number(value, METRICS[place[1]].digits)


def _number(value: float, digits: int) -> str:
    return DASH if math.isnan(value) else f"{value:.{digits}f}"


def _change(setting: Setting, place: Place) -> str:
    return DASH if setting.is_reference else interval(setting.difference(place), place, sign="+")


def _named(setting: Setting) -> str:
    return setting.name + (" (reference)" if setting.is_reference and setting.name != "reference" else "")


def _seeds(setting: Setting) -> str:
    """ "2 of 3, 1 diverged": those that are finished, and those that never will be."""
    others = dict.fromkeys(v.status for v in setting.variants if v.status not in (FINISHED, OPEN))
    parts = [f"{len(setting.having(status))} {status}" for status in others]
    return ", ".join([f"{len(setting.having(FINISHED))} of {len(setting.variants)}", *parts])
