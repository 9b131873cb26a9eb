"""The stages of training: what each one's step is, and what happens between two.

autodecoder: one modulation per training subject and the field, together            (loss: decoder_loss)
encoder:     the start's encoder, from the codes that the auto-decoder found         (loss: encoder_loss)
rule:        step sizes and start, through the inner loop, field frozen              (loss: meta_loss)
joint:       all of them, through the inner loop                                     (loss: meta_loss)
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from inr_jax import guard, measurements, modulations, population, stage_checks, subjects, visits
from inr_jax.measurements import Measurements
from inr_jax.model import Model, hyper_of
from inr_jax.population import State, Subject
from inr_jax.types import Hyper, Key, MetaParams, Modulation, Params

INNER = ("rule", "joint")  # those through the inner loop
TOTALS = ("loss", "skipped")  # metrics that are summed over a dispatch


class Stage(NamedTuple):
    name: str
    first: int  # its first outer step
    end: int  # the step after its last
    learns: tuple[str, ...]
    hyper: Hyper


def stages(config: ConfigDict) -> tuple[Stage, ...]:
    """The stages in order; none where a model is a scan's own as a whole, so that there is nothing to learn before.

    Raises InputError for a stage or a part that does not exist, or for none where there are codes to learn.
    """
    result: list[Stage] = []
    for name in config.train.stages:
        stage_checks.check_stage(config, name)
        options = config.train[name]
        first = result[-1].end if result else 0
        rates = {f"rate_{part}": rate for part, rate in options.rates.items()}
        if options.steps:
            learns = tuple(options.rates)
            result.append(Stage(name, first, first + options.steps, learns, hyper_of(config, **rates)))
    stage_checks.check_training(config, [stage.name for stage in result])
    return tuple(result)


def initial_state(config: ConfigDict, model: Model, subjects: int, hyper: Hyper | None = None) -> State:
    """Step 0: fresh weights, and a table of small random codes. hyper: the config's own, or traced ones."""

    def made(hyper: Hyper) -> State:
        key_field, key_table = jax.random.split(jax.random.key(hyper.seed))
        leaves, structure = jax.tree.flatten(model.codes)
        keys = jax.random.split(key_table, len(leaves))
        table = [
            config.train.table_scale * jax.random.normal(k, (subjects, *leaf.shape))
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        params = model.init(key_field, hyper)
        still = modulations.at_rest(jax.tree.unflatten(structure, table))
        state = State(jnp.int32(0), params, still, (), guard.begin())
        return fresh_optimizer(state, config)

    return jax.jit(made)(hyper_of(config) if hyper is None else hyper)  # op by op it takes seconds to compile


def fresh_optimizer(state: State, config: ConfigDict) -> State:
    # Every stage starts Adam and its guard anew; the tree's shape is the same whatever is learned, so that any
    # checkpoint fits.
    optimizer = population.outer_optimizer(config.train.clip)
    parts = population.as_parts(state.params, state.table)
    return state._replace(optimizer=optimizer.init(parts), guard=guard.begin())


def subject_of(
    data: Measurements,
    pools: measurements.Pools,
    grid: tuple[int, ...],
    model: Model,
    i: Array,
    hyper: Hyper,
    *,
    context: int,
    target: int,
    context_has_labels: bool,
    learned: Modulation,
) -> Subject:
    """Subject i's context (measured voxels) and target (all voxels, labels) draws, and its binds.

    learned: the table's modulation of it. Where B-scans move, only the auto-decoder knows how those did that an
    adaptation does not see; it is their motion in which targets are scored, the field being asked where the eye is.
    """
    bind = subjects.make_bind(model.learner.bind, data, i, pools.context, grid, hyper)
    seen = context_has_labels and measurements.context_labels(
        data, i, pools.context, grid, hyper.context_labels, hyper.labelled_bscans
    )

    def draw(pool: Int[np.ndarray, "p"], count: int, labelled: Bool[Array, "d"] | bool) -> population.Draw:
        return lambda key: measurements.draw(data, i, pool, count, grid, key=key, labelled=labelled)

    return Subject(
        bind=bind,
        draw_context=draw(pools.context, context, seen),
        draw_target=draw(pools.target, target, measurements.labelled_bscans(grid, hyper.labelled_bscans)),
        bind_target=subjects.with_motion(bind, learned),
        context=measurements.context_of(data, i, pools.context, grid, hyper),
    )


def subject_loss(
    config: ConfigDict,
    stage: Stage,
    model: Model,
    data: Measurements,
    pools: measurements.Pools,
    grid: tuple[int, ...],
    hyper: Hyper,
) -> Callable[[dict[str, Params], Array, Key], tuple[Array, dict[str, Array]]]:
    """The loss of a visit (a subject, or one B-scan) in a stage: (parts, visit, key) -> (scalar, metrics)."""
    options = config.train[stage.name]

    def loss(parts: dict[str, Params], visit: Array, key: Key) -> tuple[Array, dict[str, Array]]:
        params = MetaParams(parts["field"], parts["start"], parts["rule"])
        if stage.name == "autodecoder":
            i, draw = visits.decoder_target(config, data, pools, grid, visit, hyper)
            own = jax.tree.map(lambda rows: rows[i], parts["table"])
            subject = subject_of(
                data, pools, grid, model, i, hyper, context=0, target=0, context_has_labels=False, learned=own
            )
            return population.decoder_loss(
                model.learner, params, own, subject._replace(draw_target=draw), hyper, key=key
            )
        if stage.name == "encoder":
            own = jax.tree.map(lambda rows: rows[visit], parts["table"])
            subject = subject_of(
                data, pools, grid, model, visit, hyper, context=0, target=0, context_has_labels=False, learned=own
            )
            return population.encoder_loss(model.learner, params, own, subject)
        subject = subject_of(
            data, pools, grid, model, visit, hyper, context=options.context, target=options.points,
            context_has_labels=config.adapt.labels, learned=jax.tree.map(lambda rows: rows[visit], parts["table"]),
        )  # fmt: skip
        return population.meta_loss(
            model.learner, params, subject, hyper, steps=config.adapt.steps, key=key,
            first_order=config.adapt.first_order, checkpoint=config.adapt.checkpoint,
        )  # fmt: skip

    return loss


def make_run(
    config: ConfigDict, stage: Stage, model: Model, pools: measurements.Pools, grid: tuple[int, ...]
) -> Callable[[State, Measurements, Hyper, Int[Array, ""]], tuple[State, dict[str, Float[Array, ""]]]]:
    """`run(state, data, hyper, count)`: that many outer steps in one dispatch, and the metrics of the last.

    Among the metrics are `loss_total` and `skipped_total`, the sums over all these steps.

    The count is traced, so that one compiled program serves every number of steps, to the same bits. Each step's key
    depends on the seed and the step alone. `hyper` is traced, too: other numbers need no other program, and a sweep
    can batch over them.
    """
    options = config.train[stage.name]
    optimizer = population.outer_optimizer(config.train.clip)

    @functools.partial(jax.jit, inline=True)  # traced once, for its shapes and in the loop
    def step(state: State, data: Measurements, hyper: Hyper) -> tuple[State, dict[str, Array]]:
        root = jax.random.key(hyper.seed + 1)
        pick, key = jax.random.split(jax.random.fold_in(root, state.step))
        done, subjects = state.step - stage.first, data.scale.shape[0]
        count = visits.visit_count(config, stage.name, pools, grid, subjects)
        batch = min(options.subjects, count)
        if visits.takes_whole_bscans(config, stage.name):
            visit = visits.visited(root, done, count, batch)
        else:
            visit = visits.chosen(pick, count, batch, hyper.training_scans)
        if config.train.schedule == "exponential":
            decay = visits.exponential(
                done, visits.epoch_length(config, stage.name, pools, grid, subjects), config.train.epoch_decay
            )
        else:
            decay = visits.cosine(done, stage.end - stage.first, options.warmup, config.train.final_rate)
        loss = subject_loss(config, stage, model, data, pools, grid, hyper)
        return population.batch_step(loss, state, visit, optimizer, stage.learns, hyper, decay, key, over=options.over)

    @jax.jit
    def run(state: State, data: Measurements, hyper: Hyper, count: Array) -> tuple[State, dict[str, Array]]:
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(step, state, data, hyper)[1])

        def one(_: Array, carry: tuple[State, dict[str, Array]]) -> tuple[State, dict[str, Array]]:
            state, metrics = step(carry[0], data, hyper)
            return state, metrics | {f"{name}_total": carry[1][f"{name}_total"] + metrics[name] for name in TOTALS}

        totals = {f"{name}_total": jnp.zeros_like(empty[name]) for name in TOTALS}
        return jax.lax.fori_loop(0, count, one, (state, empty | totals))

    return run


def in_place(run: Callable[..., tuple[State, dict[str, Array]]]) -> Callable[..., tuple[State, dict[str, Array]]]:
    """The same with the new state in the memory of the one that is given, which is gone after the call."""
    return jax.jit(run, donate_argnums=0)


def next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every


def next_due(config: ConfigDict, stage: Stage, step: int) -> int:
    """The step at which a stage's next dispatch ends: something is logged or saved there."""
    options = config.train
    every = (options.steps_per_dispatch, options.save_every, options.log_every)
    return min(stage.end, *(next_multiple(step, n) for n in every))
