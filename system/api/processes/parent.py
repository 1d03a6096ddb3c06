"""Run the service: one parent that serves nothing, and processes that share its listening socket.

1. Standard output is reserved for JSON lines.
2. Settings are read; a wrong one ends the service, and so does a broker in another database: event
   and message are committed together.
3. The port is bound; a port in use ends the service.
4. Processes are forked. Each makes its own connections, and counts in the files of its place; the
   successor of a dead one continues them.
5. A process that ends is replaced. One that ends at its start several times in a row ends the
   service.
6. On SIGTERM or SIGINT each process finishes its requests; what is left at the deadline is killed.

A process ends with its parent, so that none serves a port that nothing watches.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
from sqlalchemy.engine import make_url

from system import settings
from system.connections import fork
from system.dead_letters import encryption
from system.errors import ConfigurationError, EndpointError, ReferenceSystemError
from system.observability import logs
from system.observability.metrics_folder import metrics_folder
from system.transport.joined import is_same_database

EXIT_FAILURE = 1
BACKLOG = 1024
STOP_S = 8.0
SHORT_LIFE_S = 2.0
"""A process that lives no longer ended at its start."""
MOST_SHORT_LIVES = 5
PAUSE_S = 0.2

log = structlog.get_logger("system.api")


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts that every process of the service shares."""

    chosen: settings.Api
    connections: settings.Connections
    folder: Path
    listening: socket.socket
    serve: Callable[[settings.Api, settings.Connections, Path, socket.socket, int], None]
    """Serves in one process, until a signal to stop."""


def main() -> int:
    """Run the service; return its exit status: 0, or 1 after an error."""
    output = logs.take_over()  # 1
    status = EXIT_FAILURE
    try:
        status = _run(dict(os.environ))
    except ReferenceSystemError as error:
        log.error("api not started", error=str(error))  # noqa: TRY400 (the message suffices)
    except Exception:
        log.exception("api failed")
    finally:
        log.info("api stopped", exit_status=status)
        output.drain()
    return status


def _run(environment: Mapping[str, str]) -> int:
    chosen = settings.api_from(environment)  # 2
    connections = settings.connections_from(environment)
    encryption.cipher()
    settings.retry_pause_s_from(environment)  # (with the other settings of dead events)
    logs.hide(connections.passwords())
    _demand_one_database(connections)
    from system.api.processes import (
        child,
    )  # (after the settings: the Celery app is built from them)

    with metrics_folder() as folder, _bound(chosen) as listening:  # 3
        service = Service(
            chosen=chosen,
            connections=connections,
            folder=folder,
            listening=listening,
            serve=child.serve,
        )
        return _Parent(service).run()


def _demand_one_database(connections: settings.Connections) -> None:
    broker = connections.broker_url
    if settings.is_postgresql(broker):
        other = make_url(broker.partition("+")[2])
        if is_same_database(make_url(connections.database_url), other):
            return
    raise ConfigurationError(
        "CELERY_BROKER_URL: got another database than DATABASE_URL, expected the same: event and "
        "message are committed together; leave CELERY_BROKER_URL out"
    )


@contextmanager
def _bound(chosen: settings.Api) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in chosen.address else socket.AF_INET
    with socket.socket(family) as listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((chosen.address, chosen.port))
            listening.listen(BACKLOG)
        except OSError as error:
            raise EndpointError(
                f"api: got {error.strerror or error} for address {chosen.address} port "
                f"{chosen.port}, expected a free port; stop what listens there, or set "
                "SYSTEM_API_PORT (and SYSTEM_API_ADDRESS)"
            ) from error
        yield listening


class _Parent:
    """Keeps the processes of a service running."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._places: dict[int, int] = {}
        """The place of each living process, by its id."""
        self._born: dict[int, float] = {}
        self._short_lives = 0
        self._stops = False

    def run(self) -> int:
        """Run until a signal to stop; return the exit status."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for place in range(self._service.chosen.processes):
            self._start(place)
        while not self._stops:
            select.select([wake], [], [])
            os.read(wake, 64)
            if not self._replace_dead():
                self._end_all()
                return EXIT_FAILURE
        self._end_all()
        return 0

    def _on_stop(self, *_: object) -> None:
        self._stops = True

    def _start(self, place: int) -> None:
        process = os.fork()
        if process == 0:
            _run_child(self._service, place)
        self._places[process] = place
        self._born[process] = time.monotonic()

    def _replace_dead(self) -> bool:
        """Replace processes that ended; return False if they end at their start."""
        for process, status in _reaped():
            place = self._places.pop(process, None)
            if place is None or self._stops:
                continue
            lived_s = time.monotonic() - self._born.pop(process)
            self._short_lives = self._short_lives + 1 if lived_s < SHORT_LIFE_S else 0
            log.error("api process ended", place=place, exit_status=status)
            if self._short_lives >= MOST_SHORT_LIVES:
                return False
            if self._short_lives:
                time.sleep(PAUSE_S)
            self._start(place)
        return True

    def _end_all(self) -> None:
        """End all processes; kill at the deadline what is left."""
        for process in self._places:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        end = time.monotonic() + STOP_S
        while self._places and time.monotonic() < end:
            for process, _ in _reaped():
                self._places.pop(process, None)
            time.sleep(0.02)
        for process in self._places:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def _reaped() -> Iterator[tuple[int, int]]:
    """Yield the id and the exit status of each process that has ended."""
    with suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            yield process, os.waitstatus_to_exitcode(status)


def _ignore(*_: object) -> None:
    """Take a signal that only has to wake the parent."""


def _run_child(service: Service, place: int) -> NoReturn:
    """Serve in a forked process, and end it without the parent's clean-up."""
    status = EXIT_FAILURE
    try:
        fork.end_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # uvicorn handles these itself, and then raises them again.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        service.serve(service.chosen, service.connections, service.folder, service.listening, place)
        status = 0
    except BaseException:
        log.exception("api process failed", place=place)
    finally:
        os._exit(status)
