"""The line about a failure quotes the task's arguments."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def quote_arguments(task_log: ModuleType) -> None:
    """Add the arguments to the error."""

    def describe(task: Any, error: BaseException, **arguments: Any) -> str:
        return f"{say(task, error, **arguments)} {arguments}"

    say = task_log.describe
    vars(task_log)["describe"] = describe


CHANGES = {"system.task_log": quote_arguments}
