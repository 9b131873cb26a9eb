"""What the names in a config stand for: networks and starts, built for one kind of data.

To add one: a function of (options of the model, what is known of the data ...) and a line in NETWORKS or STARTS.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from inr_jax import modulations
from inr_jax.errors import InputError
from inr_jax.networks import encoders, fields, layered, modulated_siren
from inr_jax.networks.side_features import side_features
from inr_jax.types import CHANGES, NUISANCE, Context, Hyper, Key, Modulation, Params, Population, Values

Heads = dict[str, int]  # name -> channels


class Signal(NamedTuple):
    """What a model has to know of the data it is for."""

    dimensions: int  # spatial axes
    channels: int
    classes: int  # 0: no segmentation
    slo: bool
    names: tuple[str, ...] = ()  # of the classes

    @classmethod
    def of(cls, population: Population) -> "Signal":
        return cls(
            population.measured.ndim,
            population.intensity.shape[-1],
            len(population.classes),
            population.slo is not None,
            population.classes,
        )


class Network(NamedTuple):
    """What a network offers: init(key, codes, hyper), apply(params, modulation, inputs, hyper), and its gauge."""

    init: Callable[..., Params]
    apply: Callable[..., Values]
    change_gauge: Callable[[Params, Params], Params]
    features: Callable[[Params, Array], Array] | None = None  # of the SLO, by the parameters `side`


def _with_features(network: Network, options: ConfigDict) -> Network:
    """The network with the CNN that `model.slo` describes, whose weights are its parameters' `side`."""
    begin, features = side_features(channels=options.channels, dilations=options.dilations, patch=options.patch)

    def init(key: Key, codes: Modulation, hyper: Hyper) -> Params:
        return network.init(key, codes, hyper) | {"side": begin(jax.random.fold_in(key, 1))}

    return network._replace(init=init, features=features)


def _with_factors(network: Network, options: ConfigDict) -> Network:
    """The network that shares `factors`, too."""

    def init(key: Key, codes: Modulation, hyper: Hyper) -> Params:
        field = network.init(key, codes, hyper)
        drawn = modulations.shared_factors(field, rank=options.factors.rank, key=jax.random.fold_in(key, 3))
        return field | {"factors": drawn}

    return network._replace(init=init)


def _shared(options: ConfigDict, signal: Signal) -> dict[str, Any]:
    """Options that every network has."""
    return dict(
        width=options.width,
        depth=options.depth,
        encoding=options.encoding,
        encodings=options.encodings.to_dict(),
        intensity=options.intensity,
        dimensions=signal.dimensions,
        sides=int(signal.slo),
    )


def _body(options: ConfigDict, signal: Signal) -> dict[str, Any]:
    """Options of `fields.field` but for its heads."""
    return _shared(options, signal) | dict(
        activation=options.activation,
        residual=options.residual,
        inputs_everywhere=options.inputs_everywhere,
        axes=options.modulation.axes,
        read=options.modulation.read,
        vector=options.modulation.vector_enters,
        bfloat16=options.bfloat16,
        kernel=options.kernel,
        code_start=options.modulation.code_start,
        features=options.slo.channels if options.slo.features == "cnn" else 0,
    )


def _field(options: ConfigDict, signal: Signal, heads: Heads) -> Network:
    init, apply = fields.field(**_body(options, signal), heads=heads)
    return Network(init, apply, fields.change_gauge)


def _layered(options: ConfigDict, signal: Signal, heads: Heads) -> Network:
    if signal.dimensions != 3 or "segmentation" not in heads:
        raise InputError("model.network: expected field where there are no layers to learn; found 'layered'")
    lesions = [i for i, name in enumerate(signal.names) if name in options.layered.lesions]
    if signal.classes - len(lesions) < 2:
        raise InputError(f"model.layered.lesions: expected a layer beside them; found {', '.join(signal.names)}")
    if options.layered.depth > options.depth and "lowrank" in options.modulation.parts:
        raise InputError(f"model.layered.depth: expected {options.depth} or less; found {options.layered.depth}")
    surfaces = dict(width=options.layered.width, depth=options.layered.depth)
    init, apply = layered.field(**_body(options, signal), heads=heads, lesions=lesions, surfaces=surfaces)
    return Network(init, apply, fields.change_gauge)


def _modulated_siren(options: ConfigDict, signal: Signal, heads: Heads) -> Network:
    parts = set(options.modulation.parts)
    if not {"vector"} <= parts <= {"vector", NUISANCE, *CHANGES} - {"factors"}:
        raise InputError(
            f"model.modulation.parts: expected vector for modulated_siren; found {', '.join(sorted(parts))}"
        )
    if options.slo.features != "value":
        raise InputError(f"model.slo.features: expected value for modulated_siren; found {options.slo.features!r}")
    if options.kernel != "xla":
        raise InputError(f"model.kernel: expected xla for modulated_siren; found {options.kernel!r}")
    init, apply = modulated_siren.field(**_shared(options, signal), heads=heads)
    return Network(init, apply, modulated_siren.change_gauge)


NETWORKS: dict[str, Callable[[ConfigDict, Signal, Heads], Network]] = {
    "field": _field,
    "layered": _layered,
    "modulated_siren": _modulated_siren,
}


def network_of(options: ConfigDict, signal: Signal, heads: Heads) -> Network:
    """The network that `model.network` names, with the features that `model.slo` names and the factors that move.

    heads: name -> channels.
    """
    network = NETWORKS[options.network](options, signal, heads)
    if "factors" in options.modulation.parts:
        network = _with_factors(network, options.modulation)
    if options.slo.features == "value":
        return network
    if not signal.slo:
        raise InputError(f"model.slo.features: expected value for scans without an SLO; found {options.slo.features!r}")
    return _with_features(network, options.slo)


class Start(NamedTuple):
    """Codes that a new subject begins with: init(key), apply(learned, context)."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, Any], Modulation]


def _learned_start(options: ConfigDict, signal: Signal, codes: Modulation) -> Start:
    """The same learned codes for everybody."""
    return Start(lambda key: codes, lambda learned, context: learned)


def _encoder_start(options: ConfigDict, signal: Signal, codes: Modulation) -> Start:
    """The learned codes, and on their grid what an encoder adds for this subject (networks/encoders.py)."""
    if "grid" not in codes or tuple(options.modulation.axes) != (0, 2) or signal.dimensions != 3:
        raise InputError(
            "model.start: expected learned where the modulation is no en-face grid of OCT; found 'encoder'"
        )
    levels, sizes = options.modulation.grid.levels, options.encoder.to_dict()
    init, encode = encoders.encoder(**sizes, levels=levels, intensities=signal.channels, side=signal.slo)

    def apply(learned: Params, context: Context) -> Modulation:
        own = {part: learned[part] for part in codes}
        return own | {"grid": jax.tree.map(jnp.add, own["grid"], encode(learned["encoder"], context))}

    return Start(lambda key: codes | {"encoder": init(key)}, apply)


STARTS: dict[str, Callable[[ConfigDict, Signal, Modulation], Start]] = {
    "learned": _learned_start,
    "encoder": _encoder_start,
}
