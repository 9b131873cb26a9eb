"""Who is in which split, and how data sets are found."""

import pytest
from ml_collections import ConfigDict

from inr_jax.data import load, names
from inr_jax.data._files import match_subject
from inr_jax.data._splits import SPLITS, people_of_split
from inr_jax.errors import InputError

PEOPLE = [f"{i:02d}" for i in range(20)]


@pytest.mark.parametrize("count", [3, 4, 10, 20])
def test_shares_put_everyone_in_exactly_one_split(count: int) -> None:
    groups = [people_of_split(PEOPLE[:count] * 2, (0.6, 0.2, 0.2), split, "key") for split in SPLITS]
    assert sorted(person for group in groups for person in group) == PEOPLE[:count]
    assert min(map(len, groups)) >= 1


def test_shares_are_kept_and_do_not_depend_on_the_order() -> None:
    groups = [people_of_split(PEOPLE, (0.6, 0.2, 0.2), split, "key") for split in SPLITS]
    assert [len(group) for group in groups] == [12, 4, 4]
    assert groups == [people_of_split(PEOPLE[::-1], (0.6, 0.2, 0.2), split, "key") for split in SPLITS]


def test_named_groups_are_taken_as_named() -> None:
    assert people_of_split(PEOPLE, (("01", "02"), ("03",), ("04",)), "train", "key") == {"01", "02"}


@pytest.mark.parametrize(
    ("people", "split", "expected"),
    [
        ((("01",), ("01",), ("02",)), "test", "found twice: 01"),
        ((("01",), ("02",), ("99",)), "test", "found 99"),
        ((("01",), (), ("02",)), "test", "found an empty one"),
        ((0.5, 0.5), "test", "expected three shares or three groups"),
        ((0.5, 0.4, 0.2), "test", "shares that sum to 1"),
        ((0.5, 0.5, 0.0), "test", "positive shares"),
        ((0.6, 0.2, 0.2), "tests", r"found tests \(did you mean test\?\)"),
    ],
)
def test_a_wrong_split_is_one_line(people: tuple, split: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        people_of_split(PEOPLE, people, split, "key")


def test_two_people_are_too_few_for_three_splits() -> None:
    with pytest.raises(InputError, match="at least 3 people, found 2: a, b"):
        people_of_split(["a", "b", "a"], (0.6, 0.2, 0.2), "train", "key")


@pytest.mark.parametrize(("pattern", "expected"), [(r"eye(\d+)", "group 'person'"), ("(", "not a regular expression")])
def test_a_name_that_does_not_parse_is_named_with_file_and_pattern(pattern: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        match_subject(pattern, "eye7", "folder/eye7.nii")
    assert pattern in str(error.value)
    with pytest.raises(InputError, match=r"folder/x\.nii: name x does not match"):
        match_subject(r"eye(?P<person>\d+)", "x", "folder/x.nii")


def test_every_data_set_is_found_by_name_and_a_mistyped_one_is_hinted_at() -> None:
    assert names() == ["fundus", "interp_oct", "phantom_oct", "volumes"]
    with pytest.raises(InputError, match=r"data\.name: .*found fundsu \(did you mean fundus\?\)"):
        load(ConfigDict({"name": "fundsu"}), "train")
