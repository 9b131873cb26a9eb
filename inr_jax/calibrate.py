"""`inr-jax calibrate`: what a trained model's doubt is worth, learned from validation people, kept beside the model.

Half of the people fit the spread, the others set the intervals (calibration.py); nobody is in both halves.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from inr_jax import calibration, data, doubt, doubt_tables, trained, workdir
from inr_jax.calibration import Basis, Spread
from inr_jax.doubt import Told
from inr_jax.doubt_tables import Table, join, weights
from inr_jax.errors import InputError
from inr_jax.trained import Trained

log = logging.getLogger(__name__)
FILE = "calibration.json"
VALUES = ("noisy", "noise-free")
KNOTS = tuple(np.linspace(0, 1, 9).tolist())  # of the intensity
PEOPLE = 2  # at least: some fit, others set intervals
STEP = 0.05  # mm: the width of a bin of distances in which answer and population's mean are compared


class Intervals(NamedTuple):
    spread: Spread
    factors: Mapping[str, tuple[float, ...]]


class Calibration(NamedTuple):
    """All that is needed to state intervals for a new scan."""

    model: str  # digest of the weights it is of
    values: Mapping[str, Intervals]  # by what the intervals hold: VALUES, the second where a truth is known
    plain: Mapping[str, Spread]  # a spread of the intensity alone, to compare with
    prior: Mapping[str, tuple[float, ...]]  # of the codes, by array and channel
    edges: Mapping[str, tuple[float, ...]]  # of the groups by intensity and by distance (mm)
    reach: float  # mm from what was measured: beyond, nothing can be estimated
    wrong: tuple[tuple[float, ...], tuple[float, ...]] | None  # label's doubt -> how often it is wrong
    thickness: Intervals | None  # um
    classes: tuple[int, ...]  # that people had; of others nothing is known
    people: tuple[tuple[str, ...], tuple[str, ...]]  # who fitted the spread, who set the intervals


def digest(model: Trained) -> str:
    """Of what answers: all that was learned."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(model.params):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def fit(model: Trained, tables: Sequence[Table], prior: Mapping[str, Sequence[float]]) -> Calibration:
    """The calibration by tables of several people. Raises InputError for fewer than two."""
    people = sorted({table.person for table in tables})
    if len(people) < PEOPLE:
        raise InputError(f"calibrate: expected {PEOPLE} or more validation people; found {len(people)}")
    groups = (tuple(people[::2]), tuple(people[1::2]))
    fitting, setting = ([t for t in tables if t.person in group] for group in groups)
    together = join(fitting)
    edges = {
        "intensity": tuple(np.quantile(together.columns["intensity"], (1 / 3, 2 / 3)).tolist()),
        "distance": _distance_edges(together.columns["distance"]),
    }
    distances = (0.0, *(sum(pair) / 2 for pair in zip(edges["distance"], edges["distance"][1:], strict=False)))
    farthest = float(together.columns["distance"].max())
    hats = {"intensity": KNOTS, "distance": (*distances, max(farthest, distances[-1] + 1e-3))}
    basis = Basis(hats, tuple(model.config.doubt.parts), calibration.TINY)
    values, plain = {}, {}
    for value in VALUES:
        if np.isfinite(together.errors[value]).any():
            values[value] = _intervals(basis, fitting, setting, value, edges, max(model.signal.classes, 1))
            plain[value] = _spread(Basis({"intensity": KNOTS}, (), calibration.TINY), fitting, value)
    known = join(tables)
    has_labels = bool((known.true_labels >= 0).any()) and bool(model.signal.classes)
    seen = tuple(np.unique(known.true_labels[known.true_labels >= 0]).tolist())
    return Calibration(
        digest(model), values, plain, {name: tuple(v) for name, v in prior.items()}, edges,
        reach(known.columns["distance"], known.errors["noisy"], known.of_mean),
        _wrong(setting) if has_labels else None,
        _thickness(hats["distance"], fitting, setting, edges, model.signal.classes) if has_labels else None,
        seen, groups,
    )  # fmt: skip


def _distance_edges(distance: Float[np.ndarray, "n"]) -> tuple[float, ...]:
    """Measured places alone below the first; the rest in three parts at most."""
    away = distance[distance > 1e-6]
    if not len(away):
        return (1e-6,)
    return (1e-6, *np.unique(np.quantile(away, (1 / 3, 2 / 3)).round(6)).tolist())


def _weights(tables: Sequence[Table]) -> Float[np.ndarray, "n"]:
    return weights(tables, [len(table.labels) for table in tables])


def _spread(basis: Basis, tables: Sequence[Table], value: str) -> Spread:
    known, weight = join(tables), _weights(tables)
    use = np.isfinite(known.errors[value])
    columns = {name: column[use] for name, column in known.columns.items()}
    return calibration.fit_spread(basis, columns, known.errors[value][use], weight[use])


def _intervals(
    basis: Basis, fitting: Sequence[Table], setting: Sequence[Table], value: str,
    edges: Mapping[str, tuple[float, ...]], classes: int,
) -> Intervals:  # fmt: skip
    spread = _spread(basis, fitting, value)
    known = join(setting)
    use = np.isfinite(known.errors[value])
    columns = {name: column[use] for name, column in known.columns.items()}
    scores = np.abs(known.errors[value][use]) * np.exp(-0.5 * calibration.log_variance(spread, columns))
    groups = groups_of(columns, known.labels[use], edges)
    counts = {"class": classes} | {name: len(edges[name]) + 1 for name in edges}
    return Intervals(spread, calibration.conformal(scores, groups, counts, _weights(setting)[use]))


def groups_of(
    columns: calibration.Columns, labels: Int[np.ndarray, "n"], edges: Mapping[str, tuple[float, ...]]
) -> dict[str, Int[np.ndarray, "n"]]:
    """The class that is shown, and where intensity and distance lie between their edges."""
    return {"class": labels} | {name: calibration.binned(columns[name], edges[name]) for name in edges}


def _wrong(tables: Sequence[Table]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    known, weight = join(tables), _weights(tables)
    use = known.true_labels >= 0
    return calibration.fit_wrong(
        known.columns["label"][use], (known.labels != known.true_labels)[use], weight[use]
    )  # fmt: skip


def _thickness(
    distances: tuple[float, ...], fitting: Sequence[Table], setting: Sequence[Table],
    edges: Mapping[str, tuple[float, ...]], classes: int,
) -> Intervals:  # fmt: skip
    basis = Basis({"label": tuple(map(float, range(classes))), "distance": distances}, ("deviation",), 0.25)

    def counted(tables: Sequence[Table]) -> np.ndarray:
        return weights(tables, [len(table.layers["error"]) for table in tables])

    spread = calibration.fit_spread(basis, *_named(join(fitting).layers), counted(fitting))
    columns, error = _named(join(setting).layers)
    scores = np.abs(error) * np.exp(-0.5 * calibration.log_variance(spread, columns))
    counts = {"label": classes, "distance": len(edges["distance"]) + 1}
    factors = calibration.conformal(scores, layer_groups(columns, edges), counts, counted(setting))
    return Intervals(spread, factors)


def _named(layers: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    return {name: column for name, column in layers.items() if name != "error"}, layers["error"]


def layer_groups(
    columns: calibration.Columns, edges: Mapping[str, tuple[float, ...]]
) -> dict[str, Int[np.ndarray, "n"]]:
    distance = calibration.binned(columns["distance"], edges["distance"])
    return {"label": columns["label"].astype(int), "distance": distance}


def reach(distance: Float[np.ndarray, "n"], error: Float[np.ndarray, "n"], of_mean: Float[np.ndarray, "n"]) -> float:
    """The largest distance (mm) that was seen and up to which the answer is better than the population's mean."""
    known = np.isfinite(error)
    bins = np.floor(distance[known] / STEP + 0.5).astype(int)
    ours, theirs = (np.bincount(bins, e[known] ** 2) for e in (error, of_mean))
    lost = np.flatnonzero((ours >= theirs) & (theirs > 0))
    beyond = distance[known][bins < lost[0]] if len(lost) else distance[known]
    return float(beyond.max(initial=0.0))


class Stated(NamedTuple):
    """What is said of a B-scan; it means nothing where nothing is estimable."""

    half: Float[np.ndarray, "H W"]  # of the interval of the intensity, in [0, 1]
    estimable: Bool[np.ndarray, "H W"]
    wrong: Float[np.ndarray, "H W"] | None  # how likely the label is wrong
    thickness: Float[np.ndarray, "K W"] | None  # half of the interval, um; nan: not estimable


def state(found: Calibration, value: str, told: Told, labels: Int[np.ndarray, "H W"]) -> Stated:
    """Intervals of a B-scan. value: of VALUES, one that was calibrated."""
    shape = labels.shape
    columns = {name: column.reshape(-1) for name, column in told.columns.items()}
    groups = groups_of(columns, labels.reshape(-1), found.edges)
    half = calibration.half_width(*found.values[value], columns, groups).reshape(shape)
    near = told.distance <= found.reach + 1e-6
    estimable = told.inside & near
    if found.wrong is None or found.thickness is None:
        return Stated(half.astype(np.float32), estimable, None, None)
    wrong = np.interp(told.columns["label"], *found.wrong).astype(np.float32)
    return Stated(half.astype(np.float32), estimable, wrong, _thicknesses(found.thickness, found, told, near))


def _thicknesses(
    intervals: Intervals, found: Calibration, told: Told, near: Bool[np.ndarray, "W"]
) -> Float[np.ndarray, "K W"]:
    classes, width = told.thickness.shape
    label = np.repeat(np.arange(classes), width)
    columns = {
        "label": label.astype(float),
        "distance": np.tile(told.distance, classes),
        "deviation": told.deviation.reshape(-1) ** 2,
    }
    half = calibration.half_width(*intervals, columns, layer_groups(columns, found.edges))
    known = np.isin(label, found.classes) & (label > 0) & np.tile(near, classes)
    return np.where(known, half, np.nan).reshape(classes, width).astype(np.float32)


def calibrate(folder: str | Path) -> Calibration | None:
    """Calibrates the best checkpoint of a training on its validation people; writes FILE beside it, by rename.

    None, with a line that says why, where this model's doubt cannot be told or there are too few people. Raises
    InputError where there is no training, or `doubt.of` is a value that the people do not have.
    """
    folder = Path(folder)
    model = trained.restore(folder)
    if why := doubt.why_not(model):
        log.warning("%s: no uncertainty: %s", folder, why)
        return None
    population = data.load(model.config.data, "validation")
    if len(set(population.people)) < PEOPLE:
        log.warning("%s: no uncertainty: it takes %d validation people or more; found 1", folder, PEOPLE)
        return None
    if model.config.doubt.of == "noise-free" and population.truth is None:
        raise InputError("doubt.of: expected noisy, as these people's noise-free scans are unknown; found noise-free")
    mean = data.load(model.config.data, "train").intensity.mean(axis=0)[..., 0]
    found = fit(model, *doubt_tables.collect(model, population, mean))
    workdir.write_json(folder / FILE, calibration.as_json(found))
    return found


def is_current(folder: Path) -> bool:
    """Whether a training's best checkpoint is calibrated."""
    path = folder / FILE
    return path.is_file() and workdir.read_json(path)["model"] == digest(trained.restore(folder))


def read(folder: str | Path, model: Trained) -> Calibration | None:
    """The calibration beside a training; None, with a line that says so, where there is none of this model."""
    path = Path(folder) / FILE
    if why := doubt.why_not(model):
        log.info("%s: no uncertainty: %s", folder, why)
        return None
    if not path.is_file():
        log.warning("%s: uncertainty: not calibrated, none is written (inr-jax calibrate makes it)", folder)
        return None
    found = _from_json(calibration.from_json(workdir.read_json(path)))
    if found.model != digest(model):
        log.warning("%s: uncertainty: calibrated for other weights, none is written (calibrate again)", folder)
        return None
    if model.config.doubt.of not in found.values:
        raise InputError(f"doubt.of: expected one of {', '.join(found.values)}; found {model.config.doubt.of}")
    return found


def nameless(found: Calibration) -> Calibration:
    """The same with numbers for people: how many there were is told, who they were is not."""
    fitting, setting = found.people
    return found._replace(people=(_numbers(fitting, 1), _numbers(setting, 1 + len(fitting))))


def _numbers(people: Sequence[str], first: int) -> tuple[str, ...]:
    return tuple(f"person {i}" for i, _ in enumerate(people, first))


def _from_json(content: Mapping[str, Any]) -> Calibration:
    def spread(part: Mapping[str, Any]) -> Spread:
        return Spread(Basis(**part["basis"]), part["weights"])

    def intervals(part: Mapping[str, Any]) -> Intervals:
        return Intervals(spread(part["spread"]), part["factors"])

    thickness = content["thickness"]
    changed = {
        "values": {name: intervals(part) for name, part in content["values"].items()},
        "plain": {name: spread(part) for name, part in content["plain"].items()},
        "thickness": None if thickness is None else intervals(thickness),
    }
    return Calibration(**{**content, **changed})
