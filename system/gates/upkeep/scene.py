"""Run the tasks, retries and deliveries of the tables on a real database, without a worker.

It runs in the interpreter of the system, as a part of the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from system.gates.upkeep.monitored import Monitored
from system.gates.upkeep.values import SECRET, TOKEN, A, page, raised, rows_of, signature

app: Any = import_module("system.app").app
contract: Any = import_module("system.ingestion.contract")
dead_event: Any = import_module("system.ingestion.dead_event")
tasks: Any = vars(import_module("celery._state"))["_task_stack"]
"""Which task runs, the innermost last."""

EMPTY = """
DELETE FROM attribution_events; DELETE FROM attribution_recompute_jobs; DELETE FROM dead_events;
DELETE FROM worker_failed_jobs; DELETE FROM kombu_message; DELETE FROM celery_taskmeta
"""
_SETUP = """
ALTER TABLE attribution_events NO FORCE ROW LEVEL SECURITY;
ALTER TABLE attribution_recompute_jobs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_endpoints NO FORCE ROW LEVEL SECURITY;
ALTER TABLE dead_events DROP CONSTRAINT IF EXISTS none;
GRANT SELECT ON kombu_queue TO app_user;
DELETE FROM webhook_endpoints;
CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.event_id LIKE '%ends' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RAISE EXCEPTION 'it fails' USING ERRCODE = right(NEW.event_id, 5);
END
$$;
CREATE OR REPLACE TRIGGER fails BEFORE INSERT ON attribution_events FOR EACH ROW
    WHEN (NEW.event_id LIKE 'evt_f%') EXECUTE FUNCTION fails();
CREATE OR REPLACE VIEW sent AS
    SELECT m.id, q.name AS queue, payload::json->'headers'->>'task' AS task,
        (payload::json->'headers'->>'eta')::timestamptz AS eta,
        convert_from(decode(payload::json->>'body', 'base64'), 'UTF8')::json AS body
    FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id;
"""
_ENDPOINT = """
INSERT INTO webhook_endpoints (tenant_id, vendor, token_digest, secret_ref)
VALUES (:tenant, :vendor, :digest, 'first')
"""


class Keeping:
    """Keeps the lines of the log in place of printing them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, _: object, level: str, line: MutableMapping[str, Any]) -> NoReturn:
        """Keep a line; a traceback is only that there is one."""
        kept = {key: value for key, value in line.items() if key != "exc_info"}
        self.lines.append({"level": level, **kept})
        raise structlog.DropEvent


class Counts:
    """Keeps what is counted."""

    def __init__(self) -> None:
        self.counted: list[list[Any]] = []

    def count_stored(self, tenant_id: UUID, vendor: str, event_type: str, *, is_new: bool) -> None:
        """Keep a stored event."""
        self.counted.append([str(tenant_id), vendor, event_type, is_new])

    def count_dead(self, tenant_id: UUID, vendor: str, event_type: str, error_type: str) -> None:
        """Keep a dead event."""
        self.counted.append([str(tenant_id), vendor, event_type, error_type])

    def observe(self, vendor: str, seconds: float) -> None:
        """Keep that a time of less than a minute was measured."""
        self.counted.append([vendor, 0 < seconds < 60])


class Scene(Monitored):
    """The database, the app and what expressions call."""

    def __init__(self, owner: str, ingest: str) -> None:
        self.owner = create_engine(owner, poolclass=NullPool)
        self.owning = self.owner.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.ingest = ingest
        self.ingesting = self.pooled()
        self.folder = Path(tempfile.mkdtemp())
        self.log = Keeping()
        os.environ |= {"TZ": "IST-5:30", "SYSTEM_DEAD_LETTER_SPOOL": str(self.folder / "spool")}
        time.tzset()
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, self.log])
        self.app = app
        app.set_default()
        self.connection: Connection | None = None
        self.counted: list[list[Any]] = []
        self.contracts = self.folder
        self._prepare()

    def _prepare(self) -> None:
        (self.folder / "first").write_text(f"{SECRET}\n", encoding="utf-8")
        with self.owner.begin() as connection:
            rows_of(connection, _SETUP)
            for vendor in ("stripe", "shopify", "woocommerce"):
                digest = hashlib.sha256(f"{TOKEN}-{vendor}".encode()).hexdigest()
                known = {"tenant": A, "vendor": vendor, "digest": digest}
                connection.execute(text(_ENDPOINT), known)

    def pooled(self) -> Engine:
        """Return an engine of the role that receives events, with one connection."""
        pooled_engine = import_module("system.connections.database").pooled_engine
        engine: Engine = pooled_engine(self.ingest, "table", size=1, wait_s=0.05)
        return engine

    def during(self, name: str, *args: Any, **request: Any) -> Any:
        """Run a task as its worker would, with this request; the kwargs of the call are in it."""
        task = self.app.tasks[f"app.tasks.{name}"]
        known: dict[str, Any] = {"id": "id-1", "headers": {}, "called_directly": False}
        tasks.push(task)
        task.push_request(**known | {"args": args, "kwargs": {}} | request)
        try:
            return task.run(*args, **request.get("kwargs", {}))
        finally:
            task.pop_request()
            tasks.pop()

    def run(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a task with these arguments."""
        return self.during(name, *args, kwargs=kwargs)

    def task(self, name: str) -> Any:
        """Return a task."""
        return self.app.tasks[f"app.tasks.{name}"]

    def deleted(self, **given: Any) -> int:
        """Return how many events of tenant A the retention deletes in this transaction."""
        run = self.task("maintenance.enforce_data_retention").run
        found: int = run.__wrapped__(A, **given, connection=self.connection)["deleted"]
        return found

    def failed(self, value: Any = None, error: BaseException | None = None, **more: Any) -> Any:
        """Return a failed event of tenant A, with an error that was raised."""
        body = value if value is not None else {"id": "evt_1"}
        known = {"tenant_id": A, "vendor": "stripe", "event_type": "t", "event_id": "evt_1"}
        known |= {"occurred_at": None, "text": json.dumps(body), "value": body}
        known |= {"correlation_id": "c-1", "error": raised(error or ValueError("no"))}
        return dead_event.Failed(**known | more)

    def kept(self, *failed: Any) -> list[bool]:
        """Write the rows of failed events, each in a transaction of its own."""
        found = []
        for one in failed:
            with self.ingesting.begin() as connection:
                found.append(dead_event.keep(self.app, connection, one))
        return found

    def retried(self, *, most: int = 9, only_due: bool = False, **which: Any) -> list[list[Any]]:
        """Retry dead events; return the id, whether it is stored, and the error of each."""
        chosen = import_module("system.ingestion.listing").Filter(**which)
        done = import_module("system.ingestion.retrying").retry(
            self.app, chosen, most=most, only_due=only_due
        )
        return [[one.event_id, one.event_row is not None, one.error] for one in done]

    def receive(self, value: Any, *, vendor: str = "stripe", **more: Any) -> list[Any]:
        """Take a delivery; return its status, whether it has a row, and the detail."""
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = signature(vendor, raw) | more.pop("headers", {})
        known = {"vendor": vendor, "token": f"{TOKEN}-{vendor}", "raw": raw, "headers": headers}
        held, ended = more.pop("held", False), more.pop("ended", False)
        delivery = import_module("system.api.delivery").Delivery
        with self.receiver(held=held, ended=ended) as receiver:
            answer = receiver.receive(delivery(**known | {"correlation_id": "c-1"} | more))
        return [int(answer.status), answer.event_row is not None, answer.detail]

    @contextmanager
    def receiver(self, *, held: bool = False, ended: bool = False) -> Iterator[Any]:
        """Return a receiver whose one connection is held by another thread, or has ended."""
        vendors = import_module("system.api.vendors").vendors_with(self.folder)
        counts = Counts()
        self.counted = counts.counted
        if ended:
            with self.ingesting.connect() as connection:
                pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            with self.pooled().connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        holds = self.ingesting.connect() if held else None
        try:
            yield import_module("system.api.receiving").Receiver(
                app=self.app,
                engine=self.ingesting,
                secrets=self.folder,
                vendors=vendors,
                metrics=counts,
            )
        finally:
            if holds is not None:
                holds.close()
            pool: Any = self.ingesting.pool
            self.left_open = pool.checkedout()
            if self.left_open:
                self.ingesting = self.pooled()

    def released(self, vendor: str, documents: Mapping[str, Any]) -> Any:
        """Return the contract of a vendor with these released documents."""
        folder = Path(tempfile.mkdtemp())
        before, self.contracts = contract.CONTRACTS, folder
        for version, document in documents.items():
            (made := folder / vendor / "baselines" / version).mkdir(parents=True)
            (made / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
        contract.CONTRACTS = folder
        try:
            return contract.contract_of.__wrapped__(vendor)
        finally:
            contract.CONTRACTS = before

    def document(self, schema: Any, parts: Any = None) -> Any:
        """Return the contract of a vendor whose body has this schema."""
        return self.released("v", {"v1.0.0": page(schema, parts=parts)})

    def locked(self, statement: str, call: Callable[[], Any]) -> Any:
        """Return the result of a call while another session holds the locks of a statement."""
        with self.owner.begin() as connection:
            rows_of(connection, statement)
            return call()
