"""Puts a model together from its config: network, modulation, start, rule and task, as callables."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from inr_jax import adaptation, coordinates, losses, modulations
from inr_jax.errors import InputError
from inr_jax.networks import fields, modulated_siren
from inr_jax.operators import points
from inr_jax.population import Learner
from inr_jax.tasks import reconstruction
from inr_jax.types import CHANGES, Coords, Hyper, Key, MetaParams, Modulation, Params, Population, Side, Values

PARTS = (*modulations.ZEROS, *CHANGES)


class Signal(NamedTuple):
    """What a model has to know of the data it is for."""

    dimensions: int  # spatial axes
    channels: int
    classes: int  # 0: no segmentation
    slo: bool

    @classmethod
    def of(cls, population: Population) -> "Signal":
        return cls(
            population.measured.ndim,
            population.intensity.shape[-1],
            len(population.classes),
            population.slo is not None,
        )


class Model(NamedTuple):
    init: Callable[[Key, Hyper], MetaParams]
    learner: Learner
    codes: Modulation  # zeros: what one subject's row of the auto-decoder's table holds
    change_gauge: Callable[[Params, Params], Params]  # (field, maps of the codes): inr_jax/gauge.py


def hyper_of(config: ConfigDict, **changes: float) -> Hyper:
    """The numeric settings and the seed as one pytree of scalars. Rates, a stage's own, are 0 unless in `changes`."""
    numbers = {name: 0.0 for name in Hyper._fields if name.startswith("rate_")} | config.hyper.to_dict() | changes
    return Hyper(seed=jnp.int32(config.train.seed), **{name: jnp.float32(value) for name, value in numbers.items()})


def make_bind(
    apply: Callable[..., Values], *, side_range: str = "centred", block: int = 0
) -> Callable[..., Callable[[Coords], Values]]:
    """side_range: the SLO's values enter as they are, in [0, 1] ("raw"), or moved to [-1, 1] ("centred").

    block: points the network is asked at once, 0: all.
    """

    def bind(field: Params, modulation: Modulation, side: Side | None, hyper: Hyper) -> Callable[[Coords], Values]:
        """The subject's field as a function of coordinates; the SLO is sampled wherever it is asked."""

        def at(coords: Coords) -> Values:
            if side is None:
                return apply(field, modulation, coords, hyper)
            value = coordinates.sample_side(side, coords)
            value = hyper.side * (value if side_range == "raw" else 2 * value - 1)
            return apply(field, modulation, jnp.concatenate([coords, value[..., None]], -1), hyper)

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


class Network(NamedTuple):
    """What a network offers: init(key, codes, hyper), apply(params, modulation, inputs, hyper), and its gauge."""

    init: Callable[..., Params]
    apply: Callable[..., Values]
    change_gauge: Callable[[Params, Params], Params]


def _network(options: ConfigDict, signal: Signal) -> Network:
    """The network that `model.network` names."""
    heads = {"intensity": signal.channels} | (
        {"segmentation": signal.classes} if signal.classes and options.segmentation else {}
    )
    shared = dict(
        width=options.width,
        depth=options.depth,
        encoding=options.encoding,
        encodings=options.encodings.to_dict(),
        heads=heads,
        intensity=options.intensity,
        dimensions=signal.dimensions,
        sides=int(signal.slo),
    )
    if options.network == "modulated_siren":
        parts = set(options.modulation.parts)
        if not {"vector"} <= parts <= {"vector", *CHANGES}:
            raise InputError(
                f"model.modulation.parts: expected vector for modulated_siren; found {', '.join(sorted(parts))}"
            )
        return Network(*modulated_siren.field(**shared), modulated_siren.change_gauge)
    if options.network != "field":
        raise InputError(f"model.network: expected field or modulated_siren; found {options.network!r}")
    init, apply = fields.field(
        **shared,
        activation=options.activation,
        residual=options.residual,
        inputs_everywhere=options.inputs_everywhere,
        axes=options.modulation.axes,
        read=options.modulation.read,
        vector=options.modulation.vector_enters,
        code_start=options.modulation.code_start,
        bfloat16=options.bfloat16,
    )
    return Network(init, apply, fields.change_gauge)


def build(config: ConfigDict, signal: Signal) -> Model:
    """The model of `config.model` and `config.rule` for one kind of data. Raises InputError for unknown names."""
    options = config.model
    parts = tuple(options.modulation.parts)
    fields.check_names(
        {
            "model.side": (options.side, ("centred", "raw")),
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
    network = _network(options, signal)
    shapes = jax.eval_shape(network.init, jax.random.key(0), codes, hyper_of(config))

    def start(learned: Params) -> Modulation:
        """The learned codes; changes of the shared parameters begin at zero."""
        return learned | modulations.no_change(shapes, parts)

    def init(key: Key, hyper: Hyper) -> MetaParams:
        rule = adaptation.rule_params(
            start(codes), hyper, steps=config.adapt.steps, per=config.rule.per, per_step=config.rule.per_step
        )
        return MetaParams(network.init(key, codes, hyper), codes, rule)

    learner = Learner(
        make_bind(network.apply, side_range=options.side, block=options.block),
        start,
        adaptation.GRADIENT_RULE,
        *reconstruction.make_losses(intensity=config.loss.intensity, segmentation=config.loss.segmentation),
    )
    return Model(init, learner, codes, network.change_gauge)
