"""Intervals over people, and which metrics stand where."""

import csv

import numpy as np
import pytest

from inr_jax import tables


def rows(values, metric="psnr", method="ours"):
    return [
        {"method": method, "kind": "interpolated", "person": f"p{i}", "note": "", metric: value}
        for i, value in enumerate(values)
    ]


def test_an_interval_of_many_people_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(30, 2, 400)
    low, high = tables.mean_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_intervals_of_95_percent_hold_the_truth_about_that_often():
    random = np.random.default_rng(0)
    intervals = [tables.mean_interval(random.normal(0, 1, 30)) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.99


def test_an_interval_is_the_same_every_time_and_of_equal_values_a_point():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    assert tables.mean_interval(values) == tables.mean_interval(values)
    assert tables.mean_interval(np.full(5, 3.0)) == (3.0, 3.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0, np.inf]])
def test_of_fewer_than_four_people_or_infinite_values_there_is_no_interval(values):
    assert np.isnan(tables.mean_interval(np.array(values, float))).all()


def test_two_eyes_of_a_person_do_not_narrow_the_interval():
    one = tables.summarise(rows([30.0, 32.0, 36.0, 37.0]))[0].scores["psnr"]
    both = tables.summarise(rows([30.0, 32.0, 36.0, 37.0]) * 2)[0].scores["psnr"]
    assert both == one
    assert one.low < one.mean < one.high


def test_the_printed_table_shows_four_metrics_and_the_csv_all_of_them(tmp_path):
    found = rows([30.0, 32.0] * 2) + rows([1.5, 2.5], "assd_um") + rows([0.01, 0.03], "gmsd")
    table = tables.summarise(found)
    assert tables.shown_metrics(table) == ["psnr"]
    assert "ASSD" not in tables.print_table(table)
    tables.write_csv(tables.summary_rows(table), tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        lines = {line["metric"]: line for line in csv.DictReader(file)}
    assert set(lines) == {"psnr", "gmsd", "assd_um"}
    assert float(lines["assd_um"]["mean"]) == 2.0
    assert [float(lines["psnr"][bound]) for bound in ("low", "high")] == [30.0, 32.0]


def test_what_cannot_be_scored_is_a_dash_and_its_reason_stands_below():
    table = tables.summarise(rows([30.0, 32.0]))
    undefined = {"dice": "no labels", "ssim": "too small", "gmsd": "too small", "assd_um": "no labels"}
    printed = tables.print_table(table, undefined).splitlines()
    assert printed[0].split() == ["interpolated", "PSNR", "(dB)", "SSIM", "Dice"]
    assert printed[2].split()[-2:] == ["–", "–"]
    assert printed[-2:] == ["Dice, ASSD: no labels", "SSIM, GMSD: too small"]
    assert "Dice" not in tables.print_table(table)


def test_the_best_is_the_largest_the_smallest_or_the_nearest_to_0_by_metric():
    found = [
        row
        for metric, values in {"psnr": (30.0, 31.0), "gmsd": (0.1, 0.2), "thickness_bias_um": (-3.0, 2.0)}.items()
        for method, value in zip(("a", "b"), values, strict=True)
        for row in rows([value], metric, method)
    ]
    table = tables.summarise(found)
    best = [tables.best(table, "interpolated", metric) for metric in ("psnr", "gmsd", "thickness_bias_um")]
    assert best == [31.0, 0.1, 2.0]


def test_an_interval_is_written_behind_its_mean():
    psnr = tables.summarise(rows([30.0, 32.0, 30.0, 32.0]))[0].scores["psnr"]
    assert tables.interval_text(psnr, "psnr") == "31.00 [30.00, 32.00]"
    assert tables.interval_text(tables.summarise(rows([30.0, 32.0]))[0].scores["psnr"], "psnr") == "31.00"


def test_scans_without_a_score_are_counted_and_in_no_mean():
    score = tables.summarise(rows([30.0, float("nan"), 32.0, float("nan")]))[0].scores["psnr"]
    assert (score.mean, score.people, score.undefined) == (31.0, 2, 2)
