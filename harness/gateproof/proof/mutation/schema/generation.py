"""Makes the mutants of a migrated database, and sees whether one made a difference.

Statements that PostgreSQL refuses make no mutant: such a defect cannot exist. Each is tried in a
transaction that is rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg

from gateproof.proof.mutation.mutant import Mutant
from gateproof.proof.mutation.schema.operator import OPERATORS, Operator
from gateproof.proof.mutation.schema.state import DIGEST

SESSION = """SELECT set_config('search_path', '', false),
    set_config('check_function_bodies', 'off', false)"""
"""Without a path, names are printed with their schema; names in bodies of functions may lack it."""


def schema_mutants(dsn: str) -> tuple[list[Mutant], Counter[str]]:
    """Return the mutants of a database, and how many statements of each operator were refused.

    Args:
        dsn: the migrated database, as superuser; it is left as it is.

    """
    found: list[Mutant] = []
    refused: Counter[str] = Counter()
    with psycopg.connect(dsn) as connection:
        connection.execute(SESSION)
        for operator in OPERATORS:
            for where, statement in _statements(connection, operator):
                if _is_refused(connection, statement):
                    refused[operator.name] += 1
                else:
                    found.append(_mutant(operator, where, statement))
    return sorted(found, key=lambda one: one.id), refused


def change_schema(dsn: str, statement: str) -> bool:
    """Run the statement of a mutant; return whether the schema differs afterwards.

    Raises:
        psycopg.Error: it was refused.

    """
    with psycopg.connect(dsn) as connection:
        connection.execute(SESSION)
        before = _one(connection.execute(DIGEST))
        connection.execute(statement.encode())
        return bool(_one(connection.execute(DIGEST)) != before)


def _statements(
    connection: psycopg.Connection[Any], operator: Operator
) -> Iterator[tuple[str, str]]:
    rows = connection.execute(operator.query.encode()).fetchall()
    connection.rollback()
    connection.execute(SESSION)
    for where, statement in sorted({(str(row[0]), row[1]) for row in rows if row[1]}):
        yield where, str(statement)


def _is_refused(connection: psycopg.Connection[Any], statement: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.Error:
        return True
    return False


def _mutant(operator: Operator, where: str, statement: str) -> Mutant:
    return Mutant(
        id=f"schema:{operator.name}:{where}",
        kind="schema",
        operator=operator.name,
        where=where,
        change=statement,
        statement=statement,
        scope=operator.scope,
    )


def _one(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    assert row is not None
    return row[0]
