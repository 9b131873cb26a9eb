"""The field: coordinates, side values and a modulation in; a dict of heads out. The only flax in the program.

    h_0 = [encoding(x), side]
    h_l = act_l(W_l h_{l-1} + b_l + shift_l(x)) (+ h_{l-1} where `residual`)
    heads = affine maps of h_L

The shift of a layer is what the modulation does to it: a linear map of the subject's vector (once per subject), of
the code its grid holds at x, and a low-rank change A_l diag(m_l) B_l of W_l. Spatial functa, Bauer et al. 2023;
functa, Dupont et al. 2022. Features of the side image (networks/side_features.py) shift the layers, too, by a linear
map. With vector = "input" the vector is a further input of the first layer and of no other,
with weights of its own in every branch of the activation: INteRp-OCT, Kepp et al. 2025.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.activations import ACTIVATIONS, Activation
from inr_jax.encodings import ENCODINGS
from inr_jax.errors import InputError
from inr_jax.modulations import add_weights, codes_of, read_grid
from inr_jax.networks.layer_kernels import FUSED, KERNELS, Affine
from inr_jax.types import Hyper, Key, Modulation, Params, Values

INTENSITY_START = 0.5  # the middle of the intensities' range: a new field answers grey
INTENSITIES: dict[str, Callable[[Array], Array]] = {
    "affine": lambda answer: answer + INTENSITY_START,
    "sigmoid": jax.nn.sigmoid,
}


# bounds that the weights which read a code of `size` numbers start in: as a layer's own, or as any other linear map's
CODE_BOUNDS: dict[str, Callable[[int, Array], Array | float]] = {
    "siren": lambda size, omega: jnp.sqrt(6 / size) / omega,
    "linear": lambda size, omega: size**-0.5,
}


def uniform(bound: float | Array) -> Callable[..., Array]:
    """An initialiser drawing from U(-bound, bound)."""
    return lambda key, shape: bound * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def omegas(hyper: Hyper, depth: int) -> Float[Array, "depth"]:
    """The frequency of every hidden layer: linear from the first to the last (MedFuncta, Friedrich et al. 2025)."""
    return jnp.linspace(hyper.omega_first, hyper.omega_last, depth)


def encode(
    module: nn.Module, name: str, options: Mapping[str, Any], coords: Float[Array, "*n k"]
) -> Float[Array, "*n f"]:
    """The encoded coordinates; what the encoding learns is `module`'s parameter `encoding`."""
    encoding = ENCODINGS[name]
    return encoding.apply(module.param("encoding", encoding.init, coords.shape[-1], **options), coords, **options)


def read_heads(module: nn.Module, heads: Mapping[str, int], intensity: str, h: Float[Array, "*n w"]) -> Values:
    """Every head's affine map of the last hidden layer; `intensity` of INTENSITIES over that of the same name.

    A head `hidden` is that layer itself.
    """
    bound = uniform(h.shape[-1] ** -0.5)

    def answer(name: str, size: int) -> Array:
        w = module.param(f"{name}_weight", bound, (h.shape[-1], size))
        out = h @ w + module.param(f"{name}_bias", bound, (size,))
        return INTENSITIES[intensity](out) if name == "intensity" else out

    return {name: h if name == "hidden" else answer(name, size) for name, size in heads.items()}


def check_names(names: Mapping[str, tuple[str, Collection[str]]]) -> None:
    """Raises InputError for a value that does not exist. names: key -> (value, the known ones)."""
    for key, (value, known) in names.items():
        if value not in known:
            raise InputError(f"{key}: expected one of {', '.join(sorted(known))}; found {value!r}")


class Layer(nn.Module):
    """One hidden layer: an activation of its affine maps, shifted by the modulation.

    latent: a code that is a further input, the same at all points: its product is taken once, not per point. around:
    features of the side image round every point; they shift the layer as a code does.
    """

    width: int
    activation: Activation
    first: bool
    bfloat16: bool
    kernel: str
    code_start: str

    @nn.compact
    def __call__(
        self,
        x: Array,
        codes: Sequence[Array],
        factor: Array | None,
        latent: Array | None,
        omega: Array,
        spread: Array,
        around: Array | None,
    ) -> Array:
        fan_in = x.shape[-1] + (0 if latent is None else latent.shape[-1])
        weight = uniform(self.activation.weight_bound(fan_in, self.first, omega))
        bias = uniform(self.activation.bias_bound(fan_in, self.first, omega))
        shift = self._shift(x, codes, factor, omega)
        branches = [
            Affine(
                self.param(f"weight_{b}", weight, (x.shape[-1], self.width)),
                self._latent(b, latent, weight),
                self.param(f"bias_{b}", bias, (self.width,)),
            )
            for b in range(self.activation.branches)
        ]
        if around is not None:  # drawn last: the other weights are those of a field without features
            bound = jnp.sqrt(6 / around.shape[-1]) / omega
            shift.append((around, self.param("around", uniform(bound), (around.shape[-1], self.width))))
        # coordinates enter the first layer: they stay float32, and its product is small
        compute, low = KERNELS["xla" if self.first else self.kernel], self.bfloat16 and not self.first
        return compute(x, branches, shift, self.activation, omega, spread, low)

    def _latent(self, branch: int, latent: Array | None, weight: Callable) -> Array | float:
        """A branch's map of the latent, the same at every point."""
        if latent is None:
            return 0.0
        return latent @ self.param(f"latent_{branch}", weight, (latent.shape[-1], self.width))

    def _shift(self, x: Array, codes: Sequence[Array], factor: Array | None, omega: Array) -> list[tuple[Array, Array]]:
        """What is added to the pre-activation: the subject's codes (and low-rank factor), each with its weights."""
        shift = []
        for i, code in enumerate(codes):
            bound = CODE_BOUNDS[self.code_start](code.shape[-1], omega)
            shift.append((code, self.param(f"code_{i}", uniform(bound), (code.shape[-1], self.width))))
        if factor is not None:
            down = self.param("low_in", uniform(x.shape[-1] ** -0.5), (x.shape[-1], factor.shape[-1]))
            up = self.param("low_out", uniform(factor.shape[-1] ** -0.5 / omega), (factor.shape[-1], self.width))
            shift.append(((x @ down) * factor, up))
        return shift


class Network(nn.Module):
    """See the module's docstring; options are those of `field`."""

    width: int
    depth: int
    activation: str
    encoding: str
    encoding_options: Mapping[str, Any]
    residual: bool
    inputs_everywhere: bool
    axes: Sequence[int]
    read: str
    vector: str
    heads: Mapping[str, int]
    intensity: str
    dimensions: int
    bfloat16: bool
    features: int
    kernel: str
    code_start: str

    @nn.compact
    def __call__(self, inputs: Array, modulation: Modulation, frequencies: Array, spread: Array) -> Values:
        values = inputs.shape[-1] - self.features
        coords, side = inputs[..., : self.dimensions], inputs[..., self.dimensions : values]
        latent = modulation.get("vector") if self.vector == "input" else None
        codes = [modulation["vector"]] if "vector" in modulation and latent is None else []
        local = coords[..., :0]
        if "grid" in modulation:
            code, local = read_grid(modulation["grid"], coords, axes=self.axes, read=self.read)
            codes.append(code)
        around = inputs[..., values:] if self.features else None
        entry = jnp.concatenate([encode(self, self.encoding, self.encoding_options, coords), local, side], -1)
        factors = modulation.get("lowrank")
        h = entry
        for i in range(self.depth):
            x = jnp.concatenate([entry, h], -1) if self.inputs_everywhere and i else h
            activation = ACTIVATIONS[self.activation]
            layer = Layer(
                self.width, activation, i == 0, self.bfloat16, self.kernel, self.code_start, name=f"layer_{i}"
            )
            out = layer(
                x, codes, None if factors is None else factors[i], None if i else latent, frequencies[i], spread, around
            )
            h = out + h if self.residual and i else out
        return read_heads(self, self.heads, self.intensity, h)


def change_gauge(field: Params, maps: Mapping[str, Params]) -> Params:
    """The field that answers codes c T as `field` answers c: the weights W that read a code become T^-1 W.

    maps: T [c, c] of every array of codes, in the structure of the modulation (inr_jax/gauge.py).
    """
    is_input = any(name.startswith("latent_") for name in field["layer_0"])
    blocks = [maps["vector"]] if "vector" in maps and not is_input else []
    if "grid" in maps:
        blocks.append(jax.scipy.linalg.block_diag(*(maps["grid"][level] for level in sorted(maps["grid"]))))

    def read(path: tuple, weight: Array) -> Array:
        name = path[-1].key
        if name.startswith("latent_"):
            return jnp.linalg.solve(maps["vector"], weight)
        return jnp.linalg.solve(blocks[int(name[5:])], weight) if name.startswith("code_") else weight

    return jax.tree_util.tree_map_with_path(read, field)


def _check(
    activation: str, encoding: str, read: str, code_start: str, vector: str, intensity: str, kernel: str
) -> None:
    """InputError for a name that there is not, or a kernel that does not know the activation."""
    check_names(
        {
            "model.activation": (activation, ACTIVATIONS),
            "model.encoding": (encoding, ENCODINGS),
            "model.modulation.read": (read, ("linear", "nearest")),
            "model.modulation.vector_enters": (vector, ("shift", "input")),
            "model.modulation.code_start": (code_start, CODE_BOUNDS),
            "model.intensity": (intensity, INTENSITIES),
            "model.kernel": (kernel, KERNELS),
        }
    )
    if kernel == "fused" and activation not in FUSED:
        raise InputError(
            f"model.kernel: expected xla for the activation {activation} (fused: {', '.join(FUSED)}); found fused"
        )


def field(
    *,
    width: int,
    depth: int,
    activation: str,
    encoding: str,
    encodings: Mapping[str, Mapping[str, Any]],
    residual: bool,
    inputs_everywhere: bool,
    axes: Sequence[int],
    read: str,
    heads: Mapping[str, int],
    dimensions: int,
    sides: int,
    bfloat16: bool,
    kernel: str = "xla",
    code_start: str = "siren",
    vector: str = "shift",
    intensity: str = "affine",
    features: int = 0,
) -> tuple[Callable[[Key, Modulation, Hyper], Params], Callable[[Params, Modulation, Array, Hyper], Values]]:
    """(init, apply) of a field over `dimensions` coordinates, `sides` side values and as many `features` behind them.

    heads: name -> channels; `intensity` answers around 0.5 ("affine") or in (0, 1) ("sigmoid"), as the option of this
    name says; `segmentation` gives logits, `spread` what a likelihood is told of its width (losses.py).
    inputs_everywhere: the encoded coordinates enter every layer. encodings: options by encoding. axes, read: of a grid
    modulation (modulations.read_grid). vector: a vector modulation is a "shift" of every layer or an "input" of the
    first. kernel: of the hidden layers (layer_kernels.KERNELS). code_start: one of CODE_BOUNDS.
    Raises InputError for an activation, an encoding, or a way to read, to enter or to start that does not exist.
    """
    _check(activation, encoding, read, code_start, vector, intensity, kernel)
    network = Network(
        width, depth, activation, encoding, encodings[encoding], residual, inputs_everywhere,
        tuple(axes), read, vector, heads, intensity, dimensions, bfloat16, features, kernel, code_start,
    )  # fmt: skip

    def init(key: Key, modulation: Modulation, hyper: Hyper) -> Params:
        places = jnp.zeros((1, dimensions + sides + features))
        return network.init(key, places, modulation, omegas(hyper, depth), hyper.spread)["params"]

    def apply(params: Params, modulation: Modulation, inputs: Array, hyper: Hyper) -> Values:
        params = add_weights(params, modulation)
        values = network.apply({"params": params}, inputs, codes_of(modulation), omegas(hyper, depth), hyper.spread)
        return cast(Values, values)

    return init, apply
