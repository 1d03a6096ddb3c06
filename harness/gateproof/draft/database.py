"""Reads the catalogue of a database: owners, tables, policies, settings, roles, functions.

Reads only, in one read-only transaction. Owns the guesses about tenants and
dead-letter rows.

Source: PostgreSQL documentation, "System Catalogs".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from gateproof_evidence.errors import BadInputError

VERSION_TABLES = ("alembic_version", "django_migrations")
"""The tables in which migration tools record what they have applied."""
RESULT_COLUMNS = frozenset({"id", "task_id", "status", "date_done"})
"""The columns of a table with results of tasks."""
BROKER_TABLES = ("kombu_queue", "kombu_message", "celery_taskmeta", "celery_tasksetmeta")
"""The tables of Celery's transport and result backend on SQLAlchemy, by their default names."""
SETTING = re.compile(r"current_setting\('([^']+)'")
KEY = re.compile(
    r"\(*\"?(\w+)\"?\)*(?:::\w+)?\s*=\s*\(*(?:nullif\(|coalesce\()?\(*current_setting",
    re.IGNORECASE,
)
"""A comparison of a column with a setting, as PostgreSQL prints an expression."""
FAILED = re.compile(r"dead|fail|dlq|error", re.IGNORECASE)
TASK_COLUMNS = {
    "task_id": ("task_id", "job_id", "celery_id", "message_id"),
    "task_name": ("task_name", "task", "job_name", "name"),
    "args": ("task_args", "args", "arguments"),
    "kwargs": ("task_kwargs", "kwargs"),
    "exception_class": ("exception_class", "error_type", "exception_type", "exc_type"),
    "status": ("status", "state"),
}
"""Names of columns as checks use them, and the names under which tables have them."""
LEAST_COLUMNS = 3
LITERAL = re.compile(r"'((?:[^']|'')*)'")
ONE_OF = re.compile(
    r"CHECK \(\(+\"?\w+\"?\)?(?:::[\w ]+)? = ANY \(\(?ARRAY\["
    r"(?P<values>(?:'(?:[^']|'')*'(?:::[\w ]+)?(?:, )?)+)\]\)?(?:::[\w ]+\[\])?\)\)\)"
)
"""A check that a column has one of some values, and nothing more, as PostgreSQL prints it."""

_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
        c.relowner::regrole::text AS owner, c.relrowsecurity AS secured,
        ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
              AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
        ARRAY(SELECT r.rolname::text FROM aclexplode(c.relacl) g
              JOIN pg_roles r ON r.oid = g.grantee WHERE g.grantee <> c.relowner) AS privileges
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_'
        AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""
_VALUES = """
    SELECT n.nspname AS schema, c.relname AS name, a.attname AS column,
        pg_get_expr(d.adbin, d.adrelid) AS default,
        ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = a.atttypid
              ORDER BY e.enumsortorder) AS labels,
        ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.contype = 'c'
              AND (k.conrelid = c.oid AND k.conkey = ARRAY[a.attnum]
                   OR k.contypid <> 0 AND k.contypid = a.atttypid)) AS checks
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1, 2, a.attnum
"""
_POLICIES = """
    SELECT schemaname AS schema, tablename AS "table", policyname AS name, roles::text[] AS roles,
        cmd AS command, coalesce(qual, '') || ' ' || coalesce(with_check, '') AS text
    FROM pg_policies ORDER BY 1, 2, 3
"""
_ROLES = """
    SELECT r.rolname::text AS name, r.rolcanlogin AS login, r.rolsuper OR r.rolbypassrls AS unbound,
        ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
              WHERE m.member = r.oid ORDER BY 1) AS member_of
    FROM pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1
"""
_DEFINERS = """
    SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    ORDER BY 1
"""
_EXTENSIONS = "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table or a view."""

    schema: str
    name: str
    kind: str
    """``r`` table, ``p`` partitioned table, ``v`` view, ``m`` materialized view."""
    owner: str
    secured: bool
    """Whether row-level security is on."""
    columns: list[str]
    privileges: list[str]
    """The role of each privilege that a role other than the owner holds."""

    @property
    def readers(self) -> tuple[str, ...]:
        """The roles other than the owner that hold a privilege, those with most of them first."""
        return tuple(role for role, _ in Counter(self.privileges).most_common())

    @property
    def is_table(self) -> bool:
        """Whether it is a table, partitioned or not."""
        return self.kind in ("r", "p")

    @property
    def label(self) -> str:
        """Its name for the description: without the schema `public`."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A column that can have listed values only."""

    schema: str
    table: str
    column: str
    values: tuple[str, ...]
    """In the order of the constraint or the type."""
    default: str
    """The value of a new row; empty if none of them is the default."""
    origin: str
    """Where the list is from, in words."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy of row-level security."""

    schema: str
    table: str
    name: str
    roles: list[str]
    command: str
    text: str
    """Both of its expressions."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role of the server."""

    name: str
    login: bool
    unbound: bool
    """Whether no policy binds it."""
    member_of: list[str]


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The catalogue of a database, as far as a draft needs it."""

    relations: tuple[Relation, ...]
    policies: tuple[Policy, ...]
    roles: tuple[Role, ...]
    definers: tuple[str, ...]
    """Functions that run with the privileges of their owner."""
    extensions: tuple[str, ...]
    listed: tuple[Listed, ...] = ()
    """Columns with a list of values."""

    def values_of(self, table: Relation, column: str) -> Listed | None:
        """Return the list of values of a column; None if it has none."""
        place = (table.schema, table.name, column)
        found = [one for one in self.listed if (one.schema, one.table, one.column) == place]
        return found[0] if found else None

    @property
    def tables(self) -> tuple[Relation, ...]:
        """The tables, without views."""
        return tuple(one for one in self.relations if one.is_table)

    @property
    def owner(self) -> str | None:
        """The role that owns most tables."""
        return _most_common(one.owner for one in self.tables)

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings in expressions of policies, the most common first."""
        counts = Counter(name for one in self.policies for name in SETTING.findall(one.text))
        return tuple(name for name, _ in counts.most_common())

    @property
    def key(self) -> str | None:
        """The column that policies compare with the most common setting."""
        found = [name for one in self.policies for name in KEY.findall(one.text)]
        return _most_common(found)

    @property
    def bound_roles(self) -> tuple[str, ...]:
        """The roles that policies name, the most often named first."""
        counts = Counter(role for one in self.policies for role in one.roles)
        names = {one.name for one in self.roles}
        return tuple(role for role, _ in counts.most_common() if role in names)

    @property
    def schemas(self) -> tuple[str, ...]:
        """The schemas with tables, that with most of them first."""
        return tuple(name for name, _ in Counter(one.schema for one in self.tables).most_common())

    def label(self, relation: Relation) -> str:
        """Return the name of a relation for the description: without schema if one name is one."""
        same = [one for one in self.relations if one.name == relation.name]
        return relation.name if len(same) == 1 else relation.label

    @property
    def version_table(self) -> Relation | None:
        """The table of the migration tool, if it has the name of a known one."""
        return next((one for one in self.tables if one.name in VERSION_TABLES), None)

    @property
    def results(self) -> tuple[str, ...]:
        """The tables that seem to hold results of tasks, Celery's own first."""
        found = [one.name for one in self.tables if set(one.columns) >= RESULT_COLUMNS]
        return tuple(sorted(found, key=lambda name: (name not in BROKER_TABLES, name)))

    def tenant_tables(self, key: str) -> tuple[Relation, ...]:
        """Return the tables with the key, partitions among them."""
        return tuple(one for one in self.tables if key in one.columns)

    def open_tables(self, key: str, roles: Sequence[str]) -> tuple[Relation, ...]:
        """Return the tables without the key that one of these roles has a privilege on."""
        return tuple(
            one for one in self.tables if key not in one.columns and set(one.readers) & set(roles)
        )

    @property
    def broker_tables(self) -> tuple[str, ...]:
        """The tables of Celery's transport and result backend."""
        names = {one.name for one in self.tables}
        stock = [name for name in BROKER_TABLES if name in names]
        return (*stock, *(name for name in self.results if name not in BROKER_TABLES))

    @property
    def dead_letter_candidates(self) -> tuple[tuple[Relation, dict[str, str]], ...]:
        """Tables that seem to hold failed tasks, with the columns that were recognised."""
        found = [(one, recognised(one.columns)) for one in self.tables]
        likely = [
            (one, columns)
            for one, columns in found
            if FAILED.search(one.name)
            and len(columns) >= LEAST_COLUMNS
            and one.name not in self.broker_tables
        ]
        return tuple(sorted(likely, key=lambda pair: -len(pair[1])))


def recognised(columns: Sequence[str]) -> dict[str, str]:
    """Map names that checks use to columns that seem to have the same meaning."""
    return {
        name: next(one for one in others if one in columns)
        for name, others in TASK_COLUMNS.items()
        if any(one in columns for one in others)
    }


def listed(row: dict[str, Any]) -> Listed | None:
    """Return the list of values that a column can have; None without one, or with several.

    Args:
        row: `schema`, `name`, `column`, `default`, `labels` of an enum, `checks` as PostgreSQL
            prints them.

    """
    lists = [LITERAL.findall(found["values"]) for one in row["checks"]
             if (found := ONE_OF.fullmatch(one))]  # fmt: skip
    lists = [row["labels"]] if row["labels"] else lists
    if len(lists) != 1:
        return None
    values = tuple(one.replace("''", "'") for one in lists[0])
    named = LITERAL.match(row["default"] or "")
    default = named[1].replace("''", "'") if named else ""
    return Listed(
        schema=row["schema"],
        table=row["name"],
        column=row["column"],
        values=values,
        default=default if default in values else "",
        origin="the values of its type" if row["labels"] else "a check of the column",
    )


def read_catalogue(dsn: str) -> Catalogue:
    """Read the catalogue of a database.

    Args:
        dsn: any role that may connect; nothing is changed.

    Raises:
        BadInputError: it cannot be read; the message has no password.

    """
    try:
        with psycopg.connect(dsn, connect_timeout=10, row_factory=dict_row) as connection:
            connection.read_only = True
            return Catalogue(
                relations=tuple(Relation(**row) for row in _rows(connection, _TABLES)),
                policies=tuple(Policy(**row) for row in _rows(connection, _POLICIES)),
                roles=tuple(Role(**row) for row in _rows(connection, _ROLES)),
                definers=tuple(str(row["oid"]) for row in _rows(connection, _DEFINERS)),
                extensions=tuple(str(row["extname"]) for row in _rows(connection, _EXTENSIONS)),
                listed=tuple(filter(None, map(listed, _rows(connection, _VALUES)))),
            )
    except psycopg.Error as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInputError(
            f"--from-db: database: got {cause}, expected one that can be read; correct the DSN"
        ) from None


def _rows(connection: psycopg.Connection[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    return connection.execute(query).fetchall()


def _most_common(values: Any) -> str | None:
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else None
