"""Puts a model together from its config: network, modulation, start, rule and task, as callables."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from inr_jax import adaptation, coordinates, losses, modulations, ridge, rules
from inr_jax.choices import NETWORKS, STARTS, Signal, network_of
from inr_jax.errors import InputError
from inr_jax.networks import mixing
from inr_jax.networks.fields import check_names
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


def _check_nuisance(config: ConfigDict, dimensions: int) -> None:
    """Raises InputError where there are no B-scans that move, or what would put their motion back into the answer."""
    if dimensions != 3:
        raise InputError(f"model.modulation.parts: expected no {NUISANCE} for images, which have no B-scans; found it")
    if length := config.adapt.residual.length:
        raise InputError(
            f"adapt.residual.length: expected 0.0 with {NUISANCE} in model.modulation.parts, since what is measured "
            f"lies elsewhere than in the motion-free field; found {length:g}"
        )


def _heads(config: ConfigDict, signal: Signal) -> dict[str, int]:
    """Channels of every head: of a likelihood also its spread, of the ridge the hidden layer that it works on."""
    heads = {"intensity": signal.channels}
    if signal.classes and config.model.segmentation:
        heads["segmentation"] = signal.classes
    if config.loss.intensity in losses.LIKELIHOODS:
        heads["spread"] = signal.channels
    return heads | ({"hidden": config.model.width} if config.adapt.ridge else {})


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


def _check(config: ConfigDict, signal: Signal) -> None:
    """Raises InputError for names that do not exist, and for what does not go together."""
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
    if not parts:
        raise InputError(f"model.modulation.parts: expected some of {', '.join(PARTS)}; found none")
    if config.rule.changes_from < 0:
        raise InputError(f"rule.changes_from: expected 0 or more; found {config.rule.changes_from}")
    if "grid" in parts:
        _check_grid(options.modulation, signal.dimensions)
    if NUISANCE in parts:
        _check_nuisance(config, signal.dimensions)


def build(config: ConfigDict, signal: Signal) -> Model:
    """The model of `config.model` and `config.rule` for one kind of data. Raises InputError for unknown names."""
    _check(config, signal)
    options, parts = config.model, tuple(config.model.modulation.parts)
    codes = modulations.zero(parts, options.modulation.to_dict(), layers=options.depth)
    network = network_of(options, signal, _heads(config, signal))
    shapes = jax.eval_shape(network.init, jax.random.key(0), codes, hyper_of(config))
    init_ridge, finish = _ridge(config)
    init_mixing, mix = _mixing(config.rule, codes, config.adapt.steps if config.rule.per_step else 1)

    start = STARTS[options.start](options, signal, codes)

    def modulation(codes: Modulation) -> Modulation:
        return modulations.at_rest(codes) | modulations.no_change(shapes, parts)

    def init(key: Key, hyper: Hyper) -> MetaParams:
        rule = rules.rule_params(
            modulation(codes), hyper, steps=config.adapt.steps, per=config.rule.per, per_step=config.rule.per_step
        )
        rule = rule | init_mixing(jax.random.fold_in(key, 1)) | init_ridge()
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
        rules.gradient_rule(mix, changes_from=config.rule.changes_from),
        *reconstruction.make_losses(**config.loss.to_dict(), context_has_labels=config.adapt.labels),
        finish,
    )
    return Model(init, learner, codes, modulation, network.change_gauge)
