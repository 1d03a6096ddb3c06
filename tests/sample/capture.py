"""The text of sample captures, as each probe writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One observation of a probe: its line in the journal and its capture."""

    probe: str
    summary: str
    text: str
    redacted: int = 0
    """The number of passwords of DSNs that were replaced."""


def seen(probe: str, number: int, lines: int) -> Seen:
    """Return the observation of a probe.

    Args:
        probe: one of `PROBES`.
        number: makes the text differ from that of other observations.
        lines: the length of a log.

    """
    summary, text = _TEXTS[probe](number, lines)
    return Seen(probe=probe, summary=summary, text=text, redacted=int(probe == "process"))


def _sql(number: int, _: int) -> tuple[str, str]:
    asked = "SELECT tenant_id, count(*) FROM attribution_events GROUP BY tenant_id"
    tenant = f"7d9f2b1c-0000-4000-8000-{number:012}"
    text = (
        "-- role app_user, database gp_copy_17\n"
        f"-- app.current_tenant_id = '{tenant}'\n{asked};\n\n"
        f"tenant_id                            | count\n{'-' * 36}-+------\n"
        f"{tenant} | 3\n(1 rows)\n"
    )
    return f"app_user: {asked} -> 1 rows", text


def _http(number: int, _: int) -> tuple[str, str]:
    body = json.dumps({"status": "ok", "broker": "ok", "database": "ok", "asked": number})
    text = (
        "$ curl -v -X GET http://127.0.0.1:9540/health\n> GET /health HTTP/1.1\n"
        "> host: 127.0.0.1:9540\n> accept: */*\n> user-agent: python-httpx/0.28.1\n>\n"
        f"< HTTP/1.1 200\n< content-type: application/json\n< content-length: {len(body)}\n<\n"
        f"{body}"
    )
    return "GET http://127.0.0.1:9540/health -> 200", text


def _logs(number: int, lines: int) -> tuple[str, str]:
    entries = (
        {
            "timestamp": f"2026-03-01T12:00:{line % 60:02}.{number % 1000:03}Z",
            "level": "error" if line % 97 == 5 else "info",
            "logger": "system.worker",
            "message": f"task {'failed' if line % 97 == 5 else 'succeeded'}",
            "task_name": "app.tasks.housekeeping.ping",
            "task_id": f"5f0c1d2e-0000-4000-8000-{line:012}",
            "tenant_id": None,
            "correlation_id": f"c-{number}-{line}",
        }
        for line in range(lines)
    )
    return f"log of worker: {lines} lines", "".join(f"{json.dumps(one)}\n" for one in entries)


def _tasks(number: int, _: int) -> tuple[str, str]:
    return (
        "publish app.tasks.housekeeping.ping -> SUCCESS",
        (
            f"publish app.tasks.housekeeping.ping\n  id      5f0c1d2e-{number:04}\n"
            f"  kwargs  {{}}\nresult: SUCCESS after 0.{number % 10}1 s\n"
            '  {"status": "ok", "pid": 4711, "parent_pid": 4700}\n'
        ),
    )


def _worker(number: int, _: int) -> tuple[str, str]:
    return f"worker w{number}: ready", f"worker w{number}\n  pid 4700, children 4711, 4712\n"


def _process(number: int, _: int) -> tuple[str, str]:
    return (
        "alembic upgrade heads -> exit 0",
        (
            "$ alembic upgrade heads\n"
            "# DATABASE_URL=postgresql://migrator:[redacted:dsn-userinfo]@127.0.0.1/gp\n"
            f"INFO  [alembic.runtime.migration] Running upgrade  -> core_{number:04}\n[exit 0]\n"
        ),
    )


def _file(number: int, _: int) -> tuple[str, str]:
    return "spool: 1 line", f'{{"task_id": "5f0c-{number}", "status": "pending"}}\n'


def _environment(number: int, _: int) -> tuple[str, str]:
    return f"PostgreSQL 18.4 on port {54000 + number}", f"initdb, then port {54000 + number}\n"


_TEXTS: Mapping[str, Callable[[int, int], tuple[str, str]]] = {
    "sql": _sql,
    "http": _http,
    "logs": _logs,
    "tasks": _tasks,
    "worker": _worker,
    "process": _process,
    "file": _file,
    "environment": _environment,
}

PROBES = tuple(_TEXTS)
