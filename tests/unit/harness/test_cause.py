"""The line of a command's output that names the cause of its failure."""

from __future__ import annotations

import pytest

from gateproof.environments.interface import Completed

SQLALCHEMY = """Traceback (most recent call last):
  File "base.py", line 1967, in _exec_single_context
psycopg2.errors.UndefinedFunction: function uuid_generate_v4() does not exist
LINE 3:     id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
                                        ^
HINT:  No function matches the given name and argument types.


The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "env.py", line 61, in <module>
sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedFunction) function uuid_generate_v4()
LINE 3:     id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
                                        ^
HINT:  No function matches the given name and argument types.

[SQL:
CREATE TABLE events (note text DEFAULT 'Error: none');
]
(Background on this error at: https://sqlalche.me/e/20/f405)
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (SQLALCHEMY, "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedFunction)"),
        ("INFO Running upgrade\nFAILED: Multiple head revisions are present\n", "FAILED: Multiple"),
        ("psql:up.sql:3: ERROR:  syntax error at or near\nLINE 1: x\n", "psql:up.sql:3: ERROR:"),
        ("FATAL: role is not permitted to log in\ntry again\n", "FATAL: role"),
        ("Traceback:\nValueError: no such port\n", "ValueError: no such port"),
        ("  File x\nKeyError: 'a'\nsee https://example.org\n", "KeyError: 'a'"),
        ("system.errors.Problem: got no key\n", "system.errors.Problem: got no key"),
        ("first\nlast line\n\n", "last line"),
        ('{"level": "error", "message": "the port is taken"}\n', '{"level": "error"'),
        ("", "it printed nothing"),
        (" \n\n", "it printed nothing"),
    ],
)
def test_cause_is_the_line_that_names_the_error(output: str, expected: str) -> None:
    """Hints, statements and links that follow an error are no cause; otherwise the last line is."""
    done = Completed(command=("migrate",), exit_status=1, output=output)
    assert done.cause.startswith(expected)
