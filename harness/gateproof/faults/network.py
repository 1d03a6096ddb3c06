"""The fault kind `network`: what happens between the system's processes and PostgreSQL.

A relay stands between them from before the baseline on, so that the baseline went the same way.
The harness itself goes past it: it goes on to see the database while the system does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateproof.faults.interface import Fault
from gateproof.stack.relay import Relay

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

Act = Literal["away", "silent", "slow", "cut"]

WORDS = {
    "away": "PostgreSQL is away: connections are refused, and those that there were are reset",
    "silent": "PostgreSQL is silent: connections are accepted, and nothing is answered",
    "slow": "PostgreSQL is slow: everything to it and from it is half a second late",
    "cut": "PostgreSQL is cut off in mid-statement: a connection is reset when it is used",
}

ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as asked:
        asked.sendall(bytes((0, 0, 0, 8, 4, 210, 22, 47)))
        said = "answered" if asked.recv(1) else "reset"
except TimeoutError:
    said = "silent"
except ConnectionRefusedError:
    said = "refused"
except OSError:
    said = "reset"
print(said)
"""
"""Asks PostgreSQL, as every client may, whether it speaks TLS: one byte is the answer."""


@dataclass(frozen=True, kw_only=True)
class NetworkFault(Fault):
    """An act of the relay."""

    kind = "network"

    act: Act

    def describe(self) -> str:
        """Return the act in words."""
        return WORDS[self.act]

    def prepare(self, copy: Copy) -> None:
        """Put the relay between the copy's processes and its server."""
        copy.relay = Relay.start(copy.stack.around.launcher(), copy.stack)
        copy.stack.lead_through(copy.relay.address)

    def fingerprint(self, copy: Copy) -> str:
        """Return how a new connection of the system's side fares, and what the relay held back."""
        address = copy.the_relay.address
        done = copy.run_python(ASK, address.host, str(address.port), tree="system")
        late = bool(copy.the_relay.tell(copy.the_relay.mode)["delayed"])
        how = " late" if late else ""
        return f"{address.host}:{address.port}: a connection is {done.output.strip()}{how}"

    def inject(self, copy: Copy) -> None:
        """Have the relay act."""
        copy.the_relay.tell(self.act)


def network(name: str, act: Act) -> NetworkFault:
    """Break a claim by what happens on the way to PostgreSQL.

    Args:
        name: a plain slug.
        act: ``away``, ``silent``, ``slow`` or ``cut``.

    """
    return NetworkFault(name=name, act=act)
