"""Records the stages of each item (`setup`, `call`, `teardown`) in the journal.

After a failure it records the category of the exception and whether the environment still answered.
`gateproof_evidence.judging.verdict` derives the cause from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest

from gateproof.base.errors import (
    EnvironmentProblemError,
    HarnessError,
    InconclusiveError,
    LimitError,
    MissingAbilityError,
    NotReadyError,
    PremiseError,
)
from gateproof.base.skip import NotApplicableError, NotDescribedError
from gateproof.environments.resource import lacks_resources
from gateproof.probes.recorder import Recorder, encodable
from gateproof.stack.bring_up import BringUp
from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.model import PhaseEvent, StateEvent

Category = Literal[
    "none",
    "assertion",
    "environment",
    "ability",
    "harness",
    "notready",
    "notapplicable",
    "notdescribed",
    "inconclusive",
    "premise",
    "limit",
    "other",
]

_CATEGORIES: tuple[tuple[type[BaseException], Category], ...] = (
    (NotApplicableError, "notapplicable"),
    (NotDescribedError, "notdescribed"),
    (LimitError, "limit"),
    (EnvironmentProblemError, "environment"),
    (MissingAbilityError, "ability"),
    (NotReadyError, "notready"),
    (PremiseError, "premise"),
    (InconclusiveError, "inconclusive"),
    (pytest.skip.Exception, "inconclusive"),  # a plain skip shows nothing about the claim
    (AssertionError, "assertion"),
    (pytest.fail.Exception, "assertion"),
    (HarnessError, "harness"),
    (EvidenceError, "harness"),
)
"""The first class that matches decides; an exception that matches none is a defect of the check."""

_LACKING = (NotApplicableError, NotDescribedError)
"""The exceptions of a check that cannot judge this system, or not here; all else is well."""

_UNEXPLAINED = ("harness", "notready", "other")
"""The categories of errors that a full or broken machine may have caused."""

MESSAGE_LIMIT = 4000
"""The maximum length of a message in a record, in characters after redaction."""


_STATES: Mapping[bool | None, Literal["answers", "away", "unknown"]] = {
    True: "answers",
    False: "away",
    None: "unknown",
}


def categorise(error: BaseException) -> tuple[Category, str]:
    """Return the category and the whole message of an exception, not yet redacted."""
    category: Category = "other"
    for kind, name in _CATEGORIES:
        if isinstance(error, kind):
            category = name
            break
    if category in _UNEXPLAINED and not isinstance(error, EvidenceError):
        category = "environment" if lacks_resources(error) else category
    text = str(error).strip() or type(error).__name__
    if category == "other":
        text = f"{type(error).__name__}: {text}"
    if isinstance(error, pytest.skip.Exception) and not isinstance(error, _LACKING):
        text = f"skipped: {text}"
    return category, encodable(text)


def first_line(message: str) -> str:
    """Return the first line of a message, for tables."""
    return message.splitlines()[0] if message else ""


def record_stage(
    recorder: Recorder, bring_up: BringUp, call: pytest.CallInfo[None], *, item: str
) -> None:
    """Record how a stage of an item ended and, after a failure, whether the environment answers."""
    raised = call.excinfo
    category: Category = "none"
    message = ""
    if raised:
        category, message = categorise(raised.value)
    recorder.journal.append(
        PhaseEvent,
        item=item,
        criterion=recorder.scope.criterion,
        part=recorder.scope.part,
        when=call.when,
        result="raised" if raised else "passed",
        category=category,
        message=recorder.clean(first_line(message), MESSAGE_LIMIT),
        duration_s=call.duration,
    )
    if raised and category not in ("notapplicable", "notdescribed"):
        problem = bring_up.disk_problem()
        answers = None if problem else bring_up.still_answers()
        recorder.journal.append(
            StateEvent,
            item=item,
            part=recorder.scope.part,
            environment="full" if problem else _STATES[answers],
            detail=recorder.clean(problem),
        )
