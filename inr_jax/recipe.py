"""The stages of training: what each one's step is, and what happens between two.

autodecoder: one modulation per training subject and the field, together            (loss: decoder_loss)
rule:        step sizes and start, through the inner loop, field frozen              (loss: meta_loss)
joint:       all of them, through the inner loop                                     (loss: meta_loss)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from inr_jax import measurements, population, visits
from inr_jax.errors import InputError
from inr_jax.measurements import Measurements
from inr_jax.model import Model, hyper_of
from inr_jax.population import State, Subject
from inr_jax.types import CHANGES, Hyper, Key, MetaParams, Params, Population

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
        if name not in ("autodecoder", "rule", "joint"):
            raise InputError(f"train.stages: expected autodecoder, rule or joint; found {name!r}")
        options = config.train[name]
        learns = tuple(options.rates)
        if unknown := set(learns) - set(population.PARTS):
            raise InputError(f"train.{name}.rates: expected {', '.join(population.PARTS)}; found {', '.join(unknown)}")
        visits.check(config, name)
        if options.over not in population.OVER:
            raise InputError(f"train.{name}.over: expected one of {', '.join(population.OVER)}; found {options.over!r}")
        for key, least in (("steps", 0), ("subjects", 1), ("points", 1), ("context", 1)):
            if key in options and options[key] < least:
                raise InputError(f"train.{name}.{key}: expected {least} or more; found {options[key]}")
        _check_scans(config, name)
        first = result[-1].end if result else 0
        rates = {f"rate_{part}": rate for part, rate in options.rates.items()}
        if options.steps:
            result.append(Stage(name, first, first + options.steps, learns, hyper_of(config, **rates)))
    if config.train.schedule not in ("cosine", "exponential"):
        raise InputError(f"train.schedule: expected cosine or exponential; found {config.train.schedule!r}")
    for key in ("steps_per_dispatch", "save_every", "log_every", "keep", "validation_scans"):
        if config.train[key] < 1:
            raise InputError(f"train.{key}: expected 1 or more; found {config.train[key]}")
    visits.check_stop(config, [stage.name for stage in result])
    parts = tuple(config.model.modulation.parts)
    if not result and parts != ("weights",):
        raise InputError(
            f"train.stages: expected at least one of autodecoder, rule, joint for a modulation of {', '.join(parts)} "
            "(none where it is weights alone: one network for each scan); found none"
        )
    if any(stage.name == "autodecoder" for stage in result) and all(part in CHANGES for part in parts):
        raise InputError(f"train.stages: expected codes for an auto-decoder; found {', '.join(parts)}")
    return tuple(result)


def _check_scans(config: ConfigDict, name: str) -> None:
    """Raises InputError where a stage cannot do with the first `hyper.training_scans`."""
    scans, least = config.hyper.training_scans, config.train[name].subjects
    if scans and visits.takes_whole_bscans(config, name):
        raise InputError(f"hyper.training_scans: expected 0 where train.{name}.draw is bscans; found {scans:g}")
    if scans and scans < least:
        raise InputError(
            f"hyper.training_scans: expected 0 or at least train.{name}.subjects, {least}; found {scans:g}"
        )


def check_people(config: ConfigDict, scans: Population) -> None:
    """Raises InputError where another person's SLO is asked for and there is no other person."""
    swapped = config.hyper.side_swapped
    if swapped not in (0.0, 1.0):
        raise InputError(f"hyper.side_swapped: expected 0.0 or 1.0; found {swapped:g}")
    if swapped and len(set(scans.people)) < 2:
        raise InputError("hyper.side_swapped: expected scans of two people or more to swap SLOs; found one person")


def initial_state(config: ConfigDict, model: Model, subjects: int, hyper: Hyper | None = None) -> State:
    """Step 0: fresh weights, and a table of small random codes. hyper: the config's own, or traced ones."""
    hyper = hyper_of(config) if hyper is None else hyper
    key_field, key_table = jax.random.split(jax.random.key(hyper.seed))
    leaves, structure = jax.tree.flatten(model.codes)
    keys = jax.random.split(key_table, len(leaves))
    table = [
        config.train.table_scale * jax.random.normal(k, (subjects, *leaf.shape))
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    params = model.init(key_field, hyper)
    return fresh_optimizer(State(jnp.int32(0), params, jax.tree.unflatten(structure, table), ()), config)


def fresh_optimizer(state: State, config: ConfigDict) -> State:
    # Every stage starts Adam anew; the tree's shape is the same whatever is learned, so that any checkpoint fits.
    optimizer = population.outer_optimizer(config.train.clip)
    return state._replace(optimizer=optimizer.init(population.as_parts(state.params, state.table)))


def subject_of(
    data: Measurements,
    pools: measurements.Pools,
    grid: tuple[int, ...],
    bind: Callable,
    i: Array,
    hyper: Hyper,
    *,
    context: int,
    target: int,
) -> Subject:
    """Subject i's context (measured voxels, no labels) and target (all voxels, labels) draws, and its bind."""
    side = measurements.side_of(data, i, hyper.side_swapped)

    def draw(pool: Int[np.ndarray, "p"], count: int, labelled: bool) -> population.Draw:
        return lambda key: measurements.draw(
            data, i, pool, count, grid, key=key, labelled=labelled, bscans=hyper.labelled_bscans
        )

    return Subject(
        bind=lambda field, modulation, hyper: bind(field, modulation, side, hyper),
        draw_context=draw(pools.context, context, False),
        draw_target=draw(pools.target, target, True),
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
            subject = subject_of(data, pools, grid, model.learner.bind, i, hyper, context=0, target=0)
            subject = subject._replace(draw_target=draw)
            modulation = jax.tree.map(lambda rows: rows[i], parts["table"])
            return population.decoder_loss(model.learner, params, modulation, subject, hyper, key=key)
        subject = subject_of(
            data, pools, grid, model.learner.bind, visit, hyper, context=options.context, target=options.points
        )
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
        return population.batch_step(
            loss, state, visit, optimizer, stage.learns, hyper, decay, key,
            over=options.over, skip_above=options.skip_above,
        )  # fmt: skip

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
