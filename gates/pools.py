"""The pool of a described worker: whether it has child processes, and how much it runs at once."""

from __future__ import annotations

from gateproof import POOL_PREFORK, POOL_SOLO, Sut


def has_children(sut: Sut) -> bool:
    """Return whether the worker runs tasks in child processes."""
    return sut.worker.pool == POOL_PREFORK


def slots(sut: Sut, wanted: int) -> int:
    """Return how many tasks a worker runs at once that is asked for this number."""
    return 1 if sut.worker.pool == POOL_SOLO else wanted
