"""Gate rls: a tenant task without a valid tenant is refused, and leaves a dead-letter row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateproof import Ids, Stack, Sut, criterion, falsified_by, source, wait_until

from ..endings import ROW_AFTER_LINE_S, wait_for_failure_lines

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
    "with a list as tenant": ["3f2b8c1e-5d4a-4e6f-9a7b-1c2d3e4f5a6b"],
}
"""Further values that are not UUIDs. One task gets them, because all tasks share one decorator."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A published task, and its description for messages."""

    what: str
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
    expect="app.tasks.attribution.recompute_window without a tenant: got SUCCESS",
)
@falsified_by(
    source(
        "refusals-are-no-failures",
        "system/dead_letters/capture/failure.py",
        '        task = task_of(app, getattr(request, "task", None))\n',
        '        task = task_of(app, getattr(request, "task", None))\n'
        "        if type(error).__name__ == 'TenantError':\n            return None\n",
    ),
    expect="dead-letter rows of app.tasks.attribution.recompute_window without a tenant: got 0",
)
@falsified_by(
    source(
        "letter-under-a-made-up-tenant",
        "system/identity.py",
        "headers.get(HEADER_TENANT_ID)),",
        "headers.get(HEADER_TENANT_ID)) or str(uuid.UUID(int=0)),",
    ),
    expect="dead-letter row of app.tasks.attribution.recompute_window without a tenant: tenant",
)
def test_a_tenant_task_needs_a_tenant(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Every tenant task without a UUID as its tenant is refused, and leaves a dead-letter row."""
    assert stack.worker.alive, "worker: got one that ended, expected one that runs"
    model = ids.slug("refused")
    sent = list(_publish_without_tenant(stack, sut, model))
    for one in sent:
        ended = stack.tasks.result(one.id)
        got = f"{ended.state} {ended.value}"
        assert ended.state == "FAILURE", f"{one.what}: got {got}, expected a refusal"
        reason = str(ended.value["message"])
        assert sut.tenancy.key in reason, (
            f"refusal of {one.what}: got {reason!r}, expected it to name {sut.tenancy.key}"
        )
    _assert_dead_letters(stack, sut, sent)
    jobs = stack.sql.query(f"SELECT * FROM {JOBS} WHERE model_version = %s", (model,)).count
    assert jobs == 0, f"rows of {JOBS} that refused tasks left: got {jobs}, expected 0"
    _assert_accepted_with_a_tenant(stack, sut, ids)


def _publish_without_tenant(stack: Stack, sut: Sut, model: str) -> Iterator[Sent]:
    key = sut.tenancy.key
    for task, arguments in TENANT_TASKS.items():
        assert task in sut.tasks, f"tenant task {task}: got none, expected it in the contract"
        tenants: dict[str, dict[str, Any]] = {
            "without a tenant": {},
            "with a word as tenant": {key: "not-a-uuid"},
        }
        if task == RECOMPUTE:
            arguments = {**arguments, "model_version": model}
            tenants |= {how: {key: value} for how, value in NO_TENANTS.items()}
        for how, tenant in tenants.items():
            task_id = stack.tasks.publish(task, (), {**arguments, **tenant})
            yield Sent(what=f"{task} {how}", task=task, id=task_id)


def _assert_dead_letters(stack: Stack, sut: Sut, sent: list[Sent]) -> None:
    """Assert that each refusal left one row without a tenant, since the sent value is not one."""
    query = (
        f"SELECT task_id, task_name, {sut.tenancy.key}, status FROM {sut.dead_letters.table}"
        " WHERE task_id = ANY(%s)"
    )
    ids = [one.id for one in sent]
    wait_for_failure_lines(stack, ids)
    rows = wait_until(
        lambda: stack.sql.query(query, (ids,)).dicts(),
        lambda seen: len(seen) >= len(sent),
        deadline_s=ROW_AFTER_LINE_S,
    )
    for one in sent:
        found = [row for row in rows if row["task_id"] == one.id]
        where = f"dead-letter rows of {one.what}"
        assert len(found) == 1, f"{where}: got {len(found)}, expected 1"
        (row,) = found
        tenant = row[sut.tenancy.key]
        assert tenant is None, f"dead-letter row of {one.what}: tenant: got {tenant}, expected none"
        got = (row["task_name"], row["status"])
        assert got == (one.task, "pending"), f"{where}: got {got}, expected {one.task}, pending"


def _assert_accepted_with_a_tenant(stack: Stack, sut: Sut, ids: Ids) -> None:
    """Assert that the same calls succeed with a UUID, so the tenant was the reason for refusal."""
    tenant = ids.uuid()
    sent = {
        task: stack.tasks.publish(task, (), {**arguments, sut.tenancy.key: tenant})
        for task, arguments in TENANT_TASKS.items()
    }
    for task, task_id in sent.items():
        ended = stack.tasks.result(task_id)
        assert ended.state == "SUCCESS", (
            f"{task} with a tenant: got {ended.state} {ended.value}, expected SUCCESS"
        )
