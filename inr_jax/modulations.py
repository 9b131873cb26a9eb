"""Modulations: what is adapted to one subject. Each kind has a zero and a way to be read at a place.

`vector`: one code for the whole subject. `grid`: codes on one or more grids over some of the axes, so that a place
reads the code of its neighbourhood (for OCT en face: none along depth). `lowrank`: one factor per layer of a low-rank
change of its matrix. `weights`: a full change of the shared weights, leaf by leaf; `encoding`: of what the encoding of
the coordinates has learned alone; `head`: of the intensity's map alone; `factors`: a low-rank change A m of each hidden
matrix, where A is shared and the subject's m begins at 0 (LoRA, Hu et al., ICLR 2022). `nuisance`: how each B-scan
moved, which no network reads: it acts in the measurement (operators/moved_bscan.py). Kinds combine: a modulation is a
dict from kind to arrays. The network turns the codes that are read here into shifts of its layers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.types import CHANGES, NUISANCE, Key, Modulation, Params

Levels = Sequence[Sequence[int]]  # per level: cells along each of its axes, then channels


def zero_vector(*, size: int) -> Float[Array, "m"]:
    return jnp.zeros(size)


def zero_grid(*, levels: Levels) -> dict[str, Array]:
    return {f"level_{i}": jnp.zeros(tuple(level)) for i, level in enumerate(levels)}


def zero_lowrank(*, rank: int, layers: int) -> Float[Array, "layers r"]:
    return jnp.zeros((layers, rank))


def zero_nuisance(*, bscans: int) -> dict[str, Array]:
    return {kind: jnp.zeros(bscans) for kind in ("axial", "tilt", "lateral", "gain")}


ZEROS: dict[str, Callable[..., Params]] = {
    "vector": zero_vector,
    "grid": zero_grid,
    "lowrank": zero_lowrank,
    NUISANCE: zero_nuisance,
}


def zero(parts: Sequence[str], options: Mapping[str, Any], *, layers: int) -> Modulation:
    """The modulation that changes nothing. options: per kind, the keywords of its zero."""
    extra = {"lowrank": {"layers": layers}}
    return {part: ZEROS[part](**options[part], **extra.get(part, {})) for part in parts if part in ZEROS}


def at_rest(modulation: Modulation) -> Modulation:
    """The same modulation, of a scan (or a table of them) that has not moved."""
    return modulation | {
        part: jax.tree.map(jnp.zeros_like, leaves) for part, leaves in modulation.items() if part == NUISANCE
    }


def codes_of(modulation: Modulation) -> Modulation:
    """The parts of a modulation that are codes."""
    return {part: value for part, value in modulation.items() if part not in CHANGES}


def size(modulation: Modulation) -> int:
    """How many numbers are adapted, the changes of the shared parameters left out."""
    return sum(leaf.size for leaf in jax.tree.leaves(codes_of(modulation)))


def no_change(field: Params, parts: Sequence[str]) -> Modulation:
    """Zeros for those of `parts` that change the shared parameters `field` (arrays or their shapes)."""
    whole = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), field)
    shared = whole.get("factors", {})
    factors = {
        layer: {name: jnp.zeros((a.shape[-1], whole[layer][name].shape[-1])) for name, a in matrices.items()}
        for layer, matrices in shared.items()
    }
    head = {name: leaf for name, leaf in whole.items() if name.startswith("intensity_")}
    changes = {"weights": whole, "encoding": whole.get("encoding", {}), "head": head, "factors": factors}
    return {part: changes[part] for part in parts if part in CHANGES}


def shared_factors(field: Params, *, rank: int, key: Key) -> dict[str, dict[str, Float[Array, "i r"]]]:
    """A of every hidden matrix [i, o] of a field: random columns of unit length on the average."""
    matrices = {
        layer: {name: leaf for name, leaf in leaves.items() if name.startswith("weight_")}
        for layer, leaves in field.items()
        if layer.startswith("layer_") and isinstance(leaves, Mapping)
    }
    leaves, structure = jax.tree.flatten(matrices)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, (w.shape[0], rank)) / w.shape[0] ** 0.5 for k, w in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def add_weights(field: Params, modulation: Modulation) -> Params:
    """The subject's own parameters: the shared ones, moved by those parts of the modulation that change them."""
    if "weights" in modulation:
        field = jax.tree.map(jnp.add, field, modulation["weights"])
    if "encoding" in modulation and "encoding" in field:
        field = field | {"encoding": jax.tree.map(jnp.add, field["encoding"], modulation["encoding"])}
    if "head" in modulation:
        field = field | {name: field[name] + change for name, change in modulation["head"].items()}
    for layer, changes in modulation.get("factors", {}).items():
        moved = {name: field[layer][name] + field["factors"][layer][name] @ m for name, m in changes.items()}
        field = field | {layer: field[layer] | moved}
    return field


def _place(coords: Float[Array, "*n a"], cells: Sequence[int]) -> Float[Array, "*n a"]:
    """Coordinates in [-1, 1] as positions in units of cells, the first cell's centre at 0."""
    counts = jnp.asarray(cells, coords.dtype)
    return 0.5 * (coords + 1) * counts - 0.5


def interpolate(grid: Float[Array, "*cells c"], place: Float[Array, "*n a"]) -> Float[Array, "*n c"]:
    """Multilinear interpolation at places in units of cells, constant beyond the outermost ones' centres."""
    cells = grid.shape[:-1]
    upper = jnp.asarray(cells) - 1
    place = jnp.clip(place, 0, upper)
    low = jnp.minimum(jnp.floor(place).astype(jnp.int32), jnp.maximum(upper - 1, 0))
    part = place - low
    total = jnp.zeros((*place.shape[:-1], grid.shape[-1]), grid.dtype)
    for corner in range(2 ** len(cells)):
        bits = jnp.asarray([(corner >> axis) & 1 for axis in range(len(cells))])
        index = jnp.minimum(low + bits, upper)
        weight = jnp.prod(jnp.where(bits == 1, part, 1 - part), axis=-1, keepdims=True)
        total += weight * grid[tuple(jnp.moveaxis(index, -1, 0))]
    return total


def read_linear(grid: Float[Array, "*cells c"], coords: Float[Array, "*n a"]) -> Float[Array, "*n c"]:
    """`interpolate` at coordinates in [-1, 1], the outer faces of the outermost cells."""
    return interpolate(grid, _place(coords, grid.shape[:-1]))


def read_nearest(
    grid: Float[Array, "*cells c"], coords: Float[Array, "*n a"]
) -> tuple[Float[Array, "*n c"], Float[Array, "*n a"]]:
    """The code of the cell a place lies in, and where in it: in [-1, 1] (spatial functa, Bauer et al. 2023)."""
    cells = grid.shape[:-1]
    place = _place(coords, cells)
    index = jnp.clip(jnp.round(place).astype(jnp.int32), 0, jnp.asarray(cells) - 1)
    return grid[tuple(jnp.moveaxis(index, -1, 0))], 2 * (place - index)


def read_grid(
    levels: Mapping[str, Array], coords: Float[Array, "*n k"], *, axes: Sequence[int], read: str
) -> tuple[Float[Array, "*n c"], Float[Array, "*n l"]]:
    """Codes of all levels at the places, side by side, and (for `nearest`) the finest level's cell-local coordinates.

    axes: which of the k coordinates the grid spans. read: "linear" | "nearest".
    """
    places = coords[..., jnp.asarray(axes)]
    grids = [levels[name] for name in sorted(levels)]
    if read == "linear":
        return jnp.concatenate([read_linear(g, places) for g in grids], -1), places[..., :0]
    codes, local = zip(*(read_nearest(g, places) for g in grids), strict=True)
    return jnp.concatenate(codes, -1), local[-1]
