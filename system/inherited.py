"""A child that is forked keeps no connection of its parent's.

Owns the list of what this process has connected. A socket that two processes hold breaks the
protocol of both as soon as the second one speaks, and stays open when the first is killed. So in a
child each of them leads nowhere: its descriptor is not closed, which would give the number to the
next file, but made one of the null device. What still uses it there fails, and reaches nobody.

Not seen: a connection that is still being made when its process forks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from weakref import WeakSet

import psycopg2

_CONNECTED: WeakSet[psycopg2.extensions.connection] = WeakSet()


def known(connection: psycopg2.extensions.connection) -> psycopg2.extensions.connection:
    """Have a new connection of this process kept from the children that it forks; return it."""
    _CONNECTED.add(connection)
    return connection


def _lead_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for connection in _CONNECTED:
        with suppress(psycopg2.InterfaceError):  # it was closed
            os.dup2(nowhere, connection.fileno(), inheritable=False)
    os.close(nowhere)
    _CONNECTED.clear()


os.register_at_fork(after_in_child=_lead_nowhere)
