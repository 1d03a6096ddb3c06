"""A program that runs operations of queues with kombu, and prints the result of each as JSON.

It runs in the interpreter of the system, on the connections of its app. Each operation has queues
of its own. The arguments are the app, as MODULE:ATTRIBUTE, and the beginning of names of queues.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from kombu import Consumer, Exchange, Producer, Queue

QUIET_S = 0.4
"""How long nothing must come, in seconds: several polls of the transport."""
COMES_S = 10.0
"""Within how many seconds something must come."""


class Bench:
    """Two connections of the app, and what is done with them."""

    def __init__(self, app: Any, prefix: str) -> None:
        self.prefix = prefix
        self.one, self.other = app.connection_for_write(), app.connection_for_write()

    def name(self, name: str) -> str:
        """Return the whole name of a queue or exchange."""
        return f"{self.prefix}.{name}"

    def queue(self, name: str) -> Any:
        """Return a declared queue."""
        queue = Queue(self.name(name), durable=True)(self.one.default_channel)
        queue.declare()
        return queue

    def put(self, queue: Any, *bodies: str, **headers: str) -> None:
        """Publish messages to a queue."""
        for body in bodies:
            Producer(self.one.default_channel).publish(
                body, routing_key=queue.name, serializer="json", headers=headers
            )

    def take(self, queue: Any) -> str | None:
        """Get the next message and acknowledge it; return its body."""
        message = queue.get(no_ack=False)
        if message is None:
            return None
        message.ack()
        return str(message.payload)

    def consume(self, names: list[str], *, at_once: int, until: int) -> list[str]:
        """Consume queues on the other connection without acknowledging; return the bodies.

        Args:
            names: names of the queues.
            at_once: the prefetch count.
            until: how many are waited for; then nothing more must come for a short time.

        """
        channel = self.other.channel()
        channel.basic_qos(0, at_once, False)
        bodies: list[str] = []
        queues = [Queue(self.name(name), durable=True) for name in names]
        consumer = Consumer(channel, queues, callbacks=[lambda body, _: bodies.append(body)])
        with consumer, suppress(socket.timeout):
            while len(bodies) < until:
                self.other.drain_events(timeout=COMES_S)
            self.other.drain_events(timeout=QUIET_S)
        return bodies


def one_queue(bench: Bench) -> Any:
    """Publish five messages and get them."""
    queue = bench.queue("line")
    bench.put(queue, *"12345")
    return [bench.take(queue) for _ in range(6)]


def two_queues(bench: Bench) -> Any:
    """Publish to two queues in turn, and consume both with room for two."""
    left, right = bench.queue("left"), bench.queue("right")
    for number in "12":
        bench.put(left, f"left {number}")
        bench.put(right, f"right {number}")
    return sorted(bench.consume(["left", "right"], at_once=2, until=2))


def prefetch(bench: Bench) -> Any:
    """Consume five messages with room for three."""
    bench.put(bench.queue("room"), *"12345")
    return bench.consume(["room"], at_once=3, until=3)


def requeued(bench: Bench) -> Any:
    """Return the first of two messages to its queue, and get both."""
    queue = bench.queue("again")
    bench.put(queue, *"12")
    queue.get(no_ack=False).requeue()
    message = queue.get(no_ack=False)
    message.ack()
    return [message.payload, bool(message.delivery_info.get("redelivered")), bench.take(queue)]


def rejected(bench: Bench) -> Any:
    """Reject the first of two messages, and get what is left."""
    queue = bench.queue("rejected")
    bench.put(queue, *"12")
    queue.get(no_ack=False).reject()
    return [bench.take(queue), bench.take(queue)]


def room(bench: Bench) -> Any:
    """Consume two messages with room for one, and reject each."""
    bench.put(bench.queue("rejecting"), *"12")
    bodies: list[str] = []

    def reject(body: str, message: Any) -> None:
        bodies.append(body)
        message.reject()

    channel = bench.other.channel()
    channel.basic_qos(0, 1, False)
    with (
        Consumer(channel, [Queue(bench.name("rejecting"), durable=True)], callbacks=[reject]),
        suppress(socket.timeout),
    ):
        while len(bodies) < len("12"):
            bench.other.drain_events(timeout=COMES_S)
    return bodies


def tried(bench: Bench) -> Any:
    """Return three messages twice each, the last one first, and consume them with room for all."""
    queue = bench.queue("tried")
    bench.put(queue, *"123")
    return_twice(queue, 3)
    return bench.consume(["tried"], at_once=3, until=1)


def tried_and_new(bench: Bench) -> Any:
    """Return a message twice, publish another one, and consume them with room for one."""
    queue = bench.queue("tried-and-new")
    bench.put(queue, "tried")
    return_twice(queue, 1)
    bench.put(queue, "new")
    return bench.consume(["tried-and-new"], at_once=1, until=1)


def return_twice(queue: Any, number: int) -> None:
    """Get messages and return them, the last one first, and do so again."""
    for _ in range(2):
        for message in reversed([queue.get(no_ack=False) for _ in range(number)]):
            message.requeue()


def size(bench: Bench) -> Any:
    """Count a queue with a claimed, two waiting and a scheduled message."""
    queue = bench.queue("size")
    bench.put(queue, *"123")
    bench.put(queue, "later", eta=in_an_hour())
    queue.get(no_ack=False)
    return bench.one.default_channel.queue_declare(queue.name, passive=True).message_count


def purge(bench: Bench) -> Any:
    """Purge a queue with a claimed, two waiting and a scheduled message; return the claimed one."""
    queue = bench.queue("purge")
    bench.put(queue, *"123")
    bench.put(queue, "later", eta=in_an_hour())
    claimed = queue.get(no_ack=False)
    purged = queue.purge()
    claimed.requeue()
    return [purged, bench.take(queue), bench.take(queue)]


def scheduled(bench: Bench) -> Any:
    """Publish a message for later, one that is due, and one without a time."""
    queue = bench.queue("scheduled")
    bench.put(queue, "later", eta=in_an_hour())
    bench.put(queue, "due", eta=(datetime.now(UTC) - timedelta(seconds=5)).isoformat())
    bench.put(queue, "now")
    return [bench.take(queue) for _ in range(3)]


def undeclared(bench: Bench) -> Any:
    """Publish to a queue that no one has declared, and get the message."""
    bench.put(Queue(bench.name("new")), "1")
    return bench.take(Queue(bench.name("new"))(bench.one.default_channel))


def deleted(bench: Bench) -> Any:
    """Delete a queue with messages, declare it again, and get one."""
    queue = bench.queue("deleted")
    bench.put(queue, *"12")
    queue.delete()
    return bench.take(bench.queue("deleted"))


def broadcast(bench: Bench) -> Any:
    """Publish to a fanout exchange that one of two queues is bound to, and that one twice."""
    fan, other = (Exchange(bench.name(name), type="fanout", durable=False) for name in ("fan", "b"))
    own: dict[str, Any] = {"durable": False, "auto_delete": True, "exclusive": True}
    queues = [Queue(bench.name("own"), fan, **own), Queue(bench.name("not own"), other, **own)]
    channel = bench.other.channel()
    came: list[str] = []

    def note(body: str, message: Any) -> None:
        came.append(f"{body} by {message.delivery_info['exchange'].removeprefix(bench.prefix)}")

    with (
        Consumer(channel, queues, callbacks=[note], no_ack=True) as consumer,
        suppress(socket.timeout),
    ):
        consumer.queues[0].queue_bind()
        for exchange in (fan, other, fan):
            producer = Producer(bench.one.channel(), exchange)
            producer.publish(str(len(came) + 1), serializer="json", declare=[exchange])
            wanted = len(came) + 1
            while len(came) < wanted:
                bench.other.drain_events(timeout=COMES_S)
        bench.other.drain_events(timeout=QUIET_S)
    return came


def waiting(bench: Bench) -> Any:
    """Leave two messages: the first one, which was returned after the second was published."""
    queue = bench.queue("waiting")
    bench.put(queue, "returned")
    message = queue.get(no_ack=False)
    bench.put(queue, "second")
    message.requeue()
    return [bench.one.default_channel.queue_declare(queue.name, passive=True).message_count]


def in_an_hour() -> str:
    """Return a time for a message that must not come."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


OPERATIONS: tuple[Callable[[Bench], Any], ...] = (
    one_queue, two_queues, prefetch, requeued, rejected, room, tried, tried_and_new, size, purge,
    scheduled, undeclared, deleted, broadcast, waiting,
)  # fmt: skip


def result_of(operation: Callable[[Bench], Any], app: Any, prefix: str) -> Any:
    """Run an operation on connections of its own; an error is its result."""
    bench = Bench(app, prefix)
    try:
        return operation(bench)
    except Exception as error:  # noqa: BLE001 (the result of the operation, whatever it is)
        return f"{type(error).__name__}: {error}"
    finally:
        for connection in (bench.one, bench.other):
            with suppress(Exception):
                connection.release()


def main() -> None:
    """Run all operations."""
    module, _, attribute = sys.argv[1].partition(":")
    app = getattr(import_module(module), attribute)
    results = {one.__name__: result_of(one, app, sys.argv[2]) for one in OPERATIONS}
    sys.stdout.write(f"{json.dumps(results)}\n")


if __name__ == "__main__":
    sys.path.insert(0, "")
    main()
