"""Puts a model together from its config: network, modulation, start, rule and task, as callables."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from inr_jax import adaptation, coordinates, losses, modulations
from inr_jax.choices import NETWORKS, STARTS, Signal, network_of
from inr_jax.errors import InputError
from inr_jax.networks.fields import check_names
from inr_jax.operators import points
from inr_jax.population import Learner
from inr_jax.tasks import reconstruction
from inr_jax.types import (
    CHANGES,
    Coords,
    Hyper,
    Key,
    MetaParams,
    Modulation,
    Params,
    Side,
    Values,
)

PARTS = (*modulations.ZEROS, *CHANGES)


class Model(NamedTuple):
    init: Callable[[Key, Hyper], MetaParams]
    learner: Learner
    codes: Modulation  # zeros: what one subject's row of the auto-decoder's table holds
    modulation: Callable[[Modulation], Modulation]  # codes, and no change yet of the shared parameters that may move
    change_gauge: Callable[[Params, Params], Params]  # (field, maps of the codes): inr_jax/gauge.py


def hyper_of(config: ConfigDict, **changes: float) -> Hyper:
    """The numeric settings and the seed as one pytree of scalars. Rates, a stage's own, are 0 unless in `changes`."""
    numbers = {name: 0.0 for name in Hyper._fields if name.startswith("rate_")} | config.hyper.to_dict() | changes
    return Hyper(seed=jnp.int32(config.train.seed), **{name: jnp.float32(value) for name, value in numbers.items()})


def make_bind(
    apply: Callable[..., Values],
    *,
    side_range: str = "centred",
    block: int = 0,
    features: Callable[[Params, Array], Array] | None = None,
    patch: int = 1,
) -> Callable[..., Callable[[Coords], Values]]:
    """side_range: the SLO's values enter as they are, in [0, 1] ("raw"), or moved to [-1, 1] ("centred").

    block: points the network is asked at once, 0: all. features: of the SLO, by the field's parameters `side`; they
    enter behind its value. None: the value alone. patch: pixels that one of them stands for, along both axes.
    """

    def bind(field: Params, modulation: Modulation, side: Side | None, hyper: Hyper) -> Callable[[Coords], Values]:
        """The subject's field as a function of coordinates; the SLO is sampled wherever it is asked."""

        def moved(value: Array) -> Array:
            return value if side_range == "raw" else 2 * value - 1

        maps = None
        if side is not None and features is not None:
            own = modulations.add_weights(field, modulation)["side"]
            maps = features(own, moved(side.image))  # once per bind, not per block

        def at(coords: Coords) -> Values:
            if side is None:
                return apply(field, modulation, coords, hyper)
            inputs = [coords, hyper.side * moved(coordinates.sample_side(side, coords))[..., None]]
            if maps is not None:
                pixel = jnp.moveaxis(coordinates.side_pixel(side, coords), 0, -1)
                inputs.append(hyper.side * modulations.interpolate(maps, (pixel + 0.5) / patch - 0.5))
            return apply(field, modulation, jnp.concatenate(inputs, -1), hyper)

        return points.in_blocks(at, block)

    return bind


def _check_grid(options: ConfigDict, dimensions: int) -> None:
    """Raises InputError for an axis that the data do not have (an index would be clamped) or a level of other axes."""
    axes = tuple(options.axes)
    if not axes or not set(axes) <= set(range(dimensions)):
        raise InputError(f"model.modulation.axes: expected some of {tuple(range(dimensions))}; found {axes}")
    for level in options.grid.levels:
        if len(level) != len(axes) + 1:
            raise InputError(
                f"model.modulation.grid.levels: expected cells of {len(axes)} axes and channels; found {tuple(level)}"
            )


def build(config: ConfigDict, signal: Signal) -> Model:
    """The model of `config.model` and `config.rule` for one kind of data. Raises InputError for unknown names."""
    options = config.model
    parts = tuple(options.modulation.parts)
    check_names(
        {
            "model.side": (options.side, ("centred", "raw")),
            "model.slo.features": (options.slo.features, ("value", "cnn")),
            "model.network": (options.network, NETWORKS),
            "model.start": (options.start, STARTS),
            "model.extent.of": (options.extent.of, ("population", "volume")),
            "loss.intensity": (config.loss.intensity, losses.INTENSITY),
            "loss.segmentation": (config.loss.segmentation, losses.SEGMENTATION),
        }
    )
    if unknown := set(parts) - set(PARTS):
        raise InputError(
            f"model.modulation.parts: expected some of {', '.join(PARTS)}; found {', '.join(sorted(unknown))}"
        )
    if "grid" in parts:
        _check_grid(options.modulation, signal.dimensions)
    codes = modulations.zero(parts, options.modulation.to_dict(), layers=options.depth)
    if not parts:
        raise InputError(f"model.modulation.parts: expected some of {', '.join(PARTS)}; found none")
    network = network_of(options, signal)
    shapes = jax.eval_shape(network.init, jax.random.key(0), codes, hyper_of(config))

    start = STARTS[options.start](options, signal, codes)

    def modulation(codes: Modulation) -> Modulation:
        return codes | modulations.no_change(shapes, parts)

    def init(key: Key, hyper: Hyper) -> MetaParams:
        rule = adaptation.rule_params(
            modulation(codes), hyper, steps=config.adapt.steps, per=config.rule.per, per_step=config.rule.per_step
        )
        return MetaParams(network.init(key, codes, hyper), start.init(jax.random.fold_in(key, 2)), rule)

    learner = Learner(
        make_bind(
            network.apply,
            side_range=options.side,
            block=options.block,
            features=network.features,
            patch=options.slo.patch,
        ),
        lambda learned, context: modulation(start.apply(learned, context)),
        adaptation.GRADIENT_RULE,
        *reconstruction.make_losses(intensity=config.loss.intensity, segmentation=config.loss.segmentation),
    )
    return Model(init, learner, codes, modulation, network.change_gauge)
