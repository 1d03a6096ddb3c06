"""Entries about a task's end that can be stored: a dead-letter row, or how a replay ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from system.dead_letters.row import DeadLetter
from system.identity import Identity


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How the replay of a row ended."""

    row_id: str
    """Canonical UUID."""
    replay_id: str
    """The task's id; only the row's current replay settles it."""
    verdict: str
    """`succeeded`, `failed` or `not sent`."""
    failure: DeadLetter | None = None
    """The row that the failure would leave if it were no replay's."""


Entry = DeadLetter | Settlement

_TIMES = ("failed_at", "expires_at")


def key_of(entry: Entry) -> str:
    """Return the id of the task that an entry is about."""
    return entry.replay_id if isinstance(entry, Settlement) else entry.identity.task_id


def task_name_of(entry: Entry) -> str | None:
    """Return the name of the task that an entry is about, if the entry has it."""
    failure = entry.failure if isinstance(entry, Settlement) else entry
    return failure.identity.task_name if failure else None


def to_record(entry: Entry) -> dict[str, Any]:
    """Return an entry in a form that JSON can hold."""
    record = asdict(entry)
    failure = record.get("failure") if isinstance(entry, Settlement) else record
    if failure:
        for name in _TIMES:
            failure[name] = failure[name] and failure[name].isoformat()
    return record


def from_record(record: dict[str, Any]) -> Entry:
    """Return the entry that `to_record` was given."""
    if "verdict" not in record:
        return _dead_letter(record)
    failure = record["failure"]
    return Settlement(**record | {"failure": _dead_letter(failure) if failure else None})


def _dead_letter(record: dict[str, Any]) -> DeadLetter:
    # (An earlier version wrote no expiry.)
    times = {name: record[name] for name in _TIMES if record.get(name)}
    return DeadLetter(
        **record
        | {"identity": Identity(**record["identity"])}
        | {name: datetime.fromisoformat(time) for name, time in times.items()}
    )
