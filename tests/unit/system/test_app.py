"""The app: its tasks, queues and routes; importing it has no side effects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from system.app import make_app
from system.errors import ConfigurationError
from system.settings import QUEUES

TASKS = {
    "app.tasks.attribution.recompute_window",
    "app.tasks.housekeeping.ping",
    "app.tasks.llm.budget_optimization",
    "app.tasks.llm.explanation",
    "app.tasks.llm.investigation",
    "app.tasks.llm.route",
    "app.tasks.maintenance.delete_old_dead_letters",
    "app.tasks.maintenance.retry_dead_events",
    "app.tasks.maintenance.enforce_data_retention",
    "app.tasks.maintenance.reconcile_dead_letters",
    "app.tasks.maintenance.refresh_all_materialized_views",
    "app.tasks.maintenance.replay_dead_letters",
    "app.tasks.maintenance.scan_for_pii_contamination",
}
_IMPORT = """
import json, os, socket, sys, threading

opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
import {module}
from system.app import app
print(json.dumps({{
    "threads": [thread.name for thread in threading.enumerate()],
    "sockets": [event for event in opened if event in ("socket.connect", "socket.bind")],
    "tasks": [name for name in app.tasks if name.startswith("app.tasks.")],
    "eager": app.conf.task_always_eager,
    "environment": [name for name in os.environ if name.startswith("PROMETHEUS")],
    "brokers": [name for name in ("redis", "pika", "kafka", "librabbitmq") if name in sys.modules],
}}))
"""


@pytest.mark.parametrize("module", ["system.app", "system.worker"])
def test_import_has_no_side_effects(module: str) -> None:
    """An import without any settings opens no socket and starts no thread."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _IMPORT.format(module=module)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert set(seen.pop("tasks")) == TASKS
    assert seen == {
        "threads": ["MainThread"],
        "sockets": [],
        "eager": False,
        "environment": [],
        "brokers": [],
    }


_PUBLISH = """
import sys
from system.app import app
from celery.exceptions import OperationalError
try:
    app.send_task("app.tasks.housekeeping.ping", retry=False)
except OperationalError:
    pass
worker = ("celery.worker.consumer", "prometheus_client", "system.worker", "system.commands",
          "system.observability", "system.dead_letters.capture.consumer")
print([name for name in sys.modules if name.startswith(worker)])
"""


def test_publisher_imports_no_worker_module() -> None:
    """A process that publishes imports neither Celery's consumer nor the worker's own modules.

    Celery itself imports `celery.worker`, for its support of Django.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PUBLISH],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_queues_are_the_four() -> None:
    """Four queues are declared, each bound to its own keys; none is created on demand."""
    app = make_app({})
    bound = {queue.name: queue.routing_key for queue in app.amqp.queues.values()}
    assert bound == {name: f"{name}.#" for name in QUEUES}
    assert app.conf.task_create_missing_queues is False


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_routes_to_its_queue(name: str) -> None:
    """Each task goes to the queue in its name, with that queue's key."""
    queue = name.split(".")[2]
    route = make_app({}).amqp.router.route({}, name)
    assert (route["queue"].name, route["routing_key"]) == (queue, f"{queue}.task")


def test_publishing_without_a_dsn_is_refused() -> None:
    """Publishing without settings names the missing variable, and tries no default broker."""
    app = make_app({})
    with pytest.raises(ConfigurationError, match="DATABASE_URL: got nothing"):
        app.send_task("app.tasks.housekeeping.ping")


def test_reading_a_result_without_a_dsn_is_refused() -> None:
    """Reading a result without settings names the missing variable."""
    with pytest.raises(ConfigurationError, match="DATABASE_URL: got nothing"):
        make_app({}).AsyncResult("x").get(timeout=1)


def test_celery_variables_are_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gets the normalized URLs, though it reads the CELERY_* variables itself."""
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, "postgresql+asyncpg://u:p@h/d?ssl=true")
    app = make_app({"DATABASE_URL": "postgresql://u:p@h/d", **os.environ})
    url = "postgresql+psycopg2://u:p@h/d?sslmode=require"
    assert app.connection_for_write().hostname == url
    assert app.connection_for_read().transport_cls == "sqla"
    backend: Any = app.backend
    assert backend.url == url


def test_eager_mode_is_honoured() -> None:
    """Eager mode is on only if the environment enables it."""
    base = {"DATABASE_URL": "postgresql://u:p@h/d"}
    assert make_app({**base, "CELERY_TASK_ALWAYS_EAGER": "1"}).conf.task_always_eager is True
    assert make_app(base).conf.task_always_eager is False
