"""Define the contract of the dead-letter table: its columns, their types, and moves of a status.

Names of columns are those of checks; the description maps them to those of the table.

Source: spec, "Dead letters".
"""

from __future__ import annotations

from collections.abc import Mapping

from gateproof import Sut

TEXT = ("text", "character varying")
JSON = ("json", "jsonb")
TIME = ("timestamp with time zone",)
WHOLE = ("integer", "bigint", "smallint")

COLUMNS: dict[str, tuple[tuple[str, ...], bool]] = {
    "id": (("uuid", "bigint", "integer"), False),
    "task_id": (TEXT, False),
    "task_name": (TEXT, False),
    "queue": (TEXT, True),
    "tenant_id": (("uuid", "bigint", "integer", *TEXT), True),
    "args": (JSON, False),
    "kwargs": (JSON, False),
    "exception_class": (TEXT, False),
    "error_message": (TEXT, False),
    "traceback": (TEXT, True),
    "error_kind": (TEXT, False),
    "retry_count": (WHOLE, False),
    "status": (TEXT, False),
    "correlation_id": (TEXT, True),
    "failed_at": (TIME, False),
    "last_retry_at": (TIME, True),
    "resolved_at": (TIME, True),
    "notes": (TEXT, True),
}
"""Column to its accepted types, and whether it can be null."""

KINDS = ("transient", "permanent")
"""The values of the column `error_kind`."""

INDEXED = ("status", "tenant_id", "task_name", "correlation_id")
"""Columns by which rows are searched; each is the first of a complete, valid index."""


def has(sut: Sut, column: str) -> bool:
    """Return whether the table has a column: it is not declared absent."""
    return sut.describes(f"dead_letters.columns.{column}")


def legal_moves(sut: Sut) -> frozenset[tuple[str, str]]:
    """Return the legal moves of a status; every other one is refused."""
    return frozenset((old, new) for old, to in sut.dead_letters.moves.items() for new in to)


def ways(sut: Sut) -> Mapping[str, tuple[str, ...]]:
    """Map each status to the shortest series of legal moves from a new row to it."""
    found: dict[str, tuple[str, ...]] = {sut.dead_letters.new: ()}
    waiting = [sut.dead_letters.new]
    while waiting:
        old = waiting.pop(0)
        for new in sut.dead_letters.moves.get(old, ()):
            if new not in found:
                found[new] = (*found[old], new)
                waiting.append(new)
    return found
