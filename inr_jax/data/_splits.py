"""Who is in which split. Splits are by person, always three, and never share one."""

import difflib
from collections.abc import Iterable, Sequence

import numpy as np

from inr_jax.errors import InputError

SPLITS = ("train", "validation", "test")


def split_number(split: str) -> int:
    """0, 1 or 2 for train, validation or test; InputError otherwise."""
    if split not in SPLITS:
        close = difflib.get_close_matches(split, SPLITS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, found {split}{hint}")
    return SPLITS.index(split)


def people_of_split(found: Iterable[str], people: Sequence, split: str, key: str) -> set[str]:
    """The people of one split: `people` are three shares, or three groups of names. `key` is the config's."""
    everyone = sorted(set(found))
    number = split_number(split)
    if len(people) != 3:
        raise InputError(f"{key}: expected three shares or three groups of names, found {len(people)}")
    if all(isinstance(part, float | int) for part in people):
        return set(by_shares(everyone, people, key)[number])
    return set(by_names(everyone, people, key)[number])


def by_shares(people: Sequence[str], shares: Sequence[float], key: str) -> list[list[str]]:
    """Deal people out by shares, the same way for the same people, at least one to each share."""
    if min(shares) <= 0 or not np.isclose(sum(shares), 1.0):
        raise InputError(f"{key}: expected positive shares that sum to 1, found {tuple(shares)}")
    if len(people) < len(shares):
        raise InputError(f"{key}: expected at least {len(shares)} people, found {len(people)}: {', '.join(people)}")
    order = np.random.default_rng(0).permutation(len(people))
    # Everyone gets one; whoever is furthest behind the share gets the next.
    counts = np.ones(len(shares), int)
    for _ in range(len(people) - len(shares)):
        counts[np.argmax(np.array(shares) * len(people) - counts)] += 1
    ends = np.cumsum(counts)
    return [[people[i] for i in order[end - count : end]] for count, end in zip(counts, ends, strict=True)]


def by_names(people: Sequence[str], groups: Sequence[Sequence[str]], key: str) -> list[list[str]]:
    """Named groups of people. Raises InputError for a person in two of them or not in the data, or an empty one."""
    named = [str(person) for group in groups for person in group]
    twice = sorted({person for person in named if named.count(person) > 1})
    if twice:
        raise InputError(f"{key}: expected everyone in one split, found twice: {', '.join(twice)}")
    absent = sorted(set(named) - set(people))
    if absent:
        raise InputError(f"{key}: expected people of the data ({', '.join(people)}), found {', '.join(absent)}")
    if not all(groups):
        raise InputError(f"{key}: expected three groups of people, found an empty one")
    return [[str(person) for person in group] for group in groups]
