"""Start the service on a stack's database, and register endpoints of tenants.

Owns the process: it ends with the check. Its secrets are files, which a shell writes where the
service runs.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateproof import Exchange, Stack, premise, wait_until

from .delivery import CERTIFICATE, SECRET, Delivery, certificate

ROLE = "app_ingest"
READY_S = 60.0

_START = (
    'folder=$(mktemp -d) && printf %s "$GATE_SECRET" >"$folder/one" &&'
    ' printf %s "$GATE_CERTIFICATE" >"$folder/$GATE_NAME.pem" &&'
    ' export SYSTEM_WEBHOOK_SECRETS="$folder" SYSTEM_PAYPAL_CERTIFICATES="$folder" && exec "$@"'
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service."""

    stack: Stack
    url: str
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
        key = tenant, delivery.vendor
        if token is None and key not in self.tokens:
            self.tokens[key] = register(self.stack, tenant, delivery.vendor)
        return self.stack.http.request(
            "POST",
            f"{self.url}/webhooks/{delivery.vendor}/{token or self.tokens[key]}",
            headers={**delivery.headers, **(headers or {})},
            content=delivery.body,
        )

    def total(self, family: str) -> float:
        """Return the sum of all samples of a metric."""
        text = self.stack.http.get(f"{self.url}/metrics").body
        found = re.findall(rf"^{family}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


def register(stack: Stack, tenant: str, vendor: str) -> str:
    """Register an endpoint of a tenant, as superuser; return its token."""
    token = secrets.token_urlsafe(16)
    stack.sql.query(
        "INSERT INTO webhook_endpoints (tenant_id, vendor, token_digest, secret_ref)"
        " VALUES (%s, %s, %s, 'one')",
        (tenant, vendor, hashlib.sha256(token.encode()).hexdigest()),
    )
    return token


@contextmanager
def running_service(stack: Stack) -> Iterator[Service]:
    """Start the service, wait until it answers, and kill it after the block."""
    own = {
        "DATABASE_URL": stack.inner_dsn(ROLE),
        "GATE_SECRET": SECRET,
        "GATE_CERTIFICATE": certificate(),
        "GATE_NAME": CERTIFICATE,
    }
    launcher = stack.context.launcher(own)
    port = launcher.free_port()
    command = stack.sut.fill(["sh", "-c", _START, "sh", "{python}", "-m", "system.api"])
    process = launcher.start(
        "api",
        command,
        env={**stack.sut.env, **own, "SYSTEM_API_PORT": str(port), **stack.settings},
        folder=stack.sut.folder,
    )
    try:
        url = launcher.base_url(process, port)
        # A process that ended is waited for no longer.
        answer = wait_until(
            lambda: stack.http.get(f"{url}/health").status or process.exit_status,
            deadline_s=READY_S,
        )
        premise("first answer of the service", got=answer, relation="one_of", expected=[200, 503])
        yield Service(stack=stack, url=url)
    finally:
        process.dispose()
