"""Gate runtime: a task that fails leaves nothing of what it wrote, and does not report success."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import (
    POOL_SOLO,
    Ids,
    Relay,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    source,
)

from .own_tasks import lines_of_a_worker

DATABASE, HOUSEKEEPING = "system/connections/database.py", "system/tasks/housekeeping.py"
WRITES, WRITTEN = "app.tasks.housekeeping.gate_writes", "attribution_events"

ROWS, STATE = "rows that the task wrote", "state of the task"
RAISED, TIMED_OUT, RETRIED = "that raises", "whose statement exceeds its time", "that is retried"
SUCCEEDED = "that succeeds"
PING_WITHOUT = "ping while its database is away"
"""Names and objects of claims that falsifiers predict."""

EXPECTED = {
    SUCCEEDED: ("SUCCESS", 1),
    RAISED: ("FAILURE", 0),
    TIMED_OUT: ("FAILURE", 0),
    RETRIED: ("SUCCESS", 1),
    "that ignores itself": ("PENDING", 0),
}

# A tenant task that writes a row first, and then ends as it is asked to.
_TASKS = f"""
from celery.exceptions import Ignore
from sqlalchemy import text
from system.tasks.tenancy import tenant_task

@shared_task(name="{WRITES}", max_retries=1)
@tenant_task
def writes(tenant_id, how, *, connection):
    values = {{"tenant_id": tenant_id}}
    connection.execute(text("INSERT INTO {WRITTEN} (tenant_id) VALUES (:tenant_id)"), values)
    if how == "{RAISED}":
        raise ValueError("asked to fail")
    if how == "{TIMED_OUT}":
        connection.execute(text("SET LOCAL statement_timeout = 50"))
        connection.execute(text("SELECT pg_sleep(20)"))
    if how == "{RETRIED}" and not current_task.request.retries:
        raise current_task.retry(countdown=0)
    if how == "that ignores itself":
        raise Ignore()
"""


@criterion(
    "RUN-12",
    needs=(
        "database",
        "celery",
        "worker.broker",
        "worker.result_backend",
        "ping",
        "task",
        "tenancy",
    ),
)
@falsified_by(
    source(
        "committed-whatever-happens",
        DATABASE,
        function="transaction",
        body="""
            connection = task_engine().connect()
            try:
                if tenant_id is not None:
                    set_tenant(connection, str(tenant_id))
                yield connection
            finally:
                connection.commit()
                connection.close()
        """,
    ),
    expect=(ROWS, RAISED, "got 1"),
)
@falsified_by(
    source(
        "time-out-swallowed",
        DATABASE,
        function="transaction",
        body="""
            from sqlalchemy.exc import OperationalError
            with task_engine().connect() as connection:
                try:
                    if tenant_id is not None:
                        set_tenant(connection, str(tenant_id))
                    yield connection
                    connection.commit()
                except OperationalError:
                    connection.rollback()
        """,
    ),
    expect=(STATE, TIMED_OUT, "got SUCCESS"),
)
@falsified_by(
    source(
        "committed-before-a-retry",
        DATABASE,
        function="transaction",
        body="""
            from celery.exceptions import Retry
            with task_engine().connect() as connection:
                try:
                    if tenant_id is not None:
                        set_tenant(connection, str(tenant_id))
                    yield connection
                    connection.commit()
                except Retry:
                    connection.commit()
                    raise
        """,
    ),
    expect=(ROWS, RETRIED, "got 2"),
)
@falsified_by(
    source(
        "answered-from-memory",
        HOUSEKEEPING,
        function="ping",
        body="""
            answer = getattr(database, "last_answer", None)
            try:
                with database.transaction() as connection:
                    backend_pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                answer = {"status": "ok", "pid": os.getpid(), "backend_pid": backend_pid}
            except Exception:
                if answer is None:
                    raise
            database.last_answer = answer
            return answer
        """,
    ),
    expect=(STATE, PING_WITHOUT, "got SUCCESS"),
)
def test_failed_task_leaves_nothing(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """A failed, ignored or retried run leaves no row, and no answer comes from memory."""
    stack = own_stack
    tenants = {how: str(ids.uuid()) for how in EXPECTED}
    sent = {
        how: stack.tasks.publish(WRITES, (), {sut.tenancy.key: tenant, "how": how})
        for how, tenant in tenants.items()
    }
    lines_of_a_worker(stack, _TASKS, len(sent))
    count = f"SELECT count(*) FROM {WRITTEN} WHERE {sut.tenancy.key}::text = %s"
    for how, (state, rows) in EXPECTED.items():
        ended = stack.tasks.result(sent[how], deadline_s=0.2).state
        claim(STATE, on=how, got=ended, expected=state)
        written = stack.sql.query(count, (tenants[how],)).scalar()
        claim(ROWS, on=how, got=written, expected=rows)
    judge_ping_without_its_database(stack, sut)


def judge_ping_without_its_database(stack: Stack, sut: Sut) -> None:
    """Judge that a ping fails while its database is away, and succeeds before and afterwards."""
    relay = stack.start_relay()
    try:
        with worker_through(stack, relay) as worker:
            stack.wait_ready(worker)
            for mode, on, expected in (
                ("pass", "ping before its database is away", "SUCCESS"),
                ("away", PING_WITHOUT, "FAILURE"),
                ("pass", "ping with its database again", "SUCCESS"),
            ):
                relay.set_mode(mode)
                state = stack.tasks.run(sut.ping.task, sut.ping.arguments).state
                if not claim(STATE, on=on, got=state, expected=expected):
                    return
    finally:
        relay.stop()


@contextmanager
def worker_through(stack: Stack, relay: Relay) -> Iterator[Worker]:
    """Run a worker whose tasks reach their database by a relay, and its broker without one."""
    how, direct = stack.sut.worker, stack.inner_dsn(stack.sut.worker.role)
    stack.route_through(relay.address)
    env = {name: stack.inner_dsn(how.role, form=form) for name, form in how.dsn.items()}
    stack.route_through(stack.server.inside)
    env |= {how.broker: f"sqla+{direct}", how.result_backend: f"db+{direct}"}
    with stack.running_worker(pool=POOL_SOLO, env=env) as worker:
        yield worker
