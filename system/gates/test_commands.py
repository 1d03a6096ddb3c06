"""Gate dlq: the operators' command for dead-letter rows: statuses, output, limits, selections."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateproof import Ids, Stack, claim, criterion, falsified_by, source

from .operating import (
    DATABASE,
    MESSAGE,
    NOT_DONE,
    NOTHING_THERE,
    ROWS,
    STATUS,
    USAGE,
    Step,
    judge,
    operate,
)

MODULE, EVENTS = "system.dead_letters", "system.dead_events"
COMMAND, SHARED = "system/commands/dead_letters.py", "system/commands/operators.py"
LISTING = "system/dead_letters/listing.py"
PING, ROUTE = "app.tasks.housekeeping.ping", "app.tasks.llm.route"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATER = "2026-02-01"

AWAY = "database that is away"
SENT, NOTES = "rows that were sent", "notes of the row"
"""Names of an object and of claims that falsifiers predict."""

_INSERT = """
    INSERT INTO worker_failed_jobs (id, task_id, task_name, queue, tenant_id, args, kwargs, status,
        error_kind, exception_class, error_message, traceback, sealed, notes, failed_at, due_at)
    VALUES (%(id)s, %(task_id)s, %(task_name)s, 'llm', %(tenant_id)s, '["é"]', '{"a": 1}',
        %(status)s, %(error_kind)s, 'E', 'it failed', NULL, %(sealed)s, %(notes)s, %(failed_at)s,
        '2026-01-01Z')
"""


@criterion(
    "DLQ-29", needs=("database", "celery", "worker", "dead_letters.operator", "broker.kind=sqla")
)
@falsified_by(
    source("status-of-a-wrong-option", SHARED, "EXIT_DATABASE = 3", "EXIT_DATABASE = 2"),
    expect=(STATUS, AWAY, "got 2"),
)
@falsified_by(
    source(
        "table-instead-of-json",
        COMMAND,
        "print_listed(rows, _SHOWN, limit=limit, is_json=is_json)",
        "print_listed(rows, _SHOWN, limit=limit, is_json=False)",
    ),
    expect=(ROWS, "list", "no JSON"),
)
@falsified_by(
    source("limit-not-applied", LISTING, ' LIMIT :most"  # noqa', '"  # noqa'),
    expect=(ROWS, "list of two", "got a, b, c"),
)
@falsified_by(
    source(
        "newest-first",
        LISTING,
        'ORDER BY failed_at, id LIMIT :most"',
        'ORDER BY failed_at DESC, id LIMIT :most"',
    ),
    expect=(ROWS, "list", "got e, "),
)
@falsified_by(
    source(
        "replayed-in-any-order", "system/dead_letters/replay.py", "    ORDER BY failed_at, id\n", ""
    ),
    expect=(ROWS, "replay two", "got c, a"),
)
@falsified_by(
    source("end-of-a-time-included", LISTING, "failed_at < :not_after", "failed_at <= :not_after"),
    expect=(ROWS, "until the second failed", "got a, b"),
)
@falsified_by(
    source(
        "begin-of-a-time-left-out", LISTING, "failed_at >= :not_before", "failed_at > :not_before"
    ),
    expect=(ROWS, "since the second failed", "got c, "),
)
@falsified_by(
    source("more-not-announced", SHARED, "if len(rows) == limit:", "if len(rows) > limit:"),
    expect=(MESSAGE, "list of two", "perhaps more"),
)
@falsified_by(
    source(
        "one-row-at-most",
        COMMAND,
        "    rows = listing.move(Filter(ids=row_ids or None, **chosen)",
        "    rows = listing.move(Filter(ids=row_ids[:1] or None, **chosen)",
    ),
    expect=(ROWS, "resolve two", "got b"),
)
@falsified_by(
    source(
        "ended-rows-move-too",
        LISTING,
        "    {_WHERE} AND status IN ('pending', 'in_progress')\n",
        "    {_WHERE}\n",
    ),
    expect=(STATUS, "resolve one that is resolved", "got 0"),
)
@falsified_by(
    source("all-without-a-selection", SHARED, function="demand_choice", body="return None"),
    expect=(STATUS, "resolve without a selection", "got 0"),
)
@falsified_by(
    source("ages-in-minutes", SHARED, '"h": "hours"', '"h": "minutes"'),
    expect=(ROWS, "since two hours ago", "got none"),
)
@falsified_by(
    source(
        "local-time-assumed",
        SHARED,
        "read.replace(tzinfo=UTC)",
        "read.replace(tzinfo=UTC) + timedelta(hours=1)",
    ),
    expect=(ROWS, "until a time without a zone", "got a, b"),
)
@falsified_by(
    source(
        "none-found-is-fine",
        SHARED,
        'see list", err=True)\n        ctx.exit(EXIT_NOT_DONE)',
        'see list", err=True)\n        ctx.exit(0)',
    ),
    expect=(STATUS, "show one that does not exist", "got 0"),
)
@falsified_by(
    source(
        "sent-is-not-counted",
        COMMAND,
        "if len(row_ids) > sent or len(ended) > sent:",
        "if len(row_ids) > len(ended):",
    ),
    expect=(STATUS, "replay one without its key", "got 0"),
)
@falsified_by(
    source(
        "text-without-a-note",
        LISTING,
        "nullif(concat_ws(E'\\\\n', notes, nullif(CAST(:note AS text), '')), '')",
        "concat_ws(E'\\\\n', notes, nullif(CAST(:note AS text), ''))",
    ),
    expect=(NOTES, "a", "got , expected null"),
)
@falsified_by(
    source(
        "earlier-note-lost",
        LISTING,
        "concat_ws(E'\\\\n', notes, nullif(CAST(:note AS text), ''))",
        "CAST(:note AS text)",
    ),
    expect=(NOTES, "c", "got by hand"),
)
@falsified_by(
    source("line-for-an-empty-note", LISTING, "nullif(CAST(:note AS text), '')", ":note"),
    expect=(NOTES, "e", "expected sealed"),
)
def test_commands_do_what_they_are_asked(own_stack: Stack, ids: Ids, tmp_path: Path) -> None:
    """Each command has its rows, its form of output, its message, and its published exit status."""
    rows = _rows(own_stack, ids)
    names = {row["id"]: name for name, row in rows.items()}
    steps = {**_lists(rows), **_shows(rows), **_moves(rows)}
    ended = operate(own_stack, MODULE, tmp_path, steps, {})
    judge(steps, ended, names)
    sent = [
        [one["task_id"] for one in end.lines if isinstance(one, dict) and one.get("replay_id")]
        for (on, _), end in zip(steps.items(), ended, strict=False)
        if on == "replay two"
    ]
    if ended:
        claim(
            SENT, on="replay two", got=sent, expected=[[rows["a"]["task_id"], rows["c"]["task_id"]]]
        )
        judge_notes(own_stack)
    refused = (
        'Error: database: connection to server at "127.0.0.1", port 1 failed: Connection refused'
    )
    for module in (MODULE, EVENTS):
        away = {AWAY: Step(words=["list"], status=DATABASE, message=refused, lines=[])}
        env = dict.fromkeys(own_stack.sut.worker.dsn, NOTHING_THERE)
        judge(away, operate(own_stack, module, tmp_path, away, env), {})


def judge_notes(stack: Stack) -> None:
    """Judge that a note comes after earlier ones, and that no note or an empty one adds nothing."""
    found = dict(stack.sql.query("SELECT right(task_id, 1), notes FROM worker_failed_jobs").rows)
    notes = {"a": None, "b": "by hand", "c": "failed twice\nby hand", "d": None, "e": "sealed"}
    for name, expected in notes.items():
        claim(NOTES, on=name, got=found.get(name, "no row"), expected=expected)


def _rows(stack: Stack, ids: Ids) -> dict[str, dict[str, Any]]:
    """Insert rows, each a day after the one before, and the last an hour ago; return them.

    The newest is inserted first: no order of the rows in the table is that of the failures.
    """
    stack.sql.query("DELETE FROM worker_failed_jobs")  # (those of an earlier run of this check)
    found = {}
    for number, (name, task, kind, status, sealed) in enumerate(
        (
            ("a", PING, "transient", "pending", None),
            ("b", ROUTE, "permanent", "pending", None),
            ("c", ROUTE, "transient", "pending", None),
            ("d", ROUTE, "permanent", "resolved", None),
            ("e", ROUTE, "permanent", "pending", "not of any key"),
        )
    ):
        age = timedelta(days=number)
        found[name] = {
            "id": str(ids.uuid()),
            "task_id": f"task-of-{name}",
            "task_name": task,
            "tenant_id": str(ids.uuid()) if name == "b" else None,
            "status": status,
            "error_kind": kind,
            "sealed": sealed,
            "notes": {"c": "failed twice", "e": "sealed"}.get(name),
            "failed_at": datetime.now(UTC) - timedelta(hours=1) if name == "e" else FIRST + age,
        }
    for name in reversed(found):
        stack.sql.query(_INSERT, found[name])
    return found


def _json(*words: str, **more: Any) -> Step:
    """Return a step that prints JSON."""
    return Step(words=[*words, "--json"], **more)


def _lists(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    tenant = rows["b"]["tenant_id"]
    id_, none = rows["b"]["id"], "-" + " " * 35
    header = (
        f"{'id':36}  {'failed_at':25}  status   retry_count  {'task_name':27}  {'tenant_id':36}"
        "  exception_class"
    )
    line = f"2026-01-02T00:00:00+00:00  pending  0            {ROUTE:27}  {tenant}  E"
    first = f"2026-01-01T00:00:00+00:00  pending  0            {PING:27}  {none}  E"
    return {
        "DSN that is missing": Step(
            words=["list"],
            env={"DATABASE_URL": ""},
            status=USAGE,
            lines=[],
            message="Error: DATABASE_URL: got nothing, expected a PostgreSQL URL; set it to the"
            " database's",
        ),
        "list": _json("list", rows=list("abcde")),
        "list of two": _json(
            "list", "--limit", "2", rows=list("ab"), message="2 rows, perhaps more: see --limit"
        ),
        "list of as many as there are and one": _json("list", "--limit", "6", rows=list("abcde")),
        "list of none": Step(words=["list", "--limit", "0"], status=USAGE, lines=[], message=None),
        "list as a table": Step(
            words=["list", "--until", "2026-01-03"],
            lines=[header, f"{rows['a']['id']}  {first}", f"{id_}  {line}"],
        ),
        "list of nothing as a table": Step(words=["list", "--task", "x"], lines=[]),
        "list by two statuses": _json(
            "list", "--status", "resolved", "--status", "abandoned", rows=["d"]
        ),
        "list by kind": _json("list", "--kind", "transient", rows=list("ac")),
        "list by task": _json("list", "--task", PING, rows=["a"]),
        "list by tenant": _json("list", "--tenant", tenant.upper(), rows=["b"]),
        "list by what is no tenant": Step(
            words=["list", "--tenant", "x"],
            status=USAGE,
            message="Error: Invalid value for '--tenant': got 'x', expected a UUID",
        ),
        "until the second failed": _json("list", "--until", "2026-01-02T01:00+01:00", rows=["a"]),
        "since the second failed": _json(
            "list", "--since", "2026-01-02T00:00Z", "--until", LATER, rows=list("bcd")
        ),
        "until a time without a zone": _json("list", "--until", "2026-01-02T00:00", rows=["a"]),
        "since two hours ago": _json("list", "--since", "2h", rows=["e"]),
        "since 90 minutes ago": _json("list", "--since", "90m", rows=["e"]),
        "since 30 minutes ago": _json("list", "--since", "30m", rows=[]),
        "since 4000 seconds ago": _json("list", "--since", "4000s", rows=["e"]),
        "since 3000 seconds ago": _json("list", "--since", "3000s", rows=[]),
        "until a day ago": _json("list", "--until", "1d", rows=list("abcd")),
        "since what is no time": Step(
            words=["list", "--since", "yesterday"],
            status=USAGE,
            message="Error: Invalid value for '--since': got 'yesterday', expected"
            " 2026-01-31T12:00Z, or an age: 90m, 24h, 7d",
        ),
    }


def _shows(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    row = rows["b"]
    shown = {
        "id": row["id"],
        "task_id": row["task_id"],
        "task_name": ROUTE,
        "queue": "llm",
        "tenant_id": row["tenant_id"],
        "status": "pending",
        "error_kind": "permanent",
        "exception_class": "E",
        "error_message": "it failed",
        "retry_count": 0,
        "replayable": True,
        "correlation_id": None,
        "failed_at": "2026-01-02T00:00:00+00:00",
        "last_retry_at": None,
        "due_at": "2026-01-01T00:00:00+00:00",
        "resolved_at": None,
        "replay_task_id": None,
        "notes": None,
        "args": ["é"],
        "kwargs": {"a": 1},
        "options": {},
        "expires_at": None,
        "traceback": None,
    }
    texts = {"args": '["\\u00e9"]', "kwargs": '{"a": 1}', "options": "{}"}
    lines = [
        f"{name + ':':17}{texts.get(name, '-' if value is None else value)}"
        for name, value in shown.items()
    ]
    missing = "Error: row: got none with id x, expected one; see list"
    no_key = "Error: SYSTEM_DEAD_LETTER_KEYS: got no key, expected the one that encrypted"
    return {
        "show": _json("show", row["id"], lines=[shown]),
        "show by the id of the task": _json("show", row["task_id"], rows=["b"]),
        "show as text": Step(words=["show", row["id"]], lines=lines),
        "show one that does not exist": _json(
            "show", "x", status=NOT_DONE, rows=[], message=missing
        ),
        "show what is not encrypted": _json("show", row["id"], "--reveal", rows=["b"]),
        "show what is encrypted": _json("show", "task-of-e", rows=["e"]),
        "reveal without a key": _json(
            "show", "task-of-e", "--reveal", status=USAGE, rows=[], message=no_key
        ),
    }


def _moves(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    ids_ = {name: row["id"] for name, row in rows.items()}
    selects = "Error: rows: got no id and no option that selects, expected one; to select all rows:"
    others = "the others do not exist, or are neither pending nor in progress"
    not_sent = f"{ids_['e']}  {ROUTE}  not sent: "
    cannot = "the others are not pending, or cannot be replayed: see show"
    return {
        "replay without a selection": _json(
            "replay", status=USAGE, rows=[], message=f"{selects} --since 1970-01-01"
        ),
        "replay too fast": Step(
            words=["replay", "--rate", "1000.1"],
            status=USAGE,
            message="Error: Invalid value for '--rate': 1000.1 is not in the range 0.01<=x<=1000.",
        ),
        "replay too slowly": Step(
            words=["replay", "--rate", "0.009"],
            status=USAGE,
            message="Error: Invalid value for '--rate': 0.009 is not in the range 0.01<=x<=1000.",
        ),
        "replay nothing": _json("replay", "--task", "x", rows=[], message="0 sent, 0 not sent"),
        "replay two": _json(
            *("replay", "--rate", "1000", ids_["c"], "task-of-a"),
            rows=list("ac"),
            message="2 sent, 0 not sent",
        ),
        "replay two that are replayed": _json(
            *("replay", ids_["c"], ids_["a"]), status=NOT_DONE, rows=[], message=cannot
        ),
        "replay one without its key": Step(
            words=["replay", ids_["e"]],
            status=NOT_DONE,
            lines=[
                (
                    f"{not_sent}encrypted arguments: got no key, expected one in"
                    " SYSTEM_DEAD_LETTER_KEYS; set it to replay"
                )
            ],
            message="0 sent, 1 not sent",
        ),
        "resolve without a selection": _json(
            "resolve", status=USAGE, rows=[], message=f"{selects} --since 1970-01-01"
        ),
        "resolve two": _json(
            *("resolve", ids_["b"], "task-of-c", "--note", "by hand"),
            rows=list("bc"),
            message="2 resolved",
        ),
        "resolve one that is resolved": _json(
            *("resolve", ids_["d"], ids_["b"]), status=NOT_DONE, rows=[], message=others
        ),
        "abandon one of two": _json(
            *("abandon", ids_["a"], "x"), status=NOT_DONE, rows=["a"], message=others
        ),
        "abandon by kind": _json(
            *("abandon", "--kind", "permanent", "--since", "2h", "--note", ""),
            rows=["e"],
            message="1 abandoned",
        ),
        "abandon nothing": _json("abandon", "--kind", "permanent", rows=[], message="0 abandoned"),
        "list of the resolved": _json("list", "--status", "resolved", rows=list("bcd")),
        "list of the abandoned": _json("list", "--status", "abandoned", rows=list("ae")),
    }
