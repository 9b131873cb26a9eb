"""A field in layers: ordered surfaces en face, labels by where a depth lies among them, intensity in their coordinates.

    s_0 = r_0,   s_k = s_{k-1} + softplus(r_k)                  r: a small field over the en-face coordinates
    log p(layer k | z) = log(sigma((z - s_{k-1}) / w) - sigma((z - s_k) / w)),   p(outside | z) = the rest
    v(z) = 2/K sum_k clip((z - s_{k-1}) / (s_k - s_{k-1}), 0, 1) - 1 + min(z - s_0, 0) + max(z - s_K, 0)
    intensity, e = field(x, v),   p(lesion j) = exp e_j / (1 + sum_i exp e_i),   all else shares what is left

Layers cannot cross, whatever the codes are; the softness w is learned. Surfaces z = s_k are coordinates along depth,
v is -1 at the first and 1 at the last. Ordered surfaces by cumulative thicknesses: He et al., MICCAI 2019; cumulative
link: McCullagh, J. R. Stat. Soc. B 1980.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.modulations import add_weights, codes_of
from inr_jax.networks import fields
from inr_jax.types import Hyper, Key, Modulation, Params, Values

DEPTH = 1  # the coordinate along A-scans
TOP = -0.5  # where the first surface of a new field lies; all its layers are a unit thick together
THINNEST = 1e-4  # of a layer, in coordinates: what is divided by is more than rounding
SOFTNESS = 0.02  # of a new field's surfaces, in coordinates: a row or two
RARE = -4.0  # logit of a new field's lesions against all else


def ordered(r: Float[Array, "*n surfaces"]) -> Float[Array, "*n surfaces"]:
    """Surfaces from the first one's depth and what stands for the layers' thicknesses: each below the one before."""
    even = jnp.log(jnp.expm1(1 / (r.shape[-1] - 1)))  # softplus of it: an even share of the depth
    thickness = jax.nn.softplus(r[..., 1:] + even) + THINNEST
    return jnp.cumsum(jnp.concatenate([r[..., :1] + TOP, thickness], -1), -1)


def log_probabilities(
    z: Float[Array, "*n"], surfaces: Float[Array, "*n surfaces"], softness: Float[Array, ""]
) -> Float[Array, "*n classes"]:
    """Log-probabilities at depths z of what lies outside of all layers, and of each layer; they sum to 1.

    sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - exp(b - a)): exact in float32 far from every surface, too.
    """
    a = (z[..., None] - surfaces) / softness
    outside = jnp.logaddexp(jax.nn.log_sigmoid(-a[..., :1]), jax.nn.log_sigmoid(a[..., -1:]))
    share = jnp.log(-jnp.expm1(-jnp.diff(surfaces) / softness))
    between = jax.nn.log_sigmoid(a[..., :-1]) + jax.nn.log_sigmoid(-a[..., 1:]) + share
    return jnp.concatenate([outside, between], -1)


def layer_coordinate(z: Float[Array, "*n"], surfaces: Float[Array, "*n surfaces"]) -> Float[Array, "*n"]:
    """Depths as places among the surfaces: linear from -1 at the first to 1 at the last, even steps in between.

    Outside it goes on as the depth does.
    """
    parts = jnp.clip((z[..., None] - surfaces[..., :-1]) / jnp.diff(surfaces), 0, 1)
    beyond = jnp.minimum(z - surfaces[..., 0], 0) + jnp.maximum(z - surfaces[..., -1], 0)
    return 2 * parts.mean(-1) - 1 + beyond


def with_lesions(
    layers: Float[Array, "*n layers"], lesions: Float[Array, "*n lesions"], places: Sequence[int]
) -> Float[Array, "*n classes"]:
    """Log-probabilities of all classes, from those of the layers and logits of lesions; `places`: of the lesions."""
    rest = -jax.nn.softplus(jax.nn.logsumexp(lesions, -1, keepdims=True))
    found = jnp.concatenate([layers, lesions], -1) + rest
    others = [i for i in range(found.shape[-1]) if i not in places]
    order = [*others, *places]
    return found[..., jnp.asarray([order.index(i) for i in range(len(order))])]


def field(
    *, heads: dict[str, int], lesions: Sequence[int], sides: int, surfaces: dict[str, int], **body: Any
) -> tuple[Callable[[Key, Modulation, Hyper], Params], Callable[[Params, Modulation, Array, Hyper], Values]]:
    """(init, apply) of a field of labels: 0 is outside, the others layers by depth, but for the `lesions`.

    heads: as `fields.field` has them; `segmentation` says how many labels there are. body: its other options; surfaces:
    those in which the field of the surfaces differs. Values have `segmentation` as log-probabilities, and `surfaces`:
    coordinates along depth, the same for every point of an A-scan.
    """
    layers = heads["segmentation"] - 1 - len(lesions)
    others = {name: size for name, size in heads.items() if name != "segmentation"}
    asked = others | ({"lesions": len(lesions)} if lesions else {})
    begin, ask = fields.field(**body, heads=asked, sides=sides + 1)
    smooth = body | {"encoding": "identity"} | surfaces
    begin_surfaces, ask_surfaces = fields.field(**smooth, heads={"surfaces": layers + 1}, sides=sides)
    values = body["dimensions"] + sides

    def init(key: Key, modulation: Modulation, hyper: Hyper) -> Params:
        own = {
            "surfaces": begin_surfaces(jax.random.fold_in(key, 1), modulation, hyper),
            "log_softness": jnp.log(SOFTNESS),
        }
        return begin(key, modulation, hyper) | own

    def apply(params: Params, modulation: Modulation, inputs: Array, hyper: Hyper) -> Values:
        own, codes = add_weights(params, modulation), codes_of(modulation)
        z, en_face = inputs[..., DEPTH], inputs.at[..., DEPTH].set(0.0)
        found = ordered(ask_surfaces(own["surfaces"], codes, en_face, hyper)["surfaces"])
        place = layer_coordinate(z, found)[..., None]
        moved = jnp.concatenate([inputs[..., :values], place, inputs[..., values:]], -1)
        answers = ask(_body(own), codes, moved, hyper)
        labels = log_probabilities(z, found, jnp.exp(own["log_softness"]))
        if lesions:
            labels = with_lesions(labels, answers["lesions"] + RARE, lesions)
        return {name: answers[name] for name in others} | {"segmentation": labels, "surfaces": found}

    return init, apply


def _body(params: Mapping[str, Params]) -> Params:
    return {name: leaf for name, leaf in params.items() if name not in ("surfaces", "log_softness")}
