"""The described lease of the broker, as the bound that checks watch and wait for.

A message whose worker died comes back after its lease. A check that waits for less shows nothing,
and one that waits for an hour does not end; so a long lease is shortened if the system allows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateproof import InconclusiveError, Sut

LONGEST_S = 10.0
"""The longest lease whose end a check waits for."""
SHORT_S = 3.0
"""The length to which a longer lease is set."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The lease of the workers of a check."""

    seconds: float
    env: Mapping[str, str]
    """Variables with which the workers of the check have this lease."""


def lease_of(sut: Sut) -> Lease:
    """Return the lease to run workers with.

    Raises:
        InconclusiveError: it is long and cannot be set.

    """
    if sut.broker.lease_s <= LONGEST_S:
        return Lease(seconds=sut.broker.lease_s, env={})
    if not sut.broker.lease_env:
        raise InconclusiveError(
            f"{sut.path}: broker.lease_env: got none with a lease of {sut.broker.lease_s:g} s, "
            f"expected the variable that sets it: a check waits for at most {LONGEST_S:g} s"
        )
    return Lease(seconds=SHORT_S, env={sut.broker.lease_env: f"{SHORT_S:g}"})
