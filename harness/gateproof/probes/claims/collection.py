"""Collections that a check discovers: a claim about each of no objects would always hold."""

from __future__ import annotations

from collections.abc import Sized
from typing import TypeVar

from gateproof.probes.claims.premise import premise

C = TypeVar("C", bound=Sized)


def at_least_one(what: str, found: C) -> C:
    """Return a collection of objects that a check is about to judge, if it has any.

    Args:
        what: the objects in words, such as ``tables with tenant_id``.
        found: the objects that the system or its description has.

    Raises:
        PremiseError: there are none, so nothing would be judged.

    """
    premise(what, got=len(found), relation="at_least", expected=1)
    return found
