"""Compare the answers of a process with its OpenAPI document.

Owns finding the operation of a request, its response, and the schema of its body. Leaves schemas to
`openapi_schema_validator`, and references to `referencing`. Not checked: headers of the answer, and
bodies that are not JSON.

Source: OpenAPI Specification 3.1.0, "Responses Object" and "Media Type Object"; 3.0.3, likewise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from openapi_schema_validator import OAS30Validator, OAS31Validator
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT202012
from ruamel.yaml import YAML

from gateproof import Exchange, InconclusiveError, Request, SystemProcess

SERVED = "gateproof://process/openapi.json"
"""The base of references in a document that a process serves."""
MOST_FINDINGS = 5


@dataclass(frozen=True, kw_only=True)
class Place:
    """A part of a document: its URI with a pointer, and what stands there."""

    uri: str
    value: Any

    def child(self, *names: str) -> Place:
        """Return the part below; a missing one has the value None."""
        pointer, value = self.uri, self.value
        for name in names:
            pointer += "/" + name.replace("~", "~0").replace("/", "~1")
            value = value.get(name) if isinstance(value, Mapping) else None
        return Place(uri=pointer, value=value)


class Contract:
    """One document, with those that it refers to."""

    def __init__(self, base: str, document: Any, registry: Registry[Any]) -> None:
        self._registry = registry
        self._top = Place(uri=f"{base}#", value=document)
        version = str(document.get("openapi", ""))
        self._validator = OAS30Validator if version.startswith("3.0") else OAS31Validator

    def findings(self, method: str, path: str, answer: Exchange) -> list[str]:
        """Return what an answer has and the document does not allow, in words.

        Raises:
            InconclusiveError: the document does not describe the request, or refers to what it does
                not have.

        """
        try:
            return list(islice(self._findings(method, path, answer), MOST_FINDINGS))
        except Unresolvable as error:
            raise InconclusiveError(
                f"process.request.openapi: got the reference {error.ref}, expected one to a part "
                "of the project; correct the document"
            ) from error

    def _findings(self, method: str, path: str, answer: Exchange) -> Iterator[str]:
        if not answer.status:
            yield answer.error
            return
        responses = self._operation(method, path).child("responses")
        status = str(answer.status)
        named = (status, f"{status[0]}XX", "default")
        found = [self._resolved(responses.child(one)) for one in named]
        response = next((one for one in found if one.value is not None), None)
        if response is None:
            yield f"status {status}: not described"
            return
        yield from self._of_body(response.child("content"), answer)

    def _of_body(self, content: Place, answer: Exchange) -> Iterator[str]:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        described = content.value or {}
        if not described and not answer.body:
            return
        kinds = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        name = next((one for one in kinds if one in described), "")
        if not name:
            yield f"status {answer.status}: content type {kind or 'none'}: not described"
            return
        schema = content.child(name, "schema")
        if schema.value is None or not kind.endswith("json"):
            return
        try:
            body = json.loads(answer.body)
        except ValueError:
            yield f"status {answer.status}: body: no JSON"
            return
        validator = self._validator({"$ref": schema.uri}, registry=self._registry)
        for error in validator.iter_errors(body):
            yield f"status {answer.status}: body {error.json_path}: {error.validator}"

    def _operation(self, method: str, path: str) -> Place:
        """Return the operation of a request; a path without parameters comes first."""
        paths = self._top.child("paths")
        asked = urlsplit(path).path
        templates = sorted(paths.value or {}, key=lambda one: one.count("{"))
        for template in templates:
            if re.fullmatch(_pattern(template), asked):
                found = self._resolved(paths.child(template)).child(method.lower())
                if found.value is not None:
                    return found
        raise InconclusiveError(
            f"process.request.openapi: got no operation for {method} {asked}, expected one in the "
            "document; correct the request or the document"
        )

    def _resolved(self, place: Place) -> Place:
        """Follow the references of a part."""
        while isinstance(place.value, Mapping) and "$ref" in place.value:
            uri = urljoin(urldefrag(place.uri).url, str(place.value["$ref"]))
            place = Place(uri=uri, value=self._registry.resolver().lookup(uri).contents)
        return place


def contract_of(process: SystemProcess, request: Request) -> Contract:
    """Return the document of a request: the file of its description, or what the process serves.

    Raises:
        InconclusiveError: it cannot be read.

    """
    root = process.home.sut.folder
    if request.openapi.startswith("/"):
        base, text = SERVED, process.get(request.openapi).body
    else:
        path = (root / request.openapi).resolve()
        base, text = path.as_uri(), path.read_text(encoding="utf-8")
    document = _parsed(text)
    if not isinstance(document, Mapping) or "paths" not in document:
        raise InconclusiveError(
            f"process.request.openapi: got {request.openapi} without paths, expected an OpenAPI "
            "document; correct the path"
        )

    def retrieve(uri: str) -> Resource[Any]:
        parts = urlsplit(uri)
        path = Path(url2pathname(unquote(parts.path)))
        if parts.scheme != "file" or not path.is_relative_to(root) or not path.is_file():
            raise NoSuchResource(ref=uri)  # type: ignore[call-arg]  # attrs: mypy misses it
        return _resource(_parsed(path.read_text(encoding="utf-8")))

    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]  # likewise
    registry = registry.with_resource(base, _resource(document))
    return Contract(base, document, registry)


def _resource(document: Any) -> Resource[Any]:
    return Resource.from_contents(document, default_specification=DRAFT202012)


def _parsed(text: str) -> Any:
    """Return a document in JSON or YAML, which has JSON's values as text and not as dates."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))


def _pattern(template: str) -> str:
    parts = re.split(r"\{[^}]*\}", template)
    return "[^/]+".join(map(re.escape, parts))
