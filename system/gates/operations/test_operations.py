"""Gate broker: each operation of a queue gives its exact result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateproof import Ids, Stack, claim, criterion, falsified_by, premise, source

PROGRAM = Path(__file__).with_name("program.py")
STATEMENTS, BROKER = "system/transport/statements.py", "system/transport/broker.py"

RESULT = "result of the operation"
WAITED = "messages in the order in which they began to wait"
"""Names of claims that falsifiers predict."""

EXPECTED: dict[str, Any] = {
    "one_queue": ["1", "2", "3", "4", "5", None],
    "two_queues": ["left 1", "right 1"],
    "prefetch": ["1", "2", "3"],
    "requeued": ["1", True, "2"],
    "rejected": ["2", None],
    "room": ["1", "2"],
    "tried": ["1"],
    "tried_and_new": ["tried"],
    "size": 2,
    "purge": [3, "1", None],
    "scheduled": ["due", "now", None],
    "undeclared": "1",
    "deleted": None,
    "broadcast": ["1 by .fan", "2 by .b", "3 by .fan"],
    "waiting": [2],
}
"""The operations of the program, with their results."""

SINCE = """
    SELECT array_agg(deliveries ORDER BY waiting_since) FROM kombu_message m
    JOIN kombu_queue q ON q.id = m.queue_id WHERE q.name = %s
"""


@criterion("BRK-10", needs=("database", "celery.app", "broker.kind=sqla", "worker"))
@falsified_by(
    source(
        "newest-first",
        STATEMENTS,
        "deliveries < :trusted\n            ORDER BY id LIMIT",
        "deliveries < :trusted\n            ORDER BY id DESC LIMIT",
    ),
    expect=(RESULT, "one_queue", "got 5, 4"),
)
@falsified_by(
    source(
        "queue-after-queue",
        STATEMENTS,
        ") m ORDER BY m.id LIMIT :count\n    ), suspect",
        ") m ORDER BY q.id, m.id LIMIT :count\n    ), suspect",
    ),
    expect=(RESULT, "two_queues", "got left 1, left 2"),
)
@falsified_by(
    source(
        "claim-without-room",
        BROKER,
        "return most if estimate is None else min(estimate, most)",
        "return most",
    ),
    expect=(RESULT, "prefetch", "got 1, 2, 3, 4"),
)
@falsified_by(
    source(
        "second-delivery-unmarked",
        BROKER,
        'envelope["properties"]["delivery_info"]["redelivered"] = True',
        "pass",
    ),
    expect=(RESULT, "requeued", "false"),
)
@falsified_by(
    source("rejected-comes-back", BROKER, "        if requeue:\n", "        if not requeue:\n"),
    expect=(RESULT, "rejected", "got 1"),
)
@falsified_by(
    source(
        "rejected-takes-room",
        BROKER,
        "        virtual.QoS.ack(self, delivery_tag)\n        if requeue:",
        "        if requeue:",
    ),
    expect=(RESULT, "room", "got 1, expected"),
)
@falsified_by(
    source(
        "tried-all-at-once",
        STATEMENTS,
        "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        "ORDER BY id FOR UPDATE SKIP LOCKED",
    ),
    expect=(RESULT, "tried", "got 1, 2, 3"),
)
@falsified_by(
    source(
        "new-before-tried",
        STATEMENTS,
        "SELECT id FROM suspect ORDER BY id LIMIT :count",
        "SELECT id FROM suspect ORDER BY id DESC LIMIT :count",
    ),
    expect=(RESULT, "tried_and_new", "got new"),
)
@falsified_by(
    source("size-with-claimed", STATEMENTS, '" WHERE m.visible AND q.name', '" WHERE q.name'),
    expect=(RESULT, "size", "got 4"),
)
@falsified_by(
    source(
        "purge-of-claimed",
        STATEMENTS,
        " AND (m.visible OR m.available_at IS NOT NULL)",
        "",
    ),
    expect=(RESULT, "purge", "got 4"),
)
@falsified_by(
    source(
        "scheduled-at-once",
        BROKER,
        "waits = eta is not None and eta > soon",
        "waits = eta is not None and eta < soon",
    ),
    expect=(RESULT, "scheduled", "got later"),
)
@falsified_by(
    source(
        "message-to-a-new-queue-lost",
        BROKER,
        "            self.execute(statements.DECLARE, name=queue)\n",
        "",
    ),
    expect=(RESULT, "undeclared", "got null"),
)
@falsified_by(
    source(
        "queue-without-binding-stays",
        BROKER,
        "        if not (if_empty and self._size(queue)):\n            self._delete(queue)\n",
        "",
    ),
    expect=(RESULT, "deleted", "got 1"),
)
@falsified_by(
    source(
        "broadcast-to-every-exchange",
        STATEMENTS,
        "    WHERE owner IS NOT NULL\n        AND bindings @> jsonb_build_array(",
        "    WHERE owner IS NOT NULL\n        OR bindings @> jsonb_build_array(",
    ),
    expect=(RESULT, "broadcast", "got 1 by .fan, 1 by"),
)
@falsified_by(
    source(
        "first-wait-counts",
        STATEMENTS,
        "waiting_since = clock_timestamp(), deliveries = deliveries - :untouched",
        "deliveries = deliveries - :untouched",
    ),
    expect=(WAITED, "waiting", "got 1, 0"),
)
def test_operations_of_a_queue_give_their_exact_result(own_stack: Stack, ids: Ids) -> None:
    """Order, room, returning, rejecting, counting, purging, scheduling and deleting are exact."""
    stack = own_stack
    prefix, program = f"gate-{ids.uuid()}", PROGRAM.read_text(encoding="utf-8")
    done = stack.process.run(
        [stack.sut.interpreter, "-c", program, stack.sut.celery.app, prefix],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
    premise("exit status of the program", got=done.exit_status, expected=0)
    results = json.loads(done.output.strip().splitlines()[-1])
    for name, expected in EXPECTED.items():
        claim(RESULT, on=name, got=results.get(name), expected=expected)
    # The second message was never delivered; the first one began to wait again after it.
    since = stack.sql.query(SINCE, (f"{prefix}.waiting",)).scalar()
    claim(WAITED, on="waiting", got=since, expected=[0, 1])
