"""Plans of sweeps: which variants of a config are trained, and which of them can be trained together.

An axis is a function sweep_<axis>() of a script (configs/ablations.py, or a user's own) that yields its settings:
{dotted key: value, ...}, or (word, {...}). A plan is the product of some axes times one change at a time of others.
Variants whose configs differ in nothing but numbers that reach the compiled program as arrays form a group.

No jax here.
"""

import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from inr_jax.config_script import flat, load_functions, wanted_elements
from inr_jax.errors import InputError

SHIPPED_AXES = "configs/ablations.py"
SEED = "train.seed"
PREFIX = "sweep_"  # of the functions that are axes
BASE = "base"  # the word for the config as it is, in an axis of labelled settings that has none for it
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", tuple: "a tuple"}

Axes = Mapping[str, Callable[[], Any]]  # by name, what yields an axis's settings


class Setting(NamedTuple):
    """One place on an axis."""

    word: str
    changes: dict[str, Any]  # dotted key -> value, in the type that the config has


class Variant(NamedTuple):
    """One training of a sweep."""

    name: str  # "0007", stable for a plan
    settings: dict[str, str]  # axis -> the word of what it is set to
    changes: dict[str, Any]  # dotted key -> value, of all axes


class Plan(NamedTuple):
    variants: tuple[Variant, ...]
    axes: dict[str, tuple[str, ...]]  # axis -> its words, in order
    reference: dict[str, str]  # axis -> the word of the base, or the first where the base is not run
    varied: dict[str, str]  # axis -> "product" | "one at a time"
    repeats: tuple[str, ...]  # axes that set the seed alone: repetitions of what the others set


def read_axes(script: str | Path | None = None) -> dict[str, Callable[[], Any]]:
    """The shipped axes by name, and those of a user's script beside them or in their place.

    Raises InputError for a script that is not there, does not run (so does calling an axis), or has no axis.
    """
    own = load_functions(script, PREFIX) if script else {}
    if script and not own:
        raise InputError(f"{script}: expected functions {PREFIX}<axis>() that yield settings; found none")
    return load_functions(SHIPPED_AXES, PREFIX) | own


def plan(config: ConfigDict, axes: Axes, sweep: Sequence[str] = (), one_at_a_time: Sequence[str] = ()) -> Plan:
    """The variants of a config: the product of the axes `sweep`, each with the base and one change at a time.

    A setting of `one_at_a_time` that equals the base is the base, and is run once. The last axis varies fastest.
    Raises InputError for axes or settings that cannot be planned.
    """
    names = _chosen(axes, {"--sweep": sweep, "--one-at-a-time": one_at_a_time})
    known = dict(flat(config.to_dict()))
    read = {name: _settings(known, name, axes[name](), with_base=name in one_at_a_time) for name in names}
    _check_apart(read)
    bases = {name: next((s for s in settings if _is_base(known, s)), settings[0]) for name, settings in read.items()}

    def one_change_at_a_time() -> Iterator[dict[str, Setting]]:
        still = {name: bases[name] for name in one_at_a_time}
        yield still
        for name in one_at_a_time:
            yield from (still | {name: setting} for setting in read[name] if setting is not bases[name])

    whole = (dict(zip(sweep, settings, strict=True)) for settings in itertools.product(*(read[n] for n in sweep)))
    pairs = itertools.product(whole, list(one_change_at_a_time()))
    return Plan(
        tuple(_variant(i, product | alone) for i, (product, alone) in enumerate(pairs)),
        {name: tuple(setting.word for setting in settings) for name, settings in read.items()},
        {name: bases[name].word for name in names},
        {name: "one at a time" if name in one_at_a_time else "product" for name in names},
        tuple(name for name in names if all(set(setting.changes) == {SEED} for setting in read[name])),
    )


def configured(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A config of its own with these changes (dotted key -> value); each keeps the type that the config has.

    Raises InputError for a key that there is not, and for a value of another type.
    """
    known = dict(flat(config.to_dict()))
    new = config.copy_and_resolve_references()
    new.update_from_flattened_dict({key: _typed(known, key, value) for key, value in changes.items()})
    return new


def group_of(config: ConfigDict) -> str:
    """What variants share that can be trained together: a digest of the config without its traced numbers."""
    static = {key: None if is_traced(key) else value for key, value in flat(config.to_dict())}
    return hashlib.sha256(json.dumps(static, sort_keys=True).encode()).hexdigest()[:12]


def groups(config: ConfigDict, variants: Iterable[Variant]) -> dict[str, tuple[Variant, ...]]:
    """The variants by group, in the order of their first ones."""
    found: dict[str, tuple[Variant, ...]] = {}
    for variant in variants:
        group = group_of(configured(config, variant.changes))
        found[group] = (*found.get(group, ()), variant)
    return found


def told(name: str, settings: Mapping[str, str]) -> str:
    """A variant in words: 0003 (width=64, seed=1)."""
    return f"{name} ({', '.join(f'{axis}={word}' for axis, word in settings.items())})"


def is_traced(key: str) -> bool:
    """Whether a config's key holds a number that reaches the compiled program as an array (inr_jax/types.py, Hyper).

    Of a stage's rates the values do; which parts have one is the program's own.
    """
    return key == SEED or key.startswith("hyper.") or (key.startswith("train.") and ".rates." in key)


def word_of(value: Any) -> str:
    """A config's value as a word: 30, 3e-05, on, wire, grid+weights, 8x6x16+16x32x8."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return "+".join("x".join(map(word_of, v)) if isinstance(v, tuple) else word_of(v) for v in value) or "none"
    return str(value)


def _chosen(axes: Axes, flags: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of the axes that the flags choose. Raises InputError for none, an unknown one, or one given twice."""
    names = [name for chosen in flags.values() for name in chosen]
    if not names:
        raise InputError(f"{', '.join(flags)}: expected axes to vary (of {', '.join(sorted(axes))}); found none")
    for flag, chosen in flags.items():
        for name in chosen:
            if name not in axes:
                hint = _did_you_mean(name, axes)
                raise InputError(f"{flag}: expected axes of {', '.join(sorted(axes))}; found {name!r}{hint}")
            if names.count(name) > 1:
                raise InputError(f"{flag}: expected every axis once; found {name} more than once")
    return names


def _settings(known: Mapping[str, Any], axis: str, found: Any, *, with_base: bool) -> list[Setting]:
    """The settings that an axis yields, their values typed, with one for the base before them if there shall be one.

    Raises InputError for anything but settings, for none, and for two that are the same.
    """
    pairs = [_labelled(known, axis, one) for one in _list(axis, found)]
    keys = list(dict.fromkeys(key for _, changes in pairs for key in changes))
    base = {key: known[key] for key in keys}
    if with_base and all(base | changes != base for _, changes in pairs):
        labelled = any(label is not None for label, _ in pairs)
        pairs = [(BASE if labelled else None, base), *pairs]
    settings = [Setting(word, changes) for word, (_, changes) in zip(_words(pairs), pairs, strict=True)]
    for one, other in itertools.combinations(settings, 2):
        if base | one.changes == base | other.changes:
            raise InputError(
                f"{PREFIX}{axis}: expected settings that differ; found {one.word} and {other.word}, which give the "
                "same config"
            )
        if one.word == other.word:
            raise InputError(
                f"{PREFIX}{axis}: expected a word of its own for every setting, as in (word, {{...}}); found "
                f"{one.word!r} twice"
            )
    return settings


def _list(axis: str, found: Any) -> list[Any]:
    """What an axis yields. Raises InputError where it does not, or nothing."""
    if isinstance(found, str | Mapping) or not isinstance(found, Iterable):
        raise InputError(f"{PREFIX}{axis}: expected a generator of settings; found {found!r}")
    if not (settings := list(found)):
        raise InputError(f"{PREFIX}{axis}: expected settings to be yielded; found none")
    return settings


def _labelled(known: Mapping[str, Any], axis: str, found: Any) -> tuple[str | None, dict[str, Any]]:
    """(label, changes) of {key: value} or (label, {key: value}), the values in the types that the config has."""
    is_pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str) and found[0]
    label, changes = found if is_pair else (None, found)
    is_dict = isinstance(changes, Mapping) and all(isinstance(key, str) for key in changes)
    if not is_dict or not (changes or label):
        raise InputError(f"{PREFIX}{axis}: expected {{key: value}} or (word, {{key: value}}); found {found!r}")
    try:
        return label, {key: _typed(known, key, value) for key, value in changes.items()}
    except InputError as error:
        raise InputError(f"{PREFIX}{axis}: {error}") from error


def _typed(known: Mapping[str, Any], key: str, value: Any) -> Any:
    """The value in the type that the config has for it: a whole number as a float where that is exact.

    known: dotted keys and values of the config. Raises InputError for an unknown key and for another type.
    """
    if key not in known:
        raise InputError(f"{key}: expected a key of the config; found no such key{_did_you_mean(key, known)}")
    old, new = known[key], _plain(value)
    if isinstance(old, float) and type(new) is int and float(new) == new:
        return float(new)
    if type(new) is not type(old):
        raise InputError(f"{key}: expected {KINDS[type(old)]}, as {old!r}; found {new!r}")
    if wanted := wanted_elements(old, new):
        raise InputError(f"{key}: expected {wanted}; found {new}")
    return new


def _plain(value: Any) -> Any:
    """Lists as tuples and NumPy's numbers as Python's, all the way down."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _words(pairs: Sequence[tuple[str | None, Mapping[str, Any]]]) -> list[str]:
    """Each setting's label; else its first value, or all of its values where the first ones are not unique."""
    firsts = [word_of(next(iter(changes.values()))) for label, changes in pairs if label is None]
    unique = len(set(firsts)) == len(firsts)

    def word(changes: Mapping[str, Any]) -> str:
        values = list(map(word_of, changes.values()))
        return values[0] if unique else ", ".join(values)

    return [word(changes) if label is None else label for label, changes in pairs]


def _is_base(known: Mapping[str, Any], setting: Setting) -> bool:
    return all(known[key] == value for key, value in setting.changes.items())


def _check_apart(settings: Mapping[str, Sequence[Setting]]) -> None:
    """Raises InputError for two axes that set the same key: neither's words would say what is trained."""
    keys = {axis: {key for setting in found for key in setting.changes} for axis, found in settings.items()}
    for one, other in itertools.combinations(keys, 2):
        if both := sorted(keys[one] & keys[other]):
            raise InputError(f"axes: expected different keys of {one} and {other}; found {', '.join(both)} in both")


def _variant(number: int, settings: Mapping[str, Setting]) -> Variant:
    changes = {key: value for setting in settings.values() for key, value in setting.changes.items()}
    return Variant(f"{number:04d}", {axis: setting.word for axis, setting in settings.items()}, changes)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
