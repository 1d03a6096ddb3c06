"""Gate broker: PostgreSQL alone carries messages and results, in the worker that runs."""

from __future__ import annotations

import re

from gateproof import (
    LogLines,
    Stack,
    Sut,
    Worker,
    claim,
    criterion,
    falsified_by,
    falsified_by_each,
    inject,
    premise,
    settings,
    wait_until,
)

from ..holding import tables_held
from .connections import connections_waiting_for

MESSAGES, RESULTS = "kombu_message", "celery_taskmeta"
"""The tables of kombu's SQLAlchemy transport and of Celery's database backend."""

BROKER_CLIENTS = frozenset(
    {
        *("redis", "aioredis", "valkey", "pika", "aio_pika", "librabbitmq", "qpid", "nats"),
        *("kafka", "aiokafka", "confluent_kafka", "boto3", "botocore", "pymongo", "kazoo"),
        *("consul", "etcd3", "stomp", "stompest", "softlayer_messaging", "pyro4", "pulsar"),
    }
)
"""Client packages of kombu's transports and of similar brokers; kombu always imports py-amqp."""

TRANSPORTS = "kombu.transport."
OWN_TRANSPORTS = frozenset({"base", "native_delayed_delivery", "sqlalchemy", "virtual"})
"""kombu's transport for PostgreSQL, and the modules that all transports share."""

# The line that PYTHONVERBOSE prints for each import. PYTHONPROFILEIMPORTTIME omits modules that
# importlib.import_module loads, and kombu loads its transports with it.
_IMPORT = re.compile(r"import '([\w.]+)' #")

_READY = re.compile(r"celery@\S+ ready\.")
"""The line that Celery logs when it starts to poll for messages."""

READY_DEADLINE_S, POLLS_WITHIN_S = 30.0, 4.0

BROKER, BACKEND = "broker that the worker reports", "result backend that the worker reports"
WAITING = "connections of the worker that wait for the table"
CLIENTS, PORTS = "clients of other brokers that the worker imported", "remote ports of the worker"
"""Names of claims that falsifiers predict."""


@criterion("BRK-01", needs=("database", "worker.report", "task", "logs", "broker.kind=sqla"))
@falsified_by_each(
    lambda sut: [sut.worker.broker] if sut.describes("worker.broker") else [],
    lambda _, name: (settings("memory-broker", {name: "memory://"}), (BROKER, "", "got memory")),
)
@falsified_by(
    inject("broker-in-memory", "use-urls", broker="memory://"),
    expect=(BROKER, "", "got memory"),
)
@falsified_by(
    inject("claimed-broker", "use-transport", transport="kombu.transport.memory:Transport"),
    expect=(WAITING, MESSAGES, "got 0"),
)
def test_worker_takes_its_messages_from_postgresql(own_stack: Stack) -> None:
    """The worker reports sqla+postgresql, and waits for the message table while it is locked."""
    with own_stack.running_worker(concurrency=1) as worker:
        reported = worker.report().broker
        if not claim(BROKER, got=reported, expected="sqla+postgresql"):
            return
        wait_until_consuming(worker)
        with tables_held(own_stack, MESSAGES):
            seen = connections_waiting_for(own_stack, worker, MESSAGES, deadline_s=POLLS_WITHIN_S)
        # It polls for messages with one of them.
        claim(WAITING, on=MESSAGES, got=len(seen), relation="at_least", expected=1)


@criterion(
    "BRK-02",
    needs=(
        "database",
        "celery",
        "worker.report",
        "ping",
        "task",
        "logs",
        "broker.kind=sqla",
        "broker.results=celery_taskmeta",
    ),
)
@falsified_by_each(
    lambda sut: [sut.worker.result_backend] if sut.describes("worker.result_backend") else [],
    lambda _, name: (settings("rpc-backend", {name: "rpc://"}), (BACKEND, "", "got rpc")),
)
@falsified_by(
    inject("claimed-backend", "configure", task_ignore_result=True),
    expect=(WAITING, RESULTS, "got 0"),
)
def test_worker_puts_its_results_into_postgresql(own_stack: Stack, sut: Sut) -> None:
    """The worker reports db+postgresql, and waits for the result table while it is locked."""
    with own_stack.running_worker(concurrency=1) as worker:
        reported = worker.report().result_backend
        if not claim(BACKEND, got=reported, expected="db+postgresql"):
            return
        with tables_held(own_stack, RESULTS, mode="EXCLUSIVE"):
            task_id = own_stack.tasks.publish(sut.ping.task, (), sut.ping.arguments)
            # Celery stores a result before it signals success.
            ended = {sut.logs.message: sut.logs.success, sut.logs.task_id: task_id}
            # A worker can also delete expired results, which is no sign of where it stores them.
            seen = connections_waiting_for(
                own_stack,
                worker,
                RESULTS,
                passed=lambda: bool(worker.log().matching(**ended)),
                kinds=("INSERT", "UPDATE"),
            )
        # It stores the result of the ping with one of them.
        claim(WAITING, on=RESULTS, got=len(seen), relation="at_least", expected=1)


@criterion(
    "BRK-03", needs=("database", "celery", "broker.kind=sqla", "worker", "ping", "task", "health")
)
@falsified_by(
    inject("imported-client", "import-module", module="kombu.transport.pyamqp"),
    expect=(CLIENTS, "", "got kombu.transport.pyamqp"),
)
@falsified_by(
    inject("connected-elsewhere", "open-connection"),
    expect=(PORTS, ""),
)
def test_worker_has_no_client_of_another_broker(own_stack: Stack) -> None:
    """A working worker has imported no client of another broker, and has no connection to one."""
    with own_stack.running_worker(concurrency=1, env={"PYTHONVERBOSE": "1"}) as worker:
        own_stack.wait_ready(worker)
        # Read before the request to its health endpoint, which is a connection too.
        ports, expected = (
            {one.remote_port for one in worker.connections()},
            {own_stack.server.inside.port},
        )
        claim(PORTS, got=ports, expected=expected)
        own_stack.http.get(worker.health_url)
        imported = imported_modules(worker.log())
    for name in ("kombu", "celery", "sqlalchemy"):
        seen = name in imported
        premise("the worker's output names what it imports", on=name, got=seen, expected=True)
    clients = sorted(name for name in imported if is_client_of_another_broker(name))
    claim(CLIENTS, got=clients, expected=[], over=imported)


def wait_until_consuming(worker: Worker) -> None:
    """Wait until a worker logs that it consumes, or has ended. The caller judges."""
    wait_until(
        lambda: not worker.alive or any(_READY.search(line) for line in worker.log().lines),
        deadline_s=READY_DEADLINE_S,
        interval_s=0.1,
    )


def imported_modules(log: LogLines) -> set[str]:
    """Return the modules that a process imported, read from the output of PYTHONVERBOSE."""
    return {name for line in log.lines for name in _IMPORT.findall(line)}


def is_client_of_another_broker(module: str) -> bool:
    """Return whether a module is a client of another broker, or kombu's transport for one."""
    package, *inner = module.split(".")
    if module.startswith(TRANSPORTS) and inner[1:]:
        return inner[1] not in OWN_TRANSPORTS
    return package in BROKER_CLIENTS
