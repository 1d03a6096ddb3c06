"""Implement a kombu transport that keeps messages in PostgreSQL until they are acknowledged.

Owns the channel that kombu calls; `session` owns leases and dead consumers, `statements` the SQL.

A worker consumes from its event loop. It is woken by a notification, by an acknowledgement that
makes room, or by the polling interval. Then one statement deletes what was acknowledged, and
another claims as much as the prefetch count allows. A lost connection is hidden from Celery, which
would drop its reserved messages and so have them run again elsewhere. Claims stay, the session
reconnects, and acknowledgements wait.

Queues that belong to one process (the mailboxes of remote control, event receivers) store their
bindings in the database, so that other processes can publish to them. They are deleted with the
session that declared them. Messages to them are taken without a claim, and are dropped while the
database is away. The bindings of other queues are stored when a worker consumes them: a message
whose queue its publisher did not declare finds it there, and one that reaches no queue is an error.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from queue import Empty
from typing import Any

import psycopg2
import structlog
from amqp.protocol import queue_declare_ok_t
from kombu.transport import virtual
from kombu.utils.json import dumps, loads
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from system.errors import UnroutableError
from system.transport import statements
from system.transport.activity import ACTIVITY, TURN_S, stops
from system.transport.engines import engine_for
from system.transport.joined import joined_to
from system.transport.options import Options, options_from
from system.transport.refusals import EXHAUSTED, UNREADABLE, Refusal, was_handled
from system.transport.session import Session

APPLICATION_NAME = "system-broker"
# How long acknowledgements are collected before one statement sends them.
GATHER_S = 0.002
RETRY_S = 0.25
LONGEST_RETRY_S = 2.0

Delivery = tuple[str, dict[str, Any]]
"""The name of a queue, and a message's envelope."""

log = structlog.get_logger("system.transport")


class QoS(virtual.QoS):
    """Tracks the messages that a channel has delivered and that are not acknowledged."""

    channel: Channel
    _delivered: Any
    _flush: Any

    def ack(self, delivery_tag: str) -> None:
        """Delete the message."""
        super().ack(delivery_tag)
        self.channel.transport.acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return the message to its queue, or delete it."""
        virtual.QoS.ack(self, delivery_tag)
        if requeue:
            self.channel.transport.give_back([delivery_tag], touched=True)
        else:
            self.channel.transport.acknowledge(delivery_tag)

    def delivered(self) -> list[str]:
        """Return the tags of delivered messages that are not acknowledged."""
        self._flush()
        return list(self._delivered)

    def forget(self, delivery_tags: Iterable[str]) -> None:
        """Track these messages no longer."""
        self._flush()
        for tag in delivery_tags:
            self._delivered.pop(tag, None)

    def restore_unacked(self) -> Any:
        """Return unacknowledged messages to their queues; a shutdown counts as no delivery."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        self.channel.transport.give_back(tags, touched=False)
        return []


class Channel(virtual.Channel):
    """A channel on the tables of the migrations."""

    QoS = QoS
    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.transport: Transport = connection
        self.taken: set[str] = set()
        """Names of queues that are consumed without acknowledgement."""
        self._own: set[str] = set()
        """Names of queues that belong to this process."""

    # Queues

    def queue_declare(self, queue: Any = None, passive: bool = False, **kwargs: Any) -> Any:
        """Declare a queue; count its messages only for a passive declaration."""
        if passive or not queue:
            return super().queue_declare(queue, passive, **kwargs)
        self._new_queue(queue, **kwargs)
        return queue_declare_ok_t(queue, 0, 0)

    def _new_queue(
        self, queue: str, *, auto_delete: bool = False, exclusive: bool = False, **_: Any
    ) -> None:
        if auto_delete or exclusive:
            self._own.add(queue)
            self.transport.declare_own(queue)
        elif self.transport.id_of(queue) is None:
            self.transport.execute(statements.DECLARE, name=queue)

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return self.transport.id_of(queue) is not None

    def _size(self, queue: str) -> int:
        return int(self.transport.execute(statements.SIZE, name=queue)[0][0])

    def _purge(self, queue: str) -> int:
        return self.transport.count(statements.PURGE, name=queue)

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        self._own.discard(queue)
        self.transport.forget(queue)
        self.transport.count(statements.DROP, name=queue)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> None:
        """Delete a queue with its messages; kombu leaves one there that has no binding."""
        super().queue_delete(queue, if_unused, if_empty, **kwargs)
        if not (if_empty and self._size(queue)):
            self._delete(queue)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if queue in self._own:
            binding = {"exchange": exchange, "routing_key": routing_key, "pattern": pattern}
            self.transport.bind_own(queue, json.dumps([binding]))

    def _store_bindings(self, queue: str) -> None:
        """Store a queue's bindings for publishers that do not declare it."""
        exchanges: Any = self.state.exchanges
        for exchange, declared in exchanges.items():
            for routing_key, pattern, name in declared.get("table", ()):
                if name == queue:
                    one = {"exchange": exchange, "routing_key": routing_key, "pattern": pattern}
                    self.transport.count(statements.BIND, name=queue, binding=json.dumps([one]))

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        """Return the queues that a routing key reaches.

        Queues that this connection declared come first, and then those that a worker consumes: a
        retry of a task without a route names only its exchange and its key.

        Raises:
            UnroutableError: none is reached, and the exchange serves queues of tasks; a message to
                processes that are present has no receiver, and is dropped.

        """
        found = list(super()._lookup(exchange, routing_key, default))
        if found or not exchange:
            return found
        stored = self.transport.execute(statements.STORED, exchange=exchange)
        found = [
            name
            for key, pattern, name, _ in stored
            if key == routing_key or (pattern and re.match(pattern, routing_key))
        ]
        known = [queue for _, _, queue in self._known(exchange) if queue not in self._own]
        if not found and (known or any(lasts for *_, lasts in stored)):
            raise UnroutableError(
                f"message: got routing key {routing_key!r}, expected one that reaches a queue of "
                f"the exchange {exchange!r}; set queue and routing_key together, or start a "
                "worker of the queue once"
            )
        return found

    def get_table(self, exchange: str) -> list[Any]:
        """Return an exchange's bindings: declared by this connection, else by other processes."""
        known = self._known(exchange)
        if any(queue not in self._own for _, _, queue in known):
            return known
        return [tuple(row) for row in self.transport.execute(statements.BOUND, exchange=exchange)]

    # Messages

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        self.transport.put(queue, message)

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str, **_: Any
    ) -> None:
        del routing_key  # (a broadcast reaches every queue)
        self.transport.count(statements.PUT_TO_ALL, exchange=exchange, payload=dumps(message))

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        """Publish; drop a message to processes that are present while the database is away."""
        try:
            return super().basic_publish(message, exchange, routing_key, **kwargs)
        except Transport.connection_errors as error:
            if not self._is_broadcast(exchange):
                raise
            log.debug("message to present processes dropped", error=type(error).__name__)
            return None

    def _is_broadcast(self, exchange: str) -> bool:
        known = self._known(exchange)
        return bool(exchange) and not any(queue not in self._own for _, _, queue in known)

    def _known(self, exchange: str) -> list[Any]:
        """Return the bindings that this connection declared."""
        exchanges: Any = self.state.exchanges
        return list(exchanges.get(exchange, {}).get("table", ()))

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Get the next message; without acknowledgement it is deleted at once."""
        message = super().basic_get(queue, no_ack, **kwargs)
        if no_ack and message is not None:
            self.transport.acknowledge(str(message.delivery_tag))
            self.transport.delete_acknowledged()
        return message

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        del timeout  # (a poll does not wait)
        # Without a consumer, nothing else deletes what was acknowledged.
        self.transport.delete_acknowledged()
        for _, envelope in self.transport.claim({queue}, 1):
            return envelope
        raise Empty

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Start consuming from a queue."""
        if no_ack:
            self.taken.add(queue)
        else:
            self._store_bindings(queue)
        super().basic_consume(queue, no_ack, *args, **kwargs)
        self.transport.session.wake()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming from a queue."""
        self.taken.discard(self._tag_to_queue.get(consumer_tag, ""))
        super().basic_cancel(consumer_tag)

    def after_reply_message_received(self, queue: str) -> None:
        """Delete the queue of a reply; the next one can have the same name."""
        self._delete(queue)
        state: Any = self.state
        state.queue_bindings_delete(queue)
        for exchange in state.exchanges.values():
            exchange["table"] = [row for row in exchange.get("table", ()) if row[2] != queue]

    def hand_over(self, delivery_tags: list[str]) -> None:
        """Return delivered messages to their queues, as not delivered."""
        self.transport.give_back(delivery_tags, touched=False)
        qos: Any = self.qos
        qos.forget(delivery_tags)

    def consumed(self) -> set[str]:
        """Return the names of queues whose messages are acknowledged."""
        return set(self._active_queues) - self.taken

    def room(self, most: int) -> int:
        """Return how many more messages the prefetch count allows."""
        estimate = self.qos.can_consume_max_estimate()
        return most if estimate is None else min(estimate, most)


class Transport(virtual.Transport):
    """The transport behind `sqla+postgresql://`."""

    Channel = Channel
    channels: list[Any]
    can_parse_url = True
    default_port = 0
    driver_type = "postgresql"
    driver_name = "psycopg2"
    # A server that goes away shows as either, by what the connection was doing.
    connection_errors = (OperationalError, InterfaceError)
    channel_errors = ()
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset({"direct", "topic", "fanout"})
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        self.options: Options = options_from(client.transport_options)
        super().__init__(client, **kwargs)
        self._url = str(client.hostname)
        self._session: Session | None = None
        self._ids: dict[str, int] = {}
        self._ids_until = 0.0
        self._own: dict[str, list[str]] = {}
        self._epoch = 0
        self._uncertain = False
        self._acknowledged: list[int] = []
        self._loop: Any = None
        self._poll_at: float | None = None
        self._retry_s = RETRY_S
        self._away = False

    def establish_connection(self) -> Any:
        """Return this transport after the database has answered.

        Raises:
            sqlalchemy.exc.OperationalError: the database does not answer.

        """
        self.execute(statements.ANSWER)
        return super().establish_connection()

    def driver_version(self) -> str:
        """Return the version of libpq."""
        return str(psycopg2.__libpq_version__)

    # The database

    @property
    def engine(self) -> Engine:
        """This process's engine."""
        return engine_for(self._url, APPLICATION_NAME)

    @property
    def session(self) -> Session:
        """The session of this connection, started at first use."""
        if self._session is None:
            session = Session(self._url, self.options)
            try:
                session.start()
            except psycopg2.OperationalError as error:
                raise OperationalError("connect", {}, error, hide_parameters=True) from error
            self._session = session
        return self._session

    def execute(self, statement: Any, **values: Any) -> list[Any]:
        """Run one statement in a transaction of its own; return its rows."""
        with self.engine.connect() as connection:
            done = connection.execute(statement, values)
            return list(done.fetchall()) if done.returns_rows else []

    def count(self, statement: Any, **values: Any) -> int:
        """Run one statement; return the number of changed rows."""
        with self.engine.connect() as connection:
            return int(connection.execute(statement, values).rowcount)

    # Queues

    def id_of(self, queue: str) -> int | None:
        """Return the id of a queue; None if it does not exist."""
        return self._ids_of([queue]).get(queue)

    def _ids_of(self, queues: Iterable[str]) -> dict[str, int]:
        wanted = list(queues)
        missing = [queue for queue in wanted if queue not in self._ids]
        if missing:
            self._ids |= {
                name: number for number, name in self.execute(statements.FIND, names=missing)
            }
        return {queue: self._ids[queue] for queue in wanted if queue in self._ids}

    def declare_own(self, queue: str) -> None:
        """Declare a queue that is deleted with this connection's session."""
        session = self.session
        self.execute(statements.DECLARE_OWN, name=queue, me=session.key, lease=session.lease_s)
        self._own.setdefault(queue, [])

    def bind_own(self, queue: str, binding: str) -> None:
        """Bind a queue of this connection to an exchange; the binding is JSON."""
        self.count(statements.BIND, name=queue, binding=binding)
        self._own.setdefault(queue, []).append(binding)

    def forget(self, queue: str) -> None:
        """Remove a deleted queue from the caches."""
        self._ids.pop(queue, None)
        self._own.pop(queue, None)

    # Messages

    def put(self, queue: str, message: Mapping[str, Any]) -> None:
        """Store a message; one with an ETA in the future is scheduled.

        It is stored in the transaction that its publisher has joined, if there is one (`joined`).
        """
        eta = _time_of(message.get("headers"))
        # A worker holds what is due before the next heartbeat, which would release it too late.
        soon = datetime.now(UTC) + timedelta(seconds=self.options.heartbeat)
        waits = eta is not None and eta > soon
        values = {"name": queue, "payload": dumps(message), "eta": eta if waits else None}
        if not self._store(values):
            self.execute(statements.DECLARE, name=queue)
            self._store(values)

    def _store(self, values: dict[str, Any]) -> int:
        joined = joined_to(self._url)
        if joined is None:
            return self.count(statements.PUT, **values)
        return int(joined.execute(statements.PUT, values).rowcount)

    def claim(self, queues: set[str], most: int) -> list[Delivery]:
        """Claim the oldest messages of some queues, oldest first, up to a number."""
        session = self.session
        claim = {"me": session.key, "lease": session.lease_s, "trusted": self.options.trusted}
        try:
            rows = self._first(statements.CLAIM, queues, most, **claim)
            if rows:
                ACTIVITY.move()
            return self._readable(rows)
        except DBAPIError:
            # The claim may have succeeded, and only the answer be lost.
            self._uncertain = True
            raise

    def _readable(self, rows: list[tuple[int, str, str, int]]) -> list[Delivery]:
        readable = []
        for number, queue, text, deliveries in rows:
            envelope = _read(text)
            reason = UNREADABLE if envelope is None else EXHAUSTED
            if envelope is None or deliveries > self.options.max_deliveries:
                refusal = Refusal(
                    reason=reason,
                    queue=queue,
                    text=text,
                    message=self._message_of(envelope),
                    deliveries=deliveries - 1,
                )
                self._refuse(number, refusal)
                continue
            envelope["properties"]["delivery_tag"] = str(number)
            if deliveries > 1:
                envelope["properties"]["delivery_info"]["redelivered"] = True
            readable.append((queue, envelope))
        return readable

    def _take(self, queues: set[str]) -> list[Delivery]:
        """Delete and return messages that are not acknowledged."""
        rows = self._first(statements.TAKE, queues, self.options.batch)
        read = [(queue, _read(text)) for _, queue, text, _ in rows]
        return [(queue, envelope) for queue, envelope in read if envelope is not None]

    def _first(
        self, statement: Any, queues: set[str], most: int, **values: Any
    ) -> list[tuple[int, str, str, int]]:
        ids = self._ids_of(queues)
        if not ids or most < 1:
            return []
        names = {number: name for name, number in ids.items()}
        rows = self.execute(statement, queues=list(names), count=most, **values)
        return [(row[0], names[row[1]], row[2], row[3]) for row in sorted(rows)]

    def _message_of(self, envelope: dict[str, Any] | None) -> Any:
        """Return an envelope as a message; None if its body's encoding is unknown."""
        if envelope is None:
            return None
        envelope["properties"].setdefault("delivery_tag", None)
        try:
            return self.channels[0].message_to_python(envelope)
        except (AttributeError, ValueError, TypeError):
            return None

    def _refuse(self, number: int, refusal: Refusal) -> None:
        log.error(
            "message refused",
            reason=refusal.reason,
            queue=refusal.queue,
            deliveries=refusal.deliveries,
        )
        if was_handled(refusal):
            self.execute(statements.ACK, ids=[number], me=self.session.key)
        else:
            self.count(statements.PARK, id=number, me=self.session.key)

    def acknowledge(self, delivery_tag: str) -> None:
        """Delete a message soon, in one statement with others."""
        self._acknowledged.append(int(delivery_tag))
        ACTIVITY.move()
        self._plan(GATHER_S)

    def give_back(self, delivery_tags: list[str], *, touched: bool) -> None:
        """Return claimed messages to their queues.

        Args:
            delivery_tags: tags of messages that this connection has claimed.
            touched: whether this delivery counts as a failed one.

        """
        ids = [int(tag) for tag in delivery_tags]
        if not ids or self._session is None:
            return
        values = {"me": self._session.key, "untouched": 0 if touched else 1}
        try:
            self.execute(statements.RETURN, ids=ids, channel=statements.CHANNEL, **values)
        except DBAPIError:
            self._uncertain = True
            raise

    def delete_acknowledged(self) -> None:
        """Delete the messages that were acknowledged since the last call; keep them on error."""
        ids, self._acknowledged = self._acknowledged, []
        if not ids or self._session is None:
            return
        try:
            deleted = self.execute(statements.ACK, ids=ids, me=self._session.key)
        except DBAPIError:
            self._acknowledged = ids + self._acknowledged
            raise
        if len(deleted) < len(ids):
            log.warning("lease expired before ack", count=len(ids) - len(deleted))

    # Delivery

    def deliver(self) -> bool:
        """Delete acknowledged messages and deliver waiting ones; return whether there were any."""
        self._recover()
        self.delete_acknowledged()
        delivered = False
        for channel in list(self.channels):
            taken = self._take(channel.taken)
            claimed = self.claim(channel.consumed(), channel.room(self.options.batch))
            self._deliver_all(taken, claimed)
            delivered = delivered or bool(taken or claimed)
        return delivered

    def _recover(self) -> None:
        """Repair what a lost connection left behind.

        The queues of a session that reconnects can have been deleted as those of a dead one, and
        are declared again. Messages that were claimed but never arrived are returned. The ids of
        queues are read again: a queue can have been deleted and declared again.
        """
        session = self._session
        if session is None:
            return
        if session.epoch != self._epoch:
            epoch = session.epoch
            for name, bindings in self._own.items():
                self.execute(
                    statements.DECLARE_OWN, name=name, me=session.key, lease=session.lease_s
                )
                for binding in bindings:
                    self.count(statements.BIND, name=name, binding=binding)
            self._ids_until, self._epoch = 0.0, epoch
        if self._uncertain:
            known = sorted(self._known())
            self.execute(
                statements.RETURN_STRAYS,
                me=session.key,
                known=known,
                channel=statements.CHANNEL,
            )
            self._uncertain = False
        now = time.monotonic()
        if now >= self._ids_until:
            self._ids.clear()
            self._ids_until = now + self.options.polling_interval

    def _known(self) -> set[int]:
        """Return the ids of messages that were delivered, or acknowledged and not yet deleted."""
        tags = (tag for channel in self.channels for tag in channel.qos.delivered())
        return {int(tag) for tag in tags} | set(self._acknowledged)

    def _deliver_all(self, taken: list[Delivery], claimed: list[Delivery]) -> None:
        """Deliver messages to their consumers; if one fails, return the rest to their queues.

        A solo pool runs each task meanwhile: the rest is returned too if the worker is to stop.
        """
        waiting = deque(claimed)
        try:
            for queue, envelope in taken:
                self._deliver(envelope, queue)
            while waiting and not stops():
                queue, envelope = waiting.popleft()
                self._deliver_one(queue, envelope)
        finally:
            tags = [envelope["properties"]["delivery_tag"] for _, envelope in waiting]
            self.give_back(tags, touched=False)

    def _deliver_one(self, queue: str, envelope: dict[str, Any]) -> None:
        """Deliver a message to its consumer; refuse it if its body cannot be read."""
        try:
            self._deliver(envelope, queue)
        except Exception:
            number = int(envelope["properties"]["delivery_tag"])
            if number in self._known():
                raise
            refusal = Refusal(
                reason=UNREADABLE, queue=queue, text=dumps(envelope), message=None, deliveries=0
            )
            self._refuse(number, refusal)

    def drain_events(
        self,
        connection: Any,  # noqa: ARG002 (the base's parameter)
        timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Deliver messages that wait, or that arrive before the timeout.

        Raises:
            socket.timeout: no message arrived.

        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self.deliver():
            left_s = self.session.polling_interval_s
            if end is not None:
                left_s = min(left_s, end - time.monotonic())
            if left_s <= 0:
                raise TimeoutError
            self.session.wait(left_s)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002 (base)
        """Consume from a worker's event loop until the connection is closed."""
        self._loop = loop
        loop.add_reader(self.session.fileno(), self._on_woken)
        loop.call_repeatedly(self.session.polling_interval_s, self._plan, 0)
        loop.call_repeatedly(TURN_S, ACTIVITY.turn)
        self._plan(0)

    def _on_woken(self) -> None:
        if self._session is not None and self._session.was_woken():
            self._plan(0)

    def _plan(self, delay_s: float) -> None:
        """Poll after a delay, unless an earlier poll is planned."""
        at = time.monotonic() + delay_s
        if self._loop is not None and (self._poll_at is None or at < self._poll_at):
            self._poll_at = at
            self._loop.call_later(delay_s, self._poll, at)

    def _poll(self, at: float) -> None:
        if at != self._poll_at or self._loop is None:
            return
        self._poll_at = None
        try:
            delivered = self.deliver()
        except DBAPIError as error:
            self._on_away(error)
            return
        except Exception:
            self._plan(0)
            raise
        if self._away:
            log.info("broker is back")
        self._away, self._retry_s = False, RETRY_S
        # After a delivery more may wait; without room, an acknowledgement plans the next poll.
        if delivered and self._has_room():
            self._plan(0)

    def _has_room(self) -> bool:
        return any(channel.room(1) for channel in self.channels if channel.consumed())

    def _on_away(self, error: DBAPIError) -> None:
        """Keep the claims, and try again later."""
        if not self._away:
            log.warning("broker is away; claimed tasks continue", error=type(error.orig).__name__)
        self._away = True
        self._plan(self._retry_s)
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def close_connection(self, connection: Any) -> None:
        """Delete acknowledged messages, return the others, and end the session."""
        self._loop = None
        try:
            self.delete_acknowledged()
            super().close_connection(connection)
            self._drop_own()
        finally:
            session, self._session = self._session, None
            if session is not None:
                session.close()

    def _drop_own(self) -> None:
        if self._session is not None:
            self.execute(statements.DROP_OWN, me=self._session.key)


def _time_of(headers: Any) -> datetime | None:
    """Return the ETA of a message; None if it has none."""
    try:
        eta = datetime.fromisoformat(headers["eta"])
    except (KeyError, TypeError, ValueError):
        return None
    return eta if eta.tzinfo else eta.replace(tzinfo=UTC)


def _read(text: str) -> dict[str, Any] | None:
    """Return a stored payload as kombu's envelope; None if it is not one."""
    try:
        envelope = loads(text)
        readable = isinstance(envelope["properties"]["delivery_info"], dict)
    except (ValueError, TypeError, KeyError):
        return None
    return envelope if readable and isinstance(envelope, dict) else None
