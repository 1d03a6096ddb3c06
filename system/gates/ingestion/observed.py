"""Start the service with settings of a check, and observe its output and its processes.

Owns what a check needs besides requests: log lines, the processes that serve, published defaults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gateproof import LogLines, NotApplicableError, Stack, premise, wait_until

from .delivery import CERTIFICATE, SECRET, certificate
from .service import READY_S, ROLE, Service, register

_START = (
    'folder=$(mktemp -d) && printf %s "$GATE_SECRET" >"$folder/one" &&'
    ' printf %s "$GATE_CERTIFICATE" >"$folder/$GATE_NAME.pem" &&'
    ' export SYSTEM_WEBHOOK_SECRETS="$folder" SYSTEM_PAYPAL_CERTIFICATES="$folder" && exec "$@"'
)


# A function that returns two rows: a state that the service has no answer for.
_DEFECT = """
CREATE OR REPLACE FUNCTION resolve_webhook_endpoint(digest text, of_vendor text)
RETURNS TABLE (tenant_id uuid, secret_ref text, next_secret_ref text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.tenant_id, e.secret_ref, e.next_secret_ref
    FROM public.webhook_endpoints e, generate_series(1, 2)
    WHERE e.token_digest = digest AND e.vendor = of_vendor
$$;
"""
_DEFINITION = """
SELECT pg_get_functiondef('resolve_webhook_endpoint(text, text)'::regprocedure)
"""


@runtime_checkable
class HasChildren(Protocol):
    """A process whose children can be listed and killed."""

    def children(self) -> tuple[int, ...]:
        """Return the process ids of its children."""
        ...

    def kill_child(self, pid: int) -> None:
        """Kill one of them with SIGKILL."""
        ...


@dataclass(frozen=True, kw_only=True)
class Observed(Service):
    """A running service whose output can be read."""

    process: Any
    """The process of the parent."""

    def path(self, vendor: str, tenant: str) -> str:
        """Return the path of an endpoint of a tenant, which is registered at its first use."""
        if (tenant, vendor) not in self.tokens:
            self.tokens[tenant, vendor] = register(self.stack, tenant, vendor)
        return f"/webhooks/{vendor}/{self.tokens[tenant, vendor]}"

    def log(self) -> LogLines:
        """Read its output so far, as one observation."""
        return read(self.stack, "api", self.process.output())

    def log_since(self, count: int) -> list[dict[str, Any]]:
        """Return the lines after the first ones, as JSON objects; {} for one that is none."""
        return [_object(line) for line in self.log().lines[count:]]

    def kill_one(self) -> int:
        """Kill one of the processes that serve; return its process id."""
        if not isinstance(self.process, HasChildren):
            raise NotApplicableError("killing a process of the service: this environment cannot")
        first = min(self.process.children())
        self.stack.recorder.observe(
            "process",
            f"kill process {first} of the service",
            data={"pid": first},
            text=f"$ kill -KILL {first}\n",
        )
        self.process.kill_child(first)
        return first


def read(stack: Stack, name: str, output: str) -> LogLines:
    """Record the output of a process so far, and return its lines."""
    lines = tuple(line for line in output.split("\n") if line.strip())
    observation = stack.recorder.observe(
        "logs",
        f"log of {name}: {len(lines)} lines",
        data={"process": name, "count": len(lines)},
        text=output,
    )
    return LogLines(lines=lines, redactions=observation.redactions)


def samples(service: Service) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what `/metrics` shows: for each name of a sample its values by sorted label values."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, dict[tuple[str, ...], float]] = {}
    text = service.stack.http.get(f"{service.url}/metrics").body
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def published_default(stack: Stack, variable: str) -> float:
    """Return the default of a setting as the service's help names it."""
    command = stack.sut.fill(["{python}", "-m", "system.api", "--help"])
    done = stack.process.run(command, env={}, folder=stack.sut.folder)
    found = re.search(rf"{variable} .*\(([\d.]+)\)", done.output)
    premise("default in the help", on=variable, got=found is not None, expected=True)
    return float(found[1]) if found else 0.0


@contextmanager
def changed(stack: Stack, statements: str, undo: str) -> Iterator[None]:
    """Change the database during the block, as superuser: a check may run again on it."""
    stack.sql.execute(statements)
    try:
        yield
    finally:
        stack.sql.execute(undo)


@contextmanager
def defective_lookup(stack: Stack) -> Iterator[None]:
    """Have the service find two registrations of one token during the block."""
    with changed(stack, _DEFECT, str(stack.sql.query(_DEFINITION).scalar())):
        yield


@contextmanager
def observed_service(
    stack: Stack, settings: Mapping[str, str] | None = None, *, port: int = 0
) -> Iterator[Observed]:
    """Start the service, wait until it answers, and kill it after the block.

    Args:
        stack: gives the database.
        settings: further variables of the service.
        port: the port of the service; a free one by default.

    """
    own = {
        **(settings or {}),
        "DATABASE_URL": stack.inner_dsn(ROLE),
        "GATE_SECRET": SECRET,
        "GATE_CERTIFICATE": certificate(),
        "GATE_NAME": CERTIFICATE,
    }
    launcher = stack.context.launcher(own)
    port = port or launcher.free_port()
    process = launcher.start(
        "api",
        stack.sut.fill(["sh", "-c", _START, "sh", "{python}", "-m", "system.api"]),
        env={**stack.sut.env, **own, "SYSTEM_API_PORT": str(port), **stack.settings},
        folder=stack.sut.folder,
    )
    try:
        url = launcher.base_url(process, port)
        answer = wait_until(
            lambda: stack.http.get(f"{url}/health").status or process.exit_status,
            deadline_s=READY_S,
        )
        premise("first answer of the service", got=answer, relation="one_of", expected=[200, 503])
        yield Observed(stack=stack, url=url, process=process)
    finally:
        process.dispose()


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
