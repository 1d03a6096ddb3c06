"""The digests of the system's files, modules and functions: whether one has changed.

A unit is what `gateproof.stack.watched` names: a file that was read (``path``), a module that was
imported (``path:``), or a function that was run (``path:name``). The digest of a module is that of
everything in it but the bodies of its outer functions; comments and line numbers count in neither.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateproof.guest.watch import functions_of

EVERYTHING = "*"
"""The unit of something of which it is not known what it uses: all files of the system."""
MISSING = "missing"
"""The digest of what is not there."""


@dataclass
class Sources:
    """Computes digests of units; each file is read once.

    Args:
        root: the folder of the system.
        everything: returns the digest of `EVERYTHING`.

    """

    root: Path
    everything: Callable[[], str]
    _modules: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)

    def digest(self, unit: str) -> str:
        """Return the digest of a unit; `MISSING` if it is not there."""
        if unit not in self._known:
            self._known[unit] = self._digest(unit)
        return self._known[unit]

    def changed(self, units: Mapping[str, str]) -> list[str]:
        """Return the units that now have another digest than before, in order."""
        return sorted(unit for unit, before in units.items() if self.digest(unit) != before)

    def digests(self, units: Iterable[str]) -> dict[str, str]:
        """Return the digests of units, by unit."""
        return {unit: self.digest(unit) for unit in sorted(units)}

    def _digest(self, unit: str) -> str:
        path, colon, name = unit.partition(":")
        if unit == EVERYTHING:
            return self.everything()
        if not colon:
            return self._of_file(path)
        if path not in self._modules:
            self._modules[path] = self._of_module(path)
        return self._modules[path].get(name, MISSING)

    def _of_file(self, path: str) -> str:
        try:
            return short((self.root / path).read_bytes())
        except OSError:
            return MISSING

    def _of_module(self, path: str) -> Mapping[str, str]:
        """Return the digest of each function of a module and, with an empty name, of the rest."""
        try:
            content = (self.root / path).read_bytes()
        except OSError:
            return {}
        try:
            return module_digests(content)
        except SyntaxError:  # another version of Python may be able to read it
            return _Whole(short(content))


class _Whole(dict[str, str]):
    """The same digest for each name: that of the whole file."""

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._whole = digest

    def get(self, key: str, default: object = None) -> str:  # noqa: ARG002
        return self._whole


def module_digests(content: bytes) -> dict[str, str]:
    """Return the digests of a module: by function and, with an empty name, of the rest.

    Raises:
        SyntaxError: it is no module of this version of Python.

    """
    tree = ast.parse(content)
    found: dict[str, str] = {}
    for name, function in functions_of(tree):
        found[name] = short("\n".join(map(ast.dump, function.body)).encode())
        documented = ast.get_docstring(function, clean=False) is not None
        function.body = function.body[:1] if documented else []
    found[""] = short(ast.dump(tree).encode())
    return found


def short(content: bytes) -> str:
    """Return a short digest: it tells changes apart, and no one is to be kept from forging it."""
    return hashlib.sha256(content).hexdigest()[:16]
