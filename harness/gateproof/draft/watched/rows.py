"""Finds the table of failed tasks by the id of a task that failed, and its columns by their values.

Owns the guesses about rows of failed tasks. A column is taken if it has the value that was
published, and if no other one has it. Moves of a status are tried on a row and rolled back.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from gateproof.draft.database import TASK_COLUMNS, Catalogue, Listed, Relation

RECENT = dt.timedelta(minutes=5)
"""A time in a row that is older is not the time of the failure."""

_KEYS = """
    SELECT a.attname::text FROM pg_index x
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
    WHERE x.indrelid = %s::regclass AND x.indisprimary AND x.indnkeyatts = 1
"""
_ROWS = """
    SELECT to_jsonb(found) FROM {} found
    WHERE EXISTS (SELECT FROM jsonb_each_text(to_jsonb(found)) WHERE value = %s)
"""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A task that failed, as it was published."""

    task_id: str
    task: str
    queue: str
    kwargs: Mapping[str, Any]
    error: str
    """The class of its exception."""
    message: str
    """The message of its exception."""
    tenant: str | int
    """The tenant that it was published with; empty if it got none."""
    others: tuple[str, ...]
    """The ids of tasks that succeeded."""


@dataclass(frozen=True, kw_only=True)
class KeptRows:
    """The table in which failed tasks are kept, as its rows show it."""

    table: str = ""
    """Its name for the description; empty if no table has a row of the failed task."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Maps the names of columns that checks use to those of the table, where they differ."""
    moves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Maps each status to those that a row can move to; empty if no move is refused."""


def kept_rows(
    connection: psycopg.Connection[Any], catalogue: Catalogue, failed: Failed
) -> KeptRows:
    """Return the table in which the failed task is kept.

    Args:
        connection: of the superuser; nothing is changed for good.
        catalogue: that of the database.
        failed: the task.

    """
    found = [
        (one, rows[0])
        for one in catalogue.tables
        if one.name not in catalogue.broker_tables
        and (rows := _rows(connection, one, failed.task_id))
        and not any(_rows(connection, one, other) for other in failed.others)
    ]
    if len(found) != 1:
        return KeptRows()
    table, row = found[0]
    listed = {one: known for one in row if (known := catalogue.values_of(table, one))}
    columns = columns_of(row, failed, listed)
    keys = connection.execute(_KEYS, (_quoted(table).as_string(connection),)).fetchall()
    if len(keys) == 1:
        columns["id"] = str(keys[0][0])
    status = listed.get(columns.get("status", "status"))
    place = columns.get("task_id", "task_id")
    is_known = status is not None and place in row and bool(status.default)
    return KeptRows(
        table=table.label,
        columns={
            name: column for name, column in columns.items() if name != column and name not in row
        },
        moves=tried_moves(connection, table, place, failed.task_id, status)
        if is_known and status
        else {},
    )


def columns_of(row: Row, failed: Failed, listed: Mapping[str, Listed]) -> dict[str, str]:
    """Map names of columns that checks use to the columns that have the published values.

    Args:
        row: the row of a failed task, as JSON.
        failed: the task.
        listed: the columns that can have listed values only.

    """
    now = dt.datetime.now(dt.UTC)
    fits: dict[str, Iterable[str]] = {
        "task_id": (one for one, value in row.items() if value == failed.task_id),
        "task_name": (one for one, value in row.items() if value == failed.task),
        "queue": (one for one, value in row.items() if value == failed.queue),
        "tenant_id": (
            one for one, value in row.items() if failed.tenant and value == failed.tenant
        ),
        "args": (one for one, value in row.items() if _parsed(value) == []),
        "kwargs": (one for one, value in row.items() if _has(_parsed(value), failed.kwargs)),
        "exception_class": (
            one for one, value in row.items() if str(value).rpartition(".")[2] == failed.error
        ),
        "error_message": (one for one, value in row.items() if value == failed.message),
        "traceback": (one for one, value in row.items() if "Traceback (most" in str(value)),
        "failed_at": (one for one, value in row.items() if _is_recent(value, now)),
        "status": (one for one, known in listed.items() if known.default == row[one] != ""),
    }
    return {name: column for name, columns in fits.items() if (column := _one(name, [*columns]))}


def tried_moves(
    connection: psycopg.Connection[Any], table: Relation, place: str, task_id: str, status: Listed
) -> dict[str, tuple[str, ...]]:
    """Try every move of a row's status, each rolled back, and return those that are possible.

    Returns:
        The moves from each status; nothing if none is refused, or if a status is not reached.

    """
    statement = sql.SQL("UPDATE {} SET {} = %s WHERE {} = %s RETURNING {}::text").format(
        _quoted(table), *map(sql.Identifier, (status.column, place, status.column))
    )

    def can(path: Sequence[str]) -> bool:
        try:
            with connection.transaction(force_rollback=True):
                for step in path:
                    done = connection.execute(statement, (step, task_id)).fetchall()
                    if done != [(step,)]:
                        return False
        except psycopg.Error:
            return False
        return True

    ways: dict[str, tuple[str, ...]] = {status.default: ()}
    moves: dict[str, tuple[str, ...]] = {}
    while waiting := [one for one in ways if one not in moves]:
        old = waiting[0]
        others = [one for one in status.values if one != old]
        moves[old] = tuple(one for one in others if can((*ways[old], one)))
        ways = {one: (*ways[old], one) for one in moves[old]} | ways
    refused = any(len(found) < len(status.values) - 1 for found in moves.values())
    return moves if refused and set(moves) == set(status.values) else {}


def _rows(connection: psycopg.Connection[Any], table: Relation, value: str) -> list[Row]:
    statement = sql.SQL(_ROWS).format(_quoted(table))
    return [row[0] for row in connection.execute(statement, (value,))]


def _quoted(table: Relation) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def _one(name: str, columns: Sequence[str]) -> str:
    """Return the only column; of several, the one with a known name; empty without one."""
    if len(columns) == 1:
        return columns[0]
    known = [one for one in TASK_COLUMNS.get(name, (name,)) if one in columns]
    return known[0] if known else ""


def _parsed(value: Any) -> Any:
    """Return the content of JSON in a text, or the value itself."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _has(value: Any, given: Mapping[str, Any]) -> bool:
    return isinstance(value, Mapping) and all(
        name in value and value[name] == one for name, one in given.items()
    )


def _is_recent(value: Any, now: dt.datetime) -> bool:
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return moment.tzinfo is not None and abs(now - moment) < RECENT
