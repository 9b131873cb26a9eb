"""What a training begins with: nothing, or all that another model has learned (train.start_from).

A clinic with few scans goes on from a model of many; a demo from the small one that comes with the package.
"""

import logging

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from inr_jax import coordinates, places, recipe, trained, workdir
from inr_jax.config_script import flat
from inr_jax.errors import InputError
from inr_jax.model import Model
from inr_jax.population import State
from inr_jax.trained import Trained
from inr_jax.types import Hyper, Population

log = logging.getLogger(__name__)
# what says which numbers there are to learn, and what they mean
SAME = ("model.", "rule.", "adapt.steps", "hyper.omega_first", "hyper.omega_last", "hyper.spread")
PACKAGED = {"phantom": "the small model of phantom eyes that comes with the package"}
FREE = ("model.block", "model.bfloat16", "model.kernel")  # of these, how it is computed


def find(config: ConfigDict, population: Population) -> Trained | None:
    """The model that a training on a population begins with; None: with nothing.

    Raises InputError if there is no such model, or it is one of other networks, codes or scans.
    """
    name = config.train.start_from
    if not name:
        return None
    try:
        found = trained.restore(places.model_folder(name))
    except InputError as error:
        raise InputError(f"train.start_from: {error}") from error
    if other := workdir.differences(_kept(found.config), _kept(config), apart=FREE):
        raise InputError(f"train.start_from: {name}: expected a model of this config's networks and codes; its {other}")
    found.check(population)
    log.info("going on from what the model %s has learned", name)
    return found


def _kept(config: ConfigDict) -> dict[str, object]:
    return {key: value for key, value in flat(workdir.plain(config)) if key.startswith(SAME)}


def told(config: ConfigDict) -> dict[str, str]:
    """What cards and reports say of where a training began; nothing of one that began with nothing."""
    name = config.train.start_from
    return {"Training": f"went on from {PACKAGED.get(name, name)}"} if name else {}


def half_extent(first: Trained | None, population: Population) -> Float[np.ndarray, "k"]:
    """Of the box [-1, 1], in mm: what a field has learned stays where it is."""
    if first is not None:
        return first.half
    return coordinates.half_extent(population.measured.shape, population.spacing)


def initial_state(
    first: Trained | None, config: ConfigDict, built: Model, subjects: int, hyper: Hyper | None = None
) -> State:
    """Step 0. With a first model: its field, start and rule, and codes of an auto-decoder that lie about its start."""
    state = recipe.initial_state(config, built, subjects, hyper)
    if first is None:
        return state
    params = jax.tree.map(jnp.asarray, first.params)
    about = {part: jax.tree.map(jnp.add, state.table[part], params.start[part]) for part in built.codes}
    return state._replace(params=params, table=state.table | about)
