"""Nothing listens when a task fails, as when the handler's module is no longer imported."""

from types import ModuleType
from typing import Any


def lose_handlers(signals: ModuleType) -> None:
    """Have whatever connects to the signal of failures not be connected."""

    def connect(*args: Any, **kwargs: Any) -> None:
        """Take the receiver and forget it."""

    signals.task_failure.connect = connect


CHANGES = {"celery.signals": lose_handlers}
