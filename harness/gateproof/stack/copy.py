"""The throw-away copy that a proof works on: a stack, and copied files if the fault needs them.

Each part is created at its first use: a check that needs no database is proven without one.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gateproof_evidence
from gateproof.base.project import copy_folders, copy_project
from gateproof.description.sut import Sut
from gateproof.environments.interface import Completed
from gateproof.probes.process import ProcessProbe
from gateproof.stack.bring_up import BringUp
from gateproof.stack.relay import Relay
from gateproof.stack.stack import Running, Stack
from gateproof.stack.watched import watched

HARNESS_PACKAGES = (Path(gateproof_evidence.__file__).parent, Path(__file__).parents[1])
"""The folders of the two packages of the harness, which may be installed in different places."""

HARNESS = tuple(dict.fromkeys(package.parent for package in HARNESS_PACKAGES))
"""The folders from which the two packages are imported; one folder if both are in the same."""

COMMENT = "a change that does not matter"

Tree = Literal["system", "project", "harness"]
"""The files that are copied: those of the system, of its whole project, or of the harness."""


@dataclass
class Copy:
    """The copy of the system for one proof; it is thrown away as a whole."""

    bring_up: BringUp
    sut: Sut
    """The description of the system; its folder is the copy's if files were copied."""
    harness: tuple[Path, ...]
    """The folders from which the judged harness is imported."""
    own_server: bool
    needs_stack: bool
    """Whether the check works on a stack."""
    migrated: bool = True
    """Whether the database of the stack is migrated before the check."""
    on_machine: bool = False
    """Whether the check runs the system's code on the machine of the harness alone."""
    folders: tuple[Path, ...] = ()
    """The copied folders."""
    relay: Relay | None = None
    """The relay between the copy's processes and its server, if a fault started one."""
    _stack: Stack | None = None

    @classmethod
    def make(
        cls,
        bring_up: BringUp,
        *,
        tree: Tree | None,
        own_server: bool,
        needs_stack: bool,
        migrated: bool = True,
        on_machine: bool = False,
    ) -> Copy:
        """Create a copy; its stack is started at its first use."""
        sut, harness = bring_up.sut, HARNESS
        folder = bring_up.new_folder()
        with bring_up.watches.paused():
            if tree == "harness":
                for package in HARNESS_PACKAGES:
                    copy_folders(package.parent, (package.name,), folder)
                harness = (folder,)
            elif tree == "project":
                copy_project(sut.folder, folder)
                sut = sut.moved_to(folder)
            elif tree == "system":
                copy_folders(sut.folder, sut.sources, folder)
                sut = sut.moved_to(folder)
        bring_up.watches.add_root(sut.folder)
        return cls(
            bring_up=bring_up,
            sut=sut,
            harness=harness,
            own_server=own_server,
            needs_stack=needs_stack,
            migrated=migrated,
            on_machine=on_machine,
            folders=(folder,) if tree else (),
        )

    @property
    def stack(self) -> Stack:
        """The copy's stack."""
        if self._stack is None:
            make = self.bring_up.own_stack if self.migrated else self.bring_up.empty_stack
            self._stack = make(own_server=self.own_server, sut=self.sut, warm=True)
        return self._stack

    @property
    def prepared_relay(self) -> Relay:
        """The relay that `Fault.prepare` started."""
        assert self.relay is not None, "premise: the fault was prepared"
        return self.relay

    @property
    def running(self) -> Running:
        """Which processes of the stack run and are ready."""
        return self._stack.running if self._stack is not None else Running()

    def start_like(self, running: Running) -> None:
        """Start the processes that another copy had running.

        Raises:
            NotReadyError: the worker exited, or it did not answer.

        """
        if running != Running():
            self.stack.start_like(running)

    def comment_on_database(self) -> str:
        """Change the comment on the database, and return the change in words."""
        self.stack.comment_on_database(COMMENT)
        return f"COMMENT ON DATABASE ... IS '{COMMENT}'"

    def run_python(self, code: str, *arguments: str, tree: Tree) -> Completed:
        """Run Python code in the interpreter of the system or, for that tree, of the harness.

        The system's runs where the check runs its code: an image may lack what a tool needs.
        """
        environment = self.bring_up.environment
        if tree == "harness":
            command = [sys.executable, "-c", code, *arguments]
            probe = ProcessProbe(self.bring_up.recorder, environment.warm_machine)
            env = {"PYTHONPATH": os.pathsep.join(map(str, self.harness))}
            return probe.run(command, env=env, folder=self.harness[0])
        command = [self.sut.interpreter, "-c", code, *arguments]
        env = self.stack.worker_environment() if self.needs_stack else {}
        notes = (
            self.stack.context.notes
            if self.needs_stack
            else self.bring_up.watches.open(self.sut.folder)
        )
        where = environment.warm_machine if self.on_machine else environment.warm
        launcher = watched(where, notes)
        probe = ProcessProbe(self.bring_up.recorder, launcher, env=self.sut.env)
        return probe.run(command, env=env, folder=self.sut.folder)

    def restart(self) -> None:
        """Stop the processes of the stack, if there is one; they start again at their next use."""
        if self._stack is not None:
            self._stack.stop_processes()

    def dispose(self) -> None:
        """Stop the processes, and delete the databases and files."""
        if self._stack is not None:
            self._stack.dispose()
            if self.own_server:
                self._stack.server.stop()
        if self.relay is not None:
            self.relay.stop()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
