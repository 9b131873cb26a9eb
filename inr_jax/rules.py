"""Rules: how a modulation moves in an inner step, and what of that is learned.

m <- m - mix_i(exp(log rate_i) g)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inr_jax.errors import InputError
from inr_jax.types import CHANGES, NUISANCE, Hyper, Modulation, Params

Mix = Callable[[Params, Modulation], Modulation]

BESIDES = ("mixing", "ridge")  # what a rule's parameters hold beside step sizes


class Rule(NamedTuple):
    """How a modulation moves: a pair of pure functions, as in optax."""

    init: Callable[[Params, Modulation], Any]  # (rule params, modulation) -> state
    update: Callable[..., tuple[Modulation, Any]]  # (rule params, step, gradient, state, modulation)


def step_size_starts(modulation: Modulation, hyper: Hyper) -> Modulation:
    """One step size per leaf: `step_size_weights` where the shared parameters change, `step_size` for codes."""

    def start(part: str, leaves: Params) -> Params:
        size = hyper.step_size_weights if part in CHANGES else hyper.step_size
        return jax.tree.map(lambda _: size, leaves)

    return {part: start(part, leaves) for part, leaves in modulation.items()}


def rule_params(modulation: Modulation, hyper: Hyper, *, steps: int, per: str, per_step: bool) -> Params:
    """Log step sizes: one per leaf, channel (a code's last axis) or element, the same at every step or one for each.

    per: "leaf" | "channel" | "element". Shapes: [steps or 1], and behind it [c] or the leaf's. Changes of the shared
    parameters have no channels: one step size per leaf. So has motion, whatever `per` is: scans differ in B-scans.
    """
    tails: dict[str, Callable[[str, Array], tuple[int, ...]]] = {
        "leaf": lambda part, leaf: (),
        "channel": lambda part, leaf: () if part in (*CHANGES, NUISANCE) else leaf.shape[-1:],
        "element": lambda part, leaf: () if part == NUISANCE else leaf.shape,
    }
    if per not in tails:
        raise InputError(f"rule.per: expected one of {', '.join(tails)}; found {per!r}")
    rows = steps if per_step else 1

    def log_rate(path: tuple, leaf: Array, start: Array) -> Array:
        return jnp.broadcast_to(jnp.log(start), (rows, *tails[per](path[0].key, leaf)))

    return jax.tree_util.tree_map_with_path(log_rate, modulation, step_size_starts(modulation, hyper))


def step_sizes(rule: Params) -> Modulation:
    """The parts of a rule's parameters that are log step sizes: all but what else it learns."""
    return {part: leaves for part, leaves in rule.items() if part not in BESIDES}


def gradient_rule(mix: Mix = lambda own, change: change, *, changes_from: int = 0) -> Rule:
    """m <- m - mix(exp(log rate) g). The n-th step beyond those a rule has rows for goes by the last row / (n + 1).

    Learned steps are as long as the few that there were allow: the last one, repeated, runs away. Steps that shrink as
    1 / n still come as far as they like, and new points at every step cancel (Robbins & Monro, Ann. Math. Stat. 1951).
    A rule of one row for all steps does not know how many it was learned for: it stays as it is.

    mix: (what `rule["mixing"]` holds for this step, change) -> change. changes_from: the first step at which the
    shared parameters change, too.
    """

    def update(rule: Params, step: Array, gradient: Modulation, state: Any, modulation: Modulation) -> Any:
        def of_step(rows: Float[Array, "steps *n"]) -> Float[Array, "*n"]:
            return rows[jnp.minimum(step, rows.shape[0] - 1)]

        def log_rate(rows: Float[Array, "steps *n"]) -> Float[Array, "*n"]:
            beyond = jnp.maximum(step - (rows.shape[0] - 1), 0) if rows.shape[0] > 1 else 0
            return of_step(rows) - jnp.log1p(beyond)

        def scaled(part: str, log_rates: Params) -> Params:
            waits = changes_from > 0 and part in CHANGES and step < changes_from
            return jax.tree.map(
                lambda rows, g: jnp.where(waits, 0.0, jnp.exp(log_rate(rows)) * g), log_rates, gradient[part]
            )

        change = {part: scaled(part, log_rates) for part, log_rates in step_sizes(rule).items()}
        change = mix(jax.tree.map(of_step, rule.get("mixing", {})), change)
        return jax.tree.map(jnp.subtract, modulation, change), state

    return Rule(init=lambda rule, modulation: (), update=update)
