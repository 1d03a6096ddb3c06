"""What the dead-letter contract asks of the table: columns, rules, indexes, privileges, moves.

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
"""Column to the types that serve, and whether it may be null."""

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
"""The legal ones; every other move is refused."""

WAYS: dict[str, tuple[str, ...]] = {
    "pending": (),
    "in_progress": ("in_progress",),
    "resolved": ("in_progress", "resolved"),
    "abandoned": ("in_progress", "abandoned"),
}
"""How a new row gets to each status by legal moves."""

INDEXED = ("status", "tenant_id", "task_name", "correlation_id")
"""Columns by which rows are looked for; each leads a whole, valid index."""
