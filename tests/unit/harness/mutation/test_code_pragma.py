"""The comment that excludes the mutants of a line, and texts that are refused."""

from __future__ import annotations

import pytest

from gateproof.proof.mutation.code import edits_of
from gateproof_evidence.errors import BadInputError


def excluded(text: str) -> dict[int, str]:
    """Return the reasons by the line of an edit."""
    return {edit.line: edit.excluded for edit in edits_of(text)}


def test_pragma_excludes_the_mutants_of_its_line_with_its_reason() -> None:
    """Excluded edits are returned, and those of other lines have no reason."""
    text = "a = 1  # no mutants: only a hint for people\nb = 2\n"
    assert excluded(text) == {1: "only a hint for people", 2: ""}


def test_pragma_may_follow_another_comment() -> None:
    """A line with a linter's comment can have a reason too."""
    assert excluded("a = 1  # noqa: X1  # no mutants: 1234567890") == {1: "1234567890"}


def test_pragma_at_the_end_of_a_string_excludes_the_mutants_in_it() -> None:
    """A line inside of a string cannot have a comment; its last line can."""
    text = (
        'a = f(\n    """\n    SELECT 1 FROM t\n    LIMIT 1\n    """  # no mutants: one row only\n)'
    )
    assert excluded(text) == {4: "one row only"}


def test_pragma_in_a_string_excludes_nothing() -> None:
    """A text that has the form of a pragma is no comment."""
    assert excluded("a = '# no mutants'") == {1: ""}


@pytest.mark.parametrize(
    "text",
    [
        "a = 1  # no mutants",
        "a = 1  # no mutants:",
        "a = 1  # no mutants: too short",
        "a = 1  # no mutants here: only a hint for people",
        "# no mutants: on a line without code\na = 1",
    ],
)
def test_pragma_without_a_reason_or_without_code_is_refused(text: str) -> None:
    """The message has the line and the form that is expected."""
    with pytest.raises(BadInputError, match=r"line 1: got .*expected '# no mutants: REASON'"):
        edits_of(text)


def test_pragma_is_refused_at_its_line() -> None:
    """The line of the message is that of the comment."""
    with pytest.raises(BadInputError, match="line 3: got '# no mutants'"):
        edits_of("a = 1\n\nb = 2  # no mutants")


def test_text_that_does_not_parse_is_refused() -> None:
    """The message has the reason of the parser."""
    with pytest.raises(BadInputError, match=r"got .*line 2.*expected a text that this Python"):
        edits_of("a = 1\nb = = 2\n")
