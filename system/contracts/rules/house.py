"""The rule `house`: what this system's contracts promise beyond OpenAPI.

Every operation has an id of its own over all domains, a security requirement or an explicit none
with a reason, the header X-Correlation-ID, examples, and errors as problem documents (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from system.contracts.reading.contract import IMPLEMENTED, Contract
from system.contracts.reading.document import Json
from system.contracts.reading.operation import Operation, Part, media
from system.contracts.reading.reference import resolved
from system.contracts.rules.finding import Finding

CORRELATION = "X-Correlation-ID"
PROBLEM = "application/problem+json"
PROBLEM_MEMBERS = frozenset({"type", "title", "status"})
NO_SECURITY, NO_PROBLEM = "x-no-security-reason", "x-no-problem-reason"

ERRORS: Mapping[str, tuple[str, ...]] = {
    "with security": ("401",),
    "with a parameter in the path": ("404",),
    "with a body": ("400", "413", "415", "422"),
}
"""The errors that an operation documents, by what it has."""

Found = tuple[str, str, str, str]
"""Name, place, got, expected."""


def check_house(contracts: Sequence[Contract]) -> Iterator[Finding]:
    """Yield what the documents lack of the house rules; ids are compared over all of them."""
    first: dict[str, str] = {}
    for contract in contracts:
        found = [*_of_document(contract)]
        for one in contract.operations:
            found += [*_of_id(contract, one, first), *_of_operation(one)]
        for name, where, got, expected in found:
            yield Finding(
                rule="house",
                name=name,
                document=contract.domain,
                where=where,
                got=got,
                expected=expected,
            )


def _of_document(contract: Contract) -> Iterator[Found]:
    got = contract.document.get(IMPLEMENTED)
    if not isinstance(got, bool):
        yield ("implemented", "/", f"{IMPLEMENTED}: {got}", "true or false")
    if not contract.operations:
        yield ("operations", "/paths", "no operation", "at least one")
    if contract.document.get("webhooks"):
        yield ("webhooks", "/webhooks", "operations of a client", "paths: no rule judges these")


def _of_id(contract: Contract, operation: Operation, first: dict[str, str]) -> Iterator[Found]:
    name = operation.content.get("operationId")
    if not name:
        yield ("operation-id", operation.name, "none", "an operationId")
        return
    here = f"{contract.domain} {operation.name}"
    if first.setdefault(name, here) != here:
        yield ("operation-id-twice", operation.name, name, f"another id than {first[name]}")


def _of_operation(operation: Operation) -> Iterator[Found]:
    yield from _of_security(operation)
    yield from _of_correlation(operation)
    yield from _of_examples(operation)
    yield from _of_errors(operation)
    if operation.content.get("callbacks"):
        yield ("callbacks", operation.name, "operations of a client", "none: no rule judges these")


def _of_security(operation: Operation) -> Iterator[Found]:
    security = operation.security
    if security is None:
        yield ("security", operation.name, "no statement", "a requirement, or [] with a reason")
    elif not security and not operation.content.get(NO_SECURITY):
        yield ("security", operation.name, "none without a reason", f"{NO_SECURITY}")
    elif security and not all(security):
        yield ("security-optional", operation.name, "an empty requirement", "schemes in each")


def _of_correlation(operation: Operation) -> Iterator[Found]:
    sent = {
        part.content["name"].lower()
        for part in operation.parameters()
        if part.content["in"] == "header"
    }
    if CORRELATION.lower() not in sent:
        yield ("correlation-id", f"{operation.name}/request", "no such parameter", CORRELATION)
    for part in operation.responses().values():
        if CORRELATION.lower() not in map(str.lower, part.content.get("headers", {})):
            yield ("correlation-id", part.where, "no such header", CORRELATION)


def _of_examples(operation: Operation) -> Iterator[Found]:
    body = operation.body()
    bodies = [body] if body else []
    for part in (*bodies, *operation.responses().values()):
        for one in media(part):
            if not has_example(one):
                yield ("example", one.where, "none", "an example")
    for part in operation.parameters():
        if not has_example(part) and not _has_example_in_schema(operation, part):
            yield ("example", part.where, "none", "an example")


def has_example(part: Part) -> bool:
    """Return whether a parameter, a header or a media type has an example."""
    return "example" in part.content or bool(part.content.get("examples"))


def _has_example_in_schema(operation: Operation, part: Part) -> bool:
    schema = resolved(operation.document, part.content.get("schema", {}))
    return isinstance(schema, dict) and bool(schema.get("examples"))


def _of_errors(operation: Operation) -> Iterator[Found]:
    responses = operation.responses()
    for reason, statuses in ERRORS.items():
        for status in statuses if reason in _traits(operation) else ():
            if status not in responses:
                yield ("error-undocumented", operation.name, f"no {status}", f"it: {reason}")
    for status, part in responses.items():
        if status[0] in "45d" and not part.content.get(NO_PROBLEM):
            yield from _of_problem(operation.document, part)


def _traits(operation: Operation) -> frozenset[str]:
    has = {
        "with security": bool(operation.security),
        "with a parameter in the path": bool(operation.names_in_path),
        "with a body": operation.body() is not None,
    }
    return frozenset(name for name, holds in has.items() if holds)


def _of_problem(document: Json, part: Part) -> Iterator[Found]:
    types = sorted(part.content.get("content", {}))
    if types != [PROBLEM]:
        yield ("problem", part.where, ", ".join(types) or "no body", PROBLEM)
        return
    schema = resolved(document, part.content["content"][PROBLEM].get("schema", {}))
    missing = PROBLEM_MEMBERS - set(schema.get("required", ()))
    if missing:
        yield ("problem", part.where, f"no required {', '.join(sorted(missing))}", "RFC 9457")
