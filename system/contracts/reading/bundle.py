"""Put a document and the parts of other files that it refers to into one document.

A released version must not change with a part that it shares, so a baseline is such a document.
Owns following references from file to file. Leaves judging to the rules.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field

from system.contracts.reading.document import DOCUMENT, Json, Library, at
from system.contracts.reading.reference import nodes
from system.errors import ContractError

_PART = re.compile(r"/components/([A-Za-z]+)/([A-Za-z0-9._-]+)")


@dataclass(frozen=True, kw_only=True)
class BrokenReference:
    """A reference that cannot be followed, or must not be."""

    where: str
    got: str
    expected: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One document with all its parts."""

    document: Json
    broken: tuple[BrokenReference, ...]


def bundle(library: Library, domain: str) -> Bundle:
    """Return the document of a domain with the parts of other files under its ``components``.

    Raises:
        ContractError: a file cannot be read, or the document is no object.

    """
    name = f"{domain}/{DOCUMENT}"
    content = library.read(name)
    if not isinstance(content, dict):
        raise ContractError(f"{name}: got no object, expected an OpenAPI document")
    return _Bundling(library, name, deepcopy(content)).run()


@dataclass
class _Bundling:
    library: Library
    name: str
    document: dict[str, Json]
    broken: list[BrokenReference] = field(default_factory=list)
    homes: dict[tuple[str, str], str] = field(default_factory=dict)
    """The file of each part that was added, by its section and name."""
    waiting: deque[tuple[str, str, Json]] = field(default_factory=deque)
    """Parts whose references are not followed yet: file, pointer and content."""

    def run(self) -> Bundle:
        self.waiting.append((self.name, "", self.document))
        while self.waiting:
            file, where, content = self.waiting.popleft()
            for pointer, node in list(nodes(content, where)):
                if isinstance(node.get("$ref"), str):
                    self._follow(file, f"{'' if file == self.name else file}{pointer}", node)
        return Bundle(document=self.document, broken=tuple(self.broken))

    def _follow(self, file: str, where: str, node: dict[str, Json]) -> None:
        """Check one reference, and point it at the part inside of the document."""
        other, _, pointer = node["$ref"].partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), other))
        target = target if other else file
        if re.match(r"[a-z][a-z0-9+.-]*:|/", other, re.IGNORECASE) or target.startswith("../"):
            self._refuse(where, node, "a file inside the folder of contracts")
            return
        try:
            part = at(self.library.read(target), pointer)
        except ContractError as error:
            self._refuse(where, node, f"a file that can be read; {error}")
        except KeyError:
            self._refuse(where, node, "a part that exists")
        else:
            self._include(target, pointer, part, where, node)

    def _include(
        self, file: str, pointer: str, part: Json, where: str, node: dict[str, Json]
    ) -> None:
        """Add a part of another file to the document, once."""
        if file == self.name:
            node["$ref"] = f"#{pointer}"
            return
        match = _PART.fullmatch(pointer)
        if match is None:
            self._refuse(where, node, "a part of another file as #/components/SECTION/NAME")
            return
        section, name = match[1], match[2]
        if where == pointer:  # the document gives the part its own name again
            node.clear()
            node.update(deepcopy(part))
            self.homes[section, name] = file
            self.waiting.append((file, pointer, node))
            return
        parts = self.document.setdefault("components", {}).setdefault(section, {})
        if name in parts and self.homes.get((section, name)) != file:
            self._refuse(where, node, f"a name of its own: {section}/{name} is another part too")
            return
        node["$ref"] = f"#{pointer}"
        if name not in parts:
            self.homes[section, name] = file
            parts[name] = deepcopy(part)
            self.waiting.append((file, pointer, parts[name]))

    def _refuse(self, where: str, node: dict[str, Json], expected: str) -> None:
        self.broken.append(BrokenReference(where=where, got=str(node["$ref"]), expected=expected))
