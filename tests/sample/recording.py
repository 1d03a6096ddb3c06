"""The builder of sample runs: writes the journals, captures and proofs that a plan describes.

`record` fills the folder of a run. Leaves judging and sealing to `bundle`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.format.recording.transcript import Head, Transcripts, transcript_name
from gateproof_evidence.judging.claim import NO_CLAIM, claim_text
from gateproof_evidence.judging.judgement import Ending
from gateproof_evidence.judging.proof import SPECIMENS
from gateproof_evidence.model import (
    CellEvent,
    Claim,
    ClaimEvent,
    Criterion,
    Observation,
    PhaseEvent,
    ProofEvent,
    Record,
    Redaction,
    RunEvent,
    SelfProofEvent,
    TakenOverEvent,
)
from tests.sample.capture import PROBES, Seen, seen
from tests.sample.plan import Fault, Plan

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPECIMEN = Fault(
    name="specimen",
    kind="specimen",
    text="claim.txt: kept = no",
    expected="the claim is not kept",
    failure="the claim is not kept: claim.txt: got kept = no, expected one with kept = yes",
)
NOT_KEPT = Claim(
    name="the claim is not kept",
    on="claim.txt",
    got='"kept = no"',
    relation="contains",
    expected='"kept = yes"',
    holds=False,
)
ROWS = Claim(
    name="rows that the superuser sees",
    on="attribution_events",
    got="5",
    relation="equals",
    expected="5",
    holds=True,
)
"""The claim that each run of a check states, and that holds."""
SPECIMEN_FIELDS: dict[str, dict[str, Any]] = {
    "always-green": {"faulted": "pass", "faulted_category": "none"},
    "always-red": {"baseline": "assertion: never green"},
    "change-that-does-not-matter": {"faulted": "pass", "faulted_category": "none"},
    "fault-that-does-not-land": {"fingerprint_after": "aaaa"},
    "fault-that-is-denied": {"refusal": "ERROR: permission denied"},
    "red-by-an-error": {"faulted_category": "other"},
    "red-by-a-premise": {"faulted_category": "premise"},
    "red-by-an-assertion": {"findings": ()},
    "green-without-a-claim": {"baseline": NO_CLAIM},
    "red-for-another-reason": {"expected": "something else"},
    "red-by-another-claim": {"expected_claim": "file that exists"},
    "red-on-another-object": {"expected_claim": NOT_KEPT.name, "expected_on": "other.txt"},
    "claim-that-can-fail": {"expected_claim": NOT_KEPT.name, "expected_on": NOT_KEPT.on},
}
"""The fields in which a specimen's proof differs from one that succeeds."""


def record(root: Path, plan: Plan, criteria: Sequence[Criterion]) -> datetime:
    """Fill a folder with the files that a run leaves before it is judged; return when it ended."""
    recording = _Recording(root / "data", plan)
    recording.record_start(criteria)
    for criterion in criteria:
        recording.record_check(criterion)
    for criterion in criteria:
        recording.record_proofs(criterion)
    recording.record_specimens()
    for gate in plan.matrix:
        recording.record_matrix([one for one in criteria if one.gate == gate])
    _write(root / "data/tests/junit.xml", b"<testsuites/>\n")
    return recording.close()


class _Recording:
    """The journals of a run's writers, and the captures that they name."""

    def __init__(self, data: Path, plan: Plan) -> None:
        data.mkdir(parents=True)
        self._data = data
        self._plan = plan
        self._random = Random(7)
        self._folder = data.parent / "journals"
        self._folder.mkdir()
        self._writers = [
            Journal(
                self._folder / f"{name}.jsonl", writer=name, clock=lambda: self._times[self._turn]
            )
            for name in map(plan.named, plan.writers)
        ]
        self._times = [START for _ in plan.writers]
        self._turn = 0
        self._count = 0
        self._transcripts = [Transcripts(data) for _ in plan.writers]

    def record_start(self, criteria: Sequence[Criterion]) -> None:
        """Record the bring-up and the collected criteria, once a writer."""
        collected = {
            one.id: {
                "item": _item(one),
                "selected": one.id not in (*self._plan.left_out, *self._plan.of_others),
                "falsifiers": [fault.name for fault in self._faults(one)],
                **({"shard": self._plan.shares[one.id]} if one.id in self._plan.shares else {}),
            }
            for one in criteria
        }
        for number in range(len(self._writers)):
            self._turn = number
            self._append(RunEvent, event="started", data={})
            for probe in self._plan.bring_up:
                self._observe(None, "bring-up", self._seen(probe), None)
                self._wait(1)
            self._append(RunEvent, event="collected", data=collected)

    def record_specimens(self) -> None:
        """Record the self-proof, by the writers in turn."""
        for number, name in enumerate(SPECIMENS):
            self._turn = number % len(self._writers)
            self._wait(0.05)
            story = _story(SPECIMEN, f"gateproof::self-proof[{name}]", finding=NOT_KEPT)
            fields = story | {"specimen": name} | SPECIMEN_FIELDS.get(name, {})
            self._append(SelfProofEvent, **fields)

    def record_check(self, one: Criterion) -> None:
        """Record the check of a criterion, unless it is not selected or never ends."""
        plan, item = self._plan, _item(one)
        if one.id in (*plan.left_out, *plan.of_others, *plan.unending):
            return
        self._next_writer()
        stopped = one.id in (*plan.broken, *plan.unreachable)
        fails = one.id in (*plan.failing, *plan.skipped)
        self._stage(one, item, "check", "setup", raised=stopped)
        if not stopped:
            self._observe_check(one, item)
            self._claim(one, item, "check", ROWS)
            self._stage(one, item, "check", "call", raised=fails)
        self._stage(one, item, "check", "teardown")

    def record_proofs(self, one: Criterion) -> None:
        """Record the proofs of a criterion whose check passes."""
        if one.id not in self._plan.not_passing:
            self._next_writer()
            for fault in self._faults(one):
                self._record_proof(one, fault)

    def record_matrix(self, criteria: Sequence[Criterion]) -> None:
        """Record each check of a gate under each falsifier of the gate's other checks."""
        for one in criteria:
            for owner in criteria:
                for fault in self._plan.faults if owner is not one else ():
                    self._record_cell(one, owner, fault)

    def close(self) -> datetime:
        """Merge the journals, write the proofs, and return when the run ended."""
        ended = max(*self._times, START + timedelta(seconds=self._plan.lasts_s))
        for writer in self._writers:
            writer.close()
        paths = sorted(self._folder.iterdir())
        records = read_journal(paths)
        records = (*records, _ended(records, ended, self._plan))
        lines = "".join(f"{one.model_dump_json()}\n" for one in records)
        _write(self._data / "journal.jsonl", lines.encode())
        for path in paths:
            path.unlink()
        self._folder.rmdir()
        return ended

    # --- one criterion -------------------------------------------------------------------------

    def _faults(self, one: Criterion) -> tuple[Fault, ...]:
        return () if one.id in self._plan.unfalsified else self._plan.faults

    def _observe_check(self, one: Criterion, item: str) -> None:
        if one.id in self._plan.captures:
            self._observe(one, "check", self._plan.captures[one.id], item)
            return
        for number in range(self._plan.per_check):
            self._observe(one, "check", self._seen(PROBES[number % len(PROBES)]), item)

    def _record_proof(self, one: Criterion, fault: Fault) -> None:
        plan, part = self._plan, f"proof:{fault.name}"
        last = fault == plan.faults[-1]
        item = f"{_item(one)}[proof-{fault.name}]"
        story = {"criterion": one.id, "depends": digest_of(item.encode())} | _story(
            fault,
            item,
            stays_green=one.id in plan.blind and last,
            fails_elsewhere=one.id in plan.void and last,
        )
        self._stage(one, item, part, "setup")
        if one.id in plan.taken_over:
            self._take_over(one, fault, story)
        else:
            self._observe_proof(one, part, item, story["findings"])
            self._append(ProofEvent, **story)
        self._stage(one, item, part, "call")
        self._stage(one, item, part, "teardown")

    def _observe_proof(
        self, one: Criterion, part: str, item: str, findings: Sequence[Claim]
    ) -> None:
        claims = {"baseline": (ROWS,), "baseline-again": (ROWS,), "faulted": (ROWS, *findings)}
        for step in ("baseline", "baseline-again", "landing", "faulted"):
            for probe in PROBES[: self._plan.per_proof_step]:
                self._observe(one, f"{part}:{step}", self._seen(probe), item)
            for claim in claims.get(step, ()):
                self._claim(one, item, f"{part}:{step}", claim)

    def _take_over(self, one: Criterion, fault: Fault, story: dict[str, Any]) -> None:
        self._append(
            TakenOverEvent,
            item=story["item"],
            criterion=one.id,
            falsifier=fault.name,
            attestation=digest_of(b"earlier"),
            story=ProofEvent(writer="gw0", seq=0, at=START, **story),
        )

    def _record_cell(self, one: Criterion, owner: Criterion, fault: Fault) -> None:
        self._next_writer()
        chance = self._random.random()
        item = f"{_item(one)}[cell-{owner.id}-{fault.name}]"
        story = _story(fault, item, stays_green=chance < 0.7)
        if chance > 0.96:
            story |= {"faulted_category": "other", "faulted": "TypeError: 'NoneType'"}
        elif chance > 0.92:
            story |= {"fingerprint_after": story["fingerprint_before"]}
        self._append(CellEvent, criterion=one.id, owner=owner.id, **story)

    # --- records -------------------------------------------------------------------------------

    def _seen(self, probe: str) -> Seen:
        self._count += 1
        return seen(probe, self._count, self._plan.log_lines)

    def _observe(self, one: Criterion | None, part: str, found: Seen, item: str | None) -> None:
        self._wait(0.02 + 0.2 * self._random.random())
        redaction = Redaction(rule="dsn-userinfo", count=max(found.redacted, 1))
        journal = self._writers[self._turn]
        name = transcript_name(
            part,
            gate=one.gate if one else None,
            criterion=one.id if one else None,
            writer=journal.writer,
        )

        def make(seq: int, at: datetime) -> Observation:
            head = Head(writer=journal.writer, seq=seq, at=at, probe=found.probe, part=part)
            text = self._plan.text(found.text)
            return Observation(
                criterion=one.id if one else None,
                item=item,
                summary=self._plan.text(found.summary),
                data={},
                redactions=(redaction,) if found.redacted else (),
                **vars(head),
                **vars(self._transcripts[self._turn].add(name, text, head)),
            )

        journal.append_after(make)

    def _claim(self, one: Criterion, item: str, part: str, claim: Claim) -> None:
        self._append(ClaimEvent, item=item, criterion=one.id, part=part, **claim.model_dump())

    def _stage(
        self, one: Criterion, item: str, part: str, when: str, *, raised: bool = False
    ) -> None:
        duration_s = 0.05 + 0.4 * self._random.random()
        if when == "call":
            duration_s = 0.3 + duration_s * (1 if part == "check" else 5)
        self._wait(duration_s)
        category, message = self._failure(one, when) if raised else ("none", "")
        self._append(
            PhaseEvent,
            item=item,
            criterion=one.id,
            part=part,
            when=when,
            result="raised" if raised else "passed",
            category=category,
            message=message,
            duration_s=round(duration_s, 4),
        )

    def _failure(self, one: Criterion, when: str) -> tuple[str, str]:
        if one.id in self._plan.unreachable:
            return "environment", "PostgreSQL, as superuser: connection refused on 127.0.0.1"
        if one.id in self._plan.skipped:
            return "notapplicable", "this environment cannot cut the network between processes"
        if when == "setup":
            return "other", "KeyError: 'celery_task_started_total'"
        return "assertion", self._plan.messages.get(one.id, self._plan.message)

    def _append(self, kind: Any, **fields: Any) -> None:
        self._writers[self._turn].append(kind, **fields)

    def _wait(self, seconds: float) -> None:
        self._times[self._turn] += timedelta(seconds=seconds)

    def _next_writer(self) -> None:
        """Continue with the writer that is furthest behind."""
        self._turn = self._times.index(min(self._times))


def _item(one: Criterion) -> str:
    return f"gates/{one.gate}/test_{one.gate}.py::test_{one.id.lower().replace('-', '_')}"


def _story(
    fault: Fault,
    item: str,
    *,
    stays_green: bool = False,
    fails_elsewhere: bool = False,
    finding: Claim | None = None,
) -> dict[str, Any]:
    elsewhere = "relation attribution_events: got none, expected one"
    found = finding or _finding(elsewhere if fails_elsewhere else fault.failure)
    return {
        "item": item,
        "falsifier": fault.name,
        "fault_kind": fault.kind,
        "fault": fault.text,
        "expected": fault.expected,
        "fingerprint_before": "aaaa",
        "fingerprint_after": "bbbb",
        "baseline": "pass",
        "baseline_runs": 2,
        "faulted": "pass" if stays_green else claim_text(found),
        "faulted_category": "none" if stays_green else "assertion",
        "findings": () if stays_green else (found,),
        "restoration": "the copy is thrown away",
    }


def _finding(text: str) -> Claim:
    """Return the false claim that reads as a text: ``name: got value, expected value``."""
    match = re.fullmatch(r"(?P<name>.+): got (?P<got>.+), expected (?P<expected>.+)", text)
    assert match is not None, text
    values = {name: json.dumps(match[name]) for name in ("got", "expected")}
    return Claim(name=match["name"], on="", relation="equals", holds=False, **values)


def _ended(records: Sequence[Record], at: datetime, plan: Plan) -> RunEvent:
    status = int(any(one.result == "raised" for one in records if isinstance(one, PhaseEvent)))
    ending = Ending(pytest_status=status, falsify="all", defects=(), shard=plan.shard)
    data = ending.model_dump(mode="json")
    return RunEvent(writer=plan.named("run"), seq=0, at=at, event="ended", data=data)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
