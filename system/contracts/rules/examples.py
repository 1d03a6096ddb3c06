"""The rule `examples`: every example, and every default, is valid against its schema.

The validator of `openapi-schema-validator` decides, with its formats. This module finds the
examples, and adds the one rule that the validator for 3.1 leaves out: a request has no property
that is read-only, and a response none that is write-only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openapi_schema_validator import OAS31Validator, oas31_format_checker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from system.contracts.reading.contract import Contract
from system.contracts.reading.document import Json
from system.contracts.reading.operation import Operation, Part, media
from system.contracts.reading.reference import resolved
from system.contracts.reading.schema import schemas
from system.contracts.rules.finding import Finding

DOCUMENT = "urn:contract"
MOST_SHOWN = 3
"""The number of errors of one example that are reported."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One value and the schema that it must meet."""

    where: str
    schema: str
    """The JSON pointer of the schema."""
    value: Json
    forbidden: str = ""
    """The keyword of the properties that it must not have: ``readOnly`` or ``writeOnly``."""
    problem: str = ""
    """The reason why it cannot be judged."""


def examples(contract: Contract) -> tuple[Example, ...]:
    """Return the examples and defaults of a document, each once."""
    found = {
        (one.schema, one.where): one
        for each in (_of_operations(contract), _of_schemas(contract.document))
        for one in each
    }
    return tuple(found.values())


def check_examples(contract: Contract) -> Iterator[Finding]:
    """Yield the examples that contradict their schemas."""
    registry: Registry[Any] = Registry().with_resource(
        DOCUMENT, Resource.from_contents(contract.document, default_specification=DRAFT202012)
    )
    for one in examples(contract):
        for name, got in _problems(contract.document, registry, one):
            yield Finding(
                rule="examples",
                name=name,
                document=contract.domain,
                where=one.where,
                got=got,
                expected=f"a value that {one.schema} allows",
            )


def _problems(
    document: Json, registry: Registry[Any], example: Example
) -> Iterator[tuple[str, str]]:
    if example.problem:
        yield "example-unjudged", example.problem
        return
    validator = OAS31Validator(
        {"$ref": f"{DOCUMENT}#{example.schema}"},
        registry=registry,
        format_checker=oas31_format_checker,
    )
    errors = sorted(validator.iter_errors(example.value), key=lambda error: error.json_path)
    for error in errors[:MOST_SHOWN]:
        yield "example-invalid", f"{error.json_path}: {' '.join(error.message.split())[:200]}"
    if example.forbidden:
        schema = {"$ref": f"#{example.schema}"}
        for name in _misplaced(document, schema, example.value, example.forbidden):
            yield "example-misplaced", f"{name}, which is {example.forbidden}"


def _misplaced(document: Json, schema: Json, value: Json, forbidden: str) -> Iterator[str]:
    """Yield the properties of a value that have a keyword in their schema."""
    schema = resolved(document, schema)
    if not isinstance(schema, dict):
        return
    for item in value if isinstance(value, list) else ():
        yield from _misplaced(document, schema.get("items", {}), item, forbidden)
    for name, child in schema.get("properties", {}).items() if isinstance(value, dict) else ():
        if name in value:
            own = resolved(document, child)
            is_forbidden = isinstance(own, dict) and own.get(forbidden) is True
            yield from [name] if is_forbidden else []
            yield from _misplaced(document, child, value[name], forbidden)
    for part in schema.get("allOf", ()):
        yield from _misplaced(document, part, value, forbidden)


def _of_operations(contract: Contract) -> Iterator[Example]:
    for one in contract.operations:
        body = one.body()
        for part in media(body) if body else ():
            yield from _of_part(contract.document, part, "readOnly")
        for part in one.parameters():
            yield from _of_part(contract.document, part, "readOnly")
        yield from _of_responses(one)


def _of_responses(operation: Operation) -> Iterator[Example]:
    for response in operation.responses().values():
        for part in (*media(response), *operation.headers(response)):
            yield from _of_part(operation.document, part, "writeOnly")


def _of_part(document: Json, part: Part, forbidden: str) -> Iterator[Example]:
    """Yield the examples of a media type, a parameter or a header."""
    for name, value, problem in _values(document, part.content):
        yield Example(
            where=f"{part.where}/{name}",
            schema=f"{part.pointer}/schema",
            value=value,
            forbidden=forbidden,
            problem=problem or ("" if "schema" in part.content else "an example without a schema"),
        )


def _values(document: Json, content: Mapping[str, Json]) -> Iterator[tuple[str, Json, str]]:
    """Yield name, value and problem of each example."""
    if "example" in content:
        yield "example", content["example"], ""
    for name, one in content.get("examples", {}).items():
        example = resolved(document, one)
        if "value" in example:
            yield f"examples/{name}", example["value"], ""
        else:
            yield f"examples/{name}", None, "an example without a value in the document"


def _of_schemas(document: Json) -> Iterator[Example]:
    """Yield the examples and the default next to the keywords of a schema."""
    for pointer, schema in schemas(document):
        values = [(f"examples/{at}", one) for at, one in enumerate(schema.get("examples", ()))]
        values += [(key, schema[key]) for key in ("example", "default") if key in schema]
        for name, value in values:
            yield Example(where=f"{pointer}/{name}", schema=pointer, value=value)
