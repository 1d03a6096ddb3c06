"""Nothing is logged about a task that is to be tried again."""

from __future__ import annotations

import logging
from types import ModuleType


def drop_retries(_: ModuleType) -> None:
    """Filter the lines about retries out."""

    def is_no_retry(record: logging.LogRecord) -> bool:
        return "task retried" not in str(record.msg)

    logging.getLogger("system.task").addFilter(is_no_retry)


CHANGES = {"system.logs": drop_retries}
