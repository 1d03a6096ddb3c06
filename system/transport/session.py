"""Keep a consumer's session: its lock and leases in the database, and notifications of new work.

Each consuming kombu connection has one session: a database connection and a thread. The connection
holds an advisory lock under a random key, which its claims and its own queues refer to, and listens
for new messages. The thread sends a heartbeat (`statements.BEAT`), which extends the leases of its
claims, returns the claims of dead consumers, and releases scheduled messages that are due.

A claim is returned only when its lock is free *and* its lease has expired. So a worker whose thread
is starved keeps its messages by the lock, and a worker whose connection broke keeps them by the
lease while it reconnects. A new session waits for the length of a lease before it returns claims:
after a restart of the server the other workers need that time to reconnect.

Behind a pooler in transaction mode neither lock nor LISTEN belong to a client. A pooler is detected
by the backend process id that it reports, which is not the server's. Then only the lease counts, it
is longer, and the consumer polls.

Source: PostgreSQL documentation, "Advisory Locks", "NOTIFY", "pg_locks".
"""

from __future__ import annotations

import os
import secrets
import select
import threading
import time
from contextlib import suppress
from typing import Any

import psycopg2
import structlog
from sqlalchemy.engine import make_url

from system.connections.database import CONNECT_TIMEOUT_S, connect_args
from system.connections.fork import keep_from_children
from system.transport import statements
from system.transport.options import Options

APPLICATION_NAME = "system-broker-session"
RECONNECT_S = 0.25
BEATS_PER_REAPING = 5


log = structlog.get_logger("system.transport")


class Session:
    """The session of one consuming connection."""

    def __init__(self, url: str, options: Options) -> None:
        self.key = secrets.randbits(62)
        self.pooled = False
        """Whether there is a pooler in transaction mode; known after `start`."""
        self.epoch = 0
        """The number of reconnects; after each, what it owned may have been deleted or returned."""
        self._url = url
        self._options = options
        self._process = os.getpid()
        self._connection: Any = None
        self._locked = False
        self._settled_at = 0.0
        self._beats = 0
        self._due_in_s: float | None = None
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread: threading.Thread | None = None

    @property
    def lease_s(self) -> float:
        """The length of a lease."""
        return self._options.pooled_lease if self.pooled else self._options.lease

    @property
    def polling_interval_s(self) -> float:
        """How often a consumer polls without a notification."""
        options = self._options
        return options.pooled_polling_interval if self.pooled else options.polling_interval

    def start(self) -> None:
        """Connect, and start the thread.

        Raises:
            psycopg2.OperationalError: the server cannot be reached; later the thread reconnects.

        """
        self._connect()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="broker-session", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the consumer should poll."""
        return self._woken

    def was_woken(self) -> bool:
        """Return whether the session was woken since the last call."""
        with suppress(BlockingIOError):
            return bool(os.read(self._woken, 4096))
        return False

    def wait(self, timeout_s: float) -> bool:
        """Wait until woken; return whether that happened before the timeout."""
        select.select([self._woken], [], [], timeout_s)
        return self.was_woken()

    def wake(self) -> None:
        """Make the consumer poll; from any thread."""
        with suppress(BlockingIOError):
            os.write(self._wake, b"!")

    def close(self) -> None:
        """End the thread, the connection and its lock; do nothing in a forked child."""
        if self._process != os.getpid() or self._end < 0:
            return
        end, self._end = self._end, -1
        os.close(end)
        if self._thread is not None:
            self._thread.join()
        self._disconnect()
        for descriptor in (self._woken, self._wake, self._ended):
            os.close(descriptor)

    def _run(self) -> None:
        beat_at = time.monotonic() + self._options.heartbeat
        while True:
            try:
                if self._connection is None:
                    self._reconnect()
                    beat_at = 0.0
                if time.monotonic() >= beat_at:
                    self._beat()
                    beat_at = time.monotonic() + min(
                        self._options.heartbeat, max(self._due_in_s or 3600.0, 0.001)
                    )
                pause_s = max(beat_at - time.monotonic(), 0.0)
            except psycopg2.Error as error:
                if self._connection is None or self._connection.closed:
                    self._lose(error)
                else:
                    log.warning("broker heartbeat failed", error=type(error).__name__)
                pause_s = RECONNECT_S
            if self._wait(pause_s):
                return

    def _wait(self, pause_s: float) -> bool:
        """Wait for a notification, the next heartbeat or the end; return whether it is the end."""
        watched: list[Any] = [self._ended]
        if self._connection is not None:
            watched.append(self._connection)
        ready, _, _ = select.select(watched, [], [], pause_s)
        if self._ended in ready:
            return True
        if self._connection in ready:
            try:
                self._connection.poll()
            except psycopg2.Error as error:
                self._lose(error)
            else:
                self._pass_on()
        return False

    def _pass_on(self) -> None:
        if self._connection.notifies:
            self._connection.notifies.clear()
            self.wake()

    def _connect(self) -> None:
        parsed = make_url(self._url)
        # The dialect's own: it also knows the several hosts of a DSN.
        _, arguments = parsed.get_dialect()().create_connect_args(parsed)
        connection = keep_from_children(
            psycopg2.connect(**{**arguments, **connect_args(APPLICATION_NAME)})
        )
        connection.autocommit = True
        self._connection = connection
        self._locked = False
        self.pooled = self._ask("SELECT pg_backend_pid()") != connection.info.backend_pid
        if not self.pooled:
            self._ask(
                "SELECT set_config('tcp_keepalives_idle', '5', false),"
                " set_config('tcp_keepalives_interval', '2', false),"
                " set_config('tcp_keepalives_count', '3', false),"
                " set_config('tcp_user_timeout', '10000', false)"
            )
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {statements.CHANNEL}")
        self._settled_at = time.monotonic() + self.lease_s

    def _reconnect(self) -> None:
        self._connect()
        # Other workers may have lost their connections too, and still run what they claimed: they
        # get time to reconnect.
        self._settled_at += CONNECT_TIMEOUT_S + RECONNECT_S
        self.epoch += 1
        log.info("broker session reconnected")
        # Notifications of messages sent in the meantime are lost.
        self.wake()

    def _ask(self, statement: str, values: Any = None) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()[0]

    def _beat(self) -> None:
        if not (self._locked or self.pooled):
            self._locked = self._ask("SELECT pg_try_advisory_lock(%s)", (self.key,))
        with self._connection.cursor() as cursor:
            cursor.execute(
                statements.BEAT,
                {
                    "me": self.key,
                    "lease": self.lease_s,
                    "channel": statements.CHANNEL,
                    "settled": time.monotonic() >= self._settled_at,
                },
            )
            returned, woken, due_in_s = cursor.fetchone()
        self._due_in_s = None if due_in_s is None else float(due_in_s)
        if returned:
            log.warning("messages of dead consumers returned", count=returned)
        if woken and self.pooled:
            self.wake()
        self._pass_on()
        self._beats += 1
        if self._beats % BEATS_PER_REAPING == 0 and time.monotonic() >= self._settled_at:
            self._reap()

    def _reap(self) -> None:
        """Delete the queues of dead processes; leave one with a concurrent insert for later."""
        with suppress(psycopg2.IntegrityError), self._connection.cursor() as cursor:
            cursor.execute(statements.REAP)

    def _lose(self, error: Exception) -> None:
        if self._connection is not None:
            log.warning("broker session lost; reconnecting", error=type(error).__name__)
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg2.Error):
                connection.close()
