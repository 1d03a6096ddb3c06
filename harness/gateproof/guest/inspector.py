"""The inspector: a program that imports a system's Celery app and reports what it declares.

It is passed as source text to the system's own interpreter, on Python 3.8 and later, and runs in
the system's folder. It publishes nothing and opens no connection of its own. The report is the last
line of its output, one JSON object; output of the system on import goes to standard error.
"""

import importlib
import inspect
import json
import os
import sys
from typing import Any


def signature_of(task: Any) -> str:
    """Return the parameters of a task in the form of Python, or nothing if they are not known.

    Defaults are left out: one can be a secret.
    """
    try:
        found = inspect.signature(task.run)
    except (TypeError, ValueError):
        return ""
    hidden = [
        one if one.default is one.empty else one.replace(default=...)
        for one in found.parameters.values()
    ]
    return str(found.replace(parameters=hidden)).replace("Ellipsis", "...")


def route_of(app: Any, name: str) -> "tuple[str, str]":
    """Return the queue that a task is published to, and the routing key of its message.

    The key is that of Celery: a direct exchange without an explicit exchange and key has the name
    of the queue, any other the key of the route, else that of the queue.
    """
    task = app.tasks[name]
    own = {one: getattr(task, one, None) for one in ("queue", "exchange", "routing_key")}
    route = app.amqp.router.route({one: own[one] for one in own if own[one]}, name)
    queue = route.get("queue")
    named = str(getattr(queue, "name", queue) or app.conf.task_default_queue)
    exchange, key = route.get("exchange"), route.get("routing_key")
    kind = getattr(getattr(queue, "exchange", None), "type", None) or "direct"
    if kind == "direct" and not (exchange and key):
        return named, named
    key = key or getattr(queue, "routing_key", None) or app.conf.task_default_routing_key
    return named, str(key or "")


def tasks_of(app: Any) -> "dict[str, dict[str, Any]]":
    """Return the tasks of the system, without those of Celery itself."""
    found: dict[str, dict[str, Any]] = {}
    for name, task in sorted(app.tasks.items()):
        if not str(name).startswith("celery."):
            queue, key = route_of(app, name)
            found[str(name)] = {
                "queue": queue,
                "key": key,
                "signature": signature_of(task),
                "module": str(type(task).__module__),
            }
    return found


def scheme_of(url: Any) -> str:
    """Return the scheme of a URL, never the rest: it may have a password."""
    return str(url or "").split("://", 1)[0] if "://" in str(url or "") else str(url or "")


def transport_of(app: Any) -> str:
    """Return the class of the transport, ``module:Class``; empty if it cannot be imported."""
    try:
        found = app.connection_for_write().get_transport_cls()
    except Exception:  # noqa: BLE001 (a client of the broker may not be installed here)
        return ""
    return f"{found.__module__}:{found.__qualname__}"


def visibility_timeout_of(app: Any) -> "float | None":
    """Return the seconds until a message of a killed worker comes back, None without such a time.

    It is an option of transports that have one, such as those for Redis and SQS; others ignore it.
    """
    try:
        channel = app.connection_for_write().get_transport_cls().Channel
    except Exception:  # noqa: BLE001 (a client of the broker may not be installed here)
        return None
    default = getattr(channel, "visibility_timeout", None)
    if not isinstance(default, (int, float)):
        return None
    options = app.conf.broker_transport_options or {}
    return float(options.get("visibility_timeout", default))


def main(target: str) -> "dict[str, Any]":
    """Import the app and return the report.

    Args:
        target: ``module:attribute`` of the app.

    """
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    app.loader.import_default_modules()
    app.finalize()
    schedule = app.conf.beat_schedule or {}
    return {
        "broker": scheme_of(app.connection_for_write().as_uri()),
        "transport": transport_of(app),
        "visibility_timeout_s": visibility_timeout_of(app),
        "result_backend": scheme_of(app.conf.result_backend),
        "pool": str(app.conf.worker_pool or "prefork"),
        "eager": bool(app.conf.task_always_eager),
        "default_queue": str(app.conf.task_default_queue),
        "tasks": tasks_of(app),
        "beat": {str(name): str(entry.get("task")) for name, entry in schedule.items()},
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of the system on import must not be mistaken for the report
    sys.path.insert(0, "")
    answers.write("\n" + json.dumps(main(sys.argv[1]), default=str) + "\n")
    answers.flush()
