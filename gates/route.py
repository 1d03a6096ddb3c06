"""Routes to the database server that a check can interrupt for one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateproof import Relay, Stack


@contextmanager
def separate_route(stack: Stack) -> Iterator[Relay]:
    """Run an additional relay to the stack's server, which can be interrupted independently."""
    relay = stack.start_relay()
    try:
        yield relay
    finally:
        relay.stop()


@contextmanager
def interrupted(relay: Relay, act: str) -> Iterator[None]:
    """Interrupt a relay for the block, and restore it afterwards.

    Args:
        relay: the relay.
        act: ``away`` refuses connections and closes the open ones, ``silent`` lets them hang.

    """
    relay.set_mode(act)
    try:
        yield
    finally:
        relay.set_mode("pass")
