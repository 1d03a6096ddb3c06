"""Warm starts: processes forked from an interpreter that has already imported their packages.

Owns the protocol with the fork server and the rule which commands may be forked. A proof starts its
system at least twice. Most of a start is importing Celery and SQLAlchemy; only the system's own
code and settings, which a fault may change, must be read again. The same holds for proofs on the
harness, which start pytest. Checks start cold.

Source: decisions/0009; `multiprocessing.forkserver` does the same for functions.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateproof.base.errors import HarnessError
from gateproof.base.wait import wait_until
from gateproof.guest import program
from gateproof.guest.watch import WATCH

COLD = ("PYTHON", "LD_", "LC_", "LANG")
"""Prefixes of variables that an interpreter reads only when it starts."""
SEARCH_PATH = "PYTHONPATH"
"""The one variable of these that a forked process can apply, unless it changes earlier imports."""
STARTUP_MODULES = ("sitecustomize", "usercustomize")
"""Modules that an interpreter imports by itself at its start."""
MESSAGE_LIMIT = 1 << 20
POLL_S = 0.002
FOREVER_S = float("inf")


def may_fork(command: Sequence[str], env: Mapping[str, str], imported: Sequence[str] = ()) -> bool:
    """Return whether a forked process is equivalent to one that the command starts.

    Args:
        command: the words of the command, the interpreter first.
        env: the variables of the command, in addition to those of every process.
        imported: the packages that a forked process has already imported.

    """
    plain = len(command) > 2 and command[0] == sys.executable and command[1] in ("-m", "-c")
    cold = any(name.startswith(COLD) and name != SEARCH_PATH for name in env)
    path = env.get(SEARCH_PATH, "")
    if WATCH in env:  # its first folder watches a forked process too
        path = path.partition(os.pathsep)[2]
    return plain and not cold and not _finds(path, (*imported, *STARTUP_MODULES))


def _finds(path: str, packages: Sequence[str]) -> bool:
    """Return whether a search path contains one of these packages."""
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    names = {name.partition(".")[0] for name in packages}
    return any(
        (folder / form).exists()
        for folder in folders
        for name in names
        for form in (name, f"{name}.py")
    )


class ForkServer:
    """An interpreter with imported packages that forks processes; started at its first use."""

    def __init__(self, packages: Sequence[str], *, env: Mapping[str, str], folder: Path) -> None:
        self._packages = packages
        self._env = env
        self._error_log = folder / "fork-server.err"
        self._server: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def __call__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
    ) -> Forked | None:
        """Fork a process.

        Returns:
            The process; None if it must be started cold, because it has another value of a variable
            that a package read when it was imported.

        Args:
            command: a command for which `may_fork` is true.
            env: its complete environment.
            folder: its working folder.
            streams: descriptors of its standard streams; the caller closes its copies.

        Raises:
            HarnessError: the fork server has exited, or refuses.

        """
        words = command[1:]
        request = {"fork": words, "env": dict(env), "folder": str(folder)}
        answer = self._ask(request, streams)
        if "cold" in answer:
            return None
        if "pid" not in answer:
            raise HarnessError(
                f"warm start of {words[1][:60]}: got {answer['error']}, expected one thread; take "
                "the package that starts it out of [worker] warm in sut.toml"
            )
        return Forked(self, answer["pid"], words)

    def poll(self, pid: int) -> int | None:
        """Return the exit status of a forked process; None while it runs."""
        status: int | None = self._ask({"poll": pid}, ())["status"]
        return status

    def stop(self) -> None:
        """Kill it; the forked processes keep running."""
        if self._connection is not None and self._server is not None:
            self._connection.close()
            self._server.kill()
            self._server.wait()
            self._connection = self._server = None

    def _ask(self, request: Mapping[str, Any], streams: Sequence[int]) -> dict[str, Any]:
        # Any thread may ask: no other request may come between a request and its answer.
        with self._lock:
            connection = self._connection or self._start()
            try:
                socket.send_fds(connection, [json.dumps(request).encode()], streams)
                message = connection.recv(MESSAGE_LIMIT)
            except OSError as error:
                message = str(error).encode()
        if not message.startswith(b"{"):
            lines = self._error_log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise HarnessError(
                f"fork server: it exited and printed: {lines[-1][:300]}; check [worker] warm in "
                "sut.toml, which must name packages that can be imported"
            )
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _start(self) -> socket.socket:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._error_log.open("wb") as errors:
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    program("fork_server"),
                    str(theirs.fileno()),
                    *self._packages,
                ],
                cwd="/",
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return self._connection


class Forked:
    """A forked process, with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, server: ForkServer, pid: int, words: Sequence[str]) -> None:
        self._server = server
        self._words = words
        self._status: int | None = None
        self.pid = pid

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        if self._status is None:
            self._status = self._server.poll(self.pid)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it exits.

        Raises:
            subprocess.TimeoutExpired: it still runs.

        """
        deadline_s = FOREVER_S if timeout is None else timeout
        status = wait_until(
            self.poll, lambda value: value is not None, deadline_s=deadline_s, interval_s=POLL_S
        )
        if status is None:
            raise subprocess.TimeoutExpired(list(self._words), deadline_s)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal; the process id is not reused before `poll` has reaped the process."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.send_signal(signal.SIGKILL)
