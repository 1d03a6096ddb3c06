"""The fork server: an interpreter that has imported packages and forks processes that need them.

Passed as source text to the system's own interpreter; imports nothing from the harness. A forked
process equals one that was started cold, except that the packages are already imported: it has its
own session, streams, environment and working folder, and imports the system's code after the fork.
An interpreter may be forked only while no other thread runs; this is checked before each fork.
Nor is it forked for a process that has another value of a variable that the packages read when they
were imported: such a process is to be started cold. The names are recorded during the imports.

Arguments: the descriptor of a socket that preserves message boundaries, and the packages. Each
message is a JSON object and is answered with one:

- ``{"fork": [words], "env": {}, "folder": ""}`` with three descriptors for the standard streams;
  the words follow the interpreter: ``-m module …`` or ``-c code …``. Returns a pid, or under
  ``cold`` the names of the variables for which the process must be started cold.
- ``{"poll": pid}`` returns a status: none while it runs, negative for a signal.
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

MESSAGE_LIMIT = 1 << 20
STREAMS = 3

COERCED = ("LC_CTYPE",)
"""Variables that Python itself sets when it starts, see PEP 538."""


WATCH, WATCH_PARENT = "GATEPROOF_WATCH", "GATEPROOF_WATCH_PARENT"
"""Variables of a process that is watched, see `gateproof.guest.watch`."""

PLAIN: type = type(os.environ)
READ: set[str] = set()
"""The names of the variables that the packages read while they were imported; `EACH` for all."""
EACH = "*"


class Watched(PLAIN):  # type: ignore[misc]
    """The environment while packages are imported: records the names that are read."""

    def __getitem__(self, key: str) -> Any:
        READ.add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Any:
        READ.add(EACH)
        return super().__iter__()


def import_watched(names: list[str]) -> None:
    """Import packages, and record in `READ` which variables they read."""
    os.environ.__class__ = Watched
    for name in names:
        importlib.import_module(name)
    os.environ.__class__ = PLAIN


def main() -> tuple[str, str] | None:
    """Serve until the other end is closed; in a forked process, return what it must run."""
    sys.path.pop(0)  # the working folder: a forked process has its own
    server = socket.socket(fileno=int(sys.argv[1]))
    import_watched(sys.argv[2:])
    gc.freeze()
    ended: dict[int, int] = {}
    while True:
        message, streams, _, _ = socket.recv_fds(server, MESSAGE_LIMIT, STREAMS)
        if not message:
            return None
        asked = json.loads(message)
        if "poll" in asked:
            answer: dict[str, Any] = {"status": poll(asked["poll"], ended)}
        elif cold := changed(asked["env"]):
            answer = {"cold": cold}
        elif threading.active_count() > 1:
            answer = {"error": f"threads run: {[one.name for one in threading.enumerate()]}"}
        else:
            made = fork(server, asked, streams)
            if not isinstance(made, int):
                return made
            ended.pop(made, None)
            answer = {"pid": made}
        for stream in streams:
            os.close(stream)
        server.send(json.dumps(answer).encode())


def changed(env: dict[str, str]) -> list[str]:
    """Return the names in `READ` of which a process has another value, or only one side has any."""
    names = {*os.environ, *env} if EACH in READ else READ
    found = sorted(names.difference(COERCED))
    return [name for name in found if os.environ.get(name) != env.get(name)]


def poll(pid: int, ended: dict[int, int]) -> int | None:
    """Return the exit status of a forked process; it is reaped only when this is called."""
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def fork(server: socket.socket, asked: dict[str, Any], streams: list[int]) -> int | tuple[str, str]:
    """Fork a process; return its id, or in the process itself what it must run."""
    became, becoming = os.pipe()
    pid = os.fork()
    if pid == 0:
        server.close()
        os.close(became)
        found = become(asked, streams)
        os.close(becoming)
        return found
    os.close(becoming)
    os.read(became, 1)  # until it is closed: the client must find the session of the process
    os.close(became)
    return pid


def become(asked: dict[str, Any], streams: list[int]) -> tuple[str, str]:
    """Apply session, streams, environment, folder and arguments of the new process."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # An interpreter that starts in the C locale adds this variable; this one did when it started.
    coerced = {name: os.environ[name] for name in COERCED if name in os.environ}
    os.environ.clear()
    os.environ.update({**coerced, **asked["env"]})
    time.tzset()  # An interpreter reads TZ when it starts, and again only with this call.
    os.chdir(asked["folder"])
    kind, what, *rest = asked["fork"]
    sys.path.insert(0, str(Path.cwd()) if kind == "-m" else "")
    sys.path[1:1] = [name for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name]
    sys.argv = [what if kind == "-m" else kind, *rest]
    if WATCH in os.environ:
        os.environ[WATCH_PARENT] = str(os.getppid())
        importlib.import_module("gateproof_watch").begin()
    return kind, what


forked = main()
if forked and forked[0] == "-m":
    runpy.run_module(forked[1], run_name="__main__", alter_sys=True)
elif forked:
    exec(compile(forked[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 (as -c does)
