"""Finds the tables of tenants in the catalogue, and what else shows their rows.

Owns the queries over tables with the key of the tenant, tables that reference them without having
it, and views and functions. Leaves judging what it finds to the checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateproof.description.sut import Sut
from gateproof.probes.claims.premise import premise
from gateproof.probes.sql import SqlProbe

# A name of the description is one that SQL resolves, or one that only needs quotes.
_TABLES = """
    SELECT c.oid, format('%%I.%%I', n.nspname, c.relname) AS sql,
        CASE WHEN pg_table_is_visible(c.oid) THEN quote_ident(c.relname)
             ELSE format('%%I.%%I', n.nspname, c.relname) END AS name,
        c.relkind = 'p' AS partitioned, c.relispartition AS partition,
        (SELECT relname FROM pg_class WHERE oid = pg_partition_root(c.oid)) AS root,
        format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL) AS key_type,
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique
                AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS single,
        CASE WHEN a.atttypmod > 4 AND t.typcategory = 'S' THEN a.atttypmod - 4 END AS key_length
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(key)s
            AND NOT a.attisdropped
        LEFT JOIN pg_type t ON t.oid = a.atttypid
"""

_OF_THE_SYSTEM = """
    c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""

_DISCOVERED = f"{_TABLES} WHERE a.attname IS NOT NULL AND {_OF_THE_SYSTEM} ORDER BY 3"

_NAMED = f"""
    {_TABLES} JOIN unnest(%(names)s::text[]) WITH ORDINALITY AS wanted (text, place)
        ON c.oid = coalesce(to_regclass(wanted.text), to_regclass(quote_ident(wanted.text)),
            to_regclass(quote_ident(split_part(wanted.text, '.', 1)) || '.'
                || quote_ident(split_part(wanted.text, '.', 2))))
    ORDER BY wanted.place
"""

_CHILDREN = f"""
    SELECT DISTINCT child.name, parent.name AS parent
    FROM pg_constraint f
        JOIN ({_TABLES} WHERE a.attname IS NULL AND {_OF_THE_SYSTEM}) AS child
            ON child.oid = f.conrelid
        JOIN ({_TABLES} WHERE a.attname IS NOT NULL) AS parent ON parent.oid = f.confrelid
    WHERE f.contype = 'f' AND child.oid <> parent.oid AND NOT child.partition
    ORDER BY 1, 2
"""

_VIEWS = """
    SELECT c.oid, format('%%I.%%I', n.nspname, c.relname) AS sql,
        CASE WHEN pg_table_is_visible(c.oid) THEN quote_ident(c.relname)
             ELSE format('%%I.%%I', n.nspname, c.relname) END AS name,
        c.relkind = 'm' AS materialized,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %(key)s
                AND NOT a.attisdropped) AS has_key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%%'
        AND n.nspname <> 'information_schema'
        AND (%(role)s::text IS NULL OR has_schema_privilege(%(role)s, n.oid, 'USAGE')
             AND (has_table_privilege(%(role)s, c.oid, 'SELECT')
                  OR has_any_column_privilege(%(role)s, c.oid, 'SELECT')))
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 3
"""

# The arguments of a call are NULL, except for types with a value that selects rows.
_DEFINERS = """
    SELECT p.oid::regprocedure::text AS name, owner.rolname AS owner,
        owner.rolsuper OR owner.rolbypassrls AS unbound, p.prokind::text AS kind,
        coalesce((SELECT setting FROM unnest(p.proconfig) AS setting
                  WHERE setting LIKE 'search\\_path=%%'), '') AS search_path,
        format('%%I.%%I(%%s)', n.nspname, p.proname, (
            SELECT string_agg(CASE t.typcategory WHEN 'N' THEN '100' WHEN 'T' THEN '''1 hour'''
                WHEN 'B' THEN 'false' ELSE 'NULL' END || '::' || format_type(t.oid, NULL), ', '
                ORDER BY place)
            FROM unnest(p.proargtypes) WITH ORDINALITY AS argument (type, place)
                JOIN pg_type t ON t.oid = argument.type)) AS call
    FROM pg_proc p JOIN pg_roles owner ON owner.oid = p.proowner
        JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prosecdef AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
        AND p.prorettype <> 'trigger'::regtype AND p.prorettype <> 'event_trigger'::regtype
        AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
        AND has_function_privilege(%(role)s, p.oid, 'EXECUTE')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the system."""

    oid: int
    name: str
    """Its name for messages: quoted where SQL needs it, with the schema only if SQL needs that."""
    sql: str
    """Its name for statements, with its schema."""
    partitioned: bool
    partition: bool
    root: str | None
    """The topmost parent of a partition."""
    key_type: str | None
    """The type of the tenant's key, without domain and length; None without a key."""
    single: bool
    """Whether a tenant can have one row only, because the key alone is unique."""
    key_length: int | None
    """The maximum number of characters of the key."""

    def is_named(self, text: str) -> bool:
        """Return whether a name of the description is its name, quoted or not."""
        return text.replace('"', "") in (self.name.replace('"', ""), self.sql.replace('"', ""))


@dataclass(frozen=True, kw_only=True)
class View:
    """A view, a materialized view or a foreign table."""

    oid: int
    name: str
    sql: str
    materialized: bool
    has_key: bool
    """Whether it has the key of the tenant."""


@dataclass(frozen=True, kw_only=True)
class Definer:
    """A function that runs with the privileges of its owner."""

    name: str
    """With the types of its arguments."""
    owner: str
    unbound: bool
    """Whether no policy binds its owner."""
    kind: str
    """``f`` function, ``p`` procedure, or another."""
    search_path: str
    """The setting that it fixes; empty for none."""
    call: str
    """The call with an argument of each type."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A table without the key that references a table with it."""

    name: str
    parent: str


def tenant_tables(sql: SqlProbe, sut: Sut) -> tuple[Table, ...]:
    """Return the tables with rows of tenants: the listed ones, or all that have the key.

    Tables in `tenancy.exceptions` are not discovered.

    Raises:
        PremiseError: a listed table does not exist, or has no key.

    """
    listed = sut.tenancy.listed
    if sut.tenancy.discovers:
        found = _tables(sql, sut, _DISCOVERED)
        return tuple(one for one in found if not _is_excepted(sut, one))
    found = _tables(sql, sut, _NAMED, names=list(listed))
    names = [one.name for one in found if one.key_type is not None]
    premise(
        f"tables of tenancy.tables that have {sut.tenancy.key}",
        got=len(names),
        expected=len(listed),
        on=", ".join(listed),
    )
    return found


def tables_with_key(sql: SqlProbe, sut: Sut) -> tuple[Table, ...]:
    """Return every table that has the key, listed or not."""
    return _tables(sql, sut, _DISCOVERED)


def children_without_key(sql: SqlProbe, sut: Sut) -> tuple[Child, ...]:
    """Return the tables that reference a table of tenants and have no key of their own.

    Their rows belong to a tenant, but no policy can compare a key.
    """
    rows = sql.query(_CHILDREN, {"key": sut.tenancy.key}).dicts()
    return tuple(Child(**row) for row in rows)


def views(sql: SqlProbe, sut: Sut, *, role: str | None = None) -> tuple[View, ...]:
    """Return the views, materialized views and foreign tables that a role may read; None: all."""
    rows = sql.query(_VIEWS, {"key": sut.tenancy.key, "role": role}).dicts()
    return tuple(View(**row) for row in rows)


def definers(sql: SqlProbe, *, role: str) -> tuple[Definer, ...]:
    """Return the SECURITY DEFINER functions that a role may call; triggers are none of them."""
    return tuple(Definer(**row) for row in sql.query(_DEFINERS, {"role": role}).dicts())


def table_named(sql: SqlProbe, sut: Sut, name: str) -> Table | None:
    """Return a table by its name in the description, or None if there is none."""
    found = _tables(sql, sut, _NAMED, names=[name])
    return found[0] if found else None


def _tables(sql: SqlProbe, sut: Sut, query: str, *, names: Sequence[str] = ()) -> tuple[Table, ...]:
    rows = sql.query(query, {"key": sut.tenancy.key, "names": list(names)}).dicts()
    return tuple(Table(**row) for row in rows)


def _is_excepted(sut: Sut, table: Table) -> bool:
    return any(table.is_named(name) for name in sut.tenancy.exceptions)
