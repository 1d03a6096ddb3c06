"""Put the rows of a case into the tables of the transport, and return those after it as lines.

It runs in the interpreter of the system, as a part of the programs of tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

ALIVE = 2
"""The key of a session that holds its lock."""
FIRST = 100_000
"""The id of the first queue: greater than those that sequences have reached."""
OLD_S, NEW_S = 3600, 60
"""How long a message has waited, in seconds, unless it is new, and how long a new one at most."""
EXACT_S, FAR_S = 10, 1_000_000
"""Times that are nearer to now can be exact; others are rounded to this, or just far."""

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


def payload_of(number: int, _: Mapping[str, str]) -> str:
    """Return the payload of a message by its number."""
    return f"p{number}"


def name_of(number: int, payload: str) -> str:
    """Return the name of a message: its number, or the payload of one that was put."""
    return payload if payload != f"p{number}" else str(number)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a table writes rows."""

    payload: Callable[[int, Mapping[str, str]], str] = payload_of
    """The payload of a message, by its number and what its words with = say."""
    name: Callable[[int, str], str] = name_of
    """The name of a message, by its id and payload."""
    before: int = 0
    """How much smaller an id is than the number of its message."""
    exact: bool = True
    """Whether the clock stands still, so that a near time is exact."""
    sessions: Mapping[int, str] = field(default_factory=dict)
    """The names of sessions by their keys."""


def fields(line: str) -> tuple[list[str], dict[str, str]]:
    """Return the words of a row, and what its words with = and its flags say."""
    words = line.split()
    plain = [word for word in words if "=" not in word]
    return plain, dict(word.split("=", 1) for word in words if "=" in word)


def number(value: str | None) -> float | None:
    """Return a number; None for none."""
    return None if value is None else float(value)


def prepare(connection: Connection, case: dict[str, Any], form: Form) -> dict[str, int]:
    """Put the rows of a case in place of all others; return the queues with their ids."""
    connection.execute(text("DELETE FROM kombu_message"))
    connection.execute(text("DELETE FROM kombu_queue"))
    ids = {}
    for place, line in enumerate(case.get("queues", ()), start=FIRST):
        (name, *_), more = fields(line)
        ids[name] = place
        row = {"id": place, "name": name, "owner": more.get("owner")}
        row |= {"lease": number(more.get("lease")), "bindings": more.get("bindings", "[]")}
        connection.execute(text(_QUEUE), row)
    for line in case.get("messages", ()):
        (numbers, queue, *flags), more = fields(line)
        first, _, last = numbers.partition("-")
        for one in range(int(first), int(last or first) + 1):
            row = {"id": one - form.before, "queue": ids[queue], "payload": form.payload(one, more)}
            row |= {"visible": "waits" in flags, "claimed": more.get("claimed")}
            row |= {"lease": number(more.get("lease")), "due": number(more.get("due"))}
            row |= {"tried": int(more.get("tried", 0)), "waited": 0 if "new" in flags else OLD_S}
            connection.execute(text(_MESSAGE), row)
    return ids


def messages_of(connection: Connection, form: Form) -> list[str]:
    """Return all messages in the form of the table, by their ids."""
    return [
        _line(
            row,
            [
                form.name(row["id"], row["payload"]),
                row["queue"],
                *(["waits"] if row["visible"] else []),
                *(["new"] if row["new"] else []),
            ],
            ("claimed", "lease", "tried", "due"),
            form,
        )
        for row in connection.execute(text(_MESSAGES), {"new": NEW_S}).mappings()
    ]


def queues_of(connection: Connection, form: Form) -> list[str]:
    """Return all queues in the form of the table, by their names."""
    return [
        _line(row, [row["name"]], ("owner", "lease", "bindings"), form)
        for row in connection.execute(text(_QUEUES)).mappings()
    ]


def _line(row: Any, plain: list[str], names: tuple[str, ...], form: Form) -> str:
    found = []
    for name in names:
        value = row[name]
        if value is None or (value in ("[]", 0) and name in {"bindings", "tried"}):
            continue
        kept = _time(value, form) if isinstance(value, float) else form.sessions.get(value, value)
        found.append(f"{name}={str(kept).replace(' ', '')}")
    return " ".join([*plain, *found])


def _time(value: float, form: Form) -> str:
    """Return a time of a row in seconds."""
    if abs(value) > FAR_S:
        return "far"
    if form.exact and abs(value) < EXACT_S:
        return f"{value:g}"
    return f"{round(value / EXACT_S) * EXACT_S:g}"
