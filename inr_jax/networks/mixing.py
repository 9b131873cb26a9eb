"""Mixing: before a step is taken, the steps of a grid's cells speak to each other. One network for each level.

    conv        s + K * s                           a small convolution over cells, from all channels to all
    attention   s + rms(s) O(attention(s / rms(s) + place))

What is seen at one cell so moves its neighbours: between measured B-scans there is nothing else that could. The last
factor of what is learned starts at 0: a rule begins as the one without mixing. All scale with s. Self-attention among
latents between inner steps is MetaLF's (van Herten et al., 2026).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.networks.fields import check_names
from inr_jax.types import Key, Params

SMALL = 1e-12  # a step of mean square below it counts as none


def _window(s: Float[Array, "*cells c"], cells: int) -> tuple[int, ...]:
    return (cells,) * (s.ndim - 1)


class Convolution(nn.Module):
    """cells: width of the kernel along each axis."""

    cells: int

    @nn.compact
    def __call__(self, s: Float[Array, "*cells c"]) -> Float[Array, "*cells c"]:
        fan_in = s.shape[-1] * self.cells ** (s.ndim - 1)
        mix = nn.Conv(s.shape[-1], _window(s, self.cells), use_bias=False, kernel_init=nn.initializers.zeros)
        # the rule's rate is one for log step sizes: divided, a kernel that moves by it moves a step by that share
        return s + mix(s) / jnp.sqrt(fan_in)


class Attention(nn.Module):
    """size: of queries, keys and values together, over all heads."""

    heads: int
    size: int

    @nn.compact
    def __call__(self, s: Float[Array, "*cells c"]) -> Float[Array, "*cells c"]:
        rms = jnp.sqrt(jnp.mean(s**2) + SMALL)
        place = self.param("place", nn.initializers.normal(1.0), s.shape)
        tokens = (s / rms + place).reshape(-1, s.shape[-1])
        attend = nn.MultiHeadDotProductAttention(
            self.heads, qkv_features=self.size, out_features=s.shape[-1], out_kernel_init=nn.initializers.zeros
        )
        return s + rms * attend(tokens).reshape(s.shape) / jnp.sqrt(self.size)


MIXERS: dict[str, type[nn.Module]] = {
    "conv": Convolution,
    "attention": Attention,
}


def mixer(
    name: str, options: Mapping[str, Mapping[str, Any]]
) -> tuple[Callable[[Key, Array], Params], Callable[[Params, Array], Array]]:
    """(init, apply) of one level's mixing of a step [*cells, c]. options: by name.

    Raises InputError for a mixing that does not exist.
    """
    check_names({"rule.mixing": (name, ("none", *MIXERS))})
    network = MIXERS[name](**options[name])

    def init(key: Key, step: Float[Array, "*cells c"]) -> Params:
        return network.init(key, step)["params"]

    def apply(params: Params, step: Float[Array, "*cells c"]) -> Float[Array, "*cells c"]:
        return cast(Array, network.apply({"params": params}, step))

    return init, apply
