"""The category of the exception that ended a stage."""

from __future__ import annotations

import pytest

from gateproof.base.errors import (
    EnvironmentProblemError,
    HarnessError,
    InconclusiveError,
    LimitError,
    MissingAbilityError,
    NotReadyError,
)
from gateproof.base.skip import NotApplicableError, NotDescribedError
from gateproof.probes.task import EagerModeError
from gateproof.run.stage import categorise, first_line
from gateproof_evidence.errors import NotWritableError


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (AssertionError("x"), "assertion"),
        (EagerModeError("eager mode: x"), "assertion"),
        (pytest.fail.Exception("x"), "assertion"),
        (EnvironmentProblemError("x"), "environment"),
        (NotReadyError("x"), "notready"),
        (MissingAbilityError("x"), "ability"),
        (InconclusiveError("x"), "inconclusive"),
        (LimitError("x"), "limit"),
        (NotApplicableError("x"), "notapplicable"),
        (NotDescribedError("x"), "notdescribed"),
        (pytest.skip.Exception("x"), "inconclusive"),
        (HarnessError("x"), "harness"),
        (NotWritableError("x"), "harness"),
        (ZeroDivisionError("x"), "other"),
    ],
)
def test_exception_has_its_category(error: BaseException, category: str) -> None:
    """Each kind of exception has a category; only an assertion is about the system."""
    assert categorise(error)[0] == category


def test_message_is_never_empty_and_names_an_unexpected_exception() -> None:
    """An exception without a message and an unexpected exception are named by their class."""
    assert categorise(AssertionError()) == ("assertion", "AssertionError")
    assert categorise(ZeroDivisionError("by zero"))[1] == "ZeroDivisionError: by zero"
    assert categorise(pytest.skip.Exception("not today"))[1] == "skipped: not today"


def test_message_that_utf8_cannot_encode_is_escaped() -> None:
    """A lone surrogate does not prevent the record from being written."""
    assert categorise(AssertionError("got \ud800"))[1] == r"got \ud800"


def test_table_shows_the_first_line_of_a_message() -> None:
    """The rest of the message is in the reports of pytest."""
    assert first_line("one\ntwo") == "one"
    assert first_line("") == ""
