"""The records of the journal, ``journal.jsonl``: one `Record` a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, JsonValue, TypeAdapter

from gateproof_evidence.model.value import CriterionId, Digest, Value


class Redaction(Value):
    """How often one rule had to take something out of an observation."""

    rule: str
    """``secret:<name>``, ``dsn-userinfo``, ``header:<name>``, ``named``, or what its form is."""
    count: Annotated[int, Field(ge=1)]


class Entry(Value):
    """What every journal record carries: who wrote it, where in line, and when."""

    writer: str
    seq: Annotated[int, Field(ge=0)]
    """Counts up by one within one writer; a gap means that evidence is missing."""
    at: AwareDatetime


class Observation(Entry):
    """One timed, digested record of what was seen through a probe."""

    kind: Literal["observation"] = "observation"
    criterion: str | None
    """The criterion under judgement, or None for what belongs to the whole run."""
    item: str | None
    """The pytest item that asked."""
    part: str
    """``check``, ``bring-up``, ``canary``, or ``proof:<falsifier>:baseline|landing|faulted``."""
    probe: Literal["http", "sql", "tasks", "worker", "logs", "process", "file", "environment"]
    summary: str
    """One line: what was asked and what came back."""
    data: dict[str, JsonValue]
    """The same in a form for machines, redacted."""
    capture: str
    """Path of the readable capture, relative to ``data/``."""
    digest: Digest
    """Of the capture's bytes."""
    redactions: tuple[Redaction, ...] = ()


class PhaseEvent(Entry):
    """What pytest saw of one phase of one item."""

    kind: Literal["phase"] = "phase"
    item: str
    criterion: str | None
    part: str
    when: Literal["setup", "call", "teardown"]
    result: Literal["passed", "raised"]
    category: Literal[
        "none",
        "assertion",
        "environment",
        "harness",
        "notready",
        "notapplicable",
        "inconclusive",
        "limit",
        "other",
    ] = "none"
    """What kind of exception ended the phase; ``none`` when it passed."""
    message: str = ""
    """First line of the exception's message, redacted."""
    duration_s: float


class StateEvent(Entry):
    """What was still alive right after a red."""

    kind: Literal["state"] = "state"
    item: str
    part: str
    environment: Literal["answers", "away", "unknown"]
    """Whether the environment's own server still answered."""
    detail: str = ""


class Story(Entry):
    """What a proof went through: baseline, fault, landing, red."""

    item: str
    falsifier: str
    fault_kind: str
    fault: str
    """What was changed, readable: the statement, the variable."""
    expected: str
    """The part of the message that was predicted."""
    fingerprint_before: str | None = None
    fingerprint_after: str | None = None
    """What the landing query saw; None where the proof did not get that far."""
    refusal: str = ""
    """Why the fault could not be injected or looked at; empty when it could."""
    baseline: str = "not run"
    """``pass``, or the outcome and message that the baseline had instead."""
    baseline_runs: Annotated[int, Field(ge=0)] = 0
    """How often the check was seen green on the copy before the fault."""
    faulted: str = "not run"
    """``pass``, or ``<category>: <message>`` of what the check said under the fault."""
    faulted_category: str = "none"
    restoration: str = ""
    """How the copy was thrown away."""


class ProofEvent(Story):
    """The story of a check and one of its own falsifiers."""

    kind: Literal["proof"] = "proof"
    criterion: CriterionId
    depends: Digest | None = None
    """Digest over all that the proof depends on; None where that was not known."""


class TakenOverEvent(Entry):
    """A proof that was not repeated: an earlier bundle has it, and nothing has changed since."""

    kind: Literal["taken-over"] = "taken-over"
    item: str
    criterion: CriterionId
    falsifier: str
    attestation: Digest
    """Of the earlier bundle."""
    story: ProofEvent


class CellEvent(Story):
    """The story of a check and a falsifier of another criterion of its gate."""

    kind: Literal["cell"] = "cell"
    criterion: CriterionId
    owner: CriterionId
    """The criterion that the falsifier belongs to."""


class SelfProofEvent(Story):
    """The story of a specimen: a check and a fault of which it is known what must come out."""

    kind: Literal["self-proof"] = "self-proof"
    specimen: str
    criterion: None = None


class RunEvent(Entry):
    """A landmark of the run itself."""

    kind: Literal["run"] = "run"
    event: Literal["started", "environment", "collected", "ended"]
    data: dict[str, JsonValue]


Record = Annotated[
    Observation
    | PhaseEvent
    | StateEvent
    | ProofEvent
    | TakenOverEvent
    | CellEvent
    | SelfProofEvent
    | RunEvent,
    Field(discriminator="kind"),
]

RECORD: TypeAdapter[Record] = TypeAdapter(Record)
