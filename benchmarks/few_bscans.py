"""How far learned steps get on a scan of few B-scans, and how far layers then lie from the instrument's.

    python benchmarks/few_bscans.py [SCAN ...]

The shipped model, which has learned from rasters of a phantom: root mean square of what the field leaves of the
measurement after 5 steps, with the rates as they were learned and by the share of cells that the scan covers
(inr_jax/coverage.py). A phantom eye of nine B-scans, three and one of them, and scans of your own; of those that come
with ILM and BM the distance to these.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float

import inr_jax
from inr_jax import new_scan, surfaces, trained
from inr_jax.data.phantom_oct import scan_of
from inr_jax.phantom import make_eye
from inr_jax.restored import Restored
from inr_jax.scan import Scan


def part(eye: Scan, step: int, first: int) -> Scan:
    """Every `step`th B-scan of an eye from the `first` on."""
    assert eye.ascans_on_slo is not None
    some = slice(first, None, step)
    valid = None if eye.valid is None else eye.valid[some]
    spacing = (eye.spacing[0] * step, *eye.spacing[1:])
    return replace(eye, voxels=eye.voxels[some], ascans_on_slo=eye.ascans_on_slo[some], valid=valid, spacing=spacing)


def scans(files: list[str]) -> Iterator[tuple[str, Scan]]:
    eye = replace(scan_of(make_eye(seed=50, person=60, laterality="R", shape=(9, 96, 64))), labels=None)
    yield from (("nine B-scans", eye), ("three of them", part(eye, 4, 0)), ("one of them", part(eye, 9, 4)))
    for file in files:
        scan = inr_jax.load(file)
        yield scan.name, scan


def left(model: Restored, scan: Scan, *, paced: bool) -> float:
    """What the field leaves of a scan after the learned steps, root mean square in [0, 1]."""
    population, _ = new_scan.as_population(model, new_scan.in_box(model, scan, []), [])
    found = trained.adapt_population(model, population, by_coverage=paced)
    return float(np.sqrt(np.mean((found.field - population.intensity) ** 2)))


def distances(model: Restored, scan: Scan) -> Iterator[tuple[str, Float[np.ndarray, "D W"]]]:
    """um by which surfaces of the adapted scan lie deeper than those that came with it."""
    result = model.adapt(scan)
    known, labels = result.scan.surfaces, result.own.labels
    if known is None or labels is None:
        return
    rows = surfaces.of_labels(surfaces.without_specks(labels), surfaces.layers_of(model.classes))
    um = surfaces.UM * scan.spacing[1]
    yield from (("ILM", um * (rows[0] - known[0])), ("BM", um * (rows[-1] - known[-1])))
    yield "retina", um * ((rows[-1] - rows[0]) - (known[-1] - known[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="*", help="files of your own, besides the phantom eye")
    files = parser.parse_args().scans
    model = inr_jax.restore(inr_jax.shipped("phantom"))
    print(f"{'':24}{'as learned':>12}{'by coverage':>12}")
    found = list(scans(files))
    for name, scan in found:
        print(f"{name:24}{left(model, scan, paced=False):12.3f}{left(model, scan, paced=True):12.3f}", flush=True)
    for name, scan in found[len(found) - len(files) :]:
        for surface, um in distances(model, scan):
            size = np.abs(um)
            numbers = (np.nanmedian(size), np.nanpercentile(size, 95), np.nanmedian(um))
            told = "median {:.1f} um, 95 % within {:.1f}, signed median {:.1f}".format(*numbers)
            print(f"{name:24}{surface:8} {told} ({np.isfinite(um).sum()} A-scans)")


if __name__ == "__main__":
    main()
