"""Refuses a description that names roles or tables that its own database does not have.

Owns the two queries and the words. A wrong name would otherwise show in each check as an error that
says nothing about the description. Not checked: tables that a worker may create at its first start,
which are those of the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg

from gateproof.description.key import nearest
from gateproof.description.sut import Sut
from gateproof.environments.interface import Server
from gateproof_evidence.errors import BadInputError

_ROLES = "SELECT rolname::text FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'"
_TABLES = """
    SELECT unnest(ARRAY[c.relname::text, n.nspname || '.' || c.relname]) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
"""

_COLUMNS = """
    SELECT DISTINCT column_name::text FROM information_schema.columns
    WHERE table_schema <> 'information_schema' AND table_schema NOT LIKE 'pg\\_%'
"""


def refuse_missing_roles(sut: Sut, server: Server) -> None:
    """Check the roles that a description names, after a server was provisioned.

    Raises:
        BadInputError: some do not exist; the message has all of them.

    """
    _refuse(sut, "role", sut.named_roles(), lambda: _names(server, "postgres", _ROLES))


def refuse_missing_tables(sut: Sut, server: Server, database: str) -> None:
    """Check the tables that a description names, after a database was migrated.

    Raises:
        BadInputError: some do not exist; the message has all of them.

    """
    _refuse(sut, "table", sut.named_tables(), lambda: _names(server, database, _TABLES))


def existing_names(server: Server, database: str, kind: str) -> set[str]:
    """Return the names of the tables or of the columns of a database.

    Args:
        server: the server.
        database: the database.
        kind: ``table`` or ``column``; any other kind has no names.

    """
    queries = {"table": _TABLES, "column": _COLUMNS}
    return _names(server, database, queries[kind]) if kind in queries else set()


def _refuse(
    sut: Sut, kind: str, named: Iterator[tuple[str, str]], read: Callable[[], set[str]]
) -> None:
    listed = tuple(named)
    known = read() if listed else set()
    found = [
        f"{key}: got the {kind} {name}, expected one that exists, such as {nearest(name, known)}"
        for key, name in listed
        if name.replace('"', "") not in known  # a name with or without the quotes of SQL
    ]
    if found:
        raise BadInputError(
            f"{sut.path}: {'; '.join(found)}; correct the name, or create the {kind}"
        )


def _names(server: Server, database: str, query: str) -> set[str]:
    dsn = server.superuser.dsn(server.outside, database)
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
        return {str(row[0]) for row in connection.execute(query.encode())}
