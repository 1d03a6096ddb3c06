"""A program that executes each statement of a table on prepared rows, and prints those after it.

It runs in the interpreter of the system. The arguments are the URL of the database and a JSON list
of cases. Each case is a transaction that is rolled back. In it `now()` stands still, so that both
sides of a comparison with it can be prepared exactly.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

ALIVE = 2
"""The key of a session that holds its lock."""
FIRST = 100_000
"""The id of the first queue: greater than those that sequences have reached."""
OLD_S, NEW_S = 3600, 60
"""How long a message has waited, in seconds, unless it is new, and how long a new one at most."""
EXACT_S, FAR_S = 10, 1_000_000
"""Times that are nearer to now are exact; others are rounded to this, or just far."""

_QUEUE = """
    INSERT INTO kombu_queue (id, name, owner, lease_until, bindings) VALUES (:id, :name, :owner,
        now() + make_interval(secs => :lease), CAST(:bindings AS jsonb))
"""
_MESSAGE = """
    INSERT INTO kombu_message (id, queue_id, payload, visible, claimed_by, lease_until, deliveries,
        available_at, waiting_since)
    VALUES (:id, :queue, :payload, :visible, :claimed, now() + make_interval(secs => :lease),
        :tried, now() + make_interval(secs => :due), now() - make_interval(secs => :waited))
"""
_QUEUES = """
    SELECT name, owner, extract(epoch FROM lease_until - now())::float8 AS lease,
        bindings::text AS bindings
    FROM kombu_queue ORDER BY name
"""
_MESSAGES = """
    SELECT m.id, m.payload, q.name AS queue, m.visible, m.claimed_by AS claimed,
        extract(epoch FROM m.lease_until - now())::float8 AS lease, m.deliveries AS tried,
        extract(epoch FROM m.available_at - now())::float8 AS due,
        m.waiting_since > now() - make_interval(secs => :new) AS new
    FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id ORDER BY m.id
"""


def fields(line: str) -> tuple[list[str], dict[str, str]]:
    """Return the words of a row, and what its words with = and its flags say."""
    words = line.split()
    plain = [word for word in words if "=" not in word]
    return plain, dict(word.split("=", 1) for word in words if "=" in word)


def number(value: str | None) -> float | None:
    """Return a number; None for none."""
    return None if value is None else float(value)


def prepare(connection: Connection, case: dict[str, Any]) -> dict[str, int]:
    """Put the rows of a case in place of all others; return the queues with their ids."""
    connection.execute(text("DELETE FROM kombu_message"))
    connection.execute(text("DELETE FROM kombu_queue"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ALIVE})
    ids = {}
    for place, line in enumerate(case["queues"], start=FIRST):
        (name, *_), more = fields(line)
        ids[name] = place
        row = {"id": place, "name": name, "owner": more.get("owner")}
        row |= {"lease": number(more.get("lease")), "bindings": more.get("bindings", "[]")}
        connection.execute(text(_QUEUE), row)
    for line in case.get("messages", ()):
        (numbers, queue, *flags), more = fields(line)
        first, _, last = numbers.partition("-")
        for one in range(int(first), int(last or first) + 1):
            row = {"id": one, "queue": ids[queue], "payload": f"p{one}"}
            row |= {"visible": "waits" in flags, "claimed": more.get("claimed")}
            row |= {"lease": number(more.get("lease")), "due": number(more.get("due"))}
            row |= {"tried": int(more.get("tried", 0)), "waited": 0 if "new" in flags else OLD_S}
            connection.execute(text(_MESSAGE), row)
    return ids


def shown(value: Any) -> str:
    """Return a time of a row in seconds; a near one is exact."""
    if abs(value) > FAR_S:
        return "far"
    return f"{value:g}" if abs(value) < EXACT_S else f"{round(value / EXACT_S) * EXACT_S:g}"


def line_of(row: Any, plain: list[str], names: tuple[str, ...]) -> str:
    """Return a row in the form of the table."""
    found = []
    for name in names:
        value = row[name]
        if value is None or (value in ("[]", 0) and name in {"bindings", "tried"}):
            continue
        kept = value if not isinstance(value, float) else shown(value)
        found.append(f"{name}={str(kept).replace(' ', '')}")
    return " ".join([*plain, *found])


def after(connection: Connection, case: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """Return the result of a statement, and the rows that it leaves."""
    statement = getattr(import_module("system.transport.statements"), case["statement"])
    given = dict(case.get("given", {}))
    if "queues" in given:
        given["queues"] = [ids[name] for name in given["queues"]]
    names = {number: name for name, number in ids.items()}
    if isinstance(statement, str):
        done = connection.exec_driver_sql(statement, given)
    else:
        done = connection.execute(statement, given)
    rows: Any = done.rowcount
    if done.returns_rows:
        rows = sorted(
            ([names.get(value, plainly(value)) for value in row] for row in done), key=str
        )
    messages = [
        line_of(
            row,
            [
                row["payload"] if row["payload"] != f"p{row['id']}" else str(row["id"]),
                row["queue"],
                *(["waits"] if row["visible"] else []),
                *(["new"] if row["new"] else []),
            ],
            ("claimed", "lease", "tried", "due"),
        )
        for row in connection.execute(text(_MESSAGES), {"new": NEW_S}).mappings()
    ]
    queues = [
        line_of(row, [row["name"]], ("owner", "lease", "bindings"))
        for row in connection.execute(text(_QUEUES)).mappings()
    ]
    return {"result": rows, "messages": messages, "queues": queues}


def ended(connection: Connection, case: dict[str, Any]) -> dict[str, Any]:
    """Run a case; an error is its result."""
    transaction = connection.begin()
    try:
        return after(connection, case, prepare(connection, case))
    except Exception as error:  # noqa: BLE001 (the result of the case, whatever it is)
        return {"result": f"{type(error).__name__}: {error}"[:300]}
    finally:
        transaction.rollback()


def plainly(value: Any) -> Any:
    """Return a value of a result; a time is rounded, because the clock does not stand still."""
    is_time = isinstance(value, float | Decimal)
    return f"{round(float(value) / EXACT_S) * EXACT_S:g}" if is_time else value


def main() -> None:
    """Execute all statements."""
    engine = create_engine(sys.argv[1], poolclass=NullPool)
    with engine.connect() as connection:
        found = [ended(connection, case) for case in json.loads(sys.argv[2])]
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    sys.path.insert(0, "")
    main()
