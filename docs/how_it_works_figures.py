"""The two figures of how_it_works.md, of a phantom eye and a trained model.

python docs/how_it_works_figures.py --workdir=runs/oct
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from inr_jax import data, figures, interpolation, trained
from inr_jax.trained import Answers
from inr_jax.types import Population

HERE = Path(__file__).parent / "figures"
EYE = 0  # of the validation people
ROWS = slice(20, 110)  # of a B-scan: the retina


def picture(axis: Axes, image: Float[np.ndarray, "H W"], title: str, *, cmap: str = "gray") -> None:
    """An image without axes, its range of grey the retina's."""
    axis.imshow(image, cmap=cmap, aspect="auto", vmin=0 if cmap == "gray" else None, vmax=1 if cmap == "gray" else None)
    axis.set_title(title, fontsize=9, color=figures.INK)
    axis.set_axis_off()


def stack(axis: Axes, bscans: Float[np.ndarray, "P H W"], title: str) -> None:
    """B-scans one behind the other."""
    for k, bscan in enumerate(bscans[::-1]):
        shift = 0.09 * (len(bscans) - 1 - k)
        axis.inset_axes((shift, shift, 0.6, 0.6)).imshow(bscan, cmap="gray", aspect="auto", vmin=0, vmax=1)
    for inside in axis.child_axes:
        inside.set_xticks([])
        inside.set_yticks([])
    axis.set_title(title, fontsize=9, color=figures.INK)
    axis.set_axis_off()


def words(axis: Axes, title: str, lines: str) -> None:
    axis.text(0.5, 0.5, lines, ha="center", va="center", fontsize=9, color=figures.INK, linespacing=1.6)
    axis.set_title(title, fontsize=9, color=figures.INK)
    axis.set_axis_off()


def arrow(figure: Figure, x: float, y: float) -> None:
    figure.add_artist(FancyArrowPatch((x, y), (x + 0.03, y), arrowstyle="-|>", mutation_scale=14, color=figures.QUIET))


def overview(scans: Population, found: Answers) -> Figure:
    """What goes in, what is shared and what is the eye's own, what comes out."""
    assert scans.slo is not None, "eyes with an SLO"
    assert found.labels is not None, "a model of layers"
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplots(2, 4, gridspec_kw={"wspace": 0.12})
    measured = np.flatnonzero(scans.measured.all(axis=(1, 2)))
    bscans = scans.intensity[EYE, measured[::4], ROWS, :, 0]
    stack(axes[0, 0], bscans, f"in: {len(measured)} B-scans, far apart")
    picture(axes[1, 0], scans.slo[EYE], "in: the SLO, from the front")
    words(axes[0, 1], "shared by all eyes", "weights $\\theta$\nstart $m_0$\nstep sizes $e^{\\rho}$\n\nlearned once")
    codes = np.asarray(found.adapted[EYE].modulation["grid"]["level_1"])
    picture(axes[1, 1], codes[..., 0], "one eye's own: codes $m$\n(one of 8 channels, en face)", cmap="PuOr")
    words(
        axes[0, 2], "five learned steps",
        "$m \\leftarrow m - e^{\\rho_i}\\,\\nabla L$\n\nnew measured points\nat every step",
    )  # fmt: skip
    words(axes[1, 2], "the field", "$f_{\\theta,m}(x)$:\na place in mm\n$\\downarrow$\nintensity, layer")
    place = measured[len(measured) // 2] + 1
    picture(axes[0, 3], found.intensity[EYE, place, ROWS, :, 0], "out: a B-scan that was never measured")
    picture(axes[1, 3], found.labels[EYE, place, ROWS].astype(float), "out: its layers", cmap="viridis")
    for x in (0.245, 0.49, 0.735):
        arrow(figure, x, 0.5)
    return figure


def parts(scans: Population, found: Answers) -> Figure:
    """An unmeasured B-scan by each part of the method, and its error against the truth."""
    masks = interpolation.axis_masks(scans.measured)
    assert masks is not None, "whole B-scans measured"
    assert scans.truth is not None, "a phantom"
    samples = scans.intensity[EYE][np.ix_(*masks)]
    place = np.flatnonzero(~masks[0])[len(samples) // 2]
    truth = scans.truth[EYE, place, ROWS, :, 0]
    images = {
        "measured neighbours,\nlinear": interpolation.spread(samples, masks, "linear")[place, ROWS, :, 0],
        "the start, adapted:\nthe field alone": found.field[EYE, place, ROWS, :, 0],
        "what it leaves put back,\ncarried along layers": found.intensity[EYE, place, ROWS, :, 0],
    }
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(2, 4)
    picture(axes[0, 0], truth, "truth, without noise (phantom)")
    axes[1, 0].set_axis_off()
    for column, (name, image) in enumerate(images.items(), 1):
        psnr = -10 * np.log10(np.mean((image - truth) ** 2))
        picture(axes[0, column], image, name)
        shown = axes[1, column].imshow(image - truth, cmap="RdBu_r", vmin=-0.3, vmax=0.3, aspect="auto")
        axes[1, column].set_title(f"minus truth: {psnr:.1f} dB here", fontsize=9, color=figures.INK)
        axes[1, column].set_axis_off()
    figure.colorbar(shown, ax=axes[1, 0], location="left", shrink=0.8, label="difference (of [0, 1])")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="a training of configs/oct.py or configs/demo.py")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the figures")
    options = parser.parse_args()
    model = trained.restore(options.workdir)
    scans = data.load(model.config.data, "validation")
    found = trained.adapt_population(model, scans, shown="adapt")
    options.output.mkdir(parents=True, exist_ok=True)
    for name, figure in {"how_overview": overview(scans, found), "how_parts": parts(scans, found)}.items():
        (options.output / f"{name}.png").write_bytes(figures.png(figure))
        print(options.output / f"{name}.png")


if __name__ == "__main__":
    main()
