"""Define the contract of the dead-letter table: columns, rules, indexes, privileges, moves.

Source: spec, "Dead letters".
"""

from __future__ import annotations

TEXT = ("text", "character varying")
JSON = ("json", "jsonb")
TIME = ("timestamp with time zone",)
WHOLE = ("integer", "bigint", "smallint")

COLUMNS: dict[str, tuple[tuple[str, ...], bool]] = {
    "id": (("uuid", "bigint", "integer"), False),
    "task_id": (TEXT, False),
    "task_name": (TEXT, False),
    "queue": (TEXT, True),
    "tenant_id": (("uuid",), True),
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

STATUSES = ("pending", "in_progress", "resolved", "abandoned")
KINDS = ("transient", "permanent")

MOVES = frozenset(
    {
        ("pending", "in_progress"),
        ("pending", "resolved"),
        ("pending", "abandoned"),
        ("in_progress", "resolved"),
        ("in_progress", "pending"),
        ("in_progress", "abandoned"),
    }
)
"""The legal moves; every other one is refused."""

WAYS: dict[str, tuple[str, ...]] = {
    "pending": (),
    "in_progress": ("in_progress",),
    "resolved": ("in_progress", "resolved"),
    "abandoned": ("in_progress", "abandoned"),
}
"""The legal moves from a new row to each status."""

INDEXED = ("status", "tenant_id", "task_name", "correlation_id")
"""Columns by which rows are searched; each is the first of a complete, valid index."""
