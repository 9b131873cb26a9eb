"""The outer loops over a population: steps of the auto-decoder, the encoder and meta-learning. They see callables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from inr_jax import guard
from inr_jax.adaptation import Bind, Draw, Finish, Loss, adapt, as_stepped
from inr_jax.guard import Guard
from inr_jax.rules import Rule
from inr_jax.types import Context, Hyper, Key, MetaParams, Modulation, Params


class Learner(NamedTuple):
    """What a population is learned with."""

    bind: Callable[..., Callable[..., Any]]  # (field, modulation, side, hyper) -> Field
    start: Callable[[Params, Context | None], Modulation]
    rule: Rule
    inner_loss: Loss
    outer_loss: Loss
    finish: Finish = as_stepped


class Subject(NamedTuple):
    """One subject as the loops see it: its bind, and how its measurements and its answers are drawn."""

    bind: Bind  # (field, modulation, hyper) -> Field, as the context shows it
    draw_context: Draw
    draw_target: Draw
    bind_target: Bind  # as the target shows it
    context: Context | None = None  # what a start may look at


class State(NamedTuple):
    """All that training changes. `table` holds one modulation per training subject (the auto-decoder's)."""

    step: Int[Array, ""]
    params: MetaParams
    table: Modulation
    optimizer: Any
    guard: Guard


PARTS = ("field", "start", "rule", "table")


def outer_optimizer(clip: float) -> optax.GradientTransformation:
    """Adam with a gradient clip of its own for every part (0: none); rates, of `Hyper`, come in `apply_gradients`."""
    each = optax.chain(optax.clip_by_global_norm(clip) if clip else optax.identity(), optax.scale_by_adam())

    def name(part: str, leaves: Params) -> Params:
        return jax.tree.map(lambda _: part, leaves)

    return optax.multi_transform(
        dict.fromkeys(PARTS, each), lambda tree: {part: name(part, tree[part]) for part in PARTS}
    )


def as_parts(params: MetaParams, table: Modulation) -> dict[str, Params]:
    return {**params._asdict(), "table": table}


def apply_gradients(
    state: State,
    gradient: dict[str, Params],
    optimizer: optax.GradientTransformation,
    hyper: Hyper,
    decay: Array,
) -> State:
    """One outer update: every part by its own rate, times the schedule's `decay` of this step.

    A part with zero gradient and fresh Adam moments stays as it is: Adam's update of it is 0.
    """
    parts = as_parts(state.params, state.table)
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, parts)
    rates = {part: getattr(hyper, f"rate_{part}") * decay for part in PARTS}
    scaled = {part: jax.tree.map(lambda u, r=rates[part]: -r * u, updates[part]) for part in PARTS}
    parts = optax.apply_updates(parts, scaled)
    params = MetaParams(parts["field"], parts["start"], parts["rule"])
    return State(state.step + 1, params, parts["table"], optimizer_state, state.guard)


def meta_loss(
    learner: Learner,
    params: MetaParams,
    subject: Subject,
    hyper: Hyper,
    *,
    steps: int,
    key: Key,
    **options: bool,
) -> tuple[Array, dict[str, Array]]:
    """Adapt on the context, score on the target: the outer loss of one subject, and what it reports."""
    inner, outer = jax.random.split(key)
    modulation, losses = adapt(
        learner.inner_loss, subject.bind, params, subject.draw_context, hyper,
        start=learner.start, rule=learner.rule, steps=steps, key=inner,
        finish=learner.finish, context=subject.context, **options,
    )  # fmt: skip
    value, metrics = learner.outer_loss(
        subject.bind_target(params.field, modulation, hyper), subject.draw_target(outer), hyper
    )
    inner = {"inner_first": losses[0], "inner_last": losses[-1]} if steps else {}
    return value, metrics | inner


def decoder_loss(
    learner: Learner, params: MetaParams, modulation: Modulation, subject: Subject, hyper: Hyper, *, key: Key
) -> tuple[Array, dict[str, Array]]:
    """The outer loss of one subject's own modulation, plus the penalty on its mean square (Park et al., CVPR 2019)."""
    field = subject.bind(params.field, modulation, hyper)
    value, metrics = learner.outer_loss(field, subject.draw_target(key), hyper)
    leaves = jax.tree.leaves(modulation)
    return value + hyper.penalty * sum(jnp.mean(leaf**2) for leaf in leaves) / len(leaves), metrics


def encoder_loss(
    learner: Learner, params: MetaParams, modulation: Modulation, subject: Subject
) -> tuple[Array, dict[str, Array]]:
    """Mean squared distance of a subject's start from its own codes: an encoder learns from the auto-decoder's table.

    In whitened codes (inr_jax/gauge.py) every channel counts by what it moves an answer.
    """
    found = learner.start(params.start, subject.context)
    pairs = zip(
        *(jax.tree.leaves({part: tree[part] for part in modulation}) for tree in (found, modulation)), strict=True
    )
    value = sum(((a - b) ** 2).sum() for a, b in pairs) / sum(leaf.size for leaf in jax.tree.leaves(modulation))
    return value, {"mse_codes": value}


OVER: dict[str, Callable[..., Any]] = {"vmap": lambda f, xs: jax.vmap(f)(xs), "map": jax.lax.map}


def batch_step(
    loss: Callable[[dict[str, Params], Array, Key], tuple[Array, dict[str, Array]]],
    state: State,
    subjects: Int[Array, "b"],
    optimizer: optax.GradientTransformation,
    learns: tuple[str, ...],
    hyper: Hyper,
    decay: Array,
    key: Key,
    *,
    over: str = "vmap",
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One outer step on the mean loss over a batch of subjects; the only place that loops over subjects.

    loss(parts, subject index, key) -> (scalar, metrics). Only the parts in `learns` are differentiated.
    over: "vmap", all subjects at once, or "map", one after the other (to the same numbers up to rounding).
    A gradient more than `hyper.skip_ratio` times as long as those before, or one that is not finite, moves nothing
    (guard.py); `skipped` and `skipped_in_row` tell. Inner steps that overshoot for one subject give such gradients,
    whose directions mean nothing.
    """
    parts = as_parts(state.params, state.table)
    each = OVER[over]

    def mean_loss(moving: dict[str, Params]) -> tuple[Array, dict[str, Array]]:
        keys = jax.random.split(key, subjects.shape[0])
        values, metrics = each(lambda one: loss(parts | moving, *one), (subjects, keys))
        return values.mean(), jax.tree.map(jnp.mean, metrics)

    moving = {part: parts[part] for part in learns}
    (value, metrics), gradient = jax.value_and_grad(mean_loss, has_aux=True)(moving)
    still = {part: jax.tree.map(jnp.zeros_like, parts[part]) for part in PARTS if part not in learns}
    norm = optax.global_norm(gradient)
    taken, known = guard.judge(state.guard, norm, hyper.skip_ratio)
    moved = apply_gradients(state, gradient | still, optimizer, hyper, decay)
    state = jax.tree.map(lambda new, old: jnp.where(taken, new, old), moved, state._replace(step=moved.step))
    told = {"loss": value, "gradient_norm": norm, "skipped": 1.0 - taken, "skipped_in_row": known.row.astype(float)}
    return state._replace(guard=known), metrics | told
