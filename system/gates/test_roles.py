"""Gate schema: what each role of the system is, and what it may do, as a person has reviewed it.

`privileges.toml` next to this file has the reviewed state: the attributes and memberships of each
role, what it owns, and every privilege that the migrations grant, on tables, columns, sequences,
functions, the schema, the database, and on objects that are made later. PUBLIC is a role too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateproof import SqlProbe, Stack, Sut, at_least_one, claim, criterion, falsified_by, sql

REVIEWED = Path(__file__).with_name("privileges.toml")

MORE = "privileges that the role has and must not have"
LESS = "privileges that the role must have and lacks"
ATTRIBUTES = "attributes of the role"
MEMBER_OF = "roles that the role can become"
OWNER = "owner of the object"
"""Names of claims that falsifiers predict."""

OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
RELATIONS = f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OURS}"
KIND = "CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || c.relname"
DEFAULT = "acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)"
NAME = "coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC')"
WITH = "a.privilege_type || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"

# The owner's own privileges are left out: it can grant them to itself at any time.
HELD = f"""
    SELECT {KIND}, {NAME}, {WITH} FROM {RELATIONS}, aclexplode(coalesce(c.relacl, {DEFAULT})) a
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND a.grantee <> c.relowner
    UNION ALL
    SELECT 'column ' || c.relname || '.' || t.attname, {NAME}, {WITH} FROM {RELATIONS}
    JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped, aclexplode(t.attacl) a
    UNION ALL
    SELECT 'function ' || p.proname, {NAME}, {WITH}
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OURS},
        aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    WHERE a.grantee <> p.proowner
    UNION ALL
    SELECT 'schema ' || n.nspname, {NAME}, {WITH}
    FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
    WHERE {OURS} AND a.grantee <> n.nspowner
    UNION ALL
    SELECT 'database', {NAME}, {WITH}
    FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    WHERE d.datname = current_database() AND a.grantee <> d.datdba
    UNION ALL
    SELECT 'later objects of ' || d.defaclrole::regrole, {NAME}, {WITH}
    FROM pg_default_acl d, aclexplode(d.defaclacl) a WHERE a.grantee <> d.defaclrole
"""
OWNERS = f"""
    SELECT {KIND}, c.relowner::regrole::text FROM {RELATIONS}
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'function ' || p.proname, p.proowner::regrole::text
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OURS}
"""
ROLES = """
    SELECT r.rolname, array_remove(ARRAY[
            CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolinherit THEN 'INHERIT' END,
            CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
            CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
            CASE WHEN rolreplication THEN 'REPLICATION' END,
            CASE WHEN rolbypassrls THEN 'BYPASSRLS' END
        ], NULL),
        ARRAY(SELECT m.roleid::regrole || CASE WHEN m.admin_option THEN ' WITH ADMIN' ELSE '' END
              FROM pg_auth_members m WHERE m.member = r.oid ORDER BY 1)
    FROM pg_roles r WHERE r.rolname = ANY(%s)
"""
ACL = "SELECT relacl FROM pg_class WHERE relname = '{}'"


@criterion("SCH-08", needs="database")
@falsified_by(
    sql(
        "reader-writes",
        "GRANT UPDATE ON attribution_events TO app_ro",
        landing=ACL.format("attribution_events"),
    ),
    expect=(MORE, "app_ro/table attribution_events", "got UPDATE"),
)
@falsified_by(
    sql(
        "one-column-for-the-service",
        "GRANT UPDATE (payload) ON attribution_events TO app_ingest",
        landing="SELECT attacl FROM pg_attribute WHERE attname = 'payload'"
        " AND attrelid = 'attribution_events'::regclass",
    ),
    expect=(MORE, "app_ingest/column attribution_events.payload", "got UPDATE"),
)
@falsified_by(
    sql(
        "everyone-deletes-old-rows",
        "GRANT EXECUTE ON FUNCTION delete_old_dead_letters TO PUBLIC",
        landing="SELECT proacl FROM pg_proc WHERE proname = 'delete_old_dead_letters'",
    ),
    expect=(MORE, "PUBLIC/function delete_old_dead_letters", "got EXECUTE"),
)
@falsified_by(
    sql(
        "everyone-takes-numbers",
        "GRANT USAGE ON SEQUENCE queue_id_sequence TO PUBLIC",
        landing=ACL.format("queue_id_sequence"),
    ),
    expect=(MORE, "PUBLIC/sequence queue_id_sequence", "got USAGE"),
)
@falsified_by(
    sql(
        "later-tables-readable",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO app_ro",
        landing="SELECT defaclacl FROM pg_default_acl",
    ),
    expect=(MORE, "app_ro/later objects of migrator", "got SELECT"),
)
@falsified_by(
    sql(
        "passed-on",
        "GRANT SELECT ON worker_failed_jobs TO app_ro WITH GRANT OPTION",
        landing=ACL.format("worker_failed_jobs"),
    ),
    expect=(MORE, "app_ro/table worker_failed_jobs", "got SELECT WITH GRANT OPTION"),
)
@falsified_by(
    sql(
        "grant-left-out",
        "REVOKE INSERT ON attribution_events FROM app_ingest",
        landing=ACL.format("attribution_events"),
    ),
    expect=(LESS, "app_ingest/table attribution_events", "got INSERT"),
)
@falsified_by(
    sql(
        "reader-becomes-operator",
        "GRANT app_rw TO app_ro",
        landing="SELECT pg_has_role('app_ro', 'app_rw', 'MEMBER')",
        role="superuser",
        scope="server",
    ),
    expect=(MEMBER_OF, "app_ro", "got app_rw"),
)
@falsified_by(
    sql(
        "service-makes-roles",
        "ALTER ROLE app_ingest CREATEROLE",
        landing="SELECT rolcreaterole FROM pg_roles WHERE rolname = 'app_ingest'",
        role="superuser",
        scope="server",
    ),
    expect=(ATTRIBUTES, "app_ingest", "CREATEROLE"),
)
@falsified_by(
    sql(
        "function-of-another",
        "ALTER FUNCTION refuse_tenants() OWNER TO app_aggregator",
        landing="SELECT proowner FROM pg_proc WHERE proname = 'refuse_tenants'",
        role="superuser",
    ),
    expect=(OWNER, "function refuse_tenants", "got app_aggregator"),
)
def test_roles_have_exactly_what_was_reviewed(stack: Stack, sut: Sut) -> None:
    """Attributes, memberships, owners and privileges of each role are those of the record."""
    reviewed = tomllib.loads(REVIEWED.read_text(encoding="utf-8"))
    found = {name: (set(attributes), roles) for name, attributes, roles in roles_of(stack, sut)}
    for role, attributes in reviewed["attributes"].items():
        got, others = found.get(role, ({"no such role"}, []))
        claim(ATTRIBUTES, on=role, got=got, expected=set(attributes.split(", ")))
        claim(MEMBER_OF, on=role, got=others, expected=reviewed["members"].get(role, []))
    for thing, owner in at_least_one("objects of the migrations", stack.sql.query(OWNERS).rows):
        expected = reviewed["owners"].get(thing, sut.database.owner)
        claim(OWNER, on=thing, got=owner, expected=expected)
    held, wanted = held_in(stack.sql), set(listed(reviewed["privileges"]))
    for role, thing in sorted({one[:2] for one in held | wanted}):
        more = {what for *pair, what in held - wanted if pair == [role, thing]}
        less = {what for *pair, what in wanted - held if pair == [role, thing]}
        claim(MORE, on=f"{role}/{thing}", got=more, expected=[])
        claim(LESS, on=f"{role}/{thing}", got=less, expected=[])


def roles_of(stack: Stack, sut: Sut) -> tuple[tuple[str, list[str], list[str]], ...]:
    """Return the attributes and the memberships of each described role."""
    names = [sut.database.owner, *sut.application_roles, *sut.view_owners]
    return stack.sql.query(ROLES, (names,)).rows


def held_in(probe: SqlProbe) -> set[tuple[str, str, str]]:
    """Return what the catalogue grants: role, object and privilege."""
    return {(role, thing, what) for thing, role, what in probe.query(HELD).rows}


def listed(reviewed: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the reviewed privileges: role, object and privilege."""
    for thing, by_role in reviewed.items():
        for role, privileges in by_role.items():
            yield from ((role, thing, what) for what in privileges.split(", "))
