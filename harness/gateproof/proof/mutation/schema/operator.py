"""The operators of the schema: each makes mutants from the catalogue of a migrated database.

An operator is a query that returns an object and the statement that changes or drops it, one row
for each mutant. Owns the statements. Leaves which of them PostgreSQL accepts to
`gateproof.proof.mutation.schema.generation`.

Source: PostgreSQL documentation, chapters "System Catalogs" and "SQL Commands".
"""

from __future__ import annotations

from dataclasses import dataclass

from gateproof.faults.interface import Scope

OWN = r"!~ '^(pg_|information_schema$|gateproof_)'"
"""Follows the name of a schema or of a role: it is not PostgreSQL's, and not of this package."""
_SCHEMA = f"relnamespace::regnamespace::text {OWN}"
_TABLES = f"pg_class t WHERE t.relkind IN ('r', 'p') AND t.{_SCHEMA}"
_ROLES = f"(SELECT rolname, oid FROM pg_roles WHERE NOT rolsuper AND rolname {OWN}) r"
"""The roles of the application: all but superusers and those of PostgreSQL."""
_TABLE_PRIVILEGES = "unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) p"
_FUNCTIONS = f"pg_proc f WHERE f.prokind = 'f' AND f.pronamespace::regnamespace::text {OWN}"
_NOT_OF_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = f.oid AND d.deptype = 'e')"


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Makes mutants of one kind."""

    name: str
    query: str
    """Returns the object and the statement; a row whose statement is null makes no mutant."""
    scope: Scope = "database"


def _recreated_index(change: str) -> str:
    """Return a statement that makes an index again from its changed definition."""
    return f"format('DROP INDEX %s; %s', i.indexrelid::regclass, {change})"


def _recreated_policy(*, command: str = "", roles: str = "", permissive: str = "") -> str:
    """Return a statement that makes a policy again with one part changed; each part is SQL."""
    command = command or (
        "CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'"
        " WHEN 'd' THEN 'DELETE' ELSE 'ALL' END"
    )
    roles = roles or (
        "CASE WHEN p.polroles = '{0}' THEN 'PUBLIC'"
        " ELSE (SELECT string_agg(one::regrole::text, ', ') FROM unnest(p.polroles) one) END"
    )
    permissive = permissive or "CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END"
    return (
        "format('DROP POLICY %1$I ON %2$s; CREATE POLICY %1$I ON %2$s AS %3$s FOR %4$s TO %5$s"
        f" %6$s %7$s', p.polname, p.polrelid::regclass, {permissive}, {command}, {roles},"
        " 'USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',"
        " 'WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')"
    )


def _toggled(attribute: str, column: str) -> Operator:
    """Return the operator that toggles an attribute of each role of the application."""
    return Operator(
        name=f"role-{attribute.lower()}",
        scope="server",
        query=f"""SELECT rolname, format('ALTER ROLE %I %s', rolname,
                CASE WHEN {column} THEN 'NO{attribute}' ELSE '{attribute}' END)
            FROM pg_roles WHERE NOT rolsuper AND rolname {OWN}""",
    )


_OF_TABLES = (
    Operator(
        name="disable-row-security",
        query=f"""SELECT t.oid::regclass, format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY',
                t.oid::regclass) FROM {_TABLES} AND t.relrowsecurity""",
    ),
    Operator(
        name="no-force-row-security",
        query=f"""SELECT t.oid::regclass, format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY',
                t.oid::regclass) FROM {_TABLES} AND t.relforcerowsecurity""",
    ),
    Operator(
        name="unlogged-table",
        query=f"""SELECT t.oid::regclass, format('ALTER TABLE %s SET UNLOGGED', t.oid::regclass)
            FROM {_TABLES} AND t.relpersistence = 'p' AND t.relkind = 'r'""",
    ),
    Operator(
        name="drop-default",
        query=f"""SELECT format('%s.%I', t.oid::regclass, attname),
                format('ALTER TABLE %s ALTER %I DROP DEFAULT', t.oid::regclass, attname)
            FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum,
                {_TABLES} AND t.oid = adrelid AND attgenerated = ''""",
    ),
    Operator(
        name="change-default",
        query=f"""SELECT format('%s.%I', t.oid::regclass, attname),
                format('ALTER TABLE %s ALTER %I SET DEFAULT %s', t.oid::regclass, attname,
                    CASE pg_get_expr(adbin, adrelid) WHEN 'true' THEN 'false'
                        WHEN 'false' THEN 'true' WHEN '0' THEN '1' WHEN '1' THEN '0'
                        WHEN 'now()' THEN '''epoch''::timestamptz' END)
            FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum,
                {_TABLES} AND t.oid = adrelid AND attgenerated = ''
                AND pg_get_expr(adbin, adrelid) IN ('true', 'false', '0', '1', 'now()')""",
    ),
    Operator(
        name="drop-not-null",
        query=f"""SELECT format('%s.%I', t.oid::regclass, attname),
                format('ALTER TABLE %s ALTER %I DROP NOT NULL', t.oid::regclass, attname)
            FROM pg_attribute, {_TABLES} AND t.oid = attrelid AND attnum > 0 AND attnotnull""",
    ),
    Operator(
        name="set-not-null",
        query=f"""SELECT format('%s.%I', t.oid::regclass, attname),
                format('ALTER TABLE %s ALTER %I SET NOT NULL', t.oid::regclass, attname)
            FROM pg_attribute, {_TABLES} AND t.oid = attrelid AND attnum > 0
                AND NOT attnotnull AND NOT attisdropped""",
    ),
)

_OF_CONSTRAINTS = (
    Operator(
        name="drop-constraint",
        query=f"""SELECT format('%s.%I', conrelid::regclass, conname),
                format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
            FROM pg_constraint c, {_TABLES} AND t.oid = c.conrelid AND c.contype <> 'n'""",
    ),
    Operator(
        name="foreign-key-action",
        query=f"""SELECT format('%s.%I', conrelid::regclass, conname),
                format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s',
                    conrelid::regclass, conname,
                    CASE WHEN confdeltype = 'c'
                        THEN replace(pg_get_constraintdef(c.oid), 'ON DELETE CASCADE', '')
                        ELSE regexp_replace(pg_get_constraintdef(c.oid),
                            ' ON DELETE (SET NULL|RESTRICT|SET DEFAULT)', '')
                            || ' ON DELETE CASCADE' END)
            FROM pg_constraint c, {_TABLES} AND t.oid = c.conrelid AND c.contype = 'f'""",
    ),
    Operator(
        name="check-boundary",
        query=f"""SELECT format('%s.%I', conrelid::regclass, conname),
                format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s',
                    conrelid::regclass, conname,
                    CASE WHEN pg_get_constraintdef(c.oid) ~ '[<>]='
                        THEN regexp_replace(pg_get_constraintdef(c.oid), '([<>])=', '\\1')
                        ELSE regexp_replace(pg_get_constraintdef(c.oid), ' ([<>]) ', ' \\1= ')
                    END)
            FROM pg_constraint c, {_TABLES} AND t.oid = c.conrelid AND c.contype = 'c'
                AND pg_get_constraintdef(c.oid) ~ '([<>]=| [<>] )'""",
    ),
    Operator(
        name="wider-list",
        query=f"""SELECT format('%s.%I', conrelid::regclass, conname),
                format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s',
                    conrelid::regclass, conname,
                    replace(pg_get_constraintdef(c.oid), 'ARRAY[', 'ARRAY[''mutant''::text, '))
            FROM pg_constraint c, {_TABLES} AND t.oid = c.conrelid AND c.contype = 'c'
                AND pg_get_constraintdef(c.oid) ~ 'ARRAY\\[.*::text'""",
    ),
)

_OF_INDEXES = (
    Operator(
        name="drop-index",
        query=f"""SELECT i.indexrelid::regclass, format('DROP INDEX %s', i.indexrelid::regclass)
            FROM pg_index i JOIN pg_class k ON k.oid = i.indexrelid
            WHERE k.{_SCHEMA}
                AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)""",
    ),
    Operator(
        name="non-unique-index",
        query=f"""SELECT i.indexrelid::regclass,
                {_recreated_index("replace(pg_get_indexdef(i.indexrelid), 'UNIQUE ', '')")}
            FROM pg_index i JOIN pg_class k ON k.oid = i.indexrelid
            WHERE k.{_SCHEMA} AND i.indisunique
                AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)""",
    ),
    Operator(
        name="index-without-condition",
        query=f"""SELECT i.indexrelid::regclass, {
            _recreated_index("regexp_replace(pg_get_indexdef(i.indexrelid), ' WHERE .*', '')")
        }
            FROM pg_index i JOIN pg_class k ON k.oid = i.indexrelid
            WHERE k.{_SCHEMA} AND i.indpred IS NOT NULL""",
    ),
)

_OF_TRIGGERS = (
    Operator(
        name="drop-trigger",
        query="""SELECT format('%s.%I', tgrelid::regclass, tgname),
                format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass)
            FROM pg_trigger WHERE NOT tgisinternal""",
    ),
    Operator(
        name="disable-trigger",
        query="""SELECT format('%s.%I', tgrelid::regclass, tgname),
                format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname)
            FROM pg_trigger WHERE NOT tgisinternal""",
    ),
    Operator(
        name="fewer-trigger-events",
        query="""SELECT format('%s.%I', tgrelid::regclass, tgname),
                format('DROP TRIGGER %I ON %s; %s', tgname, tgrelid::regclass,
                    regexp_replace(pg_get_triggerdef(oid), ' OR (INSERT|UPDATE|DELETE)', ''))
            FROM pg_trigger WHERE NOT tgisinternal
                AND pg_get_triggerdef(oid) ~ ' OR (INSERT|UPDATE|DELETE)'""",
    ),
)

_POLICY = "format('%s.%I', p.polrelid::regclass, p.polname)"

_OF_POLICIES = (
    Operator(
        name="drop-policy",
        query=f"""SELECT {_POLICY}, format('DROP POLICY %I ON %s', polname, polrelid::regclass)
            FROM pg_policy p""",
    ),
    Operator(
        name="policy-using-true",
        query=f"""SELECT {_POLICY},
                format('ALTER POLICY %I ON %s USING (true)', polname, polrelid::regclass)
            FROM pg_policy p WHERE polqual IS NOT NULL""",
    ),
    Operator(
        name="policy-check-true",
        query=f"""SELECT {_POLICY},
                format('ALTER POLICY %I ON %s WITH CHECK (true)', polname, polrelid::regclass)
            FROM pg_policy p WHERE polcmd IN ('a', 'w', '*')""",
    ),
    Operator(
        name="policy-to-public",
        query=f"""SELECT {_POLICY}, {_recreated_policy(roles="'PUBLIC'")}
            FROM pg_policy p WHERE polroles <> '{{0}}'""",
    ),
    Operator(
        name="policy-restrictive",
        query=f"""SELECT {_POLICY}, {_recreated_policy(permissive="'RESTRICTIVE'")}
            FROM pg_policy p WHERE polpermissive""",
    ),
    Operator(
        name="policy-permissive",
        query=f"""SELECT {_POLICY}, {_recreated_policy(permissive="'PERMISSIVE'")}
            FROM pg_policy p WHERE NOT polpermissive""",
    ),
    Operator(
        name="policy-for-select-only",
        query=f"""SELECT {_POLICY}, format('DROP POLICY %1$I ON %2$s; CREATE POLICY %1$I ON %2$s
                FOR SELECT USING (%3$s)', polname, polrelid::regclass,
                pg_get_expr(polqual, polrelid))
            FROM pg_policy p WHERE polcmd = '*' AND polqual IS NOT NULL""",
    ),
)

_OF_PRIVILEGES = (
    Operator(
        name="revoke-table-privilege",
        query=f"""SELECT format('%s %s %s', a.privilege_type, t.oid::regclass,
                    coalesce(r.rolname, 'PUBLIC')),
                format('REVOKE %s ON %s FROM %s', a.privilege_type, t.oid::regclass,
                    coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM pg_class t, aclexplode(t.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE t.relkind IN ('r', 'p', 'v', 'm') AND t.{_SCHEMA} AND a.grantee <> t.relowner""",
    ),
    Operator(
        name="grant-table-privilege",
        query=f"""SELECT format('%s %s %s', p, t.oid::regclass, r.rolname),
                format('GRANT %s ON %s TO %I', p, t.oid::regclass, r.rolname)
            FROM {_ROLES}, {_TABLE_PRIVILEGES}, pg_class t
            WHERE t.relkind IN ('r', 'p', 'v', 'm') AND t.{_SCHEMA} AND r.oid <> t.relowner
                AND NOT has_table_privilege(r.oid, t.oid, p)
                AND (t.relkind IN ('r', 'p') OR p = 'SELECT')""",
    ),
    Operator(
        name="grant-table-to-public",
        query=f"""SELECT format('%s %s PUBLIC', p, t.oid::regclass),
                format('GRANT %s ON %s TO PUBLIC', p, t.oid::regclass)
            FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE']) p, pg_class t
            WHERE t.relkind IN ('r', 'p', 'v', 'm') AND t.{_SCHEMA}
                AND (t.relkind IN ('r', 'p') OR p = 'SELECT')""",
    ),
    Operator(
        name="grant-column-privilege",
        query=f"""SELECT format('UPDATE %s.%I %s', t.oid::regclass, a.attname, r.rolname),
                format('GRANT UPDATE (%I) ON %s TO %I', a.attname, t.oid::regclass, r.rolname)
            FROM {_ROLES}, pg_attribute a, {_TABLES} AND t.oid = a.attrelid AND a.attnum > 0
                AND NOT a.attisdropped AND r.oid <> t.relowner
                AND NOT has_column_privilege(r.oid, t.oid, a.attnum, 'UPDATE')""",
    ),
    Operator(
        name="revoke-column-privilege",
        query=f"""SELECT format('%s %s.%I %s', x.privilege_type, t.oid::regclass, a.attname,
                    coalesce(r.rolname, 'PUBLIC')),
                format('REVOKE %s (%I) ON %s FROM %s', x.privilege_type, a.attname,
                    t.oid::regclass, coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid,
                aclexplode(a.attacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
            WHERE t.{_SCHEMA}""",
    ),
    Operator(
        name="revoke-function-privilege",
        query=f"""SELECT format('%s %s', f.oid::regprocedure, coalesce(r.rolname, 'PUBLIC')),
                format('REVOKE EXECUTE ON FUNCTION %s FROM %s', f.oid::regprocedure,
                    coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM pg_proc f,
                aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
                LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE f.prokind = 'f' AND f.pronamespace::regnamespace::text {OWN}
                AND a.grantee <> f.proowner AND {_NOT_OF_EXTENSION}""",
    ),
    Operator(
        name="grant-function-privilege",
        query=f"""SELECT format('%s %s', f.oid::regprocedure, r.rolname),
                format('GRANT EXECUTE ON FUNCTION %s TO %I', f.oid::regprocedure, r.rolname)
            FROM {_ROLES}, {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND r.oid <> f.proowner
                AND NOT has_function_privilege(r.oid, f.oid, 'EXECUTE')""",
    ),
    Operator(
        name="grant-function-to-public",
        query=f"""SELECT format('%s PUBLIC', f.oid::regprocedure),
                format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f.oid::regprocedure)
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.proacl IS NOT NULL""",
    ),
    Operator(
        name="revoke-sequence-privilege",
        query=f"""SELECT format('%s %s %s', a.privilege_type, t.oid::regclass,
                    coalesce(r.rolname, 'PUBLIC')),
                format('REVOKE %s ON SEQUENCE %s FROM %s', a.privilege_type, t.oid::regclass,
                    coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM pg_class t, aclexplode(t.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE t.relkind = 'S' AND t.{_SCHEMA} AND a.grantee <> t.relowner""",
    ),
    Operator(
        name="grant-sequence-privilege",
        query=f"""SELECT format('%s %s %s', p, t.oid::regclass, r.rolname),
                format('GRANT %s ON SEQUENCE %s TO %I', p, t.oid::regclass, r.rolname)
            FROM {_ROLES}, unnest(ARRAY['USAGE', 'UPDATE']) p, pg_class t
            WHERE t.relkind = 'S' AND t.{_SCHEMA} AND r.oid <> t.relowner
                AND NOT has_sequence_privilege(r.oid, t.oid, p)""",
    ),
    Operator(
        name="grant-schema-privilege",
        query=f"""SELECT format('%s %s %s', p, n.nspname, coalesce(r.rolname, 'PUBLIC')),
                format('GRANT %s ON SCHEMA %I TO %s', p, n.nspname,
                    coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM pg_namespace n, unnest(ARRAY['USAGE', 'CREATE']) p,
                (SELECT rolname, oid FROM pg_roles WHERE NOT rolsuper AND rolname {OWN}
                    UNION ALL SELECT NULL, 0) r
            WHERE n.nspname {OWN} AND (r.oid = 0 OR NOT has_schema_privilege(r.oid, n.oid, p))""",
    ),
    Operator(
        name="revoke-schema-privilege",
        query=f"""SELECT format('%s %s %s', a.privilege_type, n.nspname,
                    coalesce(r.rolname, 'PUBLIC')),
                format('REVOKE %s ON SCHEMA %I FROM %s CASCADE', a.privilege_type, n.nspname,
                    coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM pg_namespace n, aclexplode(n.nspacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE n.nspname {OWN} AND a.grantee <> n.nspowner AND r.rolname IS NOT NULL
                AND r.rolname !~ '^pg_'""",
    ),
    Operator(
        name="grant-database-privilege",
        query=f"""SELECT format('%s %s', p, coalesce(r.rolname, 'PUBLIC')),
                format($q$DO $do$ BEGIN
                    EXECUTE format('GRANT %s ON DATABASE %%I TO %s', current_database());
                    END $do$$q$, p, coalesce(quote_ident(r.rolname), 'PUBLIC'))
            FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) p,
                (SELECT rolname, oid FROM pg_roles WHERE NOT rolsuper AND rolname {OWN}
                    UNION ALL SELECT NULL, 0) r
            WHERE r.oid = 0 OR NOT has_database_privilege(r.oid, current_database(), p)""",
    ),
    Operator(
        name="grant-option",
        query=f"""SELECT format('%s %s %s', a.privilege_type, t.oid::regclass, r.rolname),
                format('GRANT %s ON %s TO %I WITH GRANT OPTION', a.privilege_type,
                    t.oid::regclass, r.rolname)
            FROM pg_class t, aclexplode(t.relacl) a JOIN pg_roles r ON r.oid = a.grantee
            WHERE t.relkind IN ('r', 'p', 'v', 'm') AND t.{_SCHEMA} AND a.grantee <> t.relowner
                AND NOT a.is_grantable""",
    ),
)

_OF_FUNCTIONS = (
    Operator(
        name="function-security",
        query=f"""SELECT f.oid::regprocedure, format('ALTER FUNCTION %s SECURITY %s',
                f.oid::regprocedure, CASE WHEN f.prosecdef THEN 'INVOKER' ELSE 'DEFINER' END)
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION}""",
    ),
    Operator(
        name="function-without-settings",
        query=f"""SELECT f.oid::regprocedure, format('ALTER FUNCTION %s RESET ALL',
                f.oid::regprocedure)
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.proconfig IS NOT NULL""",
    ),
    Operator(
        name="function-strictness",
        query=f"""SELECT f.oid::regprocedure, format('ALTER FUNCTION %s %s', f.oid::regprocedure,
                CASE WHEN f.proisstrict THEN 'CALLED ON NULL INPUT' ELSE 'STRICT' END)
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.pronargs > 0""",
    ),
    Operator(
        name="function-without-refusal",
        query=f"""SELECT f.oid::regprocedure, regexp_replace(pg_get_functiondef(f.oid),
                'RAISE EXCEPTION[^;]*;', 'NULL;', 'i')
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION}
                AND f.prosrc ~* 'RAISE EXCEPTION'""",
    ),
    Operator(
        name="function-boundary",
        query=f"""SELECT f.oid::regprocedure, regexp_replace(pg_get_functiondef(f.oid),
                ' ([<>])(=?) ', CASE WHEN f.prosrc ~ ' [<>]= ' THEN ' \\1 ' ELSE ' \\1= ' END)
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.prosrc ~ ' [<>]=? '""",
    ),
    Operator(
        name="function-without-skip-locked",
        query=f"""SELECT f.oid::regprocedure, regexp_replace(pg_get_functiondef(f.oid),
                'SKIP LOCKED', '', 'i')
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.prosrc ~* 'SKIP LOCKED'""",
    ),
    Operator(
        name="function-without-limit",
        query=f"""SELECT f.oid::regprocedure, regexp_replace(pg_get_functiondef(f.oid),
                '\\mLIMIT [a-z0-9_.]+', '', 'i')
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.prosrc ~* '\\mLIMIT [a-z0-9_.]+'""",
    ),
    Operator(
        name="function-without-order",
        query=f"""SELECT f.oid::regprocedure, regexp_replace(pg_get_functiondef(f.oid),
                '\\mORDER BY [a-z0-9_.]+( DESC| ASC)?(, [a-z0-9_.]+( DESC| ASC)?)*', '', 'i')
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION} AND f.prosrc ~* '\\mORDER BY '""",
    ),
)

_OF_OWNERS = (
    Operator(
        name="owner-superuser",
        query=f"""SELECT t.oid::regclass, format('ALTER TABLE %s OWNER TO CURRENT_USER',
                t.oid::regclass) FROM pg_class t
            WHERE t.relkind IN ('r', 'p', 'v', 'm') AND t.{_SCHEMA}""",
    ),
    Operator(
        name="owner-application",
        query=f"""SELECT format('%s %s', t.oid::regclass, r.rolname),
                format('ALTER TABLE %s OWNER TO %I', t.oid::regclass, r.rolname)
            FROM {_ROLES}, pg_class t
            WHERE t.relkind IN ('r', 'p', 'v', 'm') AND t.{_SCHEMA} AND r.oid <> t.relowner""",
    ),
    Operator(
        name="function-owner-superuser",
        query=f"""SELECT f.oid::regprocedure, format('ALTER FUNCTION %s OWNER TO CURRENT_USER',
                f.oid::regprocedure)
            FROM {_FUNCTIONS} AND {_NOT_OF_EXTENSION}""",
    ),
)

_OF_ROLES = (
    _toggled("SUPERUSER", "rolsuper"),
    _toggled("BYPASSRLS", "rolbypassrls"),
    _toggled("CREATEROLE", "rolcreaterole"),
    _toggled("CREATEDB", "rolcreatedb"),
    _toggled("INHERIT", "rolinherit"),
    _toggled("REPLICATION", "rolreplication"),
    _toggled("LOGIN", "rolcanlogin"),
    Operator(
        name="grant-membership",
        scope="server",
        query=f"""SELECT format('%s in %s', m.rolname, r.rolname),
                format('GRANT %I TO %I', r.rolname, m.rolname)
            FROM {_ROLES}, (SELECT rolname, oid FROM pg_roles
                WHERE NOT rolsuper AND rolname {OWN}) m
            WHERE m.oid <> r.oid AND NOT pg_has_role(m.oid, r.oid, 'MEMBER')""",
    ),
    Operator(
        name="grant-predefined-role",
        scope="server",
        query=f"""SELECT format('%s in %s', r.rolname, p), format('GRANT %I TO %I', p, r.rolname)
            FROM {_ROLES}, unnest(ARRAY['pg_read_all_data', 'pg_write_all_data']) p""",
    ),
    Operator(
        name="revoke-membership",
        scope="server",
        query=f"""SELECT format('%s in %s', member::regrole, roleid::regrole),
                format('REVOKE %s FROM %s', roleid::regrole, member::regrole)
            FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = member WHERE rolname {OWN}""",
    ),
    Operator(
        name="role-without-setting",
        scope="server",
        query=f"""SELECT rolname, format('ALTER ROLE %I RESET ALL', rolname)
            FROM pg_roles WHERE rolconfig IS NOT NULL AND rolname {OWN}""",
    ),
)

_OF_VIEWS = (
    Operator(
        name="view-without-options",
        query=f"""SELECT t.oid::regclass, format('ALTER VIEW %s RESET (security_barrier,
                security_invoker)', t.oid::regclass) FROM pg_class t
            WHERE t.relkind = 'v' AND t.reloptions IS NOT NULL AND t.{_SCHEMA}""",
    ),
)

OPERATORS = (
    *_OF_TABLES,
    *_OF_CONSTRAINTS,
    *_OF_INDEXES,
    *_OF_TRIGGERS,
    *_OF_POLICIES,
    *_OF_PRIVILEGES,
    *_OF_FUNCTIONS,
    *_OF_OWNERS,
    *_OF_ROLES,
    *_OF_VIEWS,
)
