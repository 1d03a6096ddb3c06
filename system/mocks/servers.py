"""Name the mock servers: domain, port, and the released document that is served.

A mock server serves the newest released version, as the service checks against it: a draft of the
next version changes nothing until it is released.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from system.errors import MocksError

HOST = "127.0.0.1"
BASE_PORT = 4010
DOMAINS = (
    "auth",
    "attribution",
    "reconciliation",
    "export",
    "health",
    "webhooks/shopify",
    "webhooks/stripe",
    "webhooks/paypal",
    "webhooks/woocommerce",
)
"""The domains in the order of their ports, from the base port on."""

LAST_BASE_PORT = 65535 - len(DOMAINS) + 1
CONTRACTS = Path(__file__).parents[1] / "contracts"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One mock server."""

    domain: str
    port: int

    @property
    def url(self) -> str:
        """Its URL without a path."""
        return f"http://{HOST}:{self.port}"

    def document(self) -> Path:
        """Return the newest released version of the domain's contract.

        Raises:
            MocksError: there is none.

        """
        folder = CONTRACTS / self.domain / "baselines"
        found = sorted(folder.glob("v*/openapi.json"), key=_version)
        if not found:
            raise MocksError(
                f"contract: got no released version of {self.domain}, expected one: release it "
                f"with python -m system.contracts baseline {self.domain}"
            )
        return found[-1]


def servers(base_port: int, only: Collection[str] = ()) -> tuple[Server, ...]:
    """Return the mock servers; each has the same distance from the base port in any selection.

    Args:
        base_port: the port of the first domain.
        only: the domains to serve; all if empty.

    """
    return tuple(
        Server(domain=domain, port=base_port + offset)
        for offset, domain in enumerate(DOMAINS)
        if not only or domain in only
    )


def taken(wanted: Sequence[Server]) -> tuple[Server, ...]:
    """Return the servers whose port another process listens on."""
    return tuple(one for one in wanted if not _is_free(one.port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Node does: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.parent.name[1:].split("."))
