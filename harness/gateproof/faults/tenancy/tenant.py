"""Tenants and the sessions that act as one.

Owns the id of a tenant, which every key type of the system must be able to hold, and the settings
that name it. Leaves rows to `gateproof.faults.tenancy.row`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateproof.base.draw import new_uuid
from gateproof.description.sut import Sut
from gateproof.faults.tenancy.discovery import Table
from gateproof.probes.claims.premise import premise
from gateproof.probes.sql import Session
from gateproof.stack.identifier import WHOLE_NUMBERS, Ids


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant and the number of its rows in each table."""

    name: str
    """A name for messages, such as ``A``."""
    id: str
    """The id as text: keys of other types are compared by their text."""
    rows: int
    """The number of its rows, in tables where a tenant can have several."""

    def rows_in(self, table: Table) -> int:
        """Return the number of its rows in a table."""
        return min(self.rows, 1) if table.single else self.rows


def new_tenant(ids: Ids, tables: Sequence[Table], *, name: str, rows: int) -> Tenant:
    """Return a tenant whose id was never used, and fits the keys of all tables.

    Raises:
        PremiseError: one table has a UUID as its key and another one a number.

    """
    types = {table.key_type for table in tables if table.key_type is not None}
    numbers = [one for one in ("smallint", "integer", "bigint", "numeric") if one in types]
    exact = [*numbers[:1], *(one for one in types if one == "uuid")]
    premise(
        "types of the tenant's key that one value cannot meet together",
        got=exact if len(exact) > 1 else [],
        expected=[],
    )
    lengths = [table.key_length for table in tables if table.key_length]
    kind = exact[0] if exact else "text"
    return Tenant(name=name, id=ids.of_type(kind, length=min(lengths, default=None)), rows=rows)


def act_as(session: Session, sut: Sut, tenant: str) -> None:
    """Set the tenant for the current transaction, and the further settings of a session."""
    session.set_locals({**_context(sut, tenant), sut.tenancy.guc: tenant})


def set_context(session: Session, sut: Sut, tenant: str = "") -> None:
    """Set the further settings for the current transaction, without the one that names the tenant.

    Args:
        session: a session of a role.
        sut: names the settings.
        tenant: the id for ``{tenant}``; empty if the session acts as no tenant.

    """
    session.set_locals(_context(sut, tenant))


def _context(sut: Sut, tenant: str) -> dict[str, str]:
    return {
        name: value.replace("{tenant}", tenant).replace("{uuid}", str(new_uuid()))
        for name, value in sut.tenancy.context.items()
    }


def malformed_ids(tenant: Tenant, tables: Sequence[Table]) -> dict[str, str]:
    """Return values that are ids of no tenant, by names that are the same in every run.

    Most of the values are of no key type either.
    """
    values = {
        "a word": "not-an-id",
        "an id and more": f"{tenant.id}x",
        "an id and a condition": f"{tenant.id}' OR true --",
        "a wildcard": "%",
        "the word NULL": "NULL",
    }
    if any(table.key_type in WHOLE_NUMBERS for table in tables):
        values["a fraction"] = f"{tenant.id}.5"
    return values
