"""A child that is forked keeps no connection of its parent's.

Owns the list of what this process has connected: its connections to the database, its listening
socket and those of its clients. A socket that two processes hold breaks the protocol of both as
soon as the second one speaks, and stays open when the first lets go of it. So in a child each of
them leads nowhere, from the fork on: its descriptor is not closed, which would give the number to
the next file, but made one of the null device. What still uses it there fails, and reaches nobody.

Not seen: a connection that is still being made when its process forks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol, TypeVar
from weakref import WeakSet

import psycopg2


class Connected(Protocol):
    """What has a descriptor of a socket; it can be referred to weakly."""

    def fileno(self) -> int:
        """Return the descriptor; raise `psycopg2.InterfaceError`, or return -1, once closed."""
        ...


_Kept = TypeVar("_Kept", bound=Connected)
_CONNECTED: WeakSet[Connected] = WeakSet()


def kept_from_children(connected: _Kept) -> _Kept:
    """Have a socket of this process kept from the children that it forks; return what has it."""
    _CONNECTED.add(connected)
    return connected


def _lead_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for connected in _CONNECTED:
        with suppress(psycopg2.InterfaceError, OSError):  # it was closed
            os.dup2(nowhere, connected.fileno(), inheritable=False)
    os.close(nowhere)
    _CONNECTED.clear()


os.register_at_fork(after_in_child=_lead_nowhere)
