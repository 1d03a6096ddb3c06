"""Gate rls: the premises of every other check of this gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateproof import Stack, Sut, Table, at_least_one, claim, criterion, tables_with_key

from .tenants import ROLES, bound_tables, falsified_on_tables

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

# A policy applies to a role directly, through PUBLIC, or through a role whose privileges it has.
POLICIES = """
    SELECT c.oid, bound, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid AND polpermissive
        AND EXISTS (SELECT FROM unnest(polroles) AS granted WHERE CASE WHEN granted = 0 THEN true
                    ELSE pg_has_role(bound, granted, 'USAGE') END))
    FROM pg_class c, unnest(%(roles)s::text[]) AS bound WHERE c.oid = ANY(%(tables)s)
"""

ACTIVE_ON = "SELECT oid, row_security_active(oid) FROM pg_class WHERE oid = ANY(%s)"

EXISTS = "existence of the role"
SUPERUSER, BYPASSRLS = "SUPERUSER of the role", "BYPASSRLS of the role"
MEMBER_OF = "memberships in wider roles"
ENABLED, FORCED = "row-level security enabled", "row-level security forced"
OWNER = "owner, which no worker uses"
APPLY = "policies that apply to the role"
ACTIVE = "row-level security active for the role"


@criterion("RLS-01", needs=("database", "tenancy"))
@falsified_on_tables(
    {
        "no-force": (FORCED, "{table}", "got false"),
        "disable-row-security": (ENABLED, "{table}", "got false"),
        "drop-policies": (APPLY, "{role}/{table}", "got 0"),
        "owner-without-force": (OWNER, "{table}", "got {role}"),
        "bypassrls-role": (BYPASSRLS, "{role}", "got true"),
        "superuser-role": (SUPERUSER, "{role}", "got true"),
        "member-of-the-owner": (MEMBER_OF, "{role}", "{owner}"),
        "forgotten-table": (ENABLED, "{schema}gateproof_forgotten", "got false"),
    }
)
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
            _judge_table_is_protected(sut, table, found[table.oid])
    bound = bound_tables(stack.sql, sut)
    _judge_policies_apply(stack, judged, bound)
    for role, own in bound.items():
        _judge_policies_bind(stack, role, own)


def _judge_policies_apply(
    stack: Stack, judged: Sequence[Table], bound: Mapping[str, Sequence[Table]]
) -> None:
    """Judge that policies of each table apply to the roles that use it, else to the first one."""
    roles = list(bound)
    parameters = {"tables": [one.oid for one in judged], "roles": roles}
    counted = {row[:2]: row[2] for row in stack.sql.query(POLICIES, parameters).rows}
    for table in judged:
        users = [role for role in roles if table in bound[role]]
        if not users and not table.partition:
            users = roles[:1]
        for role in users:
            got = counted[table.oid, role]
            claim(APPLY, on=f"{role}/{table.name}", got=got, relation="at_least", expected=1)


def _judge_roles_are_bound(stack: Stack, sut: Sut, tables: Sequence[Table]) -> None:
    """Judge that no application role is exempt from policies, directly or through a role."""
    roles = [*at_least_one(ROLES, sut.application_roles), *sut.view_owners]
    found = {row["rolname"]: row for row in stack.sql.query(ATTRIBUTES, (roles,)).dicts()}
    owner = sut.database.owner
    oids = [table.oid for table in tables]
    parameters = {"roles": roles, "known": [*roles, owner], "tables": oids}
    memberships = stack.sql.query(MEMBERSHIPS, parameters).dicts()
    for role in roles:
        if not claim(EXISTS, on=role, got=role in found, expected=True):
            continue
        claim(SUPERUSER, on=role, got=found[role]["rolsuper"], expected=False)
        claim(BYPASSRLS, on=role, got=found[role]["rolbypassrls"], expected=False)
        wider = [row["granted"] for row in memberships if row["member"] == role]
        claim(MEMBER_OF, on=role, got=wider, expected=[])


def _judge_table_is_protected(sut: Sut, table: Table, found: Mapping[str, object]) -> None:
    claim(ENABLED, on=table.name, got=found["enabled"], expected=True)
    claim(FORCED, on=table.name, got=found["forced"], expected=True)
    claim(OWNER, on=table.name, got=found["owner"], expected=sut.database.owner)


def _judge_policies_bind(stack: Stack, role: str, tables: Sequence[Table]) -> None:
    """Ask PostgreSQL, as the role, whether row-level security is active on each table."""
    with stack.sql.session(role) as session:
        users = session.query("SELECT current_user, session_user").rows[0]
        claim("login of the role itself", on=role, got=users, expected=(role, role))
        active = dict(session.query(ACTIVE_ON, ([table.oid for table in tables],)).rows)
        for table in tables:
            claim(ACTIVE, on=f"{role}/{table.name}", got=active[table.oid], expected=True)
