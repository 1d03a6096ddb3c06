"""Gate rls: the rows that SQL shows to a session with a tenant, and without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateproof import (
    Ids,
    Refused,
    Session,
    Stack,
    Sut,
    Table,
    Tenant,
    act_as,
    criterion,
    malformed_ids,
    set_context,
)

from .tenants import (
    bound_tables,
    empty,
    falsified_on_tables,
    judge,
    outcome,
    seen_as_superuser,
    two_tenants,
    visible,
    whose,
)

INVALID_VALUE = "22"
"""SQLSTATE class of data exceptions, with which a malformed tenant may be refused."""

SEEN = "rows that the role sees"
SEEN_WITHOUT = "rows that the role sees without a tenant"
SEEN_EMPTY = "rows that the role sees with an empty tenant"
SEEN_MALFORMED = "rows that the role sees with a malformed tenant"


# A public example is a test suite of row-level security that connected as superuser, which bypasses
# policies: with every policy dropped, all of its 15 tests passed (ourway/auth#35).
@criterion("RLS-02")
@falsified_on_tables(
    {
        "drop-policies": f"{SEEN}: {{role}}/{{table}}/A: got no rows",
        "open-policy": f"{SEEN}: {{role}}/{{table}}/A: got its own rows and rows of others",
        "misspelt-setting": f"{SEEN}: {{role}}/{{table}}/A: got no rows",
        "owner-without-force": f"{SEEN}: {{role}}/{{table}}/A: got its own rows and rows of",
        "disable-row-security": f"{SEEN}: {{role}}/{{table}}/A: got its own rows and rows of",
        "superuser-role": f"{SEEN}: {{role}}/",
    },
    every_table=True,
)
# A role that may not read at all sees no foreign row either, but does not see its own.
@falsified_on_tables(
    {
        "role-left-out": f"{SEEN}: {{last}}/{{table}}/A: got no rows",
        "role-may-not-read": "{last}: SELECT ",
    },
    domain=True,
)
def test_each_tenant_sees_exactly_its_own_rows(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """With 3 rows of A and 2 of B, A sees 3 and 0 of B, B sees 2 and 0 of A, one after another.

    Judged as the worker's role on every table with a tenant, and as the operators' roles. Where the
    key alone is unique, each tenant has one row.
    """
    bound = bound_tables(own_stack.sql, sut)
    tables = bound[sut.role_names["role"]]
    tenants = two_tenants(own_stack.sql, sut, ids, tables=tables)
    seeded = seen_as_superuser(own_stack.sql, sut, tables)
    for role, own in bound.items():
        with own_stack.sql.session(role) as session:
            for tenant in (*tenants, tenants[0]):
                act_as(session, sut, tenant.id)
                for table in own:
                    got = whose(visible(session, sut, table), tenant, seeded[table.oid][tenant.id])
                    on = f"{role}/{table.name}/{tenant.name}"
                    judge(SEEN, on=on, got=got, expected="its own rows")
                session.commit()


@criterion("RLS-04")
@falsified_on_tables(
    {
        "unset-sees-all": f"{SEEN_WITHOUT}: {{role}}/{{table}}: got",
        "unset-raises": f"{SEEN_WITHOUT}: {{role}}/{{table}}: got 42704",
        "cast-without-nullif": f"{SEEN_EMPTY}: {{role}}/{{table}}: got 22P02",
        "malformed-sees-all": f"{SEEN_MALFORMED}: {{role}}/{{table}}/'not-an-id': got",
        "open-policy": f"{SEEN_WITHOUT}: {{role}}/{{table}}: got",
    }
)
def test_without_a_tenant_nothing_is_seen(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """An unset, empty or used GUC gives no row and no error, and a malformed one no row."""
    bound = bound_tables(own_stack.sql, sut)
    tables = bound[sut.role_names["role"]]
    empty(own_stack.sql, tables)  # so that rows without a tenant can be counted
    tenant, _ = two_tenants(own_stack.sql, sut, ids, tables=tables, without=True)
    seeded = seen_as_superuser(own_stack.sql, sut, tables)
    for role, own in bound.items():
        with own_stack.sql.session(role) as session:
            _judge_unset(session, sut, role, own)
            _judge_after_use(session, sut, role, own, tenant, seeded)
            _judge_malformed(session, sut, role, own, tenant)


def _judge_unset(session: Session, sut: Sut, role: str, tables: Sequence[Table]) -> None:
    value = session.query("SELECT current_setting(%s, true)", (sut.tenancy.guc,)).scalar()
    judge(f"{sut.tenancy.guc} of a new session", on=role, got=value, expected=None)
    set_context(session, sut)  # so that only the missing tenant can hide the rows
    _judge_reads_nothing(session, SEEN_WITHOUT, role, tables)
    session.rollback()
    set_context(session, sut)
    session.set_local(sut.tenancy.guc, "")
    _judge_reads_nothing(session, SEEN_EMPTY, role, tables)
    session.rollback()


def _judge_after_use(
    session: Session,
    sut: Sut,
    role: str,
    tables: Sequence[Table],
    tenant: Tenant,
    seeded: Mapping[int, Mapping[str | None, int]],
) -> None:
    """Judge that no row is visible once the GUC, set in an ended transaction, reads as empty."""
    for end, finish in (("committed", session.commit), ("rolled-back", session.rollback)):
        act_as(session, sut, tenant.id)
        for table in tables:
            got = whose(visible(session, sut, table), tenant, seeded[table.oid][tenant.id])
            judge(SEEN, on=f"{role}/{table.name}/A", got=got, expected="its own rows")
        finish()
        value = session.query("SELECT current_setting(%s, true)", (sut.tenancy.guc,)).scalar()
        judge(f"{sut.tenancy.guc} after a {end} transaction", on=role, got=value, expected="")
        _judge_reads_nothing(session, f"rows after a {end} transaction", role, tables)
        session.rollback()


def _judge_reads_nothing(session: Session, what: str, role: str, tables: Sequence[Table]) -> None:
    for table in tables:
        seen = session.attempt(f"SELECT * FROM {table.sql}")
        judge(what, on=f"{role}/{table.name}", got=outcome(seen), expected="0 rows")


def _judge_malformed(
    session: Session, sut: Sut, role: str, tables: Sequence[Table], tenant: Tenant
) -> None:
    """Judge that no row is visible; an error about the value is allowed."""
    for value in malformed_ids(tenant, tables):
        act_as(session, sut, value)
        for table in tables:
            seen = session.attempt(f"SELECT * FROM {table.sql}")
            refused = isinstance(seen, Refused) and seen.sqlstate.startswith(INVALID_VALUE)
            got = outcome(seen)
            judge(
                SEEN_MALFORMED,
                on=f"{role}/{table.name}/{value!r}",
                got=got,
                expected="0 rows, or a refusal of the value",
                holds=refused or got == "0 rows",
            )
        session.rollback()
