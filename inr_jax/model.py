"""Puts a model together from its config: network, modulation, start, rule and task, as callables."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from inr_jax import adaptation, coordinates, losses, modulations, ridge, rules
from inr_jax.errors import InputError
from inr_jax.networks import fields, mixing, modulated_siren
from inr_jax.operators import points
from inr_jax.population import Learner
from inr_jax.tasks import reconstruction
from inr_jax.types import (
    CHANGES,
    NUISANCE,
    Coords,
    Hyper,
    Key,
    MetaParams,
    Modulation,
    Params,
    Population,
    Side,
    Values,
)

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


def _check_nuisance(config: ConfigDict, dimensions: int) -> None:
    """Raises InputError where there are no B-scans that move, or what would put their motion back into the answer."""
    if dimensions != 3:
        raise InputError(f"model.modulation.parts: expected no {NUISANCE} for images, which have no B-scans; found it")
    if length := config.adapt.residual.length:
        raise InputError(
            f"adapt.residual.length: expected 0.0 with {NUISANCE} in model.modulation.parts, since what is measured "
            f"lies elsewhere than in the motion-free field; found {length:g}"
        )


class Network(NamedTuple):
    """What a network offers: init(key, codes, hyper), apply(params, modulation, inputs, hyper), and its gauge."""

    init: Callable[..., Params]
    apply: Callable[..., Values]
    change_gauge: Callable[[Params, Params], Params]


def _heads(config: ConfigDict, signal: Signal) -> dict[str, int]:
    """Channels of every head: of a likelihood also its spread, of the ridge the hidden layer that it works on."""
    heads = {"intensity": signal.channels}
    if signal.classes and config.model.segmentation:
        heads["segmentation"] = signal.classes
    if config.loss.intensity in losses.LIKELIHOODS:
        heads["spread"] = signal.channels
    return heads | ({"hidden": config.model.width} if config.adapt.ridge else {})


def _network(options: ConfigDict, signal: Signal, heads: dict[str, int]) -> Network:
    """The network that `model.network` names."""
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
        if not {"vector"} <= parts <= {"vector", NUISANCE, *CHANGES} - {"factors"}:
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
        bfloat16=options.bfloat16,
    )
    return Network(init, apply, fields.change_gauge)


def _mixing(options: ConfigDict, codes: Modulation, rows: int) -> tuple[Callable[[Key], Params], rules.Mix]:
    """What `rule.mixing` names: (init of a rule's further parameters, `rows` for each level; mix of a change)."""
    if options.mixing == "none":
        return lambda key: {}, lambda own, change: change
    init_one, apply = mixing.mixer(options.mixing, options.mixings.to_dict())
    if "grid" not in codes:
        raise InputError(f"rule.mixing: expected none where model.modulation.parts has no grid; found {options.mixing}")

    def init(key: Key) -> Params:
        def level(key: Key, cells: Array) -> Params:
            return jax.vmap(lambda k: init_one(k, cells))(jax.random.split(key, rows))

        keys = jax.random.split(key, len(codes["grid"]))
        levels = codes["grid"].items()
        return {"mixing": {name: level(k, cells) for k, (name, cells) in zip(keys, levels, strict=True)}}

    def mix(own: Params, change: Modulation) -> Modulation:
        return change | {"grid": {name: apply(own[name], step) for name, step in change["grid"].items()}}

    return init, mix


def _ridge(config: ConfigDict) -> tuple[Callable[[], Params], adaptation.Finish]:
    """What `adapt.ridge` asks for: (init of a rule's further parameters, what follows the last step)."""
    if not config.adapt.ridge:
        return dict, adaptation.as_stepped
    if config.adapt.ridge < 0:
        raise InputError(f"adapt.ridge: expected 0.0 or more; found {config.adapt.ridge:g}")
    if config.adapt.epochs or not config.train.stages:
        raise InputError("adapt.ridge: expected 0.0 where scans are fitted (adapt.epochs, or no train.stages)")
    if config.model.intensity != "affine":
        raise InputError(f"adapt.ridge: expected 0.0 where model.intensity is {config.model.intensity}, not affine")
    return lambda: {"ridge": jnp.log(jnp.float32(config.adapt.ridge))}, ridge.last_layer


def _with_factors(network: Network, options: ConfigDict) -> Network:
    """The network that shares `factors`, too, where the modulation has them."""
    if "factors" not in options.parts:
        return network

    def init(key: Key, codes: Modulation, hyper: Hyper) -> Params:
        field = network.init(key, codes, hyper)
        drawn = modulations.shared_factors(field, rank=options.factors.rank, key=jax.random.fold_in(key, 2))
        return field | {"factors": drawn}

    return network._replace(init=init)


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
            "loss.balance": (config.loss.balance, losses.BALANCE),
        }
    )
    if config.loss.intensity in losses.LIKELIHOODS and config.loss.balance != "fixed":
        raise InputError(
            f"loss.balance: expected fixed with loss.intensity {config.loss.intensity}, which may be below 0; "
            f"found {config.loss.balance!r}"
        )
    if config.loss.intensity in losses.NEED_POSITIVE and options.intensity != "sigmoid":
        raise InputError(
            f"model.intensity: expected sigmoid with loss.intensity {config.loss.intensity}, whose means are above 0; "
            f"found {options.intensity!r}"
        )
    if unknown := set(parts) - set(PARTS):
        raise InputError(
            f"model.modulation.parts: expected some of {', '.join(PARTS)}; found {', '.join(sorted(unknown))}"
        )
    if config.rule.changes_from < 0:
        raise InputError(f"rule.changes_from: expected 0 or more; found {config.rule.changes_from}")
    if "grid" in parts:
        _check_grid(options.modulation, signal.dimensions)
    if NUISANCE in parts:
        _check_nuisance(config, signal.dimensions)
    codes = modulations.zero(parts, options.modulation.to_dict(), layers=options.depth)
    if not parts:
        raise InputError(f"model.modulation.parts: expected some of {', '.join(PARTS)}; found none")
    network = _with_factors(_network(options, signal, _heads(config, signal)), options.modulation)
    shapes = jax.eval_shape(network.init, jax.random.key(0), codes, hyper_of(config))
    init_ridge, finish = _ridge(config)
    init_mixing, mix = _mixing(config.rule, codes, config.adapt.steps if config.rule.per_step else 1)

    def start(learned: Params) -> Modulation:
        """The learned codes; motion and changes of the shared parameters begin at zero."""
        return modulations.at_rest(learned) | modulations.no_change(shapes, parts)

    def init(key: Key, hyper: Hyper) -> MetaParams:
        rule = rules.rule_params(
            start(codes), hyper, steps=config.adapt.steps, per=config.rule.per, per_step=config.rule.per_step
        )
        rule = rule | init_mixing(jax.random.fold_in(key, 1)) | init_ridge()
        return MetaParams(network.init(key, codes, hyper), codes, rule)

    learner = Learner(
        make_bind(network.apply, side_range=options.side, block=options.block),
        start,
        rules.gradient_rule(mix, changes_from=config.rule.changes_from),
        *reconstruction.make_losses(**config.loss.to_dict(), context_has_labels=config.adapt.labels),
        finish,
    )
    return Model(init, learner, codes, network.change_gauge)
