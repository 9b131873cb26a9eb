"""What `inr-jax doctor` says is so."""

import os
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inr_jax import doctor


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The command's lines by their first word, with a data folder of two sets."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("eyes", "hearts"):
        (folder / name).mkdir()
    done = _doctor(INR_JAX_DATA=str(folder))
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def _doctor(**environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "inr_jax", "doctor"],
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_versions_and_device_are_those_that_run(lines):
    assert f"jax {jax.__version__}," in lines["versions"]
    assert f"python {sys.version.split()[0]}" in lines["versions"]
    assert lines["device"].startswith("cpu:0")


def test_the_timed_step_comes_after_all_that_takes_no_time(lines):
    assert list(lines)[:3] == ["versions", "machine", "device"]
    assert list(lines)[-1] == "step"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and the cores a process may use")
def test_machine_has_this_machines_cores_and_memory(lines):
    cores, memory = re.fullmatch(r"(\d+) cores, ([\d.]+) GB memory", lines["machine"]).groups()
    assert int(cores) == len(os.sched_getaffinity(0))
    with open("/proc/meminfo") as file:
        kilobytes = int(file.readline().split()[1])
    assert float(memory) == pytest.approx(kilobytes * 1024 / 1e9, abs=0.06)


def test_step_share_is_its_rate_over_the_bare_products(lines):
    pattern = r"(\d+) GFLOP/s, (\d+)% of a bare product \((\d+)\)"
    rate, share, bare = map(int, re.search(pattern, lines["step"]).groups())
    assert rate > 0
    rounding = 0.51 + 100 * rate / bare * (0.5 / rate + 0.5 / bare) * 1.1  # of all three numbers
    assert share == pytest.approx(100 * rate / bare, abs=rounding)


def test_data_folder_is_named_with_its_sets(lines):
    assert lines["real"].endswith("(INR_JAX_DATA): eyes, hearts")


def test_absent_data_say_what_to_type(tmp_path):
    done = _doctor(INR_JAX_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 0
    assert f"none at {tmp_path}/nowhere; to name some: export INR_JAX_DATA=FOLDER" in done.stdout


def test_missing_extra_says_what_to_type():
    assert doctor._extra("notebooks", ("json", "csv")) == "installed"
    said = doctor._extra("notebooks", ("json", "no_such_module"))
    assert said.startswith('no_such_module missing: pip install "inr-jax[notebooks]"')


def test_missing_browser_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install chromium" in doctor._browser()
    (tmp_path / "chromium").write_text("#!/bin/sh\n")
    (tmp_path / "chromium").chmod(0o755)
    assert doctor._browser() == str(tmp_path / "chromium")


def test_device_that_is_not_there_is_one_line():
    done = _doctor(JAX_PLATFORMS="tpu")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("inr-jax: error: device: expected tpu; found: ")


def test_siren_loss_is_the_mean_square_of_the_network_written_out():
    weights = [np.array([[0.1, -0.2]]), np.array([[1.0], [2.0]])]
    coords = np.array([[0.3], [-0.5]])
    hidden = np.sin(30 * coords @ weights[0])
    expected = np.mean((hidden[:, 0] + 2 * hidden[:, 1]) ** 2)
    got = doctor.siren_loss([jnp.float32(w) for w in weights], jnp.float32(coords))
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_seconds_are_those_of_each_run_without_the_first():
    calls = []

    def run():
        calls.append(None)
        time.sleep(0.3 if len(calls) == 1 else 0.02)

    took = doctor.seconds(run, repeats=3)
    assert len(calls) == 4
    assert len(took) == 3
    assert min(took) >= 0.02
