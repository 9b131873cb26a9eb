"""The command line in this process and in one of its own, and small scans to hand to it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from inr_jax import checkpoint, model, recipe, workdir
from inr_jax.main import main

SHAPE, SPACING = (5, 48, 24), (1.45, 0.0191, 0.252)  # of the toy phantoms: B-scans, rows, A-scans; mm
REMARKS = (
    "laterality",
    "SLO",
    "intensities",
    "checkpoint",
    "flattened",
    "clipped",
    "left off",
    "uncertainty",
    "unlike",
    "trained on a phantom",
)  # of the lines that are no errors


class Said(NamedTuple):
    code: int
    out: str
    err: list[str]  # lines without progress bars and remarks

    @property
    def error(self) -> str:
        """The one line of an error; the assertions say what else there was."""
        assert self.code == 2, self.err
        assert len(self.err) == 1, self.err
        assert self.err[0].startswith("inr-jax: error: ")
        return self.err[0]


def lines(text: str) -> list[str]:
    """Lines of stderr that are neither progress bars nor remarks."""
    found = [line.rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in found if line.strip() and "%|" not in line and not _remark(line)]


def _remark(line: str) -> bool:
    return line.startswith("inr-jax: ") and "error: " not in line and any(word in line for word in REMARKS)


def say(capsys, *argv: object) -> Said:
    """Runs a command in this process."""
    capsys.readouterr()
    code = main([str(a) for a in argv])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Said(code, captured.out, lines(captured.err))


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", **more}


def run(*argv: object, cwd: Path | None = None, **more: str) -> Said:
    """Runs `python -m inr_jax` as a process of its own."""
    command = [sys.executable, "-m", "inr_jax", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(**more), check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, lines(done.stderr))


def layers(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """A noisy volume in [0, 1] with one bright band of rows."""
    noise = np.random.default_rng(seed).random(shape) * 0.2
    rows = np.arange(shape[1])[:, None]
    return (noise + 0.6 * (abs(rows - shape[1] / 2) < shape[1] / 8)).astype(np.float32)


def write_image(path: Path, voxels: np.ndarray, spacing=SPACING, origin=(0, 0, 0), direction=None) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


def write_npz(path: Path, **changes: object) -> Path:
    """One scan; a change of None leaves a key out."""
    arrays = {"voxels": layers(), "spacing": np.array(SPACING)} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def write_population(path: Path, count: int = 2, shape: tuple[int, int, int] = SHAPE, **changes: object) -> Path:
    """Several scans as [n, H, W, D]; a change of None leaves a key out."""
    d, h, w = SPACING
    volumes = np.stack([layers(shape, seed).transpose(1, 2, 0) for seed in range(count)])
    names = np.array([f"p{i}_OD" for i in range(count)])
    arrays = {"oct_vols": volumes, "spacing_oct": np.array([h, w, d]), "subject_names": names} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def untrained(
    folder: Path, config, signal: model.Signal, half: tuple[float, ...], classes: tuple[str, ...] = (), change=None
):
    """What a training leaves, with the weights it began with, or with what `change` makes of its parameters."""
    facts = {"signal": signal._asdict(), "classes": classes, "half_extent_mm": half, "note": ""}
    data = {"train": "0" * 64, "validation": "1" * 64, "note": ""}
    workdir.write_json(
        folder / workdir.MANIFEST, {"seed": 0, "versions": workdir.versions(), "git": None, "data": data}
    )
    facts |= {"training_scans": 2, "training_people": 2}
    workdir.write_json(folder / workdir.CONFIG, workdir.plain(config))
    workdir.write_json(folder / workdir.MODEL, facts)
    state = recipe.initial_state(config, model.build(config, signal), 2)
    state = state if change is None else state._replace(params=change(state.params))
    checkpoint.save(folder, state, step=recipe.stages(config)[-1].end, validation=0.0)
    return folder


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def cut(path: Path) -> Path:
    """Leaves half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
