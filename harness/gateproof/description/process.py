"""The tables of a ``sut.toml`` about the processes of a system, and the image that holds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateproof.description.section import (
    UNDESCRIBED,
    Command,
    DsnForm,
    InnerFolder,
    Section,
    Timezone,
    Words,
    mapping,
    optional,
    required,
)


class Report(Section):
    """The log line in which a running worker reports its configuration, and its fields."""

    message: str = required("worker configuration")
    """The message of that line."""
    broker: str = required("broker")
    """Field with the scheme of the broker URL."""
    result_backend: str = required("result_backend")
    """Field with the scheme of the result backend URL."""
    eager: str = required("eager")
    """Field that is true in eager mode."""
    queues: str = required("queues")
    """Field with the names of the consumed queues."""


class Worker(Section):
    """How to start a worker."""

    command: Command = required(
        ["{python}", "-m", "celery", "-A", "app.celery", "worker", "-Q", "{queues}"]
    )
    """``{queues}``, ``{pool}`` and ``{concurrency}`` are filled in, and with `probe` also
    ``{probe}``: the module of the probe tasks, for ``celery worker -I {probe}``."""
    pool: str = "prefork"
    """The pool of a worker, unless a check asks for another."""
    concurrency: Annotated[int, Field(ge=1)] = 2
    """The number of child processes or threads, unless a check asks for another."""
    warm: Words = ()
    """Third-party modules, none of the system's own, that are imported once so that processes of
    proofs can be forked instead of started cold. Importing them must start no thread. A process
    with another value of a variable that they read then starts cold. Without any, every process
    does."""
    stop_signal: Annotated[str, Field(pattern=r"^SIG[A-Z0-9]+$")] = "SIGTERM"
    """The signal of a warm shutdown."""
    role: str = required("app_user")
    """The database role of the DSNs of workers and publishers."""
    dsn: dict[str, DsnForm] = mapping()
    """Maps environment variables to the form of their DSN."""
    dsn_forms: tuple[DsnForm, ...] = ()
    """Other forms of these DSNs that the system accepts too."""
    broker: str = optional("CELERY_BROKER_URL")
    """Name of the variable that sets the broker URL."""
    result_backend: str = optional("CELERY_RESULT_BACKEND")
    """Name of the variable that sets the result backend URL."""
    port: str = optional("METRICS_PORT")
    """Name of the variable that sets the port of the endpoints."""
    eager: str = optional("CELERY_TASK_ALWAYS_EAGER")
    """Name of the variable that switches eager mode on."""
    env: dict[str, str] = mapping()
    """Further environment variables, passed unchanged. The value of a variable with the name of a
    secret (`API_KEY`, `SMTP_PASSWORD`) is redacted everywhere."""
    secrets: Words = ()
    """Names of variables in `env`, here or at the top level, whose values are secrets too, whatever
    their names."""
    probe: Literal["", "inject"] = ""
    """With ``inject``, the harness loads tasks of its own into workers and publishers (ping, fail,
    retry, hold, query), and pings with them: the section `ping` is then not needed. Without
    ``{probe}`` in `command`, the variable `CELERY_LOADER` loads them, which Celery reads unless the
    app names a loader itself. Without the section `logs`, workers then also print a line for each
    end of a task. A system with a task under ``gateproof.probe.`` is refused."""
    report: Report = optional({"message": "worker configuration"})


class Timezones(Section):
    """The time zones of the parts of the system during a run.

    Give each part another one: a time that is stored or read without its zone is then wrong by
    hours, and the criteria that use it fail. Without a zone, a part has that of the machine or of
    the server.
    """

    database: str = ""
    """The zone of every session, unless the system sets another: a name that PostgreSQL knows, such
    as ``America/Bogota``."""
    worker: Timezone = ""
    """The zone of workers, as their variable `TZ`: a name, or a POSIX zone such as ``IST-5:30``,
    which needs no database of zones in an image."""
    publisher: Timezone = ""
    """The zone of publishers, as their variable `TZ`."""


class Request(Section):
    """A request to a process that stores one row, however often it comes."""

    name: str = required("order")
    """The name of the request in reports, unique for its process."""
    method: str = "POST"
    """Its method."""
    path: str = optional("/orders")
    """Its path. Without it, `sample` must print one."""
    headers: dict[str, str] = mapping()
    """Its headers."""
    body: str = optional('{"id": "{unique}"}')
    """Its body. ``{unique}`` in it, in a header or in the path is 32 hexadecimal digits that no
    other request of the run has."""
    body_file: str = optional("tests/order.json")
    """A file with the body instead, relative to `Sut.root`."""
    sample: Command = optional(["{python}", "-m", "app.sample"])
    """A command for what a text cannot do: it registers a client or signs a body. Its last line is
    a JSON object with any of ``method``, ``path``, ``headers`` and ``body`` (a text). Each run must
    give another request."""
    role: str = optional("app_rw")
    """The database role of the DSNs with which `sample` runs; by default, that of the process."""
    table: str = optional("orders")
    """The table that gets the row."""
    accepted: Annotated[int, Field(ge=200, le=299)] = 202
    """The status of the answer to the first of equal requests."""
    again: Annotated[int, Field(ge=200, le=499)] = 200
    """The status of the answers to the others."""
    openapi: str = optional("/openapi.json")
    """The document that allows its answers, in OpenAPI 3.1 or 3.0 and JSON or YAML: a path with a
    slash in front is asked of the process, another is a file relative to `Sut.root`."""

    @property
    def named_files(self) -> dict[str, str]:
        """Maps keys that name a file to its path, relative to `Sut.root`; others are left out."""
        found = {key: self.values()[key] for key in ("body_file", "openapi")}
        return {
            key: name
            for key, name in found.items()
            if isinstance(name, str) and not (key == "openapi" and name.startswith("/"))
        }


class Process(Section):
    """Another process of the system, such as a web server or a scheduler."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = required("web")
    """The name of the process in checks and messages."""
    command: Command = required(["{python}", "-m", "app.web"])
    """How to start it. ``{port}`` and ``{folder}`` are filled in, see `port` and `files`."""
    port: str = optional("PORT")
    """Name of the variable that sets the port on which it listens. Without it, ``{port}`` in
    `command` sets it; a process with neither has no endpoints."""
    role: str = optional("app_web")
    """The database role of its DSNs; by default, that of the worker."""
    dsn: dict[str, DsnForm] = optional({"DATABASE_URL": "postgresql"})
    """Maps environment variables to the form of their DSN; by default, those of the worker."""
    env: dict[str, str] = mapping()
    """Further environment variables. ``{folder}`` in a value is filled in, see `files`. The value
    of a variable with the name of a secret is redacted everywhere."""
    secrets: Words = ()
    """Names of variables in `env`, here or at the top level, whose values are secrets too, whatever
    their names."""
    files: dict[str, str] = mapping()
    """Files that are written before the start, for programs that read secrets from files: each
    name in a new folder, whose path is ``{folder}``, and its content, which is redacted
    everywhere."""
    ready: str = optional("/ready")
    """Path that answers when the process is ready, with any status but 404; by default, that of
    `health`."""
    health: str = optional("/health")
    """Path of its health report: 200 if it can serve, 503 if not."""
    metrics: str = optional("/metrics")
    """Path of its metrics."""
    deadline_s: Annotated[float, Field(gt=0)] = 5.0
    """Within how many seconds it answers every request, also while its database is away."""
    stop_signal: Annotated[str, Field(pattern=r"^SIG[A-Z0-9]+$")] = "SIGTERM"
    """The signal that stops it."""
    stop_s: Annotated[float, Field(gt=0)] = 15.0
    """Within how many seconds after the signal it has exited."""
    must_fail_without: Words = optional(["database", "worker"])
    """The parts without which it must not report as healthy: ``database``, ``worker``, or the name
    of a service."""
    request: tuple[Request, ...] = optional([{"name": "order"}])
    """Requests that store one row each."""

    @property
    def ready_path(self) -> str:
        """The path that answers when it is ready."""
        found = self.values()["ready"]
        return self.health if found is UNDESCRIBED else str(found)

    @property
    def has_endpoint(self) -> bool:
        """Whether the harness can choose its port, and a path shows that it listens there."""
        values = self.values()
        port = values["port"] is not UNDESCRIBED or any("{port}" in one for one in self.command)
        return port and (values["ready"], values["health"]) != (UNDESCRIBED, UNDESCRIBED)


class Service(Section):
    """A service that the system needs, other than PostgreSQL. This version starts none."""

    image: str = optional("redis:7")
    """The image of the service."""
    command: Command = optional(["redis-server", "--port", "{port}"])
    """How to start it without an image."""
    url: str = optional("REDIS_URL")
    """Name of the variable that gets its URL."""


class Image(Section):
    """The system's own image, for the environment `containers`."""

    dockerfile: str = required("Dockerfile")
    """The Dockerfile, relative to `Sut.root`, which is the build context."""
    context: Words = required(["app"])
    """Files and folders, relative to `Sut.root`, that the image is built from."""
    folder: str = required("/app")
    """The folder of `Sut.root` inside the image."""
    python: str = "python"
    """The interpreter inside the image, which replaces ``{python}`` there."""
    volumes: tuple[InnerFolder, ...] = ()
    """Folders of the image, owned by its user, that processes may write to in addition to ``/tmp``.
    Their content is shared by all processes of the run and removed with it."""
