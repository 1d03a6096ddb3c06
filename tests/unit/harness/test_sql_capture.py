"""The format of rows in a capture."""

from __future__ import annotations

import pytest

from gateproof.probes.parameter import parameter_names
from gateproof.probes.sql import SHOWN_ROWS, Rows, _show


def test_rows_are_aligned_as_psql_does() -> None:
    """Columns are aligned, NULL is empty, and the count is shown."""
    rows = Rows(columns=("id", "name"), rows=((1, "a"), (22, None)), count=2)
    assert _show(rows) == "id | name\n---+-----\n1  | a\n22 |\n(2 rows)\n"


def test_wide_rows_are_expanded_as_psql_does() -> None:
    """A row that does not fit on a line is shown in full, with one line per column."""
    rows = Rows(columns=("id", "payload"), rows=((1, "x" * 500),), count=1)
    assert _show(rows) == f"-[ RECORD 1 ]\nid      | 1\npayload | {'x' * 500}\n(1 rows)\n"


def test_many_rows_are_cut_and_counted() -> None:
    """A capture shows the first rows and the count of all rows."""
    rows = Rows(columns=("n",), rows=tuple((n,) for n in range(500)), count=500)
    shown = _show(rows)
    assert f"... {500 - SHOWN_ROWS} more\n(500 rows)" in shown
    assert shown.count("\n") == SHOWN_ROWS + 4


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT %s", [""]),
        ("SELECT 1 WHERE name = %s AND token<>%s OR %s", ["name", "token", ""]),
        ('SELECT %s AS note, %s::text AS "password"', ["note", "password"]),
        ("INSERT INTO u (id, name, password) VALUES (1, %s, %s)", ["name", "password"]),
        ("UPDATE u SET password = %s WHERE id = %s", ["password", "id"]),
        ("CALL f(%s, '%%')", ["", ""]),
    ],
)
def test_parameters_have_the_column_names_of_the_statement(
    statement: str, names: list[str]
) -> None:
    """Comparisons, aliases and the columns of an INSERT are recognised; others have no name."""
    assert list(parameter_names(statement, len(names))) == names


def test_statement_without_rows_shows_how_many_it_changed() -> None:
    """An update has a count and no table."""
    assert _show(Rows(count=3)) == "(3 rows)\n"
