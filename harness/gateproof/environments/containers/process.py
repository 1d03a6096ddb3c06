"""A process in its own container, and a conversation with a process in the command container.

A process in its own container is the first one there: a signal to the container reaches it, and
when it exits, the engine ends everything that it started.
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
EXIT_DEADLINE_S = 0.5
SIGNALLED = 128
CONFLICT = 409
STANDARD_OUTPUT = 1

PRINT_PID = ("/bin/sh", "-c", 'echo $$ >&2; exec "$@"', "sh")
"""Prints the process id inside the container: the engine reports only that of the host."""


def status_of(code: int) -> int:
    """Convert an exit code of the engine to a status: negative for a signal."""
    return SIGNALLED - code if SIGNALLED < code < SIGNALLED + 65 else code


class ContainerProcess:
    """A long-running process whose output is kept in a file.

    Args:
        engine: the engine that it runs on.
        container: its running container.
        python: path of the interpreter inside.
        output: a file that does not exist yet.

    """

    pid = 1
    """Its process id inside the container."""

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
        """The container object of docker-py."""
        return self._container

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._status

    def signal(self, name: str) -> None:
        """Send a signal by name; do nothing if the process has exited."""
        try:
            self._container.kill(signal=name)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != CONFLICT:
                raise

    def output(self) -> str:
        """Return the output so far, both streams in order."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def children(self) -> tuple[int, ...]:
        """Return the process ids of its direct children."""
        return tuple(self._inspect()["children"])

    def connections(self) -> tuple[HeldConnection, ...]:
        """Return the TCP connections of the process and its descendants, each with its owner."""
        return tuple(HeldConnection(**held) for held in self._inspect()["connections"])

    def remaining(self) -> tuple[int, ...]:
        """Return the process ids of its direct children; none once the engine has ended all."""
        return () if self._status is not None else self.children()

    def kill_child(self, pid: int) -> None:
        """Kill one of its children with SIGKILL."""
        self._signal_child(pid, "SIGKILL")

    def pause_child(self, pid: int) -> None:
        """Pause one of its children with SIGSTOP."""
        self._signal_child(pid, "SIGSTOP")

    def resume_child(self, pid: int) -> None:
        """Resume one of its children with SIGCONT."""
        self._signal_child(pid, "SIGCONT")

    def _signal_child(self, pid: int, name: str) -> None:
        children = self.children()
        if pid not in children:
            raise HarnessError(f"child of {self.pid}: got {pid}, expected one of {children}")
        self._run_python(f"import os, signal; os.kill({pid}, signal.{name})")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.signal("SIGKILL")
        self._follower.join(END_DEADLINE_S)

    def pause(self) -> None:
        """Pause it and its children."""
        with engine_problems("pausing a container"):
            self._container.pause()
        self._paused = True

    def resume(self) -> None:
        """Resume it and its children."""
        with engine_problems("resuming a container"):
            self._container.unpause()
        self._paused = False

    def disconnect(self) -> None:
        """Disconnect it from the network."""
        self._engine.disconnect(self._container)

    def reconnect(self) -> None:
        """Connect it to the network again."""
        self._engine.reconnect(self._container)

    def dispose(self) -> None:
        """Kill it and remove its container; its output is kept."""
        if self._paused:
            self.resume()
        with engine_problems("removing a container"):
            remove_container(self._container)
        self.release()

    def release(self) -> None:
        """Wait for the end of the log of a container that has been removed."""
        self._follower.join(END_DEADLINE_S)

    def _follow(self) -> None:
        """Copy the log until the process exits, and then store its status."""
        code = SIGNALLED + 9  # the default, if the container was removed by force
        with self._output.open("ab", buffering=0) as file, suppress(Exception):
            stream = self._container.logs(stream=True, follow=True)
            # docker-py's own close() leaves the connection of a finished log open
            with closing(stream._response):  # noqa: SLF001
                for chunk in stream:
                    file.write(chunk)
            code = int(self._container.wait()["StatusCode"])
        self._status = status_of(code)

    def _inspect(self) -> Any:
        return json.loads(self._run_python(program("first_process")))

    def _run_python(self, code: str) -> bytes:
        with engine_problems("inspecting a container"):
            done = self._container.exec_run([self._python, "-I", "-S", "-c", code])
        if done.exit_code != 0:
            lines = done.output.decode(errors="replace").strip().splitlines()
            raise HarnessError(
                f"inspecting a container: got {(lines or ['no answer'])[-1]}, expected an answer"
            )
        return bytes(done.output)


class ContainerConversation:
    """A process with which the harness exchanges lines over its standard streams.

    Args:
        engine: the engine of the container.
        container: the command container that it runs in.
        command: the words of its command.
        options: its environment and working folder, as keyword arguments of docker-py.

    """

    def __init__(
        self, engine: Engine, container: Any, command: Sequence[str], **options: Any
    ) -> None:
        self._container = container
        with engine_problems("starting a process in a container"):
            api = engine.client.api
            created = api.exec_create(container.id, [*PRINT_PID, *command], stdin=True, **options)
            self._stream = api.exec_start(created["Id"], socket=True)
        self._socket: socket.socket = getattr(self._stream, "_sock", self._stream)
        self._socket.settimeout(None)  # it may be silent for a long time between two requests
        self._stdin: IO[str] = self._socket.makefile("w", encoding="utf-8")
        inner, outer = os.pipe()
        self._stdout: IO[str] = os.fdopen(inner, "r", encoding="utf-8")
        self._stderr = bytearray()
        self._reader = threading.Thread(target=self._read, args=(outer,), daemon=True)
        self._reader.start()

    @property
    def stdin(self) -> IO[str]:
        """Its standard input, for lines to it."""
        return self._stdin

    @property
    def stdout(self) -> IO[str]:
        """Its standard output, for lines from it."""
        return self._stdout

    @property
    def container(self) -> Any:
        """The container that it runs in, as an object of docker-py."""
        return self._container

    def stderr(self) -> str:
        """Return its output on standard error so far."""
        return bytes(self._stderr).partition(b"\n")[2].decode("utf-8", errors="replace")

    def dispose(self) -> None:
        """Close its standard input, and kill it if it does not exit at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._reader.join(EXIT_DEADLINE_S)
        pid = bytes(self._stderr).partition(b"\n")[0]
        if self._reader.is_alive() and pid.isdigit():
            with suppress(APIError):
                self._container.exec_run(["/bin/sh", "-c", f"kill -9 {int(pid)}"])
            self._reader.join(END_DEADLINE_S)
        self.release()

    def release(self) -> None:
        """Close the streams of a process that has exited."""
        with suppress(OSError):
            self._stdin.close()
        self._stream.close()
        self._socket.close()
        self._stdout.close()

    def _read(self, outer: int) -> None:
        """Split the engine's frames into standard output and standard error."""
        with os.fdopen(outer, "wb", buffering=0) as pipe, suppress(OSError, ValueError):
            for stream, content in frames_iter(self._stream, tty=False):
                if stream == STANDARD_OUTPUT:
                    pipe.write(content)
                else:
                    self._stderr += content
