"""Start `python -m system.api` on a database, register endpoints, and send deliveries."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.postgres import free_port
from tests.vendors import CERTIFICATE, SECRET, Delivery, certificate

from .support import LINE_WITHIN_S, ROOT, Database, Worker, clean_environment, wait_for

EVENTS = "SELECT count(*) FROM attribution_events"
DEAD = "SELECT count(*) FROM dead_events"


@dataclass(kw_only=True)
class Api(Worker):
    """A running service and what it needs."""

    database: Database
    folder: Path
    tenant: str = field(default_factory=lambda: str(uuid.uuid4()))
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=15))
    tokens: dict[str, str] = field(default_factory=dict)

    def register(
        self,
        vendor: str,
        *,
        tenant: str | None = None,
        secret: str = SECRET,
        next_secret: str | None = None,
    ) -> str:
        """Register an endpoint, write its secrets, and return its token."""
        token = secrets.token_urlsafe(16)
        names = [self._write(one) for one in (secret, next_secret) if one]
        with self.database.connect("postgres") as connection:
            connection.execute(
                "INSERT INTO webhook_endpoints"
                " (tenant_id, vendor, token_digest, secret_ref, next_secret_ref)"
                " VALUES (%s, %s, %s, %s, %s)",
                (
                    tenant or self.tenant,
                    vendor,
                    hashlib.sha256(token.encode()).hexdigest(),
                    names[0],
                    names[1] if next_secret else None,
                ),
            )
        return token

    def _write(self, secret: str) -> str:
        name = f"secret-{secrets.token_hex(4)}"
        (self.folder / "secrets" / name).write_text(f"{secret}\n")
        return name

    def path(self, vendor: str, token: str | None = None) -> str:
        """Return the path of an endpoint, by default one that is registered for it once."""
        if token is None and vendor not in self.tokens:
            self.tokens[vendor] = self.register(vendor)
        return f"{self.url}/webhooks/{vendor}/{token or self.tokens[vendor]}"

    def send(self, delivery: Delivery, token: str | None = None, **headers: str) -> httpx.Response:
        """Send a delivery."""
        return self.client.post(
            self.path(delivery.vendor, token),
            content=delivery.body,
            headers={**delivery.headers, **headers},
        )

    def count(self, statement: str = EVENTS) -> int:
        """Return a count of rows, as superuser."""
        return int(self.database.rows(statement)[0][0])

    def metric(self, family: str) -> float:
        """Return the sum of all samples of a family."""
        lines = self.client.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(family))

    def processes(self) -> list[psutil.Process]:
        """Return the processes that serve."""
        return psutil.Process(self.process.pid).children()


StartApi = Callable[..., Api]


def starting(folder: Path) -> Iterator[StartApi]:
    """Yield a function that starts services, and stop them afterwards."""
    started: list[Api] = []

    def start(database: Database, *, ready: bool = True, **environment: str) -> Api:
        own = folder / f"api-{len(started)}"
        (own / "secrets").mkdir(parents=True)
        (own / f"{CERTIFICATE}.pem").write_bytes(certificate())
        api = _spawn(database, own, environment)
        started.append(api)
        if ready:
            found = wait_for(lambda: _answers(api), deadline_s=LINE_WITHIN_S)
            assert found, api.text()
        return api

    try:
        yield start
    finally:
        for api in started:
            api.client.close()
            if api.process.poll() is None:
                api.process.send_signal(signal.SIGTERM)
            try:
                api.process.wait(15)
            except subprocess.TimeoutExpired:
                api.process.kill()


def _answers(api: Api) -> bool:
    assert api.process.poll() is None, api.text()
    try:
        return bool(api.client.get(f"{api.url}/health").status_code)
    except httpx.TransportError:
        return False


def _spawn(database: Database, folder: Path, environment: dict[str, str]) -> Api:
    port = int(environment.pop("SYSTEM_API_PORT", 0)) or free_port()
    settings = {
        "DATABASE_URL": database.dsn("app_ingest"),
        "SYSTEM_API_PORT": str(port),
        "SYSTEM_WEBHOOK_SECRETS": str(folder / "secrets"),
        "SYSTEM_PAYPAL_CERTIFICATES": str(folder),
        "TMPDIR": str(folder),
    }
    output = folder / "api.log"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "system.api"],
            cwd=ROOT,
            env={**clean_environment(), **settings, **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    return Api(process=process, port=port, output=output, database=database, folder=folder)


def pause(server: Any, *, sent: signal.Signals) -> None:
    """Send a signal to every process of a PostgreSQL."""
    parent = psutil.Process(server.pid())
    for process in (parent, *parent.children(recursive=True)):
        os.kill(process.pid, sent)
