"""Broken files: what can be read is read equal, the rest ends in one line, soon and in little memory."""

import dataclasses
import gzip
import struct
import time
import warnings
from contextlib import suppress
from pathlib import Path

import broken_files
import numpy as np
import pytest
from broken_files import Variant
from scan_files import BORN, ID, NAME, small_eye

import inr_jax
from inr_jax import given_layers
from inr_jax.errors import InputError
from inr_jax.inspecting import described
from inr_jax.phantom import CLASSES
from inr_jax.readers import content_digest, parts_of
from inr_jax.readers.guarded import SMALL, Limit, Reader, Stopped, Worker, limit_of
from inr_jax.restored import Restored
from inr_jax.scan import Scan

EVERY = 15  # of the variants in the ordinary tests
OF_FILE = ("name", "person", "source")  # what a scan has of its file


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def wanted(reader, tmp_path_factory) -> dict[str, list[Scan]]:
    """What the whole files hold."""

    def scans(content):
        return reader.scans(broken_files.write(tmp_path_factory.mktemp("whole"), content))

    return {kind: scans(content) for kind, content in broken_files.whole().items()}


def same(found: Scan, wanted: Scan) -> bool:
    """Whether all that a scan has, but for its file, is the same to the last bit."""
    names = [field.name for field in dataclasses.fields(Scan) if field.name not in OF_FILE]
    return all(_same(getattr(found, name), getattr(wanted, name)) for name in names)


def _same(found: object, wanted: object) -> bool:
    if wanted is None or isinstance(wanted, str):
        return found == wanted
    found, wanted = np.asarray(found), np.asarray(wanted)
    return np.array_equal(found, wanted, equal_nan=wanted.dtype.kind == "f")


@pytest.fixture(scope="module")
def model(toy_model):
    return inr_jax.restore(toy_model)


def check(variant: Variant, folder: Path, reader: Reader, wanted: dict[str, list[Scan]], model: Restored) -> bool:
    """Whether it was read; the assertions say what must be true either way.

    What is read is told as by `inspect` and made ready as by `adapt`, which may refuse it in one line, too.
    """
    folder.mkdir()
    path, what = broken_files.write(folder, variant.content), f"{variant.suffix}, {variant.what}"
    try:
        scans = reader.scans(path)
    except InputError as error:
        said = str(error)
        assert variant.ends != "read", f"{what}: {said}"
        assert "\n" not in said
        assert not any(word in said.replace(str(path), "") for word in (NAME, BORN, ID, "Traceback"))
        return False
    assert variant.ends != "refused", f"{what}: was read"
    if variant.ends != "any":
        assert all(same(*pair) for pair in zip(scans, wanted[variant.suffix], strict=True)), what
    for scan in scans:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            assert all(text for _, text in described(scan)), what
            with suppress(InputError):
                model.seen(scan)
    return True


def test_there_are_500_variants_of_every_format_and_a_fifth_stay_readable():
    every = list(broken_files.variants())
    assert len(every) >= 500
    assert sum(v.ends == "read" for v in every) >= len(every) / 5
    assert {v.suffix for v in every} == {*broken_files.whole(), ".fda"}


def test_some_broken_files_end_in_one_line_and_the_others_are_read_equal(reader, wanted, model, tmp_path):
    some = list(broken_files.variants())[::EVERY]
    assert len(some) >= 30
    read = [check(variant, tmp_path / str(i), reader, wanted, model) for i, variant in enumerate(some)]
    assert any(read)
    assert not all(read)


def test_broken_files_of_layers_end_in_one_line_and_whole_ones_are_read_equal(tmp_path):
    eye = small_eye()
    scan = Scan(eye.noisy, eye.spacing, name="eye")
    wanted = {}
    for name, found in broken_files.layers().items():
        (tmp_path / name).write_bytes(found)
        wanted[name] = given_layers.read(tmp_path / name, scan, CLASSES)
        assert (wanted[name] > 0).any()
    read = 0
    for i, variant in enumerate(broken_files.layer_variants()):
        (folder := tmp_path / str(i)).mkdir()
        path, what = broken_files.write(folder, variant.content), f"{variant.suffix}, {variant.what}"
        try:
            labels = given_layers.read(path, scan, CLASSES)
        except InputError as error:
            said = str(error)
            assert variant.ends != "read", f"{what}: {said}"
            assert "\n" not in said
            assert not any(word in said.replace(str(path), "") for word in (NAME, ID, "Traceback"))
            continue
        read += 1
        assert variant.ends != "refused", f"{what}: was read"
        assert labels.shape == scan.voxels.shape
        assert labels.min() >= -1
        assert labels.max() < len(CLASSES)
        if variant.ends != "any":
            np.testing.assert_array_equal(labels, wanted[variant.suffix], what)
    assert read >= (i + 1) / 5


@pytest.mark.slow
def test_no_broken_file_takes_10_seconds_or_2_gb(reader, wanted, model, tmp_path):
    for i, variant in enumerate(broken_files.variants()):
        began = time.monotonic()
        check(variant, tmp_path / str(i), reader, wanted, model)
        assert time.monotonic() - began < 10, (variant.suffix, variant.what)
        if reader._worker is not None:
            status = Path(f"/proc/{reader._worker._process.pid}/status").read_text()
            peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
            assert peak < 2 * 2**20, (variant.suffix, variant.what)


def test_a_file_that_keeps_its_reader_busy_is_given_up_and_the_next_one_is_read(tmp_path):
    """An .e2e whose chunk refers to itself is read again and again."""
    content = bytearray(broken_files.whole()[".e2e"]["a.e2e"])
    entries = int.from_bytes(content[124:128], "little")
    last = 140 + 44 * (entries - 1)
    content[last + 4 : last + 12] = (88 - 60).to_bytes(4, "little") + bytes(4)
    reader = Reader(Limit(seconds=1.5, gigabytes=0.6))
    whole = broken_files.write(tmp_path, broken_files.whole()[".vol"])
    (tmp_path / "b.e2e").write_bytes(content)
    assert reader.scans(whole)[0].pattern == "raster"
    with pytest.raises(InputError, match=r"reading it took more than|reading it needs more than"):
        reader.scans(tmp_path / "b.e2e")
    assert reader.scans(whole)[0].pattern == "raster"
    reader.close()


def test_a_reader_that_dies_is_replaced(tmp_path):
    reader = Reader()
    whole = broken_files.write(tmp_path, broken_files.whole()[".vol"])
    reader.scans(whole)
    reader._worker._process.kill()
    reader._worker._process.wait()
    assert reader.scans(whole)[0].pattern == "raster"
    reader.close()


def of_size(path: Path, size: int) -> Path:
    """A file that says it is so large, and takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_large_file_may_take_longer_and_more_and_a_small_one_what_it_always_could(tmp_path):
    """512 x 1024 x 512 voxels of a byte are 1 GiB as float32: at 5 MB/s, and four times in memory."""
    large = Limit(2**30 / 5e6, 4.0)
    assert limit_of([of_size(tmp_path / "a.nii", 2**28)]) == large
    assert limit_of([of_size(tmp_path / "a.nii.gz", 2**24)]) == large  # of what may be 16 times as large
    assert limit_of([of_size(tmp_path / "b.nii", 10**7)]) == limit_of([of_size(tmp_path / "b.mha", 6 * 10**5)]) == SMALL


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = a.raw\n", ("a.raw",)),
        ("a.mhd", "ElementDataFile = LIST\na.raw\nb.raw\n", ("a.raw", "b.raw")),
        ("a.mhd", "ElementDataFile = %02d.raw 1 2 1\n", ("01.raw", "02.raw")),
        ("a.nhdr", "NRRD0004\ndata file: a.raw\n", ("a.raw",)),
        ("a.xml", "<ExamURL>C:\\export\\a.tif</ExamURL><ExamURL>b.tif</ExamURL>", ("a.tif", "b.tif")),
    ],
)
def test_files_that_a_header_names_count_in_its_limits_and_its_digest(tmp_path, name, text, parts):
    header = tmp_path / name
    header.write_text(text)
    (tmp_path / "other.txt").write_text("of nothing")
    files = [of_size(tmp_path / part, 2**26) for part in parts]
    assert parts_of(header) == [header, *files]
    assert limit_of(parts_of(header)).gigabytes >= len(parts)
    before = content_digest(header)
    (tmp_path / "other.txt").write_text("still of nothing")
    assert content_digest(header) == before
    with files[-1].open("r+b") as file:
        file.seek(1000)
        file.write(b"\1")
    assert content_digest(header) != before


def test_a_scan_that_needs_more_memory_than_it_may_take_says_so(tmp_path):
    """A .nii.gz of 125 MB of voxels, 500 MB as float32, in 0.1 MB."""
    header = bytearray(broken_files.whole()[".nii"]["a.nii"][:352])
    header[40:56] = struct.pack("<8h", 3, 500, 500, 500, 1, 1, 1, 1)
    header[70:74] = struct.pack("<2h", 2, 8)  # uint8
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(range(250)) * 500_000, 1))
    reader = Reader(Limit(60, 0.6))
    with pytest.raises(InputError, match="reading it needs more than 1 GB of memory"):
        reader.scans(path)
    reader.close()


def test_a_reader_that_the_system_has_killed_says_so():
    worker = Worker()
    worker._process.kill()
    with pytest.raises(Stopped, match="needs more memory than the system had left"):
        worker._line()
    worker.close()
