"""Gate observability: a worker that is alive and consumes nothing, and the gauges of its queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from gateproof import (
    POOL_PREFORK,
    POOL_SOLO,
    Completed,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    http,
    premise,
    source,
    wait_until,
)

CONSUMER, HEALTH = "system/observability/consumer.py", "system/observability/health.py"
BACKLOG, STATEMENTS = "system/observability/backlog.py", "system/transport/statements.py"

SCAN, SCANNED = "app.tasks.maintenance.scan_for_pii_contamination", "attribution_events"
ROUTE, MESSAGES = "app.tasks.llm.route", "kombu_message"
CONSUMED, OTHER = "housekeeping", "llm"
HEARTBEAT = "WITH alive AS"
"""The beginning of the statement of a heartbeat, which a thread of its own sends."""

NODE = "asked@gate"
"""The node name of the worker, so that a command waits for its answer only."""

STALLED_AFTER_S = 1.0
ENV = {"SYSTEM_HEALTH_STALLED_S": str(STALLED_AFTER_S)}
BUSY_S = 3 * STALLED_AFTER_S
DEADLINE_S = 15.0
NOTICED_S = 8.0
"""How long after the stall its health may take to say so, on a busy machine."""
QUEUED = 9
"""More messages than a worker with one child claims ahead."""

GAUGES = {
    "system_queue_waiting_messages": "waiting",
    "system_queue_claimed_messages": "claimed",
    "system_queue_oldest_waiting_seconds": "oldest",
}
OLD_S, SLACK_S = 3600, 300
UPDATED_WITHIN_S = 10.0

_LEFT = """
SELECT count(*) FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id WHERE q.owner IS NULL
"""
_BLOCKED = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s AND wait_event_type = 'Lock'
   AND position(%s IN query) > 0 AND position(%s IN query) = 0
"""


@criterion("OBS-11", needs=("database", "celery", "worker", "ping", "task", "tenancy", "health"))
@falsified_by(
    source(
        "constant",
        HEALTH,
        "            consumer.expect_progress(dict(waits))\n",
        "            del waits\n",
    ),
    expect=("answer of the health", "consumer cancelled", "got 200"),
)
@falsified_by(
    source("any-progress-counts", CONSUMER, "        self._expect_consumed(late)  # 4\n", ""),
    expect=("answer of the health", "consumer cancelled", "got 200"),
)
@falsified_by(
    source(
        "queues-of-now-only",
        CONSUMER,
        "self._queues | set(self._worker.app.amqp.queues.consume_from)",
        "set(self._worker.app.amqp.queues.consume_from)",
    ),
    expect=("answer of the health", "consumer cancelled", "got 200"),
)
@falsified_by(
    source(
        "busy-without-its-loop",
        CONSUMER,
        "if not isinstance(pool, SoloPool) and self._is_past(ACTIVITY.turned_at + TURN_S):",
        "if not pool:",
    ),
    expect=("answer of the health", "event loop blocked", "got 200"),
)
@falsified_by(
    source(
        "a-turn-of-the-loop-is-progress",
        CONSUMER,
        "ACTIVITY.moved_at, *starts",
        "ACTIVITY.moved_at, ACTIVITY.turned_at, *starts",
    ),
    expect=("answer of the health", "children stopped", "got 200"),
)
@falsified_by(
    source(
        "claimed-is-consumed",
        CONSUMER,
        "waiting = _members(state.reserved_requests) - active",
        "waiting: set[Any] = set()",
    ),
    expect=("answer of the health", "event loop blocked", "got 200"),
)
@falsified_by(
    source(
        "busy-is-stalled",
        CONSUMER,
        "if self._progressed(active) or self._is_busy(active):",
        "if self._progressed(active):",
    ),
    expect=("answers of the health", "every slot busy", "503"),
)
@falsified_by(
    source(
        "one-slot-is-every-slot",
        CONSUMER,
        "slots: int = pool.num_processes",
        "slots = 0",
    ),
    expect=("answer of the health", "children stopped", "got 200"),
)
@falsified_by(
    http(
        "answers-as-if-all-were-well",
        "health",
        status=200,
        body='{"status": "ok", "consumer": "ok"}',
        content_type="application/json",
        when_status=503,
    ),
    expect=("answer of the health", "consumer cancelled", "got 200"),
)
@falsified_by(
    http(
        "answers-as-if-it-were-stalled",
        "health",
        status=503,
        body='{"status": "unhealthy", "consumer": "error"}',
        content_type="application/json",
        when_status=200,
    ),
    expect=("answer of the health", "at rest", "got 503 error"),
)
def test_health_names_a_consumer_that_makes_no_progress(
    own_stack: Stack, sut: Sut, ids: Ids
) -> None:
    """Health is 503 while a worker leaves messages, and 200 when it is busy or consumes again."""
    stack, tenant = own_stack, {sut.tenancy.key: ids.uuid()}
    with stack.running_worker(
        pool=POOL_PREFORK, concurrency=1, env=ENV, options=(f"--hostname={NODE}",)
    ) as worker:
        stack.wait_ready(worker)
        for judge in (at_rest, when_busy, when_cancelled, when_blocked, when_stopped):
            if not judge(stack, worker, tenant):
                return  # every other answer would be waited for


def at_rest(stack: Stack, worker: Worker, _tenant: Mapping[str, object]) -> bool:
    """Judge its health before anything happens."""
    return is_consumer_ok(stack, worker, "at rest")


def when_busy(stack: Stack, worker: Worker, tenant: Mapping[str, object]) -> bool:
    """Judge its health while its only child runs a task, and after it."""
    with busy(stack, tenant):
        publish_pings(stack, QUEUED)
        seen = answers(stack, worker, BUSY_S)
        ok = claim("answers of the health", on="every slot busy", got=seen, expected=["200 ok"])
    return ok and is_consumer_ok(stack, worker, "after a busy time")


def when_cancelled(stack: Stack, worker: Worker, tenant: Mapping[str, object]) -> bool:
    """Judge its health while it does not consume a queue with a message, and after it."""
    with consumer_cancelled(stack, CONSUMED):
        publish_pings(stack, 1)

        def progress_elsewhere() -> object:
            return stack.tasks.run(ROUTE, tenant)

        failed = is_consumer_error(stack, worker, "consumer cancelled", progress_elsewhere)
    return failed and is_consumer_ok(stack, worker, "consumer added again")


def when_blocked(stack: Stack, worker: Worker, tenant: Mapping[str, object]) -> bool:
    """Judge its health while its event loop waits, and after it."""
    expect_no_message(stack)
    with loop_blocked(stack, tenant):
        failed = is_consumer_error(stack, worker, "event loop blocked")
    return failed and is_consumer_ok(stack, worker, "event loop turning again")


def when_stopped(stack: Stack, worker: Worker, _tenant: Mapping[str, object]) -> bool:
    """Judge its health while its child is stopped, and after it."""
    # A child that is stopped in the middle of an earlier task would be busy, which is healthy.
    expect_no_message(stack)
    with children_stopped(worker):
        publish_pings(stack, 2)
        failed = is_consumer_error(stack, worker, "children stopped")
    return failed and is_consumer_ok(stack, worker, "children running again")


@criterion("OBS-12", needs=("database", "celery", "worker", "ping", "task", "metrics"))
@falsified_by(
    source(
        "constants",
        BACKLOG,
        "Depth(queue=queue, waiting=waiting, claimed=claimed, oldest_s=max(0.0, oldest_s or 0.0))",
        "Depth(queue=queue, waiting=0, claimed=0, oldest_s=0.0)",
    ),
    expect=("messages in the gauge", "housekeeping/waiting", "got 0"),
)
@falsified_by(
    source(
        "other-queues-counted", STATEMENTS, "ON m.queue_id = q.id\n    WHERE", "ON true\n    WHERE"
    ),
    expect=("messages in the gauge", "llm/waiting", "got 3"),
)
@falsified_by(
    source(
        "scheduled-ones-wait",
        STATEMENTS,
        "count(m.id) FILTER (WHERE m.visible)",
        "count(m.id) FILTER (WHERE m.claimed_by IS NULL)",
    ),
    expect=("messages in the gauge", "housekeeping/waiting", "got 4"),
)
@falsified_by(
    source("every-one-is-claimed", STATEMENTS, "count(m.claimed_by)", "count(m.id)"),
    expect=("messages in the gauge", "housekeeping/claimed", "got 5"),
)
@falsified_by(
    source(
        "age-of-the-newest",
        STATEMENTS,
        "min(m.waiting_since) FILTER (WHERE m.visible)",
        "max(m.waiting_since) FILTER (WHERE m.visible)",
    ),
    expect=("seconds of the oldest message, at least", "housekeeping"),
)
@falsified_by(
    http(
        "gauge-left-out",
        "metrics",
        pattern=r"^system_queue_waiting_messages\{[^\n]*\n",
        sample='system_queue_waiting_messages{queue="q"} 3.0\n',
    ),
    expect=("messages in the gauge", "housekeeping/waiting", "got null"),
)
@falsified_by(
    http(
        "claimed-ones-counted-twice",
        "metrics",
        pattern=r"^system_queue_claimed_messages\{[^\n]*",
        factor=2.0,
        sample='system_queue_claimed_messages{queue="q"} 3.0\n',
    ),
    expect=("messages in the gauge", "housekeeping/claimed", "got 2"),
)
def test_metrics_have_the_messages_of_each_queue(own_stack: Stack) -> None:
    """A worker's gauges count each queue's messages, also of queues that no worker consumes."""
    stack = own_stack
    stack.sql.query(f"DELETE FROM {MESSAGES}")  # (a baseline runs twice)
    publish_pings(stack, 5)
    numbers = stack.sql.query(f"SELECT id FROM {MESSAGES} ORDER BY id").column()
    premise("messages without a worker", got=len(numbers), expected=5)
    old, claimed, scheduled = numbers[:3]
    for statement, number in (
        ("waiting_since = now() - interval '1 hour'", old),
        ("visible = false, claimed_by = 1, lease_until = now() + interval '1 hour'", claimed),
        ("visible = false, available_at = now() + interval '1 hour'", scheduled),
    ):
        stack.sql.query(f"UPDATE {MESSAGES} SET {statement} WHERE id = %s", (number,))
    with stack.running_worker(queues=(OTHER,), pool=POOL_SOLO) as worker:
        stack.wait_ready(worker)
        wait_until(
            lambda: gauges(stack, worker).get(("waiting", OTHER)) is not None,
            deadline_s=UPDATED_WITHIN_S,
            interval_s=0.2,
        )
        seen = gauges(stack, worker)
    for kind, queue, expected in (
        ("waiting", CONSUMED, 3),
        ("waiting", OTHER, 0),
        ("claimed", CONSUMED, 1),
        ("claimed", OTHER, 0),
    ):
        value = seen.get((kind, queue))
        shown = None if value is None else int(value)
        claim("messages in the gauge", on=f"{queue}/{kind}", got=shown, expected=expected)
    for queue, least_s in ((CONSUMED, OLD_S), (OTHER, 0)):
        wait_s = seen.get(("oldest", queue), -1.0)
        most_s = least_s + SLACK_S if least_s else 0
        claim(
            "seconds of the oldest message, at least",
            on=queue,
            got=wait_s,
            relation="at_least",
            expected=least_s,
        )
        claim(
            "seconds of the oldest message, at most",
            on=queue,
            got=wait_s,
            relation="at_most",
            expected=most_s,
        )


def publish_pings(stack: Stack, number: int) -> list[str]:
    """Publish pings, and return their ids."""
    ping = stack.sut.ping
    return [stack.tasks.publish(ping.task, (), ping.arguments) for _ in range(number)]


def answer(stack: Stack, worker: Worker) -> str:
    """Return status and consumer of its health, or why there is no answer."""
    seen = stack.http.get(worker.health_url)
    return f"{seen.status} {seen.json().get('consumer')}" if seen.status else seen.error


def answers(stack: Stack, worker: Worker, duration_s: float) -> set[str]:
    """Return the distinct answers of its health for a time, or up to the first that is not ok."""
    seen: set[str] = set()

    def poll() -> bool:
        seen.add(answer(stack, worker))
        return seen != {"200 ok"}

    wait_until(poll, deadline_s=duration_s, interval_s=0.2)
    return seen


def is_consumer_ok(stack: Stack, worker: Worker, when: str) -> bool:
    """Judge that its health becomes 200 with its consumer ok."""
    got = wait_until(
        lambda: answer(stack, worker),
        lambda seen: seen == "200 ok",
        deadline_s=DEADLINE_S,
        interval_s=0.2,
    )
    return claim("answer of the health", on=when, got=got, expected="200 ok")


def is_consumer_error(
    stack: Stack, worker: Worker, when: str, meanwhile: Callable[[], object] = lambda: None
) -> bool:
    """Judge that its health becomes 503 with its consumer in error."""

    def poll() -> str:
        meanwhile()
        return answer(stack, worker)

    got = wait_until(
        poll,
        lambda seen: seen == "503 error",
        deadline_s=STALLED_AFTER_S + NOTICED_S,
        interval_s=0.2,
    )
    return claim("answer of the health", on=when, got=got, expected="503 error")


@contextmanager
def busy(stack: Stack, tenant: Mapping[str, object]) -> Iterator[None]:
    """Keep a task running for the block: it waits for a table."""
    with stack.sql.session() as session:
        session.query(f"LOCK TABLE {SCANNED} IN ACCESS EXCLUSIVE MODE")
        stack.tasks.publish(SCAN, (), tenant)
        expect_session_blocked(stack, SCANNED)
        yield


@contextmanager
def loop_blocked(stack: Stack, tenant: Mapping[str, object]) -> Iterator[None]:
    """Block the event loop in a statement while a task runs, let the task end, and yield.

    A notification wakes the loop, and it waits for the table of messages. One more task is claimed.
    """
    with stack.sql.session() as session:
        with busy(stack, tenant):
            publish_pings(stack, 1)
            claimed = wait_until(
                lambda: stack.sql.query(
                    f"SELECT count(*) FROM {MESSAGES} WHERE claimed_by IS NOT NULL"
                ).scalar(),
                lambda number: number == 2,
                deadline_s=DEADLINE_S,
                interval_s=0.1,
            )
            premise("claimed messages", got=claimed, expected=2)
            session.query(f"LOCK TABLE {MESSAGES} IN EXCLUSIVE MODE")
            stack.sql.query(f"SELECT pg_notify('{MESSAGES}', '1')")
            expect_session_blocked(stack, MESSAGES)
        yield


def expect_no_message(stack: Stack) -> None:
    """Wait until every message is acknowledged, which follows the end of its task."""
    left = wait_until(
        lambda: stack.sql.query(_LEFT).scalar(),
        lambda number: number == 0,
        deadline_s=DEADLINE_S,
    )
    premise("messages of earlier tasks", got=left, expected=0)


@contextmanager
def children_stopped(worker: Worker) -> Iterator[None]:
    """Pause every child of a worker for the block."""
    children = worker.children()
    premise("children of a worker", got=len(children), expected=1)
    for child in children:
        worker.pause_child(child)
    try:
        yield
    finally:
        for child in children:
            worker.resume_child(child)


@contextmanager
def consumer_cancelled(stack: Stack, queue: str) -> Iterator[None]:
    """Make every worker stop consuming a queue for the block, as an operator does."""
    done = control(stack, "cancel_consumer", queue)
    premise("exit of cancel_consumer", on=queue, got=done.exit_status, expected=0)
    try:
        yield
    finally:
        done = control(stack, "add_consumer", queue)
        premise("exit of add_consumer", on=queue, got=done.exit_status, expected=0)


def control(stack: Stack, *words: str) -> Completed:
    """Run `celery control` for the worker `NODE`; it ends with the worker's answer."""
    command = [*stack.sut.fill(["{python}", "-m", "celery"]), "--app", stack.sut.celery.app]
    return stack.process.run(
        [*command, "control", "--timeout", "10", "--destination", NODE, *words],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )


def expect_session_blocked(stack: Stack, table: str) -> None:
    """Wait for a session of the worker that waits for a lock on a table.

    Not for one that waits with a heartbeat: the event loop would still turn, and run tasks.
    """
    found = wait_until(
        lambda: stack.sql.query(_BLOCKED, (stack.sut.worker.role, table, HEARTBEAT)).scalar(),
        deadline_s=DEADLINE_S,
        interval_s=0.1,
    )
    premise("sessions that wait for a locked table", on=table, got=bool(found), expected=True)


def gauges(stack: Stack, worker: Worker) -> dict[tuple[str, str], float]:
    """Return the value of each gauge of each queue in a worker's metrics."""
    text = stack.http.get(worker.metrics_url).body
    return {
        (GAUGES[sample.name], sample.labels["queue"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in GAUGES
    }
