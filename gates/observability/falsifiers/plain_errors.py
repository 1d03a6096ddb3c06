"""What is wrong is printed as plain text."""

from __future__ import annotations

import logging
import os
from types import ModuleType
from typing import Any


def print_errors_plainly(logs: ModuleType) -> None:
    """Write the bare message of an error about a task."""

    def emit(self: Any, record: logging.LogRecord) -> None:
        if record.name == "system.task" and record.levelno >= logging.ERROR:
            os.write(self._descriptor, b"ERROR a task failed\n")
        else:
            write(self, record)

    write = logs.LineHandler.emit
    logs.LineHandler.emit = emit


CHANGES = {"system.logs": print_errors_plainly}
