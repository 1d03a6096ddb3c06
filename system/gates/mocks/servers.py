"""Run the system's command for mock servers, and send requests to what it starts.

The command runs on the machine of the harness, as a developer runs it.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateproof import (
    Completed,
    Exchange,
    HttpProbe,
    MissingAbilityError,
    ProcessProbe,
    Sut,
    drawn,
    premise,
)
from system.gates.contracts.document import Sample

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
"""The domains in the order of their ports."""

NOT_INSTALLED = 3
"""The exit status of the command without Node or Prism."""

_FIRST, _LAST = 20_000, 32_000  # below the ports that the machine gives to clients
_STATE = (
    "import psutil, sys\n"
    "pid = int(sys.argv[1])\n"
    "try: status = psutil.Process(pid).status()\n"
    "except psutil.NoSuchProcess: status = psutil.STATUS_ZOMBIE\n"
    "print('ended' if status == psutil.STATUS_ZOMBIE else 'runs')"
)


@dataclass(frozen=True, kw_only=True)
class Mocks:
    """The command with a base port of its own."""

    machine: ProcessProbe
    http: HttpProbe
    sut: Sut
    base_port: int

    @classmethod
    def on_free_ports(cls, machine: ProcessProbe, http: HttpProbe, sut: Sut) -> Mocks:
        """Return the command with ports that nothing listens on."""
        return cls(machine=machine, http=http, sut=sut, base_port=drawn(_free_ports))

    def run(self, *words: str, base_port: int | None = None) -> Completed:
        """Run a subcommand.

        Raises:
            MissingAbilityError: Node or Prism is not installed on this machine.

        """
        port = str(base_port or self.base_port)
        command = self.sut.fill(
            ["{python}", "-m", "system.mocks", *words, "--base-port", port, "--json"]
        )
        done = self.machine.run(command, env={}, folder=self.sut.folder, deadline_s=90)
        if done.exit_status == NOT_INSTALLED:
            raise MissingAbilityError(done.cause)
        return done

    def url(self, domain: str) -> str:
        """Return the URL of a mock server."""
        return f"http://127.0.0.1:{self.base_port + DOMAINS.index(domain)}"

    def send(self, domain: str, sample: Sample, *, prefer: str = "") -> Exchange:
        """Send a request to a mock server."""
        headers: Mapping[str, str] = {**sample.headers, **({"Prefer": prefer} if prefer else {})}
        return self.http.request(
            sample.method, self.url(domain) + sample.path, headers=headers, content=sample.content
        )

    def answers(self, domain: str) -> bool:
        """Return whether a mock server answers at all."""
        return self.http.get(f"{self.url(domain)}/").status != 0

    def state_of(self, pid: int) -> str:
        """Return ``runs`` or ``ended``: a process that only waits to be reaped has ended."""
        command = self.sut.fill(["{python}", "-c", _STATE, str(pid)])
        return self.machine.run(command, env={}, folder=self.sut.folder).output.strip()

    def kill(self, pid: int) -> None:
        """Kill a process that was started here."""
        self.machine.run(["kill", "-KILL", str(pid)], env={}, folder=Path("/"))


def content_of(done: Completed) -> dict[str, Any]:
    """Return the JSON object that a subcommand printed; empty for any other output."""
    for line in done.output.splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}


@contextmanager
def running_mocks(
    machine: ProcessProbe, http: HttpProbe, sut: Sut, *domains: str
) -> Iterator[Mocks]:
    """Start the mock servers of some domains, or of all, and stop them after the block."""
    mocks = Mocks.on_free_ports(machine, http, sut)
    only = [word for domain in domains for word in ("--only", domain)]
    try:
        done = mocks.run("start", *only)
        premise("exit status of the start", got=done.exit_status, expected=0)
        yield mocks
    finally:
        mocks.run("stop")


def _free_ports() -> int:
    """Return the first of nine ports in a row that nothing listens on."""
    while True:
        base = _FIRST + secrets.randbelow(_LAST - _FIRST)
        with suppress(OSError):
            for port in range(base, base + len(DOMAINS)):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
