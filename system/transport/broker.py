"""The broker: a kombu transport that keeps its messages in PostgreSQL until they are acknowledged.

Owns what kombu asks of a channel; times and lost consumers are `session`'s, the SQL `statements`'.

A worker consumes from its event loop: it is woken by a notification, by an acknowledgement that
makes room, or by the polling interval, and then deletes in one statement what was acknowledged and
claims in another as much as its prefetch count allows. Celery does not learn of a lost connection:
it would drop what it has reserved and so have it run again elsewhere. What is claimed stays
claimed, the session reconnects, and acknowledgements wait.

Queues that belong to one process (the mailboxes of remote control, event receivers) carry their
bindings in the database, so that others can publish to them; they go with the session that made
them. Messages to them are for whoever is there: taken without a claim, and dropped when the
database is away.
"""

from __future__ import annotations

import json
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

from system.transport import statements
from system.transport.engines import engine_for
from system.transport.options import Options, options_from
from system.transport.refusals import EXHAUSTED, UNREADABLE, Refusal, was_taken
from system.transport.session import Session

APPLICATION_NAME = "system-broker"
# How long acknowledgements gather before they are sent together.
GATHER_S = 0.002
RETRY_S = 0.25
LONGEST_RETRY_S = 2.0

Delivery = tuple[str, dict[str, Any]]
"""The name of a queue, and a message's envelope."""

log = structlog.get_logger("system.transport")


class QoS(virtual.QoS):
    """What a channel has handed out and not seen acknowledged."""

    channel: Channel
    _delivered: Any
    _flush: Any

    def ack(self, delivery_tag: str) -> None:
        """Have the message deleted."""
        super().ack(delivery_tag)
        self.channel.transport.acknowledge(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Have the message returned to its queue, or deleted."""
        virtual.QoS.ack(self, delivery_tag)
        if requeue:
            self.channel.transport.give_back([delivery_tag], touched=True)
        else:
            self.channel.transport.acknowledge(delivery_tag)

    def delivered(self) -> list[str]:
        """Return the tags of what was handed out and not seen acknowledged."""
        self._flush()
        return list(self._delivered)

    def restore_unacked(self) -> Any:
        """Return what was not acknowledged; a worker that is told to end is not its fault."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        self.channel.transport.give_back(tags, touched=False)
        return []


class Channel(virtual.Channel):
    """A channel on the tables that a migration made."""

    QoS = QoS
    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.transport: Transport = connection
        self.taken: set[str] = set()
        """Queues that are consumed without acknowledgement."""
        self._own: set[str] = set()
        """Queues that belong to this process."""

    # Queues

    def queue_declare(self, queue: Any = None, passive: bool = False, **kwargs: Any) -> Any:
        """Declare a queue; its messages are counted for who asks passively, and is told them."""
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

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if queue in self._own:
            binding = {"exchange": exchange, "routing_key": routing_key, "pattern": pattern}
            self.transport.bind_own(queue, json.dumps([binding]))

    def get_table(self, exchange: str) -> list[Any]:
        """Return an exchange's bindings: those declared here, else those of other processes."""
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
        """Publish; what nobody keeps is dropped while the database is away."""
        try:
            return super().basic_publish(message, exchange, routing_key, **kwargs)
        except Transport.connection_errors as error:
            if not self._is_fleeting(exchange):
                raise
            log.debug("message to present processes dropped", error=type(error).__name__)
            return None

    def _is_fleeting(self, exchange: str) -> bool:
        known = self._known(exchange)
        return bool(exchange) and not any(queue not in self._own for _, _, queue in known)

    def _known(self, exchange: str) -> list[Any]:
        """Return the bindings that this connection declared."""
        exchanges: Any = self.state.exchanges
        return list(exchanges.get(exchange, {}).get("table", ()))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        del timeout  # (what is there is there)
        for _, envelope in self.transport.claim({queue}, 1):
            return envelope
        raise Empty

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from a queue from now on."""
        if no_ack:
            self.taken.add(queue)
        super().basic_consume(queue, no_ack, *args, **kwargs)
        self.transport.session.wake()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming from a queue."""
        self.taken.discard(self._tag_to_queue.get(consumer_tag, ""))
        super().basic_cancel(consumer_tag)

    def after_reply_message_received(self, queue: str) -> None:
        """Delete the queue of a reply; the next one may have its name."""
        self._delete(queue)
        state: Any = self.state
        state.queue_bindings_delete(queue)
        for exchange in state.exchanges.values():
            exchange["table"] = [row for row in exchange.get("table", ()) if row[2] != queue]

    def consumed(self) -> set[str]:
        """Return the queues whose messages are acknowledged."""
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
        self._look_at: float | None = None
        self._retry_s = RETRY_S
        self._away = False

    def establish_connection(self) -> Any:
        """Return this transport, once the database has answered.

        Raises:
            sqlalchemy.exc.OperationalError: it does not.

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
        """The session of this connection, begun when first asked for."""
        if self._session is None:
            session = Session(self._url, self.options)
            try:
                session.start()
            except psycopg2.OperationalError as error:
                raise OperationalError("connect", {}, error, hide_parameters=True) from error
            self._session = session
        return self._session

    def execute(self, statement: Any, **values: Any) -> list[Any]:
        """Run one statement in a transaction of its own; return its rows, if it has any."""
        with self.engine.connect() as connection:
            done = connection.execute(statement, values)
            return list(done.fetchall()) if done.returns_rows else []

    def count(self, statement: Any, **values: Any) -> int:
        """Run one statement; return how many rows it changed."""
        with self.engine.connect() as connection:
            return int(connection.execute(statement, values).rowcount)

    # Queues

    def id_of(self, queue: str) -> int | None:
        """Return the id of a queue; None where there is none."""
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
        """Make a queue that goes with this connection's session."""
        session = self.session
        self.execute(statements.DECLARE_OWN, name=queue, me=session.key, lease=session.lease_s)
        self._own.setdefault(queue, [])

    def bind_own(self, queue: str, binding: str) -> None:
        """Have messages of an exchange, as JSON says it, reach a queue of this connection's."""
        self.count(statements.BIND, name=queue, binding=binding)
        self._own.setdefault(queue, []).append(binding)

    def forget(self, queue: str) -> None:
        """Forget a queue that is deleted."""
        self._ids.pop(queue, None)
        self._own.pop(queue, None)

    # Messages

    def put(self, queue: str, message: Mapping[str, Any]) -> None:
        """Store a message; one with a time in the future waits for it in the table."""
        eta = _time_of(message.get("headers"))
        # A worker holds for a moment what the next heartbeat would release too late.
        soon = datetime.now(UTC) + timedelta(seconds=self.options.heartbeat)
        waits = eta is not None and eta > soon
        values = {"name": queue, "payload": dumps(message), "eta": eta if waits else None}
        if not self.count(statements.PUT, **values):
            self.execute(statements.DECLARE, name=queue)
            self.count(statements.PUT, **values)

    def claim(self, queues: set[str], most: int) -> list[Delivery]:
        """Claim up to so many of the oldest messages of some queues, oldest first."""
        session = self.session
        claim = {"me": session.key, "lease": session.lease_s, "trusted": self.options.trusted}
        try:
            rows = self._first(statements.CLAIM, queues, most, **claim)
            return self._readable(rows)
        except DBAPIError:
            # It may have been claimed, and only the answer be lost.
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
        """Take messages that nobody acknowledges out of the table."""
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
        """Return an envelope as a message; None where its body's encoding is unknown."""
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
        if was_taken(refusal):
            self.execute(statements.ACK, ids=[number], me=self.session.key)
        else:
            self.count(statements.PARK, id=number, me=self.session.key)

    def acknowledge(self, delivery_tag: str) -> None:
        """Have a message deleted, together with others that are acknowledged about now."""
        self._acknowledged.append(int(delivery_tag))
        self._plan(GATHER_S)

    def give_back(self, delivery_tags: list[str], *, touched: bool) -> None:
        """Return claimed messages to their queues.

        Args:
            delivery_tags: of messages that this connection has claimed.
            touched: whether this delivery counts as one that failed.

        """
        ids = [int(tag) for tag in delivery_tags]
        if not ids or self._session is None:
            return
        told = {"me": self._session.key, "untouched": 0 if touched else 1}
        try:
            self.execute(statements.RETURN, ids=ids, channel=statements.CHANNEL, **told)
        except DBAPIError:
            self._uncertain = True
            raise

    def _delete_acknowledged(self) -> None:
        ids, self._acknowledged = self._acknowledged, []
        if not ids or self._session is None:
            return
        try:
            deleted = self.execute(statements.ACK, ids=ids, me=self._session.key)
        except DBAPIError:
            self._acknowledged = ids + self._acknowledged
            raise
        if len(deleted) < len(ids):
            log.warning("claims were lost before their end", count=len(ids) - len(deleted))

    # Delivery

    def deliver(self) -> bool:
        """Delete what was acknowledged and hand out what waits; say whether anything was."""
        self._mend()
        self._delete_acknowledged()
        delivered = False
        for channel in list(self.channels):
            taken = self._take(channel.taken)
            claimed = self.claim(channel.consumed(), channel.room(self.options.batch))
            self._hand_out(taken, claimed)
            delivered = delivered or bool(taken or claimed)
        return delivered

    def _mend(self) -> None:
        """Make good what a lost connection left behind.

        A session that came back finds its queues deleted, perhaps, as those of a dead one; what was
        claimed for nobody is returned. And a queue may have been deleted and declared anew.
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
        """Return the ids of messages that consumers have, or have acknowledged."""
        tags = (tag for channel in self.channels for tag in channel.qos.delivered())
        return {int(tag) for tag in tags} | set(self._acknowledged)

    def _hand_out(self, taken: list[Delivery], claimed: list[Delivery]) -> None:
        """Give messages to their consumers; what is left when one of these breaks is returned."""
        waiting = deque(claimed)
        try:
            for queue, envelope in taken:
                self._deliver(envelope, queue)
            while waiting:
                queue, envelope = waiting.popleft()
                self._hand_over(queue, envelope)
        finally:
            tags = [envelope["properties"]["delivery_tag"] for _, envelope in waiting]
            self.give_back(tags, touched=False)

    def _hand_over(self, queue: str, envelope: dict[str, Any]) -> None:
        """Give a message to its consumer; refuse one whose body is none."""
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
        """Hand out what waits, or what comes before the timeout.

        Raises:
            socket.timeout: nothing came.

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
        """Consume from a worker's event loop, which ends this with the connection."""
        self._loop = loop
        loop.add_reader(self.session.fileno(), self._on_woken)
        loop.call_repeatedly(self.session.polling_interval_s, self._plan, 0)
        self._plan(0)

    def _on_woken(self) -> None:
        if self._session is not None and self._session.heard():
            self._plan(0)

    def _plan(self, delay_s: float) -> None:
        """Look after so many seconds, or earlier where that is planned already."""
        at = time.monotonic() + delay_s
        if self._loop is not None and (self._look_at is None or at < self._look_at):
            self._look_at = at
            self._loop.call_later(delay_s, self._look, at)

    def _look(self, at: float) -> None:
        if at != self._look_at or self._loop is None:
            return
        self._look_at = None
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
        # While something came, more may wait; where there is no room, an acknowledgement plans.
        if delivered and self._has_room():
            self._plan(0)

    def _has_room(self) -> bool:
        return any(channel.room(1) for channel in self.channels if channel.consumed())

    def _on_away(self, error: DBAPIError) -> None:
        """Go on with what is claimed, and try again later."""
        if not self._away:
            log.warning("broker is away; what is claimed goes on", error=type(error.orig).__name__)
        self._away = True
        self._plan(self._retry_s)
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def close_connection(self, connection: Any) -> None:
        """Delete what was acknowledged, return the rest, and end the session."""
        self._loop = None
        try:
            self._delete_acknowledged()
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
    """Return the time before which a message is not to be run; None where it names none."""
    try:
        eta = datetime.fromisoformat(headers["eta"])
    except (KeyError, TypeError, ValueError):
        return None
    return eta if eta.tzinfo else eta.replace(tzinfo=UTC)


def _read(text: str) -> dict[str, Any] | None:
    """Return a stored payload as kombu's envelope; None where it is none."""
    try:
        envelope = loads(text)
        readable = isinstance(envelope["properties"]["delivery_info"], dict)
    except (ValueError, TypeError, KeyError):
        return None
    return envelope if readable and isinstance(envelope, dict) else None
