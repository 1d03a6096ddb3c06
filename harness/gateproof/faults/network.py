"""The fault kind `network`: disturbances between the system's processes and PostgreSQL.

A relay forwards their connections, in the baseline run too, so that both runs use the same route.
The harness itself connects directly: it still reaches the database when the system does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateproof.base.wait import wait_until
from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy

Act = Literal["away", "silent", "slow", "cut", "keep"]

DESCRIPTIONS = {
    "away": "PostgreSQL is away: new connections are refused, and existing ones are reset",
    "silent": "PostgreSQL is silent: connections are accepted but get no answer",
    "slow": "PostgreSQL is slow: all data to it and from it is delayed by half a second",
    "cut": "PostgreSQL is cut off in mid-statement: a connection is reset at its next use",
    "keep": "PostgreSQL keeps sessions whose client has gone",
}

KEPT_DEADLINE_S = 3.0

PROBE = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as connection:
        connection.sendall(bytes((0, 0, 0, 8, 4, 210, 22, 47)))
        state = "answered" if connection.recv(1) else "reset"
except TimeoutError:
    state = "silent"
except ConnectionRefusedError:
    state = "refused"
except OSError:
    state = "reset"
print(state)
"""
"""Sends PostgreSQL an SSLRequest message, which it answers with one byte."""


@dataclass(frozen=True, kw_only=True)
class NetworkFault(Fault):
    """A mode of the relay."""

    kind = "network"
    relayed = True

    act: Act

    def describe(self) -> str:
        """Return a description of the mode."""
        return DESCRIPTIONS[self.act]

    def prepare(self, copy: Copy) -> None:
        """Put the relay between the copy's processes and its server."""
        copy.relay = copy.stack.start_relay()
        copy.stack.route_through(copy.relay.address)

    def change_inertly(self, copy: Copy) -> str:
        """Set the relay to the mode that it is in: it keeps forwarding."""
        mode = copy.prepared_relay.mode
        copy.prepared_relay.set_mode(mode)
        return f"the relay is set to its mode {mode} again"

    def fingerprint(self, copy: Copy) -> str:
        """Return the state of a new connection of the system, and whether the relay delayed it."""
        address = copy.prepared_relay.address
        done = copy.run_python(PROBE, address.host, str(address.port), tree="system")
        if self.act == "keep":
            return f"{address.host}:{address.port}: {done.output.strip()}, {self._kept(copy)}"
        late = bool(copy.prepared_relay.set_mode(copy.prepared_relay.mode)["delayed"])
        suffix = " late" if late else ""
        return f"{address.host}:{address.port}: a connection is {done.output.strip()}{suffix}"

    def _kept(self, copy: Copy) -> str:
        """Return whether the server's side of the connection outlived the client's."""
        relay = copy.prepared_relay
        kept = relay.mode == self.act and wait_until(
            lambda: relay.set_mode(relay.mode)["kept"], deadline_s=KEPT_DEADLINE_S
        )
        return "kept after its end" if kept else "closed with its end"

    def inject(self, copy: Copy) -> None:
        """Switch the relay to the mode."""
        copy.prepared_relay.set_mode(self.act)


def network(name: str, act: Act) -> NetworkFault:
    """Break a claim by a disturbance on the way to PostgreSQL.

    Args:
        name: a slug.
        act: ``away``, ``silent``, ``slow``, ``cut`` or ``keep``.

    """
    return NetworkFault(name=name, act=act)
