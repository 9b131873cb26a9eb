"""Compiled programs are kept between starts, by host; what is damaged or deleted costs time and nothing else."""

import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
import toy
from command import environment, layers, untrained, write_npz

from inr_jax import model, program_cache
from inr_jax.errors import InputError
from inr_jax.program_cache import ENTRY, SEAL

OTHERS = "JAX_COMPILATION_CACHE_DIR"  # a place that is not ours
MISS = "PERSISTENT COMPILATION CACHE MISS"  # as JAX says it, where it is asked to


@pytest.fixture
def unset(monkeypatch):
    """An environment without any say on caches; what is set in it goes with the test."""
    names = ("COMPILATION_CACHE_DIR", "PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES")
    for name in ("INR_JAX_CACHE", "XDG_CACHE_HOME", *(f"JAX_{name}" for name in names)):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def entry(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"{name}{ENTRY}"
    path.write_bytes(content)
    return path


def test_hosts_with_other_libraries_processors_or_cores_share_no_folder():
    keys = {program_cache.key(*host) for host in (("0.1", "a", 2), ("0.2", "a", 2), ("0.1", "b", 2), ("0.1", "a", 4))}
    assert len(keys) == 4
    assert program_cache.key("0.1", "a", 2) == program_cache.key("0.1", "a", 2)


def test_folder_is_the_named_one_or_the_platform_s(unset, tmp_path):
    unset.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert program_cache.place() == tmp_path / "inr_jax"
    unset.setenv("INR_JAX_CACHE", str(tmp_path / "own"))
    assert program_cache.place() == tmp_path / "own"
    found = program_cache.enable()
    assert found.parent == tmp_path / "own"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(found)


def test_off_and_a_place_given_to_jax_itself_are_respected(unset, tmp_path):
    unset.setenv("INR_JAX_CACHE", "off")
    assert program_cache.enable() is None
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    unset.setenv("INR_JAX_CACHE", str(tmp_path / "own"))
    unset.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "theirs"))
    assert program_cache.enable() is None
    assert not (tmp_path / "own").exists()


def test_a_named_folder_that_cannot_be_made_is_one_line_and_the_platform_s_is_done_without(unset, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    unset.setenv("INR_JAX_CACHE", str(file))
    with pytest.raises(InputError, match=r"^INR_JAX_CACHE: expected a folder that can be written, or off; found \S+: "):
        program_cache.enable()
    unset.delenv("INR_JAX_CACHE")
    unset.setenv("XDG_CACHE_HOME", str(file))
    if sys.platform == "linux":
        assert program_cache.enable() is None
        assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_entries_cut_short_or_changed_since_they_were_seen_are_removed(tmp_path):
    whole = zlib.compress(bytes(1000))
    good, cut, later = (entry(tmp_path, name, whole) for name in ("good", "cut", "later"))
    cut.write_bytes(whole[:-5])
    program_cache.clean(tmp_path)
    assert program_cache.entries(tmp_path) == [good, later]
    later.write_bytes(zlib.compress(bytes(999)))  # whole, and another one's
    program_cache.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [good.name, good.name + SEAL]
    assert good.read_bytes() == whole


def test_the_oldest_entries_go_where_there_are_too_many(tmp_path, monkeypatch):
    kept = []
    for age, name in enumerate(("old", "newer", "newest")):
        kept.append(entry(tmp_path, name, zlib.compress(np.random.default_rng(age).bytes(1000))))
        os.utime(kept[-1], (1000 + age, 1000 + age))
    monkeypatch.setattr(program_cache, "MOST", 2500)
    program_cache.clean(tmp_path)
    assert program_cache.entries(tmp_path) == sorted(kept[1:])


class Started(NamedTuple):
    """What a process said and wrote."""

    said: str
    voxels: np.ndarray


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a training leaves it, and a scan."""
    folder = tmp_path_factory.mktemp("programs")
    config = toy.get_config()
    config.train.stages = ("joint",)
    untrained(folder / "model", config, model.Signal(3, 1, 0, False), (4.0, 0.5, 3.1))
    write_npz(folder / "eye.npz")
    write_npz(folder / "other.npz", voxels=layers(seed=1))
    return folder


def begin(place: Path, name: str, scan: str = "eye") -> subprocess.Popen:
    """`inr-jax adapt` as a process of its own that says what it compiles."""
    command = [sys.executable, "-m", "inr_jax", "adapt", "--workdir", place / "model", place / f"{scan}.npz"]
    more = {"INR_JAX_CACHE": str(place / "cache"), "JAX_EXPLAIN_CACHE_MISSES": "1", "JAX_LOGGING_LEVEL": "WARNING"}
    env = {variable: value for variable, value in environment(**more).items() if variable != OTHERS}
    return subprocess.Popen(
        [*map(str, command), f"--output={place / name}"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env,
    )  # fmt: skip


def end(place: Path, name: str, process: subprocess.Popen) -> Started:
    _, said = process.communicate()
    assert process.returncode == 0, said
    (volume,) = (place / name).rglob("intensity.nii.gz")
    return Started(said, sitk.GetArrayFromImage(sitk.ReadImage(str(volume))))


@pytest.fixture(scope="module")
def first(place: Path) -> Started:
    return end(place, "first", begin(place, "first"))


def test_a_second_start_of_adapt_on_another_scan_compiles_nothing(place, first):
    kept = program_cache.entries(place / "cache")
    second = end(place, "second", begin(place, "second", "other"))
    assert MISS in first.said
    assert MISS not in second.said
    assert program_cache.entries(place / "cache") == kept != []
    assert np.abs(second.voxels - first.voxels).max() > 0.1


@pytest.mark.slow
def test_two_processes_at_once_on_damaged_and_deleted_entries_give_the_same(place, first):
    kept = program_cache.entries(place / "cache")
    largest = max(kept, key=lambda path: path.stat().st_size)
    for i, path in enumerate(kept):
        if path == largest or i % 3 == 0:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif i % 3 == 1:
            path.unlink()
    both = [(name, begin(place, name)) for name in ("third", "fourth")]
    for name, process in both:
        np.testing.assert_array_equal(end(place, name, process).voxels, first.voxels)
    program_cache.clean(place / "cache")  # two that write one entry at once may damage it: until the next start
    assert set(program_cache.entries(place / "cache")) <= set(kept)
