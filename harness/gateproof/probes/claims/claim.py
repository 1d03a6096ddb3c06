"""A claim: one finding about the system, recorded with what was observed and what was expected.

Claims are soft: a check states all of them and fails once, at its end, with every claim that does
not hold. So one run shows the whole fault, and a pass shows what was observed.

Source: docs/reference/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any

import pytest

from gateproof.base.errors import EnvironmentProblemError, PremiseError
from gateproof.probes.claims.statement import (
    PredictionMetError,
    compare,
    describe,
    end_if_predicted,
    record,
)
from gateproof_evidence.judging.claim import findings_text
from gateproof_evidence.model import Claim, ClaimEvent, Relation


class FindingsError(AssertionError):
    """Claims of a check that do not hold, raised once at its end.

    Its first line has the first finding and the number of the others; each other one has a line.
    """

    def __init__(self, findings: tuple[Claim, ...], then: BaseException | None = None) -> None:
        """Describe the findings.

        Args:
            findings: the false claims with unredacted values, at least one.
            then: the exception that ended the check after them, if any.

        """
        self.findings = findings
        end = f"; then {type(then).__name__}: {_first_line(then)}" if then is not None else ""
        super().__init__("\n".join([findings_text(findings) + end, *map(describe, findings[1:])]))


def claim(
    name: str,
    *,
    got: Any,
    expected: Any,
    on: str = "",
    relation: Relation = "equals",
    over: Sized | None = None,
) -> bool:
    """State a finding about the system; the check fails at its end if it does not hold.

    A falsifier predicts a claim by its name and object, so both must be the same in every run:
    give a tenant's name, not its generated id.

    Args:
        name: the observed property, such as ``rows that the role sees``.
        got: the observed value: plain values, or lists, sets, mappings and dataclasses of them;
            others become text.
        expected: the value to compare it with.
        on: the object that was observed, its parts separated by slashes, such as
            ``app_user/attribution_events/A``; empty if the name says it.
        relation: ``equals``, ``differs``, ``one_of`` (`expected` is the list of allowed values),
            ``at_least`` or ``at_most`` (numbers), ``contains`` or ``lacks`` (`got` has the element
            or part `expected`, or not), ``matches`` (a regular expression in a text).
        over: the objects that one claim is about, such as all tables of which those without a
            policy are `got`.

    Returns:
        Whether it holds, for a check that cannot continue without it.

    Raises:
        PremiseError: `over` is empty, so nothing would be judged.
        HarnessError: the values cannot be compared by this relation, or not once they are redacted.
        PredictionMetError: the check runs under a fault, and this is the predicted finding.

    """
    if over is not None and len(over) == 0:
        what = f"{name}: {on}" if on else name
        raise PremiseError(f"premise: {what}: got a claim over no object, expected at least one")
    count = None if over is None else len(over)
    found = compare(name, on=on, got=got, relation=relation, expected=expected, over=count)
    record(ClaimEvent, found)
    if not found.holds:
        if not _OPEN:
            raise FindingsError((found,))
        _OPEN[-1].append(found)
        end_if_predicted()
    return found.holds


@contextmanager
def claims_of_check() -> Iterator[None]:
    """Collect the false claims that are stated in the block, and raise them at its end.

    They are raised instead of any exception that follows them, except one that ends the run or
    names a problem of the environment.

    Raises:
        FindingsError: a claim does not hold.

    """
    found: list[Claim] = []
    _OPEN.append(found)
    try:
        yield
    except (KeyboardInterrupt, SystemExit, pytest.exit.Exception, EnvironmentProblemError):
        raise
    except PredictionMetError:
        raise FindingsError(tuple(found)) from None
    except BaseException as error:
        if found:
            raise FindingsError(tuple(found), error) from error
        raise
    else:
        if found:
            raise FindingsError(tuple(found))
    finally:
        _OPEN.pop()


_OPEN: list[list[Claim]] = []
"""The false claims of the checks that run, the innermost last; threads of a check share them."""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
