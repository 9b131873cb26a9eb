"""`inr_jax.restore` and `inr-jax adapt`: a model with all that is known of it, and scans that are handed to it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from inr_jax import between, calibrate, grids, likeness, new_scan, result, scan_io, trained
from inr_jax.calibrate import Calibration
from inr_jax.likeness import Likeness
from inr_jax.result import Result, Spacing
from inr_jax.scan import Scan
from inr_jax.trained import Trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored(Trained):
    """A trained model, what its doubt is worth, and what the scans were like that it validated on."""

    calibration: Calibration | None
    known: Likeness | None

    @cached_property
    def _ask(self) -> between.Ask:
        return between.make_ask(self)

    def adapt(self, scan: Scan, *, steps: int | None = None, fit: bool = False) -> Result:
        """Adapts to a scan: `.at(mm)`, `.render()`, `.thickness(label)`, `.save(folder)` of what comes back.

        steps: learned steps, the trained number by default. fit: many Adam steps after them, better and slower. Raises
        InputError if the scan is not of the kind the model was trained for.
        """
        return result.adapt(
            self, scan, steps=steps, fit=fit, calibration=self.calibration, known=self.known, ask=self._ask
        )


def restore(folder: str | Path, *, best: bool = True) -> Restored:
    """The model of a training's folder, or of one that `inr-jax export` wrote, with its calibration and statistics.

    Raises InputError as `trained.restore`.
    """
    model = trained.restore(folder, best=best)
    own = {field.name: getattr(model, field.name) for field in fields(model)}
    return Restored(**own, calibration=calibrate.read(folder, model), known=likeness.read(folder, model))


def adapt_files(
    folder: str | Path,
    files: Sequence[str],
    output: str | Path,
    *,
    steps: int | None = None,
    fit: bool = False,
    slices: int | None = None,
    spacing: Spacing | None = None,
    bscan_at: Sequence[float] = (),
    laterality: str | None = None,
    dicom: bool = False,
    tiff: bool = False,
) -> None:
    """Adapts to every scan in the files; results of each in `output`/<scan's name>, and one line about it.

    folder: of a training or an exported model. bscan_at: mm from the first B-scan, of B-scans that are rendered
    instead, each into a folder bscan_<mm>mm of its own. laterality: "R" or "L", of scans whose file does not say.
    dicom, tiff: whether to write these, too.

    Raises InputError at the first scan that cannot be read or does not fit the model; those before it are written.
    """
    model = restore(folder)
    if model.known is None:
        log.info("%s: a scan unlike those it knows is not told: nothing is kept of them (inr-jax calibrate)", folder)
    for scan in new_scan.scans_of(files, model.config):
        scan = replace(scan, laterality=scan.laterality or laterality)
        if bscan_at:
            grids.of_bscans(grids.of_scan(scan), bscan_at)  # refuses what lies beyond the scan
        scan_io.make_folder(Path(output))
        found, written = model.adapt(scan, steps=steps, fit=fit), Path(output) / scan.name
        for mm in bscan_at:
            one = found.render_at(np.array([new_scan.bscan_index(scan, found.scan, mm)]))
            found.save(written / f"bscan_{mm:g}mm", one, dicom=dicom, tiff=tiff)
        if not bscan_at:
            found.save(written, found.render(slices, spacing=spacing), dicom=dicom, tiff=tiff)
        for remark in found.remarks:
            log.warning("%s: %s", scan.name, remark)
        score = next(row for row in found.rows if row["kind"] == "fitted")
        print(f"{scan.name}: {written} ({score['seconds']:.2f} s, {score['psnr']:.1f} dB on its own B-scans)")
