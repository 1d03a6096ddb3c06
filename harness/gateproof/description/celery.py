"""The tables of a ``sut.toml`` about Celery: the app, its broker and its tasks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateproof.description.section import Section, Words, mapping, optional, required


class Celery(Section):
    """The Celery app."""

    app: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = required("app.celery:app")
    """``module:attribute`` of the app, importable from `Sut.root`."""
    worker_module: str = optional("app.worker")
    """The module that a worker process runs; importing it must start nothing."""
    task_prefix: str = ""
    """The common prefix of the names of the system's own tasks."""


class Promises(Section):
    """The promises of a broker beyond those of Kombu's own transports, each ``true``.

    Kombu's transport for PostgreSQL keeps none of them, and that for Redis or RabbitMQ some. Leave
    out what the system does not promise, and declare it in ``[[absent]]``.
    """

    remote_control: Literal[True] = optional(True)
    """Workers answer ``celery inspect``, and a task that is revoked before its start never runs."""
    hands_over: Literal[True] = optional(True)
    """A worker that stops returns at once the messages that it has claimed and not started."""
    deletes: Literal[True] = optional(True)
    """The row of a message is deleted when its task has ended."""
    drops_queues: Literal[True] = optional(True)
    """The queues that a process declares for itself are deleted after its end."""
    declares_at_once: Literal[True] = optional(True)
    """Several processes can declare one queue at the same time."""
    checks_options: Literal[True] = optional(True)
    """A transport option with an unknown name is refused by its name."""
    own_connections: Literal[True] = optional(True)
    """A child that is forked from a connected worker closes what it has inherited."""


STARTED_BROKER = "sqla"
"""The kind of broker that runs start; it keeps its messages in the database of the system."""


class Broker(Section):
    """The broker and its promises."""

    kind: Literal["sqla", "redis", "amqp"] = required("sqla")
    """The transport: ``sqla`` keeps messages in the database of the system. This version starts no
    other broker."""
    tables: Words = optional(["kombu_queue", "kombu_message", "celery_taskmeta"])
    """The tables of the broker and the result backend in the database of the system."""
    results: str = "celery_taskmeta"
    """The table of results in the database of the system, with the columns `id`, `task_id` and
    `status`: that of Celery's own database backend, or of another that keeps its rows there."""
    lease_s: Annotated[float, Field(gt=0)] = optional(3600.0)
    """Seconds after which a message comes back whose worker was killed: a lease or a visibility
    timeout. Checks watch for a multiple of it."""
    lease_env: str = ""
    """Name of a variable that sets it in workers, in seconds. Needed for a lease of over 10 s."""
    promises: Promises = optional({"remote_control": True})
    max_deliveries: Annotated[int, Field(gt=0)] = optional(20)
    """How often a message is delivered whose worker dies each time, before it is given up."""
    max_deliveries_env: str = ""
    """Name of a variable that sets it in workers. Needed for more than 3 deliveries."""


class Ping(Section):
    """The task that the harness uses to see that a worker answers."""

    task: str = required("orders.tasks.ping")
    """Name of the task."""
    arguments: dict[str, Any] = mapping()
    """Keyword arguments of the ping."""
    expect: dict[str, Any] = optional({"status": "ok"})
    """A part of its result that must be present."""
    fail: dict[str, Any] = optional({"fail": True})
    """Arguments with which it fails."""
    fail_error: str = optional("ValueError")
    """Class name of the exception that it then raises."""
    retry: dict[str, Any] = optional({"retry": 1})
    """Arguments with which it is retried once before it succeeds."""
    hold: dict[str, Any] = optional({"hold_s": 120.0})
    """Arguments with which it runs for a minute or more before it succeeds."""


PROBE_PREFIX = "gateproof.probe."
"""The prefix of the names of the probe tasks, as in `gateproof.guest.probe_tasks`."""

PROBE_PING = {
    "task": f"{PROBE_PREFIX}ping",
    "expect": {"status": "ok"},
    "fail": {"fail": True},
    "fail_error": "ProbeFailureError",
    "retry": {"retry": 1},
    "hold": {"hold_s": 120.0},
}
"""The section `ping` of a system into which the probe tasks are loaded."""


class Sample(Section):
    """Arguments with which a task succeeds."""

    args: tuple[Any, ...] = ()
    """Positional arguments."""
    kwargs: dict[str, Any] = mapping()
    """Keyword arguments."""


class Failure(Section):
    """Arguments with which a task fails."""

    kwargs: dict[str, Any] = mapping()
    """Keyword arguments with which it fails."""
    error: str = required("ValueError")
    """Class name of the exception that it then raises."""
    message: str = ""
    """The message of the exception; empty if it is not fixed."""
    any_value: str = ""
    """The name of a keyword argument of which any value can be given."""
    positional: bool = False
    """Whether it takes a tenant's UUID and two moments as positional arguments."""


class Idempotent(Section):
    """The rows by which a second run of a task shows."""

    table: str = required("jobs")
    """The table in which each run leaves one row."""
    identity: Annotated[Words, Field(min_length=1)] = required(["tenant_id", "window_start"])
    """The columns that tell one piece of work from another."""


class Task(Section):
    """One task of the contract."""

    queue: str = "celery"
    """The queue that it is routed to."""
    key: str = ""
    """The routing key, if it is not the name of the queue."""
    sample: Sample = optional({"kwargs": {"order": 1}})
    """Arguments with which it succeeds."""
    fails: Failure = optional({"kwargs": {"fail": True}, "error": "ValueError"})
    """Arguments with which it fails. Without such a task, checks use the probe task `fail`, if
    `worker.probe` loads it."""
    tenant: Annotated[str, Field(pattern=r"^(kwarg|header):.+$")] = optional("kwarg:tenant_id")
    """Where it gets its tenant from: ``kwarg:NAME`` or ``header:NAME``."""
    reads: str = ""
    """A table that each of its runs reads as the worker's role. A lock on it holds the run, and
    without the privilege to read it the run fails: so checks need no task of their own. Without
    such a task, checks use the probe tasks, if `worker.probe` loads them."""
    idempotent: Idempotent = optional({"table": "jobs", "identity": ["tenant_id"]})
    """Where a second run with the same arguments would show."""
    never: bool = False
    """Whether the harness must never publish it, because it acts on the world outside."""

    @property
    def arguments(self) -> Sample:
        """The arguments of the sample; without a sample none, which suits a task without any."""
        found = self.values()["sample"]
        return found if isinstance(found, Sample) else Sample()

    @property
    def has_sample(self) -> bool:
        """Whether arguments with which it succeeds are described."""
        return isinstance(self.values()["sample"], Sample)

    @property
    def describes_failure(self) -> bool:
        """Whether the file says with which arguments it fails."""
        return isinstance(self.values()["fails"], Failure)

    @property
    def sample_kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the sample; none without a sample."""
        found = self.values()["sample"]
        return dict(found.kwargs) if isinstance(found, Sample) else {}
