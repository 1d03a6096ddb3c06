"""Falsifiers in SQL whose names are those of the description, for any system.

Owns the words of their templates. A statement has a placeholder where another system has another
name: ``{table}`` for the table of dead-letter rows, ``{worker}`` for the worker's role. A word is
looked up when it is used, so a template needs only the features that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import pytest

from gateproof import Sut, falsified_by_each, sql

Expect = tuple[str, str] | tuple[str, str, str]

ALTERING = """
    CREATE FUNCTION gateproof_alter() RETURNS trigger LANGUAGE plpgsql AS
        $$ {declared} BEGIN {body} END $$;
    CREATE TRIGGER a_gateproof_alter {when} ON {{table}}
        FOR EACH ROW EXECUTE FUNCTION gateproof_alter()
"""
"""A trigger on the table of dead-letter rows; its name makes it the first."""
TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass ORDER BY 1"
CONSTRAINTS = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = '{table}'::regclass ORDER BY 1"""
POLICIES = """SELECT polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid),
    polroles::regrole[]::text FROM pg_policy WHERE polrelid = '{table}'::regclass ORDER BY 1"""
PRIVILEGES = "SELECT relacl FROM pg_class WHERE oid = '{table}'::regclass"


class _Columns(Mapping[str, str]):
    """The columns of dead-letter rows by the names that checks use: ``{c[status]}``."""

    def __init__(self, sut: Sut) -> None:
        self._sut = sut

    def __getitem__(self, name: str) -> str:
        return self._sut.dead_letters.column(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sut.dead_letters.columns)

    def __len__(self) -> int:
        return len(self._sut.dead_letters.columns)


WORDS: Mapping[str, Callable[[Sut], Any]] = {
    "table": lambda sut: sut.dead_letters.table,
    "former": lambda sut: sut.dead_letters.former_table,
    "new": lambda sut: sut.dead_letters.new,
    "other": lambda sut: sut.dead_letters.moves[sut.dead_letters.new][0],
    "resolved": lambda sut: sut.dead_letters.resolved,
    "operator": lambda sut: sut.dead_letters.operator,
    "reader": lambda sut: sut.dead_letters.reader,
    "c": _Columns,
    "worker": lambda sut: sut.worker.role,
    "owner": lambda sut: sut.database.owner,
    "guc": lambda sut: sut.tenancy.guc,
    "ping": lambda sut: sut.ping.task,
    "all": lambda sut: sut.migrations.all,
    "base": lambda sut: sut.migrations.base,
    "first": lambda sut: sut.broker.tables[0],
    "last": lambda sut: sut.broker.tables[-1],
    "known": lambda sut: sut.known_tables[0],
    "results": lambda sut: sut.broker.results,
}
"""The words of a template, and the value that the description gives each."""


class Words(Mapping[str, Any]):
    """The words for one system; a word of a feature that it lacks raises when it is read."""

    def __init__(self, sut: Sut, **more: str) -> None:
        self._sut, self._more = sut, more

    def __getitem__(self, name: str) -> Any:
        return self._more[name] if name in self._more else WORDS[name](self._sut)

    def __iter__(self) -> Iterator[str]:
        return iter(WORDS)

    def __len__(self) -> int:
        return len(WORDS)

    def fill(self, template: str) -> str:
        """Return a template with its words filled in."""
        return template.format_map(self)


def falsified_in_sql(
    name: str,
    statement: str,
    *,
    landing: str,
    expect: Expect,
    target: str = "",
    role: str | None = None,
    scope: Literal["database", "server"] = "database",
    in_new: bool = False,
    each: Callable[[Sut], tuple[str, ...]] = lambda _: ("",),
) -> pytest.MarkDecorator:
    """Declare a fault in SQL whose statement, query, target and prediction are templates.

    Args:
        name: a slug.
        statement: see `gateproof.sql`.
        landing: see `gateproof.sql`.
        expect: the claim, its object, and optionally a part of its values.
        target: see `gateproof.sql`.
        role: see `gateproof.sql`.
        scope: see `gateproof.sql`.
        in_new: see `gateproof.sql`.
        each: returns the objects of the description for which there is such a fault, as ``{each}``.

    """

    def make(sut: Sut, one: str) -> Any:
        words = Words(sut, each=one)
        fault = sql(
            name,
            words.fill(statement),
            landing=words.fill(landing),
            target=words.fill(target),
            role=role,
            scope=scope,
            in_new=in_new,
        )
        return fault, tuple(words.fill(part) for part in expect)

    return falsified_by_each(each, make)


def falsified_in_rows(
    name: str,
    body: str,
    *,
    expect: Expect,
    when: str = "BEFORE INSERT",
    declared: str = "",
    each: Callable[[Sut], tuple[str, ...]] = lambda _: ("",),
) -> pytest.MarkDecorator:
    """Declare a trigger that changes each dead-letter row as it is written.

    Args:
        name: a slug.
        body: the statements of its function, a template; ``RETURN NULL;`` drops the row.
        expect: see `falsified_in_sql`.
        when: the event of the trigger.
        declared: the declarations of its function.
        each: see `falsified_in_sql`.

    """
    statement = ALTERING.format(body=body, when=when, declared=declared)
    return falsified_in_sql(name, statement, landing=TRIGGERS, expect=expect, each=each)


def role_at(place: str) -> Callable[[Sut], tuple[str, ...]]:
    """Return a function that returns the role at a place of `Sut.role_names`, if there is one."""
    return lambda sut: tuple(name for at, name in sut.role_names.items() if at == place)


def other_statuses(sut: Sut) -> tuple[str, ...]:
    """Return a status that a new row does not have, if the description has one."""
    return sut.dead_letters.statuses[1:2]


LOST = "RETURN NULL;"
"""The row is not written, and its writer gets no error."""

AGAIN_DECLARED = "DECLARE columns text; again {table}%ROWTYPE;"
AGAIN = """
    IF pg_trigger_depth() > 1 THEN RETURN NULL; END IF;
    again := NEW;
    again.{c[task_id]} := NEW.{c[task_id]} || '-again';
    SELECT string_agg(quote_ident(a.attname), ', ') INTO columns FROM pg_attribute a
    WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = TG_RELID AND x.indisprimary
                        AND a.attnum = ANY (x.indkey));
    EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM (SELECT ($1).*) r',
                   TG_RELID::regclass, columns, columns) USING again;
    RETURN NULL;
"""
"""A second row of the same failure, under another task id."""
