"""Keep what a message is besides its arguments, so that a replay is the same message.

Owns which parts are kept: the rest of the workflow (chain, links, error links), group, root and
parent, time limits, expiry, priority, stamps and the publisher's own headers. `row` masks and
encrypts them like the arguments.

A chord is not kept: its body has failed with its first member, and nothing runs it when a replay of
that member succeeds. So a row of a chord's member is not replayable.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from system.identity import OWN_HEADERS

IN_A_CHORD = "the task is part of a chord, whose body has failed and would not run"

# The attribute of a request, and the option of `send_task` that sets it.
_SENT_AS = {
    "callbacks": "link",
    "errbacks": "link_error",
    "chain": "chain",
    "group": "group_id",
    "group_index": "group_index",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "shadow": "shadow",
    "ignore_result": "ignore_result",
    "replaced_task_nesting": "replaced_task_nesting",
}
WORKFLOW = ("callbacks", "errbacks", "chain", "chord")
"""The parts of a message's body besides the arguments."""


def options_of(request: Any, *, task_id: str) -> dict[str, Any]:
    """Return the options of `send_task` that make the message of a request; defaults are left out.

    Args:
        request: a `celery.app.task.Context` or similar.
        task_id: of the failed task; a task without a workflow is its own root.

    """
    values = {sent: getattr(request, name, None) for name, sent in _SENT_AS.items()}
    if values["group_id"] is None:
        del values["group_index"]
    if values["root_id"] == task_id:
        del values["root_id"]
    limits = getattr(request, "timelimit", None)
    if isinstance(limits, list | tuple) and len(limits) == 2:
        values["time_limit"], values["soft_time_limit"] = limits
    values["priority"] = (getattr(request, "delivery_info", None) or {}).get("priority")
    values["headers"] = _own_headers(request)
    stamps = getattr(request, "stamps", None)
    if stamps and getattr(request, "stamped_headers", None):
        values["stamped_headers"] = list(request.stamped_headers)
        values["stamps"] = dict(stamps)
    # (The first member of a group has the index 0.)
    return {name: value for name, value in values.items() if value or name == "group_index"}


def sent_with(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `send_task` for what `options_of` returned."""
    sent = dict(options)
    return sent | dict(sent.pop("stamps", {}))


def expiry_of(request: Any) -> datetime | None:
    """Return when the message of a request expires; None if it does not, or cannot be read."""
    expires = getattr(request, "expires", None)
    try:
        read = datetime.fromisoformat(expires) if isinstance(expires, str) else expires
    except ValueError:
        return None
    if not isinstance(read, datetime):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def why_not_replayable(request: Any) -> str | None:
    """Return why a replay cannot be the same message; None if it can."""
    if reason := getattr(request, "not_run", None):
        return str(reason)
    chain = getattr(request, "chain", None) or ()
    later = [step.get("options") or {} for step in chain if isinstance(step, Mapping)]
    if getattr(request, "chord", None) or any(options.get("chord") for options in later):
        return IN_A_CHORD
    return None


def _own_headers(request: Any) -> dict[str, Any]:
    headers = getattr(request, "headers", None) or {}
    stamped = set(getattr(request, "stamped_headers", None) or ())
    return {
        name: value
        for name, value in headers.items()
        if name not in OWN_HEADERS and name not in stamped and value is not None
    }
