"""The values that evidence is made of: criteria, journal records, verdicts and the run.

Owns the shapes of ``journal.jsonl`` (one `Record` a line) and ``run.json`` (one `Run`), strictly:
unknown fields are refused where a file is read. Leaves the rules that derive one from the other
to `evidence.verdict`, and reading and writing to `evidence.journal` and `evidence.bundle`.

Source: docs/reference/run.schema.json; outcomes are XCCDF 1.2's, with TTCN-3's inconclusive.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

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


class Criterion(Value):
    """One claim with a permanent id."""

    id: CriterionId
    """Two or three capitals of the gate, a dash, two digits: ``RLS-02``. Never used again."""
    gate: Annotated[str, Field(pattern=r"^[a-z]+$")]
    """The gate's name, as its folder under ``gates/``."""
    phase: Annotated[str, Field(pattern=r"^B\d+(\.\d+)+$")]
    """The phase that the criterion signs off: ``B0.5.1``."""
    severity: Severity = Severity.MEDIUM
    statement: Annotated[str, Field(min_length=10)]
    """The claim, as a sentence that can be false."""
    source: Annotated[str, Field(min_length=3)]
    """Where the claim comes from: a contract, a specification, an incident."""


class Waiver(Value):
    """A failure that a named person accepts until a date."""

    criterion: CriterionId
    reason: Annotated[str, Field(min_length=10)]
    owner: Annotated[str, Field(min_length=2)]
    expires: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """The last day on which it covers anything, UTC."""


# --- journal records -------------------------------------------------------------------------


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


# --- run.json --------------------------------------------------------------------------------


class Proof(Value):
    """Whether one falsifier turned one check red, for the predicted reason."""

    falsifier: str
    kind: str
    fault: str
    result: Falsification
    expected: str
    message: str
    """What the check said under the fault, or why the proof is void."""
    landed: bool
    record: str
    """Path of the proof's record, relative to ``data/``."""
    duration_s: float = 0.0
    """Wall time of its set-up, call and clean-up, in the process that ran it."""
    depends: Digest | None = None
    """Digest over all that the proof depends on."""
    taken_over: Digest | None = None
    """Digest of the attestation of the earlier bundle that it comes from; None when it ran."""


class RegressionRule(StrEnum):
    """Which part of the definition of a regression is met."""

    VANISHED = "vanished"
    OUTCOME = "outcome"
    PROOF = "proof"
    FALSIFICATION = "falsification"
    SEVERITY = "severity"
    PHASE = "phase"
    RELEASE = "release"


class Regression(Value):
    """One way in which a later run shows less than an earlier one."""

    rule: RegressionRule
    criterion: CriterionId | None = None
    """None for what belongs to the whole run."""
    phase: str | None = None
    """The phase that the criterion had in the earlier run."""
    message: str
    left_out: bool = False
    """Whether the later run was not asked to look: it is incomplete by its own word."""

    def __str__(self) -> str:
        """Read as one line."""
        return f"{self.criterion}: {self.message}" if self.criterion else self.message


class Standing(Value):
    """What a run shows of one criterion, as far as a later one is held against it."""

    id: CriterionId
    phase: str
    severity: Severity
    outcome: Outcome
    disposition: Disposition
    falsification: Falsification
    proven: tuple[str, ...]
    """Names of the falsifiers that turned the check red for the predicted reason."""


class Baseline(Value):
    """An earlier bundle that verified with a key from outside, and what it shows."""

    attestation: Digest
    signer: Digest
    """Id of the key that it verified with."""
    commit: str | None
    criteria: tuple[Standing, ...]


class Comparison(Value):
    """What a run came to beside its baseline."""

    attestation: Digest
    """Of the baseline."""
    signer: Digest
    commit: str | None
    regressions: tuple[Regression, ...]


class Specimen(Value):
    """What came out of a proof of which it is known what must come out."""

    name: str
    wanted: Falsification
    result: Falsification
    message: str


CellResult = Literal["killed", "survived", "broken", "void"]


class Cell(Value):
    """What one check made of one falsifier of its gate."""

    criterion: CriterionId
    """The check's."""
    owner: CriterionId
    """The falsifier's."""
    falsifier: str
    result: CellResult
    """Red by an assertion; green; red by anything else; or no fault was seen on a green copy."""
    message: str


class Verdict(Value):
    """What the evidence says of one criterion."""

    id: CriterionId
    gate: str
    phase: str
    severity: Severity
    statement: str
    source: str
    outcome: Outcome
    cause: Cause | None
    disposition: Disposition = Disposition.NONE
    falsification: Falsification = Falsification.UNPROVEN
    message: str
    duration_s: float
    observations: tuple[Digest, ...]
    captures: tuple[str, ...]
    """Paths of the captures, relative to ``data/``, in the order of `observations`."""
    falsifiers: Annotated[int, Field(ge=0)]
    """How many the check names; those that did not run leave it unproven."""
    proofs: tuple[Proof, ...]
    waiver: Waiver | None = None


class Bindings(Value):
    """What the run is bound to."""

    commit: str | None
    tree: str | None
    dirty: bool | None
    sut: Digest
    """Digest of the ``sut.toml``."""
    system: Digest | None
    """Digest over the system's files (names and contents)."""
    versions: dict[str, str]
    images: dict[str, Digest] = {}
    """Name of every container image that the run used, to its digest; none where none was."""
    nonce: str
    previous: Digest | None = None
    """Digest of the attestation of the bundle before this one."""
    renderer: Digest | None = None
    """Digest of what rendered report.html: templates, style, source, and their libraries."""


class EnvironmentReport(Value):
    """Where the system ran, and why there."""

    kind: Literal["embedded", "containers", "attached"]
    reason: str
    postgres: str
    python: str
    platform: str


class Timing(Value):
    """Where the time went, in seconds; sealing is not known before it is over."""

    start_up_s: float
    checks_s: float
    proofs_s: float


Extent = Literal["all", "some", "none"]
"""Which proofs a run was asked for."""


class Run(Value):
    """The whole of ``run.json``."""

    schema_: Literal["https://gateproof.dev/schema/run/v1"] = Field(
        default="https://gateproof.dev/schema/run/v1", alias="schema"
    )
    result: Result
    exit_status: int
    reasons: tuple[str, ...]
    """Why it is not released, one line each; empty when it is."""
    falsify: Extent
    pytest_status: int
    """pytest's own exit status."""
    defects: tuple[str, ...]
    """Harness defects that belong to no criterion."""
    started: AwareDatetime
    ended: AwareDatetime
    environment: EnvironmentReport | None
    """None when no environment came up."""
    bindings: Bindings
    catalogue_digest: Digest
    timing: Timing
    self_proof: tuple[Specimen, ...]
    """That the harness itself can tell a check that cannot fail; empty where nothing was proven."""
    criteria: tuple[Verdict, ...]
    matrix: tuple[Cell, ...] = ()
    """Every check of a gate against every falsifier of that gate, where that was asked for."""
    baseline: Comparison | None = None
    """How it stands beside an earlier bundle, where one was named; regressions block."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True
    )
