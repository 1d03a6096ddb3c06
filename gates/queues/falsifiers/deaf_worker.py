"""A worker does not consume one of the queues that it was told to."""

from types import ModuleType
from typing import Any

FORGOTTEN = "llm"


def forget_queue(amqp: ModuleType) -> None:
    """Leave one queue out of `--queues`."""
    original = amqp.Queues.select

    def select(self: Any, include: Any) -> None:
        original(self, [queue for queue in include if queue != FORGOTTEN])

    amqp.Queues.select = select


CHANGES = {"celery.app.amqp": forget_queue}
