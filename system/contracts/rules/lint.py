"""Find mistakes that a valid OpenAPI document can have.

JSON Schema ignores keywords that it does not know, so a misspelt one, or one of OpenAPI 3.0, checks
nothing. OpenAPI says in prose, and not in its schema, that paths must differ in more than the names
of parameters and that requirements name schemes which exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openapi_schema_validator import OAS31Validator, oas31_format_checker

from system.contracts.reading.contract import Contract
from system.contracts.reading.operation import Operation
from system.contracts.reading.schema import LIST, MAP, ONE, Schema, schemas
from system.contracts.rules.finding import Finding

_OF_OPENAPI = frozenset({"discriminator", "example", "externalDocs", "xml"})
_CORE = frozenset({"$ref", "$defs", "$comment", "$id", "$anchor", "$schema"})
_NEXT_TO_CONTAINS = frozenset({"minContains", "maxContains"})
"""The validator reads them with `contains`, and not as keywords of their own."""
_ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples"),
        *("contentEncoding", "contentMediaType"),
    }
)
KNOWN = frozenset().union(
    *(
        ONE,
        LIST,
        MAP,
        _OF_OPENAPI,
        _CORE,
        _NEXT_TO_CONTAINS,
        _ANNOTATIONS,
        OAS31Validator.VALIDATORS,
    )
)
"""The keywords that mean anything."""

FORMATS = frozenset(oas31_format_checker.checkers)
"""The formats that the validator of examples checks."""

ELSEWHERE = frozenset({"allOf", "$ref", "anyOf", "oneOf", "patternProperties"})
"""Keywords that can add properties to those of a schema."""

Found = tuple[str, str, str, str]
"""Name, place, got, expected."""


def lint(contract: Contract) -> Iterator[Finding]:
    """Yield the mistakes of a valid document."""
    for name, where, got, expected in (*_of_schemas(contract), *_of_paths(contract)):
        yield Finding(
            rule="validity",
            name=name,
            document=contract.domain,
            where=where,
            got=got,
            expected=expected,
        )


def _of_schemas(contract: Contract) -> Iterator[Found]:
    for where, schema in schemas(contract.document):
        yield from _of_keywords(where, schema)
        yield from _of_required(where, schema)


def _of_keywords(where: str, schema: Schema) -> Iterator[Found]:
    if "nullable" in schema:
        yield ("nullable", where, "nullable, which OpenAPI 3.1 ignores", "null among the types")
    for keyword in schema:
        if keyword not in KNOWN and keyword != "nullable" and not keyword.startswith("x-"):
            yield ("unknown-keyword", where, keyword, "a keyword of JSON Schema, or one with x-")
    if schema.get("format", "date") not in FORMATS:
        got = str(schema["format"])
        yield ("unknown-format", where, got, f"one that is checked: {', '.join(sorted(FORMATS))}")


def _of_required(where: str, schema: Schema) -> Iterator[Found]:
    """Yield required names without a property, where all properties are in this schema."""
    if where.split("/")[-2] == "allOf" or ELSEWHERE & set(schema):
        return
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            yield ("required-unknown", where, name, "the name of a property")


def _of_paths(contract: Contract) -> Iterator[Found]:
    first: dict[tuple[str, str], Operation] = {}
    for one in contract.operations:
        same = first.setdefault(one.route, one)
        if same is not one:
            expected = f"a path that differs from {same.path} in more than the names"
            yield ("path-twice", one.name, one.path, expected)
        if one.path != "/" and one.path.endswith("/"):
            yield ("path-ends-with-slash", one.name, one.path, "a path without it")
        yield from _of_security(contract.document, one)


def _of_security(document: Any, operation: Operation) -> Iterator[Found]:
    schemes = document.get("components", {}).get("securitySchemes", {})
    for requirement in operation.security or ():
        for name in sorted(set(requirement) - set(schemes)):
            yield ("security-unknown", operation.name, name, "the name of a security scheme")
