"""Runs pytest so that its xdist workers are forked: most of their time is imports otherwise.

Owns the program that `run_command` gives as text to the interpreter that is forked for a command.
Before pytest starts, it forks a server of its own, which forks each worker from the imported
packages alone: nothing that pytest or a plugin did in the controller is in it. Streams, variables,
folder, session and group are those that a worker has otherwise. Imports nothing of the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

LIMIT = 1 << 17
BOOTSTRAP = "import sys;exec(eval(sys.stdin.readline()))"
"""The program that execnet gives to a new interpreter."""


def serve(connection: socket.socket) -> bool:
    """Fork a worker for each request until the other end is closed; return whether this is one."""
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers that have ended are not kept
    while True:
        message, streams, _, _ = socket.recv_fds(connection, LIMIT, 3)
        if not message:
            return False
        pid = os.fork()
        if pid == 0:
            # A command that a shell starts in the background ignores it, and so do its workers.
            signal.signal(signal.SIGINT, interrupted)
            become(json.loads(message), streams)
            connection.close()
            return True
        for stream in streams:
            os.close(stream)
        connection.send(str(pid).encode())


def become(asked: dict[str, Any], streams: list[int]) -> None:
    """Apply signals, streams, variables and folder of a new interpreter."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["folder"])
    sys.argv = ["-c"]


class Worker:
    """A forked worker, with the methods of `subprocess.Popen` that execnet uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def wait(self) -> int:
        """Wait until it has ended; its exit status is not known."""
        select.select([self._handle], [], [])
        return 0

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


def fork_workers(connection: socket.socket) -> None:
    """Let execnet ask the server at the other end for a worker."""
    from execnet import gateway_base, gateway_io

    def start(self: Any, args: Any, execmodel: Any) -> None:  # noqa: ARG001 (of execnet)
        child_input, ours = os.pipe()
        theirs, child_output = os.pipe()
        asked = {"env": dict(os.environ), "folder": str(Path.cwd())}
        streams = [child_input, child_output, 2]
        socket.send_fds(connection, [json.dumps(asked).encode()], streams)
        self.popen = Worker(int(connection.recv(LIMIT)))
        os.close(child_input)
        os.close(child_output)
        pipes = os.fdopen(ours, "wb"), os.fdopen(theirs, "rb")
        gateway_base.Popen2IO.__init__(self, *pipes, execmodel=execmodel)

    gateway_io.Popen2IOMaster.__init__ = start  # type: ignore[method-assign]


def main() -> bool:
    """Fork the server, and prepare this process for pytest; return whether this is a worker."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        if serve(theirs):
            return True
        os._exit(0)
    theirs.close()
    fork_workers(ours)
    return False


if __name__ == "__main__":
    if main():
        exec(BOOTSTRAP, {"__name__": "__main__"})
    else:
        sys.path[0] = str(Path.cwd())  # as ``python -m pytest`` has it
        sys.argv[0] = "pytest"
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
