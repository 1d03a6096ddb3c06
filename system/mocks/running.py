"""Start the mock servers, stop them, and ask for their state."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from system.errors import MocksError
from system.mocks.installation import Installation
from system.mocks.record import Record, Records
from system.mocks.servers import HOST, Server, servers, taken

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 5.0
ANSWER_S = 2.0
POLL_S = 0.05
PROGRAM = Path(__file__).parent / "serve.js"


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of one mock server."""

    domain: str
    port: int
    url: str
    answers: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of the mock servers of a base port."""

    pid: int | None
    """The process that serves; None if none does."""
    dynamic: bool
    servers: tuple[State, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all servers answer."""
        return all(one.answers for one in self.servers)


def status(base_port: int) -> Status:
    """Return the state of the mock servers: each is asked."""
    return _status(base_port, Records.of(base_port).read())


def start(
    base_port: int,
    *,
    dynamic: bool = False,
    only: Collection[str] = (),
    deadline_s: float = START_DEADLINE_S,
) -> Status:
    """Start the mock servers, and wait until each answers; do nothing if they run already.

    1. One command at a time: of two starts, the second finds the servers of the first.
    2. A port that another process listens on is named, and nothing is started.
    3. The process is recorded before it is waited for, so that `stop` finds it.
    4. If one server does not answer in time, the process is stopped.

    Args:
        base_port: the port of the first domain.
        dynamic: whether bodies are generated from schemas, instead of taken from examples.
        only: the domains to serve; all if empty.
        deadline_s: how long to wait for the servers.

    Raises:
        NotInstalledError: Node or Prism is missing.
        MocksError: a port is taken, the process ended, or a server does not answer; or others run.

    """
    records, wanted = Records.of(base_port), servers(base_port, only)
    with records.locked():  # 1
        found = _running(records, wanted, dynamic=dynamic)
        if found is not None:
            return _status(base_port, found)
        node = Installation().demand().node
        _refuse_taken(wanted)  # 2
        record = _launch(node, wanted, records, dynamic=dynamic)  # 3
        try:
            _wait(record, wanted, records, deadline_s)  # 4
        except BaseException:
            _end(record, records)
            raise
    return _status(base_port, record)


def stop(base_port: int) -> bool:
    """Stop the mock servers; return whether any ran. Their ports are free afterwards.

    Raises:
        MocksError: the process cannot be ended.

    """
    records = Records.of(base_port)
    with records.locked():
        record = records.read()
        ran = record is not None and record.process() is not None
        if record is not None:
            _end(record, records)
        else:
            records.remove()
    return ran


def _running(records: Records, wanted: Sequence[Server], *, dynamic: bool) -> Record | None:
    """Return the record of a process that serves what is wanted; end one that does not answer.

    Raises:
        MocksError: it serves something else.

    """
    record = records.read()
    if record is None or record.process() is None:
        return None
    same = record.dynamic == dynamic and record.domains == tuple(one.domain for one in wanted)
    if not same:
        raise MocksError(
            "mock servers: got a start while others run on these ports, expected none: stop them "
            "first, or choose another --base-port"
        )
    if all(map(_answers, wanted)):
        return record
    _end(record, records)
    return None


def _refuse_taken(wanted: Sequence[Server]) -> None:
    found = taken(wanted)
    if found:
        names = ", ".join(f"{one.port} ({one.domain})" for one in found)
        raise MocksError(
            f"port: got {names}, on which another process listens, expected a free one: end that "
            "process, or choose another --base-port"
        )


def _launch(node: Path, wanted: Sequence[Server], records: Records, *, dynamic: bool) -> Record:
    options = {
        "host": HOST,
        "dynamic": dynamic,
        "servers": [{"port": one.port, "document": str(one.document())} for one in wanted],
    }
    command = [str(node), str(PROGRAM), str(Installation().folder), json.dumps(options)]
    with records.log.open("w") as log:
        child = subprocess.Popen(
            command,
            cwd=records.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = Record(
        pid=child.pid,
        started=psutil.Process(child.pid).create_time(),
        dynamic=dynamic,
        domains=tuple(one.domain for one in wanted),
    )
    records.write(record)
    return record


def _wait(record: Record, wanted: Sequence[Server], records: Records, deadline_s: float) -> None:
    """Wait until each server answers, and the process is the one that was started.

    Raises:
        MocksError: it ended, or one does not answer in time.

    """
    waiting = list(wanted)

    def is_over() -> bool:
        waiting[:] = [one for one in waiting if not _answers(one)]
        return not waiting or record.process() is None

    _poll(is_over, deadline_s)
    if record.process() is None:
        reason = records.log.read_text(encoding="utf-8", errors="replace").strip()[-300:]
        raise MocksError(f"mock servers: got an end of the process ({reason}), expected none")
    if waiting:
        names = ", ".join(f"{one.port} ({one.domain})" for one in waiting)
        raise MocksError(
            f"mock servers: got no answer from {names} in {deadline_s:g} s, expected one"
        )


def _end(record: Record, records: Records) -> None:
    """End the process, wait until its ports are free, and remove its record.

    Raises:
        MocksError: it cannot be ended.

    """
    for stop_it in (psutil.Process.terminate, psutil.Process.kill):
        process = record.process()
        if process is None:
            break
        with suppress(psutil.NoSuchProcess):
            stop_it(process)
        _poll(lambda: record.process() is None, STOP_DEADLINE_S)
    if record.process() is not None:
        raise MocksError(f"mock servers: got the process {record.pid} after SIGKILL, expected none")
    records.remove()


def _status(base_port: int, record: Record | None) -> Status:
    process = record.process() if record else None
    wanted = servers(base_port, record.domains if record and process else ())
    return Status(
        pid=process.pid if process else None,
        dynamic=bool(record and process and record.dynamic),
        servers=tuple(
            State(
                domain=one.domain,
                port=one.port,
                url=one.url,
                answers=process is not None and _answers(one),
            )
            for one in wanted
        ),
    )


def _answers(server: Server) -> bool:
    """Return whether a server answers a request, with whatever status."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _poll(is_met: Callable[[], bool], deadline_s: float) -> None:
    """Wait until a condition is met, or the deadline."""
    end = time.monotonic() + deadline_s
    while not is_met() and time.monotonic() < end:
        time.sleep(POLL_S)
