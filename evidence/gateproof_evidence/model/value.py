"""Shared types of the models: enumerations, ids, digests, and the strict base class."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Ids become names of files and folders, words of options, and fragments of links. The fragments of
# the report's own sections begin with a-z.
CRITERION_ID = r"^[A-Z0-9]([A-Za-z0-9._-]{0,38}[A-Za-z0-9])?$"
GATE_ID = r"^[a-z]([a-z0-9_-]{0,38}[a-z0-9])?$"
PHASE_ID = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,38}[A-Za-z0-9])?$"

DIGEST = r"^sha256:[0-9a-f]{64}$"
NONCE = r"^[0-9a-f]{16,64}$"

CriterionId = Annotated[str, Field(pattern=CRITERION_ID)]
GateId = Annotated[str, Field(pattern=GATE_ID)]
PhaseId = Annotated[str, Field(pattern=PHASE_ID)]

Digest = Annotated[str, Field(pattern=DIGEST)]


class Outcome(StrEnum):
    """The outcome of a criterion."""

    PASS = "pass"  # noqa: S105 (an outcome, no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    NOTAPPLICABLE = "notapplicable"
    NOTCHECKED = "notchecked"
    NOTSELECTED = "notselected"
    NOTDESCRIBED = "notdescribed"


class Cause(StrEnum):
    """The cause of an outcome that is not a pass."""

    GATE_VIOLATION = "gate_violation"
    HARNESS_DEFECT = "harness_defect"
    ENVIRONMENT_PROBLEM = "environment_problem"
    TO_INVESTIGATE = "to_investigate"


class Disposition(StrEnum):
    """The decision about a failure."""

    NONE = "none"
    WAIVED = "waived"
    WAIVER_EXPIRED = "waiver_expired"


class Falsification(StrEnum):
    """Whether it is shown that a check can fail."""

    PROVEN = "proven"
    BLIND = "blind"
    VOID = "void"
    UNPROVEN = "unproven"


class Severity(StrEnum):
    """The harm of a failure of the criterion."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Result(StrEnum):
    """The result of a run."""

    RELEASED = "released"
    PARTIAL = "partial"
    BLOCKED = "blocked"


class Value(BaseModel):
    """A frozen value that refuses unknown fields.

    Its validator is built when it is first used: many processes use few of the models.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
