"""Comparing the operations of contracts with those of a generated document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from system.contracts.comparison.conformance import compare_operations
from system.contracts.reading.contract import load

from .folder import write

SERVED: dict[str, Any] = {"put": {"responses": {}}}


@pytest.mark.parametrize(
    ("paths", "missing", "undocumented"),
    [
        ({"/orders/{order}": SERVED}, (), ()),
        ({"/orders/{order_id}": SERVED}, (), ()),
        ({}, ("PUT /orders/{order}",), ()),
        ({"/orders/{order}": {"post": {}}}, ("PUT /orders/{order}",), ("POST /orders/{order}",)),
        ({"/orders/{order}": SERVED, "/debug": {"get": {}}}, (), ("GET /debug",)),
        # A domain that only has a contract promises nothing of the service.
        ({"/orders/{order}": SERVED, "/others": {"get": {}}}, (), ("GET /others",)),
    ],
)
def test_operations_that_differ_are_named(
    paths: dict[str, Any], missing: tuple[str, ...], undocumented: tuple[str, ...], tmp_path: Path
) -> None:
    """Operations are compared by method and path, whatever the parameters are called."""
    library = write(tmp_path)
    contracts = [load(library, domain) for domain in library.domains()]
    found = compare_operations(contracts, {"openapi": "3.1.0", "paths": paths})
    assert (found.missing, found.undocumented) == (missing, undocumented)
