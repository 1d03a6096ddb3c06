"""Make the Celery app: queues, routes, tasks, broker and result backend.

Owns the wiring. Importing it opens no connection and starts nothing, and works with nothing set:
the first use raises an error that names what is missing. `system.worker` owns logs, endpoints and
the process.
"""

from __future__ import annotations

import os
from datetime import timedelta

from celery import Celery, signals
from kombu import Exchange, Queue

from system import dead_letters, identity, settings, transport
from system.connections import fork
from system.errors import ConfigurationError
from system.tasks import attribution, housekeeping, llm, maintenance
from system.transport import unconfigured

TASK_MODULES = (housekeeping, maintenance, llm, attribution)
EXCHANGE = "tasks"
RESULT_EXPIRES = timedelta(days=1)
"""How long after its task has ended a result is kept; `transport.expiry` deletes it then."""


def queues() -> tuple[Queue, ...]:
    """Return the four queues, each with its own binding to one topic exchange."""
    exchange = Exchange(EXCHANGE, type="topic")
    return tuple(Queue(name, exchange, routing_key=f"{name}.#") for name in settings.QUEUES)


def routes() -> dict[str, dict[str, str]]:
    """Return the route of each group of tasks."""
    return {
        f"app.tasks.{name}.*": {"queue": name, "routing_key": f"{name}.task"}
        for name in settings.QUEUES
    }


def make_app(environment: dict[str, str]) -> Celery:
    """Return the app, with URLs from the environment, or stand-ins that raise at first use."""
    transport.install()
    try:
        connections = settings.connections_from(environment)
        eager = settings.eager_from(environment)
        broker_options = settings.broker_options_from(environment)
    except ConfigurationError:
        connections, eager, broker_options = None, False, {}
    broker_url = connections.broker_url if connections else unconfigured.URL
    result_backend = connections.result_backend if connections else unconfigured.URL
    # As read and write URL, and as backend_cls: only these override the raw CELERY_* variables,
    # which Celery reads itself, before any clean-up.
    made = Celery(
        "system",
        backend=result_backend,
        broker_read_url=broker_url,
        broker_write_url=broker_url,
    )
    made.backend_cls = result_backend
    made.conf.update(_configuration(eager=eager))
    made.conf.broker_transport_options = broker_options
    made.steps["worker"].add("system.transport.handover:Handover")
    return made


def _configuration(*, eager: bool) -> dict[str, object]:
    return {
        "task_queues": queues(),
        "task_routes": routes(),
        "task_default_queue": settings.QUEUES[0],
        "task_default_exchange": EXCHANGE,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": f"{settings.QUEUES[0]}.task",
        "task_create_missing_queues": False,
        "task_always_eager": eager,
        "result_expires": RESULT_EXPIRES,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "timezone": "UTC",
        "enable_utc": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A message is deleted when its task has ended: if a worker is killed before, another one
        # gets it. A task whose own process is killed fails and is not tried again: it may have
        # caused the death.
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        # Claims stay with the process that made them: a short loss of the broker must not stop a
        # running task.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_redirect_stdouts": False,
        "worker_hijack_root_logger": False,
    }


def _start_child(**_: object) -> None:
    """End a child of the worker's pool with its parent."""
    fork.end_with_parent()


app = make_app(dict(os.environ))
app.set_default()
identity.connect()
dead_letters.connect()
signals.worker_process_init.connect(_start_child, weak=False, dispatch_uid="system.app.start_child")
