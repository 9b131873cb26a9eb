"""What an eye's own SLO is worth beside another person's, in the shadows of vessels and elsewhere.

    python benchmarks/slo_shadows.py --workdir=runs/shadows [--seeds=0,1]

Two trainings of benchmarks/sweep_parts.py for every seed: with every scan's SLO, and with that of the next person, in
training as in adaptation. PSNR of the field on the unmeasured B-scans of validation people after the learned steps,
against the noise-free phantom; in shadow are A-scans that pass more than 20 um of blood.
"""

import argparse
from pathlib import Path

import numpy as np
import sweep_parts
from jaxtyping import Bool

from inr_jax import data, train, trained
from inr_jax.phantom import anatomy
from inr_jax.phantom.vessels import draw_vessels, meet
from inr_jax.types import Population

BLOOD = 0.02  # mm
SLOS = {"own": 0.0, "another's": 1.0}


def in_shadow(population: Population, i: int, seed: int) -> Bool[np.ndarray, "D W"]:
    """The A-scans of a right eye above which vessels lie."""
    who = (seed, int(population.people[i].split("-")[1]), 0)
    traits = anatomy.draw_traits(*who)
    shape, spacing = population.measured.shape, population.spacing[i]
    y, x = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape[::2], spacing[::2], strict=True))
    places = np.stack(np.meshgrid(y, x, indexing="ij"), -1) * traits.magnification - traits.fovea
    chord = meet(draw_vessels(*who), places[..., 0].ravel(), places[..., 1].ravel(), 0.0).chord
    return chord.reshape(places.shape[:2]) > BLOOD


def scores(folder: Path, seed: int, swapped: float) -> list[tuple[float, float, float]]:
    """(in shadow, elsewhere, share in shadow) of every validation person: dB, dB, a fraction."""
    config = sweep_parts.get_config()
    config.update({"train": {"seed": seed}, "hyper": {"side_swapped": swapped}})
    train.train(config, folder)
    population = data.load(config.data, "validation")
    field = trained.adapt_population(trained.restore(folder), population, shown="adapt").field
    between = ~population.measured.all(axis=(1, 2))
    found = []
    for i in range(len(population.names)):
        error = ((field[i] - population.truth[i]) ** 2).mean(axis=(1, 3))[between]
        dark = in_shadow(population, i, config.data.phantom_oct.seed)[between]
        found.append((*(-10 * np.log10(error[where].mean()) for where in (dark, ~dark)), dark.mean()))
    return found


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--workdir", type=Path, required=True, help="of the trainings; what is there is not done again")
    flags.add_argument("--seeds", default="0,1")
    options = flags.parse_args()
    for seed in map(int, options.seeds.split(",")):
        found = {
            name: np.array(scores(options.workdir / f"{seed}-{swapped:g}", seed, swapped))
            for name, swapped in SLOS.items()
        }
        for name, rows in found.items():
            print(f"seed {seed}, {name:<10} in shadow {rows[:, 0].mean():.2f} dB, elsewhere {rows[:, 1].mean():.2f} dB")
        own, other = found.values()
        gain = own - other
        print(
            f"seed {seed}: own above another's: {gain[:, 0].mean():.2f} ± {gain[:, 0].std(ddof=1):.2f} dB in shadow "
            f"({own[:, 2].mean():.0%} of A-scans), {gain[:, 1].mean():.2f} ± {gain[:, 1].std(ddof=1):.2f} elsewhere"
        )


if __name__ == "__main__":
    main()
