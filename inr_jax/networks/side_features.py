"""Features of the side image (the SLO of an OCT scan): what is seen round a place, not at it alone.

    h_0 = patches of the image,   h_l = gelu(W_l *_d h_{l-1} + b_l),   features = W_L *_d h_{L-1} + b_L

3 x 3 convolutions with the dilations d over square patches of pixels, each patch a cell whose channels are its pixels;
beyond the image its edge is repeated. The last one starts at zero, so that a new field is the one without features.
(Dilated convolutions: Yu & Koltun, ICLR 2016; patches as channels: Shi et al., CVPR 2016, turned round.)
"""

from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.errors import InputError
from inr_jax.types import Key, Params


def patches(image: Float[Array, "Y X"], size: int) -> Float[Array, "y x p"]:
    """Square patches of an image, the last ones filled up with its edge: [ceil(Y / size), ceil(X / size), size^2]."""
    filled = jnp.pad(image, [(0, -n % size) for n in image.shape], mode="edge")
    y, x = (n // size for n in filled.shape)
    return jnp.moveaxis(filled.reshape(y, size, x, size), 2, 1).reshape(y, x, size**2)


class SideFeatures(nn.Module):
    """See the module's docstring."""

    channels: int
    dilations: Sequence[int]
    patch: int

    @nn.compact
    def __call__(self, image: Float[Array, "Y X"]) -> Float[Array, "y x F"]:
        h = patches(image, self.patch)
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
    *, channels: int, dilations: Sequence[int], patch: int
) -> tuple[Callable[[Key], Params], Callable[[Params, Float[Array, "Y X"]], Float[Array, "y x F"]]]:
    """(init, apply) of `channels` features for every patch of an image whose values lie in [-1, 1] or so.

    patch: pixels along its sides. Raises InputError where there is no channel, no convolution, or a number below 1.
    """
    for key, value in {"channels": channels, "patch": patch}.items():
        if value < 1:
            raise InputError(f"model.slo.{key}: expected 1 or more; found {value}")
    if not dilations or min(dilations) < 1:
        raise InputError(f"model.slo.dilations: expected one or more of 1 or more; found {tuple(dilations)}")
    network = SideFeatures(channels, tuple(dilations), patch)

    def init(key: Key) -> Params:
        return network.init(key, jnp.zeros((3, 3)))["params"]

    def apply(params: Params, image: Float[Array, "Y X"]) -> Float[Array, "y x F"]:
        return cast(Array, network.apply({"params": params}, image))

    return init, apply
