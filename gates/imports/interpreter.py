"""A program that imports the system in a fresh interpreter and reports the side effects.

The system's own interpreter runs it as source text, in the system's working folder, so it imports
nothing of the harness. It observes in three ways, because each misses something:

- an audit hook records what Python code does: connect, bind, start a thread or a process;
- a listening socket at the configured DSN sees every connection, also one by a C library;
- the open sockets and running threads after the import are compared with those before.

Afterwards the program itself does, once each, what an import must not do, and reports whether the
observations show it. Without this control, a broken observation would pass every import.
"""

import _thread
import importlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
THREAD_START = "gate.thread"
EVENTS = {
    "socket.connect": "connect",
    "socket.sendto": "connect",
    "socket.bind": "bind",
    THREAD_START: "thread",
    "os.fork": "process",
    "os.posix_spawn": "process",
    "subprocess.Popen": "process",
}
"""Audit event to the kind of side effect; see "Audit events table" in Python's documentation."""

THREAD_STARTERS = (
    (_thread, "start_new_thread"),
    (_thread, "start_joinable_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),
)
"""Every function that starts a thread.

Python 3.11 raises no audit event for a new thread (measured), so these are wrapped to raise one.
"""


class Observer:
    """All three observations; they start when it is created."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.listener = socket.create_server((LOOPBACK, 0))
        self.listener.setblocking(False)
        self.before = count_open()
        sys.addaudithook(self._record)
        for place, name in THREAD_STARTERS:
            if hasattr(place, name):
                setattr(place, name, with_audit_event(getattr(place, name)))

    def _record(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            self.events.append(f"{EVENTS[event]}: {event} {arguments!r}"[:200])

    def take(self) -> dict[str, Any]:
        """Return the observations since the last call: events, connections, what is open."""
        events, self.events = self.events, []
        before, self.before = self.before, count_open()
        left = {name: count - before[name] for name, count in self.before.items()}
        return {"events": events, "connections": self._accepted(), "left": left}

    def _accepted(self) -> int:
        count = 0
        while True:
            try:
                self.listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


def with_audit_event(start: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that starts a thread, so that it raises an audit event first."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sys.audit(THREAD_START, getattr(function, "__qualname__", repr(function)))
        return start(function, *args, **kwargs)

    return call


def count_open() -> dict[str, int]:
    """Count the sockets and threads of this process, including threads unknown to `threading`."""
    threads = len(sys._current_frames())  # noqa: SLF001 (documented, and without another name)
    return {"sockets": sum(map(is_socket, range(256))), "threads": threads}


def is_socket(descriptor: int) -> bool:
    """Return whether a file descriptor is an open socket."""
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def misbehave(port: int) -> list[Any]:
    """Cause every side effect once. The returned objects keep sockets and thread alive."""
    connection = socket.create_connection((LOOPBACK, port))
    server = socket.create_server((LOOPBACK, 0))
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return [connection, server, thread]


def unused_port() -> int:
    """Return a port that has just refused a connection."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except ConnectionRefusedError:
        return port
    raise SystemExit(f"port {port}: got an answer, expected a refusal")


def import_all(names: list[str]) -> dict[str, str]:
    """Import modules one by one; return the file of each, or the exception that it raised."""
    origins = {}
    for name in names:
        try:
            origins[name] = str(getattr(importlib.import_module(name), "__file__", ""))
        except BaseException as error:  # noqa: BLE001 (an import that exits is a finding too)
            origins[name] = f"raised {type(error).__name__}: {error}"
    return origins


def tasks_of(app: Any) -> list[str]:
    """Return the names of the app's tasks, loaded as a worker would load them."""
    app.loader.import_default_modules()
    app.finalize()
    return sorted(str(name) for name in app.tasks)


def read_app(app: Any) -> dict[str, Any]:
    """Return eager mode and tasks of the app, or the exception of reading them.

    An app can read its settings at their first use: an error in them is one of the import. Celery
    takes a KeyError in a module of settings for a setting that is not there, and raises another.
    """
    raised: list[str] = []
    sys.settrace(recording(raised))
    try:
        return {"eager": bool(app.conf.task_always_eager), "tasks": tasks_of(app)}
    except BaseException as error:  # noqa: BLE001 (settings that exit are a finding too)
        return {"app": f"raised {raised[-1] if raised else shown(error)}"}
    finally:
        sys.settrace(None)


def shown(error: BaseException) -> str:
    """Return an exception in the form of a traceback's last line."""
    return f"{type(error).__name__}: {error}"


def recording(raised: list[str]) -> Callable[..., Any]:
    """Return a trace function that records each exception that passes the system's own code."""
    root = Path.cwd()

    def local(_frame: Any, event: str, arg: Any) -> Any:
        if event == "exception":
            raised.append(shown(arg[1]))
        return local

    def trace(frame: Any, _event: str, _arg: Any) -> Any:
        path = root / frame.f_code.co_filename
        return local if root in path.parents and "site-packages" not in path.parts else None

    return trace


def main(arguments: dict[str, Any]) -> dict[str, Any]:
    """Import the requested modules and return a report about the import.

    Args:
        arguments: ``modules`` to import; ``app`` as module:attribute; ``dsn`` the variables to set
            to a DSN, empty to leave it unset; ``service`` whether the observer listens at the
            address in that DSN; ``keep`` the only variables that stay set, all without it.

    """
    if arguments.get("keep") is not None:
        for variable in os.environ.keys() - set(arguments["keep"]):
            del os.environ[variable]
    observer = Observer() if arguments["service"] else None
    port = observer.listener.getsockname()[1] if observer else unused_port()
    for variable in arguments["dsn"]:
        os.environ[variable] = f"postgresql://u:p@{LOOPBACK}:{port}/none?connect_timeout=2"
    report: dict[str, Any] = {"modules": import_all(arguments["modules"])}
    if observer is not None:
        report["seen"] = observer.take()
        kept = misbehave(port)
        report["control"] = observer.take()
        del kept
    module, _, attribute = arguments["app"].partition(":")
    app = getattr(sys.modules.get(module), attribute, None)
    if app is not None:
        report.update(read_app(app))
    return report


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1])), indent=2))  # noqa: T201 (its answer)
