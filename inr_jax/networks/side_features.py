"""Features of the side image (the SLO of an OCT scan): what is seen round a place, not at it alone.

    h_0 = image,   h_l = gelu(W_l *_d h_{l-1} + b_l),   features = W_L *_d h_{L-1} + b_L

3 x 3 convolutions with the dilations d, the image's edge repeated (dilated convolutions: Yu & Koltun, ICLR 2016). The
last one starts at zero, so that a new field is the one without features.
"""

from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.errors import InputError
from inr_jax.types import Key, Params


class SideFeatures(nn.Module):
    """See the module's docstring."""

    channels: int
    dilations: Sequence[int]

    @nn.compact
    def __call__(self, image: Float[Array, "Y X"]) -> Float[Array, "Y X F"]:
        h = image[..., None]
        for i, dilation in enumerate(self.dilations):
            is_last = i == len(self.dilations) - 1
            convolution = nn.Conv(
                self.channels, (3, 3), kernel_dilation=dilation, padding="VALID", name=f"convolution_{i}",
                kernel_init=nn.initializers.zeros if is_last else nn.initializers.lecun_normal(),
            )  # fmt: skip
            h = convolution(jnp.pad(h, ((dilation, dilation), (dilation, dilation), (0, 0)), mode="edge"))
            h = h if is_last else nn.gelu(h)
        return h


def side_features(
    *, channels: int, dilations: Sequence[int]
) -> tuple[Callable[[Key], Params], Callable[[Params, Float[Array, "Y X"]], Float[Array, "Y X F"]]]:
    """(init, apply) of `channels` features for every pixel of an image whose values lie in [-1, 1] or so.

    Raises InputError where there is no channel, no convolution, or a dilation below 1.
    """
    if channels < 1:
        raise InputError(f"model.slo.channels: expected 1 or more; found {channels}")
    if not dilations or min(dilations) < 1:
        raise InputError(f"model.slo.dilations: expected one or more of 1 or more; found {tuple(dilations)}")
    network = SideFeatures(channels, tuple(dilations))

    def init(key: Key) -> Params:
        return network.init(key, jnp.zeros((3, 3)))["params"]

    def apply(params: Params, image: Float[Array, "Y X"]) -> Float[Array, "Y X F"]:
        return cast(Array, network.apply({"params": params}, image))

    return init, apply
