"""A program that runs the steps of each case of a table, and prints each result and the rows left.

It runs in the interpreter of the system, without a worker. The arguments are the URL of the
database and a JSON list of cases. It prints hexadecimal JSON. Connections, channels and backends
are real. The clock runs: options make leases long and heartbeats rare, and rows are prepared.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any

import structlog
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from system.gates.channels.ends import Ends
from system.gates.channels.scene import Scene, stated
from system.gates.tables.rows import ALIVE, prepare

LOST = {"AdminShutdown", "OperationalError"}
"""Errors of a lost connection: which of them it is depends on when it was lost."""
LOGGED: list[str] = []
"""The lines that the system logged in a case."""


def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> str:
    """Keep a line of the log, and print nothing."""
    name = event.pop("event")
    if event.get("error") in LOST:
        event["error"] = "lost"
    LOGGED.append(" ".join([level, name, *(f"{key}={value}" for key, value in event.items())]))
    raise structlog.DropEvent


def ended(admin: Connection, url: str, case: dict[str, Any]) -> dict[str, Any]:
    """Run a case; the error of a step is its result."""
    LOGGED.clear()
    scene: Scene = (Ends if case.get("of") == "ends" else Scene)(admin, url, case)
    try:
        prepare(admin, case, scene.form)
        found = [result_of(scene, step) for step in case["steps"]]
        return {"results": found, **scene.rows(), "log": list(LOGGED)}
    except Exception as error:  # noqa: BLE001 (the result of the case, whatever it is)
        return {"results": [stated(error)]}
    finally:
        scene.end()


def result_of(scene: Scene, step: str) -> str:
    """Return what a step returned or raised, as text."""
    try:
        return scene.run(step)
    except Exception as error:  # noqa: BLE001 (the result of the step, whatever it is)
        return stated(error)


def main() -> None:
    """Run all cases."""
    warnings.simplefilter("ignore")
    structlog.configure(processors=[keep])
    import_module("system.transport").install()
    engine = create_engine(sys.argv[1], poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as admin:
        admin.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ALIVE})
        found = [ended(admin, sys.argv[1], case) for case in json.loads(sys.argv[2])]
        prepare(admin, {}, Scene(admin, "", {}).form)
    # In digits: the evidence of a run is masked too, and would change names such as that of a key.
    sys.stdout.write(f"{json.dumps(found).encode().hex()}\n")


if __name__ == "__main__":
    sys.path.insert(0, "")
    main()
