"""The inner loops: `adapt` takes a few learned steps, `fit` many of an optimiser's. Both see only callables.

    m_0 = start,   m_{i+1}, s_{i+1} = rule.update(rule params, i, grad_m L_i(m_i), s_i, m_i)
    L_i(m) = loss(bind(field, m), batch_i) + prior mean (m - m_0)^2        (the prior over codes alone)

`draw(key)` gives a new batch of measurements at every step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from inr_jax.errors import InputError
from inr_jax.rules import Rule
from inr_jax.types import CHANGES, Batch, Context, Field, Hyper, Key, MetaParams, Modulation, Params

Loss = Callable[[Callable[..., Any], Batch, Hyper], tuple[Array, dict[str, Array]]]
Bind = Callable[[Params, Modulation, Hyper], Callable[..., Any]]
Draw = Callable[[Key], Batch]
Finish = Callable[[Params, Field, Modulation, Batch], Modulation]


def as_stepped(rule: Params, field: Field, modulation: Modulation, batch: Batch) -> Modulation:
    """The finish that leaves what the steps have found."""
    return modulation


def distance(codes: Modulation, origin: Modulation) -> Float[Array, ""] | float:
    """Mean square distance of codes, over their arrays; changes of the shared parameters do not count."""
    squares = [
        jnp.mean((a - b) ** 2)
        for part in codes
        if part not in CHANGES
        for a, b in zip(jax.tree.leaves(codes[part]), jax.tree.leaves(origin[part]), strict=True)
    ]
    return sum(squares) / max(len(squares), 1)


def adapt(
    loss: Loss,
    bind: Bind,
    params: MetaParams,
    draw: Draw,
    hyper: Hyper,
    *,
    start: Callable[[Params, Context | None], Modulation],
    rule: Rule,
    steps: int,
    key: Key,
    finish: Finish = as_stepped,
    context: Context | None = None,
    first_order: bool = False,
    checkpoint: bool = False,
) -> tuple[Modulation, Float[Array, "steps"]]:
    """A few learned steps from the start: the adapted modulation, and the loss before each step.

    Differentiable in `params`. context: what the start may look at. finish: what follows the last step, on a batch of
    its own. first_order stops the gradient of the inner gradient, never of the modulation. checkpoint: recompute each
    step on the way back (memory of one step instead of all).
    """

    def objective(modulation: Modulation, batch: Batch) -> Array:
        value = loss(bind(params.field, modulation, hyper), batch, hyper)[0]
        return value + hyper.prior * distance(modulation, origin)

    def step(carry: tuple[Modulation, Any], i: Array) -> tuple[tuple[Modulation, Any], Array]:
        modulation, state = carry
        value, gradient = jax.value_and_grad(objective)(modulation, draw(jax.random.fold_in(key, i)))
        if first_order:
            gradient = jax.lax.stop_gradient(gradient)
        return rule.update(params.rule, i, gradient, state, modulation), value

    origin = start(params.start, context)
    carry = (origin, rule.init(params.rule, origin))
    (modulation, _), losses = jax.lax.scan(jax.checkpoint(step) if checkpoint else step, carry, jnp.arange(steps))
    last = draw(jax.random.fold_in(key, steps))
    return finish(params.rule, bind(params.field, modulation, hyper), modulation, last), losses


class Fitting(NamedTuple):
    """A modulation that is fitted by epochs, and what it was at the end of its best one."""

    modulation: Modulation
    optimizer: Any
    best: Modulation
    least: Float[Array, ""]  # mean loss of the best epoch
    epoch: Int[Array, ""]  # how many are done


def begin_fitting(modulation: Modulation) -> Fitting:
    adam = optax.scale_by_adam().init(modulation)
    return Fitting(modulation, adam, modulation, jnp.asarray(jnp.inf), jnp.int32(0))


def fit_epoch(
    loss: Loss,
    bind: Bind,
    params: MetaParams,
    batch_of: Callable[[Array, Key], Batch],
    hyper: Hyper,
    fitting: Fitting,
    *,
    visits: int,
    rate: float,
    decay: float,
    key: Key,
) -> tuple[Fitting, Float[Array, ""]]:
    """One epoch of Adam on a modulation, the field frozen: each of `visits` batches once, in an order of its own.

    Returns the fit and the epoch's mean loss. The penalty is on the mean square of the codes. rate: Adam's, times
    `decay` after every epoch. INteRp-OCT, Kepp et al. 2025.
    """
    adam = optax.scale_by_adam()
    size = rate * jnp.asarray(decay) ** fitting.epoch
    order_key, draw_key = jax.random.split(jax.random.fold_in(key, fitting.epoch))

    def objective(modulation: Modulation, batch: Batch) -> Array:
        codes = [leaf for part, leaves in modulation.items() if part not in CHANGES for leaf in jax.tree.leaves(leaves)]
        value = loss(bind(params.field, modulation, hyper), batch, hyper)[0]
        return value + hyper.penalty * sum(jnp.mean(leaf**2) for leaf in codes) / max(len(codes), 1)

    def step(carry: tuple[Any, Any], visit: Array) -> tuple[tuple[Any, Any], Array]:
        batch = batch_of(visit, jax.random.fold_in(draw_key, visit))
        value, gradient = jax.value_and_grad(objective)(carry[0], batch)
        direction, state = adam.update(gradient, carry[1])
        return (jax.tree.map(lambda m, d: m - size * d, carry[0], direction), state), value

    order = jax.random.permutation(order_key, visits)
    (modulation, state), values = jax.lax.scan(step, (fitting.modulation, fitting.optimizer), order)
    mean = values.mean()
    before, now = (fitting.least, fitting.best), (mean, modulation)
    least, best = jax.tree.map(lambda new, old: jnp.where(mean < fitting.least, new, old), now, before)
    return Fitting(modulation, state, best, least, fitting.epoch + 1), mean


class Fit(NamedTuple):
    """Result of `fit`: weights and modulation at the best held-out loss, and the curves (NaN after the stop)."""

    field: Params
    modulation: Modulation
    steps: Array  # taken until the best
    losses: Float[Array, "checks"]  # mean training loss between two checks
    held_out: Float[Array, "checks"]


def fit(
    loss: Loss,
    bind: Bind,
    params: MetaParams,
    draw: Draw,
    hyper: Hyper,
    *,
    modulation: Modulation,
    optimizer: optax.GradientTransformation,
    moves: tuple[str, ...],
    steps: int,
    key: Key,
    held_out: Batch,
    check_every: int = 5,
    patience: int = 3,
) -> Fit:
    """Many optimiser steps on a modulation, or on the shared weights too, early-stopped on held-out points.

    moves: any of "modulation", "field". Every `check_every` steps the held-out loss is measured; after `patience`
    checks without a new best the fit stops and the best state is returned (the initial one counts). The penalty
    `hyper.penalty` draws the modulation to where it began.
    """
    unknown = set(moves) - {"modulation", "field"}
    if unknown or not moves:
        raise InputError(f"fit.moves: expected modulation and/or field; found {', '.join(moves) or 'nothing'}")
    origin = modulation
    whole = {"field": params.field, "modulation": modulation}

    def score(moving: dict[str, Params], batch: Batch) -> Array:
        state = whole | moving
        return loss(bind(state["field"], state["modulation"], hyper), batch, hyper)[0]

    def objective(moving: dict[str, Params], batch: Batch) -> Array:
        pairs = zip(*map(jax.tree.leaves, ((whole | moving)["modulation"], origin)), strict=True)
        squares = [jnp.mean((a - b) ** 2) for a, b in pairs]
        return score(moving, batch) + hyper.penalty * sum(squares) / max(len(squares), 1)

    def step(i: Array, carry: tuple[Any, Any]) -> tuple[tuple[Any, Any], Array]:
        moving, state = carry
        value, gradient = jax.value_and_grad(objective)(moving, draw(jax.random.fold_in(key, i)))
        updates, state = optimizer.update(gradient, state, moving)
        return (optax.apply_updates(moving, updates), state), value

    moving = {name: whole[name] for name in moves}
    best, taken, *curves = _early_stopped(
        step, lambda carry: score(carry[0], held_out), (moving, optimizer.init(moving)),
        steps=steps, check_every=check_every, patience=patience,
    )  # fmt: skip
    state = whole | best[0]
    return Fit(state["field"], state["modulation"], taken, *curves)


def _early_stopped(
    step: Callable[[Array, Any], tuple[Any, Array]],
    measure: Callable[[Any], Array],
    first: Any,
    *,
    steps: int,
    check_every: int,
    patience: int,
) -> tuple[Any, Array, Float[Array, "checks"], Float[Array, "checks"]]:
    """The state of the least measure among those seen at the checks, the steps it took, and both curves.

    step: (i, state) -> (state, value).
    """
    checks = -(-steps // check_every)

    def check(carry: tuple) -> tuple:
        n, current, best, (means, measures) = carry
        begin, end = n * check_every, jnp.minimum((n + 1) * check_every, steps)

        def one(i: Array, inner: tuple[Any, Array]) -> tuple[Any, Array]:
            state, value = step(i, inner[0])
            return state, inner[1] + value

        current, total = jax.lax.fori_loop(begin, end, one, (current, jnp.zeros_like(best[0])))
        now = measure(current)
        better = now < best[0]
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), (now, n + 1, current), best)
        return n + 1, current, best, (means.at[n].set(total / (end - begin)), measures.at[n].set(now))

    def unfinished(carry: tuple) -> Array:
        n, _, best, _ = carry
        return (n < checks) & (n - best[1] < patience)

    zero = jnp.zeros((), jnp.int32)
    empty = jnp.full((checks,), jnp.nan)
    carry = (zero, first, (measure(first), zero, first), (empty, empty))
    _, _, best, curves = jax.lax.while_loop(unfinished, check, carry)
    return best[2], jnp.minimum(best[1] * check_every, steps), *curves
