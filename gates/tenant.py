"""A tenant to publish tasks for: an argument of the type that the system's tenant keys have."""

from __future__ import annotations

from gateproof import Ids, Stack, new_tenant, tenant_tables

WHOLE = ("smallint", "integer", "bigint")
"""The types of keys whose values are numbers in the arguments of a task."""


def unused_tenant(stack: Stack, ids: Ids) -> str | int:
    """Return the id of a tenant that was never used, as the argument of a task has it.

    Its text is what columns of any type show.
    """
    tables = tenant_tables(stack.sql, stack.sut)
    tenant = new_tenant(ids, tables, name="unused", rows=0).id
    is_number = any(table.key_type in WHOLE for table in tables)
    return int(tenant) if is_number else tenant
