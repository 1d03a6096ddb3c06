"""Checkouts of the project in which the checks are stubs, each with an installed ``.venv``.

Everything that decides how the gates command ends is the project's own: Makefile, configuration,
workflows, the list of packages. Nothing is installed: the scripts of ``.venv`` call those of the
interpreter of this run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateproof import InconclusiveError, ProcessProbe, Sut, at_least_one, copy_folders, premise

from .stub import remove_proof, write_stubs

HARNESS = ("evidence", "harness")
"""The folders from which ``.venv`` imports the harness: those of the checkout itself."""

FOLDERS = (".github", *HARNESS)
"""Copied as they are, in addition to the files at the top of the project."""

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "gate ci"),
        ("EMAIL", "ci@example.invalid"),
        ("DATE", "2026-01-01T00:00:00Z"),
    )
}
GIT = {**IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
"""The variables of git commands: the machine's own settings do not matter."""

ASK_FOR_STAMPS = "gateproof-stamps: ; @echo $(SETUP) $(MOCKS_SETUP)"
"""A target that prints the file by which make sees that the packages are installed."""

SCRIPT = """#!/bin/sh
exec "{path}" "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A git repository with the project, in which the checks are stubs."""

    machine: ProcessProbe
    folder: Path
    criteria: tuple[str, ...]
    """The criteria of the stubs."""
    state: str
    """Path of the system of the stubs: a file that lists the criteria that it violates."""

    @classmethod
    def create(
        cls, machine: ProcessProbe, sut: Sut, folder: Path, *, few: bool = False
    ) -> Repository:
        """Copy the project, replace its checks and its system by stubs, and commit it.

        Args:
            machine: runs git.
            sut: the described system of the project.
            folder: the folder to make it in.
            few: see `write_stubs`.

        """
        # In a linked worktree .git is a file: with it, commits would go to the project itself.
        top = [path.name for path in sut.folder.iterdir() if path.is_file() and path.name != ".git"]
        copy_folders(sut.folder, [*top, *FOLDERS], folder)
        sources = [name for name in sut.sources if not (sut.folder / name).is_file()]
        premise("folders of the system's code", got=len(sources), relation="at_least", expected=1)
        for name in sources:
            (folder / name).mkdir(exist_ok=True)
        for name in sut.named_files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        shutil.copyfile(sut.path, folder / sut.inner_path)
        state = f"{sources[0]}/state.txt"
        (folder / state).touch()
        criteria = [
            one
            for name in sut.gates or ("gates",)
            for one in write_stubs(sut.folder / name, folder / name, state=state, few=few)
        ]
        found = tuple(at_least_one("checks of the described gates", criteria))
        repository = cls(machine=machine, folder=folder, criteria=found, state=state)
        repository.git("init", "--quiet", "--template=")
        place = Path(repository.git("rev-parse", "--absolute-git-dir"))
        if place.resolve() != (folder / ".git").resolve():
            raise InconclusiveError(f"repository: got {place}, expected it in {folder}")
        repository.commit()
        return repository

    def git(self, *arguments: str) -> str:
        """Run a git command in it and return what it prints."""
        if shutil.which("git") is None:
            raise InconclusiveError("git: got none on this machine, expected it; install git")
        done = self.machine.run(["git", *arguments], env=GIT, folder=self.folder)
        if done.exit_status != 0:
            raise InconclusiveError(f"git {arguments[0]}: got {done.output.strip()}")
        return done.output.strip()

    def commit(self) -> None:
        """Commit all files, and one commit more if nothing has changed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=state")

    def set_violated(self, *criteria: str) -> None:
        """Commit a system that violates these criteria and no other."""
        (self.folder / self.state).write_text("\n".join(criteria), encoding="utf-8")
        self.commit()

    def remove_proof(self, criterion: str, checkout: Path | None = None) -> None:
        """Remove the falsifier of one stub, in the repository or in one checkout."""
        remove_proof(checkout or self.folder, criterion, state=self.state)

    def check_out(self) -> Path:
        """Return a new checkout of the last commit, in which the packages are installed."""
        into = Path(tempfile.mkdtemp(prefix="checkout-", dir=self.folder.parent))
        shutil.copytree(self.folder, into, symlinks=True, dirs_exist_ok=True)
        scripts = into / ".venv" / "bin"
        scripts.mkdir(parents=True)
        for path in (Path(sys.prefix) / "bin").iterdir():
            (scripts / path.name).write_text(SCRIPT.format(path=path), encoding="utf-8")
            (scripts / path.name).chmod(0o755)
        self._stamp(into)
        return into

    def _stamp(self, checkout: Path) -> None:
        """Write the files by which make sees that the packages are installed."""
        command = ["make", "--no-print-directory", f"--eval={ASK_FOR_STAMPS}", "gateproof-stamps"]
        done = self.machine.run(command, env={}, folder=checkout)
        stamps = done.output.split()
        premise(
            "stamps of the installed packages",
            on="Makefile/SETUP",
            got=" ".join(stamps[:1]),
            relation="matches",
            expected=r"^\.venv/",
        )
        for stamp in stamps:
            (checkout / stamp).touch()


class NewRepository(Protocol):
    """Creates a repository of the judged project."""

    def __call__(self, *, few: bool = False) -> Repository:
        """Create it; see `write_stubs` for `few`."""
