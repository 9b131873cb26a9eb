"""Folds by person."""

import pytest

from inr_jax.errors import InputError
from inr_jax.folds import deal_people


@pytest.mark.parametrize("count", [5, 7, 50])
def test_everyone_is_tested_once_and_folds_are_as_even_as_can_be(count: int) -> None:
    people = [f"p{i}" for i in range(count)]
    folds = deal_people(people * 2, 5, 0)
    assert sorted(person for fold in folds for person in fold) == sorted(people)
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_the_order_of_the_people_does_not_matter_and_the_seed_does() -> None:
    people = [f"p{i}" for i in range(20)]
    assert deal_people(people, 5, 3) == deal_people(people[::-1], 5, 3)
    assert deal_people(people, 5, 3) != deal_people(people, 5, 4)


def test_too_few_people_or_folds_are_refused() -> None:
    with pytest.raises(InputError, match="expected at least 5 people for 5 folds, found 4"):
        deal_people("abcd", 5, 0)
    with pytest.raises(InputError, match="folds: expected 2 or more, found 1"):
        deal_people("abcd", 1, 0)
