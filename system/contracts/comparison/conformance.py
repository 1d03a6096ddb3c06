"""Compare the operations of contracts with those of a document that a service generates.

The contract leads: a generated document is the evidence of what a service serves, and never the
source of a contract. Only operations are compared here; what they answer is compared by requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from system.contracts.reading.contract import IMPLEMENTED, Contract
from system.contracts.reading.document import Json
from system.contracts.reading.operation import operations


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The operations by which contracts and service differ, such as ``GET /health``, sorted."""

    missing: tuple[str, ...]
    """Operations of a contract that the service has not."""
    undocumented: tuple[str, ...]
    """Operations of the service that no contract has."""


def compare_operations(contracts: Iterable[Contract], generated: Json) -> Difference:
    """Return how a service differs from the contracts that it implements.

    Two paths that differ only in the names of their parameters are the same operation.

    Args:
        contracts: those of all domains; one with ``x-implemented: false`` is left out.
        generated: the OpenAPI document that the service generates.

    """
    promised = {
        one.route: one.name
        for contract in contracts
        if contract.document.get(IMPLEMENTED) is True
        for one in contract.operations
    }
    served = {one.route: one.name for one in operations(generated)}
    return Difference(
        missing=tuple(sorted(promised[route] for route in promised.keys() - served.keys())),
        undocumented=tuple(sorted(served[route] for route in served.keys() - promised.keys())),
    )
