"""Changes a process of the system right after it imported a module, for falsifiers.

Python imports this module at the start of every process whose PYTHONPATH names this folder. The
variable FALSIFIER names a file, whose `CHANGES` map a module's name to what is done to that module
once it is imported. Imports nothing of ours: it runs inside the system.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

VARIABLE = "FALSIFIER"

Change = Callable[[ModuleType], None]


class Changer(MetaPathFinder):
    """Finds the modules to change where Python would, and changes them after their import."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's own spec, with a loader that goes on to the change."""
        change = self._changes.get(fullname)
        spec = PathFinder.find_spec(fullname, path, target) if change else None
        if change is None or spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


def load_changes(file: str) -> dict[str, Change]:
    """Return what a falsifier's file declares; running the file may do something by itself."""
    spec = importlib.util.spec_from_file_location("falsifier", file)
    assert spec is not None
    assert spec.loader is not None
    falsifier = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(falsifier)
    changes: dict[str, Change] = getattr(falsifier, "CHANGES", {})
    return changes


if VARIABLE in os.environ:
    sys.meta_path.insert(0, Changer(load_changes(os.environ[VARIABLE])))
