"""Gate schema: the owners of the tables, and the privileges of the application's roles."""

from __future__ import annotations

from gateproof import (
    Refused,
    Session,
    Stack,
    Sut,
    at_least_one,
    claim,
    criterion,
    identifier,
    premise,
    tenant_tables,
)

from ..described import falsified_in_sql, role_at
from .privileges import LESS, MORE, claim_exactly, held
from .refusal import named
from .sequences import CALLED, MESSAGES, QUEUES, bare, called_sequences

TABLE_PRIVILEGES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
SEQUENCE_PRIVILEGES = frozenset({"USAGE"})
REFUSAL = "refusal of the statement"
REFUSED = "42501 (insufficient privilege)"
"""The SQLSTATE, which PostgreSQL also reports to a role that is not the owner."""

OWNERS = """
    SELECT c.relname, c.relkind::text, c.relowner::regrole::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY(%s) AND n.nspname !~ '^pg_' AND c.relkind <> 'i'
"""
GRANTS = """
    SELECT c.oid::regclass::text, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
    WHERE a.grantee = %s::regrole AND c.oid = ANY(%s::regclass[]) ORDER BY 1, 2
"""
ON_SEQUENCES = """
    SELECT s.name, p.name FROM unnest(%s::text[]) s(name),
        (VALUES ('USAGE'), ('SELECT'), ('UPDATE')) p(name)
    WHERE CASE WHEN to_regclass(s.name) IS NULL THEN false
        ELSE has_sequence_privilege(%s, s.name, p.name) END
"""
MAY_CREATE = """
    SELECT 'schema ' || n.nspname FROM pg_namespace n
    WHERE has_schema_privilege(%(role)s, n.oid, 'CREATE')
    UNION ALL SELECT 'database' WHERE has_database_privilege(%(role)s, current_database(), 'CREATE')
    UNION ALL SELECT 'databases' FROM pg_roles WHERE rolname = %(role)s AND rolcreatedb
    UNION ALL SELECT 'roles' FROM pg_roles WHERE rolname = %(role)s AND rolcreaterole
"""
REACHED = """
    SELECT a.rolname, r.rolname, r.rolsuper, r.rolbypassrls,
        ARRAY(SELECT c.relname::text FROM pg_class c
              WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p', 'f') ORDER BY 1)
    FROM pg_roles a CROSS JOIN pg_roles r
    WHERE a.rolname = ANY(%s) AND (a.oid = r.oid OR pg_has_role(a.oid, r.oid, 'MEMBER'))
    ORDER BY a.rolname, a.oid <> r.oid, r.rolname
"""


@criterion("SCH-02", needs=("database", "broker.kind=sqla", "broker.tables"))
@falsified_in_sql(
    "owned-by-worker",
    "ALTER TABLE {first} OWNER TO {each}",
    landing="SELECT relowner::regrole FROM pg_class WHERE oid = '{first}'::regclass",
    role="superuser",
    each=lambda sut: sut.application_roles[:1],
    expect=("owner of the table", "{first}", "got {each}"),
)
@falsified_in_sql(
    "replaced-by-a-view",
    "ALTER TABLE {last} RENAME TO gateproof_moved;"
    " CREATE VIEW {last} AS SELECT * FROM gateproof_moved",
    landing="SELECT relkind::text FROM pg_class WHERE oid = '{last}'::regclass",
    expect=("kinds of the relations", "{last}", "got v"),
)
def test_celery_tables_belong_to_the_migration_role(stack: Stack, sut: Sut) -> None:
    """Each table exists once, as an ordinary table, and the migration role owns it."""
    tables = at_least_one(f"{sut.path.name}: broker.tables", sut.broker.tables)
    rows = stack.sql.query(OWNERS, ([bare(one) for one in tables],)).rows
    for table in tables:
        kinds = [kind for name, kind, _ in rows if name == bare(table)]
        if claim("kinds of the relations", on=table, got=kinds, expected=["r"]):
            owner = next(owner for name, _, owner in rows if name == bare(table))
            claim("owner of the table", on=table, got=owner, expected=sut.database.owner)


@criterion("SCH-03", needs=("database", "broker.kind=sqla", "broker.tables", "worker"))
@falsified_in_sql(
    "may-not-delete",
    "REVOKE DELETE ON {last} FROM {worker}",
    landing="SELECT relacl FROM pg_class WHERE oid = '{last}'::regclass",
    expect=(LESS, "{worker}/{last}", "got DELETE"),
)
@falsified_in_sql(
    "may-set-sequence",
    f"GRANT UPDATE ON SEQUENCE {CALLED[MESSAGES]} TO PUBLIC",
    landing=f"SELECT relacl FROM pg_class WHERE oid = '{CALLED[MESSAGES]}'::regclass",
    expect=(MORE, f"{{worker}}/{CALLED[MESSAGES]}", "got UPDATE"),
)
@falsified_in_sql(
    "may-create",
    "GRANT CREATE ON SCHEMA public TO {worker}",
    landing="SELECT nspacl FROM pg_namespace WHERE nspname = 'public'",
    role="superuser",
    expect=("places in which the role may create", "{worker}", "got schema public"),
)
@falsified_in_sql(
    "may-make-temporary",
    "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC',"
    " current_database()); END $$",
    landing="SELECT datacl FROM pg_database WHERE datname = current_database()",
    role="superuser",
    expect=(REFUSAL, "{worker}/CREATE TEMPORARY TABLE made_by_worker (id int)", "got none"),
)
def test_worker_role_holds_exactly_what_it_needs(stack: Stack, sut: Sut) -> None:
    """Four privileges on each table, USAGE of the sequences that it calls, and no DDL."""
    role = sut.worker.role
    tables = list(at_least_one(f"{sut.path.name}: broker.tables", sut.broker.tables))
    for (table, _), privileges in held(stack.sql, roles=[role], tables=tables).items():
        claim_exactly(role, table, got=privileges, expected=TABLE_PRIVILEGES)
    granted = stack.sql.query(GRANTS, (identifier(role), tables)).count
    claim("grants to the role", on=role, got=granted, expected=len(tables) * len(TABLE_PRIVILEGES))
    _claim_sequences(stack, sut)
    _claim_no_ddl(stack, role, tables)


def _claim_sequences(stack: Stack, sut: Sut) -> None:
    role, sequences = sut.worker.role, called_sequences(sut)
    rows = stack.sql.query(ON_SEQUENCES, (sequences, role)).rows
    for sequence in sequences:
        privileges = {privilege for name, privilege in rows if name == sequence}
        claim_exactly(role, sequence, got=privileges, expected=SEQUENCE_PRIVILEGES)


def _claim_no_ddl(stack: Stack, role: str, tables: list[str]) -> None:
    """Claim that every DDL statement is refused; the transaction is rolled back in any case."""
    places = stack.sql.query(MAY_CREATE, {"role": role}).column()
    claim("places in which the role may create", on=role, got=places, expected=[])
    for statement in _ddl(tables[0]):
        with stack.sql.session(role) as session:
            _claim_refused(session, role, statement)
            session.rollback()


def _claim_refused(session: Session, role: str, statement: str) -> None:
    seen = session.attempt(statement)
    code = named(seen) if isinstance(seen, Refused) else "none"
    claim(REFUSAL, on=f"{role}/{statement}", got=code, expected=REFUSED)


def _ddl(table: str) -> tuple[str, ...]:
    return (
        "CREATE TABLE made_by_worker (id int)",
        "CREATE TEMPORARY TABLE made_by_worker (id int)",
        "CREATE SCHEMA made_by_worker",
        "CREATE VIEW made_by_worker AS SELECT 1",
        "CREATE SEQUENCE made_by_worker",
        "CREATE TYPE made_by_worker AS ENUM ('a')",
        "CREATE FUNCTION made_by_worker() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"CREATE INDEX made_by_worker ON {table} (id)",
        f"ALTER TABLE {table} ADD COLUMN made_by_worker int",
        f"ALTER TABLE {table} OWNER TO CURRENT_USER",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER SEQUENCE {CALLED[QUEUES]} RESTART",
        f"TRUNCATE {table}",
        f"DROP TABLE {table} CASCADE",
        f"DROP SEQUENCE {CALLED[QUEUES]} CASCADE",
        "CREATE ROLE made_by_worker",
    )


@criterion("SCH-05", needs=("database", "tenancy"))
@falsified_in_sql(
    "bypass",
    "ALTER ROLE {each} BYPASSRLS",
    landing="SELECT rolbypassrls FROM pg_roles WHERE rolname = '{each}'",
    role="superuser",
    scope="server",
    each=role_at("role"),
    expect=("powers that evade policies", "{each}/{each}", "got BYPASSRLS"),
)
@falsified_in_sql(
    "superuser",
    "ALTER ROLE {each} SUPERUSER",
    landing="SELECT rolsuper FROM pg_roles WHERE rolname = '{each}'",
    role="superuser",
    scope="server",
    each=role_at("last"),
    expect=("powers that evade policies", "{each}/{each}", "got superuser"),
)
@falsified_in_sql(
    "member-of-owner",
    "ALTER ROLE {each} NOINHERIT; GRANT {owner} TO {each}",
    landing="SELECT pg_has_role('{each}', '{owner}', 'MEMBER')",
    role="superuser",
    scope="server",
    each=role_at("second"),
    expect=("tables that the role owns", "{each}/{owner}", "{known}"),
)
@falsified_in_sql(
    "owns-a-table",
    "ALTER TABLE {known} OWNER TO {each}",
    landing="SELECT relowner::regrole FROM pg_class WHERE oid = '{known}'::regclass",
    role="superuser",
    each=lambda sut: sut.view_owners if sut.known_tables else (),
    expect=("tables that the role owns", "{each}/{each}", "got {known}"),
)
def test_application_roles_are_bound_by_policies(stack: Stack, sut: Sut) -> None:
    """Neither an application role nor a role that it can become escapes row-level security."""
    roles = [*sut.application_roles, *sut.view_owners]
    rows = stack.sql.query(REACHED, (roles,)).rows
    absent = set(roles) - {row[0] for row in rows}
    premise("missing roles", got=absent, expected=set())
    premise(
        "tables of tenants", got=len(tenant_tables(stack.sql, sut)), relation="at_least", expected=1
    )
    for role, reached, superuser, bypasses, tables in rows:
        found = ["superuser"] * superuser + ["BYPASSRLS"] * bypasses
        who = f"{role}/{reached}"  # the role that it can become
        claim("powers that evade policies", on=who, got=found, expected=[])
        claim("tables that the role owns", on=who, got=tables, expected=[])
    for role in sut.application_roles:
        _claim_cannot_become(stack, role, (sut.database.owner, *sut.view_owners))


def _claim_cannot_become(stack: Stack, role: str, others: tuple[str, ...]) -> None:
    with stack.sql.session(role) as session:
        superuser = session.query("SHOW is_superuser").scalar()
        claim("is_superuser", on=role, got=superuser, expected="off")
        for other in others:
            _claim_refused(session, role, f"SET LOCAL ROLE {other}")
