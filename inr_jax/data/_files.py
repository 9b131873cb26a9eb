"""Where data sets lie, and who is in them."""

import os
import re
from pathlib import Path

from inr_jax.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
FOLD_FILE = re.compile(r"dataset_flat_subsmpl(\d+)_(train|test)_fold(\d+)\.npz")


def fold_file(every: int, part: str, fold: int) -> str:
    """INteRp-OCT's name of a fold's file. `every`: the spacing of its B-scans in the dense volume; fold: from 1."""
    return f"dataset_flat_subsmpl{every}_{part}_fold{fold}.npz"


def data_path(path: str, own: str) -> Path:
    """`path`, or where it is '' the set's own place in $INR_JAX_DATA.

    That is ../shared/data beside the project where it is not set. Raises InputError where nothing is there.
    """
    named = os.environ.get("INR_JAX_DATA")
    found = Path(path or Path(named or REPOSITORY.parent / "shared" / "data") / own)
    if found.exists():
        return found
    if path:
        raise InputError(f"data.path: expected a file or folder; found none at {found}")
    if named:
        raise InputError(f"INR_JAX_DATA: expected a folder that holds the data set; found none at {found}")
    raise InputError(f"{found}: no such folder: set data.path, or the environment's INR_JAX_DATA")


def match_subject(pattern: str, name: str, where: str) -> re.Match[str]:
    """The match of a data set's `subject_pattern` with a whole name; its group `person` says who was scanned.

    Raises InputError naming the file and the pattern where they do not match.
    """
    try:
        match = re.fullmatch(pattern, name)
    except re.error as error:
        raise InputError(f"subject_pattern: not a regular expression: {pattern} ({error})") from error
    if match is None or not match.groupdict().get("person"):
        raise InputError(f"{where}: name {name} does not match subject_pattern {pattern} with a group 'person'")
    return match


def laterality(match: re.Match[str]) -> str | None:
    """ "R" or "L" by the group `eye` (R, L, OD, OS) of a subject pattern; None where it does not say."""
    return {"R": "R", "OD": "R", "L": "L", "OS": "L"}.get(match.groupdict().get("eye") or "")
