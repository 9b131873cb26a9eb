"""The modulated SIREN: a code scales and shifts the sines of every layer but the first.

    h_0 = sin(omega (W_0 [encoding(x), side] + b_0))
    [phi_l, psi_l] = M_l m + c_l
    h_l = sin(omega phi_l (W_l h_{l-1} + b_l) + psi_l)
    heads = affine maps of h_{L-1}

Mehta et al., ICCV 2021, as INteRp-OCT has it (Kepp et al. 2025): the maps M_l are linear, phi has no "1 +".
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.activations import sin
from inr_jax.encodings import ENCODINGS
from inr_jax.modulations import add_weights
from inr_jax.networks.fields import INTENSITIES, check_names, encode, omegas, read_heads, uniform
from inr_jax.types import Hyper, Key, Modulation, Params, Values

FEW_INPUTS = 4  # a map of that few starts as a SIREN's first layer does


def zeros(key: Key, shape: tuple[int, ...]) -> Array:
    return jnp.zeros(shape)


def bound(fan_in: int, fan_out: int, omega: Array) -> float | Array:
    """Half-width of the uniform distribution that an affine map's weights start from."""
    return 1 / fan_in if fan_in <= FEW_INPUTS else jnp.sqrt(6 / max(fan_in, fan_out)) / omega


class Network(nn.Module):
    """See the module's docstring; options are those of `field`."""

    width: int
    depth: int
    encoding: str
    encoding_options: Mapping[str, Any]
    heads: Mapping[str, int]
    intensity: str
    dimensions: int

    @nn.compact
    def __call__(self, inputs: Array, vector: Float[Array, "m"], frequencies: Float[Array, "depth"]) -> Values:
        coords, side = inputs[..., : self.dimensions], inputs[..., self.dimensions :]
        h = jnp.concatenate([encode(self, self.encoding, self.encoding_options, coords), side], -1)
        for i, omega in enumerate(frequencies):
            u = self._affine(f"layer_{i}", h, self.width, omega)
            if i == 0:
                h = sin(omega * u)
                continue
            phi, psi = jnp.split(self._affine(f"modulation_{i}", vector, 2 * self.width, omega), 2)
            h = sin(omega * (phi * u) + psi)
        return read_heads(self, self.heads, self.intensity, h)

    def _affine(self, name: str, x: Array, size: int, omega: Array) -> Array:
        start = uniform(bound(x.shape[-1], size, omega))
        w = self.param(f"{name}_weight", start, (x.shape[-1], size))
        return x @ w + self.param(f"{name}_bias", zeros, (size,))


def change_gauge(field: Params, maps: Mapping[str, Params]) -> Params:
    """The field that answers codes c T as `field` answers c: as `fields.change_gauge`."""

    def read(name: str, weight: Array) -> Array:
        is_reader = name.startswith("modulation_") and name.endswith("_weight")
        return jnp.linalg.solve(maps["vector"], weight) if is_reader else weight

    return {name: read(name, leaf) if "_" in name else leaf for name, leaf in field.items()}


def field(
    *,
    width: int,
    depth: int,
    encoding: str,
    encodings: Mapping[str, Mapping[str, Any]],
    heads: Mapping[str, int],
    intensity: str,
    dimensions: int,
    sides: int,
) -> tuple[Callable[[Key, Modulation, Hyper], Params], Callable[[Params, Modulation, Array, Hyper], Values]]:
    """(init, apply) of a modulated SIREN; options as those of `fields.field`. The modulation is {"vector": [m]}.

    depth: layers with a sine. Raises InputError for an encoding or an intensity that does not exist.
    """
    check_names({"model.encoding": (encoding, ENCODINGS), "model.intensity": (intensity, INTENSITIES)})
    network = Network(width, depth, encoding, encodings[encoding], heads, intensity, dimensions)

    def init(key: Key, modulation: Modulation, hyper: Hyper) -> Params:
        places = jnp.zeros((1, dimensions + sides))
        return network.init(key, places, modulation["vector"], omegas(hyper, depth))["params"]

    def apply(params: Params, modulation: Modulation, inputs: Array, hyper: Hyper) -> Values:
        params = add_weights(params, modulation)
        return cast(Values, network.apply({"params": params}, inputs, modulation["vector"], omegas(hyper, depth)))

    return init, apply
