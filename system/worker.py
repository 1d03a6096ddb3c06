"""Run a Celery worker with JSON output and monitoring endpoints: `python -m system.worker`.

Takes the options of `celery worker` (`--queues a,b --pool prefork|solo --concurrency N …`). Owns
the process: its output, its metrics folder, its server, its exit status. Importing this module
starts nothing.

1. Standard output is reserved for JSON lines.
2. Settings are read; a wrong one ends the process.
3. The endpoints are bound; a port in use ends the process before it consumes a message.
4. Celery's worker runs until it receives a signal to stop.
5. The server is closed, the metrics folder removed, the last line written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import structlog
from celery import Celery, signals

from system import settings
from system.dead_letters import encryption
from system.errors import ReferenceSystemError
from system.observability import logs, refusal_log, task_log
from system.observability.consumer import Consumer
from system.observability.health import Health, health_of
from system.observability.metrics_folder import metrics_folder
from system.observability.monitoring import endpoints_of, serve
from system.tasks.schedule import Schedule
from system.transport.expiry import ExpiredResults
from system.transport.options import options_from

EXIT_FAILURE = 1
EXIT_USAGE = 2

# The only pool whose module has another name than its option.
_POOLS = {"celery.concurrency.thread": "threads"}

log = structlog.get_logger("system.worker")


def main(arguments: Sequence[str]) -> int:
    """Run a worker, and return its exit status: 0, 1 after an error, 2 for wrong options."""
    output = logs.take_over()  # 1
    status = EXIT_FAILURE
    try:
        status = _run(list(arguments))
    except ReferenceSystemError as error:
        log.error("worker not started", error=str(error))  # noqa: TRY400 (the message suffices)
    except click.ClickException as error:
        status = EXIT_USAGE
        log.error("worker not started", error=error.format_message())  # noqa: TRY400
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else EXIT_FAILURE
    except Exception:
        log.exception("worker failed")
    finally:
        log.info("worker stopped", exit_status=status)
        output.drain()
    return status


def _run(arguments: list[str]) -> int:
    monitoring = settings.monitoring_from(os.environ)  # 2
    connections = settings.connections_from(os.environ)
    settings.eager_from(os.environ)
    trusted = options_from(settings.broker_options_from(os.environ)).trusted
    cleanup_s = settings.result_cleanup_s_from(os.environ)
    encryption.cipher()  # (with the other settings of the dead letters)
    settings.retry_pause_s_from(os.environ)
    retry_every_s = settings.retry_every_s_from(os.environ)
    logs.hide(connections.passwords())
    from system.app import app  # (after the settings: it is built from them)

    consumer = Consumer(monitoring.stalled_after_s)
    consumer.connect()
    ExpiredResults(app, cleanup_s).connect()
    Schedule(app, retry_every_s).connect()
    health = health_of(connections, monitoring.health_deadline_s, consumer, trusted)
    with metrics_folder() as folder, _server(app, folder, monitoring, health):  # 3
        task_log.connect()
        refusal_log.connect()
        signals.setup_logging.connect(_keep_logging, weak=False)
        signals.celeryd_after_setup.connect(_reporter(app, monitoring), weak=False)
        signals.worker_ready.connect(_ready, weak=False)
        return _celery(app, arguments)  # 4, then 5


@contextmanager
def _server(
    app: Celery, folder: Path, monitoring: settings.Monitoring, health: Health
) -> Iterator[None]:
    from system.observability.metrics import (
        TaskMetrics,  # (here: prometheus_client is slow to import)
    )

    metrics = TaskMetrics(folder, (name for name in app.tasks if name.startswith("app.tasks.")))
    metrics.connect()
    server = serve(monitoring.address, monitoring.port, endpoints_of(metrics.render, health))
    try:
        yield
    finally:
        server.close()


def _celery(app: Celery, arguments: list[str]) -> int:
    """Run the command `celery --quiet worker`, and return its exit status.

    Not through `celery` itself, which imports all other commands of Celery and a shell.
    """
    from celery.bin.base import CLIContext
    from celery.bin.worker import worker

    status: Any = worker.main(
        args=["--loglevel", "INFO", *arguments],
        prog_name="python -m system.worker",
        standalone_mode=False,
        obj=CLIContext(app=app, no_color=False, workdir=None, quiet=True),
    )
    return status if isinstance(status, int) else 0


def _keep_logging(**_: object) -> None:
    """Keep Celery from setting up logs, which it does if this signal has no receiver."""


def _reporter(app: Celery, monitoring: settings.Monitoring) -> Any:
    """Return a receiver that logs the configuration in use when the worker is set up."""

    def report(instance: Any, **_: object) -> None:
        named = instance.pool_cls
        pool = named if isinstance(named, str) else named.__module__
        log.info(
            "worker configuration",
            broker=settings.scheme_of(app.connection_for_read().as_uri()),
            result_backend=settings.scheme_of(app.backend_cls or app.conf.result_backend or ""),
            eager=bool(app.conf.task_always_eager),
            queues=sorted(app.amqp.queues.consume_from),
            pool=_POOLS.get(pool, pool.rpartition(".")[2]),
            concurrency=instance.concurrency,
            metrics_address=monitoring.address,
            metrics_port=monitoring.port,
        )

    return report


def _ready(**_: object) -> None:
    # On SIGHUP Celery would exec itself again, and so lose the pipe of its output.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log.info("worker ready")


if __name__ == "__main__":
    # All is cleaned up; an ordinary exit would wait a second for billiard's sleeping timeout
    # thread, and could still print a line that is no JSON object.
    os._exit(main(sys.argv[1:]))
