"""Kinds of changes next to a table: views, functions, triggers, rules and further tables.

Every created object begins with `gateproof_`, and belongs to the superuser, whom no policy binds.
"""

from __future__ import annotations

from collections.abc import Callable

from gateproof.faults.tenancy.fault import CREATED, STATE, Change, Kind, Target, schema_of
from gateproof.faults.tenancy.policy_fault import own_rows, tenant_setting
from gateproof.faults.tenancy.value import identifier


def _creates(statement: str, landing: str = CREATED) -> Callable[[Target], Change]:
    """Return the change by a statement with the names of table, key and roles filled in."""

    def build(target: Target) -> Change:
        roles = {name: identifier(role) for name, role in target.sut.role_names.items()}
        schema = schema_of(target.table)
        filled = statement.format(
            table=target.table.sql,
            schema=schema,
            key=identifier(target.sut.tenancy.key),
            key_type=target.table.key_type,
            own=own_rows(target),
            setting=tenant_setting(target.sut),
            **roles,
        )
        return Change(statement=filled, landing=landing)

    return build


_VIEW = (
    "CREATE VIEW {schema}.gateproof_view AS SELECT count(*) FROM {table};"
    " GRANT SELECT ON {schema}.gateproof_view TO {role}"
)
_MATERIALIZED = (
    "CREATE MATERIALIZED VIEW {schema}.gateproof_copy AS SELECT * FROM {table};"
    " GRANT SELECT ON {schema}.gateproof_copy TO {role}"
)
# PostgreSQL evaluates the cheaper condition first: this filter costs more than that of a probe.
_NO_BARRIER = (
    "CREATE VIEW {schema}.gateproof_view AS SELECT {key} FROM {table}"
    " WHERE {key}::text = lower(btrim({setting}));"
    " GRANT SELECT ON {schema}.gateproof_view TO {role}"
)
_UNFILTERED = (
    "CREATE VIEW {schema}.gateproof_view WITH (security_barrier = true) AS SELECT {key} FROM"
    " {table}; GRANT SELECT ON {schema}.gateproof_view TO {role}"
)
_DEFINER = (
    "CREATE FUNCTION {schema}.gateproof_rows() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp"
    " AS $$ BEGIN RETURN (SELECT count(*) FROM {table}); END $$"
)
_LEAKPROOF = (
    "CREATE FUNCTION {schema}.gateproof_quiet(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001"
    " LEAKPROOF AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
)
_COPYING_TRIGGER = (
    "CREATE TABLE {schema}.gateproof_rows (content text);"
    " CREATE FUNCTION {schema}.gateproof_copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO {schema}.gateproof_rows VALUES (NEW::text); RETURN NEW; END $$;"
    " CREATE TRIGGER gateproof_copy AFTER INSERT ON {table} FOR EACH ROW"
    " EXECUTE FUNCTION {schema}.gateproof_copy()"
)
_COPYING_RULE = (
    "CREATE TABLE {schema}.gateproof_rows (content text);"
    " CREATE RULE gateproof_copy AS ON INSERT TO {table}"
    " DO ALSO INSERT INTO {schema}.gateproof_rows VALUES ('a row')"
)
_FOLLOWING = (
    "CREATE FUNCTION {schema}.gateproof_follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM set_config('{guc}', NEW.{key}::text, true); RETURN NEW; END $$;"
    " CREATE TRIGGER gateproof_follow BEFORE INSERT ON {table} FOR EACH ROW"
    " EXECUTE FUNCTION {schema}.gateproof_follow()"
)
_PURGING = (
    "GRANT DELETE ON {table} TO {role};"
    " CREATE POLICY gateproof_delete ON {table} FOR DELETE TO {role} USING ({own});"
    " CREATE FUNCTION {schema}.gateproof_purge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp AS $$ BEGIN IF EXISTS (SELECT FROM gone) THEN"
    " DELETE FROM {table} WHERE true; END IF; RETURN NULL; END $$;"
    " CREATE TRIGGER gateproof_purge AFTER DELETE ON {table}"
    " REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"
    " EXECUTE FUNCTION {schema}.gateproof_purge()"
)
_FORGOTTEN = "CREATE TABLE {schema}.gateproof_forgotten (id integer PRIMARY KEY, {key} {key_type})"
_CHILD = (
    "CREATE TABLE {schema}.gateproof_notes (note text);"
    " GRANT SELECT ON {schema}.gateproof_notes TO {role}"
)
_COLUMN = (
    "CREATE TABLE {schema}.gateproof_names (id integer, name text);"
    " GRANT SELECT (name) ON {schema}.gateproof_names TO PUBLIC"
)
_OTHER_SCHEMA = (
    "CREATE SCHEMA gateproof_exports; CREATE TABLE gateproof_exports.gateproof_rows (content text);"
    " GRANT USAGE ON SCHEMA gateproof_exports TO {last};"
    " GRANT SELECT ON gateproof_exports.gateproof_rows TO {last}"
)


_REFERENCES = """
    SELECT string_agg(format('%%I', a.attname), ', ' ORDER BY place) AS names,
        string_agg(format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
            ORDER BY place) AS columns
    FROM pg_constraint c, unnest(c.conkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attnum = k.number
    WHERE c.conrelid = %s AND a.attrelid = c.conrelid AND c.contype = 'p' AND a.attname <> %s
    HAVING count(*) = (SELECT cardinality(conkey) FROM pg_constraint WHERE conrelid = %s
                       AND contype = 'p')
"""
"""The primary key of a table, unless the key of the tenant is a part of it."""


def _child(target: Target) -> Change:
    """Return the change by a table that references the primary key without having the key.

    It references a new tenant table where the table has no primary key of its own.
    """
    oid, key = target.table.oid, target.sut.tenancy.key
    found = target.sql.query(_REFERENCES, (oid, key, oid)).dicts()
    schema = schema_of(target.table)
    child = f"CREATE TABLE {schema}.gateproof_children"
    if found:
        columns, names = found[0]["columns"], found[0]["names"]
        references = f"FOREIGN KEY ({names}) REFERENCES {target.table.sql} ({names})"
        return Change(statement=f"{child} ({columns}, {references})", landing=CREATED)
    parent = (
        f"CREATE TABLE {schema}.gateproof_parents (id integer PRIMARY KEY,"
        f" {identifier(key)} {target.table.key_type})"
    )
    references = f"(parent integer REFERENCES {schema}.gateproof_parents)"
    return Change(statement=f"{parent}; {child} {references}", landing=CREATED)


def _following(target: Target) -> Change:
    guc = target.sut.tenancy.guc.replace("'", "''")
    return _creates(_FOLLOWING.replace("{guc}", guc), STATE)(target)


def _creating(name: str, statement: str, created: str, landing: str = CREATED) -> Kind:
    """Return the kind of change that creates an object, which a finding must name."""
    return Kind(name=name, build=_creates(statement, landing), target=created)


OBJECT_KINDS = (
    _creating("view-without-invoker", _VIEW, "{schema}gateproof_view"),
    _creating("view-without-barrier", _NO_BARRIER, "{schema}gateproof_view"),
    _creating("view-without-filter", _UNFILTERED, "{schema}gateproof_view"),
    _creating("materialized-view", _MATERIALIZED, "{schema}gateproof_copy"),
    _creating("function-without-review", _DEFINER, "{schema}gateproof_rows()"),
    _creating("function-that-counts-all-rows", _DEFINER, "{schema}gateproof_rows()"),
    _creating("definer-function", _DEFINER, "definer function {schema}gateproof_rows()"),
    _creating("leakproof-function", _LEAKPROOF, "leakproof function {schema}gateproof_quiet(text)"),
    _creating("copying-trigger", _COPYING_TRIGGER, "trigger {table}.gateproof_copy", STATE),
    _creating("copying-rule", _COPYING_RULE, "rule {table}.gateproof_copy", STATE),
    Kind(name="tenant-follows-the-row", build=_following),
    Kind(name="purging-trigger", build=_creates(_PURGING, STATE)),
    _creating("forgotten-table", _FORGOTTEN, "{schema}gateproof_forgotten"),
    Kind(name="child-without-key", build=_child, target="{schema}gateproof_children"),
    _creating("readable-table-without-key", _CHILD, "{schema}gateproof_notes"),
    _creating("readable-column-without-key", _COLUMN, "{schema}gateproof_names"),
    _creating(
        "readable-table-in-another-schema", _OTHER_SCHEMA, "gateproof_exports.gateproof_rows"
    ),
)
