"""The model of ``run.json``: one `Run`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from gateproof_evidence.model.binding import Bindings
from gateproof_evidence.model.claim import Claim
from gateproof_evidence.model.criterion import Waiver
from gateproof_evidence.model.value import (
    NONCE,
    Cause,
    CriterionId,
    Digest,
    Disposition,
    Falsification,
    Outcome,
    PhaseId,
    Result,
    Severity,
    Value,
)


class Proof(Value):
    """The result of one falsifier: whether its check failed for the predicted reason."""

    falsifier: str
    kind: str
    fault: str
    result: Falsification
    expected: str
    message: str
    """The message of the check under the fault, or why the proof is void."""
    landed: bool
    story: Digest | None = None
    """Digest of the journal's record of the proof; None if it did not run."""
    transcript: str = ""
    """Path of its transcript, relative to ``data/``; empty if it recorded nothing in this run."""
    duration_s: float = 0.0
    """Wall time of its set-up, call and clean-up, in the process that ran it."""
    baseline_of: str = ""
    """The falsifier of the same check whose baseline counts for this proof; empty for its own."""
    depends: Digest | None = None
    """Digest over all that the proof depends on."""
    taken_over: Digest | None = None
    """Digest of the attestation of the earlier bundle that it was reused from; None if it ran."""


class RegressionRule(StrEnum):
    """The rule by which a difference is a regression."""

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
    """The criterion; None for the whole run."""
    phase: str | None = None
    """The phase that the criterion had in the earlier run."""
    message: str
    left_out: bool = False
    """Whether the later run excluded this by its selection, which makes it incomplete anyway."""

    def __str__(self) -> str:
        """Return the regression as one line."""
        return f"{self.criterion}: {self.message}" if self.criterion else self.message


class Standing(Value):
    """The state of one criterion in a run, for the comparison with a later run."""

    id: CriterionId
    phase: str
    severity: Severity
    outcome: Outcome
    disposition: Disposition
    falsification: Falsification
    proven: tuple[str, ...]
    """Names of the falsifiers that made the check fail for the predicted reason."""


class Baseline(Value):
    """An earlier bundle that verified with a key from outside, and its state."""

    attestation: Digest
    signer: Digest
    """The id of the key that it was verified with."""
    commit: str | None
    criteria: tuple[Standing, ...]


class Comparison(Value):
    """The comparison of a run with its baseline."""

    attestation: Digest
    """The digest of the baseline's attestation."""
    signer: Digest
    commit: str | None
    regressions: tuple[Regression, ...]


class Specimen(Value):
    """The result of a proof with a known result, which tests the harness."""

    name: str
    wanted: Falsification
    result: Falsification
    message: str


CellResult = Literal["killed", "survived", "broken", "void"]


class Cell(Value):
    """The result of one check against one falsifier of its gate."""

    criterion: CriterionId
    """The criterion of the check."""
    owner: CriterionId
    """The criterion of the falsifier."""
    falsifier: str
    result: CellResult
    """Failed by an assertion; passed; failed by another error; or no fault on a passing copy."""
    message: str


class Absence(Value):
    """A person's statement that the system does not have a feature."""

    feature: str
    """The key of the description that the system does without."""
    reason: str
    owner: str
    expires: str
    """The last day, in UTC, on which the statement counts."""

    def __str__(self) -> str:
        """Return the statement as one line."""
        return f"{self.feature}: {self.reason} ({self.owner}, until {self.expires})"


class Verdict(Value):
    """The verdict on one criterion."""

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
    claims: tuple[Claim, ...] = ()
    """The claims of the check, in its order; one that does not hold is a finding."""
    observations: tuple[Digest, ...]
    """The digests of the texts of the check's observations."""
    captures: tuple[str, ...]
    """The place of each of these texts: the path of the transcript relative to ``data/``, a colon,
    and the line of the heading."""
    falsifiers: Annotated[int, Field(ge=0)]
    """The number of falsifiers of the check; one that did not run leaves it unproven."""
    proofs: tuple[Proof, ...]
    needs: tuple[str, ...] = ()
    """The features of the system that the check needs: keys of its description."""
    waiver: Waiver | None = None
    taken_over: Digest | None = None
    """The digest of the attestation of the earlier bundle in which the check passed; None if it ran
    in this run."""
    ran: AwareDatetime | None = None
    """The start of the run in which a check that was taken over ran itself."""


class EnvironmentReport(Value):
    """The environment in which the system ran, and why."""

    kind: Literal["embedded", "containers", "attached"]
    reason: str
    postgres: str
    python: str
    platform: str


class Timing(Value):
    """The times in seconds, without sealing, which is not over yet."""

    start_up_s: float
    checks_s: float
    proofs_s: float


Extent = Literal["all", "some", "none"]
"""The proofs that were requested of a run."""


class Shard(Value):
    """The part of a run that one machine judges."""

    number: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=1)]
    """The number of shards that the run is divided into."""
    nonce: Annotated[str, Field(pattern=NONCE)]
    """Identifies the run: all its shards have the same."""

    def __str__(self) -> str:
        """Return the part in words."""
        return f"shard {self.number} of {self.of}"


class MergedShard(Value):
    """One shard of a merged run, with the fields of its own run that its journal lacks."""

    number: Annotated[int, Field(ge=1)]
    attestation: Digest
    """Digest of the attestation of its own bundle."""
    signer: Digest
    """The id of the key that signed that bundle."""
    known: bool
    """Whether the merge verified it with a key from outside; the claim of the merged signer."""
    started: AwareDatetime
    ended: AwareDatetime
    environment: EnvironmentReport | None
    bindings: Bindings
    timing: Timing

    @property
    def platform(self) -> str:
        """The operating system and processor of its machine; empty if no environment started."""
        return self.environment.platform if self.environment else ""


class Merged(Value):
    """The shards that a run was merged from."""

    of: Annotated[int, Field(ge=1)]
    """The number of shards that the run was divided into."""
    shards: tuple[MergedShard, ...]
    """Those that were merged, by number."""

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the shards whose bundles were not there."""
        there = {one.number for one in self.shards}
        return tuple(number for number in range(1, self.of + 1) if number not in there)


class Run(Value):
    """The whole of ``run.json``."""

    schema_: Literal["https://gateproof.dev/schema/run/v2"] = Field(
        default="https://gateproof.dev/schema/run/v2", alias="schema"
    )
    result: Result
    exit_status: int
    reasons: tuple[str, ...]
    """Why it is not released, one line each; empty if it is."""
    falsify: Extent
    pytest_status: int
    """pytest's own exit status."""
    defects: tuple[str, ...]
    """Harness defects that belong to no criterion."""
    problems: tuple[str, ...] = ()
    """Problems of the environment that belong to no criterion, such as in a proof."""
    started: AwareDatetime
    ended: AwareDatetime
    environment: EnvironmentReport | None
    """None if no environment started."""
    bindings: Bindings
    catalogue_digest: Digest
    timing: Timing
    self_proof: tuple[Specimen, ...]
    """The test of the harness by specimens; empty if no proof was requested."""
    criteria: tuple[Verdict, ...]
    absences: tuple[Absence, ...] = ()
    """The features that the system is declared not to have, as far as the statements counted."""
    phases: tuple[PhaseId, ...] = ()
    """The phases in the order that the description declares; without one, ids order them."""
    matrix: tuple[Cell, ...] = ()
    """Every check of a gate against every falsifier of that gate, if that was requested."""
    baseline: Comparison | None = None
    """The comparison with an earlier bundle, if one was named; a regression blocks."""
    shard: Shard | None = None
    """The part of a run that this one is; None if it is whole."""
    merged: Merged | None = None
    """The shards that it was merged from; None if one machine judged it."""

    model_config = ConfigDict(populate_by_name=True)

    @property
    def content(self) -> bytes:
        """The bytes of ``run.json``."""
        return f"{self.model_dump_json(by_alias=True, indent=2)}\n".encode()
