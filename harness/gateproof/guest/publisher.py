"""The publisher: a small program that runs next to the system, in its interpreter and image.

A client inside the harness would not use the system's routes, eager mode and headers. This program
is passed as source text to the system's own interpreter, imports the system's app, reads one JSON
request per line and answers with one JSON object per line. It imports nothing from the harness.

Requests: ``describe``, ``publish``, ``result``. Values that JSON lacks are encoded as
``{"__type__": "uuid" | "datetime" | "decimal" | "bytes", "value": text}``.

Arguments: ``module:attribute`` of the app, and optionally the module of the probe tasks. A system
that has a task with the prefix of the probe tasks is refused: each answer is then an error.
"""

import base64
import datetime as dt
import decimal
import importlib
import inspect
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "uuid": uuid.UUID,
    "datetime": dt.datetime.fromisoformat,
    "decimal": decimal.Decimal,
    "bytes": base64.b64decode,
}


LONGEST_TURN_S, SHORTEST_TURN_S = 0.2, 0.001
"""How long one call of Celery waits for a result."""
QUEUE_HEADER = "gateproof_queue"
"""The header in which a probe task finds the queue for its retries."""


def revive(value: Any) -> Any:
    """Decode tagged values."""
    if isinstance(value, list):
        return [revive(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "__type__" in value:
        return FROM_TEXT[value["__type__"]](value["value"])
    return {key: revive(inner) for key, inner in value.items()}


def describe(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the app: URL schemes, eager mode, tasks, routes and queues."""
    app.finalize()
    app.loader.import_default_modules()
    names = sorted(name for name in app.tasks if name.startswith(request["prefix"]))
    routes = {}
    for name in names:
        route = app.amqp.router.route({}, name)
        queue = route.get("queue")
        routes[name] = {
            "queue": getattr(queue, "name", queue),
            "routing_key": route.get("routing_key") or getattr(queue, "routing_key", None),
        }
    return {
        "broker": app.connection_for_write().as_uri().split("://")[0],
        "result_backend": str(app.conf.result_backend).split("://")[0],
        "eager": bool(app.conf.task_always_eager),
        "tasks": names,
        "routes": routes,
        "queues": {
            name: {"routing_key": queue.routing_key, "exchange": queue.exchange.name}
            for name, queue in app.amqp.queues.items()
        },
    }


def publish(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Publish one task like the system's own code, and return whether it ran in eager mode."""
    name, options = request["task"], request.get("options", {})
    args, kwargs = revive(request.get("args", [])), revive(request.get("kwargs", {}))
    if request.get("in_spite_of_routes"):
        options = addressed(app, options)
    app.loader.import_default_modules()
    task = app.tasks.get(name)
    if request.get("swapped") and task is not None:
        args, kwargs = swapped(task, args, kwargs)
    if task is None:
        result = app.send_task(name, args, kwargs, **options)
    else:
        result = task.apply_async(args, kwargs, **options)
    return {"task_id": result.id, "eager": type(result).__name__ == "EagerResult"}


def swapped(task: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the same arguments in the other form: by name those by position, or the reverse.

    By position, an argument that is left out gets its default, or null if it has none.
    """
    places = {
        name: None if place.default is place.empty else place.default
        for name, place in inspect.signature(task.run).parameters.items()
        if place.kind is place.POSITIONAL_OR_KEYWORD
    }
    if args:
        named = dict(zip(places, args))  # noqa: B905 (Python 3.8 has no strict)
        return list(args[len(places) :]), {**named, **kwargs}
    given = [nth for nth, name in enumerate(places, start=1) if name in kwargs]
    first = list(places)[: max(given, default=0)]
    rest = {name: value for name, value in kwargs.items() if name not in first}
    return [kwargs.get(name, places[name]) for name in first], rest


def addressed(app: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with the exchange and key of their queue: a route could name another key."""
    queue = app.amqp.queues[options["queue"]]
    headers = {**options.get("headers", {}), QUEUE_HEADER: options["queue"]}
    found = {**options, "headers": headers}
    if queue.exchange.type != "direct":  # otherwise Celery uses the name of the queue as the key
        found["exchange"] = queue.exchange.name
        found["routing_key"] = queue.routing_key or options["queue"]
    return found


def overlap(app: Any, module: str) -> str:
    """Load the probe tasks, and return which of their names the system has; empty for none."""
    app.loader.import_default_modules()
    app.finalize()  # the system's own tasks first: a second task of one name would be ignored
    prefix = importlib.import_module(module).PREFIX
    names = sorted(
        name
        for name, task in app.tasks.items()
        if name.startswith(prefix) and getattr(task, "__module__", None) != module
    )
    return (
        f"names of the probe tasks: got {', '.join(names)} from the system, expected no task of it "
        f"with the prefix {prefix}; rename it, or leave probe out of [worker]"
        if names
        else ""
    )


def fetch_result(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for a task's result up to a deadline and return its state."""
    result = app.AsyncResult(request["task_id"])
    until = time.monotonic() + request["timeout_s"]
    while True:
        # In short turns: Celery counts its pauses as time, but not what its queries take.
        turn_s = max(min(until - time.monotonic(), LONGEST_TURN_S), SHORTEST_TURN_S)
        try:
            value = result.get(timeout=turn_s, interval=0.02, propagate=False)
            break
        except Exception as error:
            if type(error).__name__ != "TimeoutError":
                raise
            if time.monotonic() >= until:
                return {"state": result.state, "timed_out": True}
    if isinstance(value, BaseException):
        value = {"exception": type(value).__name__, "message": str(value)}
    return {"state": result.state, "value": value, "timed_out": False}


OPERATIONS = {"describe": describe, "publish": publish, "result": fetch_result}


def answer(app: Any, line: str, refusal: str = "") -> dict[str, Any]:
    """Handle one request; an exception, or why all are refused, becomes part of the answer."""
    request = json.loads(line)
    if refusal:
        return {"error": {"type": "Refused", "message": refusal}}
    try:
        return OPERATIONS[request["op"]](app, request)
    except Exception as error:  # noqa: BLE001 (the answer reports it)
        return {"error": {"type": type(error).__name__, "message": str(error)}}


def main(target: str, probe: str = "") -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of the system on import must not be mistaken for an answer
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    refusal = overlap(app, probe) if probe else ""
    for line in sys.stdin:
        answers.write(json.dumps(answer(app, line, refusal), default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
