"""Gate ingestion: dead events are retried until they are stored, and move as they may only.

The falsifiers change files, and are in `system/falsifiers.toml`; those of tables are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from gateproof import (
    Ids,
    Refused,
    Session,
    Stack,
    Sut,
    claim,
    criterion,
    falsified_by,
    sql,
    wait_until,
)

from .delivery import Delivery, signed
from .observed import published_default
from .service import ROLE, Service, running_service

PAUSE = "SYSTEM_DEAD_EVENT_PAUSE_S"
SHORT_S = 0.1
"""The shortened first pause of the worker's retries."""
JITTER, SLACK_S = 1.5, 2.0
"""The greatest factor of a pause, and what a busy machine may add between two times of a row."""
KEYS = {"SYSTEM_DEAD_LETTER_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
FAILED_RETRIES = 2
DEADLINE_S = 10.0
HIDDEN = {"data": {"object": {"id": "ch_1", "card": [{"password": "hunter-of-a-card"}]}}}
"""A part of an event that a dead event masks, inside a list inside an object."""

STATUS = "status of the answer"
STATE = "state of the dead event"
LEAST, MOST = "seconds of the pause, at least", "seconds of the pause, at most"
ROWS, JOBS = "rows of the event", "runs of the event's job"

_REFUSE = """
CREATE FUNCTION refuse_for_now() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure'; END $$;
CREATE TRIGGER refuse_for_now BEFORE INSERT ON attribution_events
    FOR EACH ROW EXECUTE FUNCTION refuse_for_now();
"""
_ALLOW = "DROP FUNCTION refuse_for_now() CASCADE"
_STATE = """
SELECT remediation_status, retry_count, error_kind,
    extract(epoch FROM next_retry_at - coalesce(last_retry_at, failed_at))::float
FROM dead_events WHERE tenant_id = %s
"""
_ROWS = "SELECT payload FROM attribution_events WHERE tenant_id = %s AND event_id = %s"
_JOBS = "SELECT run_count FROM attribution_recompute_jobs WHERE tenant_id = %s"


@criterion(
    "ING-05", needs=("database", "celery", "worker", "ping", "task", "tenancy", "broker.kind=sqla")
)
def test_transient_failure_is_retried_until_it_is_stored(own_stack: Stack, ids: Ids) -> None:
    """An event that the database refuses for now is retried after growing pauses, and stored once.

    The worker's first pause is shortened by its setting; the service has the published default.
    """
    worker_env = {**KEYS, PAUSE: str(SHORT_S)}
    default_s = published_default(own_stack, PAUSE)
    # The worker of an earlier run on this database may have left the message of a later retry.
    own_stack.sql.execute("DELETE FROM kombu_message")
    sent = {
        "shopify": (str(ids.uuid()), signed("shopify", ids.uuid().hex)),
        "stripe": (str(ids.uuid()), signed("stripe", ids.uuid().hex, change=HIDDEN)),
    }
    with (
        own_stack.running_worker(env=worker_env) as worker,
        running_service(own_stack, KEYS) as service,
    ):
        own_stack.wait_ready(worker)
        own_stack.sql.execute(_REFUSE)
        for vendor, (tenant, delivery) in sent.items():
            answers = [service.send(delivery, tenant).status for _ in range(2)]
            claim(STATUS, on=f"{vendor}/refused for now", got=answers, expected=[503, 503])
            _judge_first(own_stack, tenant, vendor, default_s)
        for tries in range(1, FAILED_RETRIES + 1):
            for vendor, (tenant, _) in sent.items():
                if not _judge_pause(own_stack, tenant, vendor, tries):
                    return  # every later state would be waited for
        own_stack.sql.execute(_ALLOW)
        for vendor, (tenant, delivery) in sent.items():
            _judge_stored(service, tenant, delivery, vendor)


def _judge_first(stack: Stack, tenant: str, vendor: str, default_s: float) -> None:
    """Judge the row of an event that was just refused."""
    found = stack.sql.query(_STATE, (tenant,)).rows
    got = [row[:3] for row in found]
    claim(STATE, on=f"{vendor}/refused", got=got, expected=[("pending", 0, "transient")])
    pause_s = found[0][3] if found else None
    _judge_seconds(pause_s, f"{vendor}/before the first retry", default_s)


def _judge_pause(stack: Stack, tenant: str, vendor: str, tries: int) -> bool:
    """Wait until a retry has failed, and judge the pause after it; return whether it failed.

    On a busy machine more retries may have failed by then: the pause is that after the last one.
    """
    row = wait_until(
        lambda: stack.sql.query(_STATE, (tenant,)).rows[:1],
        lambda rows: bool(rows) and rows[0][0] == "pending" and rows[0][1] >= tries,
        deadline_s=DEADLINE_S,
    )
    on = f"{vendor}/after retry {tries}"
    got = [(status, min(count, tries)) for status, count, *_ in row]
    if not claim(STATE, on=on, got=got, expected=[("pending", tries)]):
        return False
    _judge_seconds(row[0][3], on, SHORT_S * 2 ** row[0][1])
    return True


def _judge_seconds(pause_s: float | None, on: str, least_s: float) -> None:
    got = -1.0 if pause_s is None else pause_s
    claim(LEAST, on=on, got=got, relation="at_least", expected=least_s)
    claim(MOST, on=on, got=got, relation="at_most", expected=least_s * JITTER + SLACK_S)


def _judge_stored(service: Service, tenant: str, delivery: Delivery, vendor: str) -> None:
    """Wait until the row is resolved, and judge what was stored."""
    stack = service.stack
    found = wait_until(
        lambda: [row[0] for row in stack.sql.query(_STATE, (tenant,)).rows],
        lambda states: states == ["resolved"],
        deadline_s=DEADLINE_S,
    )
    if not claim(STATE, on=f"{vendor}/in the end", got=found, expected=["resolved"]):
        return
    rows = stack.sql.query(_ROWS, (tenant, delivery.event_id)).column()
    claim(ROWS, on=vendor, got=len(rows), expected=1)
    same = [delivery.value() == row for row in rows]
    claim("payloads that equal what was sent", on=vendor, got=same, expected=[True])
    again = service.send(delivery, tenant).status
    claim(STATUS, on=f"{vendor}/delivered again", got=again, expected=200)
    jobs = wait_until(lambda: stack.sql.query(_JOBS, (tenant,)).column(), deadline_s=DEADLINE_S)
    claim(JOBS, on=vendor, got=jobs, expected=[1])


# --- ING-07: moves, and two retries at once ------------------------------------------------------

STATUSES = ("pending", "in_progress", "resolved", "ignored")
LEGAL = {
    "pending": ("in_progress", "ignored"),
    "in_progress": ("pending", "resolved", "ignored"),
    "resolved": (),
    "ignored": (),
}
BY_OPERATOR = {
    "pending": ("resolved", "ignored"),
    "in_progress": ("resolved", "ignored"),
    "resolved": (),
    "ignored": (),
}
"""Moves of the operators' function: it takes a pending row first, and so may resolve it."""
MOVES = "moves that are made"
ALL_ROWS, FIRST_ROWS = 6, 2

_INSERT = """
INSERT INTO dead_events (tenant_id, vendor, event_type, event_id, error_type, error_kind, payload,
    remediation_status, next_retry_at)
VALUES (%s, 'shopify', 'orders/create', %s, 'E', 'transient', '{}', %s, now() - interval '1 s')
RETURNING id::text
"""
_UPDATE = "UPDATE dead_events SET remediation_status = %s WHERE id = %s"
_CLAIM = """
SELECT id::text, claim::text FROM claim_dead_events(NULL, NULL, NULL, NULL, NULL, NULL, true,
    clock_timestamp(), %s, CAST(%s AS interval))
"""
_SETTLE = """
SELECT settle_dead_event(%s, %s, true, NULL, NULL, NULL, NULL, interval '0', 8)
"""
_BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%claim_dead%'
"""


@criterion("ING-07", needs=("database", "worker", "tenancy", "dead_letters.operator"))
@falsified_by(
    sql(
        "trigger-disabled",
        "ALTER TABLE dead_events DISABLE TRIGGER dead_event_moves",
        landing="SELECT tgenabled FROM pg_trigger WHERE tgname = 'dead_event_moves'",
        role="superuser",
        target="dead_events",
    ),
    expect=(MOVES, "dead_events/superuser/resolved", "got pending, in_progress, ignored"),
)
@falsified_by(
    sql(
        "service-may-move",
        f"GRANT UPDATE ON dead_events TO {ROLE}",
        landing="SELECT relacl::text FROM pg_class WHERE oid = 'dead_events'::regclass",
        role="superuser",
        target="dead_events",
    ),
    expect=(MOVES, f"dead_events/{ROLE}/pending", "got in_progress, ignored"),
)
def test_dead_event_moves_as_it_may_only(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """Only legal moves are made, as every role, and two retries at once never take one row."""
    tenant = str(ids.uuid())
    rows = {status: _insert(own_stack, tenant, status) for status in STATUSES}
    owner = sut.database.owner
    for role in (None, owner, *sut.application_roles):
        may_update = role in {None, owner}  # (the trigger alone binds these)
        with own_stack.sql.session(role) as session:
            for status, row in rows.items():
                made = [
                    other
                    for other in STATUSES
                    if other != status and _is_moved(session, sut.tenancy.guc, tenant, row, other)
                ]
                expected = list(LEGAL[status]) if may_update else []
                on = f"dead_events/{role or 'superuser'}/{status}"
                claim(MOVES, on=on, got=made, expected=expected)
    _judge_operator(own_stack, sut, rows)
    own_stack.sql.query("DELETE FROM dead_events")
    _judge_two_retries(own_stack, sut, tenant)
    _judge_expired_claim(own_stack, sut)


def _insert(stack: Stack, tenant: str, status: str, number: int = 0) -> str:
    values = (tenant, f"{status}-{number}", status)
    return str(stack.sql.query(_INSERT, values).scalar())


def _is_moved(session: Session, guc: str, tenant: str, row: str, to: str) -> bool:
    """Return whether a role can move a row; the move is rolled back."""
    session.set_local(guc, tenant)
    done = session.attempt(
        "UPDATE dead_events SET remediation_status = %s WHERE id = %s", (to, row)
    )
    session.rollback()
    return not isinstance(done, Refused) and done.count == 1


def _judge_operator(stack: Stack, sut: Sut, rows: Mapping[str, str]) -> None:
    """Judge what the function of the operators moves."""
    statement = "SELECT remediation_status FROM move_dead_events(%s::uuid[], %s, 'note')"
    with stack.sql.session(sut.dead_letters.operator) as session:
        for status, row in rows.items():
            made = []
            for other in STATUSES:
                session.query("SELECT 1")  # (an open transaction, which an attempt leaves open)
                done = session.attempt(statement, ([row], other))
                session.rollback()
                if not isinstance(done, Refused) and done.count and other != status:
                    made.append(other)
            expected = list(BY_OPERATOR[status])
            claim(MOVES, on=f"operators' function/{status}", got=made, expected=expected)


def _judge_two_retries(stack: Stack, sut: Sut, tenant: str) -> None:
    """Claim rows in two transactions at once; the second claim must not wait for the first."""
    for number in range(ALL_ROWS):
        _insert(stack, tenant, "pending", number)
    role = sut.worker.role
    with (
        stack.sql.session(role) as first,
        stack.sql.session(role) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        taken = first.query(_CLAIM, (FIRST_ROWS, "1 min")).column()
        other = pool.submit(lambda: second.query(_CLAIM, (ALL_ROWS, "1 min")).column())
        wait_until(lambda: other.done() or stack.sql.query(_BLOCKED).scalar(), deadline_s=5)
        is_waiting = not other.done()
        first.commit()  # (before any claim: one that ends the check would leave the other waiting)
        both = sorted(set(taken) & set(other.result()))
        second.commit()
    claim("second retry waits for the first", got=is_waiting, expected=False)
    claim("rows that the first retry took", got=len(taken), expected=FIRST_ROWS)
    claim("rows that both retries took", got=len(both), expected=0)
    rest = stack.sql.query(_CLAIM, (ALL_ROWS, "1 min"), role=role).column()
    claim("rows that a third retry took", got=len(rest), expected=0)


def _judge_expired_claim(stack: Stack, sut: Sut) -> None:
    """Let a claim expire: the next retry takes the row, and the late one cannot settle it."""
    role = sut.worker.role
    stack.sql.query(
        "UPDATE dead_events SET claimed_until = now() - interval '1 s', last_retry_at = NULL"
        " WHERE event_id = 'pending-0'"
    )
    old = stack.sql.query("SELECT claim::text FROM dead_events WHERE event_id = 'pending-0'")
    taken = stack.sql.query(_CLAIM, (ALL_ROWS, "1 min"), role=role).rows
    claim("rows taken after a claim expired", got=len(taken), expected=1)
    for row_id, present in taken:
        late = stack.sql.query(_SETTLE, (row_id, old.scalar()), role=role).scalar()
        claim("settled by a claim that expired", got=late, expected=False)
        done = stack.sql.query(_SETTLE, (row_id, present), role=role).scalar()
        claim("settled by the present claim", got=done, expected=True)
