"""The demo as it is shipped, at its own size: minutes, hence slow."""

import csv
from pathlib import Path

import numpy as np
import pytest

from inr_jax.demo import demo


@pytest.mark.slow
def test_five_steps_of_the_demo_are_better_than_a_line_an_atlas_and_between_bscans_than_every_tuned_rival(
    tmp_path: Path,
) -> None:
    demo(tmp_path)
    with (tmp_path / "test" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def mean(method: str, kind: str, score: str) -> float:
        return float(np.mean([float(r[score]) for r in rows if r["method"] == method and r["kind"] == kind]))

    for kind in ("fitted", "interpolated"):
        ours = mean("inr_jax, 5 steps", kind, "psnr")
        assert ours > max(mean(other, kind, "psnr") for other in ("nearest", "linear", "cubic")) + 0.3
        assert mean("inr_jax, 5 steps", kind, "dice") > mean("mean atlas", kind, "dice")
    tuned = {r["method"] for r in rows if r["method"].endswith("(tuned)")}
    assert len(tuned) == 4  # Gaussian, non-local means, total variation, registration
    assert ours > max(mean(other, "interpolated", "psnr") for other in tuned) + 0.5
