"""The criteria of a catalogue, and the waivers of their failures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateproof_evidence.model.value import CriterionId, GateId, PhaseId, Severity, Value


class Criterion(Value):
    """One claim with a permanent id."""

    id: CriterionId
    """At most 40 of A-Z, a-z, 0-9, dots, underscores and dashes; A-Z or 0-9 first, none of the
    marks last: ``RLS-02``, ``SOC2-CC6.1``. Never reused, also not in another case."""
    gate: GateId
    """The name of the gate: at most 40 of a-z, 0-9, underscores and dashes; a-z first."""
    phase: PhaseId = ""
    """The phase that the criterion signs off: ``B0.5.1``, ``2026-Q4``. Its form is that of an id,
    and a-z can be first. A criterion of a pack has none in its file: the description of a system
    maps it to one. In a bundle each has one."""
    severity: Severity = Severity.MEDIUM
    statement: Annotated[str, Field(min_length=10)]
    """The claim, as a sentence that can be false."""
    source: Annotated[str, Field(min_length=3)]
    """The origin of the claim: a contract, a specification, an incident."""
    basis_of: str = ""
    """A need, such as ``ping``: where this criterion fails, red criteria that have this need are
    reported as not judged, because their checks cannot tell their claim from this one."""


class Waiver(Value):
    """A failure that a named person accepts until a date."""

    criterion: CriterionId
    reason: Annotated[str, Field(min_length=10)]
    owner: Annotated[str, Field(min_length=2)]
    expires: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """The last day on which it is valid, in UTC."""
