"""The dimensions of the criteria: nothing is left out, and each reason is one of its own."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.criteria import catalogue
from tests.dimensions import DIMENSIONS, Dimensions, declared, load, matches

LEAST_CHARACTERS, MOST_CRITERIA = 20, 15
"""The least length of a reason, and the greatest number of criteria that it may stand for."""

CRITERIA = [one.id for one in catalogue().criteria]


@pytest.fixture(scope="module")
def known() -> Dimensions:
    """Return the content of the files."""
    return load()


@pytest.fixture(scope="module")
def names() -> dict[str, set[str]]:
    """Return the falsifiers of each criterion."""
    return declared()


def test_dimensions_are_of_criteria_that_exist(known: Dimensions) -> None:
    """No criterion is misspelt, in the tables and in the reasons, and no dimension is."""
    reasons = {criterion for one in known.reasons for criterion in one.criteria}
    assert (reasons | set(known.falsifiers)) - set(CRITERIA) == set()
    used = {one for by_dimension in known.falsifiers.values() for one in by_dimension}
    assert used | {one.dimension for one in known.reasons} == set(DIMENSIONS)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_dimensions_of_a_criterion_have_falsifiers_or_one_reason(
    known: Dimensions, criterion: str
) -> None:
    """Each of its cells has falsifiers, or one reason, and never both."""
    cells = {one: known.cell(criterion, one) for one in DIMENSIONS}
    wrong = {one: cell for one, cell in cells.items() if bool(cell[0]) + len(cell[1]) != 1}
    assert wrong == {}
    assert any(falsifiers for falsifiers, _ in cells.values())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_dimensions_of_a_criterion_name_its_falsifiers(
    known: Dimensions, names: dict[str, set[str]], criterion: str
) -> None:
    """Every falsifier is in a dimension, and every name and pattern is that of a falsifier."""
    patterns = [one for listed in known.falsifiers[criterion].values() for one in listed]
    assert {one for one in names[criterion] if not matches(one, patterns)} == set()
    unknown = [
        one for one in patterns if not any(matches(name, [one]) for name in names[criterion])
    ]
    assert unknown == []


def test_reasons_are_no_phrases(known: Dimensions) -> None:
    """A reason is a sentence about its criteria: it is not copied to all others."""
    assert [one.text for one in known.reasons if len(one.text) < LEAST_CHARACTERS] == []
    texts = {(one.text, one.dimension) for one in known.reasons}
    assert len(texts) == len({text for text, _ in texts}), "two dimensions have the same reason"
    counted: Counter[str] = Counter()
    for one in known.reasons:
        counted[one.text] += len(one.criteria)
    assert [text for text, number in counted.items() if number > MOST_CRITERIA] == []
