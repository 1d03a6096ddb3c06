"""Named changes to Celery's behaviour, for falsifiers that know nothing of a system's source.

Runs in the system's interpreter, in its workers and publishers, on Python 3.8 and later; uses the
system's own Celery and imports nothing from the harness. `loader` calls the methods of a change,
and describes them.
"""

from __future__ import annotations

import base64
import functools
import importlib
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from celery import concurrency, signals
from celery.app import routes, trace
from celery.app.task import Task
from celery.worker import pidbox, request
from celery.worker.consumer import consumer
from kombu import connection, messaging


def origin(function: Any) -> str:
    """Return the module and the name of a function: a replaced one has another."""
    return f"{function.__module__}.{function.__qualname__}"


def receivers(*names: str) -> dict[str, int]:
    """Return the number of receivers of signals."""
    return {name: len(getattr(signals, name).receivers or ()) for name in names}


class Change:
    """A change that changes nothing; the base of all others."""

    def early(self, app: Any) -> None:
        """Act when the app reads its configuration first."""

    def loaded(self, app: Any) -> None:
        """Act when the modules of the app's tasks have been imported."""

    def set_up(self, app: Any, worker: Any) -> None:
        """Act in a worker before it starts its pool and connects."""

    def state(self, app: Any) -> Any:  # noqa: ARG002 (of other changes)
        """Return the state of what it changes."""
        return None


class Configure(Change):
    """Sets values of Celery's configuration, for tasks that set them themselves too."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def loaded(self, app: Any) -> None:
        """Change the configuration, and the attributes of all tasks that come from it."""
        app.finalize()
        app.conf.update(self.settings)
        app.amqp.flush_routes()
        app.amqp.__dict__.pop("router", None)
        for attribute, name in Task.from_config:
            if name in self.settings:
                for task in app.tasks.values():
                    setattr(task, attribute, self.settings[name])

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Change what the worker has already read."""
        for name, value in self.settings.items():
            if name == "worker_prefetch_multiplier":
                worker.prefetch_multiplier = value

    def state(self, app: Any) -> Any:
        """Return the values, and which values tasks have."""
        found = {name: repr(app.conf[name]) for name in self.settings}
        for attribute, name in Task.from_config:
            if name in self.settings:
                values = {repr(getattr(task, attribute)) for task in app.tasks.values()}
                found[f"{attribute} of tasks"] = ", ".join(sorted(values))
        return found


class UseUrls(Change):
    """Uses another broker or another result backend, however the system has set its own.

    Args:
        broker: the URL of the broker; empty for the system's own.
        results: the URL of the result backend; likewise.

    """

    def __init__(self, broker: str = "", results: str = "") -> None:
        self.broker, self.results = broker, results

    def loaded(self, app: Any) -> None:
        """Set the URLs in each place that Celery reads, and forget what was made from others."""
        if self.broker:
            for name in ("broker_url", "broker_read_url", "broker_write_url"):
                app.conf[name] = self.broker
        if self.results:
            app.conf["result_backend"] = app.backend_cls = self.results
            app._backend_cache = None  # noqa: SLF001 (there is no other way)
            app._local.__dict__.pop("backend", None)  # noqa: SLF001 (likewise)

    def state(self, app: Any) -> Any:
        """Return the schemes that count."""
        urls = {"broker": app.conf.broker_write_url, "results": app.backend_cls}
        return {name: str(url or "").partition(":")[0] for name, url in urls.items()}


class AcknowledgeEarly(Configure):
    """Acknowledges every message before its task runs."""

    def __init__(self) -> None:
        super().__init__(task_acks_late=False)


class KeepLost(Configure):
    """Does not return the message of a task whose child was killed."""

    def __init__(self) -> None:
        super().__init__(task_reject_on_worker_lost=False)


class NoPrefetchLimit(Configure):
    """Reserves as many messages as there are."""

    def __init__(self) -> None:
        super().__init__(worker_prefetch_multiplier=0)


class LoseRoutes(Configure):
    """Sends every task to the default queue."""

    def __init__(self) -> None:
        super().__init__(task_routes=None)


class Patch(Change):
    """Replaces one function of Celery; the base of changes that do."""

    owner: Any
    name: str

    def early(self, app: Any) -> None:
        """Replace the function."""
        setattr(self.owner, self.name, self.replacement(getattr(self.owner, self.name), app))

    def replacement(self, original: Any, app: Any) -> Any:
        """Return the function that replaces the original."""
        raise NotImplementedError

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return which function is in place."""
        return {f"{self.owner.__name__}.{self.name}": origin(getattr(self.owner, self.name))}


class IgnoreTimeLimits(Patch):
    """Ignores the time limits of tasks, of messages and of the worker."""

    owner, name = request.Request, "execute_using_pool"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that runs a task without its limits."""

        def execute_using_pool(self: Any, pool: Any, **options: Any) -> Any:
            self.time_limits = (None, None)
            return original(self, pool, **options)

        return execute_using_pool

    def loaded(self, app: Any) -> None:
        """Remove the limits of tasks."""
        app.finalize()
        for task in app.tasks.values():
            task.time_limit = task.soft_time_limit = None

    def set_up(self, app: Any, worker: Any) -> None:
        """Remove the limits of the configuration, with which pools are made."""
        app.conf.task_time_limit = app.conf.task_soft_time_limit = None
        worker.time_limit = worker.soft_time_limit = None


class NeverAcknowledge(Patch):
    """Keeps every message at the broker, as if its task had not ended."""

    owner, name = request.Request, "acknowledge"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that acknowledges nothing."""

        def acknowledge(self: Any) -> None:
            self.acknowledged = True

        return acknowledge


class RequeueFinished(Patch):
    """Returns the message of a finished task to its queue."""

    owner, name = request.Request, "acknowledge"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that returns the message."""

        def acknowledge(self: Any) -> None:
            self.reject(requeue=True)

        return acknowledge


class IgnoreRemoteControl(Patch):
    """Drops every command of remote control."""

    owner, name = pidbox.Pidbox, "on_message"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that does nothing."""

        def on_message(self: Any, body: Any, message: Any) -> None:
            del self, body, message

        return on_message


class LogUnknownMessages(Patch):
    """Logs the whole body of a message whose task is not known."""

    owner, name = consumer.Consumer, "on_unknown_task"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that logs the body first."""

        def on_unknown_task(self: Any, body: Any, message: Any, exc: Any) -> Any:
            logging.getLogger("celery.task").error("unknown task: %s", message.payload)
            return original(self, body, message, exc)

        return on_unknown_task


class RunInPublisher(Patch):
    """Runs every task in its publisher, with a result that looks like a published one's."""

    owner, name = Task, "apply_async"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that runs the task."""

        def apply_async(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            done = self.apply(args, kwargs, task_id=options.get("task_id"))
            return self.AsyncResult(done.id)

        return apply_async


class IgnoreDelays(Patch):
    """Publishes every task without its countdown or its time."""

    owner, name = Task, "apply_async"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that publishes without a delay."""

        def apply_async(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            wanted = {name: value for name, value in options.items() if name not in _DELAYS}
            return original(self, args, kwargs, **wanted)

        return apply_async


_DELAYS = ("countdown", "eta")


class Misroute(Patch):
    """Sends tasks to another queue, or with another routing key.

    Args:
        task: a pattern of the names of the tasks.
        queue: the queue; the route's own if it is empty.
        key_suffix: a text that is added to the routing key.
        given: ``args`` or ``kwargs``: only tasks that have arguments by position, or by name.

    """

    owner, name = routes.Router, "route"

    def __init__(
        self, task: str = ".*", queue: str = "", key_suffix: str = "", given: str = ""
    ) -> None:
        self.task, self.queue, self.key_suffix = re.compile(task), queue, key_suffix
        self.given = given

    def replacement(self, original: Any, app: Any) -> Any:
        """Return a function that changes routes."""
        change = self

        def route(
            self: Any, options: Any, name: str, args: Any = (), kwargs: Any = None, *more: Any
        ) -> Any:
            found = original(self, options, name, args, kwargs, *more)
            wanted = {"args": args, "kwargs": kwargs}.get(change.given, True)
            return change.changed(found, app) if wanted and change.task.fullmatch(name) else found

        return route

    def changed(self, route: dict[str, Any], app: Any) -> dict[str, Any]:
        """Return a route with the other queue and key."""
        found = dict(route)
        if self.queue:
            queue = app.amqp.queues[self.queue]
            found.update(queue=queue, routing_key=queue.routing_key)
        if self.key_suffix:
            key = found.get("routing_key") or getattr(found.get("queue"), "routing_key", None)
            found["routing_key"] = f"{key or app.conf.task_default_routing_key}{self.key_suffix}"
        return found


class LoseResultValues(Change):
    """Stores results without their values."""

    def loaded(self, app: Any) -> None:
        """Replace the function that encodes a result."""

        def encode_result(self: Any, result: Any, state: Any) -> None:
            del self, result, state

        type(app.backend).encode_result = encode_result

    def state(self, app: Any) -> Any:
        """Return which function encodes a result."""
        return {"encode_result": origin(type(app.backend).encode_result)}


class UseTransport(Change):
    """Uses another transport of kombu for a scheme, whatever the system has registered.

    Args:
        scheme: the scheme of the broker URL.
        transport: ``module:class``.

    """

    def __init__(
        self, scheme: str = "sqla", transport: str = "kombu.transport.sqlalchemy:Transport"
    ) -> None:
        self.scheme, self.transport = scheme, transport
        self.module = importlib.import_module("kombu.transport")

    def early(self, app: Any) -> None:  # noqa: ARG002 (the interface)
        """Register the transport."""
        self.module.TRANSPORT_ALIASES[self.scheme] = self.transport
        getattr(self.module, "_transport_cache", {}).pop(self.scheme, None)

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return the transport."""
        return {self.scheme: self.module.TRANSPORT_ALIASES.get(self.scheme)}


class HideOverlappingRuns(Change):
    """Sends no signal before and after a run that begins while its process runs the same task."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[str, set[str]] = {}
        self.hidden: set[str] = set()

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Replace the functions that send the signals."""
        trace.send_prerun = self.sender(trace.send_prerun, self.begins)
        trace.send_postrun = self.sender(trace.send_postrun, self.ends)

    def sender(self, original: Any, is_seen: Callable[[str, str], bool]) -> Any:
        """Return a function that sends the signal of a run that is seen."""

        def send(sender: Any, task_id: str, **more: Any) -> Any:
            with self.lock:
                seen = is_seen(sender.name, task_id)
            return original(sender=sender, task_id=task_id, **more) if seen else []

        return send

    def begins(self, task: str, task_id: str) -> bool:
        """Note a run that begins, and return whether it is alone."""
        running = self.running.setdefault(task, set())
        if running:
            self.hidden.add(task_id)
        running.add(task_id)
        return task_id not in self.hidden

    def ends(self, task: str, task_id: str) -> bool:
        """Note a run that ends, and return whether it was alone when it began."""
        self.running.get(task, set()).discard(task_id)
        return task_id not in self.hidden

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return which functions send the signals."""
        return [origin(send) for send in (trace.send_prerun, trace.send_postrun)]


class DropReceivers(Change):
    """Removes all receivers of signals in a worker.

    Args:
        names: names of signals, such as ``task_failure``.
        pools: the pools in which it acts, such as ``solo``; all if it is empty.

    """

    def __init__(self, names: list[str], pools: list[str] | None = None) -> None:
        self.names, self.pools = names, pools

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Remove the receivers."""
        chosen = [concurrency.get_implementation(name) for name in self.pools or ()]
        if chosen and concurrency.get_implementation(worker.pool_cls) not in chosen:
            return
        for name in self.names:
            found = getattr(signals, name)
            found.receivers = []
            found.sender_receivers_cache.clear()

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return the number of receivers."""
        return receivers(*self.names)


class Receive(Change):
    """Connects a receiver to a signal; the base of changes that do."""

    signal_name: str

    def loaded(self, app: Any) -> None:
        """Connect the receiver."""
        found = getattr(signals, self.signal_name)
        found.connect(self.receiver(app), weak=False)

    def receiver(self, app: Any) -> Callable[..., None]:
        """Return the receiver."""
        raise NotImplementedError

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return the number of receivers."""
        return receivers(self.signal_name)


class ReportFailuresAsSuccesses(Receive):
    """Sends the signal of a success after each failure."""

    signal_name = "task_failure"

    def receiver(self, app: Any) -> Callable[..., None]:  # noqa: ARG002 (the interface)
        """Return a receiver that sends the other signal."""

        def succeed(sender: Any = None, **_: Any) -> None:
            signals.task_success.send(sender=sender, result=None)

        return succeed


class LogArguments(Receive):
    """Logs the arguments of each task that failed."""

    signal_name = "task_failure"

    def receiver(self, app: Any) -> Callable[..., None]:  # noqa: ARG002 (the interface)
        """Return a receiver that logs them."""

        def log(args: Any = None, kwargs: Any = None, **_: Any) -> None:
            logging.getLogger("celery.task").error("failed with %s and %s", args, kwargs)

        return log


class ExitAtStopSignal(Receive):
    """Ends a worker at once when it gets a signal, whatever it runs."""

    signal_name = "worker_ready"

    def __init__(self, name: str = "SIGTERM") -> None:
        self.number = getattr(signal, name)

    def receiver(self, app: Any) -> Callable[..., None]:  # noqa: ARG002 (the interface)
        """Return a receiver that replaces the worker's own reaction."""

        def replace(**_: Any) -> None:
            signal.signal(self.number, lambda *_: os._exit(0))

        return replace


class AlterArgument(Receive):
    """Changes a text among the keyword arguments of each published task.

    Args:
        argument: its name.
        pattern: a regular expression.
        replacement: what replaces each match; ``{number}`` is the number of the message.

    """

    signal_name = "before_task_publish"

    def __init__(self, argument: str, pattern: str, replacement: str) -> None:
        self.argument, self.pattern = argument, re.compile(pattern)
        self.replacement, self.number = replacement, 0

    def receiver(self, app: Any) -> Callable[..., None]:  # noqa: ARG002 (the interface)
        """Return a receiver that changes the body in place."""

        def alter(body: Any = None, **_: Any) -> None:
            kwargs = body[1] if isinstance(body, tuple) else body.get("kwargs", {})
            if isinstance(kwargs.get(self.argument), str):
                self.number += 1
                new = self.replacement.replace("{number}", str(self.number))
                kwargs[self.argument] = self.pattern.sub(new, kwargs[self.argument])

        return alter


class RenameTask(Change):
    """Registers a task under another name."""

    def __init__(self, task: str, to: str) -> None:
        self.task, self.to = task, to

    def loaded(self, app: Any) -> None:
        """Move the task."""
        app.finalize()
        found = app.tasks.pop(self.task)
        app.tasks[self.to] = found

    def state(self, app: Any) -> Any:
        """Return which of the names are registered."""
        return {name: name in app.tasks for name in (self.task, self.to)}


class AddTask(Change):
    """Registers one more task."""

    def __init__(self, task: str) -> None:
        self.task = task

    def loaded(self, app: Any) -> None:
        """Register a task that does nothing."""

        def added() -> None:
            """Do nothing."""

        app.finalize()
        app.task(name=self.task)(added)

    def state(self, app: Any) -> Any:
        """Return whether it is registered."""
        return {self.task: self.task in app.tasks}


class ForgetTask(Change):
    """Removes a task from a worker; publishers still know it."""

    def __init__(self, task: str) -> None:
        self.task = task

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Remove the task."""
        app.tasks.pop(self.task, None)

    def state(self, app: Any) -> Any:
        """Return whether it is registered."""
        return {self.task: self.task in app.tasks}


class LeaveQueue(Change):
    """Leaves out one of the queues that a worker consumes: by default, the last by name."""

    def __init__(self, queue: str = "") -> None:
        self.queue = queue

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Leave the queue out."""
        app.amqp.queues.deselect(self.queue or max(app.amqp.queues.consume_from))

    def state(self, app: Any) -> Any:
        """Return the queues that are consumed."""
        return sorted(app.amqp.queues.consume_from)


class ConsumeAllQueues(Change):
    """Consumes all queues of the app and further ones, whatever the worker's options are.

    Args:
        queues: names of further queues: an app can leave those of its routes to Celery.

    """

    def __init__(self, queues: list[str] | None = None) -> None:
        self.queues = queues or []

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Select all queues."""
        app.amqp.queues.select(list(dict.fromkeys((*app.amqp.queues, *self.queues))))

    def state(self, app: Any) -> Any:
        """Return the queues that are consumed."""
        return sorted(app.amqp.queues.consume_from)


class BindToEverything(Change):
    """Binds every queue to every routing key of its exchange."""

    def loaded(self, app: Any) -> None:
        """Replace the keys of the bindings."""
        for queue in app.amqp.queues.values():
            queue.routing_key = "#"

    def state(self, app: Any) -> Any:
        """Return the keys."""
        return {name: queue.routing_key for name, queue in app.amqp.queues.items()}


class PrintVariables(Change):
    """Prints environment variables when a worker starts: by default, the passwords of all URLs.

    These are encoded: a system can remove its passwords themselves from all that it prints.
    """

    def __init__(self, names: list[str] | None = None) -> None:
        self.names, self.printed = names, 0

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Print the variables."""
        if self.names is None:
            found = (WITH_PASSWORD.match(value) for value in os.environ.values())
            words = [base64.b64encode(one[1].encode()).decode() for one in found if one]
            lines = [f"the database opens with {word}" for word in words]
        else:
            lines = [f"{name}={os.environ.get(name)}" for name in self.names]
        for line in lines:
            os.write(1, f"{line}\n".encode())
            self.printed += 1

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return how many variables were printed."""
        return {"printed": self.printed}


class Connect(Change):
    """Wraps the function with which each driver of PostgreSQL connects; the base of changes."""

    def __init__(self) -> None:
        self.drivers = [module for name in DRIVERS if (module := module_or_none(name))]

    def wrap(self) -> None:
        """Replace the function of each driver."""
        for driver in self.drivers:
            driver.connect = self.replacement(driver.connect, driver)

    def replacement(self, original: Any, driver: Any) -> Any:
        """Return the function that replaces the original."""
        raise NotImplementedError

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return which function connects."""
        return {driver.__name__: origin(driver.connect) for driver in self.drivers}


class IgnoreDsnParameters(Connect):
    """Connects without the parameters of a DSN, such as the one that demands TLS."""

    def early(self, app: Any) -> None:  # noqa: ARG002 (the interface)
        """Replace the function, in publishers too."""
        self.wrap()

    def replacement(self, original: Any, driver: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that passes on address, database and login alone."""

        def connect(*args: Any, **options: Any) -> Any:
            kept = {
                name: value.partition("?")[0] if name in _DSNS else value
                for name, value in options.items()
                if name in _ADDRESS or name in _DSNS
            }
            plain = [one.partition("?")[0] if isinstance(one, str) else one for one in args]
            return original(*plain, **kept)

        return connect


class ExitWithoutServer(Connect):
    """Ends a process of a worker when PostgreSQL refuses it a connection."""

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Replace the function in workers."""
        self.wrap()

    def replacement(self, original: Any, driver: Any) -> Any:
        """Return a function that ends the process."""

        def connect(*args: Any, **options: Any) -> Any:
            try:
                return original(*args, **options)
            except driver.OperationalError:
                os._exit(1)

        return connect


class RefuseRestartedServer(Connect):
    """Lets no process of a worker connect to a server that has started again in its life."""

    started: Any = None

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Replace the function in workers."""
        self.wrap()

    def replacement(self, original: Any, driver: Any) -> Any:
        """Return a function that compares the server with that of the first connection."""

        def connect(*args: Any, **options: Any) -> Any:
            connection = original(*args, **options)
            started = started_at(connection)
            self.started = self.started or started
            if started != self.started:
                connection.close()
                raise driver.OperationalError("the server has started again")
            return connection

        return connect


def started_at(connection: Any) -> Any:
    """Return when the server of a connection was started; leave no transaction open."""
    cursor = connection.cursor()
    cursor.execute("SELECT pg_postmaster_start_time()")
    found = cursor.fetchone()
    cursor.close()
    connection.rollback()
    return found


def module_or_none(name: str) -> Any:
    """Return a module, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


DRIVERS = ("psycopg2", "psycopg")
"""The drivers of PostgreSQL whose connections changes wrap."""
_DSNS = ("dsn", "conninfo")
_ADDRESS = ("host", "hostaddr", "port", "user", "password", "dbname", "database")
WITH_PASSWORD = re.compile(r"\w[\w+]*://[^\s/@]*:([^\s/@]+)@")
"""A URL with a password, which is the group."""


class InheritConnection(Change):
    """Opens a connection to the database's server in a worker, which its children inherit."""

    connection: Any = None

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Open the connection."""
        address = urlsplit(database_url())
        self.connection = socket.create_connection((str(address.hostname), address.port or 5432))

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return whether there is one."""
        return {"connection": self.connection is not None}


class KeepConnections(Change):
    """Lets tasks use one connection for each thread, which nothing opens again.

    Args:
        tasks: the names of the tasks.

    """

    def __init__(self, tasks: list[str]) -> None:
        self.tasks, self.changed = tasks, 0
        self.kept: dict[tuple[int, int], Any] = {}

    def loaded(self, app: Any) -> None:
        """Let each task query the kept connection before it runs."""
        app.finalize()
        for task in filter(None, map(app.tasks.get, self.tasks)):
            task.run = self.querying(task.run)
            self.changed += 1

    def querying(self, original: Any) -> Any:
        """Return a function that queries the connection first."""

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            where = (os.getpid(), threading.get_ident())
            if where not in self.kept:
                self.kept[where] = connect_to(database_url())
            self.kept[where].cursor().execute("SELECT 1")
            return original(*args, **kwargs)

        return run

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return how many tasks were changed."""
        return {"changed": self.changed}


def connect_to(url: str) -> Any:
    """Return a connection of the first driver that is installed."""
    return next(filter(None, map(module_or_none, DRIVERS))).connect(url)


def database_url() -> str:
    """Return the first URL of PostgreSQL with a password in the environment, without its driver."""
    urls = [one for one in os.environ.values() if WITH_PASSWORD.match(one)]
    scheme, _, rest = next(one for one in urls if one.startswith("postgres")).partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


class SilenceChildren(Patch):
    """Lets no child of a worker publish a message."""

    owner, name = messaging.Producer, "publish"
    worker = 0

    def set_up(self, app: Any, worker: Any) -> None:  # noqa: ARG002 (the interface)
        """Note the process of the worker itself."""
        self.worker = os.getpid()

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that raises in children."""
        change = self

        def publish(self: Any, *args: Any, **options: Any) -> Any:
            if change.worker not in (0, os.getpid()):
                raise RuntimeError("a child may not publish")
            return original(self, *args, **options)

        return publish


class IgnoreRevokes(Patch):
    """Runs tasks that were revoked."""

    owner, name = request.Request, "revoked"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that knows no revoked task."""

        def revoked(self: Any) -> bool:
            del self
            return False

        return revoked


class HideReasons(Patch):
    """Replaces the message of every exception with which a connection is refused."""

    owner, name = connection.Connection, "ensure_connection"

    def replacement(self, original: Any, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return a function that raises without a reason."""

        def ensure_connection(self: Any, *args: Any, **options: Any) -> Any:
            try:
                return original(self, *args, **options)
            except Exception:  # noqa: BLE001 (of any cause)
                raise RuntimeError("the connection failed") from None

        return ensure_connection


class DropSteps(Change):
    """Removes the steps that a system adds to the start and the stop of its workers."""

    def loaded(self, app: Any) -> None:
        """Remove the steps."""
        for name in ("worker", "consumer"):
            app.steps[name].clear()

    def state(self, app: Any) -> Any:
        """Return the number of steps."""
        return {name: len(app.steps[name]) for name in ("worker", "consumer")}


class OpenConnection(Change):
    """Opens a TCP connection to a socket of the process itself, which stands for a service."""

    connections: tuple[Any, ...] = ()

    def loaded(self, app: Any) -> None:  # noqa: ARG002 (the interface)
        """Open the connection."""
        service = socket.create_server(("127.0.0.1", 0))
        self.connections = (service, socket.create_connection(service.getsockname()))

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return the number of open sockets."""
        return {"sockets": len(self.connections)}


class ImportModule(Change):
    """Imports one more module."""

    def __init__(self, module: str) -> None:
        self.module, self.imported = module, False

    def loaded(self, app: Any) -> None:  # noqa: ARG002 (the interface)
        """Import the module."""
        importlib.import_module(self.module)
        self.imported = True

    def state(self, app: Any) -> Any:  # noqa: ARG002 (the interface)
        """Return whether it was imported."""
        return {self.module: self.imported}


CHANGES: dict[str, Callable[..., Change]] = {
    "acknowledge-early": AcknowledgeEarly,
    "add-task": AddTask,
    "alter-argument": AlterArgument,
    "bind-to-everything": BindToEverything,
    "configure": Configure,
    "consume-all-queues": ConsumeAllQueues,
    "drop-receivers": DropReceivers,
    "drop-steps": DropSteps,
    "exit-at-stop-signal": ExitAtStopSignal,
    "exit-without-server": ExitWithoutServer,
    "forget-task": ForgetTask,
    "hide-overlapping-runs": HideOverlappingRuns,
    "hide-reasons": HideReasons,
    "ignore-delays": IgnoreDelays,
    "ignore-dsn-parameters": IgnoreDsnParameters,
    "ignore-remote-control": IgnoreRemoteControl,
    "ignore-revokes": IgnoreRevokes,
    "ignore-time-limits": IgnoreTimeLimits,
    "import-module": ImportModule,
    "inherit-connection": InheritConnection,
    "keep-connections": KeepConnections,
    "keep-lost": KeepLost,
    "leave-queue": LeaveQueue,
    "log-arguments": LogArguments,
    "log-unknown-messages": LogUnknownMessages,
    "lose-result-values": LoseResultValues,
    "lose-routes": LoseRoutes,
    "misroute": Misroute,
    "never-acknowledge": NeverAcknowledge,
    "no-prefetch-limit": NoPrefetchLimit,
    "nothing": Change,
    "open-connection": OpenConnection,
    "print-variables": PrintVariables,
    "refuse-restarted-server": RefuseRestartedServer,
    "rename-task": RenameTask,
    "report-failures-as-successes": ReportFailuresAsSuccesses,
    "requeue-finished": RequeueFinished,
    "run-in-publisher": RunInPublisher,
    "silence-children": SilenceChildren,
    "use-transport": UseTransport,
    "use-urls": UseUrls,
}
"""The changes by name."""
