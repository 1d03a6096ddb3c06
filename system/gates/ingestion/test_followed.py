"""Gate ingestion: an event is followed by its correlation id, and nothing shows its content.

The falsifiers change files, and are in `system/falsifiers.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from gateproof import Exchange, Ids, LogLines, Stack, Worker, claim, criterion, wait_until

from .delivery import SECRET, SIGNATURES, Delivery, signed
from .observed import changed, defective_lookup
from .service import Service, running_service

DEADLINE_S = 10.0
RECOMPUTE = "app.tasks.attribution.recompute_window"
TRACED = ("good", "job fails", "contract broken", "not signed", "defect")
"""The deliveries of ING-11; each is of a tenant of its own."""

STATUS = "status of the answer"
ID_OF_ANSWER = "correlation id of the answer"
TENANT, ID = "tenant of the row", "correlation id of the row"
LINES, FOREIGN = "lines with the correlation id", "lines without a correlation id that was sent"

_FAIL_JOB = """
CREATE FUNCTION refuse_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no job for this tenant'; END $$;
CREATE TRIGGER refuse_job BEFORE INSERT ON attribution_recompute_jobs
    FOR EACH ROW WHEN (NEW.tenant_id = '{tenant}') EXECUTE FUNCTION refuse_job();
"""
_ALLOW_JOB = "DROP FUNCTION refuse_job() CASCADE"
_TABLES = {
    "attribution_events": "good",
    "attribution_recompute_jobs": "good",
    "worker_failed_jobs": "job fails",
    "dead_events": "contract broken",
}
"""Each table, and the delivery whose row it has."""


@criterion(
    "ING-11",
    needs=("database", "celery", "worker", "ping", "task", "tenancy", "logs", "broker.kind=sqla"),
)
def test_event_is_followed_by_its_correlation_id(own_stack: Stack, ids: Ids) -> None:
    """One id is in the answer, in all lines about the event, and in every row, of one tenant."""
    tenants = {name: str(ids.uuid()) for name in TRACED}
    sent = {name: f"gate-{ids.uuid()}" for name in TRACED}
    worker = own_stack.worker
    refusal = _FAIL_JOB.format(tenant=tenants["job fails"])
    with changed(own_stack, refusal, _ALLOW_JOB), running_service(own_stack) as service:
        began = len(service.process.lines().lines), len(worker.log().lines)
        answers = _send(service, tenants, sent)
        for name, status in zip(TRACED, (202, 202, 422, 401, 500), strict=True):
            _judge_answer(answers[name], sent[name], name, status)
        for table, name in _TABLES.items():
            _judge_row(own_stack, table, tenants[name], sent[name])
        names = {value: name for name, value in sent.items()}
        _judge_lines("service", service.log_since(began[0]), names, TRACED)
        _judge_lines("worker", _task_lines(worker, began[1]), names, TRACED[:2])


def _send(
    service: Service, tenants: Mapping[str, str], sent: Mapping[str, str]
) -> dict[str, Exchange]:
    """Send one delivery of each kind; the last one while its database is defective."""
    answers = {}
    for number, name in enumerate(TRACED):
        change = {"id": None} if name == "contract broken" else {}
        delivery = signed("shopify", f"{number:032x}", change=change)
        if name == "not signed":
            delivery = delivery.without(SIGNATURES["shopify"])
        service.path("shopify", tenants[name])
        headers = {"x-correlation-id": sent[name]}
        with defective_lookup(service.stack) if name == "defect" else nullcontext():
            answers[name] = service.send(delivery, tenants[name], headers=headers)
    return answers


def _judge_answer(answer: Exchange, sent: str, name: str, status: int) -> None:
    claim(STATUS, on=name, got=answer.status, expected=status)
    got = answer.headers.get("x-correlation-id") == sent
    claim(ID_OF_ANSWER, on=f"{name}/header", got=got, expected=True)
    got = (answer.json() or {}).get("correlation_id") == sent
    claim(ID_OF_ANSWER, on=f"{name}/body", got=got, expected=True)


def _judge_row(stack: Stack, table: str, tenant: str, sent: str) -> None:
    """Wait for the row with the id or the tenant, and judge that it has both."""
    found = wait_until(
        lambda: (
            stack.sql.query(
                f"SELECT tenant_id::text, correlation_id FROM {table}"
                " WHERE correlation_id = %s OR tenant_id = %s",
                (sent, tenant),
            ).rows
        ),
        deadline_s=DEADLINE_S,
    )
    owners = ["the tenant" if row[0] == tenant else "another" for row in found]
    claim(TENANT, on=table, got=owners, expected=["the tenant"])
    got = ["the one sent" if row[1] == sent else "another" for row in found]
    claim(ID, on=table, got=got, expected=["the one sent"])


def _task_lines(worker: Worker, count: int) -> list[dict[str, Any]]:
    """Return the worker's lines since the first ones, once both runs of the task have ended."""

    def lines() -> list[dict[str, Any]]:
        found = LogLines(lines=worker.log().lines[count:], redactions=()).entries()
        return [line for line in found if line.get("task_name")]

    return wait_until(
        lines,
        lambda found: {line["message"] for line in found} >= {"task succeeded", "task failed"},
        deadline_s=DEADLINE_S,
    )


def _judge_lines(
    process: str,
    lines: list[dict[str, Any]],
    names: Mapping[str, str],
    expected: tuple[str, ...],
) -> None:
    """Judge that each delivery has a line, and each line the id of a delivery."""
    shown = {names[line["correlation_id"]] for line in lines if line.get("correlation_id") in names}
    for name in expected:
        claim(LINES, on=f"{process}/{name}", got=name in shown, expected=True)
    foreign = [line.get("message") for line in lines if line.get("correlation_id") not in names]
    claim(FOREIGN, on=process, got=foreign, expected=[], over=lines)


# --- ING-12: what no log, metric or error shows --------------------------------------------------

SHOWN = "canaries that are shown"
PLACES = (
    "log of the service",
    "log of the worker",
    "metrics",
    "answers",
    "errors of dead events",
    "errors of dead-letter rows",
)
CANARY = "hunter-of-a-payload"
IN_PAYLOAD = {"note": f"{CANARY}-1", "lines": [{"text": f"{CANARY}-2"}], "password": f"{CANARY}-3"}
# A constraint whose error quotes the whole row, as PostgreSQL does.
_QUOTING = """
ALTER TABLE attribution_events ADD CONSTRAINT quoting CHECK (vendor <> 'woocommerce') NOT VALID
"""
_NOT_QUOTING = "ALTER TABLE attribution_events DROP CONSTRAINT quoting"
_ERRORS = "SELECT coalesce(string_agg(concat_ws(' ', {columns}), ' '), '') FROM {table}"
_COLUMNS = {
    "dead_events": "error_message, error_traceback, remediation_notes",
    "worker_failed_jobs": "error_message, traceback, notes",
}


@criterion(
    "ING-12", needs=("database", "celery", "worker", "ping", "task", "tenancy", "broker.kind=sqla")
)
def test_no_secret_and_no_payload_is_shown(own_stack: Stack, ids: Ids) -> None:
    """Nothing of what is sent or signs it is in logs, metrics, answers and recorded errors."""
    tenant, other = str(ids.uuid()), str(ids.uuid())
    worker = own_stack.worker
    canaries = {"secret": SECRET, "payload": CANARY}
    with (
        changed(own_stack, _QUOTING, _NOT_QUOTING),
        changed(own_stack, _FAIL_JOB.format(tenant=other), _ALLOW_JOB),
        running_service(own_stack) as service,
    ):
        answers = []
        for name, delivery, status in _deliveries(ids):
            of = other if name == "job fails" else tenant
            answer = service.send(delivery, of)
            claim(STATUS, on=name, got=answer.status, expected=status)
            answers.append(f"{answer.headers} {answer.body}")
            if signature := delivery.headers.get(SIGNATURES[delivery.vendor]):
                canaries[f"signature of {name}"] = signature.rpartition("v1=")[2]
        wait_until(lambda: _errors(own_stack, "worker_failed_jobs"), deadline_s=DEADLINE_S)
        canaries |= {f"token {number}": one for number, one in enumerate(service.tokens.values())}
        dsn = own_stack.inner_dsn("app_ingest")
        canaries["password"] = dsn.partition("@")[0].rpartition(":")[2]
        texts = (
            "\n".join(service.process.lines().lines),
            "\n".join(worker.log().lines),
            own_stack.http.get(f"{service.url}/metrics").body,
            "\n".join(answers),
            _errors(own_stack, "dead_events"),
            _errors(own_stack, "worker_failed_jobs"),
        )
    for place, text in zip(PLACES, texts, strict=True):
        claim("place has a text", on=place, got=bool(text.strip()), expected=True)
        got = [name for name, canary in canaries.items() if canary in text]
        claim(SHOWN, on=place, got=got, expected=[], over=canaries)


def _errors(stack: Stack, table: str) -> str:
    return str(stack.sql.query(_ERRORS.format(table=table, columns=_COLUMNS[table])).scalar())


def _deliveries(ids: Ids) -> list[tuple[str, Delivery, int]]:
    """Return deliveries that end in each way, each with its name and the status of its answer."""

    def of(vendor: str, **change: Any) -> Delivery:
        return signed(vendor, ids.uuid().hex, change={**IN_PAYLOAD, **change})

    return [
        ("stored", stored := of("shopify"), 202),
        ("repeated", stored, 200),
        ("job fails", of("shopify"), 202),
        ("wrong signature", signed("stripe", ids.uuid().hex, change=IN_PAYLOAD, secret="x"), 401),
        ("another body", stored.with_body(stored.body + b" "), 401),
        ("broken contract", of("paypal", create_time=f"{CANARY}-4"), 422),
        ("wrong time", of("stripe", created=10**17), 422),
        ("refused with the row quoted", of("woocommerce"), 422),
    ]
