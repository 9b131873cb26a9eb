"""A sweep's tables are what its scores say: paired by person and seed, honest about what is not finished."""

import csv
import json
import math

import numpy as np
import pytest
import synthetic_sweep as synthetic
from ml_collections import ConfigDict

from inr_jax.config_script import load_config, tuples
from inr_jax.errors import InputError
from inr_jax.sweep_figures import front
from inr_jax.sweep_report import report
from inr_jax.sweep_results import BROKEN, DIVERGED, FAILED, FINISHED, OPEN, read_sweep
from inr_jax.sweep_tables import best, effects, estimate, mean_by_person, settings
from inr_jax.tables import mean_interval

PSNR, DICE = ("interpolated", "psnr"), ("interpolated", "dice")
SEEDS = {"0": 0.0, "1": 0.0}
TWO_AXES = {"activation": {"sine": 0.0, "wire": 1.0}, "width": {"96": 0.0, "64": -0.5, "128": 0.25}, "seed": SEEDS}
PEOPLE = np.arange(4)
GAIN = 1 + PEOPLE  # what a value adds is so many times what it adds for the first person


def by_name(sweep):
    return {setting.name: setting for setting in settings(sweep)}


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path):
    synthetic.write_sweep(tmp_path)
    return tmp_path


def test_a_settings_score_is_the_mean_over_people_of_their_eyes_and_seeds(folder):
    wire = by_name(read_sweep(folder))["activation=wire"].scores[PSNR]
    people = synthetic.BASE + synthetic.PER_PERSON * PEOPLE + GAIN + synthetic.PER_SEED * 0.5
    assert wire.mean == pytest.approx(people.mean())
    assert (wire.people, wire.repeats) == (4, 2)
    assert wire.sd_people == pytest.approx(people.std(ddof=1))
    assert wire.sd_repeats == pytest.approx(synthetic.PER_SEED / math.sqrt(2))
    assert (wire.low, wire.high) == pytest.approx(mean_interval(people))


def test_a_difference_is_paired_by_person_and_seed(folder):
    relu = by_name(read_sweep(folder))["activation=relu"].differences[PSNR]
    assert relu.mean == pytest.approx((-2 * GAIN).mean())
    assert (relu.low, relu.high) == pytest.approx(mean_interval(-2.0 * GAIN))
    assert (relu.people, relu.repeats) == (4, 2)
    assert relu.sd_repeats == pytest.approx(0, abs=1e-9)  # both seeds gain alike


def test_a_seed_that_only_one_setting_has_is_in_its_mean_and_not_in_the_difference(folder):
    names = [r.name for r in read_sweep(folder).results if r.settings == {"activation": "sine", "seed": "1"}]
    synthetic.end_without_scores(folder, names[0], "diverged", "step 3: loss nan")
    found = by_name(read_sweep(folder))
    assert found["activation=wire"].scores[PSNR].repeats == 2
    assert found["activation=wire"].differences[PSNR].repeats == 1
    # what seeds differ by is not in it
    assert found["activation=wire"].differences[PSNR].mean == pytest.approx(GAIN.mean())


def test_a_person_whom_one_of_two_lacks_is_no_pair(folder):
    for result in read_sweep(folder).results:
        if result.settings["activation"] == "wire":
            found = synthetic.read_result(folder, result.name)
            for row in found["rows"]:
                row["dice"] = None if row["person"] == "d" else row["dice"]
            synthetic.change_result(folder, result.name, found)
    wire = by_name(read_sweep(folder))["activation=wire"]
    assert (wire.scores[DICE].people, wire.differences[DICE].people) == (3, 3)
    assert wire.differences[DICE].mean == pytest.approx(GAIN[:3].mean() / 50)
    assert wire.differences[PSNR].people == 4


def test_an_effect_in_a_product_is_the_mean_over_all_pairs_that_differ_in_its_axis_alone(tmp_path):
    synthetic.write_sweep(tmp_path, TWO_AXES)
    found = {(e.axis, e.value, e.kind, e.metric): e.difference for e in effects(read_sweep(tmp_path))}
    wire = found["activation", "wire", *PSNR]
    assert wire.mean == pytest.approx(GAIN.mean())
    assert (wire.low, wire.high) == pytest.approx(mean_interval(1.0 * GAIN))
    assert (wire.people, wire.repeats) == (4, 3)  # three widths
    assert found["width", "64", *PSNR].mean == pytest.approx(-0.5 * GAIN.mean())
    assert found["width", "64", *PSNR].repeats == 2
    assert {axis for axis, *_ in found} == {"activation", "width"}  # a seed has no effect


def test_an_effect_of_an_axis_varied_one_at_a_time_is_the_difference_to_the_reference(tmp_path):
    synthetic.write_sweep(tmp_path, TWO_AXES, single=("activation", "width"))
    sweep = read_sweep(tmp_path)
    named = by_name(sweep)
    assert list(named) == ["reference", "activation=wire", "width=64", "width=128"]
    for effect in effects(sweep):
        assert effect.difference.repeats == 1
        expected = named[f"{effect.axis}={effect.value}"].differences[effect.kind, effect.metric]
        assert effect.difference[:5] == pytest.approx(expected[:5])


def test_an_effect_leaves_out_pairs_of_which_one_has_no_scores(tmp_path):
    names = synthetic.write_sweep(tmp_path, TWO_AXES)
    for result in read_sweep(tmp_path).results:
        if (result.settings["activation"], result.settings["width"]) == ("wire", "128"):
            synthetic.end_without_scores(tmp_path, result.name, "diverged", "nan")
    found = {(e.axis, e.value, e.kind, e.metric): e.difference for e in effects(read_sweep(tmp_path))}
    assert found["activation", "wire", *PSNR].repeats == 2
    assert found["width", "128", *PSNR].repeats == 1
    assert found["width", "128", *PSNR].mean == pytest.approx(0.25 * GAIN.mean())
    assert len(names) == 12


def test_an_estimate_counts_no_repetition_without_people_and_knows_no_spread_of_one():
    one = estimate([{"a": 1.0}, {}])
    assert (one.mean, one.people, one.repeats) == (1.0, 1, 1)
    assert all(math.isnan(value) for value in (one.low, one.high, one.sd_people, one.sd_repeats))
    assert math.isnan(estimate([]).mean)
    assert mean_by_person([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 4.0}


def test_variants_that_are_not_finished_are_told_as_what_they_are_and_never_as_numbers(folder):
    names = [result.name for result in read_sweep(folder).results]
    synthetic.end_without_scores(folder, names[2], "diverged", "step 412: loss is not finite")
    synthetic.end_without_scores(folder, names[3], "failed", "out of memory")
    (folder / "results" / f"{names[4]}.json").write_text('{"variant"')
    (folder / "results" / f"{names[5]}.json").unlink()
    printed = report(folder)
    rows = read(folder / "table.csv")
    assert [row["status"] for row in rows] == [FINISHED, FINISHED, DIVERGED, FAILED, BROKEN, OPEN]
    assert [row["reason"] for row in rows[:4]] == ["", "", "step 412: loss is not finite", "out of memory"]
    assert all(row["interpolated psnr"] == row["seconds_per_scan"] == "" for row in rows[2:])
    assert "6: 2 finished, 1 diverged, 1 failed, 1 broken file, 1 not finished" in printed
    assert f"{names[4]}: broken file: {folder / 'results' / names[4]}.json: expected a result of this sweep;" in printed
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Not complete: 1 of 6 variants are not finished." in page
    for said in ("step 412: loss is not finite", "out of memory", f"{names[4]}.json"):
        assert said in page


@pytest.mark.parametrize(
    "change",
    [
        {"changes": {"model.activation": "gaussian"}},
        {"status": "done"},
        {"rows": [{"person": "a"}]},
        {"rows": [{"person": "a", "kind": "fitted", "method": "m", "psnr": "high"}]},
        {"curve": None},
    ],
    ids=["another plan's", "unknown status", "no kind", "no number", "no curve"],
)
def test_a_result_that_is_none_of_this_sweep_is_broken_and_named(folder, change):
    synthetic.change_result(folder, "0000", synthetic.read_result(folder, "0000") | change)
    result = read_sweep(folder).results[0]
    assert result.status == BROKEN
    assert str(folder / "results" / "0000.json") in result.reason
    assert result.scores == {}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, r"expected a folder of inr-jax ablate \(sweep.json\); found none"),
        ("{", r"sweep\.json: expected JSON; found "),
        ("[]", r"sweep\.json: expected a plan of this version; it lacks base, config_file"),
        ('{"axes": {}}', r"sweep\.json: expected a plan of this version; it lacks base, config_file, reference"),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line(tmp_path, content, found):
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(InputError, match=found) as error:
        report(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else ["sweep.json"])


def test_a_plan_whose_variants_stand_on_other_axes_is_refused(folder):
    plan = json.loads((folder / "sweep.json").read_text())
    plan["variants"][0]["settings"] = {"width": "96"}
    (folder / "sweep.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="expected variants and a reference set on the axes activation, seed"):
        read_sweep(folder)


def test_best_py_is_the_best_variants_config_with_the_bases_seed(folder):
    report(folder)
    sweep = read_sweep(folder)
    expected = ConfigDict(
        tuples(next(r.config for r in sweep.results if r.settings == {"activation": "wire", "seed": "1"}))
    )
    assert expected.train.seed == 1
    expected.train.seed = 0
    found = load_config(folder / "best.py")
    assert found == expected
    assert found.model.activation == "wire"
    said = (folder / "best.py").read_text()
    for part in ("activation=wire", "4 validation people (phantom)", "SD over 2 seeds 0.18", "(6 variants)"):
        assert part in said


def test_best_py_holds_infinite_numbers_and_quotes(tmp_path):
    base = load_config("configs/interp_oct_general.py")
    base.data.path = 'it\'s a "path"'
    synthetic.write_sweep(tmp_path, base=base.to_dict())
    report(tmp_path)
    found = load_config(tmp_path / "best.py")
    assert found.hyper.skip_ratio == math.inf
    assert found.data.path == base.data.path


def test_a_setting_is_the_best_only_with_all_its_seeds(folder):
    wire = [r.name for r in read_sweep(folder).results if r.settings["activation"] == "wire"]
    (folder / "results" / f"{wire[1]}.json").unlink()
    report(folder)
    assert load_config(folder / "best.py").model.activation == "sine"
    for result in read_sweep(folder).results:
        if result.settings["seed"] == "0":
            synthetic.end_without_scores(folder, result.name, "diverged", "nan")
    assert best(settings(read_sweep(folder)), [PSNR]) is None
    assert "best: none yet" in report(folder)
    assert not (folder / "best.py").exists()  # nor the one of before


def test_tables_say_the_same_in_csv_and_json(folder):
    report(folder)
    rows, tree = read(folder / "settings.csv"), json.loads((folder / "settings.json").read_text())
    wire = by_name(read_sweep(folder))["activation=wire"]
    assert [row["setting"] for row in rows] == [row["setting"] for row in tree] == list(by_name(read_sweep(folder)))
    assert float(rows[1]["interpolated psnr"]) == wire.scores[PSNR].mean
    assert float(rows[1]["interpolated psnr sd_seeds"]) == wire.scores[PSNR].sd_repeats
    assert float(rows[1]["interpolated psnr difference low"]) == wire.differences[PSNR].low
    (score,) = [s for s in tree[1]["scores"] if (s["kind"], s["metric"]) == PSNR]
    assert score["score"]["mean"] == wire.scores[PSNR].mean
    assert score["difference"]["high"] == wire.differences[PSNR].high
    assert [float(row["interpolated psnr"]) for row in read(folder / "table.csv")[2:4]] == pytest.approx(
        [wire.scores[PSNR].mean - synthetic.PER_SEED / 2, wire.scores[PSNR].mean + synthetic.PER_SEED / 2]
    )
    effect = next(r for r in read(folder / "effects.csv") if (r["value"], r["kind"], r["metric"]) == ("wire", *PSNR))
    assert float(effect["difference"]) == pytest.approx(GAIN.mean())


def test_the_printed_table_ranks_settings_and_marks_the_reference(folder):
    lines = report(folder).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["activation=wire", "activation=sine", "activation=relu"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert "(reference)" in lines[3]
    assert "+2.50 [+1.50, +3.50]" in lines[2]
    assert "scored on 4 validation people (phantom), on whom the best setting is chosen" in "\n".join(lines)


def test_the_page_needs_no_network_and_has_its_figures_as_files_too(tmp_path):
    synthetic.write_sweep(tmp_path, TWO_AXES)
    report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('src="data:image/png;base64,') == 4
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "effect_of_every_axis.png",
        "learning_curves.png",
        "learning_curves_by_seconds.png",
        "quality_against_what_it_costs.png",
    ]
    assert "validation people (phantom), on whom the best setting is chosen: its own score is optimistic" in page


def test_figures_that_would_say_nothing_are_left_out_and_why_is_said(tmp_path):
    synthetic.write_sweep(tmp_path, {"seed": SEEDS}, labels=False)
    report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2  # learning curves, by updates and by seconds
    assert "Effect of every axis (no two settings that differ in one axis alone are finished)" in page
    assert "known of fewer than two settings" in page
    assert "Dice" not in page


def test_scans_that_changed_while_a_sweep_ran_are_told(folder):
    report(folder)
    assert "their scores do not compare" not in (folder / "report.html").read_text(encoding="utf-8")
    synthetic.change_result(folder, "0001", synthetic.read_result(folder, "0001") | {"data": "other"})
    report(folder)
    assert "their scores do not compare" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_value_without_an_effect_is_named(folder):
    for result in read_sweep(folder).results:
        if result.settings["activation"] == "relu":
            synthetic.end_without_scores(folder, result.name, "diverged", "nan")
    report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "effect of activation=relu (no setting with it and its pair are both finished)" in page


def test_a_sweep_without_any_result_has_a_report_that_says_so(folder):
    for file in (folder / "results").iterdir():
        file.unlink()
    assert "variants: 6: 6 not finished" in report(folder)
    assert "Not complete: 6 of 6 variants are not finished." in (folder / "report.html").read_text(encoding="utf-8")
    assert not (folder / "best.py").exists()


def test_a_front_holds_what_nothing_beats():
    cost = [1.0, 2.0, 2.0, 3.0, 4.0, math.nan]
    quality = [20.0, 25.0, 24.0, 25.0, 26.0, 30.0]
    assert front(cost, quality) == [0, 1, 4]
    assert front([], []) == []


def test_images_are_judged_by_their_unmeasured_pixels(folder):
    for result in read_sweep(folder).results:
        found = synthetic.read_result(folder, result.name)
        for row in found["rows"]:
            row["kind"] = {"fitted": "all", "interpolated": "unmeasured"}[row["kind"]]
        synthetic.change_result(folder, result.name, found)
    assert read_sweep(folder).headline() == [("unmeasured", "psnr"), ("unmeasured", "dice")]
