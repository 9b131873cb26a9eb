"""LPIPS with AlexNet, from a file of weights that the user gives: none are shipped, none are fetched.

The file holds the state of `lpips.LPIPS(net="alex")` as .npz, under PyTorch's names:

    numpy.savez("lpips.npz", **{name: array.numpy() for name, array in lpips.LPIPS(net="alex").state_dict().items()})

Zhang et al., CVPR (2018) 586.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inr_jax.errors import InputError

CONVOLUTIONS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")
STRIDES, PADDING = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
POOLED = (False, True, True, False, False)  # 3 x 3 maxima at stride 2 before the convolution
SHIFT, SCALE = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])  # of red, green, blue
SMALLEST = 31  # pixels a side: less does not reach the last layer
Weights = list[tuple[Array, Array, Array]]  # per layer: kernel [out, in, h, w], bias [out], how much a channel counts


def load(path: str | Path, *, unit_range: bool = False) -> Callable[..., float]:
    """LPIPS of one slice, (prediction, truth [H, W, C] in [0, 1], valid [H, W] or None) -> float; 0 is best.

    Grey is repeated to three channels and [0, 1] mapped to [-1, 1], which the network expects (unit_range: it is not,
    as the reference does). Invalid pixels are set to the truth. nan for slices of less than 31 pixels a side. Raises
    InputError if the file cannot be read or is no AlexNet with linear weights.
    """
    weights = _read(Path(path))
    distance = jax.jit(lambda a, b: _distance(weights, a, b))

    def lpips(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
        if min(truth.shape[:2]) < SMALLEST:
            return float("nan")
        seen = prediction if valid is None else np.where(valid[..., None], prediction, truth)
        a, b = (np.broadcast_to(x, (*truth.shape[:2], 3)) for x in (seen, truth))
        return float(distance(a, b) if unit_range else distance(2 * a - 1, 2 * b - 1))

    return lpips


def _read(path: Path) -> Weights:
    names = [(f"net.{c}.weight", f"net.{c}.bias", f"lin{i}.model.1.weight") for i, c in enumerate(CONVOLUTIONS)]
    try:
        with np.load(path, allow_pickle=False) as file:
            layers = [tuple(file[name].astype(np.float32) for name in layer) for layer in names]
    except KeyError as error:
        raise InputError(f'{path}: expected the state of lpips.LPIPS(net="alex"); found no {error.args[0]}') from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "an empty file"
        raise InputError(f"{path}: expected an .npz of LPIPS weights; found {reason}") from error
    before = 3
    for (name, _, _), (kernel, bias, linear) in zip(names, layers, strict=True):
        out = kernel.shape[0] if kernel.ndim == 4 else 0
        if not out or kernel.shape[1] != before or bias.shape != (out,) or linear.shape != (1, out, 1, 1):
            raise InputError(f"{path}: {name}: expected [out, {before}, h, w]; found {kernel.shape}")
        before = out
    return [
        (jnp.asarray(kernel), jnp.asarray(bias), jnp.asarray(linear[0, :, 0, 0])) for kernel, bias, linear in layers
    ]


def _distance(weights: Weights, a: Float[Array, "H W 3"], b: Float[Array, "H W 3"]) -> Float[Array, ""]:
    """sum over layers of the mean over places of  sum_c w_c (f_c(a) / |f(a)| - f_c(b) / |f(b)|)^2."""
    x = jnp.moveaxis((jnp.stack([a, b]) - SHIFT) / SCALE, -1, 1)
    total = jnp.zeros(())
    for (kernel, bias, linear), stride, edge, pooled in zip(weights, STRIDES, PADDING, POOLED, strict=True):
        if pooled:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), "VALID")
        x = jax.lax.conv(jnp.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge))), kernel, (stride, stride), "VALID")
        x = jax.nn.relu(x + bias[:, None, None])
        unit = x / (jnp.sqrt((x**2).sum(axis=1, keepdims=True)) + 1e-10)
        total += jnp.einsum("c,chw->hw", linear, (unit[0] - unit[1]) ** 2).mean()
    return total
