"""The correlation id of one task stays for those that follow it in the process."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any


def keep_context(identity: ModuleType) -> None:
    """Give a task without a correlation id the last one that there was."""

    def identify(*args: Any, **kwargs: Any) -> Any:
        found = find(*args, **kwargs)
        if found.correlation_id != found.task_id:
            last.append(found.correlation_id)
        return replace(found, correlation_id=last[-1]) if last else found

    last: list[str] = []
    find = identity.identify
    vars(identity)["identify"] = identify


CHANGES = {"system.identity": keep_context}
