"""Warm starts: processes forked from an interpreter that has imported what they need.

Owns the conversation with the fork server and the rule which commands may be forked. A proof starts
its system twice or more; most of a start is Python reading Celery and SQLAlchemy, and only what a
fault changes, the system's own code and settings, must be read anew. The same goes for proofs on
the harness, which start pytest. Checks start cold.

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

COLD = ("PYTHON", "LD_", "LC_", "LANG", "TZ")
"""Beginnings of variables that an interpreter reads when it starts, and never again."""
SEARCHED = "PYTHONPATH"
"""The one of them that a forked process takes on; what is in its folders must not matter before."""
AT_THE_START = ("sitecustomize", "usercustomize")
"""What an interpreter imports by itself."""
LARGEST = 1 << 20
POLL_S = 0.002
FOREVER_S = float("inf")


def may_fork(command: Sequence[str], env: Mapping[str, str], imported: Sequence[str] = ()) -> bool:
    """Tell whether a forked process would be what the command starts.

    Args:
        command: its words, the interpreter first.
        env: what the command is given beside what every process gets.
        imported: the packages that a forked process has imported already.

    """
    plain = len(command) > 2 and command[0] == sys.executable and command[1] in ("-m", "-c")
    cold = any(name.startswith(COLD) and name != SEARCHED for name in env)
    return plain and not cold and not _finds(env.get(SEARCHED, ""), (*imported, *AT_THE_START))


def _finds(path: str, packages: Sequence[str]) -> bool:
    """Tell whether a search path has another form of one of these packages."""
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    names = {name.partition(".")[0] for name in packages}
    return any(
        (folder / form).exists()
        for folder in folders
        for name in names
        for form in (name, f"{name}.py")
    )


class ForkServer:
    """An interpreter with imported packages, started when it is first needed."""

    def __init__(self, packages: Sequence[str], *, env: Mapping[str, str], folder: Path) -> None:
        self._packages = packages
        self._env = env
        self._complaint = folder / "fork-server.err"
        self._server: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._turn = threading.Lock()

    def __call__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        streams: tuple[int, int, int],
    ) -> Forked:
        """Fork a process.

        Args:
            command: one that `may_fork`.
            env: its whole environment.
            folder: its working folder.
            streams: descriptors of its standard streams; the caller closes its own.

        Raises:
            HarnessError: the fork server has ended, or refuses.

        """
        words = command[1:]
        asked = {"fork": words, "env": dict(env), "folder": str(folder)}
        answer = self._ask(asked, streams)
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
        """End it; what it forked goes on."""
        if self._line is not None and self._server is not None:
            self._line.close()
            self._server.kill()
            self._server.wait()
            self._line = self._server = None

    def _ask(self, asked: Mapping[str, Any], streams: Sequence[int]) -> dict[str, Any]:
        # From any thread: a question and its answer belong together.
        with self._turn:
            line = self._line or self._start()
            try:
                socket.send_fds(line, [json.dumps(asked).encode()], streams)
                message = line.recv(LARGEST)
            except OSError as error:
                message = str(error).encode()
        if not message.startswith(b"{"):
            said = self._complaint.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise HarnessError(
                f"fork server: it ended and said: {said[-1][:300]}; look at [worker] warm in "
                "sut.toml, which must name packages that can be imported"
            )
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _start(self) -> socket.socket:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._complaint.open("wb") as complaint:
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
                stdout=complaint,
                stderr=complaint,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return self._line


class Forked:
    """What `subprocess.Popen` is for a process that was started cold, as far as it is used here."""

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
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it still runs.

        """
        deadline_s = FOREVER_S if timeout is None else timeout
        status = wait_until(
            self.poll, lambda seen: seen is not None, deadline_s=deadline_s, interval_s=POLL_S
        )
        if status is None:
            raise subprocess.TimeoutExpired(list(self._words), deadline_s)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal; its number is its own until it was reaped by `poll`."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)
