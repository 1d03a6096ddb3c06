"""Read the operations of a bundled document: what a request has, and what its answers have.

Owns inheritance: parameters of the path, security of the document. Leaves judging to the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from system.contracts.reading.document import Json, at, escaped
from system.contracts.reading.reference import resolved

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_NAME = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an operation with a schema: a parameter, a header, or a body of one media type."""

    where: str
    """The operation and the part, for people."""
    pointer: str
    """Its JSON pointer in the bundled document."""
    content: Mapping[str, Json]
    name: str = ""
    """The media type, or the name of the header."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation, with what it inherits."""

    method: str
    path: str
    pointer: str
    content: Mapping[str, Json]
    document: Json
    """The bundled document."""

    @property
    def name(self) -> str:
        """The method and the path, as in messages."""
        return f"{self.method.upper()} {self.path}"

    @property
    def route(self) -> tuple[str, str]:
        """The method and the path without the names of its parameters."""
        return self.method, _NAME.sub("{}", self.path)

    @property
    def names_in_path(self) -> tuple[str, ...]:
        """The names of the parameters in the path, in order."""
        return tuple(_NAME.findall(self.path))

    @property
    def security(self) -> list[Mapping[str, list[str]]] | None:
        """The requirements of which one must be met; None if the document states none either."""
        found = self.content.get("security", self.document.get("security"))
        return found if isinstance(found, list) else None

    def parameters(self) -> tuple[Part, ...]:
        """Return the parameters, those of the operation instead of those of the path."""
        found: dict[tuple[str, str], Part] = {}
        base = self.pointer.rpartition("/")[0]
        path = self.document["paths"][self.path]
        for owner, pointer in ((path, base), (self.content, self.pointer)):
            for index, one in enumerate(owner.get("parameters", ())):
                content = resolved(self.document, one)
                where = f"{self.name}/{content['in']} parameter {content['name']}"
                part = _part(self.document, where, f"{pointer}/parameters/{index}", one)
                found[content["in"], _spelling(content)] = part
        return tuple(found.values())

    def body(self) -> Part | None:
        """Return the body of the request; None if it has none."""
        one = self.content.get("requestBody")
        if one is None:
            return None
        return _part(self.document, f"{self.name}/request", f"{self.pointer}/requestBody", one)

    def responses(self) -> dict[str, Part]:
        """Return the responses by their status, such as ``404``, ``4XX`` or ``default``."""
        return {
            status: _part(
                self.document, f"{self.name}/{status}", f"{self.pointer}/responses/{status}", one
            )
            for status, one in self.content.get("responses", {}).items()
            if not status.startswith("x-")
        }

    def headers(self, response: Part) -> tuple[Part, ...]:
        """Return the headers of a response."""
        return tuple(
            _part(
                self.document,
                f"{response.where}/header {name}",
                f"{response.pointer}/headers/{escaped(name)}",
                one,
                name=name,
            )
            for name, one in response.content.get("headers", {}).items()
        )


def media(part: Part) -> tuple[Part, ...]:
    """Return the media types of a body or a response."""
    return tuple(
        Part(
            where=f"{part.where}/{name}",
            pointer=f"{part.pointer}/content/{escaped(name)}",
            content=content,
            name=name,
        )
        for name, content in part.content.get("content", {}).items()
    )


def operations(document: Json) -> Iterator[Operation]:
    """Yield the operations of a bundled document, in its order."""
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if isinstance(item.get(method), dict):
                yield Operation(
                    method=method,
                    path=path,
                    pointer=f"/paths/{escaped(path)}/{method}",
                    content=item[method],
                    document=document,
                )


def _part(document: Json, where: str, pointer: str, node: Json, *, name: str = "") -> Part:
    """Return a part that stands in place or is referred to."""
    content = resolved(document, node)
    place = _pointed(document, node, pointer)
    return Part(where=where, pointer=place, content=content, name=name)


def _spelling(parameter: Mapping[str, Json]) -> str:
    """Return the name by which a parameter is known: names of headers have no case."""
    name = str(parameter["name"])
    return name.lower() if parameter["in"] == "header" else name


def _pointed(document: Json, node: Json, pointer: str) -> str:
    """Return where a part is: where its references lead, or in place; `resolved` ends them."""
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        pointer = node["$ref"].removeprefix("#")
        node = at(document, pointer)
    return pointer
