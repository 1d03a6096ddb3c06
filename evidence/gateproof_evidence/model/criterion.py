"""The criteria of a catalogue, and the waivers of their failures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateproof_evidence.model.value import CriterionId, Severity, Value


class Criterion(Value):
    """One claim with a permanent id."""

    id: CriterionId
    """The gate's prefix of two or three capitals, a dash, two digits: ``RLS-02``. Never reused."""
    gate: Annotated[str, Field(pattern=r"^[a-z]+$")]
    """The name of the gate and of its folder under ``gates/``."""
    phase: Annotated[str, Field(pattern=r"^B\d+(\.\d+)+$")]
    """The phase that the criterion signs off: ``B0.5.1``."""
    severity: Severity = Severity.MEDIUM
    statement: Annotated[str, Field(min_length=10)]
    """The claim, as a sentence that can be false."""
    source: Annotated[str, Field(min_length=3)]
    """The origin of the claim: a contract, a specification, an incident."""


class Waiver(Value):
    """A failure that a named person accepts until a date."""

    criterion: CriterionId
    reason: Annotated[str, Field(min_length=10)]
    owner: Annotated[str, Field(min_length=2)]
    expires: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """The last day on which it is valid, in UTC."""
