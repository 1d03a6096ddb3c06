"""What all shapes share: outcomes and other words, ids, digests, and the strict base class."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

CRITERION_ID = r"^[A-Z]{2,3}-\d{2}$"

DIGEST = r"^sha256:[0-9a-f]{64}$"

CriterionId = Annotated[str, Field(pattern=CRITERION_ID)]

Digest = Annotated[str, Field(pattern=DIGEST)]


class Outcome(StrEnum):
    """What judging a criterion came to."""

    PASS = "pass"  # noqa: S105 (an outcome, no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    NOTAPPLICABLE = "notapplicable"
    NOTCHECKED = "notchecked"
    NOTSELECTED = "notselected"


class Cause(StrEnum):
    """Who is to blame for an outcome that is not a pass."""

    GATE_VIOLATION = "gate_violation"
    HARNESS_DEFECT = "harness_defect"
    ENVIRONMENT_PROBLEM = "environment_problem"
    TO_INVESTIGATE = "to_investigate"


class Disposition(StrEnum):
    """What people decided about a failure."""

    NONE = "none"
    WAIVED = "waived"
    WAIVER_EXPIRED = "waiver_expired"


class Falsification(StrEnum):
    """Whether a check was shown able to fail."""

    PROVEN = "proven"
    BLIND = "blind"
    VOID = "void"
    UNPROVEN = "unproven"


class Severity(StrEnum):
    """How much a failure of the criterion harms."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Result(StrEnum):
    """The roll-up of a run."""

    RELEASED = "released"
    PARTIAL = "partial"
    BLOCKED = "blocked"


class Value(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
