"""A population of phantom eyes; scored on their motion-free, noise-free anatomy."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from inr_jax import progress, slo_registration
from inr_jax.data._splits import SPLITS, split_number
from inr_jax.errors import InputError
from inr_jax.flattening import between
from inr_jax.phantom import CLASSES, Eye, make_eye
from inr_jax.preprocessing import frame, mirrored_scan, prepare, stack
from inr_jax.scan_io import Scan
from inr_jax.types import Frame, Population

THREADS = 2


def load(config: ConfigDict, split: str) -> Population:
    """Make the eyes of one split ("train", "validation" or "test"); `config` is the data section.

    People are numbered through the splits and never shared. Only test eyes have the configured `variant`:
    what is learned is learned on standard eyes. Asked again, the same eyes are handed out. Raises InputError.
    """
    _check(config.phantom_oct)
    return _made(json.dumps(config.phantom_oct.to_dict()), split)


@functools.lru_cache(maxsize=len(SPLITS))  # training, calibration and evaluation ask in turn; an eye takes a second
def _made(written: str, split: str) -> Population:
    """The eyes by their options as JSON, which tells one set of options from another."""
    options = ConfigDict(json.loads(written))
    number = split_number(split)
    first = sum(options.people[:number])
    people = range(first, first + options.people[number])
    variant = options.variant if split == "test" else "standard"
    measured = np.arange(options.shape[0]) % options.fitted_every == 0
    wanted = list(product(people, "RL"[: options.eyes]))

    def one(who: tuple[int, str]) -> tuple[Scan, Frame, Scan]:
        eye = make_eye(
            person=who[0],
            laterality=who[1],
            shape=tuple(options.shape),
            variant=variant,
            seed=options.seed,
            motion=options.motion,
        )
        scan, frame = prepared(scan_of(eye), measured, align=options.align, register_slo=options.register_slo)
        return scan, frame, _upright(truth_of(eye))

    with ThreadPoolExecutor(THREADS) as pool:
        made = list(progress.bar(pool.map(one, wanted), f"phantom eyes ({split})", len(wanted)))
    scans, frames, truths = zip(*made, strict=True)
    population = stack(
        scans,
        measured=measured,
        classes=CLASSES,
        note="phantom" if variant == "standard" else f"phantom, {variant}",
        frames=frames,
        truth=np.stack([truth.voxels for truth in truths])[..., None],
        truth_labels=np.stack([truth.labels for truth in truths]),
    )
    for array in population:
        if isinstance(array, np.ndarray):
            array.setflags(write=False)  # whoever asks next gets the same
    return population


def _check(options: ConfigDict) -> None:
    """Raise InputError for values that make_eye does not see."""
    if len(options.people) != len(SPLITS) or min(options.people) < 1:
        found = tuple(options.people)
        raise InputError(f"data.phantom_oct.people: expected three numbers of 1 or more, found {found}")
    if options.eyes not in (1, 2):
        raise InputError(f"data.phantom_oct.eyes: expected 1 or 2, found {options.eyes}")
    if not 1 <= options.fitted_every < options.shape[0]:
        raise InputError(
            f"data.phantom_oct.fitted_every: expected 1 to {options.shape[0] - 1}, found {options.fitted_every}"
        )


def scan_of(eye: Eye) -> Scan:
    """What the instrument hands over: the moved, noisy scan with its labels and SLO."""
    return Scan(
        voxels=eye.noisy,
        spacing=eye.spacing,
        labels=eye.labels.astype(np.int8),
        valid=eye.valid,
        slo=eye.slo,
        slo_spacing=eye.slo_spacing,
        ascans_on_slo=eye.ascans_on_slo,
        laterality=eye.laterality,
        name=f"phantom-{eye.person:04d}-{eye.laterality}",
        person=f"phantom-{eye.person:04d}",
    )


def truth_of(eye: Eye) -> Scan:
    """The same eye with neither motion nor noise, every voxel known."""
    return replace(
        scan_of(eye),
        voxels=eye.clean,
        labels=eye.labels_true.astype(np.int8),
        surfaces=eye.surfaces,
        valid=None,
    )


def prepared(
    scan: Scan, measured: Bool[np.ndarray, " D"], *, align: bool, register_slo: bool
) -> tuple[Scan, Frame]:  # fmt: skip
    """The scan upright and aligned, and its frame before. What adaptation sees is aligned by measured B-scans alone.

    register_slo: by measured B-scans, too.
    """
    if register_slo:
        scan = slo_registration.registered(scan, by=only_measured(scan, measured))
    whole, undo = prepare(scan, mirror=True, align=align)
    if not align:
        return whole, frame(scan, undo)
    alone, by_measured = prepare(only_measured(scan, measured), mirror=True, align=True)
    places = np.arange(len(measured))

    def join(every: np.ndarray, some: np.ndarray) -> np.ndarray:
        joined = every.copy()
        joined[measured] = some
        return joined

    joined = replace(
        whole,
        voxels=join(whole.voxels, alone.voxels),
        labels=None if whole.labels is None or alone.labels is None else join(whole.labels, alone.labels),
        valid=None if whole.valid is None or alone.valid is None else join(whole.valid, alone.valid),
    )
    undo = replace(undo, motion=between(by_measured.motion, places[measured], places))
    return joined, frame(scan, undo)


def only_measured(scan: Scan, measured: Bool[np.ndarray, " D"]) -> Scan:
    """The scan that has nothing but its measured B-scans, evenly spaced."""
    first, second = np.flatnonzero(measured)[:2]

    def keep(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[measured]

    return replace(
        scan,
        voxels=scan.voxels[measured],
        labels=keep(scan.labels),
        valid=keep(scan.valid),
        ascans_on_slo=keep(scan.ascans_on_slo),
        spacing=(scan.spacing[0] * float(second - first), *scan.spacing[1:]),
    )


def _upright(scan: Scan) -> Scan:
    return mirrored_scan(scan) if scan.laterality == "L" else scan
