"""The speed benchmarks at their quick size: one table, JSON lines that add up, and flops that are the model's own."""

import importlib.util
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from command import environment
from real_data import real_data
from skimage import io
from toy import ROOT

SCRIPTS = {"adapt": 3, "train_step": 3, "interp_oct": 4}  # lines of their tables
NUMBERS = {
    "steps_per_second", "points_per_second", "flops_per_second", "bare_flops_per_second", "share",
    "temporary_bytes_per_subject", "compile_seconds",
}  # fmt: skip
FACTS = {"cell", "repeats", "steps_per_second_quartiles", "time", "quick", "device", "cores", "machine", "git", "jax"}
EARLIER = '{"cell": "of another day"}\n'
GRID, POINTS, INNER, SUBJECTS = [5, 32, 24], 64, 5, 2  # of --quick
HELD_OUT = 7 * 32  # a tenth of the 3 x 24 measured A-scans, whole


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("adapt", "train_step", "interp_oct")]


@pytest.fixture(scope="module", params=SLOW)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """A benchmark run once, into a file that has a line already: its name, what it printed, the file."""
    output = tmp_path_factory.mktemp(request.param) / "rows.jsonl"
    output.write_text(EARLIER)
    command = [sys.executable, str(ROOT / "benchmarks" / f"{request.param}.py"), "--quick", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=output.parent, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return request.param, done.stdout, output


def rows(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def timing() -> ModuleType:
    """benchmarks/timing.py, which the scripts import as a neighbour."""
    spec = importlib.util.spec_from_file_location("timing", ROOT / "benchmarks" / "timing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_benchmark_prints_one_table_with_a_line_for_every_row_it_adds(run) -> None:
    name, printed, output = run
    head, *rest = printed.splitlines()
    lines, last = rest[: SCRIPTS[name]], rest[SCRIPTS[name]]
    for column in ("cell", "steps/s", "M points/s", "GFLOP/s", "bare", "share", "MB/subject", "compile s"):
        assert column in head
    assert [row["cell"] for row in rows(output)] == [re.split(r"\s{2,}", line)[0] for line in lines]
    for line, row in zip(lines, rows(output), strict=True):
        assert f" {row['steps_per_second']:.3g}" in line
        assert f" {row['points_per_second'] / 1e6:.3f} " in line
        assert f" {row['share']:.0%} " in line
    assert sum(line.startswith("cell ") for line in printed.splitlines()) == 1
    assert last.endswith(f"rows added to {output}")


def test_a_benchmark_adds_to_what_earlier_runs_left(run) -> None:
    name, _, output = run
    assert output.read_text().startswith(EARLIER)
    assert output.read_text().endswith("}\n")
    assert len(rows(output)) == SCRIPTS[name]
    assert list(output.parent.iterdir()) == [output]


def test_a_row_says_what_was_measured_where(run) -> None:
    for row in rows(run[2]):
        assert set(row) == NUMBERS | FACTS | {"grid", "products"}
        assert all(math.isfinite(row[name]) and row[name] > 0 for name in NUMBERS)
        assert row["quick"] is True
        assert row["jax"] == jax.__version__
        assert row["grid"] == GRID
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", row["time"])


def test_a_row_s_numbers_agree_with_each_other(run) -> None:
    for row in rows(run[2]):
        low, high = row["steps_per_second_quartiles"]
        assert low <= row["steps_per_second"] <= high
        assert row["share"] == pytest.approx(row["flops_per_second"] / row["bare_flops_per_second"], rel=1e-12)


def documented(row: dict[str, Any]) -> tuple[float, float]:
    """Points and flops of one step by the formulas of the docstrings."""
    forward = 2 * sum(i * o for i, o in row["products"])
    fitted = 2 * 10 * POINTS + 3 * 10 * POINTS + 2 * 3 * HELD_OUT  # each phase checks at 0, 5 and 10 steps
    kinds = {
        "autodecoder": (SUBJECTS * POINTS, SUBJECTS * 3 * forward * POINTS),
        "rule": (SUBJECTS * (1 + INNER) * POINTS, SUBJECTS * (INNER * 9 + 3) * forward * POINTS),
        "joint": (SUBJECTS * (1 + INNER) * POINTS, SUBJECTS * (INNER * 9 + 3) * forward * POINTS),
        "5 learned steps": (POINTS, 3 * forward * POINTS),
        "fit": (POINTS, forward * fitted / 20),
        "render": (math.prod(GRID), forward * math.prod(GRID)),
        "training step": (math.prod(GRID[1:]), 3 * forward * math.prod(GRID[1:])),
        "test-time step": (math.prod(GRID[1:]), 2 * forward * math.prod(GRID[1:])),
    }
    return next(numbers for kind, numbers in kinds.items() if row["cell"].startswith(kind))


def test_points_and_flops_are_those_of_the_docstrings(run) -> None:
    for row in rows(run[2]):
        points, flops = documented(row)
        assert row["points_per_second"] / row["steps_per_second"] == pytest.approx(points, rel=1e-9)
        assert row["flops_per_second"] / row["steps_per_second"] == pytest.approx(flops, rel=1e-9)


@pytest.mark.parametrize("rate", [0.0123, 4.5, 678.0, 4381.34, 98765.4])
def test_columns_of_the_table_stay_apart_at_any_speed(timing, capsys, rate) -> None:
    row = dict.fromkeys(NUMBERS, 1e6 * rate) | {
        "cell": "rule: 8 x 2048 + 5 x 2048", "steps_per_second": rate, "share": 0.5, "compile_seconds": 123.4,
        "steps_per_second_quartiles": [0.9 * rate, 1.1 * rate],
    }  # fmt: skip
    timing.print_line(timing.HEAD)
    timing.print_line(timing.line(row))
    head, line = capsys.readouterr().out.splitlines()
    assert len(head) == len(line)
    assert re.split(r"\s{2,}|\s(?=\()", line) == list(timing.line(row))


def test_the_phantom_s_page_holds_the_table_that_its_benchmark_prints() -> None:
    real_data("spectralis")
    command = [sys.executable, str(ROOT / "benchmarks" / "phantom_statistics.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)

    def table(text: str) -> dict[str, list[float]]:
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
        return {name: [float(value) for value in values] for name, *values in cells[2:]}

    page = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    written, printed = table("\n".join(line for line in page.splitlines() if line.startswith("|"))), table(done.stdout)
    assert list(written) == list(printed)
    assert len(written) > 20
    for name, values in printed.items():
        assert written[name] == pytest.approx(values, abs=0.0021), name  # rounding differs between machines


def photographs(folder: Path) -> Path:
    """One of each of five people, of nothing but noise."""
    draw = np.random.default_rng(0)
    for person in range(5):
        io.imsave(folder / f"{person}_R.png", draw.integers(0, 255, (40, 40), np.uint8), check_contrast=False)
    return folder


OURS = ("--size=tiny", "--methods=ours", "--settings=field 3e-05", "--steps=3", "--share=0.5", "--contexts=noisy")
FIRST = ("--seeds=0", "--populations=0", "--long-people=0")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["adaptation", "representation"])
def test_a_comparison_at_its_smallest_size_scores_our_method_and_draws_its_report(script, tmp_path: Path) -> None:
    of = () if script == "adaptation" else (f"--data={photographs(tmp_path)}", "--glob=*.png")
    rows_file, report = tmp_path / "rows.jsonl", tmp_path / "report"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *OURS, *FIRST, *of, f"--json={rows_file}"]
    for more in ((), (f"--report={report}",)):
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False
        )
        assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in rows_file.read_text().splitlines()]
    assert {row["method"] for row in found} - {"ours, field alone"} == {"ours"}
    assert {row["setting"] for row in found} == {"field 3e-05"}
    assert {row["steps"] for row in found} >= {3}  # and those at which settings are chosen
    assert all(math.isfinite(row["psnr"]) for row in found)
    assert "ours" in (report / "table.txt").read_text()


@pytest.mark.slow
def test_every_cell_of_the_gpu_s_benchmark_runs_on_any_device(tmp_path: Path) -> None:
    output = tmp_path / "gpu.jsonl"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--quick", f"--output={output}"],
        capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["cell"] for row in found] == [line[:34].strip() for line in done.stdout.splitlines()[1:]]
    assert len(found) == 8
    assert all(row["value"] > 0 and row["quick"] and not row["why"] for row in found)


@pytest.mark.slow
def test_variants_together_have_the_losses_of_each_alone_and_all_three_ways_are_timed(tmp_path: Path) -> None:
    output = tmp_path / "ablate.jsonl"
    tiny = ("--steps=20", "--seeds=1", "--processes=1", f"--output={output}")
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "ablate.py"), *tiny],
        capture_output=True, text=True, cwd=ROOT, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = (json.loads(line) for line in output.read_text().splitlines())
    assert row["variants"] == 16
    assert row["difference_early_median"] < 1e-3
    assert min(row["one_by_one_s"], row["together_s"], row["processes_s"]) > 0
