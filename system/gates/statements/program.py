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

from system.gates.tables.rows import ALIVE, EXACT_S, Form, messages_of, prepare, queues_of

FORM = Form()


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
    messages, queues = messages_of(connection, FORM), queues_of(connection, FORM)
    return {"result": rows, "messages": messages, "queues": queues}


def ended(connection: Connection, case: dict[str, Any]) -> dict[str, Any]:
    """Run a case; an error is its result."""
    transaction = connection.begin()
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ALIVE})
        return after(connection, case, prepare(connection, case, FORM))
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
