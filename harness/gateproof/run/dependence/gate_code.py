"""The code of a check: its module, what this imports from the folders of gates, and their data."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

LEFT_OUT = "__pycache__"
DYNAMIC = ("import_module", "__import__", "exec(", "runpy")
"""Words in a module that can import another one whose name the module does not say."""


@dataclass
class GateCode:
    """Computes the digest of the code of a check; each file is read once.

    Args:
        gates: the folders of the run's gates.

    """

    gates: Sequence[Path]
    _texts: dict[Path, bytes] = field(default_factory=dict)
    _digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, module: Path) -> str:
        """Return the digest of the code that the checks of a module need.

        Every file of a gates folder that is no module counts, and every ``conftest.py`` and
        ``__init__.py`` above the module. So does the whole folder, if a module could import another
        one without naming it.
        """
        if module not in self._digests:
            needed = self.needed(module)
            lines = [f"{_hash(self._text(path))}  {self._name(path)}\n" for path in sorted(needed)]
            self._digests[module] = _hash("".join([self._data, *lines]).encode())
        return self._digests[module]

    def needed(self, module: Path) -> set[Path]:
        """Return the modules of the gates folders that a module needs, with itself."""
        found: set[Path] = set()
        waiting = [module, *self._around(module)]
        while waiting:
            path = waiting.pop()
            if path in found:
                continue
            found.add(path)
            text = self._text(path).decode("utf-8", "replace")
            if any(word in text for word in DYNAMIC):
                return set(self._modules)
            for one in self._imported(path, text):
                waiting += [one, *self._around(one)]
        return found

    @cached_property
    def _modules(self) -> list[Path]:
        return [path for gate in self.gates for path in sorted(gate.rglob("*.py"))]

    @cached_property
    def _data(self) -> str:
        """The digest of the files that are no modules."""
        files = (path for gate in self.gates for path in sorted(gate.rglob("*")))
        kept = (
            path
            for path in files
            if path.suffix != ".py" and LEFT_OUT not in path.parts and path.is_file()
        )
        return "".join(f"{_hash(path.read_bytes())}  {self._name(path)}\n" for path in kept)

    def _name(self, path: Path) -> str:
        for gate in self.gates:
            if path.is_relative_to(gate):
                return f"{gate.name}/{path.relative_to(gate).as_posix()}"
        return path.name

    def _around(self, module: Path) -> Iterator[Path]:
        """Yield what Python and pytest load before a module, from the folder and those above."""
        for folder in module.parents:
            for name in ("__init__.py", "conftest.py"):
                if (folder / name).is_file() and (folder / name) != module:
                    yield folder / name
            if folder in self.gates:
                return

    def _imported(self, path: Path, text: str) -> Iterator[Path]:
        """Yield the modules in the gates folders that a module imports; a package may be one."""
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                starts = [path.parents[node.level - 1]] if node.level else self._starts(path)
                names = [alias.name for alias in node.names]
                yield from self._found(starts, node.module or "", names)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._found(self._starts(path), alias.name, ())

    def _starts(self, path: Path) -> list[Path]:
        """Return the folders from which a module may import one of a gates folder by its name."""
        above = [folder for gate in self.gates for folder in (gate, *gate.parents)]
        return list(dict.fromkeys([*path.parents, *above]))

    def _found(self, starts: Sequence[Path], module: str, names: Sequence[str]) -> Iterator[Path]:
        for start in starts:
            inner = start.joinpath(*module.split(".")) if module else start
            yield from self._existing((inner, *(inner / name for name in names)))

    def _existing(self, candidates: Iterable[Path]) -> Iterator[Path]:
        for candidate in candidates:
            for path in (candidate.with_suffix(".py"), candidate / "__init__.py"):
                if path in self._all:
                    yield path

    @cached_property
    def _all(self) -> frozenset[Path]:
        return frozenset(self._modules)

    def _text(self, path: Path) -> bytes:
        if path not in self._texts:
            self._texts[path] = path.read_bytes()
        return self._texts[path]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
