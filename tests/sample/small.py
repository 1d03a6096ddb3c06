"""One short run with one of everything: for tests that need a bundle and no particular one.

It has a pass with a proof, a failure, a waived failure and a criterion that was not selected; all
specimens of the self-proof have the expected result. It is sealed in milliseconds, since the corpus
of forged bundles and the unit tests alter and verify it thousands of times.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.model import Criterion, Run, Severity, Waiver
from gateproof_evidence.sealing.run_key import RunKey
from tests.sample.bundle import TIMING, fixed_key, judge_staging, seal_staging
from tests.sample.capture import Seen
from tests.sample.plan import Fault, Plan
from tests.sample.recording import START, record

ENDED = START + timedelta(seconds=20)
SEALED = START + timedelta(seconds=30)
GATES = {"RLS-01": "rls", "RLS-02": "rls", "DLQ-01": "dlq", "DLQ-02": "dlq"}
WAIVERS = (
    Waiver(
        criterion="DLQ-01",
        reason="The index comes with the next migration",
        owner="Ada",
        expires="2026-04-01",
    ),
)
RELEASED = Plan(
    writers=("main",),
    bring_up=(),
    waivers=WAIVERS,
    faults=(
        Fault(
            name="drop-policy",
            kind="sql",
            text="DROP POLICY tenant ON t",
            expected="sees rows of B",
            failure="tenant A sees rows of B: got 2, expected 0",
        ),
    ),
    captures={
        "RLS-01": Seen(
            probe="sql",
            summary="what RLS-01 saw",
            text="set role app_user;\nselect count(*) from t;\n 3\n",
            redacted=2,
        ),
        "RLS-02": Seen(
            probe="http",
            summary="what RLS-02 saw",
            text="> GET /health\n< 200 OK\n",
            redacted=2,
        ),
        "DLQ-01": Seen(
            probe="sql", summary="what DLQ-01 saw", text="select 1;\n 1 row\n", redacted=2
        ),
    },
    per_check=1,
    per_proof_step=1,
    lasts_s=(ENDED - START).total_seconds(),
)
BLOCKED = replace(
    RELEASED,
    failing=("RLS-02", "DLQ-01"),
    left_out=("DLQ-02",),
    unfalsified=("RLS-02", "DLQ-01", "DLQ-02"),
    messages={
        "RLS-02": "tenant A: got 5 rows, expected 3",
        "DLQ-01": "index ix_status: got none, expected one",
    },
)


def sample_catalogue() -> Catalogue:
    """Return four criteria in two gates."""
    return Catalogue(
        criteria=tuple(
            Criterion(
                id=name,
                gate=gate,
                phase="B0.5.1",
                severity=Severity.HIGH,
                statement=f"The claim of {name} holds for every tenant",
                source="specification, tenancy",
            )
            for name, gate in GATES.items()
        )
    )


def stage(root: Path, *, failing: bool = True) -> Path:
    """Fill a folder with the files that a run leaves before it is judged.

    Args:
        root: the folder to make.
        failing: whether two criteria fail and one is left out; else all four pass and are proven.

    """
    record(root, BLOCKED if failing else RELEASED, sample_catalogue().criteria)
    return root


def judged(root: Path) -> Run:
    """Judge the journal of a folder that `stage` filled."""
    return judge_staging(root, sample_catalogue(), WAIVERS, TIMING)


def sealed(
    folder: Path, *, failing: bool = True, key: RunKey | None = None, at: datetime = SEALED
) -> Path:
    """Make a sealed bundle under a folder, the same bytes each time for the same key."""
    staging = stage(folder / ".staging", failing=failing)
    return seal_small(staging, folder / "bundle", key=key, at=at)


def seal_small(
    staging: Path, destination: Path, *, key: RunKey | None = None, at: datetime = SEALED
) -> Path:
    """Judge and seal a folder that `stage` filled."""
    return seal_staging(
        staging,
        destination,
        catalogue=sample_catalogue(),
        waivers=WAIVERS,
        key=key or fixed_key(),
        at=at,
        timing=TIMING,
    )
