"""Is a scan like those that a model knows? Its size, spacing, contrast and what adaptation leaves of it.

Every trait is positive and compared on a logarithmic scale: how many spreads of the validation scans a new scan lies
from their median. How far is too far follows from how many people were seen: a scan like theirs is that far off once in
a thousand times (the prediction interval of Student's t).
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from inr_jax import calibrate, data, doubt_tables, recipe, trained, workdir
from inr_jax.errors import InputError
from inr_jax.trained import Trained
from inr_jax.types import Population

log = logging.getLogger(__name__)
FILE = "population.json"
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)  # of the quantiles that are kept
LOW, MEDIAN, HIGH = (LEVELS.index(level) for level in (0.05, 0.5, 0.95))
NORMAL = 2 * 1.645  # spreads between the quantiles LOW and HIGH of a Gaussian
LEAST = 0.1  # a spread: nobody's scans vary by less than a tenth, however alike those are that were seen
PRIOR = 3  # people that this knowledge of spreads counts for: two validation people alone would forbid nothing
RARE = 1e-3  # how often a scan of the same population is called unlike it
PEOPLE = 2  # at least
TRAITS = {  # what is said of each, and its unit: "" of intensities in [0, 1]
    "bscan_extent": ("from its first to its last B-scan", "mm"),
    "depth": ("its depth", "mm"),
    "width": ("the width of its B-scans", "mm"),
    "bscan_spacing": ("the distance of its B-scans", "mm"),
    "row_spacing": ("the distance of its rows", "mm"),
    "ascan_spacing": ("the distance of its A-scans", "mm"),
    "brightness": ("its mean brightness", ""),
    "contrast": ("its contrast", ""),
    "residual": ("what adaptation leaves of it", ""),
}


class Likeness(NamedTuple):
    """What is known of the scans that a model validated on."""

    model: str  # digest of the weights it is of
    people: int
    quantiles: Mapping[str, tuple[float, ...]]  # by trait, at LEVELS


class Judged(NamedTuple):
    """A trait of a scan beside those of the population."""

    trait: str
    value: float
    unit: str
    low: float  # of the validation scans, at 5 %
    median: float
    high: float  # at 95 %
    spreads: float  # from the median
    allowed: float
    unlike: bool

    @property
    def sentence(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"unlike the scans that the model knows: {TRAITS[self.trait][0]} is {self.value:.3g}{unit}, theirs "
            f"{self.low:.3g} to {self.high:.3g}{unit} ({self.spreads:+.1f} spreads from their median, "
            f"{self.allowed:.1f} are usual at most)"
        )


def traits(population: Population, i: int, field: Float[np.ndarray, "D H W C"]) -> dict[str, float]:
    """What TRAITS names of scan i as it was measured; nan where one B-scan has no distance.

    field: the model's answer on the whole grid, without the residual put back.
    """
    seen = population.measured & population.valid[i]
    bscans = np.flatnonzero(population.measured.any(axis=(1, 2)))
    values, spacing = population.intensity[i][seen], population.spacing[i].astype(float)
    extent = float(bscans[-1] - bscans[0]) * spacing[0] or np.nan
    low, high = np.quantile(values, (0.05, 0.95))
    _, rows, columns = population.measured.shape
    found = {
        "bscan_extent": extent,
        "depth": rows * spacing[1],
        "width": columns * spacing[2],
        "bscan_spacing": extent / (len(bscans) - 1) if len(bscans) > 1 else np.nan,
        "row_spacing": spacing[1],
        "ascan_spacing": spacing[2],
        "brightness": values.mean(),
        "contrast": high - low,
        "residual": np.sqrt(np.mean((values - field[seen]) ** 2)),
    }
    return {name: float(value) for name, value in found.items()}


def fit(model: Trained, population: Population) -> Likeness:
    """The traits of a population's scans, adapted. Raises InputError for fewer than two people."""
    if len(set(population.people)) < PEOPLE:
        raise InputError(f"likeness: expected {PEOPLE} or more validation people; found {len(set(population.people))}")
    population = doubt_tables.only(population, doubt_tables.spread_over_people(population, model.config.doubt.scans))
    answers = trained.adapt_population(model, population, shown="likeness: adapt")
    each = [traits(population, i, answers.field[i]) for i in range(len(population.names))]
    found = {name: np.array([one[name] for one in each]) for name in TRAITS}
    known = {name: values for name, values in found.items() if np.isfinite(values).all()}
    quantiles = {name: tuple(np.quantile(values, LEVELS).tolist()) for name, values in known.items()}
    return Likeness(calibrate.digest(model), len(set(population.people)), quantiles)


def judged(known: Likeness, found: Mapping[str, float]) -> list[Judged]:
    """Every trait that both have, beside the population's."""
    allowed = float(stats.t.ppf(1 - RARE / 2, known.people - 1 + PRIOR) * np.sqrt(1 + 1 / known.people))
    return [
        _judged(name, found[name], quantiles, allowed)
        for name, quantiles in known.quantiles.items()
        if np.isfinite(found[name])
    ]


def _judged(name: str, value: float, quantiles: tuple[float, ...], allowed: float) -> Judged:
    tiny = 1e-6  # an answer that leaves nothing, or a black scan
    low, median, high, here = np.log(np.maximum((quantiles[LOW], quantiles[MEDIAN], quantiles[HIGH], value), tiny))
    spreads = float((here - median) / max((high - low) / NORMAL, LEAST))
    unlike = spreads > allowed if name == "residual" else abs(spreads) > allowed  # a good fit is no warning
    return Judged(
        name, value, TRAITS[name][1], quantiles[LOW], quantiles[MEDIAN], quantiles[HIGH], spreads, allowed, unlike
    )  # fmt: skip


def learn(folder: str | Path, model: Trained | None = None) -> Likeness | None:
    """The traits of a training's validation scans, written beside it by rename; None, with a line that says why, where

    the model is not of scans that learn to adapt, or there are too few people. Raises InputError where there is no
    training.
    """
    folder, model = Path(folder), trained.restore(folder) if model is None else model
    if model.signal.dimensions != 3 or not recipe.stages(model.config):
        return None
    population = data.load(model.config.data, "validation")
    if len(set(population.people)) < PEOPLE:
        log.warning("%s: scans unlike it will not be told: it takes %d validation people; found 1", folder, PEOPLE)
        return None
    found = fit(model, population)
    workdir.write_json(folder / FILE, found._asdict())
    return found


def read(folder: str | Path, model: Trained) -> Likeness | None:
    """What `learn` wrote; None where there is none of this model."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    content: dict[str, Any] = workdir.read_json(path)
    found = Likeness(**content | {"quantiles": {name: tuple(v) for name, v in content["quantiles"].items()}})
    return found if found.model == calibrate.digest(model) else None
