"""Gate ingestion: the operators' command for dead events: statuses, output, limits, selections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateproof import Ids, Stack, criterion, falsified_by, source
from system.gates.operating import (
    MESSAGE,
    NOT_DONE,
    OUTPUT,
    ROWS,
    STATUS,
    USAGE,
    Step,
    judge,
    operate,
)

from .delivery import event

MODULE, COMMAND = "system.dead_events", "system/commands/dead_events.py"
LISTING = "system/ingestion/listing.py"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

_INSERT = """
    INSERT INTO dead_events (id, tenant_id, vendor, event_type, event_id, occurred_at, error_type,
        error_kind, error_message, payload, sealed, remediation_status, failed_at)
    VALUES (%(id)s, %(tenant_id)s, %(vendor)s, %(event_type)s, %(event_id)s, '2026-01-31T12:00Z',
        'E', %(error_kind)s, 'it failed', %(payload)s, %(sealed)s, %(status)s, %(failed_at)s)
"""


@criterion(
    "ING-19",
    needs=("database", "celery", "worker", "dead_letters.operator", "tenancy", "broker.kind=sqla"),
)
@falsified_by(
    source(
        "table-instead-of-json",
        COMMAND,
        "print_rows(rows, _SHOWN, is_json=True)",
        "print_rows(rows, _SHOWN, is_json=False)",
    ),
    expect=(OUTPUT, "show", "got id "),
)
@falsified_by(
    source(
        "limit-not-passed-on",
        COMMAND,
        "most=limit)\n    print_listed",
        "most=100)\n    print_listed",
    ),
    expect=(ROWS, "list of two", "got a, b, c"),
)
@falsified_by(
    source(
        "first-row-only",
        COMMAND,
        "which = Filter(ids=row_ids or None, statuses=",
        "which = Filter(ids=row_ids[:1] or None, statuses=",
    ),
    expect=(STATUS, "resolve two", "got 1"),
)
@falsified_by(
    source(
        "statuses-not-passed-on",
        COMMAND,
        "rows = listing.find(Filter(statuses=statuses or None, **chosen), most=limit)",
        "rows = listing.find(Filter(**chosen), most=limit)",
    ),
    expect=(ROWS, "list by status", "got a, b"),
)
@falsified_by(
    source(
        "not-stored-is-fine",
        COMMAND,
        "if len(row_ids) > stored or len(ended) > stored:",
        "if len(row_ids) > len(ended):",
    ),
    expect=(STATUS, "retry one that the contract forbids", "got 0"),
)
@falsified_by(
    source(
        "all-are-retried-at-once",
        COMMAND,
        "only_due=not (now or row_ids)",
        "only_due=False",
    ),
    expect=(MESSAGE, "retry what is due", "stored"),
)
@falsified_by(
    source(
        "payload-left-out",
        LISTING,
        "payload::text AS payload",
        "'{{}}'::text AS payload",
    ),
    expect=(OUTPUT, "show", "payload"),
)
@falsified_by(
    source(
        "only-claimed-rows-move",
        COMMAND,
        'statuses=("pending", "in_progress"), **chosen',
        'statuses=("in_progress",), **chosen',
    ),
    expect=(ROWS, "resolve two", "got none"),
)
def test_commands_do_what_they_are_asked(own_stack: Stack, ids: Ids, tmp_path: Path) -> None:
    """Each command has its rows, its form of output, its message, and its published exit status."""
    rows = _rows(own_stack, ids)
    names = {row["id"]: name for name, row in rows.items()}
    steps = {**_lists(rows), **_shows(rows), **_retries(rows), **_moves(rows)}
    judge(steps, operate(own_stack, MODULE, tmp_path, steps, {}), names)


def _rows(stack: Stack, ids: Ids) -> dict[str, dict[str, Any]]:
    """Insert rows, each a day after the one before; return them by their names."""
    stack.sql.query("DELETE FROM dead_events")  # (those of an earlier run of this check)
    found = {}
    for number, (name, vendor, kind, status, sealed) in enumerate(
        (
            ("a", "stripe", "transient", "pending", None),
            ("b", "shopify", "permanent", "pending", None),
            ("c", "stripe", "permanent", "pending", None),
            ("d", "paypal", "permanent", "resolved", None),
            ("e", "stripe", "permanent", "pending", "not of any key"),
            ("f", "woocommerce", "permanent", "pending", None),
        )
    ):
        event_id = f"evt_{ids.uuid().hex}"
        payload = {"no": "event"} if name in "cf" else event(vendor, event_id)
        found[name] = {
            "id": str(ids.uuid()),
            "tenant_id": str(ids.uuid()),
            "vendor": vendor,
            "event_type": "charge.succeeded",
            "event_id": event_id,
            "error_kind": kind,
            "payload": json.dumps(payload),
            "sealed": sealed,
            "status": status,
            "failed_at": FIRST + timedelta(days=number),
        }
        stack.sql.query(_INSERT, found[name])
    return found


def _json(*words: str, **more: Any) -> Step:
    """Return a step that prints JSON."""
    return Step(words=[*words, "--json"], **more)


def _lists(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    row = rows["a"]
    header = (
        f"{'id':36}  {'failed_at':25}  remediation_status  retry_count  vendor  event_type      "
        f"  {'tenant_id':36}  error_type"
    )
    line = (
        f"{row['id']}  2026-01-01T00:00:00+00:00  pending             0            stripe"
        f"  charge.succeeded  {row['tenant_id']}  E"
    )
    invalid = "Error: Invalid value for"
    return {
        "list": _json("list", rows=list("abcdef")),
        "list of two": _json(
            "list", "--limit", "2", rows=list("ab"), message="2 rows, perhaps more: see --limit"
        ),
        "list as a table": Step(words=["list", "--until", "2026-01-02"], lines=[header, line]),
        "list by status": _json("list", "--status", "resolved", "--status", "ignored", rows=["d"]),
        "list by vendor": _json("list", "--vendor", "stripe", rows=list("ace")),
        "list by kind": _json("list", "--kind", "transient", rows=["a"]),
        "list by tenant": _json("list", "--tenant", rows["b"]["tenant_id"], rows=["b"]),
        "list by time": _json(
            "list", "--since", "2026-01-02", "--until", "2026-01-04", rows=list("bc")
        ),
        "list by a status that is none": Step(
            words=["list", "--status", "abandoned"], status=USAGE, message=None
        ),
        "show what is no id": Step(
            words=["show", "x"],
            status=USAGE,
            message=f"{invalid} 'ROW': got 'x', expected the UUID of a row; see list",
        ),
        "resolve what is no id": Step(
            words=["resolve", row["id"], "x"],
            status=USAGE,
            message=f"{invalid} '[ROW]...': got 'x', expected the UUID of a row; see list",
        ),
    }


def _shows(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    row = rows["a"]
    shown = {
        "id": row["id"],
        "tenant_id": row["tenant_id"],
        "vendor": "stripe",
        "event_type": "charge.succeeded",
        "event_id": row["event_id"],
        "remediation_status": "pending",
        "error_kind": "transient",
        "error_type": "E",
        "error_message": "it failed",
        "retry_count": 0,
        "replayable": True,
        "correlation_id": None,
        "failed_at": "2026-01-01T00:00:00+00:00",
        "last_retry_at": None,
        "next_retry_at": None,
        "resolved_at": None,
        "remediation_notes": None,
        "payload": json.loads(row["payload"]),
        "error_traceback": None,
    }
    lines = [f"{name + ':':19}{_text(value)}" for name, value in shown.items()]
    unknown = "00000000-0000-4000-8000-000000000000"
    return {
        "show": _json("show", row["id"].upper(), lines=[shown]),
        "show as text": Step(words=["show", row["id"]], lines=lines),
        "show one that does not exist": _json(
            *("show", unknown),
            status=NOT_DONE,
            rows=[],
            message=f"Error: row: got none with id {unknown}, expected one; see list",
        ),
        "show what is not encrypted": _json("show", row["id"], "--reveal", rows=["a"]),
        "show what is encrypted": _json("show", rows["e"]["id"], rows=["e"]),
        "reveal without a key": _json(
            *("show", rows["e"]["id"], "--reveal"),
            status=USAGE,
            rows=[],
            message="Error: SYSTEM_DEAD_LETTER_KEYS: got no key, expected the one that encrypted",
        ),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return "-" if value is None else str(value)


def _retries(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    selects = "Error: rows: got no id and no option that selects, expected one; to select all rows:"
    cannot = "the others are not pending, or cannot be retried: see show"
    no_key = "system.errors.EncryptionError"
    return {
        "retry without a selection": _json(
            "retry", status=USAGE, rows=[], message=f"{selects} --since 1970-01-01"
        ),
        "retry what is due": _json(
            "retry", "--vendor", "stripe", rows=[], message="0 stored, 0 not stored"
        ),
        "retry one that the contract forbids": _json(
            *("retry", rows["f"]["id"]),
            status=NOT_DONE,
            rows=["f"],
            message="0 stored, 1 not stored",
        ),
        "retry one without its key": Step(
            words=["retry", rows["e"]["id"]],
            status=NOT_DONE,
            lines=[f"{rows['e']['id']}  {rows['e']['event_id']}  not stored: {no_key}"],
            message="0 stored, 1 not stored",
        ),
        "retry one of a selection": _json(
            *("retry", "--now", "--limit", "1", "--since", "2026-01-01"),
            rows=["a"],
            message="1 stored, 0 not stored",
        ),
        "retry two of which one is stored": _json(
            *("retry", rows["b"]["id"], rows["a"]["id"]),
            status=NOT_DONE,
            rows=["b"],
            message=cannot,
        ),
    }


def _moves(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Step]:
    ids_ = {name: row["id"] for name, row in rows.items()}
    selects = "Error: rows: got no id and no option that selects, expected one; to select all rows:"
    others = "the others do not exist, or are neither pending nor in progress"
    return {
        "resolve without a selection": _json(
            "resolve", status=USAGE, rows=[], message=f"{selects} --since 1970-01-01"
        ),
        "resolve two": _json(
            *("resolve", ids_["c"], ids_["e"], "--note", "by hand"),
            rows=list("ce"),
            message="2 resolved",
        ),
        "resolve one that is resolved": _json(
            *("resolve", ids_["d"]), status=NOT_DONE, rows=[], message=others
        ),
        "ignore by vendor": _json(
            "ignore", "--vendor", "woocommerce", rows=["f"], message="1 ignored"
        ),
        "ignore nothing": _json("ignore", "--vendor", "woocommerce", rows=[], message="0 ignored"),
        "list of the resolved": _json("list", "--status", "resolved", rows=list("abcde")),
        "list of the ignored": _json("list", "--status", "ignored", rows=["f"]),
    }
