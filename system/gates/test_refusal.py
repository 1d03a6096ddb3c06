"""Gate rls: a tenant task without a valid tenant is refused, and leaves a dead-letter row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateproof import Ids, Stack, Sut, claim, criterion, falsified_by, premise, source, wait_until

LINE_WITHIN_S = 15.0
ROW_AFTER_LINE_S = 1.0
"""How long after the log line of a failure its row may appear; the system writes the row first."""

RECOMPUTE = "app.tasks.attribution.recompute_window"
JOBS = "attribution_recompute_jobs"

WINDOW = {"window_start": "2025-03-01T00:00:00Z", "window_end": "2025-03-02T00:00:00Z"}
TENANT_TASKS: Mapping[str, Mapping[str, Any]] = {
    RECOMPUTE: WINDOW,
    "app.tasks.maintenance.scan_for_pii_contamination": {},
    "app.tasks.maintenance.enforce_data_retention": {"retention_days": 30},
    "app.tasks.llm.route": {"payload": {"n": 1}},
    "app.tasks.llm.explanation": {"payload": {"n": 1}},
    "app.tasks.llm.investigation": {"payload": {"n": 1}},
    "app.tasks.llm.budget_optimization": {"payload": {"n": 1}},
}
"""The contract's tenant tasks, with their arguments without the tenant."""

NO_TENANTS: Mapping[str, Any] = {
    "with None as tenant": None,
    "with an empty tenant": "",
    "with a number as tenant": 7,
    "with most of a UUID as tenant": "3f2b8c1e-5d4a-4e6f-9a7b-1c2d3e4f5a6",
    "with a UUID in braces": "{3f2b8c1e-5d4a-4e6f-9a7b-1c2d3e4f5a6b}",
    "with a UUID as a URN": "urn:uuid:3f2b8c1e-5d4a-4e6f-9a7b-1c2d3e4f5a6b",
    "with a UUID without hyphens": "3f2b8c1e5d4a4e6f9a7b1c2d3e4f5a6b",
    "with a blank after the UUID": "3f2b8c1e-5d4a-4e6f-9a7b-1c2d3e4f5a6b ",
    "with a list as tenant": ["3f2b8c1e-5d4a-4e6f-9a7b-1c2d3e4f5a6b"],
}
"""Further values that are not UUIDs. One task gets them, because all tasks share one decorator."""


IDENTITY = "system/identity.py"
ACCEPTED = "state of a task with a tenant"
STATE = "state of a task without a valid tenant"
ROWS = "dead-letter rows of a refused task"
TENANT = "tenant of the dead-letter row of a refused task"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A published task, and its name in findings."""

    what: str
    """The name of the task and what it has as its tenant, separated by a slash."""
    task: str
    id: str


@criterion(
    "RLS-07",
    needs=("database", "celery", "worker", "ping", "task", "tenancy", "dead_letters", "logs"),
)
@falsified_by(
    source(
        "default-tenant",
        "system/tasks/tenancy.py",
        function="required_tenant",
        body="return UUID(canonical_uuid(value) or '00000000-0000-4000-8000-000000000001')",
    ),
    expect=(STATE, f"{RECOMPUTE}/without a tenant", "got SUCCESS"),
)
@falsified_by(
    source(
        "refusals-are-no-failures",
        "system/dead_letters/capture/failure.py",
        '        task = task_of(app, getattr(request, "task", None))\n',
        '        task = task_of(app, getattr(request, "task", None))\n'
        "        if type(error).__name__ == 'TenantError':\n            return None\n",
    ),
    expect=(ROWS, f"{RECOMPUTE}/without a tenant", "got 0"),
)
@falsified_by(
    source(
        "row-under-an-invented-tenant",
        IDENTITY,
        "headers.get(HEADER_TENANT_ID)),",
        "headers.get(HEADER_TENANT_ID)) or str(uuid.UUID(int=0)),",
    ),
    expect=(
        TENANT,
        f"{RECOMPUTE}/without a tenant",
        "got 00000000-0000-0000-0000-000000000000",
    ),
)
@falsified_by(
    source(
        "every-spelling-of-a-uuid",
        IDENTITY,
        "return parsed if isinstance(value, str) and parsed == value.lower() else None",
        "return parsed",
    ),
    expect=(STATE, f"{RECOMPUTE}/with a UUID in braces", "got SUCCESS"),
)
@falsified_by(
    source("lower-case-only", IDENTITY, "parsed == value.lower()", "parsed == value"),
    expect=(ACCEPTED, f"{RECOMPUTE}/in capitals", "got FAILURE"),
)
def test_a_tenant_task_needs_a_tenant(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Every tenant task without a UUID as its tenant is refused, and leaves a dead-letter row."""
    premise("the worker runs", got=stack.worker.alive, expected=True)
    model = ids.slug("refused")
    sent = list(_publish_without_tenant(stack, sut, model))
    for one in sent:
        ended = stack.tasks.result(one.id)
        if ended.timed_out:  # and so would the others
            claim(STATE, on=one.what, got="no result", expected="FAILURE")
            return
        if claim(STATE, on=one.what, got=ended.state, expected="FAILURE"):
            reason = str(ended.value["message"])
            claim(
                "reason of a refusal, which names the tenant",
                on=one.what,
                got=reason,
                relation="contains",
                expected=sut.tenancy.key,
            )
    _judge_dead_letters(stack, sut, sent)
    jobs = stack.sql.query(f"SELECT * FROM {JOBS} WHERE model_version = %s", (model,)).count
    claim("rows that refused tasks left", on=JOBS, got=jobs, expected=0)
    _judge_accepted_with_a_tenant(stack, sut, ids)


def _publish_without_tenant(stack: Stack, sut: Sut, model: str) -> Iterator[Sent]:
    key = sut.tenancy.key
    for task, arguments in TENANT_TASKS.items():
        if not claim(
            "tasks of the contract, with a tenant task",
            on=task,
            got=sut.tasks,
            relation="contains",
            expected=task,
        ):
            continue
        tenants: dict[str, dict[str, Any]] = {
            "without a tenant": {},
            "with a word as tenant": {key: "not-a-uuid"},
        }
        if task == RECOMPUTE:
            arguments = {**arguments, "model_version": model}
            tenants |= {how: {key: value} for how, value in NO_TENANTS.items()}
        for how, tenant in tenants.items():
            task_id = stack.tasks.publish(task, (), {**arguments, **tenant})
            yield Sent(what=f"{task}/{how}", task=task, id=task_id)


def _judge_dead_letters(stack: Stack, sut: Sut, sent: list[Sent]) -> None:
    """Judge that each refusal left one row without a tenant, since the sent value is not one."""
    query = (
        f"SELECT task_id, task_name, {sut.tenancy.key}, status FROM {sut.dead_letters.table}"
        " WHERE task_id = ANY(%s)"
    )
    ids = [one.id for one in sent]
    _wait_for_failure_lines(stack, ids)
    rows = wait_until(
        lambda: stack.sql.query(query, (ids,)).dicts(),
        lambda seen: len(seen) >= len(sent),
        deadline_s=ROW_AFTER_LINE_S,
    )
    for one in sent:
        found = [row for row in rows if row["task_id"] == one.id]
        if not claim(ROWS, on=one.what, got=len(found), expected=1):
            continue
        (row,) = found
        claim(TENANT, on=one.what, got=row[sut.tenancy.key], expected=None)
        claim(
            "task and status of the dead-letter row",
            on=one.what,
            got=(row["task_name"], row["status"]),
            expected=(one.task, "pending"),
        )


def _wait_for_failure_lines(stack: Stack, task_ids: list[str]) -> None:
    """Wait until the worker has logged the failure of each task: a row can be there then."""
    names, worker = stack.sut.logs, stack.worker

    def logged_failures() -> set[str]:
        lines = worker.log().matching(**{names.message: names.failure})
        return {str(line.get(names.task_id)) for line in lines}

    wait_until(
        logged_failures,
        lambda seen: seen >= set(task_ids) or not worker.alive,
        deadline_s=LINE_WITHIN_S,
        interval_s=0.1,
    )


def _judge_accepted_with_a_tenant(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Judge that the same calls succeed with a UUID, so the tenant was the reason for refusal."""
    tenant = ids.uuid()
    sent = {
        task: stack.tasks.publish(task, (), {**arguments, sut.tenancy.key: tenant})
        for task, arguments in TENANT_TASKS.items()
        if task in sut.tasks
    }
    capitals = {**WINDOW, sut.tenancy.key: str(tenant).upper()}
    sent[f"{RECOMPUTE}/in capitals"] = stack.tasks.publish(RECOMPUTE, (), capitals)
    for what, task_id in sent.items():
        ended = stack.tasks.result(task_id)
        if not claim(ACCEPTED, on=what, got=ended.state, expected="SUCCESS"):
            return
