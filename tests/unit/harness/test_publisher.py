"""The publisher gives arguments in the other form: by name those by position, or the reverse."""

from __future__ import annotations

from typing import Any

import pytest

from gateproof.guest.publisher import swapped


class Task:
    """A task of which the publisher reads the signature alone."""

    def run(self, tenant: str, start: int, model: str = "1", *, dry: bool = False) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (["a", 1], {}, ([], {"tenant": "a", "start": 1})),
        (["a"], {"start": 2, "dry": True}, ([], {"tenant": "a", "start": 2, "dry": True})),
        ([], {"tenant": "a", "start": 1}, (["a", 1], {})),
        ([], {"start": 1, "dry": True}, ([None, 1], {"dry": True})),
        ([], {"tenant": "a", "model": "2"}, (["a", None, "2"], {})),
        ([], {"other": 1}, ([], {"other": 1})),
        (["a", 1, "2", "more"], {}, (["more"], {"tenant": "a", "start": 1, "model": "2"})),
    ],
    ids=["named", "some-named", "placed", "filled", "gap", "unknown", "too-many"],
)
def test_arguments_get_the_other_form(
    args: list[Any], kwargs: dict[str, Any], expected: Any
) -> None:
    """Each argument keeps its value; what only has a name keeps it."""
    assert swapped(Task(), args, kwargs) == expected
