"""Gate broker: PostgreSQL alone carries messages and results, in the worker that runs."""

from __future__ import annotations

import re

from gates.broker.connections import connections_waiting_for
from gates.holding import table_held
from gates.patching import patch
from harness import criterion, falsified_by, settings
from harness.probes.logs import LogLines
from harness.stack import Stack
from harness.sut import Sut
from harness.wait import wait_until

MESSAGES, RESULTS = "kombu_message", "celery_taskmeta"
"""Where kombu's SQLAlchemy transport keeps messages and Celery's database backend keeps results."""

BROKER_CLIENTS = frozenset(
    {
        *("redis", "aioredis", "valkey", "pika", "aio_pika", "librabbitmq", "qpid", "nats"),
        *("kafka", "aiokafka", "confluent_kafka", "boto3", "botocore", "pymongo", "kazoo"),
        *("consul", "etcd3", "stomp", "stompest", "softlayer_messaging", "pyro4", "pulsar"),
    }
)
"""Packages that kombu's transports and their like speak with; py-amqp is always there."""

# What PYTHONVERBOSE prints of each import. PYTHONPROFILEIMPORTTIME leaves out what
# importlib.import_module loads, as kombu does with its transports.
_IMPORT = re.compile(r"import '([\w.]+)' #")


@criterion("BRK-01")
@falsified_by(
    settings("memory-broker", {"CELERY_BROKER_URL": "memory://"}),
    expect="broker that the running worker reports: got 'memory'",
)
@falsified_by(
    patch("claimed-broker", "broker/falsifiers/claimed.py", CELERY_BROKER_URL="memory://"),
    expect=f"connections of the worker that wait for {MESSAGES}: got none",
)
def test_worker_takes_its_messages_from_postgresql(own_stack: Stack) -> None:
    """The worker reports sqla+postgresql, and waits where the table of messages is held."""
    with own_stack.running_worker() as worker:
        reported = worker.report().broker
        assert reported == "sqla+postgresql", (
            f"broker that the running worker reports: got {reported!r}, expected 'sqla+postgresql'"
        )
        with table_held(own_stack, MESSAGES):
            seen = connections_waiting_for(own_stack, worker, MESSAGES)
        assert seen, (
            f"connections of the worker that wait for {MESSAGES}: got none, expected the one with "
            "which it looks for messages"
        )


@criterion("BRK-02")
@falsified_by(
    settings("rpc-backend", {"CELERY_RESULT_BACKEND": "rpc://"}),
    expect="result backend that the running worker reports: got 'rpc'",
)
@falsified_by(
    patch(
        "claimed-backend", "broker/falsifiers/claimed.py", CELERY_RESULT_BACKEND="cache+memory://"
    ),
    expect=f"connections of the worker that wait for {RESULTS}: got none",
)
def test_worker_puts_its_results_into_postgresql(own_stack: Stack, sut: Sut) -> None:
    """The worker reports db+postgresql, and waits with a result where their table is held."""
    with own_stack.running_worker() as worker:
        reported = worker.report().result_backend
        assert reported == "db+postgresql", (
            "result backend that the running worker reports: "
            f"got {reported!r}, expected 'db+postgresql'"
        )
        with table_held(own_stack, RESULTS, mode="EXCLUSIVE"):
            own_stack.tasks.publish(sut.ping.task, (), sut.ping.arguments)
            seen = connections_waiting_for(own_stack, worker, RESULTS)
        assert seen, (
            f"connections of the worker that wait for {RESULTS}: got none, expected the one with "
            "which it stores the result of a ping"
        )


@criterion("BRK-03")
@falsified_by(
    patch(
        "imported-client",
        "broker/falsifiers/imported_client.py",
        PYTHONPATH="{gates}/patched:{gates}/broker/falsifiers/clients",
    ),
    expect="clients of other brokers that the worker imported: got ['redis']",
)
@falsified_by(
    patch("connected-elsewhere", "broker/falsifiers/connected_elsewhere.py"),
    expect="remote ports of the worker: got",
)
def test_worker_has_no_client_of_another_broker(own_stack: Stack) -> None:
    """Of all that a working worker imported nothing speaks with another broker, nor does it."""
    with own_stack.running_worker(env={"PYTHONVERBOSE": "1"}) as worker:
        own_stack.wait_ready(worker)
        own_stack.http.get(worker.health_url)
        imported = imported_packages(worker.log())
        assert {"kombu", "celery", "sqlalchemy"} <= imported, (
            f"imports that the worker's output names: got {sorted(imported)}, expected kombu, "
            "celery and sqlalchemy among them"
        )
        clients = sorted(imported & BROKER_CLIENTS)
        assert not clients, (
            f"clients of other brokers that the worker imported: got {clients}, expected none"
        )
        expected = {own_stack.server.inside.port}
        ports = wait_until(
            lambda: {port for _, port in worker.remote_ports()},
            lambda seen: seen == expected,
            deadline_s=3.0,
            interval_s=0.2,
        )
        assert ports == expected, (
            f"remote ports of the worker: got {sorted(ports)}, expected PostgreSQL's alone, "
            f"{sorted(expected)}"
        )


def imported_packages(log: LogLines) -> set[str]:
    """Return the top-level packages that a process imported, as PYTHONVERBOSE tells."""
    return {name.split(".")[0] for line in log.lines for name in _IMPORT.findall(line)}
