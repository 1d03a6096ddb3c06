"""The SQL probe: queries the database as a named role and records what psql would show."""

from __future__ import annotations

import re
import select
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from gateproof.base.errors import EnvironmentProblemError
from gateproof.environments.resource import lacks_resources
from gateproof.probes.parameter import parameter_names
from gateproof.probes.recorder import Recorder
from gateproof_evidence.model import Redaction

CONNECT_TIMEOUT_S = 10
SUPERUSER = "superuser"
"""The name of the superuser in records."""

FORBIDDEN = "42501"
"""SQLSTATE insufficient_privilege."""

LOGIN_REFUSED = ("permission denied for database", "is not permitted to log in")
"""Texts with which PostgreSQL refuses a login for lack of a privilege; it sends no SQLSTATE."""

NO_REFUSALS = ("08", "25", "53", "54", "55", "57", "58", "F0", "XX", "40", "42601")
"""Prefixes of the SQLSTATEs that say nothing about what a role may do: the state of connection,
transaction or server, a lock, and invalid syntax."""

SHOWN_ROWS = 200
"""The maximum number of rows in a capture; the row count is always exact."""

SHOWN_WIDTH = 160
"""The maximum width of a row, in characters; wider rows are shown expanded."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The result of a statement."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    count: int = 0
    """Rows returned, or changed by a statement that returns none."""

    def __len__(self) -> int:
        return len(self.rows)

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def column(self, number: int = 0) -> list[Any]:
        """Return one column, the first by default."""
        return [row[number] for row in self.rows]

    def scalar(self) -> Any:
        """Return the first value of the first row, or None if there is no row."""
        return self.rows[0][0] if self.rows else None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A statement that PostgreSQL refused."""

    sqlstate: str
    """Five characters, such as ``42501`` (insufficient privilege)."""
    message: str
    constraint: str = ""
    """The violated constraint, if it was one."""


class RefusedToRoleError(AssertionError):
    """PostgreSQL refused to a role of the system what the check expects this role to be able to do.

    The system has granted too little, or one of its policies or triggers raises an error: a finding
    about the system.
    """

    def __init__(self, role: str, statement: str, refused: Refused) -> None:
        super().__init__(
            f"{role}: {' '.join(statement.split())[:200]}: got {refused.sqlstate}"
            f" {refused.message}, expected it to be allowed"
        )


class Session:
    """One connection and, unless it is in autocommit, one transaction at a time."""

    def __init__(self, connection: psycopg.Connection[Any], recorder: Recorder, role: str) -> None:
        self._connection = connection
        self._recorder = recorder
        self._role = role
        self._gucs: dict[str, str] = {}

    @property
    def backend_pid(self) -> int:
        """The process id of this connection on the server."""
        return self._connection.info.backend_pid

    def query(self, statement: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Rows:
        """Run one statement.

        Raises:
            RefusedToRoleError: PostgreSQL refused it to a role of the system; use `attempt` where
                that is expected.
            psycopg.Error: it was refused to the superuser, is not valid, or the connection ended.

        """
        try:
            rows = self._run(statement, params)
        except psycopg.Error as error:
            refused = _refused(error)
            self._record(statement, params, refused=refused)
            if self._role != SUPERUSER and _is_refusal(refused.sqlstate):
                raise RefusedToRoleError(self._role, statement, refused) from error
            raise
        self._record(statement, params, rows=rows)
        return rows

    def attempt(
        self, statement: str, params: Sequence[Any] | Mapping[str, Any] = ()
    ) -> Rows | Refused:
        """Run one statement that may be refused; inside a transaction, use a savepoint.

        Raises:
            EnvironmentProblemError: the disk of the server is full or broken: that is no refusal.

        """
        try:
            with self._connection.transaction():
                rows = self._run(statement, params)
        except psycopg.Error as error:
            refused = _refused(error)
            self._record(statement, params, refused=refused)
            if lacks_resources(error):
                raise EnvironmentProblemError(f"PostgreSQL: {refused.message}") from error
            return refused
        self._record(statement, params, rows=rows)
        return rows

    def set_local(self, name: str, value: str) -> None:
        """Set a GUC for this transaction only."""
        self.set_locals({name: value})

    def set_locals(self, values: Mapping[str, str]) -> None:
        """Set several GUCs for this transaction only, in one statement; none if there are none."""
        if not values:
            return
        calls = ", ".join("set_config(%s, %s, true)" for _ in values)
        self.query(f"SELECT {calls}", [part for pair in values.items() for part in pair])
        self._gucs.update(values)

    def commit(self) -> None:
        """Commit the transaction."""
        self._connection.commit()
        self._gucs.clear()

    def rollback(self) -> None:
        """Roll the transaction back."""
        self._connection.rollback()
        self._gucs.clear()

    def _run(self, statement: str, params: Sequence[Any] | Mapping[str, Any]) -> Rows:
        cursor = self._connection.execute(statement, params or None)
        if cursor.description is None:
            return Rows(count=max(cursor.rowcount, 0))
        rows = tuple(tuple(row) for row in cursor.fetchall())
        columns = tuple(column.name for column in cursor.description)
        return Rows(columns=columns, rows=rows, count=len(rows))

    def _record(
        self,
        statement: str,
        params: Sequence[Any] | Mapping[str, Any],
        *,
        rows: Rows | None = None,
        refused: Refused | None = None,
    ) -> None:
        result = (
            f"{rows.count} rows"
            if rows is not None
            else f"{refused.sqlstate} {refused.message}"
            if refused
            else ""
        )
        params, taken = self._without_secret_parameters(statement, params)
        kept = None
        if rows is not None:
            kept, more = self._without_secrets(rows)
            taken += more
        shown = _show(kept) if kept is not None else f"ERROR:  {result}\n"
        gucs = "".join(f"-- {name} = {value!r}\n" for name, value in self._gucs.items())
        asked = f"{statement.strip()};\n" + (f"-- parameters: {params!r}\n" if params else "")
        database = self._connection.info.dbname
        self._recorder.observe(
            "sql",
            f"{self._role}: {self._recorder.short(' '.join(statement.split()), 120)} -> {result}",
            data={
                "role": self._role,
                "database": database,
                "gucs": self._gucs,
                "params": params,
                "rows": kept.rows if kept is not None else [],
                "count": rows.count if rows is not None else None,
                "refused": vars(refused) if refused else None,
            },
            text=f"-- role {self._role}, database {database}\n{gucs}{asked}\n{shown}",
            taken=taken,
        )

    def _without_secret_parameters(
        self, statement: str, params: Sequence[Any] | Mapping[str, Any]
    ) -> tuple[Sequence[Any] | Mapping[str, Any], tuple[Redaction, ...]]:
        """Redact the parameters for columns that have names of secrets."""
        if isinstance(params, Mapping) or not params:
            return params, ()
        names = parameter_names(statement, len(params))
        [shown], taken = self._recorder.redactor.redact_rows(names, [params])
        return shown, taken

    def _without_secrets(self, rows: Rows) -> tuple[Rows, tuple[Redaction, ...]]:
        """Return the rows for the capture, with columns that have names of secrets redacted.

        Only here are the column names known; later the rows are plain lists of values.
        """
        redact = self._recorder.redactor.redact_rows
        shown, taken = redact(rows.columns, rows.rows[:SHOWN_ROWS])
        return Rows(columns=rows.columns, rows=shown, count=rows.count), taken


class KeptConnection:
    """A superuser connection for plain reads, kept between them.

    Connecting costs PostgreSQL about forty times the work of a small query, and a check that waits
    polls often. What a statement leaves in its session is discarded, so that each one finds the
    state of a new session. Defaults that change later (`ALTER DATABASE … SET`) do not reach a
    session that is open: call `close` after a change.
    """

    def __init__(self) -> None:
        self._idle: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    def take(self) -> psycopg.Connection[Any] | None:
        """Return the connection, for one caller at a time; None if there is none that works."""
        with self._lock:
            connection, self._idle = self._idle, None
        if connection is not None and _has_ended(connection):
            connection.close()
            return None
        return connection

    def keep(self, connection: psycopg.Connection[Any]) -> None:
        """Keep a connection in autocommit without what its statements have left in its session."""
        try:
            connection.execute("DISCARD ALL")
        except psycopg.Error:
            connection.close()
            return
        with self._lock:
            before, self._idle = self._idle, connection
        if before is not None:
            before.close()

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        with self._lock:
            connection, self._idle = self._idle, None
        if connection is not None:
            connection.close()


def _has_ended(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has sent something: to an idle connection, that it is over."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return connection.closed or bool(waiting.poll(0))


class SqlProbe:
    """Queries one database.

    Args:
        recorder: records the results.
        dsn_of: returns the DSN of a role; None is the superuser.
        schemas: the schemas in which names without one are looked up; without any, those that the
            server sets for the role.
        keeps: whether the superuser's plain reads share a connection; then call `close` at the end,
            and whenever the server or the defaults of its sessions change.

    """

    def __init__(
        self,
        recorder: Recorder,
        dsn_of: Callable[[str | None], str],
        *,
        schemas: Sequence[str] = (),
        keeps: bool = False,
    ) -> None:
        self._recorder = recorder
        self._dsn_of = dsn_of
        self._options = _search_path(schemas) if schemas else None
        self._kept = KeptConnection() if keeps else None

    def close(self) -> None:
        """Close the connection that is kept for reads, if any; the probe can be used further."""
        if self._kept is not None:
            self._kept.close()

    @contextmanager
    def session(self, role: str | None = None, *, autocommit: bool = False) -> Iterator[Session]:
        """Open a connection as a role; uncommitted changes are rolled back at the end.

        Args:
            role: a login role of the system, or None for the superuser.
            autocommit: whether each statement is its own transaction.

        Raises:
            EnvironmentProblemError: the server cannot be reached.
            RefusedToRoleError: the role may not connect to the database.

        """
        connection = self._connect(role, autocommit=autocommit)
        try:
            yield Session(connection, self._recorder, role or SUPERUSER)
        finally:
            connection.close()
            # The block may have changed settings that a new session starts with.
            self.close()

    def query(
        self,
        statement: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        role: str | None = None,
    ) -> Rows:
        """Run one statement in its own transaction; the role None is the superuser."""
        if role is None and self._kept is not None and _is_read(statement):
            return self._read(self._kept, statement, params)
        with self.session(role, autocommit=True) as session:
            return session.query(statement, params)

    def _read(
        self, kept: KeptConnection, statement: str, params: Sequence[Any] | Mapping[str, Any]
    ) -> Rows:
        """Run one statement of the superuser on the connection that is kept for reads."""
        connection = kept.take() or self._connect(None, autocommit=True)
        # A statement that is prepared would be gone after its session has been discarded.
        connection.prepare_threshold = None
        try:
            rows = Session(connection, self._recorder, SUPERUSER).query(statement, params)
        except BaseException:
            connection.close()
            raise
        kept.keep(connection)
        return rows

    def attempt(
        self,
        statement: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        role: str | None = None,
    ) -> Rows | Refused:
        """Run one statement that may be refused, in its own transaction."""
        with self.session(role) as session:
            result = session.attempt(statement, params)
            session.commit()
            return result

    def execute(self, statements: str, *, role: str | None = None) -> None:
        """Run several statements in autocommit, without parameters."""
        with self.session(role, autocommit=True) as session:
            session.query(statements)

    def _connect(self, role: str | None, *, autocommit: bool) -> psycopg.Connection[Any]:
        """Open a connection, see `session`."""
        try:
            return psycopg.connect(
                self._dsn_of(role),
                autocommit=autocommit,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="gateproof",
                options=self._options,
            )
        except psycopg.OperationalError as error:
            if role is not None and any(text in str(error) for text in LOGIN_REFUSED):
                message = str(error).strip().splitlines()[-1]
                refused = Refused(sqlstate=FORBIDDEN, message=message)
                raise RefusedToRoleError(role, "connect to the database", refused) from error
            raise EnvironmentProblemError(f"PostgreSQL, as {role or SUPERUSER}: {error}") from error


def _is_read(statement: str) -> bool:
    """Return whether a statement is a plain query."""
    return statement.lstrip().upper().startswith("SELECT")


def _search_path(schemas: Sequence[str]) -> str:
    """Return the option of a connection that sets its search path, as libpq wants it escaped."""
    quoted = ",".join('"{}"'.format(name.replace('"', '""')) for name in schemas)
    return "-csearch_path=" + re.sub(r"([\\\s])", r"\\\1", quoted)


def _is_refusal(sqlstate: str) -> bool:
    return bool(sqlstate) and not sqlstate.startswith(NO_REFUSALS)


def _refused(error: psycopg.Error) -> Refused:
    message = error.diag.message_primary or str(error).strip()
    constraint = error.diag.constraint_name or ""
    return Refused(sqlstate=error.sqlstate or "", message=message, constraint=constraint)


def _show(rows: Rows) -> str:
    r"""Format rows like psql: aligned, or expanded like ``\x auto`` if they are wide."""
    if not rows.columns:
        return f"({rows.count} rows)\n"
    cells = [
        ["" if value is None else str(value) for value in row] for row in rows.rows[:SHOWN_ROWS]
    ]
    hidden = rows.count - SHOWN_ROWS
    more = f"... {hidden} more\n" if hidden > 0 else ""
    shown = _aligned(rows.columns, cells) or _expanded(rows.columns, cells)
    return f"{shown}{more}({rows.count} rows)\n"


def _aligned(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table, or an empty string if a row does not fit on one line."""
    lines = [columns, *cells]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    if sum(widths) + 3 * len(columns) > SHOWN_WIDTH or any("\n" in c for row in cells for c in row):
        return ""
    padded = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    rule = "-+-".join("-" * width for width in widths)
    return "\n".join([padded[0], rule, *padded[1:], ""])


def _expanded(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return one block per row with one line per column."""
    width = max(len(name) for name in columns)
    blocks = []
    for number, row in enumerate(cells, start=1):
        pairs = zip(columns, row, strict=True)
        lines = [f"{name.ljust(width)} | {cell}" for name, cell in pairs]
        blocks.append("\n".join([f"-[ RECORD {number} ]", *lines, ""]))
    return "".join(blocks)
