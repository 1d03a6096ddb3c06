"""Watches an interpreter from its start, and then runs the system's own module of this name.

An interpreter imports a module of this name when it starts. See `gateproof.guest.watch`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import PathFinder

import gateproof_watch  # type: ignore[import-not-found]

gateproof_watch.begin()

_own = os.path.dirname(os.path.abspath(__file__))
_found = PathFinder.find_spec(
    "sitecustomize", [one for one in sys.path if os.path.abspath(one) != _own]
)
if _found is not None and _found.loader is not None:
    _module = importlib.util.module_from_spec(_found)
    sys.modules["sitecustomize"] = _module
    _found.loader.exec_module(_module)
