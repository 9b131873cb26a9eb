"""Two evaluations are compared person by person, and only if they are of the same people."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import wilcoxon

from inr_jax import compare, main, tables
from inr_jax.errors import InputError

PEOPLE = [f"p{i}" for i in range(8)]


def evaluation(folder, psnr, method="inr_jax, 5 steps", people=PEOPLE, conventions="inr_jax", **more):
    """A folder with a metrics.csv of two eyes a person and two methods; linear has 20 dB throughout."""
    folder.mkdir()
    rows = [
        {
            "subject": f"{person}-{eye}",
            "person": person,
            "split": "test",
            "method": name,
            "kind": kind,
            "note": "phantom",
        }
        | {"conventions": conventions, "psnr": value + (0.5 if eye == "R" else -0.5)}
        | {metric: values[i] for metric, values in more.items()}
        for name, values in ((method, psnr), ("linear", [20.0] * len(people)))
        for i, (person, value) in enumerate(zip(people, values, strict=True))
        for eye in "RL"
        for kind in ("fitted", "interpolated")
    ]
    tables.write_csv(rows, folder / "metrics.csv")
    return folder


@pytest.fixture
def two(tmp_path):
    random = np.random.default_rng(0)
    first = random.normal(30, 2, 8)
    second = first + random.normal(0.5, 0.3, 8)
    return (
        evaluation(tmp_path / "a", first, dice=np.linspace(0.8, 0.9, 8)),
        evaluation(tmp_path / "b", second, method="inr_jax, fit", dice=np.linspace(0.8, 0.9, 8)),
        second - first,
    )


def test_a_difference_is_the_mean_over_people_of_second_minus_first_with_its_interval_and_p(two):
    a, b, change = two
    found = {(d.kind, d.metric): d for d in compare.compare(a, b)}
    psnr = found["interpolated", "psnr"]
    assert psnr.people == 8  # not 16 eyes
    assert psnr.difference == pytest.approx(change.mean())
    assert psnr.second - psnr.first == pytest.approx(psnr.difference)
    assert psnr.low < psnr.difference < psnr.high
    assert psnr.p == pytest.approx(wilcoxon(change).pvalue)
    assert set(found) == {(kind, metric) for kind in ("fitted", "interpolated") for metric in ("psnr", "dice")}


def test_pairing_sees_a_small_steady_gain_under_a_large_spread_of_people(tmp_path):
    first = np.linspace(20, 40, 8)
    gain = 0.1 + 0.01 * np.arange(8)
    (d, *_) = compare.compare(evaluation(tmp_path / "a", first), evaluation(tmp_path / "b", first + gain))
    assert d.p == pytest.approx(2 / 2**8)  # all eight signs alike
    assert d.low > 0


def test_what_did_not_change_has_difference_0_and_p_1(two):
    a, _, _ = two
    for d in compare.compare(a, a):
        assert (d.difference, d.low, d.high, d.p) == (0, 0, 0, 1)


def test_a_method_can_be_compared_with_a_baseline_of_the_same_evaluation(two, capsys):
    a, _, _ = two
    psnr = compare.compare(a, a, method="inr_jax, 5 steps", against="linear")[0]
    assert psnr.second == pytest.approx(20)
    assert psnr.difference < -5
    assert f"second: {a}: linear, test, phantom" in capsys.readouterr().out


def test_a_person_without_a_score_in_one_run_is_left_out_of_that_metric(tmp_path):
    scores = np.linspace(0.5, 0.9, 8)
    missing = scores + 0.1
    missing[0] = np.nan
    a = evaluation(tmp_path / "a", [30.0] * 8, dice=scores)
    b = evaluation(tmp_path / "b", [np.inf] * 8, dice=missing)
    (dice, _) = compare.compare(a, b)  # PSNR of exact matches has no difference
    assert (dice.metric, dice.people) == ("dice", 7)
    assert dice.first == pytest.approx(scores[1:].mean())
    assert dice.difference == pytest.approx(0.1)


def test_csv_json_and_html_say_what_is_printed(two, tmp_path, capsys):
    a, b, _ = two
    found = compare.compare(a, b, tmp_path / "out")
    printed = capsys.readouterr().out
    with (tmp_path / "out" / "comparison.csv").open(newline="", encoding="utf-8") as file:
        assert [float(row["difference"]) for row in csv.DictReader(file)] == [d.difference for d in found]
    saved = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert saved["second"] == {"folder": str(b), "method": "inr_jax, fit"}
    assert [row["p"] for row in saved["rows"]] == [d.p for d in found]
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    for cell in compare._cells(found[0]):
        assert cell in printed
        assert f">{cell}<" in page
    said = "Means over people (phantom), a person"
    assert said in printed
    assert page.count(said) == 2  # with each table


def with_layers(folder, scores, method="inr_jax, 5 steps", people=PEOPLE):
    """An evaluation with a layers.csv of two eyes a person: `scores` by label, metric and person."""
    evaluation(folder, [30.0] * len(people), method=method, people=people)
    rows = [
        {"subject": f"{person}-{eye}", "person": person, "split": "test", "method": method, "kind": kind}
        | {"note": "phantom", "conventions": "inr_jax", "label": label}
        | {metric: values[i] + (1 if eye == "R" else -1) for metric, values in found.items()}
        for i, person in enumerate(people)
        for eye in "RL"
        for kind in ("fitted", "interpolated")
        for label, found in scores.items()
    ]
    tables.write_csv(rows, folder / "layers.csv")
    return folder


def test_scores_by_label_are_paired_by_person_each_label_with_itself(tmp_path):
    random = np.random.default_rng(1)
    first = {label: {m: random.normal(10, 3, 8) for m in ("assd_um", "hd95_um")} for label in ("RNFL", "RPE")}
    gain = {"RNFL": random.normal(-1, 0.2, 8), "RPE": random.normal(2, 0.2, 8)}
    second = {label: {m: first[label][m] + gain[label] for m in ("assd_um", "hd95_um")} for label in ("RPE", "RNFL")}
    found = compare.compare(with_layers(tmp_path / "a", first), with_layers(tmp_path / "b", second))
    by_label = {(d.kind, d.label, d.metric): d for d in found if d.label}
    assert len(by_label) == 2 * 2 * 2
    for label in ("RNFL", "RPE"):
        assd = by_label["interpolated", label, "assd_um"]
        assert assd.people == 8  # not 16 eyes
        assert assd.difference == pytest.approx(gain[label].mean())
        assert assd.low < assd.difference < assd.high
        assert assd.p == pytest.approx(wilcoxon(gain[label]).pvalue)


def test_labels_stand_in_the_files_and_not_in_the_printed_table(tmp_path, capsys):
    scores = {"RNFL": {"thickness_mae_um": np.arange(8.0), "hd_px": np.arange(8.0)}}
    a, b = with_layers(tmp_path / "a", scores), with_layers(tmp_path / "b", scores)
    found = compare.compare(a, b, tmp_path / "out")
    assert "RNFL" not in capsys.readouterr().out
    with (tmp_path / "out" / "comparison.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["label"], row["metric"]) for row in rows] == [(d.kind, d.label, d.metric) for d in found]
    assert [row["label"] for row in rows] == ["", "", "RNFL", "RNFL"]  # PSNR of two kinds, then thickness of two
    saved = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["label"] for row in saved["rows"]] == ["", "", "RNFL", "RNFL"]
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert page.count(">RNFL: Thickness MAE (µm) ↓<") == 2
    assert "<h2>interpolated, by label</h2>" in page
    assert "labels in both: 1" in page


def test_what_cannot_be_compared_by_label_is_said(tmp_path):
    values = {"assd_um": np.arange(8.0)}
    a = with_layers(tmp_path / "a", {"RNFL": values, "GCL": values})
    b = with_layers(tmp_path / "b", {"RNFL": values, "IPL": values})
    compare.compare(a, b, tmp_path / "out")
    said = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "labels in both: 1; in one alone: GCL, IPL" in said
    compare.compare(a, a, tmp_path / "out", against="linear")
    said = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert f"not compared: this method has no scores by label in {a}" in said


def test_a_table_of_layers_without_labels_is_refused(two):
    (two[0] / "layers.csv").write_text("person,method,kind,dice\np,m,k,1\n")
    with pytest.raises(
        InputError, match=r"layers\.csv: expected rows with person, subject, method, kind, label; found others"
    ):
        compare.read_run(two[0], None)


def test_columns_of_the_printed_comparison_line_up(two, capsys):
    compare.compare(*two[:2])
    blocks = capsys.readouterr().out.split("\n\n")[1:-1]
    assert len(blocks) == 2
    assert all(len({len(line) for line in block.splitlines()}) == 1 for block in blocks)


def test_runs_on_different_people_are_refused_in_one_line(tmp_path, capsys):
    a = evaluation(tmp_path / "a", [30.0] * 8)
    b = evaluation(tmp_path / "b", [30.0] * 8, people=[*PEOPLE[:-1], "q9"])
    assert main.main(["compare", str(a), str(b), f"--output={tmp_path / 'out'}"]) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said.splitlines() == [
        f"inr-jax: error: compare: expected the same people in both; found 8 and 8, p7 in {a} and not in {b}"
    ]
    assert not (tmp_path / "out").exists()


def changed(folder, name, change):
    """The evaluation with other rows in one of its tables."""
    with (folder / name).open(newline="", encoding="utf-8") as file:
        rows = change(list(csv.DictReader(file)))
    tables.write_csv(rows, folder / name)
    return folder


def of_eye(eye):
    return lambda rows: [row for row in rows if row["subject"].endswith(eye)]


def of_kind(kind):
    return lambda rows: [row for row in rows if row["kind"] == kind]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (of_eye("R"), of_eye("L"), "the same scans in both; found 8 and 8, p0-L in {b} and not in {a}"),
        (list, of_eye("L"), "the same scans in both; found 16 and 8, p0-R in {a} and not in {b}"),
        (
            of_kind("fitted"),
            of_kind("interpolated"),
            "the same kinds in both; found 1 and 1, fitted in {a} and not in {b}",
        ),
        (list, of_kind("fitted"), "the same kinds in both; found 2 and 1, interpolated in {a} and not in {b}"),
    ],
    ids=["right and left eyes", "one eye of two", "no kind in common", "one kind of two"],
)
def test_runs_on_other_scans_or_kinds_of_places_are_refused(tmp_path, first, second, found):
    a = changed(evaluation(tmp_path / "a", [30.0] * 8), "metrics.csv", first)
    b = changed(evaluation(tmp_path / "b", [30.0] * 8), "metrics.csv", second)
    with pytest.raises(InputError) as error:
        compare.compare(a, b, tmp_path / "out")
    assert str(error.value) == "compare: expected " + found.format(a=a, b=b)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["metrics.csv", "layers.csv"])
def test_a_scan_that_is_scored_twice_is_refused(tmp_path, name):
    a = with_layers(tmp_path / "a", {"RNFL": {"assd_um": np.arange(8.0)}})
    changed(a, name, lambda rows: [*rows, rows[2]])
    expected = rf"{name}: expected one row for every subject, method, kind.*; found 2 for p0-L, inr_jax"
    with pytest.raises(InputError, match=expected):
        compare.compare(a, a)


def test_runs_scored_in_other_conventions_are_refused(tmp_path):
    a = evaluation(tmp_path / "a", [30.0] * 8)
    b = evaluation(tmp_path / "b", [30.0] * 8, conventions="interp_oct")
    with pytest.raises(InputError, match="expected the same conventions in both; found inr_jax and interp_oct"):
        compare.compare(a, b)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, r"expected a folder of inr-jax evaluate \(metrics.csv\); found none"),
        (b"", "expected rows with person, subject, method, kind; found none"),
        (b"a,b\n1,2\n", "expected rows with person, subject, method, kind; found others"),
        (b"person,method,kind,psnr\np,m,k,high\n", "could not convert string to float: 'high'"),
        (b"person,method,kind,psnr\np,m\n", "a row of another length than the header"),
        (b"person,method,kind,psnr\np,m,k,1,2\n", "a row of another length than the header"),
        (b"\xff\xfe\x00", "expected a table of inr-jax evaluate"),
    ],
)
def test_what_is_no_evaluation_is_refused_in_one_line(tmp_path, content, found):
    if content is not None:
        (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(InputError, match=found) as error:
        compare.read_run(tmp_path, None)
    assert "\n" not in str(error.value)


def test_a_method_that_is_not_there_is_refused_with_those_that_are(two):
    with pytest.raises(InputError, match="expected one of the methods inr_jax, 5 steps; linear; found cubic"):
        compare.compare(two[0], two[0], method="cubic")


def test_the_command_takes_exactly_two_folders(two, capsys):
    assert main.main(["compare", str(two[0])]) == 2
    assert "compare: expected two folders of inr-jax evaluate; found 1" in capsys.readouterr().err
    assert main.main(["compare", str(two[0]), str(two[1]), "--against=linear"]) == 0
    assert "linear, test, phantom" in capsys.readouterr().out
