"""Engines of sweeps: the same results here and by Ray, whatever dies; one Ray serves the module."""

import math
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import toy_runner
from toy_runner import work

from inr_jax import engines, sweep_progress
from inr_jax.engines import ENDED, STARTING, Progress, run_local, split
from inr_jax.errors import InputError
from inr_jax.ray_cluster import connected, crew_of
from inr_jax.ray_engine import run_ray

TESTS = Path(__file__).parent
WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from inr_jax.ray_engine import run_ray
try:
    next(run_ray([], None, None))
except ValueError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def cluster():
    """A Ray whose workers find the runners of the tests."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        with connected(cores=2) as ray:
            yield ray


def ray_results(works, told=None, *, workers=2, **options):
    """By name."""
    tell = (told if told is not None else []).append
    with closing(run_ray(works, toy_runner.run, tell, workers=workers, threads=1, **options)) as results:
        return {result["variant"]: result for result in results}


def local_results(works, told=None):
    return {r["variant"]: r for r in run_local(works, toy_runner.run, (told if told is not None else []).append)}


def finished(results):
    return {name for name, result in results.items() if result["status"] == "finished"}


def names(*numbers):
    return {f"{i:04}" for i in numbers}


def sizes(works):
    return [(w.group, len(w.variants)) for w in works]


def variants(works):
    return sorted(variant.name for w in works for variant in w.variants)


def test_works_are_split_largest_first_until_every_worker_has_one_and_none_too_much():
    assert sizes(split([work("a", 1), work("b", 3, 1)], 2)) == [("b", 3), ("a", 1)]
    assert sizes(split([work("a", 8)], 3)) == [("a", 3), ("a", 3), ("a", 2)]
    assert sizes(split([work("a", 5), work("b", 2, 5)], 4)) == [("a", 2), ("a", 2), ("b", 2), ("a", 1)]
    assert sizes(split([work("a", 2), work("b", 1, 2)], 9)) == [("a", 1), ("a", 1), ("b", 1)]
    assert sizes(split([work("a", 64), *(work(name, 1, 64 + i) for i, name in enumerate("bcde"))], 4))[:4] == [
        ("a", 22),
        ("a", 21),
        ("a", 21),
        ("b", 1),
    ]
    assert split([], 2) == []


@pytest.mark.parametrize("workers", range(1, 9))
def test_splitting_loses_no_variant(workers):
    works = [work("a", 5), work("b", 1, 5), work("c", 2, 6)]
    pieces = split(works, workers)
    assert variants(pieces) == variants(works)
    assert len(pieces) >= min(workers, 8)
    assert max(len(piece.variants) for piece in pieces) <= math.ceil(1.5 * 8 / workers)


def test_here_and_by_ray_the_results_are_the_same(cluster):
    works = [work("a", 3), work("b", 2, 3)]
    here, there = local_results(works), ray_results(works)
    assert {name: r["drawn"] for name, r in there.items()} == {name: r["drawn"] for name, r in here.items()}
    assert len({r["drawn"] for r in here.values()}) == 5
    assert {r["process"] for r in here.values()} == {os.getpid()}
    assert os.getpid() not in {r["process"] for r in there.values()}


def test_workers_have_the_threads_that_they_were_given(cluster):
    (result,) = ray_results([work("a", 1)]).values()
    assert result["environment"]["NPROC"] == result["environment"]["OMP_NUM_THREADS"] == "1"
    assert "--xla_cpu_multi_thread_eigen=false" in result["environment"]["XLA_FLAGS"]


def test_a_group_s_second_work_goes_to_the_worker_that_has_compiled_it(cluster):
    told = []
    ray_results([work("a", 2), work("b", 1, 2), work("a", 1, 3)], told, workers=1)
    assert [p.group for p in told if p.doing == STARTING] == ["a 0000-0001", "a 0003", "b 0002"]


def test_a_killed_worker_s_variants_are_given_again_and_what_it_had_found_is_kept(cluster, tmp_path):
    mark = str(tmp_path / "died")
    told = []
    results = ray_results([work("a", 4, v2="kill once", mark=mark), work("b", 2, 4)], told)
    assert finished(results) == names(0, 1, 2, 3, 4, 5)
    assert Path(mark).is_file()
    assert results["0000"]["process"] == results["0001"]["process"] != results["0002"]["process"]
    assert [p.group for p in told if p.doing == STARTING and p.group.startswith("a")] == ["a 0000-0003", "a 0002-0003"]


def test_a_variant_that_always_kills_its_worker_fails_alone(cluster):
    results = ray_results([work("a", 4, v1="kill"), work("b", 1, 4)], retries=1)
    assert finished(results) == names(0, 2, 3, 4)
    assert results["0001"]["status"] == "failed"
    assert results["0001"]["reason"] == "its worker died 2 times (out of memory?)"
    assert results["0001"]["config"]["train"]["seed"] == 1


@pytest.mark.parametrize("how", ["here", "ray"])
@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("refuse", "model.width: expected 1 or more; found 0"),
        ("fill", "out of memory"),
        ("fill the device", "memory of the device: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
    ],
)
def test_what_cannot_be_computed_fails_with_its_reason_and_the_others_go_on(how, deed, reason, request):
    if how == "ray":
        request.getfixturevalue("cluster")
    results = (ray_results if how == "ray" else local_results)([work("a", 3, v1=deed), work("b", 2, 3)])
    assert finished(results) == names(0, 3, 4)
    assert {results[name]["reason"] for name in names(1, 2)} == {reason}
    assert results["0002"]["settings"] == {"seed": "2"}


def test_a_fault_of_the_program_is_raised_with_the_worker_s_traceback(cluster):
    with pytest.raises(ZeroDivisionError, match=r"toy_runner\.py.*\n.*ZeroDivisionError"):
        ray_results([work("a", 2, v1="blunder")])
    with pytest.raises(ZeroDivisionError):
        local_results([work("a", 2, v1="blunder")])


def test_a_runner_that_leaves_a_variant_out_is_told_so():
    def lazy(work, tell):
        yield {"variant": work.variants[0].name}

    with pytest.raises(RuntimeError, match=r"group a: .* none of \['0001'\]"):
        list(run_local([work("a", 2)], lazy, print))


def told_here():
    told = []
    local_results([work("a", 2, v1="wait")], told)
    return told


def told_by_ray():
    told = []
    ray_results([work("a", 2, v1="wait")], told, workers=1)
    return told


@pytest.mark.parametrize("telling", [told_here, told_by_ray])
def test_progress_is_told_from_a_work_s_start_to_its_end(telling, cluster):
    told = telling()
    assert {progress.group for progress in told} == {"a 0000-0001"}
    assert (told[0].doing, told[-1].doing) == (STARTING, ENDED)
    assert Progress("a 0000-0001", "training", 2, 1, 2) in told


def test_closing_stops_the_workers(cluster):
    results = run_ray([work("a", 2, v1="wait")], toy_runner.run, lambda _: None, workers=1, threads=1)
    process = next(results)["process"]
    results.close()
    # a process that has ended may stay as a zombie until Ray looks
    ended = subprocess.run(["tail", f"--pid={process}", "-f", "/dev/null"], timeout=10, check=False)
    assert ended.returncode == 0


def test_ray_leaves_sigterm_to_the_command(cluster):
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_crew_is_what_the_machines_have_room_for():
    machines = [{"CPU": 8.0, "memory": 1e9}, {"CPU": 3.0}]
    assert crew_of(machines, None, None, with_gpus=True) == (11, 1, 0)
    assert crew_of(machines, None, 2, with_gpus=True) == (5, 2, 0)
    assert crew_of(machines, 2, None, with_gpus=True) == (1, 5, 0)
    assert crew_of(machines, 1, None, with_gpus=True) == (1, 8, 0)
    assert crew_of([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 16.0}], None, None, with_gpus=True) == (2, 8, 1)
    assert crew_of([{"CPU": 16.0, "GPU": 4.0}], None, None, with_gpus=True) == (4, 4, 1)
    assert crew_of([{"CPU": 16.0, "GPU": 4.0}], None, 2, with_gpus=False) == (8, 2, 0)
    with pytest.raises(InputError, match=r"threads: expected at most 8, .* found 9"):
        crew_of(machines, None, 9, with_gpus=True)


def test_without_ray_one_line_says_how_to_install_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, check=True)
    assert re.fullmatch(r'--engine=ray: .* found none \(pip install "inr-jax\[ray\]"; in .*\)\n', done.stdout)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "expected HOST:PORT or auto; found ray://head:10001"),
        ("head", "expected HOST:PORT or auto; found head"),
        ("127.0.0.1:1", r"expected a Ray cluster at 127\.0\.0\.1:1; found nobody there \(.*refused\)"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused(monkeypatch, address, said):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"RAY_ADDRESS: {said}"):
        next(run_ray([work("a", 1)], toy_runner.run, print))


def test_a_table_fits_its_terminal():
    running = [Progress(f"group{i} 0000-0007", "training joint", 8, 20 * i, 6000) for i in range(9)]
    lines = sweep_progress.table(running, "3 of 72 variants", 40, 8)
    assert len(lines) == 7
    assert max(map(len, lines)) <= 39
    assert lines[-2:] == ["and 4 more", "3 of 72 variants"]
    assert (
        sweep_progress.table(running[1:2], "", 99, 8)[0]
        == "group1 0000-0007  training joint  8 variants  20/6000   0 %"
    )
    assert sweep_progress.table([], "3 of 72 variants", 40, 8) == ["3 of 72 variants"]


def test_a_summary_counts_and_estimates_from_this_run_s_results_alone():
    said = sweep_progress.summary(40, 10, {"finished": 4, "diverged": 1}, 600.0)
    assert said == "15 of 40 variants, 1 diverged, about 50 min left"
    assert sweep_progress.summary(8, 0, {}, 60.0, under_way=2.0) == "0 of 8 variants, at least 3 min left"
    assert sweep_progress.summary(8, 0, {"finished": 7}, 70.0, under_way=4.0) == "7 of 8 variants, about 0 s left"
    assert sweep_progress.summary(2, 0, {}, 5.0) == "0 of 2 variants, after 5 s"
    assert sweep_progress.summary(1, 0, {"failed": 1}, 12000.0) == "1 of 1 variant, 1 failed, after 3 h 20 min"


def test_in_a_log_a_board_says_what_went_wrong_and_the_end_and_no_flood(capsys):
    with sweep_progress.Board(2) as board:
        for step in range(1000):
            board.tell(Progress("a 0000", "training", 1, step, 1000))
        board.count(engines.failed(work("a", 1), work("a", 1).variants[0], "memory"))
        board.count({"status": "finished"})
    assert capsys.readouterr().err.splitlines() == [
        "0 of 2 variants, after 1 s: a 0000 training 1 variant 0/1000   0 %",
        "0000 (seed=0) failed: memory",
        "2 of 2 variants, 1 failed, after 1 s",
    ]
