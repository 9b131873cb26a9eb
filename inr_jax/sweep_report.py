"""`inr-jax report`: the tables of a sweep, its page, and its best setting as a config of its own."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from inr_jax import sweep_figures, sweep_text
from inr_jax.figures import png
from inr_jax.page import Picture, save_pictures, write_report
from inr_jax.scan_io import all_or_none, replacing
from inr_jax.sweep_best import with_seed_of, write_best
from inr_jax.sweep_results import FINISHED, OPEN, REPEATED, Place, Result, Sweep, read_sweep
from inr_jax.sweep_tables import (
    Effect,
    Setting,
    best,
    effect_rows,
    effects,
    setting_rows,
    setting_tree,
    settings,
    variant_rows,
)
from inr_jax.tables import METRICS, write_csv

WRITTEN = ("best.py", "figures/*.png")  # what not every report writes
COSTS = {
    "seconds_training": "training (s)",
    "seconds_per_scan": "adapting a scan (s)",
    "modulation_size": "modulation (numbers a scan)",
}
ALIKE = 0.05  # costs that differ less say nothing
EFFECTS, CURVES, COST = "Effect of every axis", "Learning curves", "Quality against what it costs"
TIMED = "Learning curves by seconds"
Left = dict[str, str]  # figures that are left out, and why


def report(folder: str | Path) -> str:
    """Writes a sweep's tables, page and best config into its folder, all of them or none; what is to be printed.

    Works at any time of a sweep, on what is finished by then. Raises InputError where the folder has no readable plan.
    """
    sweep = read_sweep(folder)
    found, changed = settings(sweep), effects(sweep)
    with all_or_none(sweep.folder, WRITTEN) as part:
        write_csv(variant_rows(sweep), part / "table.csv")
        write_csv(setting_rows(found), part / "settings.csv")
        write_csv(effect_rows(changed), part / "effects.csv")
        with replacing(part / "settings.json") as temporary:
            temporary.write_text(json.dumps(setting_tree(found), indent=1, allow_nan=False), encoding="utf-8")
        chosen = best(found, sweep.headline())
        if chosen is not None:
            config = with_seed_of(chosen.variants[0].config, sweep.base)
            write_best(part / "best.py", config, _best_said(sweep, found))
        _write_page(part, sweep, found, changed)
    return f"{sweep_text.print_settings(sweep, found)}\nreport: {sweep.folder / 'report.html'}"


def _best_said(sweep: Sweep, found: Sequence[Setting]) -> list[str]:
    return [
        f"The best setting of a sweep of {sweep.config_file}: {sweep_text.plan_told(sweep)}.",
        "",
        f"{sweep_text.best_told(sweep, found)}.",
        f"Scored on {sweep_text.chosen_on(sweep)}.",
        "The seed is that of the base.",
        "",
        f"inr-jax train --config={sweep.folder / 'best.py'} --workdir=runs/best",
    ]


def _write_page(folder: Path, sweep: Sweep, found: Sequence[Setting], changed: Sequence[Effect]) -> None:
    left: Left = {}
    pictures = [
        *_effects(sweep, changed, left),
        *_curves(sweep, found, left),
        *_costs(sweep, found, left),
    ]
    save_pictures(folder / "figures", pictures)
    missing = len(sweep.having(OPEN))
    more = {"Settings": sweep_text.setting_table(sweep, found)}
    more |= {"Effects": sweep_text.effect_table(sweep, changed)} if changed else {}
    more |= {"Without scores": sweep_text.unfinished_table(sweep)} if sweep_text.unfinished(sweep) else {}
    more |= {"All scores": sweep_text.score_table(sweep, found)} if sweep.places() else {}
    devices = dict.fromkeys(result.device for result in sweep.having(FINISHED))
    write_report(
        folder / "report.html",
        title=f"Sweep of {sweep.config_file}{sweep_text.data_told(sweep)}",
        lead=f"{sweep_text.plan_told(sweep)}."
        + (f" Not complete: {missing} of {len(sweep.results)} variants are not finished." if missing else ""),
        facts={
            "Variants": sweep_text.counted(sweep.results),
            "Reference": ", ".join(f"{axis}={sweep.reference[axis]}" for axis in sweep.compared) or "the base config",
            "Scored on": sweep_text.chosen_on(sweep),
            "Best": sweep_text.best_told(sweep, found),
            "Devices": ", ".join(devices) or "none yet",
            **sweep_text.mixed(sweep),
        }
        | ({"Not drawn": "; ".join(f"{name} ({why})" for name, why in left.items())} if left else {}),
        scores={},
        figures=pictures,
        more=more,
    )


def _effects(sweep: Sweep, changed: Sequence[Effect], left: Left) -> list[Picture]:
    """The differences of every value to its axis' reference, of the headline metrics."""
    known = {(e.axis, e.value, e.kind, e.metric): e.difference for e in changed}
    shown = dict.fromkeys((e.axis, e.value) for e in changed if (e.kind, e.metric) in sweep.headline())
    if not shown:
        left[EFFECTS] = "no two settings that differ in one axis alone are finished"
        return []
    for axis in sweep.compared:
        for value in sweep.values(axis)[1:]:
            if (axis, value) not in shown:
                left[f"effect of {axis}={value}"] = "no setting with it and its pair are both finished"
    axes = dict.fromkeys(axis for axis, _ in shown)
    panels = {
        _title(place): {
            axis: [
                sweep_figures.Dot(value, found.mean, found.low, found.high)
                for value in sweep.values(axis)
                if (found := known.get((axis, value, *place)))
            ]
            for axis in axes
        }
        for place in sweep.headline()
    }
    figure = sweep_figures.effect_dots(panels, {axis: sweep.reference[axis] for axis in axes})
    alt = "Dots with intervals: differences to the reference, a row per value of every axis."
    return [Picture(png(figure), EFFECTS, alt, sweep_text.EFFECT)]


def _title(place: Place) -> str:
    return f"{METRICS[place[1]].title}, {place[0]}"


def _curves(sweep: Sweep, found: Sequence[Setting], left: Left) -> list[Picture]:
    """Validation while training, over updates and over seconds: by setting where these are few, else by axis."""
    drawn = [setting for setting in found if any(variant.curve for variant in setting.variants)]
    if not drawn:
        left[CURVES] = "no finished variant was validated while it was trained"
        return []
    said = "After adaptation to people not learned from; finished variants alone."
    if len(drawn) <= sweep_figures.FEW:
        said += " A colour per setting, a line per seed."
    else:
        said += " Thin: variants, coloured by their value of one axis; thick: their mean, at the updates that all have."
    return [
        Picture(
            png(_curves_over(quantity, sweep, drawn)),
            title,
            f"Lines of validation PSNR over the {unit} of training.",
            said,
        )
        for title, quantity, unit in ((CURVES, "step", "updates"), (TIMED, "seconds", "seconds"))
    ]


def _curves_over(quantity: str, sweep: Sweep, drawn: Sequence[Setting]) -> Figure:
    """Over "step" or "seconds" (Checked)."""

    def curves(variants: Iterable[Result]) -> list[sweep_figures.Curve]:
        return [
            [(float(getattr(at, quantity)), at.psnr) for at in variant.curve] for variant in variants if variant.curve
        ]

    names = {"x_name": {"step": "update", "seconds": "seconds of training"}[quantity], "y_name": "validation PSNR (dB)"}
    if len(drawn) <= sweep_figures.FEW:
        return sweep_figures.setting_curves({setting.name: curves(setting.variants) for setting in drawn}, **names)
    panels = {
        axis: {value: curves(variants) for value, variants in values.items()}
        for axis, values in _by_axis(sweep, drawn).items()
    }
    return sweep_figures.axis_curves(panels, mean=quantity == "step", **names)


def _by_axis(sweep: Sweep, found: Sequence[Setting]) -> dict[str, dict[str, list[Result]]]:
    """The variants of every axis' values; of an axis varied one at a time beside the others' reference alone."""
    out = {}
    for axis in sweep.compared:
        alike = [setting for setting in found if _beside_reference(sweep, setting, axis)]
        by_value = {
            value: [v for setting in alike if setting.settings[axis] == value for v in setting.variants]
            for value in sweep.values(axis)
        }
        out[axis] = {value: variants for value, variants in by_value.items() if variants}
    return {axis: values for axis, values in out.items() if len(values) > 1}


def _beside_reference(sweep: Sweep, setting: Setting, axis: str) -> bool:
    """Whether the axes that are varied one at a time, this one apart, stand at their reference."""
    return all(
        word == sweep.reference[other] or other == axis or sweep.varied[other] == REPEATED
        for other, word in setting.settings.items()
    )


def _costs(sweep: Sweep, found: Sequence[Setting], left: Left) -> list[Picture]:
    """The headline metrics against those costs that differ between settings."""
    scored = [setting for setting in found if setting.scores]
    costs = {}
    for quantity, title in COSTS.items():
        values = [setting.mean_of(quantity) for setting in scored]
        known = np.array([value for value in values if np.isfinite(value)])
        if len(known) < 2:
            left[f"quality against {title}"] = "known of fewer than two settings"
        elif np.ptp(known) <= ALIKE * known.max():
            left[f"quality against {title}"] = f"{known.mean():.4g} in all settings, within {ALIKE:.0%}"
        else:
            costs[title] = values
    if not costs:
        return []
    qualities = {_title(place): [setting.score(place).mean for setting in scored] for place in sweep.headline()}
    reference = next((i for i, setting in enumerate(scored) if setting.is_reference), -1)
    figure = sweep_figures.quality_and_cost([setting.name for setting in scored], qualities, costs, reference)
    said = (
        "A dot is a setting's mean over seeds. On the line nothing is beaten: no other setting is better for less."
        " Times are of the devices named above, compilation apart, and compare on one device alone; that of training is"
        " a variant's share of what it was trained together with."
    )
    return [Picture(png(figure), COST, "Dots of quality over training time, time per scan and size.", said)]
