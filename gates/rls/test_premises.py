"""Gate rls: the premises of every other check of this gate."""

from __future__ import annotations

from gateproof import Stack, Sut, at_least_one, criterion, falsified_by, migration, sql

from .tenants import bound_tables

ATTRIBUTES = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = ANY(%s)"

# A member inherits the attributes and privileges of the other role, or gets them with SET ROLE.
MEMBERSHIPS = """
    SELECT member.rolname AS member, granted.rolname AS granted
    FROM pg_roles member
    JOIN pg_roles granted ON granted.oid <> member.oid
        AND pg_has_role(member.oid, granted.oid, 'MEMBER')
    WHERE member.rolname = ANY(%(roles)s) AND NOT member.rolsuper
        AND (granted.rolsuper OR granted.rolbypassrls OR granted.rolname = ANY(%(known)s)
             OR granted.oid IN (SELECT relowner FROM pg_class WHERE oid = ANY(%(tables)s)))
    ORDER BY 1, 2
"""

TENANT_TABLES = """
    SELECT c.oid, c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
        pg_get_userbyid(c.relowner) AS owner
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema'
    ORDER BY c.relname
"""

POLICIES = """
    SELECT count(*) FROM pg_policy
    WHERE polrelid = %s AND polpermissive AND (0 = ANY(polroles) OR %s::regrole = ANY(polroles))
"""


@criterion(
    "RLS-01",
    needs=(
        "database.view_owner",
        "worker",
        "tenancy",
        "dead_letters.operator",
        "dead_letters.reader",
    ),
)
@falsified_by(
    migration(
        "force-forgotten",
        "migrations/versions/core/core_0002_recompute_jobs.py",
        "ALTER TABLE attribution_recompute_jobs FORCE ROW LEVEL SECURITY;\n",
        landing="SELECT relforcerowsecurity FROM pg_class"
        " WHERE relname = 'attribution_recompute_jobs'",
    ),
    expect="attribution_recompute_jobs: row-level security forced: got False",
)
@falsified_by(
    sql(
        "forgotten-table",
        "CREATE TABLE attribution_exports (id int PRIMARY KEY, tenant_id uuid NOT NULL)",
        landing="SELECT relrowsecurity FROM pg_class WHERE relname = 'attribution_exports'",
    ),
    expect="attribution_exports: row-level security enabled: got False",
)
@falsified_by(
    sql(
        "no-policy",
        "DROP POLICY tenant_read ON worker_failed_jobs;"
        " DROP POLICY tenant_write ON worker_failed_jobs",
        landing="SELECT polname FROM pg_policy WHERE polrelid = 'worker_failed_jobs'::regclass",
    ),
    expect="worker_failed_jobs: policies that apply to app_user: got 0",
)
@falsified_by(
    sql(
        "bypassrls",
        "ALTER ROLE app_user BYPASSRLS",
        landing="SELECT rolbypassrls FROM pg_roles WHERE rolname = 'app_user'",
        role="superuser",
        scope="server",
    ),
    expect="role app_user: BYPASSRLS: got True",
)
@falsified_by(
    sql(
        "member-of-the-aggregator",
        "GRANT app_aggregator TO app_user",
        landing="SELECT pg_has_role('app_user', 'app_aggregator', 'MEMBER')",
        role="superuser",
        scope="server",
    ),
    expect="role app_user: memberships in wider roles: got app_aggregator",
)
def test_premises_hold(stack: Stack, sut: Sut) -> None:
    """Policies bind the roles, and every table with a tenant has forced row-level security."""
    tables = stack.sql.query(TENANT_TABLES, (sut.tenancy.key,)).dicts()
    _assert_roles_are_bound(stack, sut, [table["oid"] for table in tables])
    names = [table["name"] for table in tables]
    missing = sorted(set(sut.tenancy.tables) - set(names))
    assert not missing, f"tables with {sut.tenancy.key}: got none named {missing}, expected each"
    judged = [table for table in tables if table["name"] not in sut.tenancy.exceptions]
    for table in at_least_one(f"tables with {sut.tenancy.key} that need a policy", judged):
        _assert_table_is_protected(stack, sut, table)
    for role, bound in bound_tables(sut).items():
        _assert_policies_bind(stack, role, bound)


def _assert_roles_are_bound(stack: Stack, sut: Sut, tables: list[int]) -> None:
    """Assert that no application role is exempt from policies, directly or through a role."""
    roles = [
        sut.worker.role,
        sut.dead_letters.operator,
        sut.dead_letters.reader,
        sut.database.view_owner,
    ]
    found = {row["rolname"]: row for row in stack.sql.query(ATTRIBUTES, (roles,)).dicts()}
    for role in roles:
        assert role in found, f"role {role}: got none, expected it to exist"
        for attribute, keyword in (("rolsuper", "SUPERUSER"), ("rolbypassrls", "BYPASSRLS")):
            got = found[role][attribute]
            assert got is False, f"role {role}: {keyword}: got {got}, expected False"
    parameters = {"roles": roles, "known": [*roles, sut.database.owner], "tables": tables}
    memberships = stack.sql.query(MEMBERSHIPS, parameters).dicts()
    for role in roles:
        wider = ", ".join(row["granted"] for row in memberships if row["member"] == role)
        assert not wider, f"role {role}: memberships in wider roles: got {wider}, expected none"


def _assert_table_is_protected(stack: Stack, sut: Sut, table: dict[str, object]) -> None:
    name = table["name"]
    for attribute in ("enabled", "forced"):
        got = table[attribute]
        assert got is True, f"{name}: row-level security {attribute}: got {got}, expected True"
    owner = table["owner"]
    assert owner == sut.database.owner, (
        f"{name}: owner: got {owner}, expected {sut.database.owner}, which no worker uses"
    )
    count = stack.sql.query(POLICIES, (table["oid"], sut.worker.role)).scalar()
    assert count > 0, (
        f"{name}: policies that apply to {sut.worker.role}: got {count}, expected one or more"
    )


def _assert_policies_bind(stack: Stack, role: str, tables: tuple[str, ...]) -> None:
    """Ask PostgreSQL, as the role, whether row-level security is active on each table."""
    with stack.sql.session(role) as session:
        users = session.query("SELECT current_user, session_user").rows[0]
        assert users == (role, role), f"login of {role}: got {users}, expected {role} itself"
        for table in tables:
            active = session.query("SELECT row_security_active(%s)", (table,)).scalar()
            assert active is True, (
                f"{role} on {table}: row_security_active: got {active}, expected True"
            )
