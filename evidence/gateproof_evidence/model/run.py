"""What a run comes to, ``run.json``: one `Run`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from gateproof_evidence.model.criterion import Waiver
from gateproof_evidence.model.value import (
    Cause,
    CriterionId,
    Digest,
    Disposition,
    Falsification,
    Outcome,
    Result,
    Severity,
    Value,
)


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
    images: dict[str, Digest] = {}  # noqa: RUF012 (pydantic copies a default)
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
