"""The launcher of the environment `containers`: the system's commands in containers of its image.

A process that goes on has a container of its own. Commands and conversations run beside each other
in one container of the same image, the bench: to start a container takes about half a second, to
start a process in one a tenth.

What a command names is translated: the harness's interpreter stands for the image's, the system's
folder for its folder in the image. The folder for copies of files, and folders of the temporary
directory that a variable names, are mounted where they are, to be read only.
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
SEALED: Options = {
    "read_only": True,
    "tmpfs": {"/tmp": "rw,nosuid,nodev,size=256m,mode=1777"},  # noqa: S108 (the container's own)
    "cap_drop": ["ALL"],
}
PORT = 9540
"""Each process has a network of its own, so that all can listen on the same port."""

ONE_STREAM = ("/bin/sh", "-c", 'exec "$@" 2>&1', "sh")
"""Both streams through one pipe: the engine keeps no order between two."""

UNTIL = ("/bin/sh", "-c", 'exec timeout -s KILL "$@" 2>&1', "sh")
"""The same, killed past a deadline, with all that it started."""


class ContainerLauncher:
    """Starts the system's commands in containers.

    Args:
        engine: where.
        image: id of the system's image.
        volumes: folders in the image that processes may write; one volume each for all of them.
        root: the system's folder here.
        folder: the same in the image.
        python: the interpreter in the image.
        shown: folders of this machine that every container sees under the same path.
        output: where the processes' output is kept.

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
        shown: tuple[Path, ...],
        output: Path,
    ) -> None:
        self._engine = engine
        self._image = image
        self._volumes = {
            engine.new_volume().name: {"bind": place, "mode": "rw"} for place in volumes
        }
        self._root = root
        self._folder = folder
        self._python = python
        self._shown = shown
        self._output = output
        self._benches: dict[frozenset[str], Any] = {}
        self._started: list[ContainerProcess | ContainerConversation] = []

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; past the deadline it is killed, and that is told."""
        bench = self._bench(self._mounts(env, folder))
        words = self._words(command)
        began = time.monotonic()
        with engine_problems("running a command in a container"):
            done = bench.exec_run(
                [*UNTIL, f"{deadline_s:g}", *words],
                environment=dict(env),
                workdir=self._inside(folder),
            )
        status = status_of(int(done.exit_code))
        # timeout(1) has one status for its own kill and for anyone else's; the clock tells.
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
        beside: Process | None = None,
    ) -> Process:
        """Start a process that goes on; one beside another has that one's network."""
        container = self._engine.start(
            self._image,
            [*ONE_STREAM, *self._words(command)],
            env=env,
            ports={PORT: None},
            beside=beside.container if isinstance(beside, ContainerProcess) else None,
            working_dir=self._inside(folder),
            volumes={**_read_only(self._mounts(env, folder)), **self._volumes},
            **LIMITS,
            **SEALED,
        )
        output = self._output / f"{len(self._started):04d}-{name}.log"
        process = ContainerProcess(self._engine, container, python=self._python, output=output)
        self._started.append(process)
        return process

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> Conversation:
        """Start a process that is spoken to over its standard streams."""
        conversation = ContainerConversation(
            self._engine,
            self._bench(self._mounts(env, folder)),
            self._words(command),
            environment=dict(env),
            workdir=self._inside(folder),
        )
        self._started.append(conversation)
        return conversation

    def free_port(self) -> int:
        """Return the port that every process can have: none shares its network."""
        return PORT

    def base_url(self, process: Process, port: int) -> str:
        """Return the URL, on this machine's loopback, of a process's port."""
        assert isinstance(process, ContainerProcess)
        return f"http://{LOOPBACK}:{loopback_port(process.container, port)}"

    def host_of(self, conversation: Conversation) -> str:
        """Return the address of the bench that a conversation runs in, on the private network."""
        assert isinstance(conversation, ContainerConversation)
        return self._engine.address_of(conversation.bench)

    def forget(self) -> None:
        """Let go of everything that was started, once its containers have been removed."""
        for started in self._started:
            started.forget()

    def python_version(self) -> str:
        """Return the version of the image's interpreter."""
        code = "import platform; print(platform.python_version())"
        words = [self._python, "-c", code]
        return self.run(words, env={}, folder=self._root, deadline_s=30).output.strip()

    def _bench(self, mounts: frozenset[str]) -> Any:
        """Return the container that has these mounts and in which commands run."""
        if mounts not in self._benches:
            self._benches[mounts] = self._engine.start(
                self._image,
                ["sleep", "infinity"],
                env={},
                init=True,  # somebody has to reap what a killed command leaves
                volumes={**_read_only(mounts), **self._volumes},
                **LIMITS,
                **SEALED,
            )
        return self._benches[mounts]

    def _words(self, command: Sequence[str]) -> list[str]:
        return [self._python if word == sys.executable else word for word in command]

    def _inside(self, folder: Path) -> str:
        if folder.is_relative_to(self._root):
            return str(Path(self._folder) / folder.relative_to(self._root))
        return str(folder)

    def _mounts(self, env: Mapping[str, str], folder: Path) -> frozenset[str]:
        """Return the folders of this machine that a process needs to see."""
        temporary = Path(tempfile.gettempdir())
        named = [Path(part) for value in env.values() for part in value.split(":")]
        needed = [one for one in (*named, folder) if one.is_relative_to(temporary) and one.is_dir()]
        seen = {one for one in needed if any(one.is_relative_to(root) for root in self._shown)}
        return frozenset(str(one) for one in {*self._shown, *needed} - seen)


def _read_only(mounts: frozenset[str]) -> dict[str, dict[str, str]]:
    return {folder: {"bind": folder, "mode": "ro"} for folder in sorted(mounts)}
