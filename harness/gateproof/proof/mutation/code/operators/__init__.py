"""The operators: each proposes changes of one sort at a site.

ADR 35 has their names, and the tools in which each is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateproof.proof.mutation.code.edit import Change
from gateproof.proof.mutation.code.operators import (
    arithmetic,
    call,
    condition,
    constant,
    decorator,
    exception,
    query,
    statement,
)
from gateproof.proof.mutation.code.site import Site
from gateproof.proof.mutation.code.source import Source

OPERATORS: tuple[Callable[[Source, Site], Iterator[Change]], ...] = (
    condition.changes,
    constant.changes,
    query.changes,
    arithmetic.changes,
    call.changes,
    exception.changes,
    decorator.changes,
    statement.changes,
)
"""Where two make the same change of one node, the edit has the name of the first one's."""
