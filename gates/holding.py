"""Locks in the database that block a process of the system in the middle of its work.

A lock on a table blocks all work on it. An uncommitted row with the id of a task blocks the run of
this task alone, of any system with results in PostgreSQL: when it stores its result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gateproof import (
    Ids,
    InconclusiveError,
    Session,
    Stack,
    Sut,
    at_least_one,
    identifier,
    premise,
    tenant_tables,
    wait_until,
)

QUERY = "gateproof.probe.query"
"""The probe task that reads a table, of a system into which the probe tasks are loaded."""

DEADLINE_S, HELD_DEADLINE_S = 15.0, 20.0

_WAITING = """
SELECT pid, usename, application_name, client_port, query
  FROM pg_stat_activity
 WHERE datname = current_database() AND usename = %s
   AND wait_event_type = 'Lock' AND position(%s IN query) > 0
"""


_REQUIRED = """
SELECT a.attname, t.typcategory::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
   AND NOT a.atthasdef AND a.attidentity = '' AND a.attname NOT IN ('id', 'task_id')
"""
ANY_VALUE = {"N": "0", "B": "false", "D": "now()"}
"""A value of each category of types; of the others, an empty text."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A task that reads a table: its run waits while the table is locked."""

    task: str
    table: str
    arguments: Mapping[str, Any]
    """Keyword arguments with which it succeeds, without that of the tenant."""

    def of_tenant(self, sut: Sut, tenant: str | int) -> dict[str, Any]:
        """Return the arguments of a run for a tenant."""
        return {**self.arguments, sut.tenancy.key: tenant}


def reader_of(stack: Stack) -> Reader:
    """Return a task that reads a table: a described one, or the probe task on a tenant's table.

    Raises:
        InconclusiveError: there is none.

    """
    sut = stack.sut
    for name, task in sut.task.items():
        if task.reads and not task.never:
            return Reader(task=name, table=task.reads, arguments=task.sample_kwargs)
    if not sut.injects_probe:
        raise InconclusiveError(
            f"{sut.path}: task: got no task with the key reads, expected one whose runs a lock on "
            'a table holds; add reads = "TABLE" to a task, or probe = "inject" to [worker]'
        )
    tables = at_least_one("tables with a tenant", tenant_tables(stack.sql, sut))
    return Reader(task=QUERY, table=tables[0].name, arguments={"table": tables[0].name})


@contextmanager
def tables_held(stack: Stack, *tables: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Lock tables for the duration of the block. Statements on them wait, with their connections.

    Args:
        stack: the stack whose database has the tables.
        tables: the names of the tables.
        mode: ``ACCESS EXCLUSIVE`` blocks every statement on the tables, ``EXCLUSIVE`` blocks
            statements that write to them or claim rows of them.

    """
    with stack.sql.session() as session:
        session.query(f"LOCK TABLE {', '.join(tables)} IN {mode} MODE")
        yield


@contextmanager
def runs_held(stack: Stack, ids: Ids, number: int = 1) -> Iterator[list[str]]:
    """Publish pings whose runs cannot end before the end of the block, and yield their ids.

    Each run waits in its child when it stores its result. Until then its message is not
    acknowledged, and no signal of its success is sent. Runs of all other tasks can end.

    Do not kill such a child: its statement can still succeed in the database, after its end. A
    task that reads a table, see `tables_held`, is interrupted for certain.

    Args:
        stack: the stack whose workers run the pings; one of them has stored a result before.
        ids: the source of the ids.
        number: the number of pings.

    """
    ping, held = stack.sut.ping, [str(ids.uuid()) for _ in range(number)]
    with stack.sql.session() as session:
        statement = _unfinished_row(session, stack.sut.broker.results)
        for nth, task_id in enumerate(held, start=1):
            # Negative keys: the sequence of the table makes none of them.
            session.query(statement, (-nth, task_id))
        for task_id in held:
            stack.tasks.publish(ping.task, (), ping.arguments, task_id=task_id)
        yield held


def _unfinished_row(session: Session, results: str) -> str:
    """Return the statement that stores a result; its parameters are the key and the task's id.

    The id of a task is unique in the table. Other columns that must not be null get any value.
    """
    required = session.query(_REQUIRED, (results,)).rows
    columns = ", ".join(["id", "task_id", *(identifier(name) for name, _ in required)])
    values = ", ".join(["%s", "%s", *(ANY_VALUE.get(kind, "''") for _, kind in required)])
    return f"INSERT INTO {results} ({columns}) VALUES ({values})"


def wait_for_held_runs(stack: Stack, number: int = 1) -> None:
    """Continue when this number of runs wait to store their results.

    Raises:
        PremiseError: fewer of them wait by the deadline, or more.

    """
    waiting = wait_until(
        lambda: len(sessions_waiting_for(stack, stack.sut.broker.results)),
        lambda seen: seen >= number,
        deadline_s=HELD_DEADLINE_S,
        interval_s=0.1,
    )
    premise("runs that wait to store their results", got=waiting, expected=number)


def sessions_waiting_for(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Return the sessions of the worker's role that wait for a locked table now."""
    return stack.sql.query(_WAITING, (stack.sut.worker.role, table)).dicts()


def wait_for_a_session(stack: Stack, table: str) -> list[dict[str, Any]]:
    """Wait for such a session and return all of them; an empty list after the deadline."""
    return wait_until(
        lambda: sessions_waiting_for(stack, table), deadline_s=DEADLINE_S, interval_s=0.1
    )
