"""Where the error lies that a model leaves on a phantom's interpolated B-scans: what its truth could still mend.

    python benchmarks/error_parts.py --workdir=runs/oct --answers=runs/oct/validation

The answers are those of `inr-jax evaluate --split=validation`. Every B-scan, then every A-scan, is moved in depth by
what suits the truth best, or every A-scan scaled: what no method can do, and how much it would gain.
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from inr_jax import scan_io, trained
from inr_jax.data import load

SHIFTS = np.arange(-2, 2.01, 0.25)  # rows
SMOOTH = (9.0, 3.0)  # A-scans, sigma over which the best shift of an A-scan is looked for


def parts(answer: Float[np.ndarray, "H W"], truth: Float[np.ndarray, "H W"]) -> dict[str, float]:
    """Mean squared errors of a B-scan as it is, and after each of the best changes."""
    moved = [ndimage.shift(answer, (rows, 0), order=3, mode="nearest") for rows in SHIFTS]
    errors = (np.stack(moved) - truth) ** 2
    found = {"as it is": float(((answer - truth) ** 2).mean())}
    found["best shift of every B-scan"] = float(errors.mean((1, 2)).min())
    columns = errors.mean(1)
    for sigma in SMOOTH:
        best = ndimage.gaussian_filter1d(columns, sigma, axis=1).argmin(0)
        found[f"of every A-scan, over {sigma:g}"] = float(columns[best, np.arange(columns.shape[1])].mean())
    gain = ndimage.gaussian_filter1d((answer * truth).sum(0) / (answer**2).sum(0), 1)
    found["best gain of every A-scan"] = float(((answer * gain - truth) ** 2).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a training on the phantom")
    parser.add_argument("--answers", type=Path, required=True, help="of its evaluation on validation people")
    options = parser.parse_args()
    eyes = load(trained.restore(options.workdir).config.data, "validation")
    assert eyes.truth is not None, "a phantom has one"
    all_bscans = np.arange(float(eyes.measured.shape[0]))
    unmeasured = np.flatnonzero(~eyes.measured[:, 0, 0])
    psnr: dict[str, list[float]] = {}
    for name, truth, frame in zip(eyes.names, eyes.truth[..., 0], eyes.frames, strict=True):
        answer = scan_io.read_image(options.answers / name / "intensity.nii.gz").voxels
        own = frame.undo(truth, all_bscans)
        found = [parts(answer[d], own[d]) for d in unmeasured]
        for key in found[0]:
            psnr.setdefault(key, []).append(-10 * np.log10(np.mean([one[key] for one in found])))
    for key, values in psnr.items():
        print(f"{key:32s}{np.mean(values):6.2f} dB")


if __name__ == "__main__":
    main()
