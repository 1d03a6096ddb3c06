"""The launcher of the environment `containers`: the system's commands in containers of its image.

A long-running process has a container of its own. Commands and conversations share one container of
the same image, the command container: starting a container takes about half a second, starting a
process in a running container about a tenth of that.

Paths in a command are translated: the harness's interpreter becomes that of the image, the system's
folder becomes its folder in the image. The folder for copies of files, and folders in the temporary
directory that a variable names, are mounted read-only at the same path.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateproof.environments.containers.process import (
    ContainerConversation,
    ContainerProcess,
    status_of,
)
from gateproof.environments.engine import Engine, engine_problems, loopback_port
from gateproof.environments.interface import Completed, Conversation, Process
from gateproof.environments.postgres import LOOPBACK

Options = dict[str, Any]

LIMITS: Options = {"mem_limit": "1g", "pids_limit": 512}
RESTRICTED: Options = {
    "read_only": True,
    "tmpfs": {"/tmp": "rw,nosuid,nodev,size=256m,mode=1777"},  # noqa: S108 (the container's own)
    "cap_drop": ["ALL"],
}
PORT = 9540
"""Each process has its own network namespace, so that all can listen on the same port."""

ONE_STREAM = ("/bin/sh", "-c", 'exec "$@" 2>&1', "sh")
"""Joins both streams in one pipe: the engine does not keep the order between two."""

WITH_DEADLINE = ("/bin/sh", "-c", 'exec timeout -s KILL "$@" 2>&1', "sh")
"""The same, but kills the command and its children at a deadline."""


class ContainerLauncher:
    """Starts the system's commands in containers.

    Args:
        engine: the engine to use.
        image: id of the system's image.
        volumes: folders in the image that processes may write to; all processes share them.
        root: the system's folder on this machine.
        folder: the system's folder in the image.
        python: path of the interpreter in the image.
        interpreter: the system's interpreter on this machine, which that of the image replaces.
        shared: folders of this machine, mounted in every container at the same path.
        output: folder for the output of the processes.
        variables: the variables of the image.

    """

    def __init__(
        self,
        engine: Engine,
        *,
        image: str,
        volumes: Sequence[str],
        root: Path,
        folder: str,
        python: str,
        interpreter: str = sys.executable,
        shared: tuple[Path, ...],
        output: Path,
        variables: Mapping[str, str],
    ) -> None:
        self._engine = engine
        self._image = image
        self._volumes = {
            engine.new_volume().name: {"bind": place, "mode": "rw"} for place in volumes
        }
        self._root = root
        self._folder = folder
        self._python = python
        self._interpreters = (sys.executable, interpreter)
        self._shared = shared
        self._output = output
        self._variables = variables
        self._command_containers: dict[frozenset[str], Any] = {}
        self._started: list[ContainerProcess | ContainerConversation] = []

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; kill it at the deadline and report that in the result."""
        container = self._command_container(self._mounts(env, folder))
        words = self._words(command)
        began = time.monotonic()
        with engine_problems("running a command in a container"):
            done = container.exec_run(
                [*WITH_DEADLINE, f"{deadline_s:g}", *words],
                environment=dict(env),
                workdir=self._path_inside(folder),
            )
        status = status_of(int(done.exit_code))
        # timeout(1) returns the same status for its own kill and for any other: compare the time.
        late = time.monotonic() - began >= deadline_s
        return Completed(
            command=tuple(words),
            exit_status=status,
            output=done.output.decode("utf-8", errors="replace"),
            out_of_time=late and status == -signal.SIGKILL,
        )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        share_network: Process | None = None,
    ) -> Process:
        """Start a long-running process, optionally in the network of another one."""
        other = share_network
        container = self._engine.start(
            self._image,
            [*ONE_STREAM, *self._words(command)],
            env=env,
            ports={PORT: None},
            share_network=other.container if isinstance(other, ContainerProcess) else None,
            working_dir=self._path_inside(folder),
            volumes={**_read_only(self._mounts(env, folder)), **self._volumes},
            **LIMITS,
            **RESTRICTED,
        )
        output = self._output / f"{len(self._started):04d}-{name}.log"
        process = ContainerProcess(self._engine, container, python=self._python, output=output)
        self._started.append(process)
        return process

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> Conversation:
        """Start a process with which the harness exchanges lines over its standard streams."""
        conversation = ContainerConversation(
            self._engine,
            self._command_container(self._mounts(env, folder)),
            self._words(command),
            environment=dict(env),
            workdir=self._path_inside(folder),
        )
        self._started.append(conversation)
        return conversation

    def variable(self, name: str) -> str:
        """Return a variable of the image; empty for none."""
        return self._variables.get(name, "")

    def free_port(self) -> int:
        """Return the port that every process uses: each has its own network namespace."""
        return PORT

    def base_url(self, process: Process, port: int) -> str:
        """Return the URL of a process's port on the loopback of this machine."""
        assert isinstance(process, ContainerProcess)
        return f"http://{LOOPBACK}:{loopback_port(process.container, port)}"

    def host_of(self, conversation: Conversation) -> str:
        """Return the address, on the private network, of a conversation's container."""
        assert isinstance(conversation, ContainerConversation)
        return self._engine.address_of(conversation.container)

    def release(self) -> None:
        """Release the resources of all processes, once their containers have been removed."""
        for started in self._started:
            started.release()

    def python_version(self) -> str:
        """Return the version of the image's interpreter."""
        code = "import platform; print(platform.python_version())"
        words = [self._python, "-c", code]
        return self.run(words, env={}, folder=self._root, deadline_s=30).output.strip()

    def _command_container(self, mounts: frozenset[str]) -> Any:
        """Return the command container with these mounts, and start it if there is none yet."""
        if mounts not in self._command_containers:
            self._command_containers[mounts] = self._engine.start(
                self._image,
                ["sleep", "infinity"],
                env={},
                init=True,  # an init process reaps the children of killed commands
                volumes={**_read_only(mounts), **self._volumes},
                **LIMITS,
                **RESTRICTED,
            )
        return self._command_containers[mounts]

    def _words(self, command: Sequence[str]) -> list[str]:
        return [self._python if word in self._interpreters else word for word in command]

    def _path_inside(self, folder: Path) -> str:
        if folder.is_relative_to(self._root):
            return str(Path(self._folder) / folder.relative_to(self._root))
        return str(folder)

    def _mounts(self, env: Mapping[str, str], folder: Path) -> frozenset[str]:
        """Return the folders of this machine that a process needs."""
        temporary = Path(tempfile.gettempdir())
        named = [Path(part) for value in env.values() for part in value.split(":")]
        needed = [one for one in (*named, folder) if one.is_relative_to(temporary) and one.is_dir()]
        covered = {one for one in needed if any(one.is_relative_to(root) for root in self._shared)}
        return frozenset(str(one) for one in {*self._shared, *needed} - covered)


def _read_only(mounts: frozenset[str]) -> dict[str, dict[str, str]]:
    return {folder: {"bind": folder, "mode": "ro"} for folder in sorted(mounts)}
