"""Import the system in a fresh interpreter and report what happened; passed as source text.

Runs beside the system, in its interpreter and working folder, and imports nothing of the harness.
Three ways of looking, since no one sees all:

- an audit hook hears what Python code does: connect, bind, a thread, a process;
- a listening socket, named in the settings, sees a connection by any means, C libraries included;
- what is open and alive afterwards is compared with what was before.

Then it does itself, once each, what the import must not do, and says whether it was seen: eyes
that see nothing would find every import harmless.
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
"""Audit event to its kind; see "Audit events table" in Python's documentation."""

THREAD_STARTERS = (
    (_thread, "start_new_thread"),
    (_thread, "start_joinable_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),
)
"""Every way to start a thread; Python 3.11 raises no audit event for it (measured), so we do."""


class Eyes:
    """Records audit events and connections from its construction on."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.trap = socket.create_server((LOOPBACK, 0))
        self.trap.setblocking(False)
        self.before = alive()
        sys.addaudithook(self._hear)
        for place, name in THREAD_STARTERS:
            if hasattr(place, name):
                setattr(place, name, announced(getattr(place, name)))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            self.events.append(f"{EVENTS[event]}: {event} {arguments!r}"[:200])

    def take(self) -> dict[str, Any]:
        """Return what happened since the last call: events, connections, sockets, threads."""
        events, self.events = self.events, []
        before, self.before = self.before, alive()
        left = {name: count - before[name] for name, count in self.before.items()}
        return {"events": events, "connections": self._caught(), "left": left}

    def _caught(self) -> int:
        count = 0
        while True:
            try:
                self.trap.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


def announced(start: Callable[..., Any]) -> Callable[..., Any]:
    """Return a way to start a thread that raises an audit event first."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sys.audit(THREAD_START, getattr(function, "__qualname__", repr(function)))
        return start(function, *args, **kwargs)

    return call


def alive() -> dict[str, int]:
    """Count this process's sockets, and its threads, those that `threading` misses too."""
    threads = len(sys._current_frames())  # noqa: SLF001 (documented, and without another name)
    return {"sockets": sum(map(is_socket, range(256))), "threads": threads}


def is_socket(descriptor: int) -> bool:
    """Return whether a file descriptor is an open socket."""
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def misbehave(port: int) -> list[Any]:
    """Connect, listen, start a thread and a process; what is returned keeps them alive."""
    connection = socket.create_connection((LOOPBACK, port))
    server = socket.create_server((LOOPBACK, 0))
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    subprocess.run([sys.executable, "-S", "-c", ""], check=True)
    return [connection, server, thread]


def nobody_listens() -> int:
    """Return a port at which a connection was just refused."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except ConnectionRefusedError:
        return port
    raise SystemExit(f"port {port}: got an answer, expected a refusal")


def import_all(names: list[str]) -> dict[str, str]:
    """Import modules in order; return for each its file, or what it raised."""
    told = {}
    for name in names:
        try:
            told[name] = str(getattr(importlib.import_module(name), "__file__", ""))
        except BaseException as error:  # noqa: BLE001 (an import that exits is a finding too)
            told[name] = f"raised {type(error).__name__}: {error}"
    return told


def tasks_of(app: Any) -> list[str]:
    """Return the names under which the app knows tasks, as a worker would load them."""
    app.loader.import_default_modules()
    app.finalize()
    return sorted(str(name) for name in app.tasks)


def main(arguments: dict[str, Any]) -> dict[str, Any]:
    """Import the requested modules and report all observations.

    Args:
        arguments: ``modules`` to import; ``app`` as module:attribute; ``dsn`` the variables that
            get a DSN, none where it is to be unset; ``service`` whether something (the trap)
            listens at that DSN.

    """
    eyes = Eyes() if arguments["service"] else None
    port = eyes.trap.getsockname()[1] if eyes else nobody_listens()
    for variable in arguments["dsn"]:
        os.environ[variable] = f"postgresql://u:p@{LOOPBACK}:{port}/none?connect_timeout=2"
    told: dict[str, Any] = {"modules": import_all(arguments["modules"])}
    if eyes is not None:
        told["seen"] = eyes.take()
        kept = misbehave(port)
        told["control"] = eyes.take()
        del kept
    module, _, attribute = arguments["app"].partition(":")
    app = getattr(sys.modules.get(module), attribute, None)
    if app is not None:
        told["eager"] = bool(app.conf.task_always_eager)
        told["tasks"] = tasks_of(app)
    return told


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1])), indent=2))  # noqa: T201 (its answer)
