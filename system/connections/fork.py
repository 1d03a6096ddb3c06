"""Clean up in a forked child what it inherited from its parent.

Owns the only hook for forks of this process. Other modules register what they hold:

1. `hold_during_fork` registers a lock. It is taken before a fork and released on both sides: a
   child that inherits a lock which another thread holds could never take it.
2. `keep_from_children` registers a socket or a pipe. In a child its descriptor is redirected to
   /dev/null: two processes that share a socket break its protocol, and the socket stays open when
   only one of them closes it. To close the descriptor instead would give its number to the next
   file that the child opens. Code that still uses it in the child fails, and reaches no server.
3. `run_in_children` registers a function that runs in a child last, to drop engines and the like.

Not covered: a connection that another thread is still opening when its process forks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Protocol, TypeVar
from weakref import WeakSet

import psycopg2

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class HasDescriptor(Protocol):
    """An object with the descriptor of a socket or pipe, to which a weak reference can be made."""

    def fileno(self) -> int:
        """Return the descriptor; raise `psycopg2.InterfaceError`, or return -1, once closed."""
        ...


_Kept = TypeVar("_Kept", bound=HasDescriptor)
_KEPT: WeakSet[HasDescriptor] = WeakSet()
_LOCKS: list[Lock] = []
_ACTIONS: list[Callable[[], None]] = []


def hold_during_fork(lock: Lock) -> None:
    """Take a lock before each fork of this process, and release it in parent and child."""
    _LOCKS.append(lock)


def keep_from_children(kept: _Kept) -> _Kept:
    """Redirect a descriptor to /dev/null in every child that is forked; return its owner."""
    _KEPT.add(kept)
    return kept


def run_in_children(action: Callable[[], None]) -> None:
    """Run a function in every child that is forked, after its descriptors were redirected."""
    _ACTIONS.append(action)


def end_with_parent() -> None:
    """Kill this process when its parent dies (on Linux), or now if the parent is dead already.

    An orphan would finish a task that another worker has been given in the meantime.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _before() -> None:
    for lock in _LOCKS:
        lock.acquire()


def _after_in_parent() -> None:
    for lock in reversed(_LOCKS):
        lock.release()


def _after_in_child() -> None:
    _after_in_parent()  # 1: a child's copy of a lock is released like its parent's
    _redirect_descriptors()  # 2
    for action in _ACTIONS:  # 3
        action()


def _redirect_descriptors() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for kept in _KEPT:
        with suppress(psycopg2.InterfaceError, OSError, ValueError):  # closed before the fork
            os.dup2(null, kept.fileno(), inheritable=False)
    os.close(null)
    _KEPT.clear()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
