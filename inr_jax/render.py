"""Adapting a scan with a trained model and asking it for values: jitted once per shape, streamed in blocks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict

from inr_jax import adaptation, coordinates, measurements, modulations, subjects, visits
from inr_jax.adaptation import Fitting
from inr_jax.measurements import Measurements, Pools
from inr_jax.model import Model, hyper_of
from inr_jax.operators import points
from inr_jax.types import Batch, Coords, Hyper, Key, MetaParams, Modulation, Params, Side

HELD_OUT = 16_384  # points that `fit` is stopped by, at most
BLOCK_CPU, BLOCK_GPU = 8192, 262_144  # points per block, what bounds memory: of a CPU's caches; to keep a GPU busy


def make_adapt(
    config: ConfigDict,
    built: Model,
    grid: tuple[int, ...],
    context: Int[np.ndarray, "c"],
    *,
    steps: int | None = None,
) -> Callable[..., tuple[Modulation, Array]]:
    """`adapt(params, data, subject, hyper)`: config.adapt.steps learned steps on new draws of what was measured."""

    def run(params: MetaParams, data: Measurements, i: Array, hyper: Hyper) -> tuple[Modulation, Array]:
        labelled = _labelled(config, data, i, context, grid, hyper)
        return adaptation.adapt(
            built.learner.inner_loss,
            subjects.make_bind(built.learner.bind, data, i, context, grid, hyper),
            params,
            lambda key: measurements.draw(data, i, context, config.adapt.points, grid, key=key, labelled=labelled),
            hyper,
            start=built.learner.start,
            rule=built.learner.rule,
            finish=built.learner.finish,
            steps=config.adapt.steps if steps is None else steps,
            key=jax.random.key(hyper.seed + 3),
            context=measurements.context_of(data, i, context, grid, hyper),
        )

    return run


def _labelled(
    config: ConfigDict, data: Measurements, i: Array, context: Int[np.ndarray, "c"], grid: tuple[int, ...], hyper: Hyper
) -> Bool[Array, "d"] | bool:
    """The B-scans of a scan whose labels move its modulation."""
    return config.adapt.labels and measurements.context_labels(data, i, context, grid, hyper.context_labels)


class ByEpochs(NamedTuple):
    """A fit by epochs of one subject: `begin(subject)` and `epoch(params, data, subject, fitting)`."""

    begin: Callable[[Array], Fitting]
    epoch: Callable[[MetaParams, Measurements, Array, Fitting], tuple[Fitting, Float[Array, ""]]]


def make_epochs(
    config: ConfigDict, built: Model, grid: tuple[int, ...], pools: Pools, context: Int[np.ndarray, "c"]
) -> ByEpochs:
    """Adam on the modulation by `config.adapt`: small random codes, no change of the shared parameters at first.

    context: the measured voxels that loose points are drawn from. Raises InputError for a draw the loss cannot take,
    or that the measurement does not allow.
    """
    hyper, options = hyper_of(config), config.adapt
    visits.check_draw(options.draw, config.loss.intensity, "adapt.draw")
    count = visits.draws_per_epoch(options, pools, grid, len(context))
    root, order = jax.random.split(jax.random.key(config.train.seed + 3))

    def begin(i: Array) -> Fitting:
        leaves, structure = jax.tree.flatten(built.codes)
        keys = jax.random.split(jax.random.fold_in(root, i), len(leaves))
        start = [options.start_scale * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
        return adaptation.begin_fitting(built.modulation(jax.tree.unflatten(structure, start)))

    def epoch(params: MetaParams, data: Measurements, i: Array, fitting: Fitting) -> tuple[Fitting, Array]:
        def batch_of(visit: Array, key: Key) -> Batch:
            flat = visits.draw_flat(options, pools.measured, context, grid, visit, key=key)
            return measurements.gather(data, i, flat, grid, labelled=options.labels)

        return adaptation.fit_epoch(
            built.learner.outer_loss if options.labels else built.learner.inner_loss,
            subjects.make_bind(built.learner.bind, data, i, pools.context, grid, hyper),
            params, batch_of, hyper, fitting, visits=count,
            rate=options.rate, decay=options.epoch_decay, key=jax.random.fold_in(order, i),
        )  # fmt: skip

    return ByEpochs(begin, epoch)


def make_fit(
    config: ConfigDict, built: Model, grid: tuple[int, ...], pools: Pools
) -> Callable[..., tuple[Params, Modulation, Array]]:
    """`fit(params, modulation, data, subject)`: Adam on the codes, then the weights too; stopped on held-out A-scans.

    Returns the field, the modulation and the steps each phase took until its best.
    """
    hyper = hyper_of(config)
    options = config.fit
    # drawn from all of them: in order they would be the first B-scans alone
    count = min(len(pools.held_out), HELD_OUT)
    held = np.random.default_rng(config.train.seed).choice(pools.held_out, count, replace=False)

    def run(
        params: MetaParams, modulation: Modulation, data: Measurements, i: Array
    ) -> tuple[Params, Modulation, Array]:
        bind = subjects.make_bind(built.learner.bind, data, i, pools.context, grid, hyper)
        labelled = _labelled(config, data, i, pools.context, grid, hyper)
        common: dict[str, Any] = dict(
            draw=lambda key: measurements.draw(
                data, i, pools.training, options.points, grid, key=key, labelled=labelled
            ),
            hyper=hyper,
            held_out=measurements.gather(data, i, jnp.asarray(held), grid, labelled=labelled),
            patience=options.patience,
        )

        def phase(
            field: Params, m: Modulation, moves: tuple[str, ...], rate: float, steps: int, seed: int
        ) -> adaptation.Fit:
            return adaptation.fit(
                built.learner.inner_loss, bind, params._replace(field=field),
                modulation=m, moves=moves, optimizer=optax.adam(rate), steps=steps, key=jax.random.key(seed), **common,
            )  # fmt: skip

        codes = modulations.codes_of(modulation)
        field = modulations.add_weights(params.field, modulation)  # a subject's own weights, where the rule moved them
        first = phase(field, codes, ("modulation",), options.rate, options.steps, config.train.seed + 4)
        if not options.weights_steps:
            return first.field, first.modulation, jnp.stack([first.steps, jnp.zeros_like(first.steps)])
        second = phase(
            first.field, first.modulation, ("modulation", "field"), options.weights_rate, options.weights_steps,
            config.train.seed + 5,
        )  # fmt: skip
        return second.field, second.modulation, jnp.stack([first.steps, second.steps])

    return run


Answer = tuple[Float[Array, "*n C"], UInt8[Array, "*n"]]


def _asked(
    built: Model, hyper: Hyper, field: Params, modulation: Modulation, side: Side | None
) -> Callable[[Coords], tuple[Float[Array, "*n C"], Float[Array, "*n K"]]]:
    """Intensity and logits of the labels as a function of coordinates; one logit where there is no segmentation."""
    at = built.learner.bind(field, modulation, side, hyper)

    def answers(coords: Coords) -> tuple[Array, Array]:
        values = at(coords)
        return values["intensity"], values.get("segmentation", jnp.zeros((len(coords), 1)))

    return answers


def block() -> int:
    """Points that are asked at once."""
    return BLOCK_CPU if jax.default_backend() == "cpu" else BLOCK_GPU


def answer(
    built: Model, hyper: Hyper, field: Params, modulation: Modulation, side: Side | None, coords: Float[Array, "*n k"]
) -> tuple[Float[Array, "*n C"], Float[Array, "*n K"]]:
    """Intensity and probabilities of the labels at points, block by block."""
    intensity, logits = points.in_blocks(_asked(built, hyper, field, modulation, side), block())(coords)
    return intensity, jax.nn.softmax(logits, -1)


def make_render(built: Model, grid: tuple[int, ...]) -> Callable[..., tuple[Array, Array]]:
    """`render(field, modulation, data, subject, hyper)`: intensity [*grid, C] and labels [*grid] of a whole scan.

    Coordinates are made, and labels chosen, block by block: besides one block memory holds the answers alone.
    """
    voxels = math.prod(grid)
    size = min(block(), voxels)

    @jax.jit
    def run(field: Params, modulation: Modulation, data: Measurements, i: Array, hyper: Hyper) -> tuple[Array, Array]:
        at = _asked(built, hyper, field, modulation, measurements.side_of(data, i, hyper.side_swapped))

        def from_voxel(first: Array) -> Answer:
            flat = jnp.minimum(first + jnp.arange(size), voxels - 1)
            values, logits = at(measurements.coords_of(data, i, coordinates.unravel(flat, grid)))
            return values, logits.argmax(-1).astype(jnp.uint8)

        intensity, labels = jax.lax.map(from_voxel, jnp.arange(0, voxels, size))
        return (
            intensity.reshape(-1, intensity.shape[-1])[:voxels].reshape(*grid, -1),
            labels.reshape(-1)[:voxels].reshape(grid),
        )

    return run
