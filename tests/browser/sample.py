"""Bundles for tests of pages: journals like those of a run, judged and sealed by the real code.

Only the observations of the probes are invented. Verdicts, proofs, matrix and roll-up are derived
from the journals, as in a run and in verification, so that every page is one that a run could have.

`tests.sample` has one run, the smallest possible, with the same bytes each time. Pages need other
runs: each outcome on criteria of the real catalogue, two writers in parallel, long and hostile
captures, thousands of criteria. A `Plan` describes one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue, load_catalogue
from gateproof_evidence.format.journal import Journal, read_journal
from gateproof_evidence.judging.judgement import Ending
from gateproof_evidence.judging.proof import SPECIMENS
from gateproof_evidence.model import (
    Bindings,
    CellEvent,
    Criterion,
    Observation,
    PhaseEvent,
    ProofEvent,
    Redaction,
    RunEvent,
    SelfProofEvent,
    Story,
    TakenOverEvent,
    Timing,
    Waiver,
)
from gateproof_evidence.reports.renderer import renderer_digest
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.sealing.seal import seal
from gateproof_evidence.sealing.staged_journal import read_staged_journal
from tests.sample import START, context_of, write_proofs

ROOT = Path(__file__).parents[2]
BOUND = Bindings(
    commit=digest_of(b"commit")[7:47],
    tree=digest_of(b"tree")[7:47],
    dirty=False,
    sut=digest_of(b"sut"),
    system=digest_of(b"system"),
    versions={"celery": "5.7.0", "gateproof": "0.1.0", "psycopg": "3.2"},
    nonce=digest_of(b"nonce")[7:39],
    renderer=renderer_digest(),
)
MARKUP = "<img src=x onerror=alert(1)><script>alert(1)</script></pre></details>&amp;\"'--><b>bold"
"""Markup that a page must show as text; it tries to leave elements, attributes and comments."""

PROBES = ("sql", "http", "logs", "tasks", "worker", "process", "file", "environment")

FAULTS = (
    (
        "drop-policy",
        "sql",
        "DROP POLICY tenant_isolation ON attribution_events",
        "0 of A and 0 of B",
    ),
    (
        "misspelt-guc",
        "migration",
        (
            "--- core_0002_recompute_jobs.py\n+++ core_0002_recompute_jobs.py\n@@ -31,3 +31,3 @@\n"
            "-    current_setting('app.current_tenant_id', true)\n"
            "+    current_setting('app.tenant', true)"
        ),
        "0 of A and 0 of B",
    ),
    (
        "handler-skips-global",
        "source",
        (
            "--- system/dead_letters.py\n+++ system/dead_letters.py\n@@ -88,2 +88,2 @@\n"
            "-    if row is not None:\n+    if row is not None and row.tenant_id:"
        ),
        "0 of A and 2 of B",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The intended result of a run."""

    failing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    """Criteria whose check raises an error in its set-up."""
    blind: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    """Criteria whose environment does not answer."""
    skipped: tuple[str, ...] = ()
    """Criteria that the environment cannot judge."""
    left_out: tuple[str, ...] = ()
    unending: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    matrix: tuple[str, ...] = ()
    """Gates whose checks are all run against all falsifiers."""
    taken_over: tuple[str, ...] = ()
    seen: int = 4
    """The number of observations of a check."""
    seen_under_fault: int = 3
    proofs: int = 3
    long_lines: int = 45
    """The number of lines of a log."""
    text: Callable[[str, str], str] = lambda probe, text: text  # noqa: ARG005 (called by name)
    """Changes the text of a capture, by probe."""
    message: str = (
        "app_user as tenant A sees in attribution_events: got 3 of A and 2 of B, "
        "expected 3 of A and 0 of B"
    )


GREEN = Plan(matrix=("rls", "queues", "dlq"), taken_over=("IDM-01",))
RED = Plan(
    failing=("RLS-02", "DLQ-03", "OBS-07"),
    broken=("RUN-04",),
    away=("BRK-02",),
    skipped=("RUN-06",),
    unending=("DLQ-07",),
    waivers=(
        Waiver(
            criterion="OBS-07",
            reason="Start-up lines of the monitoring extension are plain text until 4.2",
            owner="Ada Lovelace",
            expires="2026-04-01",
        ),
        Waiver(
            criterion="DLQ-03",
            reason="The handler drops kwargs of retried tasks; mended with the next migration",
            owner="Grace Hopper",
            expires="2026-02-01",
        ),
    ),
    matrix=("rls",),
)
BLIND = Plan(blind=("RLS-03", "DLQ-11"), void=("RLS-04",))


FEW = (
    *("IMP-01", "BRK-02", "RUN-04", "RUN-06", "RLS-01", "RLS-02", "RLS-03", "RLS-04"),
    *("QUE-01", "DLQ-03", "DLQ-07", "DLQ-11", "IDM-01", "OBS-07"),
)
"""Criteria for a small page with one of everything."""


def criteria_of_gates(*names: str) -> tuple[Criterion, ...]:
    """Return the catalogue of this repository, or those criteria of it."""
    every = load_catalogue(ROOT / "gates" / "criteria.toml").criteria
    return tuple(one for one in every if not names or one.id in names)


def criteria_of(count: int) -> tuple[Criterion, ...]:
    """Return this number of criteria."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return tuple(
        Criterion(
            id=f"X{alphabet[number // 2600]}{alphabet[number // 100 % 26]}-{number % 100:02}",
            gate=f"gate{alphabet[number // 2600].lower()}{alphabet[number // 100 % 26].lower()}",
            phase="B0.5.1",
            statement=f"The claim number {number} of a catalogue of {count} holds for each tenant.",
            source="capacity: a catalogue larger than any existing one",
        )
        for number in range(count)
    )


def make_bundle(
    destination: Path,
    plan: Plan,
    *,
    criteria: Sequence[Criterion] | None = None,
    key: RunKey | None = None,
) -> Path:
    """Write the staging folder of a run, and seal it.

    Args:
        destination: the bundle; its parent exists.
        plan: what is to come out.
        criteria: the catalogue; by default that of this repository.
        key: signs; by default one made for this bundle.

    """
    catalogue = Catalogue(criteria=tuple(criteria or criteria_of_gates()))
    staging = destination.parent / f".{destination.name}"
    recording = _Recording(staging / "data", plan)
    recording.record(catalogue.criteria)
    timing = recording.finish()
    seal(
        staging,
        destination,
        journal=read_staged_journal(staging),
        catalogue=catalogue,
        waivers=plan.waivers,
        context=context_of(BOUND, timing),
        key=key or RunKey.ephemeral(),
        clock=lambda: recording.now + timedelta(seconds=2),
    )
    return destination


class _Recording:
    """The journals of two writers, and the captures that they name."""

    def __init__(self, data: Path, plan: Plan) -> None:
        self.now = START
        self._data = data
        self._plan = plan
        self._random = Random(7)
        self._writers = [self._writer("gw0"), self._writer("gw1")]
        self._times = [START, START]
        self._turn = 0
        self._count = 0

    def record(self, criteria: Sequence[Criterion]) -> None:
        """Record bring-up, specimens, and every check with its proofs."""
        collected = {one.id: self._binding(one) for one in criteria}
        for self._turn in (0, 1):
            self._append(RunEvent, event="started", data={})
            self._observe(None, "bring-up", "environment", None)
            self._wait(1.4)
            self._observe(None, "bring-up", "process", None)
            self._wait(0.6)
            self._append(RunEvent, event="collected", data=collected)
        for number, name in enumerate(SPECIMENS):
            self._turn = number % 2
            self._specimen(name)
        for criterion in criteria:
            self._turn = self._times.index(min(self._times))
            self._criterion(criterion)
        for gate in self._plan.matrix:
            self._cells([one for one in criteria if one.gate == gate])
        self.now = max(self._times)

    def finish(self) -> Timing:
        """Merge the journals, write the records of proofs, and return the timing of the run."""
        for writer in self._writers:
            writer.close()
        folder = self._data.parent / "journals"
        records = read_journal(sorted(folder.iterdir()))
        status = int(any(one.result == "raised" for one in records if isinstance(one, PhaseEvent)))
        ending = Ending(pytest_status=status, falsify="all", defects=()).model_dump(mode="json")
        end = RunEvent(writer="run", seq=0, at=self.now, event="ended", data=ending)
        records = (*records, end)
        lines = "".join(f"{record.model_dump_json()}\n" for record in records)
        (self._data / "journal.jsonl").write_text(lines, encoding="utf-8")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        write_proofs(self._data, records)
        spent = [one for one in records if isinstance(one, PhaseEvent)]
        checks = sum(one.duration_s for one in spent if one.part == "check")
        return Timing(
            start_up_s=2.0,
            checks_s=round(checks, 3),
            proofs_s=round(sum(one.duration_s for one in spent) - checks, 3),
        )

    # --- one criterion -------------------------------------------------------------------------

    def _criterion(self, one: Criterion) -> None:
        plan, item = self._plan, self._item(one)
        if one.id in plan.left_out or one.id in plan.unending:
            return
        raised = one.id in plan.broken or one.id in plan.away
        self._phase(one, item, "check", "setup", raised=raised)
        if not raised:
            for number in range(plan.seen):
                self._observe(one, "check", PROBES[number % len(PROBES)], item)
            self._phase(one, item, "check", "call", raised=one.id in (*plan.failing, *plan.skipped))
        self._phase(one, item, "check", "teardown")
        if raised or one.id in (*plan.failing, *plan.skipped):
            return
        for fault in self._faults:
            self._proof(one, fault)

    def _proof(self, one: Criterion, fault: tuple[str, str, str, str]) -> None:
        name, plan = fault[0], self._plan
        item = f"{self._item(one)}[proof-{name}]"
        part = f"proof:{name}"
        last = fault == self._faults[-1]
        taken = one.id in plan.taken_over
        self._phase(one, item, part, "setup")
        if not taken:
            for step in ("baseline", "landing", "faulted"):
                for number in range(plan.seen_under_fault):
                    self._observe(one, f"{part}:{step}", PROBES[number], item)
        story = self._story(
            fault,
            item,
            stays_green=one.id in plan.blind and last,
            elsewhere=one.id in plan.void and last,
        )
        depends = digest_of(item.encode())
        if taken:
            event = {"kind": "proof", "criterion": one.id, "depends": depends, **story}
            self._append(
                TakenOverEvent,
                item=item,
                criterion=one.id,
                falsifier=name,
                attestation=digest_of(b"earlier"),
                story=ProofEvent(writer="gw0", seq=0, at=START, **event),
            )
        else:
            self._append(ProofEvent, criterion=one.id, depends=depends, **story)
        self._phase(one, item, part, "call", raised=False)
        self._phase(one, item, part, "teardown")

    def _cells(self, criteria: Sequence[Criterion]) -> None:
        for one in criteria:
            for owner in criteria:
                for fault in self._faults if owner is not one else ():
                    self._turn = self._times.index(min(self._times))
                    seen = self._random.random()
                    item = f"{self._item(one)}[cell-{owner.id}-{fault[0]}]"
                    story = self._story(fault, item, stays_green=seen < 0.7)
                    if seen > 0.96:
                        story |= {"faulted_category": "other", "faulted": "TypeError: 'NoneType'"}
                    elif seen > 0.92:
                        story |= {"fingerprint_after": story["fingerprint_before"]}
                    self._append(CellEvent, criterion=one.id, owner=owner.id, **story)

    def _story(
        self,
        fault: tuple[str, str, str, str],
        item: str,
        *,
        stays_green: bool = False,
        elsewhere: bool = False,
    ) -> dict[str, Any]:
        name, kind, text, expect = fault
        red = f"app_user as tenant A sees in attribution_events: got {expect}, expected 3 of A"
        red = "relation attribution_events: got none, expected one" if elsewhere else red
        return {
            "item": item,
            "falsifier": name,
            "fault_kind": kind,
            "fault": text,
            "expected": expect,
            "fingerprint_before": "aaaa",
            "fingerprint_after": "bbbb",
            "baseline": "pass",
            "baseline_runs": 2,
            "faulted": "pass" if stays_green else red,
            "faulted_category": "none" if stays_green else "assertion",
            "restoration": "the copy is thrown away",
        }

    def _specimen(self, name: str) -> None:
        item = f"gateproof::self-proof[{name}]"
        self._wait(0.05)
        story = self._story(("specimen", "specimen", name, "0 rows"), item)
        odd: dict[str, dict[str, Any]] = {
            "always-green": {"faulted": "pass", "faulted_category": "none"},
            "always-red": {"baseline": "assertion: never green"},
            "change-that-does-not-matter": {"faulted": "pass", "faulted_category": "none"},
            "fault-that-does-not-land": {"fingerprint_after": "aaaa"},
            "fault-that-is-denied": {"refusal": "ERROR: permission denied"},
            "red-by-an-error": {"faulted_category": "other"},
            "red-for-another-reason": {"expected": "something else"},
        }
        event: Story = SelfProofEvent(
            writer="x", seq=0, at=START, specimen=name, **{**story, **odd.get(name, {})}
        )
        fields = event.model_dump(exclude={"writer", "seq", "at", "kind"})
        self._append(SelfProofEvent, **fields)

    # --- records -------------------------------------------------------------------------------

    def _observe(self, one: Criterion | None, part: str, probe: str, item: str | None) -> None:
        self._wait(0.02 + 0.2 * self._random.random())
        self._count += 1
        summary, text = _SEEN[probe](self._count, self._plan.long_lines)
        folder = "bring-up"
        if one is not None:
            own = f"{one.gate}/{one.id}"
            folder = own if part == "check" else f"{own}/{part.replace(':', '/')}"
        writer = self._writers[self._turn].writer
        capture = f"captures/{folder}/{writer}-{self._count:05}-{probe}.txt"
        content = self._plan.text(probe, text).encode()
        path = self._data / capture
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._append(
            Observation,
            criterion=one.id if one else None,
            item=item,
            part=part,
            probe=probe,
            summary=self._plan.text("summary", summary),
            data={},
            capture=capture,
            digest=digest_of(content),
            redactions=(Redaction(rule="dsn-userinfo", count=1),) if probe == "process" else (),
        )

    def _phase(
        self, one: Criterion, item: str, part: str, when: str, *, raised: bool = False
    ) -> None:
        took = 0.05 + self._random.random() * (4 if part != "check" and when == "call" else 0.4)
        if part == "check" and when == "call":
            took += 0.3
        self._wait(took)
        category, message = self._raised(one, when) if raised else ("none", "")
        self._append(
            PhaseEvent,
            item=item,
            criterion=one.id,
            part=part,
            when=when,
            result="raised" if raised else "passed",
            category=category,
            message=message,
            duration_s=round(took, 4),
        )

    def _raised(self, one: Criterion, when: str) -> tuple[str, str]:
        if one.id in self._plan.away:
            return "environment", "PostgreSQL, as superuser: connection refused on 127.0.0.1"
        if one.id in self._plan.skipped:
            return "notapplicable", "this environment cannot cut the network between processes"
        if when == "setup":
            return "other", "KeyError: 'celery_task_started_total'"
        return "assertion", self._plan.message

    def _append(self, kind: Any, **fields: Any) -> None:
        self.now = self._times[self._turn]
        self._writers[self._turn].append(kind, **fields)

    def _wait(self, seconds: float) -> None:
        self._times[self._turn] += timedelta(seconds=seconds)

    def _writer(self, name: str) -> Journal:
        folder = self._data.parent / "journals"
        folder.mkdir(parents=True, exist_ok=True)
        self._data.mkdir(exist_ok=True)
        return Journal(folder / f"{name}.jsonl", writer=name, clock=lambda: self.now)

    def _item(self, one: Criterion) -> str:
        return f"gates/{one.gate}/test_{one.gate}.py::test_{one.id.lower().replace('-', '_')}"

    @property
    def _faults(self) -> Sequence[tuple[str, str, str, str]]:
        return FAULTS[: self._plan.proofs]

    def _binding(self, one: Criterion) -> dict[str, Any]:
        return {
            "item": self._item(one),
            "selected": one.id not in self._plan.left_out,
            "falsifiers": [name for name, *_ in self._faults],
        }


# --- captures in the form of the probes ---------------------------------------------------------


def _sql(number: int, _: int) -> tuple[str, str]:
    asked = "SELECT tenant_id, count(*) FROM attribution_events GROUP BY tenant_id"
    tenant = f"7d9f2b1c-0000-4000-8000-{number:012}"
    text = (
        "-- role app_user, database gp_copy_17\n"
        f"-- app.current_tenant_id = '{tenant}'\n{asked};\n\n"
        f"tenant_id                            | count\n{'-' * 36}-+------\n"
        f"{tenant} | 3\n(1 rows)\n"
    )
    return f"app_user: {asked} -> 1 rows", text


def _http(number: int, _: int) -> tuple[str, str]:
    body = json.dumps({"status": "ok", "broker": "ok", "database": "ok", "asked": number})
    text = (
        "$ curl -v -X GET http://127.0.0.1:9540/health\n> GET /health HTTP/1.1\n"
        "> host: 127.0.0.1:9540\n> accept: */*\n> user-agent: python-httpx/0.28.1\n>\n"
        f"< HTTP/1.1 200\n< content-type: application/json\n< content-length: {len(body)}\n<\n"
        f"{body}"
    )
    return "GET http://127.0.0.1:9540/health -> 200", text


def _logs(number: int, lines: int) -> tuple[str, str]:
    entries = (
        {
            "timestamp": f"2026-03-01T12:00:{line % 60:02}.{number % 1000:03}Z",
            "level": "error" if line % 97 == 5 else "info",
            "logger": "system.worker",
            "message": f"task {'failed' if line % 97 == 5 else 'succeeded'}",
            "task_name": "app.tasks.housekeeping.ping",
            "task_id": f"5f0c1d2e-0000-4000-8000-{line:012}",
            "tenant_id": None,
            "correlation_id": f"c-{number}-{line}",
        }
        for line in range(lines)
    )
    return f"log of worker: {lines} lines", "".join(f"{json.dumps(one)}\n" for one in entries)


def _tasks(number: int, _: int) -> tuple[str, str]:
    return (
        "publish app.tasks.housekeeping.ping -> SUCCESS",
        (
            f"publish app.tasks.housekeeping.ping\n  id      5f0c1d2e-{number:04}\n"
            f"  kwargs  {{}}\nresult: SUCCESS after 0.{number % 10}1 s\n"
            '  {"status": "ok", "pid": 4711, "parent_pid": 4700}\n'
        ),
    )


def _worker(number: int, _: int) -> tuple[str, str]:
    return f"worker w{number}: ready", f"worker w{number}\n  pid 4700, children 4711, 4712\n"


def _process(number: int, _: int) -> tuple[str, str]:
    return (
        "alembic upgrade heads -> exit 0",
        (
            "$ alembic upgrade heads\n"
            "# DATABASE_URL=postgresql://migrator:[redacted:dsn-userinfo]@127.0.0.1/gp\n"
            f"INFO  [alembic.runtime.migration] Running upgrade  -> core_{number:04}\n[exit 0]\n"
        ),
    )


def _file(number: int, _: int) -> tuple[str, str]:
    return "spool: 1 line", f'{{"task_id": "5f0c-{number}", "status": "pending"}}\n'


def _environment(number: int, _: int) -> tuple[str, str]:
    return f"PostgreSQL 18.4 on port {54000 + number}", f"initdb, then port {54000 + number}\n"


_SEEN: dict[str, Callable[[int, int], tuple[str, str]]] = {
    "sql": _sql,
    "http": _http,
    "logs": _logs,
    "tasks": _tasks,
    "worker": _worker,
    "process": _process,
    "file": _file,
    "environment": _environment,
}


def hostile(plan: Plan) -> Plan:
    """Return a plan in which every output of the system is markup."""
    return replace(
        plan,
        seen=len(PROBES),
        text=lambda _, text: f"{MARKUP}\n{text}{MARKUP}\n",
        message=MARKUP,
    )


def many(count: int) -> tuple[Plan, Iterable[Criterion]]:
    """Return a plan and a catalogue that is larger than any real one."""
    return Plan(seen=2, seen_under_fault=1, proofs=1, long_lines=5), criteria_of(count)
