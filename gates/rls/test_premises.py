"""Gate rls: the premises of every other check of this gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateproof import Stack, Sut, Table, at_least_one, criterion, tables_with_key

from .tenants import bound_tables, falsified_on_tables, judge

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

PROTECTION = """
    SELECT c.oid, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
        pg_get_userbyid(c.relowner)::text AS owner,
        EXISTS (SELECT FROM unnest(%(roles)s::text[]) AS role
                WHERE has_table_privilege(role, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                    OR has_any_column_privilege(role, c.oid, 'SELECT, INSERT, UPDATE')) AS reached
    FROM pg_class c WHERE c.oid = ANY(%(tables)s)
"""

POLICIES = """
    SELECT count(*) FROM pg_policy
    WHERE polrelid = %s AND polpermissive AND (0 = ANY(polroles)
        OR (SELECT oid FROM pg_roles WHERE rolname = %s) = ANY(polroles))
"""


ENABLED, FORCED = "row-level security enabled", "row-level security forced"
APPLY = "policies that apply to the role"
MEMBER_OF = "memberships in wider roles"
ACTIVE = "row-level security active for the role"


@criterion("RLS-01")
@falsified_on_tables(
    {
        "no-force": f"{FORCED}: {{table}}: got False",
        "disable-row-security": f"{ENABLED}: {{table}}: got False",
        "drop-policies": f"{APPLY}: {{role}}/{{table}}: got 0",
        "owner-without-force": f"{FORCED}: {{table}}: got False",
        "bypassrls-role": "BYPASSRLS of the role: {role}: got True",
        "superuser-role": "SUPERUSER of the role: {role}: got True",
        "member-of-the-owner": f"{MEMBER_OF}: {{role}}: got ",
    }
)
@falsified_on_tables({"forgotten-table": "gateproof_forgotten: got False"})
def test_premises_hold(stack: Stack, sut: Sut) -> None:
    """Policies bind the roles, and every table with a tenant has forced row-level security."""
    tables = tables_with_key(stack.sql, sut)
    _judge_roles_are_bound(stack, sut, tables)
    excepted = sut.tenancy.exceptions
    judged = [one for one in tables if not any(map(one.is_named, excepted))]
    at_least_one(f"tables with {sut.tenancy.key} that need a policy", judged)
    roles = list(sut.application_roles)
    parameters = {"tables": [one.oid for one in judged], "roles": roles}
    found = {row["oid"]: row for row in stack.sql.query(PROTECTION, parameters).dicts()}
    for table in judged:
        if found[table.oid]["reached"] or not table.partition:
            _judge_table_is_protected(stack, sut, table, found[table.oid])
    for role, bound in bound_tables(stack.sql, sut).items():
        _judge_policies_bind(stack, role, bound)


def _judge_roles_are_bound(stack: Stack, sut: Sut, tables: Sequence[Table]) -> None:
    """Judge that no application role is exempt from policies, directly or through a role."""
    roles = [*sut.application_roles, *sut.view_owners]
    found = {row["rolname"]: row for row in stack.sql.query(ATTRIBUTES, (roles,)).dicts()}
    for role in roles:
        judge("existence of the role", on=role, got=role in found, expected=True)
        for attribute, keyword in (("rolsuper", "SUPERUSER"), ("rolbypassrls", "BYPASSRLS")):
            judge(f"{keyword} of the role", on=role, got=found[role][attribute], expected=False)
    oids = [table.oid for table in tables]
    parameters = {"roles": roles, "known": [*roles, sut.database.owner], "tables": oids}
    memberships = stack.sql.query(MEMBERSHIPS, parameters).dicts()
    for role in roles:
        wider = ", ".join(row["granted"] for row in memberships if row["member"] == role)
        judge(MEMBER_OF, on=role, got=wider or "none", expected="none")


def _judge_table_is_protected(
    stack: Stack, sut: Sut, table: Table, found: Mapping[str, object]
) -> None:
    judge(ENABLED, on=table.name, got=found["enabled"], expected=True)
    judge(FORCED, on=table.name, got=found["forced"], expected=True)
    judge(
        "owner, which no worker uses",
        on=table.name,
        got=found["owner"],
        expected=sut.database.owner,
    )
    count = stack.sql.query(POLICIES, (table.oid, sut.role_names["role"])).scalar()
    on = f"{sut.role_names['role']}/{table.name}"
    judge(APPLY, on=on, got=count, expected="one or more", holds=count > 0)


def _judge_policies_bind(stack: Stack, role: str, tables: Sequence[Table]) -> None:
    """Ask PostgreSQL, as the role, whether row-level security is active on each table."""
    with stack.sql.session(role) as session:
        users = session.query("SELECT current_user, session_user").rows[0]
        judge("login of the role itself", on=role, got=users, expected=(role, role))
        for table in tables:
            active = session.query("SELECT row_security_active(%s::oid)", (table.oid,)).scalar()
            judge(ACTIVE, on=f"{role}/{table.name}", got=active, expected=True)
