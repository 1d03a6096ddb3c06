"""Gate runtime: tasks, retries, receiving and monitoring do exactly what tables say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateproof import Stack, claim, criterion, falsified_by, premise, source, sql
from system.gates.tables.reading import cases_of, joined

HERE = Path(__file__).parent
TABLES = ("identity", "tasks", "ingestion", "receiving", "monitoring")
PROGRAM = joined(HERE / "program.py", HERE / "values.py", HERE / "monitored.py", HERE / "scene.py")
ASKED = ("do", "before", "frozen", "left", "logs", "counts")
OWNER, INGEST = "migrator", "app_ingest"

RETURNED, LEFT = "value of the expression", "rows after it"
LOGGED, COUNTED = "lines of the log", "counts"
"""Names of claims that falsifiers predict."""
CLAIMS = ((RETURNED, "value"), (LEFT, "leaves"), (LOGGED, "logs"), (COUNTED, "counts"))


@criterion("RUN-22", needs=("database", "celery", "broker.kind=sqla", "tenancy", "worker.broker"))
@falsified_by(
    source(
        "event-of-the-last-day-deleted",
        "system/tasks/maintenance.py",
        "WHERE occurred_at < now()",
        "WHERE occurred_at <= now()",
    ),
    expect=(RETURNED, "events at the border of the retention stay, and older ones go"),
)
@falsified_by(
    source(
        "claimed-ones-in-any-order",
        "system/ingestion/retrying.py",
        "    ORDER BY failed_at, id\n",
        "    ORDER BY failed_at DESC, id\n",
    ),
    expect=(RETURNED, "as many as asked, the oldest first, in more than one batch"),
)
@falsified_by(
    source(
        "settled-as-the-tenant",
        "system/ingestion/retrying.py",
        "            database.set_tenant(connection, None)\n",
        "",
    ),
    expect=(RETURNED, "a dead event is stored, and its recomputation published"),
)
@falsified_by(
    sql(
        "deletes-for-every-tenant",
        "CREATE POLICY all_of_them ON attribution_events TO app_user USING (true)",
        landing="SELECT polname FROM pg_policy ORDER BY 1",
    ),
    expect=(RETURNED, "events of exactly one day stay at the least retention"),
)
@falsified_by(
    source(
        "time-of-the-machine",
        "system/tasks/attribution.py",
        "read.replace(tzinfo=UTC)",
        "read.astimezone(UTC)",
    ),
    expect=(RETURNED, "moments keep their offset"),
)
@falsified_by(
    source(
        "acknowledged-before-the-commit",
        "system/api/receiving.py",
        "        self.connection.commit()\n        return stored\n",
        "        return stored\n",
    ),
    expect=(LEFT, "a new event"),
)
@falsified_by(
    source(
        "failure-of-an-earlier-query-kept",
        "system/observability/health.py",
        "if is_joined and healthy is False:",
        "if False:",
    ),
    expect=(RETURNED, "requests join a query that runs, and ask again after one that failed"),
)
@falsified_by(
    source(
        "day-that-no-calendar-has",
        "system/ingestion/contract.py",
        "    except ValueError:\n        return False\n",
        "    except ValueError:\n        return True\n",
    ),
    expect=(RETURNED, "times"),
)
@falsified_by(
    source(
        "every-finding-named",
        "system/ingestion/contract.py",
        "MOST_FINDINGS = 5",
        "MOST_FINDINGS = 6",
    ),
    expect=(RETURNED, "five findings at most"),
)
def test_upkeep_does_what_the_tables_say(own_stack: Stack) -> None:
    """Each expression has its value, and leaves its rows, lines and counts."""
    stack, cases = own_stack, [case for name in TABLES for case in cases_of(HERE / f"{name}.yaml")]
    asked = [{key: case[key] for key in ASKED if key in case} for case in cases]
    done = stack.process.run(
        [stack.sut.interpreter, "-c", PROGRAM, *_urls(stack), json.dumps(asked)],
        env=stack.worker_environment(),
        folder=stack.sut.folder,
    )
    premise("exit status of the program", got=done.exit_status, expected=0)
    results = json.loads(bytes.fromhex(done.output.strip().splitlines()[-1]))
    premise("answers", got=len(results), expected=len(cases))
    for case, got in zip(cases, results, strict=True):
        _judge(case, got)


def _judge(case: dict[str, Any], got: dict[str, Any]) -> None:
    """Compare what a case says; `false` leaves what another one says out of account."""
    for name, key in CLAIMS:
        if case.get(key, False) is not False or key == "value":
            claim(name, on=case["case"], got=got.get(key), expected=case[key])


def _urls(stack: Stack) -> list[str]:
    """Return the URLs of the database for its owner and the role that receives events."""
    dsns = (stack.inner_dsn(role) for role in (OWNER, INGEST))
    return [f"postgresql+psycopg2://{dsn.partition('://')[2]}" for dsn in dsns]
