"""Dense scans that are to be prepared: who they are of, known before the first is read; then one at a time."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from inr_jax.data._files import laterality, match_subject
from inr_jax.data.phantom_oct import scan_of
from inr_jax.errors import InputError
from inr_jax.npz_io import read_npz_names, read_npz_scans
from inr_jax.phantom import make_eye
from inr_jax.scan import Scan, checked_name
from inr_jax.scan_io import IMAGE_SUFFIXES, SLO_SUFFIXES, read_image, read_labels, stem, with_slo

MOST_CLASSES = 256  # labels are written as bytes


class RawScan(NamedTuple):
    """A scan that is yet to be read."""

    name: str
    person: str
    laterality: str | None
    file: str  # for messages and the manifest
    read: Callable[[], Scan]


def find_scans(config: ConfigDict) -> list[RawScan]:
    """All scans of `config.path`, a file or folder of them; of the phantom where it is ''.

    Raises InputError for a name that `subject_pattern` does not match, that comes twice or that no folder can have, and
    where there are none.
    """
    found = _phantoms(config.phantom) if not config.path else _files(Path(config.path), config)
    named: dict[str, str] = {}
    scans = []
    for name, file, read in found:
        if checked_name(name, file) in named:
            raise InputError(f"{file}: name: expected every name once, found {name} in {named[name]}, too")
        named[name] = file
        match = match_subject(config.subject_pattern, name, file)
        scans.append(RawScan(name, match["person"], laterality(match), file, read))
    return scans


def read_scan(raw: RawScan) -> Scan:
    """The scan, with name, person and (where the name says it) laterality."""
    scan = raw.read()
    return replace(scan, name=raw.name, person=raw.person, laterality=raw.laterality or scan.laterality)


Found = tuple[str, str, Callable[[], Scan]]  # name, file, how to read it


def _phantoms(options: ConfigDict) -> list[Found]:
    if options.people < 1 or options.eyes not in (1, 2):
        found = f"{options.people} and {options.eyes}"
        raise InputError(f"phantom: expected 1 or more people with 1 or 2 eyes each, found {found}")

    def read(person: int, eye: str) -> Scan:
        return scan_of(
            make_eye(
                person=person,
                laterality=eye,
                shape=tuple(options.shape),
                variant=options.variant,
                seed=options.seed,
                motion=options.motion,
            )
        )

    wanted = [(person, eye) for person in range(options.people) for eye in "RL"[: options.eyes]]
    return [(f"phantom-{person:04d}-{eye}", "phantom", partial(read, person, eye)) for person, eye in wanted]


def _files(path: Path, config: ConfigDict) -> list[Found]:
    if not path.exists():
        raise InputError(f"path: expected a file or folder; found none at {path}")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [file for file in files if file.name.lower().endswith((*IMAGE_SUFFIXES, ".npz")) or path.is_file()]
    beside = tuple(suffix for suffix in (config.label_suffix, config.slo_suffix) if suffix)
    scans = [file for file in known if not (beside and stem(file).endswith(beside))]
    if not scans:
        raise InputError(f"{path}: expected scans of {' '.join(IMAGE_SUFFIXES)} .npz, found none")
    return [found for file in scans for found in _scans_of(file, config)]


def _scans_of(file: Path, config: ConfigDict) -> list[Found]:
    if file.suffix != ".npz":
        return [(stem(file), str(file), partial(_read_image, file, config.label_suffix, config.slo_suffix))]
    names = read_npz_names(file, slo_axes=config.slo_axes)
    return [(name, str(file), partial(_read_npz, file, config.slo_axes, i)) for i, name in enumerate(names)]


def _read_image(file: Path, label_suffix: str, slo_suffix: str) -> Scan:
    """An image with the labels and the SLO that lie beside it."""
    scan = read_image(file)
    if labels := _beside(file, label_suffix, IMAGE_SUFFIXES):
        scan = replace(scan, labels=read_labels(labels, scan, MOST_CLASSES))
    slo = _beside(file, slo_suffix, SLO_SUFFIXES)
    return with_slo(scan, slo) if slo else scan


def _beside(file: Path, suffix: str, endings: tuple[str, ...]) -> Path | None:
    """The file of the same name with a suffix, whatever its kind."""
    wanted = [file.with_name(f"{stem(file)}{suffix}{ending}") for ending in endings] if suffix else []
    return next((path for path in wanted if path.is_file()), None)


def _read_npz(file: Path, slo_axes: str, number: int) -> Scan:
    return _npz_scans(file, slo_axes)[number]


@lru_cache(maxsize=1)  # its scans are read one after the other
def _npz_scans(file: Path, slo_axes: str) -> list[Scan]:
    return read_npz_scans(file, slo_axes=slo_axes)
