"""Which code of the system its processes run, by groups of processes that belong together.

Owns the files of the notes and what loads `gateproof.guest.watch` into a process. A group is a
stack, the migrations of the template, or the commands of one check. The harness itself is watched
too: a check can read a file of the system.

What cannot be watched counts as depending on every file of the system: a process that is no Python
interpreter or that another program started, and each process in containers.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateproof.environments.interface import Completed, Conversation, Launcher, Process
from gateproof.guest import program
from gateproof.guest.watch import CODE, COMPILED, PARENT, ROOT, START, WATCH, read_file
from gateproof.stack.guest_load import SEARCH_PATH

MODULE = "gateproof_watch"
MODULES = {MODULE: "watch", "sitecustomize": "sitecustomize"}
"""Modules on the path of watched processes, and their programs in `gateproof.guest`."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """The files and functions of the system that something used."""

    units: frozenset[str] = frozenset()
    """Modules and functions that ran, as ``path:`` and ``path:name``; files that were read, as
    ``path``."""
    unknown: frozenset[str] = frozenset()
    """Why more may have been used than is known; empty if nothing else was."""

    def __or__(self, other: Used) -> Used:
        """Return what one of the two used."""
        return Used(units=self.units | other.units, unknown=self.unknown | other.unknown)


@dataclass
class Notes:
    """The notes of a group of processes, in one file."""

    log: Path
    code: Path
    """The folder with the compiled modules of the run."""
    modules: Path
    root: Path
    """The folder of the system, or of its copy."""
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Maps programs that cannot be watched to the files and folders that they read."""
    starts: dict[str, str] = field(default_factory=dict)
    """Maps the number of each start to the program that was started."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def variables(self, command: Sequence[str], path: str) -> dict[str, str]:
        """Return the variables that let a process be watched.

        Args:
            command: its words.
            path: the search path of its modules, without this.

        """
        number = str(next(self._numbers))
        self.starts[number] = Path(command[0]).name
        if len(self.starts) == 1:
            with suppress(OSError):  # without the file, nothing is known of the process
                self.log.touch(mode=0o600)
        return {
            WATCH: str(self.log),
            ROOT: str(self.root),
            CODE: str(self.code),
            START: number,
            PARENT: str(os.getpid()),
            SEARCH_PATH: os.pathsep.join(filter(None, (str(self.modules), path))),
        }

    def used(self) -> Used:
        """Return what its processes have used until now."""
        lines = self._lines()
        watched = {name for kind, name in lines if kind == "start"}
        others = {
            *((name, "cannot be watched") for n, name in self.starts.items() if n not in watched),
            *((name, "was started") for kind, name in lines if kind == "program"),
        }
        unknown = {f"{name} {why}" for name, why in others if Path(name).name not in self.reads}
        named = {"module": "{}:", "function": "{}", "file": "{}"}
        units = {named[kind].format(name) for kind, name in lines if kind in named}
        units |= {
            unit
            for name, _ in others
            for path in self.reads.get(Path(name).name, ())
            for unit in self._read(path)
        }
        return Used(units=frozenset(units), unknown=frozenset(unknown))

    def _read(self, path: str) -> Iterator[str]:
        """Yield the files of the system at a path; the names of new ones are known otherwise."""
        top = self.root / path
        for one in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if one.is_file() and COMPILED not in one.parts:
                yield one.relative_to(self.root).as_posix()

    def _lines(self) -> set[tuple[str, str]]:
        try:
            text = self.log.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:  # a process could not write to it and removed it, or a limit was met
            return set()
        parts = (line.partition(" ") for line in text.splitlines())
        return {(kind, name) for kind, _, name in parts}


@dataclass
class Watches:
    """The groups of one pytest process, and the files that this process reads itself.

    Args:
        folder: a folder that the system's processes can write to; None where they cannot be
            watched.
        root: the folder of the system.
        reads: maps programs that cannot be watched to the files and folders that they read.

    """

    folder: Path | None
    root: Path
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    opened: list[Notes] = field(default_factory=list)
    """Those of the groups that were opened since `begin_item`."""
    _files: set[str] = field(default_factory=set)
    _roots: list[str] = field(default_factory=list)
    _paused: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _hooked: bool = False

    def open(self, root: Path | None = None) -> Notes | None:
        """Return the notes of a new group of the item that runs; None where none can be watched.

        Args:
            root: the folder of the system, if it is that of a copy.

        """
        notes = self.open_shared(root)
        if notes is not None:
            self.opened.append(notes)
        return notes

    def open_shared(self, root: Path | None = None) -> Notes | None:
        """Return the notes of a new group that belongs to no item; see `open`."""
        if self.folder is None:
            return None
        modules, code = self.folder / "modules", self.folder / "code"
        try:
            if not modules.exists():
                self._write(modules, code)
        except OSError:  # no process is watched then
            self.folder = None
            return None
        log = self.folder / f"notes-{next(self._numbers)}"
        return Notes(log=log, code=code, modules=modules, root=root or self.root, reads=self.reads)

    def begin_item(self) -> None:
        """Forget the groups and files of the last item."""
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._audit)
        self.opened.clear()
        self._files.clear()
        self._roots[:] = [f"{self.root}/"]

    def add_root(self, root: Path) -> None:
        """Count what is read from a copy of the system, too."""
        self._roots.append(f"{root}/")

    def used(self, shared: Sequence[Notes | None] = ()) -> Used:
        """Return what the item has used until now.

        Args:
            shared: those of groups that belong to no item and that it uses too; None for one that
                cannot be watched.

        """
        if self.folder is None:
            return Used(unknown=frozenset({"its processes were not watched"}))
        found = Used(units=frozenset(self._files))
        for notes in (*shared, *self.opened):
            found |= notes.used() if notes is not None else Used(unknown=frozenset({"not watched"}))
        return found

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what this process reads: copying files is no use of them."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def _write(self, modules: Path, code: Path) -> None:
        modules.mkdir(parents=True)
        for name, source in MODULES.items():
            (modules / f"{name}.py").write_text(program(source), encoding="utf-8")
        code.mkdir(mode=0o700)  # processes of the system run its files

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not self._paused:
            for root in self._roots:
                name = read_file(root, *arguments)
                if name:
                    self._files.add(name)
                    return


@dataclass(frozen=True, kw_only=True)
class WatchedLauncher:
    """A launcher whose processes are watched."""

    launcher: Launcher
    notes: Notes
    concerns: Callable[[Sequence[str], Mapping[str, str], Path], bool] = lambda *_: True
    """Whether a command is about the system; another one uses nothing of it."""

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, deadline_s: float
    ) -> Completed:
        """Run a command to its end; see `Launcher.run`."""
        watched = self._watched(command, env, folder)
        return self.launcher.run(command, env=watched, folder=folder, deadline_s=deadline_s)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        share_network: Process | None = None,
    ) -> Process:
        """Start a long-running process; see `Launcher.start`."""
        watched = self._watched(command, env, folder)
        return self.launcher.start(
            name, command, env=watched, folder=folder, share_network=share_network
        )

    def converse(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path
    ) -> Conversation:
        """Start a process with which the harness exchanges lines; see `Launcher.converse`."""
        return self.launcher.converse(
            command, env=self._watched(command, env, folder), folder=folder
        )

    def variable(self, name: str) -> str:
        """Return a variable that every process has; see `Launcher.variable`."""
        return self.launcher.variable(name)

    def free_port(self) -> int:
        """Return a free port; see `Launcher.free_port`."""
        return self.launcher.free_port()

    def base_url(self, process: Process, port: int) -> str:
        """Return the URL of a port of a process; see `Launcher.base_url`."""
        return self.launcher.base_url(process, port)

    def host_of(self, conversation: Conversation) -> str:
        """Return the host of a conversation's ports; see `Launcher.host_of`."""
        return self.launcher.host_of(conversation)

    def _watched(
        self, command: Sequence[str], env: Mapping[str, str], folder: Path
    ) -> Mapping[str, str]:
        if not self.concerns(command, env, folder):
            return env
        path = env.get(SEARCH_PATH, self.launcher.variable(SEARCH_PATH))
        return {**env, **self.notes.variables(command, path)}


def watched(launcher: Launcher, notes: Notes | None) -> Launcher:
    """Return a launcher whose processes are watched, if that is possible."""
    return WatchedLauncher(launcher=launcher, notes=notes) if notes is not None else launcher


def watched_inside(launcher: Launcher, notes: Notes | None, *, other: Sequence[Path]) -> Launcher:
    """Return a launcher whose processes are watched if their command names the system's folder.

    Args:
        launcher: starts them.
        notes: theirs; None if they cannot be watched.
        other: folders inside that of the system with other code, such as the harness.

    """
    if notes is None:
        return launcher
    root = str(notes.root)
    known = tuple(str(one) for one in other if str(one).startswith(f"{root}/"))

    def concerns(command: Sequence[str], env: Mapping[str, str], folder: Path) -> bool:
        texts = (*command, *env.values(), str(folder))
        parts = (part for text in texts for part in text.split(os.pathsep) if root in part)
        return any(not part[part.index(root) :].startswith(known) for part in parts)

    return WatchedLauncher(launcher=launcher, notes=notes, concerns=concerns)
