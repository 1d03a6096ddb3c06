"""The fault kind `source`: a change to the code of a copy of the system, or of the harness.

The change must apply exactly once. The changed module must still be importable, in the interpreter
and the folder of the system's processes, unless the fault says otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gateproof.base.errors import HarnessError
from gateproof.faults.code.text import Addition, Body, Change, EmptyLine, Replacement
from gateproof.faults.interface import Fault
from gateproof_evidence.errors import BadInputError

if TYPE_CHECKING:
    from gateproof.stack.copy import Copy, Tree

IMPORT = """
import hashlib, importlib, json, sys
sys.path.insert(0, "")
module = importlib.import_module(sys.argv[1])
with open(module.__file__, "rb") as file:
    print("\\n" + json.dumps([module.__file__, hashlib.sha256(file.read()).hexdigest()]))
"""
LATER_S = 60
"""How far the modification time of the changed file is moved forward, in seconds. Python compares a
compiled file with its source by whole seconds and size, and could miss a change within a second."""


@dataclass(frozen=True, kw_only=True)
class SourceFault(Fault):
    """A change to one file of code."""

    kind = "source"
    restarts = True

    file: str
    change: Change
    imports: bool = True
    """Whether the changed module must still be importable."""

    def describe(self) -> str:
        """Return the file and the change."""
        return f"in {self.file}: {self.change.describe()}"

    def change_inertly(self, copy: Copy) -> str:
        """Add an empty line to the file, and stop the running processes."""
        change = add_empty_line(self._path(copy))
        copy.restart()
        return f"in {self.file}: {change}"

    def fingerprint(self, copy: Copy) -> str:
        """Return the file's name and digest."""
        content = self._path(copy).read_bytes()
        return f"{self.file} sha256:{hashlib.sha256(content).hexdigest()}"

    def inject(self, copy: Copy) -> None:
        """Change the file, check that the system imports it, and stop the running processes."""
        path = self._path(copy)
        change_file(path, self.change)
        if self.imports:
            self._check_import(copy, path)
        copy.restart()

    def _path(self, copy: Copy) -> Path:
        root = copy.harness[0] if self.tree == "harness" else copy.sut.folder
        return root / self.file

    def _check_import(self, copy: Copy, path: Path) -> None:
        """Check which file an interpreter of the system imports under the module's name.

        Raises:
            HarnessError: the import fails, or imports another file.

        """
        module = ".".join(PurePosixPath(self.file).with_suffix("").parts).removesuffix(".__init__")
        assert self.tree is not None
        done = copy.run_python(IMPORT, module, tree=self.tree)
        if done.exit_status != 0:
            raise HarnessError(
                f"import of the changed {module}: got {done.cause}, expected none raised"
            )
        file, digest = json.loads(done.output.strip().splitlines()[-1])
        wanted = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != wanted:
            raise HarnessError(
                f"import of the changed {module}: got {file} with sha256:{digest}, "
                f"expected {path} with sha256:{wanted}"
            )


def change_file(path: Path, change: Change | EmptyLine) -> None:
    """Change one file of a copy.

    Raises:
        HarnessError: the file is missing, or the change does not apply exactly once.

    """
    if not path.is_file():
        raise HarnessError(f"file to change: got no {path.name} in the copy, expected {path}")
    original = path.stat()
    path.write_text(change.apply(path.read_text(encoding="utf-8")), encoding="utf-8")
    os.utime(path, (original.st_atime + LATER_S, original.st_mtime + LATER_S))


def add_empty_line(path: Path) -> str:
    """Add an empty line at the end of a file of a copy, and return this change in words.

    Raises:
        HarnessError: the file is missing.

    """
    change_file(path, EmptyLine())
    return EmptyLine().describe()


def source(
    name: str,
    file: str,
    before: str = "",
    after: str = "",
    *,
    function: str = "",
    body: str = "",
    append: str = "",
    tree: Tree = "system",
    imports: bool = True,
) -> SourceFault:
    """Break a claim in the code of a copy, by one of three kinds of change.

    Args:
        name: a slug.
        file: path with forward slashes, relative to the system's folder or, for the tree
            ``harness``, to the folder from which the packages are imported.
        before: a text that occurs exactly once in the file ...
        after: ... and its replacement.
        function: qualified name of one function or method ...
        body: ... and its new body.
        append: lines to add at the end of the file.
        tree: ``system``, or ``harness`` for claims about the harness itself.
        imports: whether the changed module must still be importable.

    Raises:
        BadInputError: not exactly one of the three changes is given, or it would change nothing.

    """
    return SourceFault(
        name=name,
        file=file,
        change=one_change(name, before, after, function=function, body=body, append=append),
        tree=tree,
        imports=imports,
    )


def one_change(
    name: str, before: str, after: str, *, function: str = "", body: str = "", append: str = ""
) -> Change:
    """Return the change that the arguments describe.

    Raises:
        BadInputError: none or several are given, or it would change nothing.

    """
    if sum(map(bool, (before, function, append))) != 1 or before == after != "":
        raise BadInputError(
            f"falsifier {name}: change: got {before=}, {after=}, {function=}, {append=}, expected "
            "one of before with another after, function with body, or append"
        )
    if append:
        return Addition(lines=append)
    if function:
        return Body(function=function, body=body or "pass")
    return Replacement(before=before, after=after)
