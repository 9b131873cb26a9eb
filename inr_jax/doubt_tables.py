"""What a model's doubt says of people whose scans are known, beside what was so: tables to fit and to score it by.

Every scan is adapted twice: as it is, and with ever wider gaps between its measured B-scans, so that distances are seen
at which nothing should be believed any more.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter

from inr_jax import asking, doubt, metrics, progress, trained
from inr_jax.asking import Asker
from inr_jax.doubt import Told
from inr_jax.trained import Answers, Trained
from inr_jax.types import Population


class Table(NamedTuple):
    """What was told of voxels of one scan, and what was so. `errors` are nan where nothing is known."""

    person: str
    columns: dict[str, Float[np.ndarray, "n"]]
    labels: Int[np.ndarray, "n"]
    true_labels: Int[np.ndarray, "n"]  # -1: unknown
    errors: dict[str, Float[np.ndarray, "n"]]
    of_mean: Float[np.ndarray, "n"]  # error of the population's mean
    layers: dict[str, Float[np.ndarray, "m"]]  # label, distance, deviation, error: of thicknesses, um


def thinned(measured: Bool[np.ndarray, "D H W"]) -> Bool[np.ndarray, "D H W"]:
    """The first, second, fourth, seventh ... of the measured B-scans: gaps of one, two, three of theirs."""
    bscans = np.flatnonzero(measured.any(axis=(1, 2)))
    kept = [n * (n + 1) // 2 for n in range(len(bscans)) if n * (n + 1) // 2 < len(bscans)]
    out = np.zeros_like(measured)
    out[bscans[kept]] = measured[bscans[kept]]
    return out


def own_share(model: Trained) -> float:
    """What a measured voxel gives to its own answer by the residual that is put back."""
    options = model.config.adapt.residual
    if not options.length:
        return 0.0
    impulse = np.zeros((41, 41))
    impulse[20, 20] = 1
    return float(gaussian_filter(impulse, options.sigma)[20, 20])


def table_of(
    asker: Asker, model: Trained, population: Population, i: int, answers: Answers,
    prior: Mapping[str, Sequence[float]], mean: Float[np.ndarray, "D H W"], bscans: Sequence[int], points: int,
) -> Table:  # fmt: skip
    """Told and true at `points` random voxels of some B-scans of scan i (0: at all), and of as many thicknesses.

    A measured voxel's error is divided by one minus its own share of the answer: that of an answer it had no part in
    (the leave-one-out identity of linear smoothers), as a repeated scan would have it.
    """
    labels = np.zeros(population.measured.shape, int) if answers.labels is None else answers.labels[i]
    evidence = doubt.gather(asker, model, population, i, answers.adapted[i], answers.field[i], prior)
    shown = answers.intensity[i, ..., 0]
    told = [doubt.ask(evidence, float(d), shown[d], labels[d]) for d in bscans]
    chosen = np.asarray(bscans)
    measured = (population.measured & population.valid[i])[chosen]
    noisy = population.intensity[i, chosen, ..., 0] - shown[chosen]
    noisy = np.where(population.valid[i, chosen], noisy / np.where(measured, 1 - own_share(model), 1.0), np.nan)
    truth, true_labels = metrics.reference(population, i)
    clean = truth[chosen, ..., 0] - shown[chosen] if population.truth is not None else np.full_like(noisy, np.nan)
    known = np.full(shown.shape, -1) if true_labels is None else true_labels
    take = np.arange(noisy.size)
    if points:
        take = np.random.default_rng(i).choice(noisy.size, min(points, noisy.size), replace=False)

    def flat(values: np.ndarray) -> np.ndarray:
        return np.asarray(values).reshape(-1)[take]

    return Table(
        population.people[i],
        {name: flat(np.stack([t.columns[name] for t in told])) for name in told[0].columns},
        flat(labels[chosen]),
        flat(known[chosen]),
        {"noisy": flat(noisy), "noise-free": flat(clean)},
        flat(population.intensity[i, chosen, ..., 0] - mean[chosen]),
        _some(_layers(told, known[chosen], float(population.spacing[i, 1])), points, i),
    )


def _some(layers: dict[str, np.ndarray], count: int, seed: int) -> dict[str, np.ndarray]:
    """So many thicknesses, drawn at random; 0: all."""
    drawn = np.random.default_rng(seed).permutation(len(layers["error"]))[: count or None]
    return {name: values[drawn] for name, values in layers.items()}


def _layers(told: Sequence[Told], known: Int[np.ndarray, "b H W"], row_mm: float) -> dict[str, np.ndarray]:
    """The thicknesses of every label in A-scans whose truth is known."""
    classes = len(told[0].thickness)
    each: dict[str, list[np.ndarray]] = {"label": [], "distance": [], "deviation": [], "error": []}
    for one, truth in zip(told, known, strict=True):
        whole = (truth >= 0).all(axis=0)
        for label in range(1, classes):
            true = (truth == label).sum(axis=0) * row_mm * 1000
            each["label"].append(np.full(whole.sum(), float(label)))
            each["distance"].append(one.distance[whole])
            each["deviation"].append(one.deviation[label, whole] ** 2)
            each["error"].append((one.thickness[label] - true)[whole])
    return {name: np.concatenate(values) if values else np.zeros(0) for name, values in each.items()}


def collect(model: Trained, population: Population, mean: Float[np.ndarray, "D H W"]) -> tuple[list[Table], dict]:
    """Tables of the scans that are calibrated on, and the codes' prior."""
    options = model.config.doubt
    chosen = spread_over_people(population, options.scans)
    population = only(population, chosen)
    answers = trained.adapt_population(model, population, shown="calibrate: adapt")
    prior = doubt.prior_of(model, answers.adapted)
    asker = asking.make_asker(model, *population.measured.shape[1:])
    sparse = population._replace(measured=thinned(population.measured))
    from_few = trained.adapt_population(model, sparse, shown="calibrate: adapt to fewer B-scans")
    far = _farther(population.measured, sparse.measured)
    tables = []
    for i in progress.bar(range(len(population.names)), "calibrate", unit="scan"):
        some = some_bscans(range(len(population.measured)), options.bscans, i)
        tables.append(table_of(asker, model, population, i, answers, prior, mean, some, options.points))
        if far:
            some = some_bscans(far, options.bscans // 2, i)
            tables.append(table_of(asker, model, sparse, i, from_few, prior, mean, some, options.points // 2))
    return tables, prior


def some_bscans(bscans: Sequence[int], most: int, seed: int) -> list[int]:
    """So many of them at most, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(np.asarray(bscans))[:most]
    return sorted(drawn.tolist())


def _farther(measured: Bool[np.ndarray, "D H W"], thin: Bool[np.ndarray, "D H W"]) -> list[int]:
    """B-scans that lie farther from a kept one than any lies from a measured one."""

    def steps(mask: np.ndarray) -> np.ndarray:
        known = np.flatnonzero(mask.any(axis=(1, 2)))
        return np.abs(np.arange(len(mask))[:, None] - known).min(axis=1)

    return np.flatnonzero(steps(thin) > steps(measured).max()).tolist()


def spread_over_people(population: Population, most: int) -> list[int]:
    """So many scans: everybody's first, then everybody's second."""
    place: dict[str, int] = {}
    order = []
    for i, person in enumerate(population.people):
        order.append((place.setdefault(person, 0), i))
        place[person] += 1
    return sorted(i for _, i in sorted(order)[:most])


def only(population: Population, chosen: Sequence[int]) -> Population:
    """Some of its scans."""

    def of(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(value[i] for i in chosen)
        return value if value is None else value[np.asarray(chosen)]

    apart = ("measured", "classes", "note")
    return Population(**{k: v if k in apart else of(v) for k, v in population._asdict().items()})


def join(tables: Sequence[Table]) -> Table:
    """One table of all."""
    parts = [table._replace(person="") for table in tables]
    return Table("", *(_concatenated([part[k] for part in parts]) for k in range(1, len(Table._fields))))


def _concatenated(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: np.concatenate([value[name] for value in values]) for name in values[0]}
    return np.concatenate(values)


def weights(tables: Sequence[Table], counts: Sequence[int]) -> Float[np.ndarray, "n"]:
    """Of every value, so that each person counts as much as any other. counts: values of each table."""
    total: dict[str, int] = {}
    for table, count in zip(tables, counts, strict=True):
        total[table.person] = total.get(table.person, 0) + count
    return np.concatenate([np.full(n, 1 / max(total[t.person], 1)) for t, n in zip(tables, counts, strict=True)])
