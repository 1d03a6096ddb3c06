"""One small run with one of everything, recorded by hand and judged by the rules: for tests.

A pass with a proof, a failure, a waived failure and a criterion that was left out; every specimen
of the self-proof came out as it must. Nothing in it depends on the clock or on chance, and it is
sealed in milliseconds, so that the corpus of forged bundles and the unit tests have the same bytes
each time: they alter and verify it thousands of times. What a page must be able to show
(two writers, takeovers, matrices, a catalogue of any size) is recorded by `tests.browser.sample`,
which makes its run and its proofs by the functions here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.journal import Journal, read_journal
from gateproof_evidence.judging.judgement import Context, Ending, derive_run
from gateproof_evidence.judging.proof import SPECIMENS
from gateproof_evidence.model import (
    Bindings,
    Criterion,
    EnvironmentReport,
    Falsification,
    Observation,
    PhaseEvent,
    ProofEvent,
    Record,
    Redaction,
    Run,
    RunEvent,
    SelfProofEvent,
    Severity,
    TakenOverEvent,
    Timing,
    Waiver,
)
from gateproof_evidence.reports.renderer import renderer_digest
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENDED = START + timedelta(seconds=20)
SEALED = START + timedelta(seconds=30)
COMMIT = "c" * 40
CAPTURES = {
    "captures/rls/RLS-01/001-sql.txt": "set role app_user;\nselect count(*) from t;\n 3\n",
    "captures/rls/RLS-02/001-http.txt": "> GET /health\n< 200 OK\n",
    "captures/dlq/DLQ-01/001-sql.txt": "select 1;\n 1 row\n",
}
FAILURES = {
    "RLS-02": "tenant A: got 5 rows, expected 3",
    "DLQ-01": "index ix_status: got none, expected one",
}
WAIVERS = (
    Waiver(
        criterion="DLQ-01",
        reason="The index comes with the next migration",
        owner="Ada",
        expires="2026-04-01",
    ),
)
LEFT_OUT = "DLQ-02"
BOUND = Bindings(
    commit=COMMIT,
    tree="d" * 40,
    dirty=False,
    sut=digest_of(b"sut"),
    system=digest_of(b"system"),
    versions={"celery": "5.7.0", "psycopg": "3.2"},
    nonce="4f6c2a",
    renderer=renderer_digest(),
)
TIMING = Timing(start_up_s=1.5, checks_s=12.0, proofs_s=6.5)


def fixed_key(number: int = 1) -> RunKey:
    """Return the same key for the same number: of no worth outside these tests."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return RunKey(is_ephemeral=False, _private=private)


def sample_catalogue() -> Catalogue:
    """Return four criteria in two gates."""
    gates = {"RLS-01": "rls", "RLS-02": "rls", "DLQ-01": "dlq", "DLQ-02": "dlq"}
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
            for name, gate in gates.items()
        )
    )


def stage(root: Path, *, failing: bool = True) -> Path:
    """Fill a folder with what a run leaves before it is judged.

    Args:
        root: the folder to make.
        failing: whether two criteria fail and one is left out; else all four pass and are proven.

    """
    data = root / "data"
    for name, text in CAPTURES.items():
        _write(data / name, text)
    _write(data / "tests/junit.xml", "<testsuites/>\n")
    journal = Journal(data / "journal.jsonl", writer="main", clock=lambda: START)
    _record(journal, sample_catalogue(), failing=failing)
    journal.close()
    ended = Journal(data / "ended.jsonl", writer="run", clock=lambda: ENDED)
    ending = Ending(pytest_status=1 if failing else 0, falsify="all", defects=())
    ended.append(RunEvent, event="ended", data=ending.model_dump(mode="json"))
    ended.close()
    with (data / "journal.jsonl").open("a") as merged:
        merged.write((data / "ended.jsonl").read_text())
    (data / "ended.jsonl").unlink()
    write_proofs(data, read_journal([data / "journal.jsonl"]))
    return root


def write_proofs(data: Path, records: Iterable[Record]) -> None:
    """Write the record of each proof as a run does; one that was taken over keeps its story."""
    for record in records:
        if isinstance(record, ProofEvent | TakenOverEvent):
            story = record.story if isinstance(record, TakenOverEvent) else record
            name = f"proofs/{record.criterion}/{record.falsifier}.json"
            _write(data / name, story.model_dump_json(indent=2) + "\n")


def judged(root: Path) -> Run:
    """Return the run of a staging folder, as sealing derives it."""
    records = read_journal([root / "data/journal.jsonl"])
    return derive_run(sample_catalogue(), records, WAIVERS, context_of(BOUND, TIMING))


def context_of(bindings: Bindings, timing: Timing) -> Context:
    """Return the context of a run in an embedded environment."""
    return Context(
        started=START,
        environment=EnvironmentReport(
            kind="embedded",
            reason="no Docker engine answers",
            postgres="18.4",
            python="3.11.7",
            platform="Linux x86_64",
        ),
        bindings=bindings,
        timing=timing,
    )


def sealed(folder: Path, *, failing: bool = True, key: RunKey | None = None) -> Path:
    """Make a sealed bundle under a folder, the same bytes each time for the same key."""
    staging = stage(folder / ".staging", failing=failing)
    return seal(
        staging,
        folder / "bundle",
        journal=read_staged_journal(staging),
        catalogue=sample_catalogue(),
        waivers=WAIVERS,
        context=context_of(BOUND, TIMING),
        key=key or fixed_key(),
        clock=lambda: SEALED,
    ).bundle


# --- what was recorded -------------------------------------------------------------------------


def _record(journal: Journal, catalogue: Catalogue, *, failing: bool) -> None:
    journal.append(RunEvent, event="started", data={})
    proven = ("RLS-01",) if failing else catalogue.ids
    left_out = (LEFT_OUT,) if failing else ()
    journal.append(RunEvent, event="collected", data=_collected(catalogue, proven, left_out))
    for criterion in catalogue.criteria:
        if criterion.id not in left_out:
            _record_check(journal, criterion, FAILURES.get(criterion.id, "") if failing else "")
    for name in proven:
        _record_proof(journal, name)
    for name, wanted in SPECIMENS.items():
        journal.append(
            SelfProofEvent,
            item=f"self-proof::{name}",
            specimen=name,
            falsifier=name,
            fault_kind="file",
            fault="claim.txt: kept = no",
            expected="the claim is not kept",
            baseline="pass",
            baseline_runs=2,
            **_specimen(wanted),
        )


def _collected(
    catalogue: Catalogue, proven: Iterable[str], left_out: Iterable[str]
) -> Mapping[str, Any]:
    return {
        name: {
            "item": item_of(name),
            "selected": name not in left_out,
            "falsifiers": ["drop-policy"] if name in proven else [],
        }
        for name in catalogue.ids
    }


def item_of(name: str) -> str:
    """Return the node id of a criterion's check."""
    return f"gates/test_{name[:3].lower()}.py::test_{name[-2:]}"


def _record_check(journal: Journal, criterion: Criterion, failure: str) -> None:
    told = {"item": item_of(criterion.id), "criterion": criterion.id, "part": "check"}
    passed = {"result": "passed", "duration_s": 0.125}
    raised = {"result": "raised", "category": "assertion", "message": failure, "duration_s": 0.125}
    journal.append(PhaseEvent, when="setup", **told, **passed)
    for path in captures_of(criterion):
        journal.append(
            Observation,
            **told,
            probe="sql",
            summary=f"what {criterion.id} saw",
            data={"rows": 3},
            capture=path,
            digest=digest_of(_capture(path).encode()),
            redactions=(Redaction(rule="dsn-userinfo", count=2),),
        )
    journal.append(PhaseEvent, when="call", **told, **(raised if failure else passed))
    journal.append(PhaseEvent, when="teardown", **told, **passed)


def captures_of(criterion: Criterion) -> tuple[str, ...]:
    """Return the captures of a criterion's check."""
    own = tuple(path for path in CAPTURES if f"/{criterion.id}/" in path)
    return own or ("captures/rls/RLS-01/001-sql.txt",)


def _capture(path: str) -> str:
    return CAPTURES[path]


def _record_proof(journal: Journal, name: str) -> None:
    item = f"{item_of(name)}[proof-drop-policy]"
    journal.append(
        ProofEvent,
        item=item,
        criterion=name,
        falsifier="drop-policy",
        fault_kind="sql",
        fault="DROP POLICY tenant ON t",
        expected="sees rows of B",
        fingerprint_before="1",
        fingerprint_after="0",
        baseline="pass",
        baseline_runs=2,
        faulted="assertion: A sees rows of B",
        faulted_category="assertion",
        restoration="the copy is thrown away",
    )


def _specimen(wanted: Falsification) -> Mapping[str, str]:
    """Return a story that comes out as it must."""
    if wanted is Falsification.BLIND:
        return {"fingerprint_before": "1", "fingerprint_after": "0", "faulted": "pass"}
    if wanted is Falsification.VOID:
        return {"fingerprint_before": "1", "fingerprint_after": "1"}
    return {
        "fingerprint_before": "1",
        "fingerprint_after": "0",
        "faulted": "the claim is not kept",
        "faulted_category": "assertion",
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
