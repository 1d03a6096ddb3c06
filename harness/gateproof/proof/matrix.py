"""The kill matrix: every check of a gate against every falsifier of that gate.

Adds an item for each pair that is not already a proof. `gateproof_evidence.judging.proof` judges
the results: which checks are redundant, and which falsifiers only one check detects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from gateproof.proof.proof import ProofItem
from gateproof.run.declaration import read_declaration


def add_cells(
    items: list[pytest.Item],
    *,
    gate_of: Callable[[pytest.Item], str],
    can_judge: Callable[[pytest.Item], bool],
) -> None:
    """Append the items of the matrix.

    Args:
        items: the items of this run; extended in place.
        gate_of: returns the gate of an item.
        can_judge: returns whether the system has what the check of an item needs; a check that
            cannot judge the system has no cell.

    """
    proofs: dict[str, list[ProofItem]] = defaultdict(list)
    checks: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, ProofItem):
            proofs[gate_of(item)].append(item)
        elif isinstance(item, pytest.Function) and can_judge(item):
            checks[gate_of(item)].append(item)
    items += [
        ProofItem.of_check(check, proof.falsifier, owner=_criterion(proof))
        for gate, own in checks.items()
        for check in own
        for proof in proofs[gate]
        if proof.check != check.nodeid
    ]


def _criterion(item: pytest.Item) -> str:
    declaration = read_declaration(item)
    assert declaration is not None
    return declaration.criterion
