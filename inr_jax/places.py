"""The files and folders of a command, looked at before jax is loaded, which takes seconds."""

import os
from collections.abc import Iterable
from pathlib import Path

from inr_jax.errors import InputError

SHIPPED = Path(__file__).with_name("shipped")


def check_training(folder: str) -> None:
    """Raises InputError if there is no training in a folder."""
    for name in ("config.json", "model.json"):
        if not Path(folder, name).is_file():
            raise InputError(f"{folder}: expected a trained model ({name}); found none")


def shipped(name: str) -> Path:
    """The folder of a model that comes with the package: "phantom", trained on simulated eyes, to try things with."""
    names = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
    if name not in names:
        raise InputError(f"expected one of the shipped models ({', '.join(names) or 'none'}); found {name}")
    return SHIPPED / name


def find_model(workdir: str | None, model: str | None) -> str:
    """The folder of the model that a command is to adapt with. Raises InputError unless one of both is named."""
    if (workdir is None) == (model is None):
        found = "none" if model is None else "both"
        raise InputError(
            f"adapt: expected --workdir=FOLDER of a training or --model=FOLDER of an export; found {found}"
        )
    return model_folder(str(model)) if workdir is None else checked_training(workdir)


def model_folder(name: str) -> str:
    """The folder of a model by its name: "phantom", or a folder. Raises InputError if it holds none."""
    return str(shipped(name)) if name == "phantom" else checked_training(name)


def checked_training(folder: str) -> str:
    check_training(folder)
    return folder


def is_file(path: str) -> bool:
    return Path(path).is_file()


def check_files(files: Iterable[str]) -> None:
    """Raises InputError if one is not there."""
    for file in files:
        if not Path(file).is_file():
            raise InputError(f"{file}: no such file")


def check_scans(places: Iterable[str]) -> None:
    """Raises InputError if a file or folder is not there."""
    for place in places:
        if not Path(place).exists():
            raise InputError(f"{place}: no such file")


def check_output(folder: str) -> None:
    """Raises InputError if a folder, which is not made yet, cannot be made or written into."""
    wanted = Path(folder).absolute()
    nearest = next(path for path in (wanted, *wanted.parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{folder}: expected a folder that can be made; found the file {nearest}")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"{folder}: expected a writable folder; found that {nearest} is not")
