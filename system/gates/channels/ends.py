"""Run steps of a case on the system's own result backends, and on what stands in for none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.canvas import Signature, group
from celery.exceptions import TimeoutError  # noqa: A004 (what a caller knows)
from sqlalchemy import Connection, text

from system.gates.channels.scene import Scene, stated

RESULTS = (
    "SELECT task_id, status, result, traceback, name, queue FROM celery_taskmeta ORDER BY task_id"
)


def traced(traceback: str | None) -> str | None:
    """Return a traceback; one that Python made has no text that is the same in each run."""
    return "traced" if traceback and traceback.startswith("Traceback") else traceback


class Written:
    """The part that an observer writes: a queue with the name of the task."""

    def __init__(self, scene: Ends, task_id: str) -> None:
        self.scene, self.task_id = scene, task_id

    def write(self, connection: Connection) -> None:
        """Write in the transaction of the result."""
        self.scene.came.append("write")
        connection.execute(
            text("INSERT INTO kombu_queue (name) VALUES (:name)"), {"name": f"of-{self.task_id}"}
        )

    def finish(self, *, written: bool) -> object:
        """Return where it is kept."""
        self.scene.came.append(f"finish written={written}")
        return f"kept-{self.task_id}"


class Observer:
    """An observer of ends that writes about each."""

    def __init__(self, scene: Ends, task_ids: tuple[str, ...]) -> None:
        self.scene, self.task_ids = scene, task_ids

    def of_failure(self, app: Any, task_id: str, error: Any, traceback: Any, request: Any) -> Any:
        """Return what to write about a failure."""
        parts = (getattr(request, "task", None), getattr(request, "not_run", None))
        known = " ".join(filter(None, parts)) or None
        name = f"{type(error).__name__}({error})"
        words = f"failure {task_id} {name} {traced(traceback)} {known} {app is self.scene.app}"
        self.scene.came.append(words.replace("\0", "\\x00"))
        return self._of(task_id)

    def of_success(self, task_id: str, request: Any) -> Any:
        """Return what to write about a success."""
        self.scene.came.append(f"success {task_id} {getattr(request, 'task', None)}")
        return self._of(task_id)

    def _of(self, task_id: str) -> Any:
        return Written(self.scene, task_id) if task_id in self.task_ids else None


class Ends(Scene):
    """The backends of one case."""

    def __init__(self, admin: Connection, url: str, case: dict[str, Any]) -> None:
        super().__init__(admin, url, case)
        self.app = Celery("table", set_as_current=False)
        self.app.conf.update(
            result_backend=f"db+{url}",
            broker_url=f"sqla+{url}",
            result_extended=case.get("extended", False),
            result_backend_max_retries=case.get("retries", 3),
        )
        self.endings = import_module("system.transport.endings")
        self.endings.ReportingBackend.observer = None
        admin.execute(text("DELETE FROM celery_taskmeta"))
        self.others: dict[str, Any] = {}

    def rows(self) -> dict[str, list[str]]:
        """Return the rows that there are now, and the results as this backend reads them."""
        ids = self.admin.execute(text("SELECT task_id FROM celery_taskmeta ORDER BY task_id"))
        return {
            **super().rows(),
            "ends": [f"{row[0]} {self._meta(row[0])}" for row in ids.fetchall()],
        }

    def end(self) -> None:
        """Forget the results and the observer."""
        self.endings.ReportingBackend.observer = None
        self.admin.execute(text("DELETE FROM celery_taskmeta"))
        super().end()

    @property
    def backend(self) -> Any:
        """The backend of the actor: A is that of the app, and another one has other options."""
        return self.others.get(self.actor) or self.app.backend

    def _do_backend(self, where: str) -> None:
        """Have the actor use another backend: of the same database by another URL, or of none."""
        kind = import_module("system.transport.results").Backend
        urls = {"same": f"{self.url}?options=", "nowhere": "postgresql+psycopg2://x@127.0.0.1:1/x"}
        self.others[self.actor] = kind(app=self.app, url=urls[where])

    def _do_observe(self, *task_ids: str) -> None:
        self.endings.ReportingBackend.observer = Observer(self, task_ids)

    def _request(self, task_id: str) -> Any:
        more: dict[str, Any] = {"id": task_id, "task": "charge"}
        if "chain" in self.more:
            more["chain"] = [
                dict(Signature("later", options={"task_id": one}))
                for one in self.more["chain"].split(",")
            ]
        if "stamps" in self.more:
            more |= {"stamped_headers": ["who"], "stamps": {"who": self.more["stamps"]}}
        return Context(more)

    def _error(self, words: str) -> Exception:
        return ValueError(words.encode().decode("unicode_escape"))

    def _did(self, done: object) -> str:
        return ", ".join([*self._parts(), *([str(done)] if done is not None else [])])

    def _parts(self) -> list[str]:
        found, self.came = self.came, []
        return found

    def _do_store(self, task_id: str, state: str, value: str) -> str:
        return self._did(
            self.backend.store_result(task_id, value, state, request=self._request(task_id))
        )

    def _do_done(self, task_id: str, value: str, *flags: str) -> str:
        options = {"store_result": False} if "silent" in flags else {}
        return self._after(
            self.backend.mark_as_done, task_id, value, self._request(task_id), **options
        )

    def _do_fail(self, task_id: str, words: str, *flags: str) -> str:
        options: dict[str, Any] = {"store_result": False} if "silent" in flags else {}
        if "retry" in flags:
            options["state"] = "RETRY"
        request = None if "alone" in flags else self._request(task_id)
        return self._after(
            self.backend.mark_as_failure,
            task_id,
            self._error(words),
            f"at-{self._error(words)}",
            request,
            **options,
        )

    def _do_report(self, task_id: str, words: str) -> str:
        error = self._error(words)
        return self._after(
            self.backend.report_failure,
            task_id,
            error,
            None,
            self._request(task_id),
            True,
            True,
            "FAILURE",
        )

    def _do_revoke(self, task_id: str, reason: str, *flags: str) -> str:
        options = {"store_result": False} if "silent" in flags else {}
        return self._after(
            self.backend.mark_as_revoked, task_id, reason, self._request(task_id), **options
        )

    def _do_body(self, *task_ids: str) -> str:
        """Fail the body of a chord: one task, or a group of them."""
        calls = [self.app.signature("body", args=(7,), task_id=one) for one in task_ids]
        body = calls[0] if len(calls) == 1 else group(calls, app=self.app, task_id="g")
        if "chain" in self.more:
            body.options["chain"] = [
                dict(Signature("later", options={"task_id": self.more["chain"]}))
            ]
        try:
            self.others["part"]
        except KeyError as error:
            self.backend.chord_error_from_stack(body, error)
        return ", ".join(self._parts())

    def _after(self, act: Any, *args: Any, **kwargs: Any) -> str:
        try:
            done = act(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (a part of the result)
            done = stated(error)
        return self._did(done)

    def _do_meta(self, task_id: str) -> str:
        return self._meta(task_id)

    def _meta(self, task_id: str) -> str:
        meta = self.app.backend.get_task_meta(task_id, cache=False)
        result = meta["result"]
        shown = (
            f"{type(result).__name__}({result})" if isinstance(result, BaseException) else result
        )
        mark = " never ran" if meta.get(self.endings.NOT_RUN) is True else ""
        found = traced(meta.get("traceback"))
        more = " traced" if found == "traced" else f" traceback={found}" if found else ""
        more += "".join(f" {name}={meta[name]}" for name in ("name", "who") if meta.get(name))
        return f"{meta['status']} {shown}{mark}{more}".replace("\0", "\\x00")

    def _do_wait(self, task_id: str) -> str:
        given = {
            name: float(self.more[name]) for name in ("timeout", "interval") if name in self.more
        }
        seen: list[str] = []

        def end() -> None:
            seen.append("poll")
            if len(seen) == int(self.more.get("ends", 0)):
                self.backend.store_result(task_id, "late", "SUCCESS")

        try:
            found = self.backend.wait_for(task_id, on_interval=end, **given)
        except TimeoutError as error:
            return f"{stated(error)} after {len(seen)}"
        return f"{found['status']} {found['result']} after {len(seen)}"

    def _do_wait_plainly(self, task_id: str) -> str:
        return str(self.backend.wait_for(task_id)["status"])

    def _do_tables(self) -> None:
        self.backend._create_tables()  # noqa: SLF001 (Celery calls it)

    def _do_connections(self) -> int:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'system-results'"
        )
        return int(self.admin.execute(query).scalar() or 0)

    def _do_lose_results(self) -> int:
        return self._end("system-results")

    def _do_unset(self, kind: str, *flags: str) -> None:
        """Use what stands in for a broker or backend, with the DSN in the environment or not."""
        module = import_module("system.transport.unconfigured")
        with _without("DATABASE_URL" if "missing" in flags else None):
            getattr(module, kind)("unset://", client=None)

    def _do_unset_url(self) -> str:
        return str(import_module("system.transport.unconfigured").URL)

    def _do_unset_app(self, kind: str) -> str:
        """Use an app whose broker and backend are not set."""
        app = Celery("unset", broker="unset://", backend="unset://", set_as_current=False)
        return str(app.backend if kind == "backend" else app.connection().connect())


@contextmanager
def _without(name: str | None) -> Iterator[None]:
    value = os.environ.pop(name, None) if name else None
    try:
        yield
    finally:
        if name and value is not None:
            os.environ[name] = value
