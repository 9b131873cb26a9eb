"""Compare phantom B-scans with real Spectralis B-scans: print the table of docs/phantom.md, draw its figures.

    python benchmarks/phantom_statistics.py [--figures=docs/figures]

The real scans (halirutan/spectralis-raw-data, MIT) are read from $INR_JAX_DATA/spectralis, by default
../shared/data/spectralis. Both sides are sampled alike: 3.87 um in depth, 11.8 um along the B-scan.
"""

import argparse
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter1d, label, median_filter

from inr_jax.phantom import VARIANTS, make_eye

matplotlib.use("Agg")

REPOSITORY = Path(__file__).resolve().parents[1]
ROW, COLUMN = 3.87167, 11.8206  # um
PEOPLE = range(8)
LINE_SCAN_LOOKS = 24.0  # a single line is averaged for longer than the B-scans of a volume, the phantom's default
MACULA = (-2.9, 2.9)  # mm round the fovea that the fovea's line scan is cut to
FOVEA_COLUMN = 374  # of the real line scan
ATTRIBUTION = "Real scans: halirutan/spectralis-raw-data, MIT licence."


class Bscan(NamedTuple):
    """Linear intensity [H, W] and the rows of ILM and BM."""

    linear: np.ndarray
    ilm: np.ndarray
    bm: np.ndarray


class Statistic(NamedTuple):
    name: str
    real: float
    phantom: float
    tolerance: float  # of the difference


def data_folder() -> Path:
    """Where the real scans lie."""
    return Path(os.environ.get("INR_JAX_DATA") or REPOSITORY.parent / "shared" / "data") / "spectralis"


def read_vol(path: Path) -> tuple[Bscan, np.ndarray]:
    """The first B-scan and the SLO of a Spectralis .vol file."""
    data = path.read_bytes()
    _, width, _, height = struct.unpack_from("<12s3i", data, 0)
    slo_width, slo_height = struct.unpack_from("<2i", data, 48)
    header = struct.unpack_from("<i", data, 100)[0]
    start = 2048 + slo_width * slo_height
    slo = np.frombuffer(data, np.uint8, slo_width * slo_height, 2048).reshape(slo_height, slo_width) / 255
    curves_number, curves_start = struct.unpack_from("<2i", data, start + 48)
    curves = np.frombuffer(data, "<f4", curves_number * width, start + curves_start).reshape(-1, width)
    linear = np.frombuffer(data, "<f4", width * height, start + header).reshape(height, width).astype(float)
    ilm, bm = (_filled(curve) for curve in curves[:2])
    return Bscan(np.where(linear > 1e30, 0, linear), ilm, bm), slo


def _filled(curve: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(curve < 1e30)
    return np.interp(np.arange(len(curve)), known, curve[known])


def real_bscans() -> tuple[Bscan, Bscan]:
    """The macula of the line scan through a fovea, and the circle scan round a disc."""
    line, _ = read_vol(data_folder() / "Willis_B_716_0.vol")
    circle, _ = read_vol(data_folder() / "Willis_B_716_4.vol")
    first, last = (FOVEA_COLUMN + int(1e3 * edge / COLUMN) for edge in MACULA)
    return Bscan(line.linear[:, first:last], line.ilm[first:last], line.bm[first:last]), circle


def phantom_bscans(people: range = PEOPLE) -> list[Bscan]:
    """One B-scan through the middle and one near an arcade of each person's right eye."""
    width = round(1e3 * (MACULA[1] - MACULA[0]) / COLUMN)
    field = (4.8, ROW * 495 / 1e3, COLUMN * (width - 1) / 1e3)
    found = []
    for person in people:
        eye = make_eye(
            person=person,
            laterality="R",
            shape=(3, 496, width),
            field=field,
            motion=0.0,
            looks=LINE_SCAN_LOOKS,
        )
        found += [Bscan(eye.noisy[d].astype(float) ** 4, eye.surfaces[0, d], eye.surfaces[-1, d]) for d in (1, 0)]
    return found


def flattened(scan: Bscan, offsets: np.ndarray) -> np.ndarray:
    """Linear intensity [offset, W] at `offsets` um from BM."""
    rows = gaussian_filter1d(scan.bm, 3) + offsets[:, None] / ROW
    return np.stack([np.interp(r, np.arange(len(c)), c) for r, c in zip(rows.T, scan.linear.T, strict=True)], 1)


def level(scan: Bscan, top: float, bottom: float) -> float:
    """Median brightness (fourth root) between two depths in um from BM."""
    return float(np.median(flattened(scan, np.arange(top, bottom, ROW)) ** 0.25))


def peak(scan: Bscan, top: float, bottom: float, sign: int = 1) -> float:
    """The mean profile's largest (or with sign -1 least) brightness between two depths in um from BM."""
    profile = (flattened(scan, np.arange(top, bottom, ROW / 2)) ** 0.25).mean(axis=1)
    return float(sign * (sign * profile).max())


def grain(scan: Bscan, top: float, bottom: float) -> np.ndarray:
    """Brightness minus its running mean along the B-scan, rows as measured, in a band between depths from BM."""
    rows = (
        np.rint(gaussian_filter1d(scan.bm, 3) + top / ROW).astype(int) + np.arange(int((bottom - top) / ROW))[:, None]
    )
    band = np.take_along_axis(scan.linear, rows, axis=0) ** 0.25
    return (band - gaussian_filter1d(band, 6, axis=1)) / band.mean()


def correlation(noise: np.ndarray, rows: int, columns: int) -> float:
    """Autocorrelation at one lag."""
    height, width = noise.shape
    return float(np.corrcoef(noise[: height - rows, : width - columns].ravel(), noise[rows:, columns:].ravel())[0, 1])


def vitreous(scan: Bscan) -> np.ndarray:
    """Brightness 80 to 230 um above the ILM, inside the picture."""
    rows = np.arange(len(scan.linear))[:, None]
    above = (rows > scan.ilm - 230 / ROW) & (rows < scan.ilm - 80 / ROW)
    return scan.linear[above] ** 0.25


def retina(scan: Bscan) -> np.ndarray:
    """Brightness between ILM and BM."""
    rows = np.arange(len(scan.linear))[:, None]
    return scan.linear[(rows > scan.ilm) & (rows < scan.bm)] ** 0.25


def shadows(scans: Sequence[Bscan]) -> float:
    """Brightness of the RPE in the middle of shadows 50 to 100 um wide, relative to its surroundings: the median."""
    found = []
    for scan in scans:
        row = gaussian_filter1d(flattened(scan, np.arange(-30.0, -5.0, ROW)).mean(axis=0), 0.7) ** 0.25
        relative = row / median_filter(row, 101)
        runs, number = label(relative < 0.88)
        for run in range(1, number + 1):
            inside = relative[runs == run]
            if 50 <= len(inside) * COLUMN <= 100:
                found.append(inside.min())
    return float(np.median(found)) if found else float("nan")


def statistics(real: tuple[Bscan, Bscan], phantom: list[Bscan]) -> list[Statistic]:
    """The table. Speckle and bands against the line scan, vessels against the circle scan (it crosses many)."""
    line, circle = real
    centre, edge = phantom[::2], phantom[1::2]

    def row(name: str, of: object, tolerance: float, ours: list[Bscan] = centre, theirs: Bscan = line) -> Statistic:
        return Statistic(name, float(of(theirs)), float(np.mean([of(scan) for scan in ours])), tolerance)

    rows = [
        row("profile: ONL, 110 to 95 um above BM", lambda s: level(s, -110, -95), 0.03),
        row("profile: EZ peak", lambda s: peak(s, -72, -50), 0.08),
        row("profile: dip between EZ and IZ", lambda s: peak(s, -56, -40, -1), 0.08),
        row("profile: IZ peak", lambda s: peak(s, -44, -28), 0.08),
        row("profile: RPE peak", lambda s: peak(s, -20, -2), 0.06),
        row("profile: choroid, 25 to 45 um below BM", lambda s: level(s, 25, 45), 0.04),
        row("profile: choroid, 60 to 90 um", lambda s: level(s, 60, 90), 0.03),
        row("profile: choroid, 150 to 200 um", lambda s: level(s, 150, 200), 0.03),
        row("contrast: OS over ONL (EZ dip / ONL)", lambda s: peak(s, -56, -40, -1) / level(s, -110, -95), 0.4),
        row("contrast: EZ / ONL", lambda s: peak(s, -72, -50) / level(s, -110, -95), 0.5),
        row("speckle: relative deviation in the ONL", lambda s: grain(s, -112, -92).std(), 0.015),
        row("speckle: correlation at 3.9 um in depth", lambda s: correlation(grain(s, -112, -92), 1, 0), 0.15),
        row("speckle: correlation at 7.7 um in depth", lambda s: correlation(grain(s, -112, -92), 2, 0), 0.20),
        row("speckle: correlation at 11.8 um along", lambda s: correlation(grain(s, -112, -92), 0, 1), 0.15),
        row("speckle: correlation at 23.6 um along", lambda s: correlation(grain(s, -112, -92), 0, 2), 0.15),
        row("noise floor: mean above the retina", lambda s: vitreous(s).mean(), 0.02),
        row("noise floor: deviation", lambda s: vitreous(s).std(), 0.02),
        Statistic("vessel shadow: RPE below / around", shadows([circle]), shadows(edge), 0.15),
    ]
    rows += [
        row(f"histogram ILM to BM: {share} % quantile", lambda s, q=share: np.percentile(retina(s), q), 0.06)
        for share in (5, 25, 50, 75, 95)
    ]
    return rows


def table(rows: list[Statistic]) -> str:
    """Markdown."""
    lines = ["| statistic | real | phantom | tolerance |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {s.name} | {s.real:.3f} | {s.phantom:.3f} | {s.tolerance:g} |" for s in rows])


def side_by_side(real: tuple[Bscan, Bscan], phantom: list[Bscan]) -> plt.Figure:
    """Two real B-scans above two of the phantom, on one grey scale."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 4.2), layout="constrained")
    titles = (
        "real: line through a fovea",
        "real: part of a circle round a disc",
        "phantom: fovea",
        "phantom: above it",
    )
    circle = Bscan(*(part[..., : phantom[0].linear.shape[1]] for part in real[1]))
    for axis, title, scan in zip(axes.flat, titles, (real[0], circle, *phantom[:2]), strict=True):
        top = max(int(scan.ilm.min()) - 45, 0)
        axis.imshow(scan.linear[top : top + 260] ** 0.25, cmap="gray", vmin=0, vmax=1, aspect=ROW / COLUMN * 2)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    figure.text(0.5, -0.02, ATTRIBUTION, ha="center", fontsize=8)
    return figure


def profiles(real: tuple[Bscan, Bscan], phantom: list[Bscan]) -> plt.Figure:
    """Mean brightness by depth from BM."""
    offsets = np.arange(-120, 240, ROW / 2)
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for number, scan in enumerate(phantom[::2]):
        label_ = "phantom, eight eyes" if number == 0 else None
        axis.plot(offsets, (flattened(scan, offsets) ** 0.25).mean(axis=1), color="0.75", linewidth=0.8, label=label_)
    for scan, name, colour in zip(real, ("real, line", "real, circle"), ("tab:blue", "tab:orange"), strict=True):
        axis.plot(offsets, (flattened(scan, offsets) ** 0.25).mean(axis=1), color=colour, label=name)
    axis.set(xlabel="um below BM", ylabel="brightness (fourth root)")
    axis.legend(frameon=False)
    figure.text(0.5, -0.04, ATTRIBUTION, ha="center", fontsize=7)
    return figure


def gallery() -> plt.Figure:
    """What a small eye holds: as measured, truth, labels and SLO, for each variant."""
    figure, axes = plt.subplots(3, 5, figsize=(12, 7), layout="constrained")
    eyes = [make_eye(person=person, laterality="R", variant=v) for v, person in zip(VARIANTS, (5, 5, 4), strict=True)]
    for row, eye, variant, bscan in zip(axes, eyes, VARIANTS, (14, 14, 18), strict=True):
        grey = {"cmap": "gray", "vmin": 0, "vmax": 1, "aspect": "auto"}
        row[0].imshow(eye.noisy[bscan], **grey)
        row[1].imshow(eye.clean[bscan], **grey)
        row[2].imshow(eye.labels_true[bscan], cmap="tab20", vmin=0, vmax=12, aspect="auto", interpolation="nearest")
        row[3].imshow(eye.noisy[:, :, 48].T, **grey)
        row[4].imshow(eye.slo, cmap="gray", vmin=0, vmax=1)
        for axis, title in zip(row, ("as measured", "truth", "its labels", "across B-scans", "SLO"), strict=True):
            axis.set_title(f"{variant}: {title}", fontsize=9)
            axis.set(xticks=[], yticks=[])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, help="folder that phantom_*.png are written to")
    folder = parser.parse_args().figures
    real, phantom = real_bscans(), phantom_bscans()
    print(table(statistics(real, phantom)))
    if folder is not None:
        drawn = {"real": side_by_side(real, phantom), "profile": profiles(real, phantom), "gallery": gallery()}
        for name, figure in drawn.items():
            figure.savefig(folder / f"phantom_{name}.png", dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
