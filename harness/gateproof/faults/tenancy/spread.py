"""Spreads kinds of faults over the tables of tenants.

Not every pair of kind and table is proven: with 36 tables and 8 kinds that would be 288 proofs of
one check. Each table gets at least one fault, and each kind two tables, or as many as the check
asks for. The pairs depend
on the description alone, not on options: so names are stable, and a proof of an earlier bundle can
be taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateproof.description.sut import Sut
from gateproof.faults.tenancy.fault import PLACES, TableFault, table_fault
from gateproof.faults.tenancy.object_fault import OBJECT_KINDS
from gateproof.faults.tenancy.policy_fault import POLICY_KINDS

KINDS = {kind.name: kind for kind in (*POLICY_KINDS, *OBJECT_KINDS)}
"""Every kind of fault on tables of tenants, by its plain name."""

TABLES_OF_A_KIND = 2
"""The usual number of tables on which a kind is proven, if there are so many."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A kind of fault on one table."""

    kind: str
    table: str
    """The name of the table in the description, or its place among the discovered ones."""
    discovered: bool = False


def spread(
    sut: Sut,
    kinds: Iterable[str],
    *,
    every_table: bool = False,
    tables: Sequence[str] | None = None,
    of_a_kind: int = TABLES_OF_A_KIND,
) -> list[Pick]:
    """Return which kinds of faults are made on which tables.

    Args:
        sut: lists the tables, or has them discovered; then the first, the middle and the last one
            are used.
        kinds: names of `KINDS`.
        every_table: whether each table gets at least one fault.
        tables: the tables to use instead of all that are listed.
        of_a_kind: the number of tables on which each kind is proven, if there are so many; 1 or
            more. Less saves time where the check is slow.

    """
    names = list(kinds)
    discovered = sut.tenancy.discovers
    places = list(PLACES if discovered else sut.tenancy.listed if tables is None else tables)
    if not places:
        return []
    pairs = {
        (kind, places[(number * of_a_kind + step) % len(places)])
        for number, kind in enumerate(names)
        for step in range(of_a_kind)
        if KINDS[kind].scope == "database" or step == 0  # a role is the same for every table
    }
    if every_table:
        reached = {place for _, place in pairs}
        spare = [kind for kind in names if KINDS[kind].scope == "database"]
        left = [place for place in places if place not in reached]
        pairs |= {(spare[number % len(spare)], place) for number, place in enumerate(left)}
    ordered = sorted(pairs, key=lambda pair: (names.index(pair[0]), places.index(pair[1])))
    return [Pick(kind=kind, table=table, discovered=discovered) for kind, table in ordered]


def tenant_fault(pick: Pick) -> TableFault:
    """Return the fault of a pick."""
    return table_fault(KINDS[pick.kind], pick.table, discovered=pick.discovered)
