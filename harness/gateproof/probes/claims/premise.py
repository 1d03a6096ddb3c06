"""A premise: a condition that must hold before a check can judge its claim.

A premise that does not hold ends the check, which is then inconclusive and never a violation: the
claim was not judged. Every premise is a record of the journal, whether it holds or not.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from typing import Any

from gateproof.base.errors import PremiseError
from gateproof.probes.claims.statement import compare, describe, record
from gateproof_evidence.model import PremiseEvent, Relation


def premise(
    name: str, *, got: Any, expected: Any, on: str = "", relation: Relation = "equals"
) -> None:
    """Continue only if a condition holds that is not the claim itself.

    Use it for everything that a check needs: seeded rows, a worker that runs, objects to judge. A
    check over objects that it discovered states how many there are, with `relation` `at_least`:
    a claim about no object shows nothing.

    Args:
        name: what must hold, such as ``rows that the superuser sees``.
        got: the observed value: plain values, or lists and mappings of them; others become text.
        expected: the value to compare it with.
        on: the object that was observed, such as a table; empty if the name says it.
        relation: ``equals``, ``differs``, ``one_of`` (`expected` is the list of allowed values),
            ``at_least`` or ``at_most`` (numbers), ``contains`` or ``lacks`` (`got` has the element
            or part `expected`, or not), ``matches`` (a regular expression in a text).

    Raises:
        PremiseError: the condition does not hold.
        HarnessError: the values cannot be compared by this relation, or not once they are redacted.

    """
    claim = compare(name, on=on, got=got, relation=relation, expected=expected)
    record(PremiseEvent, claim)
    if not claim.holds:
        raise PremiseError(f"premise: {describe(claim)}")
