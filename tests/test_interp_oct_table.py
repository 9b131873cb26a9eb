"""docs/interp_oct_table.py: the reference's whole way, from dense volumes to a table, by the commands alone."""

import csv
import runpy
import subprocess
import sys

import numpy as np
import pytest
from toy import ROOT

SCRIPT = ROOT / "docs" / "interp_oct_table.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def write(path, rows):
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def row(person, method, psnr, kind="interpolated"):
    return {"person": person, "method": method, "kind": kind, "psnr": psnr, "dice": ""}


def test_folds_are_pooled_and_a_person_s_seeds_averaged(script, tmp_path):
    for seed, gain in ((1, 0.0), (2, 1.0)):
        for fold, person in ((1, "a"), (2, "b")):
            own = row(person, "inr_jax, 2 epochs", 20.0 + fold + gain)
            rivals = [row(person, "linear", 19.0)] if seed == 1 else []
            write(tmp_path / f"general-fold{fold}-seed{seed}" / "folds" / "metrics.csv", [own, *rivals])
    rows = list(script["rows_of"](tmp_path, "general-fold*/folds", "metrics", "general"))
    own = [r for r in rows if r["method"] == "general"]
    assert script["per_person"](own, "psnr") == {"a": 21.5, "b": 22.5}
    assert np.isnan(own[0]["dice"])
    assert script["cell"]({"a": 21.5, "b": 22.5}, 2) == "22.00 ± 0.71"
    assert {r["method"] for r in rows} == {"general", "linear"}
    only = script["rows_of_seed"](tmp_path, "general", "folds", "interpolated", 2)
    assert [r["psnr"] for r in only] == [22.0, 23.0]


@pytest.mark.slow
def test_the_script_runs_to_its_tables(tmp_path):
    command = [sys.executable, str(SCRIPT), f"--output={tmp_path}", "--folds", "1", "--seeds", "25", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    tables = done.stdout.split("\n\n")[-4:]
    assert [table.split(";")[0] for table in tables] == ["fitted", "interpolated"] * 2
    assert all(method in table for table in tables for method in ("general", "single", "registration", "linear"))
    assert (tmp_path / "general_or_single").is_dir()
