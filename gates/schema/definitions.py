"""The objects of a schema, as PostgreSQL's system catalogues describe them.

Owns the queries that turn every object of a database into one line, so that two states can be
compared: schemas, tables, columns, constraints, indexes, policies, triggers, views, rules,
sequences, functions, types, owners and privileges. Leaves out the system schemas, which no
migration creates, comments, and data: rows, statistics and the values of sequences.

Source: PostgreSQL documentation, "System Catalogs".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gateproof import SqlProbe


@dataclass(frozen=True, kw_only=True, order=True)
class Definition:
    """One object of a schema."""

    kind: str
    table: str
    """The table that it belongs to, without the schema; empty if it belongs to none."""
    name: str
    text: str

    def __str__(self) -> str:
        """Return kind and name, as a message shows them."""
        place = f" of {self.table}" if self.table and self.table != self.name else ""
        return f"{self.kind} {self.name}{place}"


_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_RELATION = f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {_OURS}"
_GRANT = (
    "coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') || ' ' || a.privilege_type,"
    " CASE WHEN a.is_grantable THEN 'with grant option' ELSE '' END"
)

QUERIES: Mapping[str, str] = {
    "schema": f"""
        SELECT '', n.nspname, n.nspowner::regrole::text FROM pg_namespace n WHERE {_OURS}""",
    "schema privilege": f"""
        SELECT n.nspname, {_GRANT} FROM pg_namespace n,
            aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE {_OURS}""",
    "relation": f"""
        SELECT c.relname, c.relname, format(
            'kind %s, owner %s, schema %s, persistence %s, row security %s, forced %s, options %s',
            c.relkind, c.relowner::regrole, n.nspname, c.relpersistence,
            c.relrowsecurity, c.relforcerowsecurity, c.reloptions)
        FROM {_RELATION} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')""",
    "privilege": f"""
        SELECT c.relname, {_GRANT} FROM {_RELATION},
            aclexplode(coalesce(c.relacl, acldefault(
                CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')""",
    "column": f"""
        SELECT c.relname, t.attname, format(
            'number %s, %s, not null %s, default %s, identity %s, generated %s, collation %s',
            row_number() OVER (PARTITION BY c.oid ORDER BY t.attnum),
            format_type(t.atttypid, t.atttypmod), t.attnotnull, pg_get_expr(d.adbin, d.adrelid),
            t.attidentity, t.attgenerated, nullif(t.attcollation, 0)::regcollation)
        FROM {_RELATION}
        JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = t.attnum
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')""",
    "column privilege": f"""
        SELECT c.relname, t.attname || ' ' || {_GRANT} FROM {_RELATION}
        JOIN pg_attribute t ON t.attrelid = c.oid AND t.attacl IS NOT NULL, aclexplode(t.attacl) a
        """,
    "constraint": f"""
        SELECT c.relname, k.conname,
            format('%s, validated %s', pg_get_constraintdef(k.oid), k.convalidated)
        FROM {_RELATION} JOIN pg_constraint k ON k.conrelid = c.oid""",
    "index": f"""
        SELECT c.relname, i.relname, format('%s, valid %s', pg_get_indexdef(i.oid), x.indisvalid)
        FROM {_RELATION} JOIN pg_index x ON x.indrelid = c.oid
        JOIN pg_class i ON i.oid = x.indexrelid""",
    "policy": f"""
        SELECT c.relname, p.polname, format('for %s, permissive %s, to %s, using %s, check %s',
            p.polcmd, p.polpermissive,
            ARRAY(SELECT coalesce(nullif(r, 0)::regrole::text, 'PUBLIC')
                  FROM unnest(p.polroles) r ORDER BY 1),
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
        FROM {_RELATION} JOIN pg_policy p ON p.polrelid = c.oid""",
    "trigger": f"""
        SELECT c.relname, g.tgname, format('%s, enabled %s', pg_get_triggerdef(g.oid), g.tgenabled)
        FROM {_RELATION} JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal""",
    "view": f"""
        SELECT c.relname, c.relname, pg_get_viewdef(c.oid) FROM {_RELATION}
        WHERE c.relkind IN ('v', 'm')""",
    "rule": f"""
        SELECT c.relname, w.rulename, pg_get_ruledef(w.oid)
        FROM {_RELATION} JOIN pg_rewrite w ON w.ev_class = c.oid AND w.rulename <> '_RETURN'""",
    "sequence": f"""
        SELECT c.relname, c.relname, format('%s, start %s, step %s, from %s to %s, cycles %s',
            format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
            s.seqcycle)
        FROM {_RELATION} JOIN pg_sequence s ON s.seqrelid = c.oid""",
    "function": f"""
        SELECT '', p.oid::regprocedure::text, format('owner %s, %s', p.proowner::regrole,
            CASE WHEN p.prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {_OURS}""",
    "function privilege": f"""
        SELECT p.oid::regprocedure::text, {_GRANT}
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {_OURS},
            aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a""",
    "type": f"""
        SELECT '', t.typname, format('%s, owner %s, base %s, labels %s', t.typtype,
            t.typowner::regrole, nullif(t.typbasetype, 0)::regtype,
            ARRAY(SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = t.oid
                  ORDER BY e.enumsortorder))
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {_OURS}
        WHERE t.typtype IN ('d', 'e', 'r')""",
    "default privilege": f"""
        SELECT d.defaclrole::regrole::text || ' ' || d.defaclobjtype::text, {_GRANT}
        FROM pg_default_acl d, aclexplode(d.defaclacl) a""",
}
"""Kind of object to a query with three columns: table, name, text."""


OF_NO_TABLE = frozenset(
    {
        "schema",
        "schema privilege",
        "sequence",
        "function",
        "function privilege",
        "type",
        "default privilege",
    }
)
"""Kinds of objects that belong to no table."""


def read_definitions(probe: SqlProbe) -> frozenset[Definition]:
    """Return every object of a database except the system schemas, read as superuser."""
    with probe.session(autocommit=True) as session:
        return frozenset(
            Definition(kind=kind, table=table, name=name, text=text or "")
            for kind, statement in QUERIES.items()
            for table, name, text in session.query(statement).rows
        )


def read_table(probe: SqlProbe, table: str) -> frozenset[Definition]:
    """Return a table and the objects that belong to it, read as superuser in a single query."""
    statement = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, name, text FROM ({query}) q(part_of, name, text)"
        f" WHERE part_of = '{table}'"
        for kind, query in QUERIES.items()
        if kind not in OF_NO_TABLE
    )
    rows = probe.query(f"{statement} ORDER BY kind, name").rows
    return frozenset(
        Definition(kind=kind, table=table, name=name, text=text or "") for kind, name, text in rows
    )


def renamed(definitions: Iterable[Definition], old: str, new: str) -> frozenset[Definition]:
    """Return definitions with every occurrence of a name replaced by its new name."""
    return frozenset(
        replace(
            one,
            table=one.table.replace(old, new),
            name=one.name.replace(old, new),
            text=one.text.replace(old, new),
        )
        for one in definitions
    )


def differences(got: Iterable[Definition], expected: Iterable[Definition]) -> list[str]:
    """Return the differences of two schemas, one line each: lost, left over, changed."""
    have = {(one.kind, one.table, one.name): one for one in got}
    want = {(one.kind, one.table, one.name): one for one in expected}
    lost = [f"lost {want[key]}" for key in sorted(want.keys() - have.keys())]
    more = [f"left over {have[key]}" for key in sorted(have.keys() - want.keys())]
    changed = [
        f"changed {want[key]}: got {_short(have[key])}, expected {_short(want[key])}"
        for key in sorted(want.keys() & have.keys())
        if want[key].text != have[key].text
    ]
    return lost + more + changed


def _short(one: Definition) -> str:
    return " ".join(one.text.split())[:160] or "nothing"
