"""The checks that a change in git may concern, without an earlier bundle.

Nothing is recorded then of what a check uses of the system: a change of the system's code, its
description, the packages or gateproof concerns every check. A change inside the folders of gates
concerns the checks whose code it is, and any other change none. Nothing is taken over, so that the
result of such a run is partial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gateproof.base.git import git
from gateproof.description.sut import Sut
from gateproof.run.dependence.digest import PROJECT_FILES
from gateproof.run.dependence.gate_code import LEFT_OUT, GateCode
from gateproof.stack.copy import HARNESS_PACKAGES
from gateproof_evidence.errors import BadInputError


def changed_files(folder: Path, revision: str) -> frozenset[Path]:
    """Return the files that differ from a commit, with new and deleted ones.

    Args:
        folder: a folder of the checkout.
        revision: the commit.

    Raises:
        BadInputError: git knows no such commit here.

    """
    top = git(folder, "rev-parse", "--show-toplevel")
    known = git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if top is None or not known:
        raise BadInputError(
            f"--changed-since: got {revision}, expected a commit of the checkout at {folder}; a "
            "shallow clone may lack it: fetch it first"
        )
    listed = git(folder, "-c", "core.quotePath=false", "diff", "--name-only", "-z", known, "--")
    new = git(Path(top), "ls-files", "--others", "--exclude-standard", "-z")
    names = f"{listed or ''}\0{new or ''}".split("\0")
    return frozenset(Path(top) / name for name in names if name and LEFT_OUT not in name)


def concerns(files: Iterable[Path], sut: Sut, gates: tuple[Path, ...]) -> Callable[[Path], bool]:
    """Return a function that returns whether changes concern the checks of a module.

    Args:
        files: the changed files.
        sut: the described system.
        gates: the folders of the run's gates.

    """
    changed = frozenset(files)
    code = GateCode(gates)
    inside = {one for one in changed if any(one.is_relative_to(gate) for gate in gates)}
    if any(_is_of_all(one, sut) for one in changed - inside):
        return lambda _: True
    data = any(one.suffix != ".py" for one in inside)
    gone = any(not one.exists() for one in inside)
    if data or gone:  # no one can see who needed a deleted module
        return lambda _: True
    return lambda module: bool(code.needed(module) & inside)


def _is_of_all(path: Path, sut: Sut) -> bool:
    """Return whether every check may depend on a file outside of the folders of gates."""
    tops = [
        *(sut.folder / source for source in sut.sources),
        *(sut.folder / name for name in PROJECT_FILES),
        sut.path,
        sut.falsifiers,
        *HARNESS_PACKAGES,
    ]
    return any(path.is_relative_to(top) for top in tops) or (
        path.name.startswith("requirements") and path.parent == sut.folder
    )
