"""The values that evidence consists of: criteria, journal records, verdicts and the run.

Owns the fields of ``journal.jsonl`` (one `Record` a line) and ``run.json`` (one `Run`), strictly:
unknown fields are refused when a file is read. Leaves the rules that derive one from the other to
`gateproof_evidence.judging.verdict`, and reading and writing to `gateproof_evidence.format.journal`
and `gateproof_evidence.sealing`.

Source: docs/reference/run.schema.json; outcomes are XCCDF 1.2's, with TTCN-3's inconclusive.
"""

from gateproof_evidence.model.binding import OF_THE_COMMIT, Bindings, Bound, Part
from gateproof_evidence.model.criterion import Criterion, Waiver
from gateproof_evidence.model.record import (
    RECORD,
    CellEvent,
    Entry,
    Loss,
    Observation,
    PhaseEvent,
    PremiseEvent,
    ProofEvent,
    Record,
    Redaction,
    Relation,
    RunEvent,
    SelfProofEvent,
    StateEvent,
    Story,
    TakenOverEvent,
)
from gateproof_evidence.model.run import (
    Baseline,
    Cell,
    CellResult,
    Comparison,
    EnvironmentReport,
    Extent,
    Proof,
    Regression,
    RegressionRule,
    Run,
    Specimen,
    Standing,
    Timing,
    Verdict,
)
from gateproof_evidence.model.value import (
    CRITERION_ID,
    DIGEST,
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

__all__ = [
    "CRITERION_ID",
    "DIGEST",
    "OF_THE_COMMIT",
    "RECORD",
    "Baseline",
    "Bindings",
    "Bound",
    "Cause",
    "Cell",
    "CellEvent",
    "CellResult",
    "Comparison",
    "Criterion",
    "CriterionId",
    "Digest",
    "Disposition",
    "Entry",
    "EnvironmentReport",
    "Extent",
    "Falsification",
    "Loss",
    "Observation",
    "Outcome",
    "Part",
    "PhaseEvent",
    "PremiseEvent",
    "Proof",
    "ProofEvent",
    "Record",
    "Redaction",
    "Regression",
    "RegressionRule",
    "Relation",
    "Result",
    "Run",
    "RunEvent",
    "SelfProofEvent",
    "Severity",
    "Specimen",
    "Standing",
    "StateEvent",
    "Story",
    "TakenOverEvent",
    "Timing",
    "Value",
    "Verdict",
    "Waiver",
]
