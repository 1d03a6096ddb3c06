"""The tables of a ``sut.toml`` about the processes of a system, and the image that holds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateproof.description.section import (
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
    proofs can be forked instead of started cold. Importing them must start no thread and read no
    setting. Without any, every process starts cold."""
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


class Process(Section):
    """Another process of the system, such as a web server or a scheduler."""

    name: str = required("web")
    """The name of the process in messages."""
    command: Command = required(["{python}", "-m", "app.web"])
    """How to start it."""
    port: str = optional("PORT")
    """Name of the variable that sets the port on which it listens."""
    health: str = optional("/health")
    """Path of its health report."""
    must_fail_without: Words = ()
    """The parts without which it must not report as healthy: ``database``, ``worker``, or the name
    of a service."""


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
