"""How a stage begins: the auto-decoder's mean code as the start, whitened codes, first step sizes by trial."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from inr_jax import gauge, measurements, population, rules
from inr_jax.measurements import Measurements
from inr_jax.model import Model
from inr_jax.population import State
from inr_jax.recipe import INNER, Stage, fresh_optimizer, subject_loss, subject_of
from inr_jax.types import CHANGES, Hyper, Key, Modulation, Params

# step sizes tried before the rule is learned: a wide net, since a gradient's scale depends on points, cells and depth
TRIED = tuple(10.0 ** (0.5 * i) for i in range(-4, 9))
TRIED_WEIGHTS = tuple(10.0 ** (0.5 * i) for i in range(-10, 1))
STILL = 1e-12
TRIED_ON = 8  # subjects: the sizes that suit two may overshoot for a third


def make_enter(
    config: ConfigDict, stage: Stage, before: Stage | None, model: Model, pools: measurements.Pools,
    grid: tuple[int, ...],
) -> Callable[[State, Measurements, Hyper], State]:  # fmt: skip
    """`enter(state, data, hyper)`: the state a stage begins with.

    A fresh optimiser; after the auto-decoder, its mean code as the start. The codes are whitened after it, or at the
    very beginning; before the first stage with an inner loop the first step sizes are tried. A model that a training
    starts from has been through this.
    """
    comes_from_decoder = before is not None and before.name == "autodecoder"
    from_nothing = before is None and not config.train.start_from
    has_codes = stage.name != "autodecoder" and (from_nothing or comes_from_decoder)
    first_inner = stage.name in INNER and (from_nothing or (before is not None and before.name not in INNER))

    @jax.jit
    def enter(state: State, data: Measurements, hyper: Hyper) -> State:
        if comes_from_decoder:
            mean = _mean_code(state.table, _learned(data, hyper) > 0)
            state = state._replace(params=state.params._replace(start=state.params.start | mean))
        if has_codes and config.train.whiten:
            state = whiten(config, stage, state, model, data, pools, grid, hyper)
        if first_inner and config.train.calibrate:
            rule = calibrate(config, stage, state, model, data, pools, grid, hyper)
            state = state._replace(params=state.params._replace(rule=rule))
        return fresh_optimizer(state, config)

    return enter


def _learned(data: Measurements, hyper: Hyper) -> Float[Array, "N"]:
    """1 for subjects that are learned from."""
    subjects = jnp.arange(data.scale.shape[0])
    return jnp.where((hyper.training_scans == 0) | (subjects < hyper.training_scans), 1.0, 0.0)


def _mean_code(table: Modulation, is_learned: Bool[Array, "N"]) -> Modulation:
    def mean(rows: Float[Array, "N *m"]) -> Float[Array, "*m"]:
        return rows.mean(0, where=is_learned.reshape(-1, *(1,) * (rows.ndim - 1)))

    return jax.tree.map(mean, table)


def _tried_on(data: Measurements, hyper: Hyper) -> Int[Array, "s"]:
    """The subjects that trials are made on: the first ones, again from the first where fewer are learned from."""
    subjects = data.scale.shape[0]
    learned = jnp.where(hyper.training_scans == 0, subjects, hyper.training_scans).astype(jnp.int32)
    return jnp.arange(min(TRIED_ON, subjects)) % learned


def whiten(
    config: ConfigDict, stage: Stage, state: State, model: Model,
    data: Measurements, pools: measurements.Pools, grid: tuple[int, ...], hyper: Hyper,
) -> State:  # fmt: skip
    """The same fields in codes whose channels all move an answer alike (or vary alike: train.whiten_by).

    `gauge`, at the start; its curvature over some subjects.
    """
    subjects = _tried_on(data, hyper)
    params, options = state.params, config.train[stage.name]

    def of_subject(i: Array, key: Key) -> Params:
        subject = subject_of(
            data, pools, grid, model, i, hyper, context=options.context, target=1, context_has_labels=False,
            learned=jax.tree.map(lambda rows: rows[i], state.table),
        )  # fmt: skip
        coords = subject.draw_context(key).coords

        def answer(codes: Modulation) -> Float[Array, "n"]:
            bound = subject.bind(params.field, model.learner.start(codes, subject.context), hyper)
            return bound(coords)["intensity"].mean(-1)

        return gauge.curvature(answer, params.start)

    keys = jax.random.split(jax.random.key(hyper.seed + 6), len(subjects))
    each = jax.lax.map(lambda one: of_subject(*one), (subjects, keys))
    curvatures = jax.tree.map(lambda a: a.mean(0), each)
    covariances = gauge.covariance(state.table, _learned(data, hyper))
    maps = gauge.maps(config.train.whiten_by, curvatures, covariances, config.train.whiten)
    field, start = model.change_gauge(params.field, maps), gauge.change(params.start, maps)
    return state._replace(params=params._replace(field=field, start=start), table=gauge.change(state.table, maps))


def calibrate(
    config: ConfigDict, stage: Stage, state: State, model: Model,
    data: Measurements, pools: measurements.Pools, grid: tuple[int, ...], hyper: Hyper,
) -> Params:  # fmt: skip
    """First step sizes by trial: for each array of codes in turn, what follows held still; then for the weights."""
    loss = subject_loss(config, stage, model, data, pools, grid, hyper)
    subjects = _tried_on(data, hyper)
    keys = jax.random.split(jax.random.key(hyper.seed + 2), len(subjects))
    untried = rules.step_sizes(state.params.rule)
    leaves, structure = jax.tree.flatten(untried)
    groups = _rule_groups(untried)

    def rule(sizes: Float[Array, "groups"]) -> Params:
        filled = [jnp.full_like(leaf, jnp.log(sizes[g])) for leaf, g in zip(leaves, groups, strict=True)]
        return state.params.rule | jax.tree.unflatten(structure, filled)

    def mean_loss(sizes: Float[Array, "groups"]) -> Array:
        params = state.params._replace(rule=rule(sizes))
        parts = population.as_parts(params, state.table)
        return jax.lax.map(lambda one: loss(parts, *one)[0], (subjects, keys)).mean()

    def choose(sizes: Float[Array, "groups"], group: Array) -> tuple[Float[Array, "groups"], None]:
        """The group's size with the least loss, put in its place."""
        trials = jax.vmap(sizes.at[group].set)(tried[group])
        found = jax.lax.map(mean_loss, trials)
        return trials[jnp.argmin(jnp.where(jnp.isnan(found), jnp.inf, found))], None

    tried = _tried_sizes(untried, max(groups) + 1)
    sizes, _ = jax.lax.scan(choose, jnp.full(len(tried), STILL), jnp.arange(len(tried)))
    return rule(sizes)


def _tried_sizes(rule: Params, groups: int) -> Float[Array, "groups t"]:
    """What is tried for every group: the last one is of the weights, where they move."""
    weights = np.resize(TRIED_WEIGHTS, len(TRIED))  # some twice
    rows = [weights if any(part in CHANGES for part in rule) and g == groups - 1 else TRIED for g in range(groups)]
    return jnp.asarray(np.array(rows, np.float32))


def _rule_groups(rule: Params) -> list[int]:
    """For every leaf of a rule the group it is calibrated in: each array of codes alone, then all else together."""
    parts = [place[0].key for place, _ in jax.tree_util.tree_leaves_with_path(rule)]
    codes = sum(part not in CHANGES for part in parts)
    order = iter(range(codes))
    return [codes if part in CHANGES else next(order) for part in parts]
