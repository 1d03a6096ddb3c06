"""The rule `validity`: valid OpenAPI 3.1, references inside the folder, no lint finding.

`openapi-spec-validator` decides whether a document is valid; this module decides which references
are allowed, and `lint` the mistakes that a valid document can have.
"""

from __future__ import annotations

from collections.abc import Iterator

from openapi_spec_validator import OpenAPIV31SpecValidator

from system.contracts.reading.contract import Contract
from system.contracts.rules.finding import Finding
from system.contracts.rules.lint import lint

OPENAPI = "3.1.0"


def check_validity(contract: Contract) -> Iterator[Finding]:
    """Yield what makes a document invalid, or wrong although it is valid."""
    for one in contract.broken:
        yield _finding(contract, "reference", one.where or "/", one.got, one.expected)
    if contract.document.get("openapi") != OPENAPI:
        got = str(contract.document.get("openapi"))
        yield _finding(contract, "openapi-version", "/openapi", got, OPENAPI)
    if contract.broken:
        return  # the validator stops at a reference that names nothing
    invalid = list(_invalid(contract))
    # Lint reads a document as OpenAPI says that it is, so only a valid one.
    yield from invalid or lint(contract)


def _invalid(contract: Contract) -> Iterator[Finding]:
    for error in OpenAPIV31SpecValidator(contract.document).iter_errors():
        where = "/".join(("", *map(str, error.absolute_path))) or "/"
        got = " ".join(error.message.split())[:300]
        yield _finding(contract, "invalid", where, got, "a valid OpenAPI 3.1 document")


def _finding(contract: Contract, name: str, where: str, got: str, expected: str) -> Finding:
    return Finding(
        rule="validity",
        name=name,
        document=contract.domain,
        where=where,
        got=got,
        expected=expected,
    )
