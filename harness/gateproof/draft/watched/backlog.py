"""Finds the metrics about the rows of failed tasks: how many are new, and how old the oldest is.

Owns both guesses. A gauge is the number if it rose from zero to that of the rows; it is the age if
it follows a row that is made older.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from gateproof.base.wait import wait_until
from gateproof.draft.database import Catalogue
from gateproof.draft.watched.metrics import changed_gauge
from gateproof.draft.watched.rows import KeptRows

UPDATED_WITHIN_S = 12.0
OLDER_S, SLACK_S = 50_000.0, 300.0


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The names of the gauges; each empty if it is not known."""

    number: str = ""
    age_s: str = ""


def backlog_of(
    connection: psycopg.Connection[Any],
    catalogue: Catalogue,
    kept: KeptRows,
    failed: Sequence[str],
    before: str,
    scrape: Callable[[], str],
) -> Backlog:
    """Return the gauges about the rows of failed tasks.

    Args:
        connection: of the superuser, in autocommit; the time of one row is changed.
        catalogue: that of the database.
        kept: the table of failed tasks.
        failed: the ids of all tasks that failed.
        before: a scrape from before the first failure.
        scrape: returns a new scrape.

    """
    table = next((one for one in catalogue.tables if one.label == kept.table), None)
    if table is None or not before:
        return Backlog()
    name = sql.Identifier(table.schema, table.name)
    rows = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
    if rows != (len(failed),):
        return Backlog()
    number = _found(before, scrape, lambda old, new: old == 0 and new == len(failed))
    names = [kept.columns.get(one, one) for one in ("failed_at", "task_id")]
    if not number or not set(names) <= set(table.columns):
        return Backlog(number=number)
    older = sql.SQL("UPDATE {} SET {} = {} - make_interval(secs => %s) WHERE {} = %s").format(
        name, *map(sql.Identifier, (names[0], *names))
    )
    try:
        connection.execute(older, (OLDER_S, failed[0]))
    except psycopg.Error:  # the system refuses it: then no gauge can follow it
        return Backlog(number=number)
    most = OLDER_S + SLACK_S
    age = _found(before, scrape, lambda old, new: old < SLACK_S and OLDER_S <= new <= most)
    return Backlog(number=number, age_s=age)


def _found(before: str, scrape: Callable[[], str], fits: Callable[[float, float], bool]) -> str:
    return wait_until(
        lambda: changed_gauge(before, scrape(), fits),
        deadline_s=UPDATED_WITHIN_S,
        interval_s=0.5,
    )
