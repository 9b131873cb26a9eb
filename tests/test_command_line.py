"""The command line as a user meets it: what it lists, what it refuses, what it limits, and how it is stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy
from command import environment, lines, run, say, tree, write_npz

from inr_jax import main, progress
from inr_jax.main import COMMANDS

TOY = f"--config={toy.ROOT / 'tests' / 'toy.py'}"
HEAVY = ("jax", "flax", "optax", "orbax", "numpy", "skimage", "SimpleITK", "matplotlib")


def imported(*argv: object, cwd: Path | None = None) -> tuple[subprocess.CompletedProcess, set[str]]:
    """A command in a process of its own, and which of the heavy libraries it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "inr_jax", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(), check=False)
    modules = set(re.findall(r"^import time:.*\| +(\w+)$", done.stderr, re.MULTILINE))
    assert "inr_jax" in modules
    return done, modules & set(HEAVY)


def own(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if not line.startswith("import time:")]


def shown_flags(text: str) -> dict[str, str]:
    """What stands in brackets behind each flag of a help."""
    return dict(re.findall(r"^  --([\w-]+): .*\[(.*)\]$", text, re.MULTILINE))


def test_help_lists_every_command_with_its_summary(capsys):
    listed = re.findall(r"^  (\w+) +(.+)$", say(capsys, "--help").out, re.MULTILINE)
    assert dict(listed) == {name: command.summary for name, command in COMMANDS.items()}
    assert len(listed) == len(COMMANDS)
    assert say(capsys).out == say(capsys, "help").out == say(capsys, "-h").out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_help_shows_an_example_and_loads_nothing_heavy(name):
    done, heavy = imported(name, "--help")
    assert done.returncode == 0
    assert own(done.stderr) == []
    assert re.search(rf"^for example\n\n  inr-jax {name}\b", done.stdout, re.MULTILINE)
    assert heavy == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_in_a_help_uses_flags_that_the_command_has(name):
    used = {word.split("=")[0][2:] for word in COMMANDS[name].example.split() if word.startswith("--")}
    known = {flag.replace("_", "-") for flag in COMMANDS[name].flags}
    assert {flag for flag in used if not flag.startswith("config")} <= known
    assert COMMANDS[name].takes_config or not any(flag.startswith("config") for flag in used)


def test_a_flag_that_must_be_given_is_shown_as_required(capsys):
    required = {name: {f for f, text in helped(capsys, name).items() if text == "required"} for name in COMMANDS}
    both = {"workdir", "output"}
    assert required == {
        "train": {"config", "workdir"},
        "ablate": {"config"},
        "report": set(),
        "calibrate": {"workdir"},
        "prepare": {"config"},
        "adapt": {"output"},
        "export": set(),
        "evaluate": both,
        "compare": set(),
        "validate": {"output"},
        "demo": set(),
        "doctor": set(),
        "view": set(),
        "inspect": set(),
    }


def helped(capsys, name: str) -> dict[str, str]:
    return shown_flags(say(capsys, name, "--help").out)


def test_every_flag_is_shown_with_one_true_default(capsys):
    for name, command in COMMANDS.items():
        out = say(capsys, name, "--help").out
        shown = shown_flags(out)
        assert set(shown) == {f.replace("_", "-") for f in (*command.flags, *main.COMMON)} | (
            {"config"} if command.takes_config else set()
        )
        assert "none" not in shown.values()
        assert not re.search(r"\(.*\) \[(?!required)", out)  # a default in round brackets, and another in square ones
    assert helped(capsys, "demo")["output"] == "demo_output"
    assert helped(capsys, "adapt")["steps"] == "as trained"
    assert helped(capsys, "doctor")["threads"] == "all"


def test_demo_writes_to_the_folder_that_its_help_names(tmp_path):
    (tmp_path / "demo_output").write_text("in its way")
    assert "demo_output: expected a folder that can be made" in run("demo", cwd=tmp_path).error


MISTAKES = {
    "unknown command": (("trian",), ("expected a command (train, prepare, adapt, ", "trian", "did you mean train?")),
    "unknown flag": (("evaluate", "--wrokdir=w"), ("evaluate: unknown flag --wrokdir", "did you mean --workdir?")),
    "unknown flag with a dash": (("doctor", "--max-memmory=1"), ("did you mean --max-memory?",)),
    "another command's flag": (("demo", "--slices=3"), ("demo: unknown flag --slices",)),
    "mistyped key": (("train", TOY, "--workdir=w", "--config.model.widht=8"), ("did you mean --config.model.width?",)),
    "text for a count": (
        ("train", TOY, "--workdir=w", "--config.model.width=abc"),
        ("--config.model.width: expected a whole number; found 'abc'",),
    ),
    "text for a number": (
        ("train", TOY, "--workdir=w", "--config.hyper.side=abc"),
        ("--config.hyper.side: expected a number; found 'abc'",),
    ),
    "a number for a switch": (
        ("train", TOY, "--workdir=w", "--config.model.bfloat16=3"),
        ("--config.model.bfloat16: expected true or false; found '3'",),
    ),
    "text for a tuple": (
        ("train", TOY, "--workdir=w", "--config.data.phantom_oct.people=abc"),
        ("--config.data.phantom_oct.people: expected whole numbers, as in (2, 1, 1); found ('abc',)",),
    ),
    "no choice": (("doctor", "--device=tpu"), ("--device: expected one of auto, cpu, gpu; found 'tpu'",)),
    "below the least": (("doctor", "--threads=0"), ("--threads: expected a whole number of 1 or more; found '0'",)),
    "no value": (("doctor", "--threads"), ("--threads",)),
    "missing flag": (("evaluate", "--workdir=w"), ("evaluate: expected --output=FOLDER; found none",)),
    "a settled key": (
        ("evaluate", "--workdir=w", "--output=o", "--config.model.width=8"),
        ("evaluate: expected keys of --config.data, --config.adapt, --config.fit alone; found --config.model.width=8",),
    ),
    "a change without a training": (
        ("evaluate", "--workdir=w", "--output=o", "--config.adapt.points=8"),
        ("w: expected a trained model (config.json); found none",),
    ),
    "scans for a command without": (("evaluate", "--workdir=w", "--output=o", "a.nii"), ("flags alone; found a.nii",)),
}


def test_evaluate_takes_the_training_s_config_and_changes_what_it_may(tmp_path, capsys):
    config = toy.get_config()
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    flags = [f"--workdir={tmp_path}", "--output=o", "--config.data.phantom_oct.variant=shifted"]
    values, _ = main._parse(COMMANDS["evaluate"], "evaluate", flags)
    assert values.config.data.phantom_oct.variant == "shifted"
    config.data.phantom_oct.variant = "shifted"
    assert values.config.to_dict() == config.to_dict()
    mistyped = say(capsys, "evaluate", *flags[:2], "--config.data.phantom_oct.varaint=shifted").error
    assert "did you mean --config.data.phantom_oct.variant?" in mistyped


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_program_once(kind, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = MISTAKES[kind]
    error = say(capsys, *arguments).error
    assert all(word in error for word in words), error
    assert error.count("inr-jax") == 1
    assert not any(word in error for word in ("literal", "invalid", "Error", "NoneType"))
    assert not tree(tmp_path)


@pytest.mark.parametrize("command", ["adapt", "evaluate"])
def test_a_missing_training_is_told_before_anything_heavy_is_loaded(command, tmp_path):
    scans = ["eye.nii.gz"] if command == "adapt" else []
    done, heavy = imported(command, "--workdir=absent", *scans, "--output=out", cwd=tmp_path)
    assert done.returncode == 2
    assert own(done.stderr) == ["inr-jax: error: absent: expected a trained model (config.json); found none"]
    assert heavy == set()


def test_a_missing_scan_is_told_before_anything_heavy_is_loaded(tmp_path):
    for name in ("config.json", "model.json"):
        (tmp_path / name).write_text("{}")
    done, heavy = imported("adapt", "--workdir=.", "config.json", "eye.nii.gz", "--output=out", cwd=tmp_path)
    assert done.returncode == 2
    assert own(done.stderr) == ["inr-jax: error: eye.nii.gz: no such file"]
    assert heavy == set()
    assert tree(tmp_path) == {"config.json", "model.json"}


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("trian",), ("evaluate", "--workdir=w")])
def test_the_module_and_the_script_say_the_same(arguments):
    script = shutil.which("inr-jax", path=Path(sys.executable).parent)
    assert script is not None
    done = subprocess.run([script, *arguments], capture_output=True, text=True, env=environment(), check=False)
    module = run(*arguments)
    assert (done.returncode, done.stdout, lines(done.stderr)) == module


@pytest.fixture(scope="module")
def limited():
    """What doctor says of itself on one core of the CPU, by first word."""
    said = run("doctor", "--device=cpu", "--threads=1", JAX_PLATFORMS="")
    assert said.code == 0, said.err
    return dict(line.split(maxsplit=1) for line in said.out.splitlines())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores of a process are known on Linux only")
def test_threads_are_the_cores_that_a_command_may_use(limited):
    assert limited["machine"].startswith("1 cores,")


def test_device_cpu_computes_on_the_cpu(limited):
    assert re.fullmatch(r"cpu:0 \([^,]*\)", limited["device"])


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="there is a GPU")
def test_device_gpu_without_one_is_one_line():
    assert "--device=gpu: expected a GPU that jax can use; found none" in run("doctor", "--device=gpu").error


def test_a_command_over_its_memory_limit_ends_with_one_line(tmp_path):
    large = ("--config.data.phantom_oct.shape=(31,1024,1024)", "--config.data.phantom_oct.people=(8,1,1)")
    began = time.monotonic()
    said = run("train", TOY, *large, "--max-memory=0.6", f"--workdir={tmp_path / 'w'}")
    assert said.error == "inr-jax: error: memory: expected at most 0.6 GB (--max-memory); found more in use"
    assert time.monotonic() - began < 60  # the phantoms alone would take minutes
    assert not tree(tmp_path)


@pytest.fixture(scope="module")
def endless(toy_model, tmp_path_factory):
    """The arguments of an adaptation that computes for hours in one call of XLA."""
    folder = tmp_path_factory.mktemp("endless")
    shutil.copytree(toy_model, folder / "model")
    config = json.loads((folder / "model" / "config.json").read_text())
    config["fit"] |= {"steps": 10**7, "patience": 10**7, "points": 4096}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    return "adapt", f"--workdir={folder / 'model'}", write_npz(folder / "eye.npz"), "--fit"


def hears_sigterm(pid: int) -> bool:
    """Whether a process has a handler for it, where the system tells."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return True
    (caught,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def stopped(number: int, *argv: object, after: float) -> tuple[int, list[str], float]:
    """Exit code, lines of stderr, and the seconds that a command took to end after a signal."""
    command = [sys.executable, "-m", "inr_jax", *map(str, argv)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    time.sleep(after)
    while process.poll() is None and not hears_sigterm(process.pid):  # a busy machine may not be so far yet
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(number)
    began = time.monotonic()
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, lines(err), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("after", [1.0, 8.0], ids=["while it loads", "while it computes"])
def test_a_signal_ends_a_command_soon_with_one_line_and_its_code(endless, number, after, tmp_path):
    code, said, took = stopped(number, *endless, f"--output={tmp_path / 'out'}", after=after)
    assert code == 128 + number
    assert said == ["inr-jax: stopped"]
    assert took < 15
    assert tree(tmp_path) <= {"out"}


def test_a_log_gets_plain_lines_at_a_modest_rate(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.2)
    for _ in progress.bar(range(3000), "slow", unit="scan"):
        time.sleep(0.0003)
    err = capsys.readouterr().err
    assert "\r" not in err
    told = err.splitlines()
    assert 2 <= len(told) <= 12
    assert all(re.match(r"slow: +\d+%\| \d+/3000 \[", line) for line in told)
    assert told[-1].startswith("slow: 100%| 3000/3000")


def test_a_log_gets_nothing_of_what_is_soon_done(capsys):
    assert list(progress.bar(range(3), "fast")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("written", ["--no-baselines", "--nobaselines", "--baselines=false"])
def test_a_flag_that_is_on_can_be_switched_off(written):
    values, _ = main._parse(COMMANDS["evaluate"], "evaluate", ["--workdir=w", "--output=o", written])
    assert values.baselines is False


def test_help_that_nobody_reads_to_its_end_leaves_no_traceback():
    command = f"{sys.executable} -m inr_jax adapt --help | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
