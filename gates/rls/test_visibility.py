"""Gate rls: the rows that SQL shows to a session with a tenant, and without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateproof import (
    Ids,
    Session,
    Stack,
    Sut,
    Table,
    Tenant,
    act_as,
    claim,
    criterion,
    malformed_ids,
    set_context,
)

from .tenants import (
    Seen,
    bound_tables,
    by_name,
    empty,
    falsified_on_tables,
    own_rows,
    readable_rows,
    seen_as_superuser,
    tables_of,
    two_tenants,
    visible,
)

SETTING = "SELECT current_setting(%s, true)"

NONE_OR_INVALID = r"^(0 rows$|22\w{3} )"
"""No row, or a refusal with a SQLSTATE of the class of data exceptions."""

SEEN = "rows that the role sees"
SEEN_WITHOUT = "rows that the role sees without a tenant"
SEEN_EMPTY = "rows that the role sees with an empty tenant"
SEEN_MALFORMED = "rows that the role sees with a malformed tenant"
SEEN_AFTER = {
    "committed": "rows that the role sees after a committed transaction",
    "rolled back": "rows that the role sees after a transaction that was rolled back",
}
SETTING_OF_NEW = "tenant setting of a new session"
SETTING_AFTER = "tenant setting after a transaction"


# A public example is a test suite of row-level security that connected as superuser, which bypasses
# policies: with every policy dropped, all of its 15 tests passed (ourway/auth#35).
@criterion("RLS-02", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "drop-policies": (SEEN, "{role}/{table}/A", "got {}"),
        "open-policy": (SEEN, "{role}/{table}/A", '"B": '),
        "misspelt-setting": (SEEN, "{role}/{table}/A", "got {}"),
        "owner-without-force": (SEEN, "{role}/{table}/A", '"B": '),
        "disable-row-security": (SEEN, "{role}/{table}/A", '"B": '),
        "superuser-role": (SEEN, "{role}/{table}/A", '"B": '),
    },
    every_table=True,
)
# A role that may not read at all sees no foreign row either, but does not see its own.
@falsified_on_tables(
    {
        "role-left-out": (SEEN, "{last}/{table}/A", "got {}"),
        "role-may-not-read": (SEEN, "{last}/{table}/A", "got 42501"),
    },
    domain=True,
)
def test_each_tenant_sees_exactly_its_own_rows(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """With 3 rows of A and 2 of B, A sees 3 and 0 of B, B sees 2 and 0 of A, one after another.

    Judged as the first application role on every table with a tenant, and as the others. Where the
    key alone is unique, each tenant has one row.
    """
    bound = bound_tables(own_stack.sql, sut)
    tables = tables_of(bound)
    tenants = two_tenants(own_stack.sql, sut, ids, tables=tables)
    seeded = seen_as_superuser(own_stack.sql, sut, tables)
    for role, own in bound.items():
        with own_stack.sql.session(role) as session:
            for tenant in (*tenants, tenants[0]):
                act_as(session, sut, tenant.id)
                _judge_own_rows(session, sut, role, own, tenant, tenants, seeded)
                session.commit()


def _judge_own_rows(
    session: Session,
    sut: Sut,
    role: str,
    tables: Sequence[Table],
    tenant: Tenant,
    tenants: Sequence[Tenant],
    seeded: Mapping[int, Seen],
) -> None:
    """Judge that a session sees in each table what the superuser counts as its tenant's rows."""
    seen = visible(session, sut, tables)
    for table in tables:
        claim(
            SEEN,
            on=f"{role}/{table.name}/{tenant.name}",
            got=by_name(seen[table.oid], tenants),
            expected=own_rows(seeded[table.oid], tenant),
        )


@criterion("RLS-04", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "unset-sees-all": (SEEN_WITHOUT, "{role}/{table}"),
        "unowned-rows-visible": (SEEN, "{role}/{table}/A", '"no tenant": '),
        "unset-raises": (SEEN_WITHOUT, "{role}/{table}", "got 42704"),
        "cast-without-nullif": (SEEN_EMPTY, "{role}/{table}", "got 22P02"),
        "malformed-sees-all": (SEEN_MALFORMED, "{role}/{table}/a word"),
        "open-policy": (SEEN_EMPTY, "{role}/{table}"),
    }
)
def test_without_a_tenant_nothing_is_seen(own_stack: Stack, sut: Sut, ids: Ids) -> None:
    """An unset, empty or used GUC gives no row and no error, and a malformed one no row."""
    bound = bound_tables(own_stack.sql, sut)
    tables = tables_of(bound)
    empty(own_stack.sql, tables)  # so that rows without a tenant can be counted
    tenants = two_tenants(own_stack.sql, sut, ids, tables=tables, without=True)
    seeded = seen_as_superuser(own_stack.sql, sut, tables)
    for role, own in bound.items():
        with own_stack.sql.session(role) as session:
            _judge_unset(session, sut, role, own)
            for end in SEEN_AFTER:
                act_as(session, sut, tenants[0].id)
                _judge_own_rows(session, sut, role, own, tenants[0], tenants, seeded)
                _judge_after(session, sut, role, own, end=end)
            _judge_malformed(session, sut, role, own, tenants[0])


def _judge_unset(session: Session, sut: Sut, role: str, tables: Sequence[Table]) -> None:
    value = session.query(SETTING, (sut.tenancy.guc,)).scalar()
    claim(SETTING_OF_NEW, on=role, got=value, expected=None)
    set_context(session, sut)  # so that only the missing tenant can hide the rows
    _judge_reads_nothing(session, SEEN_WITHOUT, role, tables)
    session.rollback()
    set_context(session, sut)
    session.set_local(sut.tenancy.guc, "")
    _judge_reads_nothing(session, SEEN_EMPTY, role, tables)
    session.rollback()


def _judge_after(
    session: Session, sut: Sut, role: str, tables: Sequence[Table], *, end: str
) -> None:
    """Judge that no row is visible once the GUC, set in an ended transaction, reads as empty."""
    if end == "committed":
        session.commit()
    else:
        session.rollback()
    value = session.query(SETTING, (sut.tenancy.guc,)).scalar()
    claim(SETTING_AFTER, on=f"{role}/{end}", got=value, expected="")
    _judge_reads_nothing(session, SEEN_AFTER[end], role, tables)
    session.rollback()


def _judge_reads_nothing(session: Session, what: str, role: str, tables: Sequence[Table]) -> None:
    read = readable_rows(session, tables)
    for table in tables:
        claim(what, on=f"{role}/{table.name}", got=read[table.oid], expected=0)


def _judge_malformed(
    session: Session, sut: Sut, role: str, tables: Sequence[Table], tenant: Tenant
) -> None:
    """Judge that no row is visible; an error about the value is allowed."""
    for what, value in malformed_ids(tenant, tables).items():
        act_as(session, sut, value)
        read = readable_rows(session, tables)
        for table in tables:
            got = read[table.oid]
            claim(
                SEEN_MALFORMED,
                on=f"{role}/{table.name}/{what}",
                got=got if isinstance(got, str) else f"{got} rows",
                relation="matches",
                expected=NONE_OR_INVALID,
            )
        session.rollback()
