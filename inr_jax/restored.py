"""`inr_jax.restore`: a model with all that is known of it, which adapts to a scan."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from inr_jax import calibrate, likeness, new_scan, result, trained
from inr_jax.calibrate import Calibration
from inr_jax.likeness import Likeness
from inr_jax.programs import Programs
from inr_jax.result import Result
from inr_jax.scan import Scan, content_name
from inr_jax.trained import Trained


@dataclass(frozen=True)
class Restored(Trained):
    """A trained model, what its doubt is worth, and what the scans were like that it validated on."""

    calibration: Calibration | None
    known: Likeness | None

    @cached_property
    def _programs(self) -> Programs:
        return Programs()

    def adapt(self, scan: Scan, *, steps: int | None = None, fit: bool = False, name: str | None = None) -> Result:
        """Adapts to a scan: `.at(mm)`, `.render()`, `.thickness(label)`, `.save(folder)` of what comes back.

        steps: learned steps, the trained number by default. fit: many Adam steps after them, better and slower. name:
        what results call the scan, by default its content_name, as a file's name may be a person's. Raises InputError
        if the scan is not of the kind the model was trained for.
        """
        scan = new_scan.with_laterality(scan, self.config)  # which may go by its old name
        name = name or content_name(scan)
        scan = replace(scan, name=name, person=name)
        return result.adapt(
            self, scan, steps=steps, fit=fit, calibration=self.calibration, known=self.known, programs=self._programs
        )


def restore(folder: str | Path, *, best: bool = True) -> Restored:
    """The model of a training's folder, or of one that `inr-jax export` wrote, with its calibration and statistics.

    Raises InputError as `trained.restore`.
    """
    model = trained.restore(folder, best=best)
    own = {field.name: getattr(model, field.name) for field in fields(model)}
    return Restored(**own, calibration=calibrate.read(folder, model), known=likeness.read(folder, model))
