"""The fault kind `file`: a change to a workflow or configuration file in a copy of the project."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateproof.faults.code.source import add_empty_line, change_file, one_change
from gateproof.faults.code.text import Change
from gateproof.faults.interface import Fault

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy


@dataclass(frozen=True, kw_only=True)
class FileFault(Fault):
    """A change to one file that is not code."""

    kind = "file"

    file: str
    change: Change

    def describe(self) -> str:
        """Return the file and the change."""
        return f"in {self.file}: {self.change.describe()}"

    def change_inertly(self, copy: Copy) -> str:
        """Add an empty line to the file."""
        return f"in {self.file}: {add_empty_line(copy.sut.folder / self.file)}"

    def fingerprint(self, copy: Copy) -> str:
        """Return the file's name and digest."""
        content = (copy.sut.folder / self.file).read_bytes()
        return f"{self.file} sha256:{hashlib.sha256(content).hexdigest()}"

    def inject(self, copy: Copy) -> None:
        """Change the file."""
        change_file(copy.sut.folder / self.file, self.change)


def file(name: str, path: str, before: str = "", after: str = "", *, append: str = "") -> FileFault:
    """Break a claim in a file of a copy of the project.

    Args:
        name: a slug.
        path: path of the file relative to the project's folder, with forward slashes.
        before: a text that occurs exactly once in the file ...
        after: ... and its replacement.
        append: lines to add at the end instead.

    Raises:
        BadInputError: not exactly one of the two changes is given, or it would change nothing.

    """
    change = one_change(name, before, after, append=append)
    return FileFault(name=name, file=path, change=change, tree="project")
