"""A small run with one of everything, staged and sealed, for the tests of this package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evidence.canonical import digest_of
from evidence.catalogue import Catalogue
from evidence.journal import Journal, read_journal
from evidence.model import (
    Bindings,
    Cause,
    Criterion,
    Disposition,
    EnvironmentReport,
    Falsification,
    Observation,
    Outcome,
    PhaseEvent,
    Proof,
    Record,
    Redaction,
    Result,
    Run,
    RunEvent,
    Severity,
    Timing,
    Verdict,
    Waiver,
)
from evidence.sealing import seal
from evidence.signing import RunKey

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CAPTURES = {
    "captures/rls/RLS-01/001-sql.txt": "set role app_user;\nselect count(*) from t;\n 3\n",
    "captures/rls/RLS-02/001-http.txt": "> GET /health\n< 200 OK\n",
    "captures/dlq/DLQ-01/001-sql.txt": "select 1;\n 1 row\n",
}


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """Give a moment that does not move."""
    return lambda: START + timedelta(seconds=30)


@pytest.fixture
def catalogue() -> Catalogue:
    """Give four criteria in two gates."""
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
            for name, gate in (
                ("RLS-01", "rls"),
                ("RLS-02", "rls"),
                ("DLQ-01", "dlq"),
                ("DLQ-02", "dlq"),
            )
        )
    )


@pytest.fixture
def run(catalogue: Catalogue) -> Run:
    """Give a run with a pass, a fail, a waived fail and a criterion that was not selected."""
    verdicts = (
        _verdict(
            catalogue,
            "RLS-01",
            falsification=Falsification.PROVEN,
            falsifiers=1,
            proofs=(
                Proof(
                    falsifier="drop-policy",
                    kind="sql",
                    fault="DROP POLICY tenant ON t",
                    result=Falsification.PROVEN,
                    expected="sees rows of B",
                    message="assertion: A sees rows of B",
                    landed=True,
                    record="proofs/RLS-01/drop-policy.json",
                ),
            ),
        ),
        _verdict(
            catalogue,
            "RLS-02",
            outcome=Outcome.FAIL,
            cause=Cause.GATE_VIOLATION,
            message="tenant A: got 5 rows, expected 3",
        ),
        _verdict(
            catalogue,
            "DLQ-01",
            outcome=Outcome.FAIL,
            cause=Cause.GATE_VIOLATION,
            message="index ix_status: got none, expected one",
            disposition=Disposition.WAIVED,
            waiver=Waiver(
                criterion="DLQ-01",
                reason="The index comes with the next migration",
                owner="Ada",
                expires="2026-04-01",
            ),
        ),
        _verdict(catalogue, "DLQ-02", outcome=Outcome.NOTSELECTED, message="left out", seen=False),
    )
    return Run(
        result=Result.BLOCKED,
        exit_status=1,
        reasons=("RLS-02 fail, gate_violation: tenant A: got 5 rows, expected 3",),
        falsify="all",
        pytest_status=1,
        defects=(),
        self_proof=(),
        started=START,
        ended=START + timedelta(seconds=20),
        environment=EnvironmentReport(
            kind="embedded",
            reason="no Docker engine answers",
            postgres="18.4",
            python="3.11.7",
            platform="Linux x86_64",
        ),
        bindings=Bindings(
            commit="c" * 40,
            tree="d" * 40,
            dirty=False,
            sut=digest_of(b"sut"),
            system=digest_of(b"system"),
            versions={"celery": "5.7.0", "psycopg": "3.2"},
            nonce="4f6c2a",
        ),
        catalogue_digest=catalogue.digest,
        timing=Timing(start_up_s=1.5, checks_s=12.0, proofs_s=6.5),
        criteria=verdicts,
    )


@pytest.fixture
def staging(tmp_path: Path, run: Run) -> Path:
    """Give the folder that a run leaves before sealing."""
    root = tmp_path / ".staging"
    data = root / "data"
    for name, text in CAPTURES.items():
        _write(data / name, text)
    _write(data / "proofs/RLS-01/drop-policy.json", json.dumps({"result": "proven"}))
    _write(data / "tests/junit.xml", "<testsuites/>\n")
    journal = Journal(data / "journal.jsonl", writer="main", clock=lambda: START)
    journal.append(RunEvent, event="started", data={})
    for verdict in run.criteria:
        for path, digest in zip(verdict.captures, verdict.observations, strict=True):
            journal.append(
                Observation,
                criterion=verdict.id,
                item=f"gates/test_{verdict.gate}.py::test",
                part="check",
                probe="sql",
                summary=f"what {verdict.id} saw",
                data={},
                capture=path,
                digest=digest,
                redactions=(Redaction(rule="dsn-userinfo", count=2),),
            )
    journal.append(
        PhaseEvent,
        item="gates/test_rls.py::test",
        criterion="RLS-01",
        part="check",
        when="call",
        result="passed",
        duration_s=0.5,
    )
    journal.close()
    return root


@pytest.fixture
def records(staging: Path) -> tuple[Record, ...]:
    """Give the journal of the staged run."""
    return read_journal([staging / "data/journal.jsonl"])


@pytest.fixture
def key() -> RunKey:
    """Give a key for one run."""
    return RunKey.ephemeral()


@pytest.fixture
def bundle(
    staging: Path,
    tmp_path: Path,
    run: Run,
    catalogue: Catalogue,
    key: RunKey,
    clock: Callable[[], datetime],
) -> Path:
    """Give a sealed bundle."""
    destination = tmp_path / "bundle"
    return seal(staging, destination, run=run, catalogue=catalogue, key=key, clock=clock)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """Give a function that copies a bundle to a fresh place."""
    made: list[Path] = []

    def copy(source: Path) -> Path:
        made.append(tmp_path / f"copy-{len(made)}")
        return Path(shutil.copytree(source, made[-1], symlinks=True))

    return copy


def _verdict(catalogue: Catalogue, name: str, *, seen: bool = True, **changes: Any) -> Verdict:
    criterion = catalogue.by_id(name)
    captures = tuple(path for path in CAPTURES if f"/{name}/" in path) if seen else ()
    fields: dict[str, Any] = {
        **criterion.model_dump(),
        "outcome": Outcome.PASS,
        "cause": None,
        "message": "",
        "duration_s": 0.5,
        "observations": tuple(digest_of(CAPTURES[path].encode()) for path in captures),
        "captures": captures,
        "falsifiers": 0,
        "proofs": (),
    }
    return Verdict(**{**fields, **changes})


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
