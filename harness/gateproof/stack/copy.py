"""The throw-away copy that a proof works on: a stack, and files of its own where a fault asks.

Made part by part when first asked for: a check that needs no database is proven without one.
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
from gateproof.base.sut import Sut
from gateproof.environments.interface import Completed
from gateproof.probes.process import ProcessProbe
from gateproof.stack.bring_up import BringUp
from gateproof.stack.relay import Relay
from gateproof.stack.stack import Stack

HARNESS_PACKAGES = (Path(gateproof_evidence.__file__).parent, Path(__file__).parents[1])
"""The folders of the two packages of the harness, wherever each is installed."""

HARNESS = tuple(dict.fromkeys(package.parent for package in HARNESS_PACKAGES))
"""The folders that the two packages are imported from: one where both are installed alike."""

Tree = Literal["system", "project", "harness"]
"""Whose files a copy has of its own: the system's, its whole project's, or the harness's."""


@dataclass
class Copy:
    """One proof's own system; thrown away whole."""

    bring_up: BringUp
    sut: Sut
    """The description; its folder is the copy's where the copy has files of its own."""
    harness: tuple[Path, ...]
    """The folders that the harness under judgement is imported from."""
    own_server: bool
    needs_stack: bool
    """Whether the check works on a stack."""
    folders: tuple[Path, ...] = ()
    """What was copied for it."""
    relay: Relay | None = None
    """Between the copy's processes and its server, where a fault put one."""
    _stack: Stack | None = None

    @classmethod
    def make(
        cls, bring_up: BringUp, *, tree: Tree | None, own_server: bool, needs_stack: bool
    ) -> Copy:
        """Make a copy; its stack is started when first asked for."""
        sut, harness = bring_up.sut, HARNESS
        folder = bring_up.new_folder()
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
        return cls(
            bring_up=bring_up,
            sut=sut,
            harness=harness,
            own_server=own_server,
            needs_stack=needs_stack,
            folders=(folder,) if tree else (),
        )

    @property
    def stack(self) -> Stack:
        """The copy's stack."""
        if self._stack is None:
            self._stack = self.bring_up.own_stack(
                own_server=self.own_server, sut=self.sut, warm=True
            )
        return self._stack

    @property
    def the_relay(self) -> Relay:
        """The relay, which `prepare` has put there."""
        assert self.relay is not None, "premise: the fault was prepared"
        return self.relay

    def run_python(self, code: str, *arguments: str, tree: Tree) -> Completed:
        """Run a program in the system's interpreter, or in the harness's for its own tree."""
        command = [sys.executable, "-c", code, *arguments]
        environment = self.bring_up.environment
        if tree == "harness":
            probe = ProcessProbe(self.bring_up.recorder, environment.warm_machine)
            env = {"PYTHONPATH": os.pathsep.join(map(str, self.harness))}
            return probe.run(command, env=env, folder=self.harness[0])
        env = self.stack.worker_environment() if self.needs_stack else {}
        probe = ProcessProbe(self.bring_up.recorder, environment.warm)
        return probe.run(command, env=env, folder=self.sut.folder)

    def restart(self) -> None:
        """End the processes of the stack, where there is one: they start again when asked for."""
        if self._stack is not None:
            self._stack.stop_processes()

    def dispose(self) -> None:
        """Throw everything away."""
        if self._stack is not None:
            self._stack.dispose()
            if self.own_server:
                self._stack.server.stop()
        if self.relay is not None:
            self.relay.stop()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
