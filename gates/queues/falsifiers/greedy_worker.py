"""A worker takes from every queue, whatever it was told to consume."""

from types import ModuleType
from typing import Any


def ignore_selection(amqp: ModuleType) -> None:
    """Have `--queues` select nothing."""

    def select(self: Any, include: Any) -> None:
        """Take the selection and leave all queues consumed."""

    amqp.Queues.select = select


CHANGES = {"celery.app.amqp": ignore_selection}
