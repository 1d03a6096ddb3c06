"""Gate queues: where the task that joins a chord waits, with workers of one queue each."""

from __future__ import annotations

import json
from typing import Any

from gateproof import (
    POOL_SOLO,
    Ids,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    logs,
    message,
    premise,
    source,
    wait_until,
)

BROKER, RESULTS = "system/transport/broker.py", "system/transport/results.py"

HEADER, BODY = "app.tasks.llm.route", "app.tasks.maintenance.scan_for_pii_contamination"
HEADER_QUEUE, BODY_QUEUE = "llm", "maintenance"
UNLOCK = "celery.chord_unlock"
RETRIES, DEADLINE_S = 2, 20.0

_SEND = """
import json, sys
from celery import chord
from system.app import app
header, body, kwargs = json.loads(sys.argv[1])
tasks = [app.signature(header, kwargs=kwargs) for _ in range(2)]
print(json.dumps(chord(tasks)(app.signature(body, kwargs=kwargs, immutable=True)).id))
"""
_WAITING = """
SELECT q.name, m.payload::json->'headers'->>'task'
  FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id
 WHERE q.owner IS NULL ORDER BY 1, 2
"""


@criterion(
    "QUE-07",
    needs=(
        "database",
        "celery",
        "worker",
        "ping",
        "task",
        "tenancy",
        "logs",
        "logs.retry",
    ),
)
@falsified_by(
    source(
        "joined-in-the-default-queue",
        RESULTS,
        append="""
        def to_the_default(self, header_result, body, countdown=1, **kwargs):
            kwargs["result"] = [one.as_tuple() for one in header_result]
            unlock = self.app.tasks["celery.chord_unlock"]
            unlock.apply_async((header_result.id, body), kwargs, countdown=countdown)


        Backend.fallback_chord_unlock = to_the_default
        """,
    ),
    expect=("queues and tasks of the messages", "header that has run", "housekeeping"),
)
@falsified_by(
    source(
        "bindings-not-stored",
        BROKER,
        "            self._store_bindings(queue)\n",
        "            pass\n",
    ),
    expect=("retries of the joining task", "worker of the body"),
)
@falsified_by(
    source(
        "unroutable-is-dropped",
        BROKER,
        function="Channel._lookup",
        body="return list(super()._lookup(exchange, routing_key, default))",
    ),
    expect=("retries of the joining task", "worker of the body"),
)
@falsified_by(
    message("moved-to-another-queue", "move", queue="housekeeping"),
    expect=("queues and tasks of the messages", "header that has run"),
)
@falsified_by(
    logs("retries-not-logged", "drop", where={"message": "retry"}),
    expect=("retries of the joining task", "worker of the body", "got 0"),
)
def test_chord_is_joined_in_the_queue_of_its_body(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """The joining task waits in the body's queue, before and while a worker polls the header."""
    stack, kwargs = own_stack, {sut.tenancy.key: str(ids.uuid())}
    # A baseline runs twice: nothing of its first run may help or disturb the second.
    stack.sql.query("DELETE FROM kombu_message")
    stack.sql.query("UPDATE kombu_queue SET bindings = '[]' WHERE owner IS NULL")
    with stack.running_worker(queues=(HEADER_QUEUE,), pool=POOL_SOLO) as header:
        stack.wait_ready(header)
        first = send_chord(stack, kwargs)
        left = wait_until(
            lambda: [list(row) for row in stack.sql.query(_WAITING).rows],
            lambda rows: len(rows) == 1,
            deadline_s=DEADLINE_S,
            interval_s=0.1,
        )
        if not claim(
            "queues and tasks of the messages",
            on="header that has run",
            got=left,
            expected=[[BODY_QUEUE, UNLOCK]],
        ):
            return
    with stack.running_worker(queues=(BODY_QUEUE,), pool=POOL_SOLO):
        state = stack.tasks.result(first, deadline_s=DEADLINE_S).state
    if not claim("state of the chord", on="header that has run", got=state, expected="SUCCESS"):
        return
    # A new worker: once one has sent a body, its connection knows the queue.
    with stack.running_worker(queues=(BODY_QUEUE,), pool=POOL_SOLO) as body:
        second = send_chord(stack, kwargs)
        retries = wait_until(
            lambda: retries_in(body, sut),
            lambda number: number >= RETRIES,
            deadline_s=DEADLINE_S,
            interval_s=0.2,
        )
        # No worker runs the header.
        if not claim(
            "retries of the joining task",
            on="worker of the body",
            got=retries,
            relation="at_least",
            expected=RETRIES,
        ):
            return
        with stack.running_worker(queues=(HEADER_QUEUE,), pool=POOL_SOLO):
            state = stack.tasks.result(second, deadline_s=DEADLINE_S).state
        claim("state of the chord", on="header that ran late", got=state, expected="SUCCESS")


def send_chord(stack: Stack, kwargs: dict[str, Any]) -> str:
    """Send a chord from a process of the system, and return the id of its body."""
    done = stack.process.run(
        [*stack.sut.fill(["{python}", "-c"]), _SEND, json.dumps([HEADER, BODY, kwargs])],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
    premise("exit status of the program that sends a chord", got=done.exit_status, expected=0)
    return str(json.loads(done.output.splitlines()[-1]))


def retries_in(worker: Worker, sut: Sut) -> int:
    """Return how often a worker has retried the joining task."""
    names = sut.logs
    return len(worker.log().matching(**{names.message: names.retry, names.task_name: UNLOCK}))
