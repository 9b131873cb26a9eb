"""What of a phantom B-scan nobody can know who sees its neighbours alone: texture finer than they lie apart.

    python benchmarks/phantom_ceiling.py

Every eye is drawn again and again with all its anatomy, vessels and slow brightness, but with other fine waves (periods
of 0.04 to 0.3 mm en face: `stripes`, how much light reaches each A-scan; `fine`, the texture of layers; `choroid`, its
small vessels). The mean of these draws is the best answer in the square of one who knows all else and nothing of the
waves; its PSNR against the eye is a ceiling for B-scans between measured ones, up to what the waves' correlation over
that distance, printed too, lets a neighbour say. Right eyes of the validation people of configs/oct.py.
"""

import argparse
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from configs import oct
from inr_jax import progress
from inr_jax.phantom import appearance, make_eye
from inr_jax.phantom.appearance import Looks
from inr_jax.phantom.fields import Sites, Waves

REDRAWN = {"stripes": ("stripes",), "fine": ("fine",), "choroid": ("choroid",), "all": ("stripes", "fine", "choroid")}


def other(looks: Looks, again: Looks, parts: tuple[str, ...]) -> Looks:
    """The looks with the fine waves of another draw; of the choroid its small vessels alone."""
    drawn = {part: getattr(again, part) for part in parts}
    if "choroid" in drawn:
        drawn["choroid"] = (again.choroid[0], looks.choroid[1])
    return looks._replace(**drawn)


def clean(person: int, shape: tuple[int, int, int], looks_of: Callable[..., Looks]) -> Float[np.ndarray, "D H W"]:
    """The noise-free, motion-free volume of an eye whose looks are drawn so."""
    kept, appearance.draw_looks = appearance.draw_looks, looks_of
    try:
        return make_eye(person=person, laterality="R", shape=shape, motion=0.0).clean
    finally:
        appearance.draw_looks = kept


def correlation(waves: Waves, distance: float) -> float:
    """Between places so far apart (mm) across B-scans."""
    x = np.linspace(-2.9, 2.9, 97)
    y = np.linspace(-2.9, 2.9, 61)
    here, there = (waves.at(Sites(y + d, x, np.zeros(len(y))))[0].ravel() for d in (0.0, distance))
    return float(np.corrcoef(here, there)[0, 1])


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--draws", type=int, default=12, help="of the waves, for every eye")
    draws = flags.parse_args().draws
    options = oct.get_config().data.phantom_oct
    train, validation, _ = options.people
    shape, draw = tuple(options.shape), appearance.draw_looks
    between = np.arange(shape[0]) % options.fitted_every != 0
    found: dict[str, list[float]] = {name: [] for name in REDRAWN}
    for person in progress.bar(range(train, train + validation), "eyes", unit="eye"):
        truth = clean(person, shape, draw)[between]
        for name, parts in REDRAWN.items():

            def redrawn(seed: int, who: int, eye: int, contrast: float, n: int, parts=parts) -> Looks:
                return other(draw(seed, who, eye, contrast), draw(10_000 + n, who, eye, contrast), parts)

            volumes = [clean(person, shape, lambda *who, n=n: redrawn(*who, n=n))[between] for n in range(draws)]
            spread = np.var(volumes, axis=0, ddof=1).mean()  # of one draw about the mean of all, the eye's own apart
            own = ((np.mean(volumes, axis=0) - truth) ** 2).mean() - spread / draws
            found[name].append(-10 * np.log10(own))
    looks = draw(0, train, 0, 1.0)
    step = 5.8 / (shape[0] - 1)  # mm, the phantom's field
    for name, values in found.items():
        print(f"{name:<8} redrawn: {np.mean(values):.2f} ± {np.std(values):.2f} dB")
    for name, waves in (("stripes", looks.stripes), ("fine", looks.fine), ("choroid", looks.choroid[0])):
        print(f"{name:<8} correlation over {step:.3f} mm: {correlation(waves, step):+.3f}")


if __name__ == "__main__":
    main()
