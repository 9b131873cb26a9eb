"""`inr_jax.restore`: a model with all that is known of it, which adapts to a scan."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from inr_jax import calibrate, given_layers, joining, likeness, new_scan, result, trained
from inr_jax.calibrate import Calibration
from inr_jax.likeness import Likeness
from inr_jax.model import build
from inr_jax.programs import Programs
from inr_jax.result import Result, Seen
from inr_jax.scan import Scan, content_name
from inr_jax.trained import Trained

Layers = str | Path | Int[np.ndarray, "D H W"]  # labels of a scan, -1 where unknown, or their file


@dataclass(frozen=True)
class Restored(Trained):
    """A trained model, what its doubt is worth, and what the scans were like that it validated on."""

    calibration: Calibration | None
    known: Likeness | None

    @cached_property
    def _programs(self) -> Programs:
        return Programs()

    @cached_property
    def _taught(self) -> Trained:
        """The same as it is fitted to scans with layers that are known."""
        config = self.config.copy_and_resolve_references()
        config.adapt.labels = True
        config.hyper.context_segmentation = config.hyper.context_segmentation or config.hyper.segmentation
        return replace(self, config=config, built=build(config, self.signal))

    def adapt(
        self,
        scan: Scan,
        *,
        steps: int | None = None,
        fit: bool = False,
        layers: Layers | None = None,
        name: str | None = None,
    ) -> Result:
        """Adapts to a scan: `.at(mm)`, `.render()`, `.thickness(label)`, `.save(folder)` of what comes back.

        steps: learned steps, the trained number by default. fit: many Adam steps after them, better and slower. layers:
        labels of the scan that are known, -1 elsewhere, or their file (given_layers.py): a fit learns from them, too,
        or the learned steps of a model that was trained so. name: what results call the scan, by default its
        content_name, as a file's name may be a person's. Raises InputError if the scan is not of the kind the model was
        trained for.
        """
        ((_, found),) = self.adapt_seen([self.seen(scan, layers=layers, name=name)], steps=steps, fit=fit)
        return found

    def adapt_all(self, scans: Sequence[Scan], *, steps: int | None = None, fit: bool = False) -> list[Result]:
        """The same of several scans; those of one shape and protocol are adapted in one dispatch (vmap)."""
        found = dict(self.adapt_seen([self.seen(scan) for scan in scans], steps=steps, fit=fit))
        return [found[i] for i in range(len(scans))]

    def seen(self, scan: Scan, *, layers: Layers | None = None, name: str | None = None) -> Seen:
        """A scan as this model sees it, before it is adapted to; arguments and errors are those of `adapt`."""
        scan = new_scan.with_laterality(scan, self.config)  # which may go by its old name
        name = name or content_name(scan)
        scan = replace(scan, name=name, person=name)
        if layers is None:
            return result.seen(self, scan)
        given = layers if isinstance(layers, np.ndarray) else given_layers.read(layers, scan, self.classes)
        scan = replace(scan, labels=given_layers.checked(given, scan, self.classes))
        return result.seen(self, scan, [given_layers.told(scan)], teaches=True)

    def adapt_seen(
        self, scans: Sequence[Seen], *, steps: int | None = None, fit: bool = False
    ) -> Iterator[tuple[int, Result]]:
        """Adapts to scans as this model sees them, to those that are alike at once; which of them, and its result.

        Raises InputError where steps run away.
        """
        groups: dict[tuple[bool, Hashable], list[int]] = {}
        for i, one in enumerate(scans):
            groups.setdefault((one.teaches, joining.alike(one.population)), []).append(i)
        for (teaches, _), places in groups.items():
            results = result.adapt_alike(
                self, [scans[i] for i in places], steps=steps, fit=fit, calibration=self.calibration, known=self.known,
                programs=self._programs,
                # learned steps know labels where they were learned so
                fitter=self._taught if teaches and not self.config.adapt.labels else None,
            )  # fmt: skip
            yield from zip(places, results, strict=True)


def restore(folder: str | Path, *, best: bool = True) -> Restored:
    """The model of a training's folder, or of one that `inr-jax export` wrote, with its calibration and statistics.

    Raises InputError as `trained.restore`.
    """
    found = trained.restore(folder, best=best)
    own = {field.name: getattr(found, field.name) for field in fields(found)}
    return Restored(**own, calibration=calibrate.read(folder, found), known=likeness.read(folder, found))
