"""Reads from the catalogue of the database what a row of a table needs.

Owns the queries over tables, columns, types, constraints and partitions. All tables are read by the
same few queries, however many they are. Leaves values to `gateproof.faults.tenancy.value`.

Source: PostgreSQL documentation, chapter System Catalogs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateproof.probes.sql import Session

COLUMNS = """
    SELECT a.attrelid AS relation, a.attname AS name, a.atttypid AS type, a.atttypmod AS modifier,
        format_type(a.atttypid, a.atttypmod) AS shown, a.attnotnull AS required,
        a.attidentity::text AS identity, a.attgenerated <> '' AS generated,
        pg_get_expr(d.adbin, d.adrelid) AS default
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

# The constraints of a domain are those of each of its columns.
TYPES = """
    WITH RECURSIVE used (oid) AS (
        SELECT atttypid FROM pg_attribute
        WHERE attrelid = ANY(%s) AND attnum > 0 AND NOT attisdropped
        UNION
        SELECT next.oid FROM used JOIN pg_type t ON t.oid = used.oid
            LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
            LEFT JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0,
            unnest(ARRAY[t.typbasetype, CASE WHEN t.typcategory = 'A' THEN t.typelem END,
                         r.rngsubtype, r.rngtypid, a.atttypid]) AS next (oid)
        WHERE next.oid <> 0
    )
    SELECT t.oid, format_type(t.oid, NULL) AS name, t.typtype::text AS kind,
        t.typcategory::text AS category, t.typelem AS element, t.typbasetype AS base,
        t.typtypmod AS modifier, t.typnotnull AS required, r.rngtypid AS range,
        r.rngsubtype AS subtype,
        ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)
            AS labels,
        ARRAY(SELECT atttypid::bigint FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0
              AND NOT attisdropped ORDER BY attnum) AS fields,
        ARRAY(SELECT pg_get_expr(conbin, 0) FROM pg_constraint WHERE contypid = t.oid
              AND contype = 'c' ORDER BY conname) AS checks
    FROM pg_type t LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    WHERE t.oid IN (SELECT oid FROM used)
"""

CONSTRAINTS = """
    SELECT c.conrelid AS relation, c.conname AS name, c.contype::text AS kind,
        ARRAY(SELECT attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
              JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number
              ORDER BY place) AS columns,
        pg_get_expr(c.conbin, c.conrelid) AS expression,
        c.confrelid AS parent_oid,
        CASE WHEN p.oid IS NOT NULL THEN format('%%I.%%I', n.nspname, p.relname) END AS parent,
        ARRAY(SELECT attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
              JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number
              ORDER BY place) AS referenced,
        ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = c.confrelid
              AND a.attnum > 0 AND NOT a.attisdropped) AS parent_columns
    FROM pg_constraint c LEFT JOIN pg_class p ON p.oid = c.confrelid
        LEFT JOIN pg_namespace n ON n.oid = p.relnamespace
    WHERE c.conrelid = ANY(%s) AND c.contype IN ('c', 'f', 'p')
    ORDER BY c.conrelid, c.contype, c.conname
"""

UNIQUE = """
    SELECT i.indrelid AS relation, c.relname AS name,
        ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid
              AND a.attnum = ANY(i.indkey)) AS columns
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY(%s) AND (i.indisunique OR i.indisexclusion)
"""

# A partition has bounds of its own and those of its parents; a partitioned table, its partitions'.
BOUNDS = """
    WITH RECURSIVE related (relation, other) AS (
        SELECT relation, relation FROM unnest(%s::oid[]) AS relation
        UNION
        SELECT r.relation, i.inhrelid FROM related r JOIN pg_inherits i ON i.inhparent = r.other
    ), parents (relation, other) AS (
        SELECT DISTINCT relation, other FROM related
        UNION
        SELECT p.relation, i.inhparent FROM parents p JOIN pg_inherits i ON i.inhrelid = p.relation
            AND p.relation = p.other
    )
    SELECT p.relation, pg_get_expr(c.relpartbound, c.oid) AS bound,
        ARRAY(SELECT attname::text FROM pg_partitioned_table t
              JOIN pg_inherits i ON i.inhparent = t.partrelid AND i.inhrelid = c.oid
              JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = ANY(t.partattrs))
            AS columns
    FROM parents p JOIN pg_class c ON c.oid = p.other WHERE c.relispartition
"""


@dataclass(frozen=True, kw_only=True)
class Type:
    """A type of the database, with what its values are made of."""

    oid: int
    name: str
    kind: str
    """``b`` base, ``c`` composite, ``d`` domain, ``e`` enum, ``r`` range, ``m`` multirange."""
    category: str
    element: int
    base: int
    modifier: int
    required: bool
    """Whether a domain refuses NULL."""
    range: int | None
    subtype: int | None
    labels: list[str]
    fields: list[int]
    checks: list[str]

    @property
    def cast(self) -> str:
        """Its name for a cast that cuts nothing: some names alone mean a length of one."""
        return {"character": "bpchar", "bit": "varbit"}.get(self.name, self.name)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    type: int
    modifier: int
    shown: str
    """The type as SQL, with its length."""
    required: bool
    identity: str
    """``a`` always, ``d`` by default, or empty."""
    generated: bool
    default: str | None


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A check, a primary key or a foreign key."""

    name: str
    kind: str
    """``c`` check, ``p`` primary key, ``f`` foreign key."""
    columns: list[str]
    expression: str | None
    parent_oid: int
    parent: str | None
    """The referenced table as SQL."""
    referenced: list[str]
    parent_columns: list[str]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The bounds of a partition and the columns of the partition key."""

    bound: str
    columns: list[str]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Everything that a row of one table needs."""

    columns: Mapping[str, Column]
    constraints: Sequence[Constraint]
    unique: Mapping[str, Sequence[str]]
    """Unique and exclusion indexes, with their columns."""
    bounds: Sequence[Bound]
    types: Mapping[int, Type]

    @property
    def primary_key(self) -> Sequence[str]:
        """The columns of the primary key; none without one."""
        return next((one.columns for one in self.constraints if one.kind == "p"), ())

    @property
    def insertable(self) -> list[str]:
        """The columns that an INSERT may name."""
        every = self.columns.values()
        return [one.name for one in every if not one.generated and one.identity != "a"]

    def base(self, column: Column) -> tuple[Type, int]:
        """Return the type of a column below its domains, and its modifier."""
        found, modifier = self.types[column.type], column.modifier
        while found.kind == "d":
            modifier = found.modifier if modifier < 0 else modifier
            found = self.types[found.base]
        return found, modifier


def read_shapes(session: Session, oids: Sequence[int]) -> dict[int, Shape]:
    """Read the shapes of tables, by the object ids of the tables."""
    wanted = (list(oids),)
    columns = session.query(COLUMNS, wanted).dicts()
    types = {row["oid"]: Type(**row) for row in session.query(TYPES, wanted).dicts()}
    constraints = session.query(CONSTRAINTS, wanted).dicts()
    unique = session.query(UNIQUE, wanted).dicts()
    bounds = session.query(BOUNDS, wanted).dicts()

    def of(rows: list[dict[str, object]], oid: int) -> list[dict[str, object]]:
        return [
            {name: value for name, value in row.items() if name != "relation"}
            for row in rows
            if row["relation"] == oid
        ]

    return {
        oid: Shape(
            columns={str(row["name"]): Column(**row) for row in of(columns, oid)},  # type: ignore[arg-type]
            constraints=[Constraint(**row) for row in of(constraints, oid)],  # type: ignore[arg-type]
            unique={str(row["name"]): row["columns"] for row in of(unique, oid)},  # type: ignore[misc]
            bounds=[Bound(**row) for row in of(bounds, oid)],  # type: ignore[arg-type]
            types=types,
        )
        for oid in oids
    }
