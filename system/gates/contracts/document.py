"""Read released contracts, build requests from their examples, and judge answers by them.

A released version is one JSON file with all its parts, so this reads it without the system's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from gateproof import Exchange, FileProbe, premise

CONTRACTS = "system/contracts"
"""The folder of the contracts."""

PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MOST_FINDINGS = 3


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A request that an operation allows, or a change of it."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes = b""
    """The body."""

    def without(self, header: str) -> Sample:
        """Return it without a header."""
        kept = {name: value for name, value in self.headers.items() if name != header}
        return replace(self, headers=kept)

    def with_body(self, value: object) -> Sample:
        """Return it with another JSON body."""
        return replace(self, content=json.dumps(value).encode())


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a released contract."""

    domain: str
    method: str
    path: str
    content: Mapping[str, Any]
    document: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """Its id, unique over all domains."""
        return str(self.content["operationId"])

    @property
    def parameters(self) -> tuple[Mapping[str, Any], ...]:
        """Its parameters, with those of its path."""
        item = self.document["paths"][self.path]
        own = [*item.get("parameters", ()), *self.content.get("parameters", ())]
        return tuple(self.resolved(one) for one in own)

    @property
    def credentials(self) -> Mapping[str, str]:
        """A header for each scheme of its security; none if it demands none."""
        wanted = self.content.get("security", self.document.get("security", ()))
        return dict(self._credential(name) for one in wanted[:1] for name in one)

    def body(self) -> Mapping[str, Any] | None:
        """Return its JSON body, with schema and examples; None if it takes no body."""
        body = self.content.get("requestBody")
        return None if body is None else dict(self.resolved(body)["content"][JSON_TYPE])

    def sample(self) -> Sample:
        """Return the request that its examples describe."""
        path, headers = self.path, dict(self.credentials)
        for one in self.parameters:
            if one["in"] == "path":
                path = path.replace(f"{{{one['name']}}}", str(self._example(one)))
            elif one["in"] == "header" and one.get("required"):
                headers[one["name"]] = str(self._example(one))
        sample = Sample(method=self.method.upper(), path=path, headers=headers)
        media = self.body()
        if media is None:
            return sample
        headers["Content-Type"] = JSON_TYPE
        return sample.with_body(self._example(media))

    def findings(self, answer: Exchange) -> list[str]:
        """Return what an answer has that the contract does not allow for its status."""
        if str(answer.status) not in self.content["responses"]:
            return [f"status {answer.status}: not in the contract"]
        response = self.resolved(self.content["responses"][str(answer.status)])
        return [*self._in_headers(response, answer), *self._in_body(response, answer)]

    def resolved(self, node: Any) -> Any:
        """Return a part of the document, or what it refers to."""
        while isinstance(node, Mapping) and "$ref" in node:
            found: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    def _in_headers(self, response: Mapping[str, Any], answer: Exchange) -> Iterator[str]:
        got = {name.lower(): value for name, value in answer.headers.items()}
        for name, one in response.get("headers", {}).items():
            if name.lower() not in got:
                yield f"header {name}: missing"
            else:
                schema = self.resolved(self.resolved(one)["schema"])
                value = got[name.lower()]
                whole = int(value) if schema.get("type") == "integer" and value.isdigit() else value
                yield from (f"header {name}: {text}" for text in self._broken(schema, whole))

    def _in_body(self, response: Mapping[str, Any], answer: Exchange) -> Iterator[str]:
        content = response.get("content", {})
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        if not content:
            if answer.body:
                yield "body: got one, expected none"
        elif media_type not in content:
            yield f"media type: got {media_type}, expected one of {', '.join(content)}"
        elif media_type.endswith("json"):
            value = answer.json()
            yield from (
                f"body{text}" for text in self._broken(content[media_type]["schema"], value)
            )

    def _broken(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        """Return the rules of a schema that a value breaks, without the value."""
        whole = {**schema, "components": self.document.get("components", {})}
        errors = Draft202012Validator(whole, format_checker=_FORMATS).iter_errors(value)
        found = (
            "".join(f"/{step}" for step in one.absolute_path) + f" {_rule(one)}" for one in errors
        )
        return sorted(found)[:MOST_FINDINGS]

    def _example(self, node: Mapping[str, Any]) -> Any:
        """Return the example of a parameter or a media type, or one of its schema's."""
        if "example" in node:
            return node["example"]
        if node.get("examples"):
            return next(iter(node["examples"].values()))["value"]
        return self.resolved(node["schema"])["examples"][0]

    def _credential(self, name: str) -> tuple[str, str]:
        scheme = self.resolved(self.document["components"]["securitySchemes"][name])
        if scheme["type"] == "apiKey":
            return scheme["name"], "t=1,v1=00"
        return "Authorization", "Bearer gate"


_FORMATS = FormatChecker(formats=("date", "uuid"))


def _rule(error: Any) -> str:
    return f"{error.validator} {json.dumps(error.validator_value)}"[:120]


def operations(files: FileProbe, domain: str) -> tuple[Operation, ...]:
    """Return the operations of the newest released version of a domain's contract."""
    return tuple(_operations(domain, released(files, domain)))


def released(files: FileProbe, domain: str) -> Mapping[str, Any]:
    """Return the newest released document of a domain, which is a premise of judging by it."""
    text = files.read(released_path(files, domain))
    premise("released contract", on=domain, got=text is not None, expected=True)
    document: dict[str, Any] = json.loads(text or "{}")
    return document


def released_path(files: FileProbe, domain: str) -> str:
    """Return the path of the newest released document of a domain; empty without any.

    The list of digests names all of them. Versions are compared by their numbers.
    """
    listed = files.read(f"{CONTRACTS}/baselines.sha256") or ""
    found = re.findall(
        rf"  ({re.escape(domain)}/baselines/v([\d.]+)/openapi\.json)$", listed, re.MULTILINE
    )
    premise("released versions", on=domain, got=len(found), relation="at_least", expected=1)
    newest = max(found, key=lambda one: [int(number) for number in one[1].split(".")])
    return f"{CONTRACTS}/{newest[0]}"


def _operations(domain: str, document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield Operation(
                    domain=domain,
                    method=method,
                    path=path,
                    content=item[method],
                    document=document,
                )
