"""Gate broker: each statement of the transport leaves exactly the rows that a table says."""

from __future__ import annotations

import json
from pathlib import Path

from gateproof import Stack, claim, criterion, falsified_by, premise, source
from system.gates.tables.reading import ROWS, answer_of, cases_of, joined, sorted_lines

TABLE = Path(__file__).with_name("table.yaml")
PROGRAM = Path(__file__).with_name("program.py")
STATEMENTS = "system/transport/statements.py"
ASKED = ("statement", "given", "queues", "messages")

RETURNED, MESSAGES, QUEUES = "result of the statement", "messages after it", "queues after it"
"""Names of claims that falsifiers predict."""


@criterion("BRK-11", needs=("database", "celery", "broker.kind=sqla", "worker.broker"))
@falsified_by(
    source(
        "lease-over-a-moment-early",
        STATEMENTS,
        "claimed_by <> %(me)s AND lease_until < now()",
        "claimed_by <> %(me)s AND lease_until <= now()",
    ),
    expect=(MESSAGES, "heartbeat"),
)
@falsified_by(
    source(
        "lease-kept-with-the-message",
        STATEMENTS,
        '"UPDATE kombu_message SET claimed_by = NULL, lease_until = NULL"',
        '"UPDATE kombu_message SET claimed_by = NULL"',
    ),
    expect=(MESSAGES, "park a message"),
)
@falsified_by(
    source(
        "bindings-of-another-session-kept",
        STATEMENTS,
        "bindings = CASE WHEN kombu_queue.owner = excluded.owner THEN",
        "bindings = CASE WHEN true THEN",
    ),
    expect=(QUEUES, "declare the own queue of another session"),
)
@falsified_by(
    source(
        "every-message-is-looked-at",
        STATEMENTS,
        "        ORDER BY id LIMIT 100\n",
        "        ORDER BY id\n",
    ),
    expect=(RETURNED, "how long the next hundred wait", 'got ["q", "3600"]'),
)
@falsified_by(
    source(
        "claims-of-others-stop-it",
        STATEMENTS,
        "WHERE claimed_by = :me AND deliveries > :trusted\n",
        "WHERE deliveries > :trusted\n",
    ),
    expect=(RETURNED, "claim one while another session has one that was tried more"),
)
def test_statements_leave_what_the_table_says(own_stack: Stack) -> None:
    """The result, and every row that is left, is exact for each statement."""
    cases = cases_of(TABLE)
    asked = json.dumps([{key: case[key] for key in ASKED if key in case} for case in cases])
    results = json.loads(answer_of(own_stack, joined(PROGRAM, ROWS), asked))
    premise("answers", got=len(results), expected=len(cases))
    for case, got in zip(cases, results, strict=True):
        on = case["case"]
        claim(RETURNED, on=on, got=got["result"], expected=case["result"])
        for name, kind in ((MESSAGES, "messages"), (QUEUES, "queues")):
            expected = case.get(f"{kind}_after", case.get(kind, []))
            if expected is not False:
                claim(name, on=on, got=got.get(kind), expected=sorted_lines(expected))
