"""Removes compiled files, so that Python reads the sources that a run is bound to.

A compiled file (``__pycache__``) counts as current if it names the time and the size of its source,
whatever code it contains. Every pytest imports this module, so it imports little. Leaves the choice
of the folders to the caller.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from gateproof_evidence.errors import BadInputError

COMPILED = "__pycache__"
ENVIRONMENT = "pyvenv.cfg"
"""The file that marks a virtual environment."""


def drop_compiled(folders: Iterable[Path]) -> None:
    """Remove the compiled files in folders and everything below them; Python makes them again.

    Links are followed, as the digest of a folder follows them. A folder that cannot be written
    keeps its compiled files, and so does a virtual environment: what is installed is not a source.
    """
    entered: set[str] = set()
    for folder in folders:
        for top, inner, names in os.walk(folder, followlinks=True):
            place = os.path.realpath(top)
            if place in entered or ENVIRONMENT in names:
                inner.clear()
                continue
            entered.add(place)
            if COMPILED in inner:
                drop_compiled_of(Path(top))
                inner.remove(COMPILED)


def drop_compiled_of(folder: Path) -> None:
    """Remove the compiled files of the modules in a folder, and not of those below it."""
    shutil.rmtree(folder / COMPILED, ignore_errors=True)


def refuse_other_place() -> None:
    """Refuse a place for compiled files that is not next to their sources.

    Raises:
        BadInputError: PYTHONPYCACHEPREFIX is set.

    """
    if sys.pycache_prefix is not None:
        raise BadInputError(
            f"PYTHONPYCACHEPREFIX or python -X pycache_prefix: got {sys.pycache_prefix}, expected "
            "none: Python could run compiled files from there instead of the checks; unset it"
        )
