"""A process of the system in a container of its own, and one that is spoken to in the bench.

The process is the first of its container, so that a signal to the container is one to it, and its
end takes everything along that it started.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError, NotFound
from docker.utils.socket import frames_iter

from gateproof.base.errors import HarnessError
from gateproof.environments.engine import Engine, engine_problems, remove_container
from gateproof.environments.interface import HeldConnection
from gateproof.guest import program

END_DEADLINE_S = 30.0
LEAVE_DEADLINE_S = 0.5
SIGNALLED = 128
CONFLICT = 409
STANDARD_OUTPUT = 1

SAY_PID = ("/bin/sh", "-c", 'echo $$ >&2; exec "$@"', "sh")
"""The engine tells a process's id in its own numbers only, which the bench does not know."""


def status_of(code: int) -> int:
    """Return an exit code of the engine as a status: negative for the signal that ended it."""
    return SIGNALLED - code if SIGNALLED < code < SIGNALLED + 65 else code


class ContainerProcess:
    """A process that goes on, its output kept in a file.

    Args:
        engine: where.
        container: its container, started.
        python: the interpreter inside.
        output: a file that does not exist yet.

    """

    pid = 1
    """Its process id, as the system sees it."""

    def __init__(self, engine: Engine, container: Any, *, python: str, output: Path) -> None:
        self._engine = engine
        self._container = container
        self._python = python
        self._output = output
        self._output.touch()
        self._status: int | None = None
        self._paused = False
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    @property
    def container(self) -> Any:
        """The container, as docker-py has it."""
        return self._container

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._status

    def signal(self, name: str) -> None:
        """Send a signal by name; to a process that has ended it is nothing."""
        try:
            self._container.kill(signal=name)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != CONFLICT:
                raise

    def output(self) -> str:
        """Return everything that it printed so far, both streams in order."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def children(self) -> tuple[int, ...]:
        """Return the ids of its direct children."""
        return tuple(self._look()["children"])

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections that it and its descendants hold, each with its holder."""
        return tuple(HeldConnection(**held) for held in self._look()["connections"])

    def kill_child(self, pid: int) -> None:
        """End one of its children with SIGKILL."""
        children = self.children()
        if pid not in children:
            raise HarnessError(f"child of {self.pid}: got {pid}, expected one of {children}")
        self._ask(f"import os, signal; os.kill({pid}, signal.SIGKILL)")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal("SIGKILL")
        self._follower.join(END_DEADLINE_S)

    def pause(self) -> None:
        """Freeze it and its children."""
        with engine_problems("pausing a container"):
            self._container.pause()
        self._paused = True

    def resume(self) -> None:
        """Let them go on."""
        with engine_problems("resuming a container"):
            self._container.unpause()
        self._paused = False

    def cut(self) -> None:
        """Take it from the network."""
        self._engine.cut(self._container)

    def mend(self) -> None:
        """Bring it back."""
        self._engine.mend(self._container)

    def dispose(self) -> None:
        """Kill it and remove its container; what it printed stays."""
        if self._paused:
            self.resume()
        with engine_problems("removing a container"):
            remove_container(self._container)
        self.forget()

    def forget(self) -> None:
        """Let go of a container that has been removed."""
        self._follower.join(END_DEADLINE_S)

    def _follow(self) -> None:
        """Copy the log until it ends, which is when the process has; then take its status."""
        code = SIGNALLED + 9  # unless the engine says otherwise: it was removed by force
        with self._output.open("ab", buffering=0) as file, suppress(Exception):
            stream = self._container.logs(stream=True, follow=True)
            # docker-py's own close() leaves the connection of a log that has ended open
            with closing(stream._response):  # noqa: SLF001
                for chunk in stream:
                    file.write(chunk)
            code = int(self._container.wait()["StatusCode"])
        self._status = status_of(code)

    def _look(self) -> Any:
        return json.loads(self._ask(program("first_process")))

    def _ask(self, code: str) -> bytes:
        with engine_problems("looking into a container"):
            told = self._container.exec_run([self._python, "-I", "-S", "-c", code])
        if told.exit_code != 0:
            lines = told.output.decode(errors="replace").strip().splitlines()
            raise HarnessError(
                f"look into a container: got {(lines or ['no answer'])[-1]}, expected an answer"
            )
        return bytes(told.output)


class ContainerConversation:
    """A process of the bench that is spoken to over its standard streams.

    Args:
        engine: where the bench is.
        bench: the container that it runs in.
        command: its words.
        options: its environment and working folder, as docker-py takes them.

    """

    def __init__(self, engine: Engine, bench: Any, command: Sequence[str], **options: Any) -> None:
        self._bench = bench
        with engine_problems("starting a process in a container"):
            api = engine.client.api
            made = api.exec_create(bench.id, [*SAY_PID, *command], stdin=True, **options)
            self._stream = api.exec_start(made["Id"], socket=True)
        self._socket: socket.socket = getattr(self._stream, "_sock", self._stream)
        self._socket.settimeout(None)  # it may say nothing for as long as nobody asks
        self._stdin: IO[str] = self._socket.makefile("w", encoding="utf-8")
        inner, outer = os.pipe()
        self._stdout: IO[str] = os.fdopen(inner, "r", encoding="utf-8")
        self._complaint = bytearray()
        self._reader = threading.Thread(target=self._read, args=(outer,), daemon=True)
        self._reader.start()

    @property
    def stdin(self) -> IO[str]:
        """Lines to it."""
        return self._stdin

    @property
    def stdout(self) -> IO[str]:
        """Lines from it."""
        return self._stdout

    @property
    def bench(self) -> Any:
        """The container that it runs in, as docker-py has it."""
        return self._bench

    def complaint(self) -> str:
        """Return what it wrote to standard error so far."""
        return bytes(self._complaint).partition(b"\n")[2].decode("utf-8", errors="replace")

    def dispose(self) -> None:
        """End its input, and kill it when it does not leave at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._reader.join(LEAVE_DEADLINE_S)
        pid = bytes(self._complaint).partition(b"\n")[0]
        if self._reader.is_alive() and pid.isdigit():
            with suppress(APIError):
                self._bench.exec_run(["/bin/sh", "-c", f"kill -9 {int(pid)}"])
            self._reader.join(END_DEADLINE_S)
        self.forget()

    def forget(self) -> None:
        """Let go of a process that has ended."""
        with suppress(OSError):
            self._stdin.close()
        self._stream.close()
        self._socket.close()
        self._stdout.close()

    def _read(self, outer: int) -> None:
        """Take the engine's frames apart: standard output here, standard error there."""
        with os.fdopen(outer, "wb", buffering=0) as pipe, suppress(OSError, ValueError):
            for stream, content in frames_iter(self._stream, tty=False):
                if stream == STANDARD_OUTPUT:
                    pipe.write(content)
                else:
                    self._complaint += content
