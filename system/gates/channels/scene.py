"""Run steps of a case on connections and channels of the system's own transport.

A step is `ACTOR: VERB WORDS FLAGS NAME=VALUE`. An actor is a capital, which is a connection, and a
number for a further channel of it; without an actor it is A. A connection is made at first use.
"""

from __future__ import annotations

# ruff: noqa: SLF001 (what a session keeps to itself is a part of its state)
import json
import os
import re
import select
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from importlib import import_module
from typing import Any

from kombu import Connection as Broker
from kombu.asynchronous import Hub
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from system.gates.tables.rows import Form, fields, messages_of, queues_of

QUIET = {
    "lease": 60, "pooled_lease": 300, "heartbeat": 100, "polling_interval": 50,
    "pooled_polling_interval": 20,
}  # fmt: skip
"""Options with which nothing happens by itself during a case."""
BEFORE = 1_000_000
"""How much smaller prepared ids are than their numbers: they come before those of sequences."""
AT_ONCE_S = 0.1
"""A poll that is planned sooner than this, in seconds, is planned at once."""
SOON_S = 10.0
"""How long to wait at most for what happens at once, in seconds."""
HELD = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) = :key"""
"""How many sessions of the database hold the lock of a key."""
ZONE = timezone(timedelta(hours=5, minutes=30))
"""A time zone that is not UTC."""
ACTOR = re.compile(r"(?:([A-Z])(\d?): )?(.*)")


def stated(error: Exception) -> str:
    """Return an error as text: the system's own with its message."""
    own = type(error).__module__.startswith("system.")
    return f"{type(error).__name__}: {error}" if own else type(error).__name__


def payload_of(number: int, more: Mapping[str, str]) -> str:
    """Return the payload of a prepared message: kombu's envelope, or the text that it must have."""
    if "raw" in more:
        return more["raw"]
    info = {"exchange": "", "routing_key": more.get("key", "q")}
    properties = {"delivery_info": info, "delivery_tag": "none"}
    content = {"content-type": more.get("type", "text/plain"), "content-encoding": "utf-8"}
    return json.dumps({"body": str(number), "headers": {}, "properties": properties, **content})


def name_of(_: int, payload: str) -> str:
    """Return the name of a message: its body."""
    try:
        return str(body_of(json.loads(payload)))
    except (ValueError, TypeError, KeyError, AttributeError):
        return payload.replace(" ", "")


def body_of(envelope: dict[str, Any]) -> Any:
    """Return the body of an envelope."""
    coded = envelope["properties"].get("body_encoding") == "base64"
    return b64decode(envelope["body"]).decode() if coded else envelope["body"]


class Scene:
    """The connections of one case."""

    def __init__(self, admin: Connection, url: str, case: dict[str, Any]) -> None:
        self.admin, self.url, self.case = admin, url, case
        self.brokers: dict[str, Any] = {}
        self.channels: dict[str, Any] = {}
        self.keys: dict[int, str] = {}
        self.tags: dict[str, tuple[Any, str]] = {}
        self.came: list[str] = []
        self.failing = False
        self.locks: list[Connection] = []
        self.hub: Any = None
        import_module("system.transport.activity").ACTIVITY.moved_at = 0.0
        self.form = Form(
            payload=payload_of, name=name_of, before=BEFORE, exact=False, sessions=self.keys
        )

    def run(self, step: str) -> str:
        """Run a step; return its result as text."""
        found = ACTOR.fullmatch(step)
        if found is None:
            raise ValueError(step)
        self.actor, self.place, rest = found[1] or "A", found[2], found[3]
        (verb, *words), self.more = fields(rest)
        done = getattr(self, f"_do_{verb.replace('-', '_')}")(*words)
        return "" if done is None else str(done)

    def rows(self) -> dict[str, list[str]]:
        """Return the rows that there are now."""
        self._keep_keys()
        return {
            "messages": messages_of(self.admin, self.form),
            "queues": queues_of(self.admin, self.form),
        }

    def _keep_keys(self) -> None:
        for name, broker in self.brokers.items():
            session = broker.transport._session
            if session is not None:
                self.keys[session.key] = name

    def end(self) -> None:
        """Close what is open."""
        for lock in self.locks:
            lock.close()
        for broker in self.brokers.values():
            with suppress(Exception):
                broker.close()

    @property
    def broker(self) -> Any:
        """The connection of the actor."""
        if self.actor not in self.brokers:
            options = (
                {}
                if self.case.get("options") == "none"
                else {**QUIET, **self.case.get("options", {})}
            )
            url = f"sqla+{self.url}"
            broker = Broker(url, transport_options=options)
            broker.connect()
            self.brokers[self.actor] = broker
        return self.brokers[self.actor]

    @property
    def channel(self) -> Any:
        """The channel of the actor."""
        name = f"{self.actor}{self.place}"
        if name not in self.channels:
            self.channels[name] = self.broker.channel()
        return self.channels[name]

    @property
    def transport(self) -> Any:
        """The transport of the actor."""
        return self.broker.transport

    @property
    def session(self) -> Any:
        """The session of the actor."""
        return self.transport.session

    # Queues

    def _do_declare(self, queue: str, *flags: str) -> str:
        name = "" if queue == "-" else queue
        done = self.channel.queue_declare(name, **dict.fromkeys(flags, True))
        shown = "a name" if queue == "-" and done.queue else done.queue
        return f"{shown} {done.message_count} {done.consumer_count}"

    def _do_exchange(self, exchange: str, kind: str) -> None:
        self.channel.exchange_declare(exchange, kind)

    def _do_bind(self, queue: str, exchange: str, key: str = "") -> None:
        self.channel.queue_bind(queue, exchange, key)

    def _do_lookup(self, exchange: str, key: str) -> str:
        return (
            " ".join(sorted(self.channel._lookup("" if exchange == "-" else exchange, key)))
            or "none"
        )

    def _do_table(self, exchange: str) -> str:
        return (
            " ".join(sorted("/".join(map(str, row)) for row in self.channel.get_table(exchange)))
            or "none"
        )

    def _do_purge(self, queue: str) -> int:
        return int(self.channel.queue_purge(queue))

    def _do_size(self, queue: str) -> int:
        return int(self.channel._size(queue))

    def _do_delete(self, queue: str, *flags: str) -> None:
        self.channel.queue_delete(queue, **dict.fromkeys(flags, True))

    def _do_replied(self, queue: str) -> None:
        self.channel.after_reply_message_received(queue)

    # Messages

    def _do_publish(self, exchange: str, key: str, body: str) -> None:
        headers, given = {}, self.more.get("eta")
        if given is not None:
            headers["eta"] = self._time(given)
        properties = {"expiration": self.more["expiration"]} if "expiration" in self.more else {}
        message = self.channel.prepare_message(
            body,
            priority=int(self.more.get("priority", 0)),
            content_type="text/plain",
            content_encoding="utf-8",
            headers=None if self.more.get("headers") == "none" else headers,
            properties=properties,
        )
        self.channel.basic_publish(message, "" if exchange == "-" else exchange, key)

    @staticmethod
    def _time(given: str) -> Any:
        kind, _, value = given.rpartition(":")
        with suppress(ValueError):
            at = datetime.now(UTC) + timedelta(seconds=float(value))
            return {
                "naive": at.replace(tzinfo=None).isoformat(),
                "zone": at.astimezone(ZONE).isoformat(),
            }.get(kind, at.isoformat())
        return given

    def _do_publish_in(self, exchange: str, key: str, body: str, end: str) -> None:
        joined = import_module("system.transport.joined")
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection, joined.publishing_in(connection):
            self._do_publish(exchange, key, body)
            getattr(connection, end)()

    def _do_get(self, queue: str, *flags: str) -> str:
        message = self.channel.basic_get(queue, **dict.fromkeys(flags, True))
        return "nothing" if message is None else self._came(self.channel, message)

    def _came(self, channel: Any, message: Any) -> str:
        body = message.body.decode() if isinstance(message.body, bytes) else message.body
        self.tags[body] = channel, message.delivery_tag
        again = " again" if message.delivery_info.get("redelivered") else ""
        priority = (
            f" priority={message.properties['priority']}"
            if message.properties.get("priority")
            else ""
        )
        return f"{body}{again}{priority}"

    def _do_consume(self, queue: str, *flags: str) -> None:
        channel = self.channel
        self.channel.basic_consume(
            queue, "no_ack" in flags, partial(self._take, channel, flags), f"{queue}-tag"
        )

    def _take(self, channel: Any, flags: tuple[str, ...], message: Any) -> None:
        name = self._came(channel, message)
        self.came.append(name)
        if name == self.case.get("fails"):
            raise ArithmeticError
        if "acks" in flags:
            channel.basic_ack(message.delivery_tag)

    def _do_cancel(self, queue: str) -> None:
        self.channel.basic_cancel(f"{queue}-tag")

    def _do_drain(self, timeout_s: str = "0") -> str:
        with suppress(TimeoutError):
            self.transport.drain_events(self.broker, timeout=float(timeout_s))
            return self._taken() or "only refused or returned ones"
        return ", ".join(filter(None, ("nothing", self._taken())))

    def _do_deliver(self) -> str:
        return f"{self.transport.deliver()} {self._taken()}".strip()

    def _do_taken(self) -> str:
        return self._taken()

    def _taken(self) -> str:
        found, self.came = self.came, []
        return ", ".join(found)

    def _do_qos(self, count: str) -> None:
        self.channel.basic_qos(0, int(count))

    def _do_room(self, most: str) -> int:
        return int(self.channel.room(int(most)))

    def _do_ack(self, *bodies: str) -> None:
        for body in bodies:
            channel, tag = self.tags[body]
            channel.basic_ack(tag)

    def _do_reject(self, body: str, *flags: str) -> None:
        channel, tag = self.tags[body]
        channel.basic_reject(tag, **dict.fromkeys(flags, True))

    def _do_recover(self) -> str:
        return str(self.channel.basic_recover(requeue=True))

    def _do_hand_over(self, *bodies: str) -> None:
        self.channel.hand_over([self.tags[body][1] for body in bodies])

    def _do_open(self) -> str:
        names = {tag: body for body, (_, tag) in self.tags.items()}
        return " ".join(names[tag] for tag in self.channel.qos.delivered()) or "none"

    # Ends

    def _do_close(self) -> None:
        self._keep_keys()
        self.brokers.pop(self.actor).close()
        self.channels = {key: one for key, one in self.channels.items() if key[0] != self.actor}

    def _do_close_channel(self) -> None:
        self.channels.pop(f"{self.actor}{self.place}").close()

    def _do_alive(self) -> str:
        """Return whether the session's lock is held; ask without taking it from the session."""
        self._keep_keys()
        key = {"key": next(key for key, name in self.keys.items() if name == self.actor)}
        return "yes" if self.admin.execute(text(HELD), key).scalar() else "no"

    def _do_held(self) -> str:
        """Return whether the session's lock is held, which a new connection takes soon after."""
        return self._alive_at_last("yes")

    def _do_freed(self) -> str:
        """Return whether the session's lock is free, which the server does soon after the end."""
        return "yes" if self._alive_at_last("no") == "no" else "no"

    def _alive_at_last(self, expected: str) -> str:
        until = time.monotonic() + SOON_S
        while (found := self._do_alive()) != expected and time.monotonic() < until:
            time.sleep(0.001)
        return found

    def _do_options(self) -> str:
        found = self.transport.options
        return " ".join(f"{name}={getattr(found, name):g}" for name in found.__dataclass_fields__)

    def _do_version(self) -> bool:
        return bool(re.fullmatch(r"\d{6}", self.transport.driver_version()))

    def _do_implements(self) -> str:
        found = self.transport.implements
        return f"{found.asynchronous} {found.heartbeats} {' '.join(sorted(found.exchange_type))}"

    # Sessions

    def _do_session(self) -> str:
        session = self.session
        self._keep_keys()
        times = f"lease={session.lease_s:g} polls={session.polling_interval_s:g}"
        return f"pooled={session.pooled} {times} epoch={session.epoch}"

    def _do_has_session(self) -> str:
        return "no" if self.transport._session is None else "yes"

    def _do_begun(self) -> str:
        self._keep_keys()
        query = text(
            "SELECT count(*), count(DISTINCT application_name) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'system-broker-session'"
        )
        return str(self.admin.execute(query).first()[0])  # type: ignore[index]

    def _do_pool(self) -> None:
        """Have the session behave as behind a pooler."""
        self.session.pooled = True

    def _do_settle(self) -> None:
        """Have the session be old enough to return claims of others."""
        self.session._settled_at = time.monotonic()

    def _do_beat(self, times: str = "1") -> None:
        """Send heartbeats; the thread of the session, which has the same connection, ends first."""
        session = self.session
        if session._thread is not None:
            os.close(session._end)
            session._thread.join()
            os.close(session._ended)
            session._ended, session._end = os.pipe2(os.O_CLOEXEC)
            session._thread = None
        for _ in range(int(times)):
            session._beat()

    def _do_due_in(self) -> str:
        due = self.session._due_in_s
        return "never" if due is None else f"{round(due / 10) * 10}"

    def _do_wake(self) -> None:
        self.session.wake()

    def _do_woken(self, timeout_s: str = "0") -> str:
        return "yes" if self.session.wait(float(timeout_s)) else "no"

    def _do_was_woken(self) -> str:
        return "yes" if self.session.was_woken() else "no"

    def _do_fill(self) -> None:
        """Fill the pipe that wakes the consumer."""
        wake = self.session.wake
        for _ in range(70_000):
            wake()

    def _do_fork_and_close(self) -> str:
        session = self.session
        child = os.fork()
        if child == 0:
            status = 1
            with suppress(BaseException):
                session.close()
                status = 0 if session._connection is not None else 2
            os._exit(status)
        return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def _do_close_session(self) -> None:
        self._keep_keys()
        self.session.close()

    def _do_lose_session(self) -> str:
        """End the session's connection on the server; return the epoch after it is back."""
        session = self.session
        before = session.epoch
        self._end("system-broker-session")
        until = time.monotonic() + SOON_S
        while session.epoch == before and time.monotonic() < until:
            time.sleep(0.005)
        return str(session.epoch)

    def _do_lose(self) -> int:
        """End the connections of the engine on the server."""
        return self._end("system-broker")

    def _end(self, name: str) -> int:
        """End the connections of a name, and wait until they are gone: a session is soon back."""
        where = "datname = current_database() AND application_name = :name"
        end = f"SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}"
        left = text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:ended)")
        ended = [row.pid for row in self.admin.execute(text(end), {"name": name})]
        until = time.monotonic() + SOON_S
        while self.admin.execute(left, {"ended": ended}).scalar() and time.monotonic() < until:
            time.sleep(0.001)
        return len(ended)

    # Other actors

    def _do_stray(self, number: str) -> None:
        """Have the session hold a claim whose answer was lost."""
        values = {"id": int(number) - BEFORE, "me": self.session.key}
        change = "claimed_by = :me, visible = false, deliveries = deliveries + 1"
        self.admin.execute(text(f"UPDATE kombu_message SET {change} WHERE id = :id"), values)

    def _do_expire(self) -> None:
        """Have all leases be over."""
        for table in ("kombu_message", "kombu_queue"):
            query = f"UPDATE {table} SET lease_until = now() - interval '20 s'"
            self.admin.execute(text(f"{query} WHERE lease_until IS NOT NULL"))

    def _do_lock(self, number: str) -> None:
        """Lock a prepared message until the end of the case."""
        other = create_engine(self.url, poolclass=NullPool).connect()
        self.locks.append(other)
        other.execute(
            text("SELECT FROM kombu_message WHERE id = :id FOR UPDATE"),
            {"id": int(number) - BEFORE},
        )

    def _do_lost(self, number: str) -> None:
        """Have another session claim a prepared message."""
        values = {"id": int(number) - BEFORE}
        self.admin.execute(text("UPDATE kombu_message SET claimed_by = 2 WHERE id = :id"), values)

    def _do_gone(self, queue: str) -> None:
        """Have another process delete a queue."""
        self.admin.execute(text("DELETE FROM kombu_queue WHERE name = :name"), {"name": queue})

    def _do_again(self, queue: str) -> None:
        """Have another process delete a queue and declare it again."""
        self._do_gone(queue)
        self.admin.execute(text("INSERT INTO kombu_queue (name) VALUES (:name)"), {"name": queue})

    def _do_handler(self, how: str) -> None:
        """Have refused messages kept, or not."""
        refusals = import_module("system.transport.refusals")
        refusals._HANDLERS.clear()
        handlers: dict[str, Callable[[Any], None]] = {"keeps": self._keep, "fails": self._refuse}
        if how in handlers:
            refusals.handle_refusals("table", handlers[how])

    def _keep(self, refusal: Any) -> None:
        message = refusal.message
        body = None if message is None else bytes(message.body).decode()
        text_ = name_of(0, refusal.text)
        self.came.append(
            f"refused {refusal.reason} {refusal.queue} {text_} {body} {refusal.deliveries}"
        )

    @staticmethod
    def _refuse(_: Any) -> None:
        raise ArithmeticError

    # Event loop

    def _do_loop(self) -> None:
        """Consume from an event loop."""
        self.hub = Hub()
        self.transport.register_with_event_loop(self.broker, self.hub)

    def _do_turn(self, count: str = "0") -> str:
        """Turn the loop until so many messages have come, and what is planned at once has run."""
        self._turn(lambda: len(self.came) >= int(count) and not self._is_planned())
        return self._taken()

    def _turn(self, ended: Callable[[], bool]) -> None:
        """Run timers and readers of the loop until it has ended; its own poll waits longer."""
        until = time.monotonic() + SOON_S
        while not ended() and time.monotonic() < until:
            self.hub.fire_timers()
            ready, _, _ = select.select(list(self.hub.readers), [], [], 0.001)
            for descriptor in ready:
                act, values = self.hub.readers[descriptor]
                act(*values)

    def _is_planned(self) -> bool:
        at = self.transport._poll_at
        return at is not None and at - time.monotonic() < AT_ONCE_S

    def _do_fire(self) -> None:
        """Run what the loop has planned by now."""
        self.hub.fire_timers()

    def _do_turn_until_away(self) -> None:
        """Turn the loop until it found that the database is away."""
        self._turn(lambda: self.transport._away)

    def _do_due_now(self, number: str) -> None:
        """Have a scheduled message be released."""
        values = {"id": int(number) - BEFORE}
        query = "UPDATE kombu_message SET available_at = NULL, visible = true WHERE id = :id"
        self.admin.execute(text(query), values)

    def _do_planned(self) -> str:
        """Return in how many seconds the next poll is planned."""
        at = self.transport._poll_at
        return "never" if at is None else f"{max(at - time.monotonic(), 0):.0f}"

    def _do_moved(self) -> str:
        """Return whether the process consumed since the last such step."""
        activity = import_module("system.transport.activity").ACTIVITY
        moved, activity.moved_at = activity.moved_at > 0, 0.0
        return "yes" if moved else "no"

    def _do_stop(self, flag: str) -> None:
        """Have the worker get a signal to stop."""
        state: Any = import_module("celery.worker.state")
        state.should_stop = None if flag == "no" else 0
