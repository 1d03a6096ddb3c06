"""Rows of tenants, made from the catalogue: no statement knows a column of the system.

Rows are inserted as superuser under `session_replication_role = replica`: no policy, no trigger and
no foreign key applies. CHECK constraints and bounds of partitions are met by trial: PostgreSQL
itself searches candidates for the columns of a constraint, among them the literals that the
constraint names. ``[tenancy.seed]`` overrides the value of a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateproof.base.draw import new_number
from gateproof.description.sut import Sut
from gateproof.faults.tenancy.catalogue import Bound, Column, Constraint, Shape, Type, read_shapes
from gateproof.faults.tenancy.discovery import Table
from gateproof.faults.tenancy.value import candidates, expression, identifier, literal
from gateproof.probes.claims.premise import premise
from gateproof.probes.sql import Refused, Rows, Session, SqlProbe

ATTEMPTS = 4
"""How often an insert that a constraint refuses is tried with other values."""

SEARCH_S = 20
"""Seconds that PostgreSQL may search for values that meet the constraints of a table."""

MOST_CANDIDATES = 60
"""The most values that are tried for one column."""

UNIQUE_VIOLATION, EXCLUDED, NOT_NULL = "23505", "23P01", "23502"
CHECK_VIOLATION = "23514"


@dataclass
class Recipe:
    """The values of a row of one table, learnt once."""

    table: Table
    shape: Shape
    seeds: Mapping[str, str]
    key: str
    values: dict[str, str] = field(default_factory=dict)
    """Columns that an insert names, with the expression of their value."""


class RowMaker:
    """Inserts rows of tenants into any table.

    Args:
        session: a session of the superuser without an open transaction. The caller commits.
        sut: names the key and the values that override.
        tables: the tables that get rows.

    """

    def __init__(self, session: Session, sut: Sut, tables: Sequence[Table]) -> None:
        self._session = session
        self._key = sut.tenancy.key
        session.query("SET session_replication_role = replica")
        session.query(f"SET statement_timeout = '{SEARCH_S}s'")
        shapes = read_shapes(session, [table.oid for table in tables])
        session.commit()  # so that the settings outlive a rollback
        self._recipes = {
            table.oid: Recipe(
                table=table,
                shape=shapes[table.oid],
                seeds=_seeds(sut, table),
                key=sut.tenancy.key,
            )
            for table in tables
        }

    def shape(self, table: Table) -> Shape:
        """Return what the catalogue has about a table."""
        return self._recipes[table.oid].shape

    def sample(self, table: Table, tenant: str) -> str:
        """Return a row that could be inserted for a tenant, as JSON; the session must be clean."""
        self._session.query("SELECT now()")  # begins the transaction that is rolled back
        (row,) = self.insert_returning(table, tenant, 1)
        self._session.rollback()
        return row

    def insert_without_tenant(self, table: Table) -> bool:
        """Insert a row without a tenant; return whether the table can hold it."""
        recipe = self._recipes[table.oid]
        if recipe.shape.columns[recipe.key].required or not recipe.values:
            return False
        seen = self._session.attempt(_insert(recipe, None, 1, self._first()))
        return isinstance(seen, Rows)

    def insert(self, table: Table, tenant: str, rows: int) -> None:
        """Insert rows of a tenant.

        Raises:
            PremiseError: no values that were tried meet the constraints of the table; the message
                names the constraint.

        """
        self.insert_returning(table, tenant, rows)

    def insert_returning(self, table: Table, tenant: str, rows: int) -> list[str]:
        """Insert rows of a tenant and return each as the text of a JSON object."""
        recipe = self._recipes[table.oid]
        if not recipe.values:
            recipe.values = dict(_first_values(recipe))
            self._meet_constraints(recipe, tenant)
        seen: Rows | Refused = Rows()
        for _ in range(ATTEMPTS):
            seen = self._session.attempt(_insert(recipe, tenant, rows, self._first()))
            if isinstance(seen, Rows):
                return [str(row[0]) for row in seen.rows]
            _learn(recipe, seen)
            if seen.sqlstate == CHECK_VIOLATION:  # a value met it by chance, for another `n` only
                self._meet_constraints(recipe, tenant)
        assert isinstance(seen, Refused)
        premise(
            "constraints that a synthesised row meets; set the column's value in"
            f' [tenancy.seed."{table.name}"]',
            on=table.name,
            got=f"{seen.sqlstate} {seen.message}",
            expected="a row",
        )
        return []

    def _meet_constraints(self, recipe: Recipe, tenant: str) -> None:
        """Choose values that meet the CHECK constraints, one group of shared columns at a time."""
        for columns, conditions in _groups(recipe):
            found = self._session.attempt(
                _search(recipe, columns, conditions, tenant, first=self._first())
            )
            if isinstance(found, Rows) and found.rows:
                for name, place in zip(columns, found.rows[0], strict=True):
                    if name not in recipe.shape.insertable:
                        continue
                    recipe.values[name] = _options(recipe, name, conditions)[place - 1]

    @staticmethod
    def _first() -> int:
        return 100_000_000 + new_number(800_000_000)


def give_rows(sql: SqlProbe, sut: Sut, table: Table, tenant: str, *, rows: int) -> None:
    """Insert rows of a tenant into one table, as superuser."""
    with sql.session() as session:
        RowMaker(session, sut, [table]).insert(table, tenant, rows)
        session.commit()


def _seeds(sut: Sut, table: Table) -> Mapping[str, str]:
    return next((v for name, v in sut.tenancy.seed.items() if table.is_named(name)), {})


def _first_values(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the columns that need a value, with it: those without a default that refuse NULL."""
    for name in recipe.shape.insertable:
        column = recipe.shape.columns[name]
        base = recipe.shape.types[column.type]
        required = column.required or (base.kind == "d" and base.required)
        if name == recipe.key:
            yield name, f"{{tenant}}::{column.shown}"
        elif name in recipe.seeds:
            yield name, recipe.seeds[name]
        elif required and column.default is None and not column.identity:
            yield name, _value(recipe, column)


def _value(recipe: Recipe, column: Column) -> str:
    """Return a value of a column: that of a row of the tenant, if it references another table."""
    base, modifier = recipe.shape.base(column)  # a cast to a domain would be an error in a search
    own = expression(recipe.shape.types, base, modifier)
    for one in recipe.shape.constraints:
        if one.kind == "f" and column.name in one.columns and one.parent is not None:
            return f"coalesce(({_parent(recipe, one, column)}), {own})"
    return own


def _parent(recipe: Recipe, foreign: Constraint, column: Column) -> str:
    pairs = dict(zip(foreign.columns, foreign.referenced, strict=True))
    keys = {pairs[recipe.key]} if recipe.key in pairs else set()
    keys |= {recipe.key} & set(foreign.parent_columns)
    where = " AND ".join(f"{identifier(key)}::text = {{tenant}}" for key in sorted(keys)) or "true"
    return f"SELECT {identifier(pairs[column.name])} FROM {foreign.parent} WHERE {where} LIMIT 1"


def _insert(recipe: Recipe, tenant: str | None, rows: int, first: int) -> str:
    names = ", ".join(map(identifier, recipe.values))
    owner = "NULL" if tenant is None else literal(tenant)
    values = ", ".join(recipe.values.values()).replace("{tenant}", owner)
    return (
        f"INSERT INTO {recipe.table.sql} AS made ({names}) SELECT {values}"
        f" FROM generate_series({first}::bigint, {first + rows - 1}) AS n"
        " RETURNING to_jsonb(made)::text"
    )


def _learn(recipe: Recipe, refused: Refused) -> None:
    """Give a value to the columns that the refusal is about and that had none."""
    columns: Iterable[str] = ()
    if refused.sqlstate in (UNIQUE_VIOLATION, EXCLUDED):
        columns = recipe.shape.unique.get(refused.constraint, ())
    elif refused.sqlstate == NOT_NULL:
        columns = [one for one in recipe.shape.columns if f'"{one}"' in refused.message]
    for name in columns:
        if name in recipe.shape.insertable and name not in (recipe.key, *recipe.seeds):
            recipe.values[name] = _value(recipe, recipe.shape.columns[name])


def _groups(recipe: Recipe) -> Iterator[tuple[list[str], list[str]]]:
    """Yield columns that share constraints, with the conditions over them."""
    groups: list[tuple[set[str], list[str]]] = []
    for columns, condition in _conditions(recipe):
        shared = [one for one in groups if one[0] & columns]
        merged = (set(columns), [condition])
        for one in shared:
            groups.remove(one)
            merged = (merged[0] | one[0], [*one[1], *merged[1]])
        groups.append(merged)
    for columns, conditions in groups:
        yield sorted(columns), conditions


def _conditions(recipe: Recipe) -> Iterator[tuple[set[str], str]]:
    """Yield the CHECK constraints of table and domains, and the bounds of a partition."""
    shape = recipe.shape
    for one in shape.constraints:
        if one.kind == "c" and one.columns and one.expression is not None:
            yield set(one.columns), one.expression
    for name, column in shape.columns.items():
        for check in _domain_checks(shape, shape.types[column.type]):
            yield {name}, _on_column(check, name)
    bounds = [one for one in shape.bounds if one.columns]
    if bounds:
        columns = {name for one in bounds for name in one.columns}
        joined = " OR " if recipe.table.partitioned else " AND "
        yield columns, joined.join(f"({_inside(one)})" for one in bounds)


def _on_column(check: str, name: str) -> str:
    """Return the constraint of a domain as one of a column."""
    return re.sub(r"\bVALUE\b", lambda _: identifier(name), check)


def _domain_checks(shape: Shape, found: Type) -> Iterator[str]:
    while found.kind == "d":
        yield from found.checks
        found = shape.types[found.base]


def _inside(bound: Bound) -> str:
    """Return the condition that the key of a partition is inside its bounds."""
    text = bound.bound.removeprefix("FOR VALUES ")
    row = f"ROW({', '.join(map(identifier, bound.columns))})"
    if text.startswith("IN "):
        return f"{identifier(bound.columns[0])} IN {text.removeprefix('IN ')}"
    limits = re.fullmatch(r"FROM \((.*)\) TO \((.*)\)", text)
    if limits is None:  # by hash, or the default partition: any value has a place
        return "true"
    low, high = limits.groups()
    lower = "true" if "MINVALUE" in low else f"{row} >= ROW({low})"
    upper = "true" if "MAXVALUE" in high else f"{row} < ROW({high})"
    return f"{lower} AND {upper}"


def _options(recipe: Recipe, name: str, conditions: list[str]) -> list[str]:
    """Return the values to try for a column: first the one that it would have anyway."""
    column = recipe.shape.columns[name]
    base, modifier = recipe.shape.base(column)
    if name == recipe.key or name in recipe.seeds:
        return [recipe.values[name]]
    found = [recipe.values.get(name) or column.default or f"NULL::{base.cast}"]
    found += candidates(recipe.shape.types, base, modifier, conditions)
    return list(dict.fromkeys(found))[:MOST_CANDIDATES]


def _search(
    recipe: Recipe, columns: list[str], conditions: list[str], tenant: str, *, first: int
) -> str:
    """Return the query for the first candidates that meet all conditions together.

    Each column is a list of candidates, and the conditions are in WHERE: PostgreSQL joins the lists
    and drops a candidate as soon as one condition is false.
    """
    lists = []
    for number, name in enumerate(columns):
        options = _options(recipe, name, conditions)
        column = recipe.shape.columns[name]
        base, _ = recipe.shape.base(column)
        required = column.required or recipe.shape.types[column.type].required
        rows = ", ".join(f"({place}, ({one})::{base.cast})" for place, one in enumerate(options, 1))
        kept = f" WHERE {identifier(name)} IS NOT NULL" if required else ""
        lists.append(
            f"(SELECT * FROM (VALUES {rows}) AS v (place_{number}, {identifier(name)}){kept})"
            f" AS list_{number}"
        )
    places = ", ".join(f"place_{number}" for number in range(len(columns)))
    where = " AND ".join(f"({one}) IS NOT FALSE" for one in conditions)
    text = (
        f"SELECT {places} FROM (SELECT {first}::bigint AS n) AS number"
        f" CROSS JOIN LATERAL (SELECT * FROM {' CROSS JOIN '.join(lists)} WHERE {where}"
        " LIMIT 1) AS chosen"
    )
    return text.replace("{tenant}", literal(tenant))
