"""Start the service on a stack's database, and register endpoints of tenants.

The process is `api` of the description; its secrets are files that the harness writes for it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gateproof import Exchange, Stack, SystemProcess, drawn

from .delivery import CERTIFICATE, SECRET, Delivery, certificate

ROLE = "app_ingest"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service."""

    stack: Stack
    url: str
    process: SystemProcess
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def send(
        self,
        delivery: Delivery,
        tenant: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Exchange:
        """Send a delivery to an endpoint of a tenant, which is registered at its first use."""
        own = f"/webhooks/{delivery.vendor}/{token}"
        return self.stack.http.request(
            "POST",
            self.url + (own if token else self.path(delivery.vendor, tenant)),
            headers={**delivery.headers, **(headers or {})},
            content=delivery.body,
        )

    def path(self, vendor: str, tenant: str) -> str:
        """Return the path of an endpoint of a tenant, which is registered at its first use."""
        key = tenant, vendor
        if key not in self.tokens:
            self.tokens[key] = register(self.stack, tenant, vendor)
        return f"/webhooks/{vendor}/{self.tokens[key]}"

    def log_since(self, count: int) -> list[dict[str, Any]]:
        """Return its lines after the first ones, as JSON objects; {} for one that is none."""
        return [_object(line) for line in self.process.lines().lines[count:]]

    def kill_one(self) -> int:
        """Kill one of the processes that serve; return its process id."""
        first = min(self.process.children())
        self.process.kill_child(first)
        return first

    def total(self, family: str) -> float:
        """Return the sum of all samples of a metric."""
        text = self.stack.http.get(f"{self.url}/metrics").body
        found = re.findall(rf"^{family}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


def register(stack: Stack, tenant: str, vendor: str) -> str:
    """Register an endpoint of a tenant, as superuser; return its token."""
    token = drawn(lambda: secrets.token_urlsafe(16))
    stack.sql.query(
        "INSERT INTO webhook_endpoints (tenant_id, vendor, token_digest, secret_ref)"
        " VALUES (%s, %s, %s, 'one')",
        (tenant, vendor, hashlib.sha256(token.encode()).hexdigest()),
    )
    return token


@contextmanager
def running_service(stack: Stack, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start the service, wait until it answers, and kill it after the block.

    Args:
        stack: gives the database.
        settings: further variables of the service.

    """
    files = {"one": SECRET, f"{CERTIFICATE}.pem": certificate()}
    with stack.running_process("api", env=settings, files=files) as process:
        yield Service(stack=stack, url=process.url, process=process)


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
