"""The commands that every peer has, and the pauses between two polls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

DISCARDED = 20
"""Round trips that warm up and are not counted."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.002, 0.5, 1.15


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The commands of one peer."""

    install: Callable[[], None]
    enqueue: Callable[[int], None]
    ping: Callable[[int], None]
    worker: Callable[[], None]


def main(peer: Peer, words: Sequence[str]) -> None:
    """Run the command in the arguments."""
    match list(words):
        case ["install"]:
            peer.install()
        case ["enqueue", count]:
            peer.enqueue(int(count))
        case ["ping", count]:
            peer.ping(int(count))
        case ["worker"]:
            peer.worker()
        case _:
            raise SystemExit(
                f"got {' '.join(words)!r}, expected install, enqueue N, ping N, worker"
            )


def pauses() -> Iterator[float]:
    """Yield the pauses between two polls for a result, in seconds, like the durable transport."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(pause_s * GROWTH, LONGEST_PAUSE_S)
