"""A program that evaluates each expression of a table, and prints its value as hexadecimal JSON.

It runs in the interpreter of the system, which has no worker here. The arguments are the URLs of
the database for its owner and for the role that receives events, and a JSON list of cases. A case
has statements that the owner runs before, an expression, and a query for what it leaves. One that
is `frozen` is a transaction of the system's role that is rolled back, in which `now()` stands
still, so that both sides of a comparison with it can be prepared exactly.

The database is the program's own. Its owner sees all rows there, the other roles only theirs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from types import SimpleNamespace as Some
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from system.gates.upkeep.scene import EMPTY, Scene
from system.gates.upkeep.values import NAMED, rows_of, shown

DATABASE = import_module("system.connections.database")
NAMES: dict[str, Any] = {
    "asyncio": asyncio,
    "os": os,
    "time": time,
    "UTC": UTC,
    "UUID": UUID,
    "Some": Some,
    "datetime": datetime,
    "timedelta": timedelta,
    "timezone": timezone,
    "health_module": import_module("system.observability.health"),
    **{
        name.rpartition(".")[2]: import_module(name)
        for name in (
            *("system.tasks.maintenance", "system.tasks.housekeeping", "system.tasks.attribution"),
            *("system.ingestion.contract", "system.ingestion.dead_event", "system.api.receiving"),
            *("system.ingestion.listing", "system.ingestion.retrying", "system.identity"),
            *("system.observability.consumer", "system.observability.monitoring"),
            *("system.errors", "celery.signals", "kombu.exceptions", "sqlalchemy.exc"),
        )
    },
}
"""Names in expressions, in addition to the functions of `values` and of the scene."""


def ended(here: Scene, case: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a case; an error is its value."""
    found: dict[str, Any] = {}
    known = {**NAMED, **NAMES, "here": here}
    known |= {name: getattr(here, name) for name in dir(Scene) if not name.startswith("_")}
    here.log.lines.clear()
    here.counted = []
    with _prepared(here, case) as connection:
        try:
            found["value"] = eval(case["do"], known)  # noqa: S307 (of the reviewed table)
        except Exception as error:  # noqa: BLE001 (the value of the case, whatever it is)
            found["value"] = f"{type(error).__name__}: {error}"[:400]
        if "left" in case and connection is not None:
            found["leaves"] = rows_of(connection, case["left"])
    if "logs" in case:
        found["logs"] = list(here.log.lines)
    if "counts" in case:
        found["counts"] = here.counted
    return json.loads(json.dumps(found, default=shown)) if found else found


@contextmanager
def _prepared(here: Scene, case: dict[str, Any]) -> Iterator[Connection | None]:
    """Put the rows of a case in place of all others; a frozen one is rolled back."""
    if case.get("frozen"):
        with DATABASE.task_engine().connect() as connection:
            here.connection = connection
            connection.begin()
            for one in case.get("before", ()):
                rows_of(connection, one)
            yield connection
            connection.rollback()
    elif "before" in case or "left" in case:
        for one in (EMPTY, *case.get("before", ())):
            rows_of(here.owning, one)
        yield here.owning
    else:
        yield None


def main() -> None:
    """Evaluate all cases."""
    here = Scene(sys.argv[1], sys.argv[2])
    found = [ended(here, case) for case in json.loads(sys.argv[3])]
    # In digits: the evidence of a run is masked too, and would not have what masking left.
    sys.stdout.write(f"{json.dumps(found).encode().hex()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
