"""The mutants of SQL in strings: which clauses change, and how the literals around them stay."""

from __future__ import annotations

import ast

import pytest

from gateproof.proof.mutation.code import edits_of, same_bytecode

SELECT = "SELECT a FROM t WHERE b = 1 AND c > 2 ORDER BY a, b LIMIT 3 FOR UPDATE SKIP LOCKED"
INSERT = "INSERT INTO t (a, b) VALUES (1, 2)"

CASES = [
    (
        "sql-where",
        SELECT,
        [
            SELECT.replace("b = 1 AND ", ""),
            SELECT.replace(" AND c > 2", ""),
        ],
    ),
    ("sql-where", "DELETE FROM t WHERE a = 1", ["DELETE FROM t WHERE true"]),
    (
        "sql-where",
        "SELECT 1 FROM t WHERE a BETWEEN 1 AND 2 AND (b OR c AND d) RETURNING a",
        [
            "SELECT 1 FROM t WHERE (b OR c AND d) RETURNING a",
            "SELECT 1 FROM t WHERE a BETWEEN 1 AND 2 RETURNING a",
        ],
    ),
    (
        "sql-where",
        "SELECT 1 FROM t WHERE a IS DISTINCT FROM b AND NOT EXISTS (SELECT FROM u WHERE c)",
        [
            "SELECT 1 FROM t WHERE NOT EXISTS (SELECT FROM u WHERE c)",
            "SELECT 1 FROM t WHERE a IS DISTINCT FROM b",
            "SELECT 1 FROM t WHERE a IS DISTINCT FROM b AND NOT EXISTS (SELECT FROM u WHERE true)",
        ],
    ),
    (
        "sql-where",
        "SELECT count(*) FILTER (WHERE a) FROM t",
        ["SELECT count(*) FILTER (WHERE true) FROM t"],
    ),
    (
        "sql-where",
        "WITH x AS (DELETE FROM t WHERE a = 'WHERE b AND c') SELECT 1 -- WHERE d AND e",
        ["WITH x AS (DELETE FROM t WHERE true) SELECT 1 -- WHERE d AND e"],
    ),
    (
        "sql-where",
        "CREATE FUNCTION f() RETURNS void AS $$ BEGIN DELETE FROM t WHERE a; END; $$",
        ["CREATE FUNCTION f() RETURNS void AS $$ BEGIN DELETE FROM t WHERE true; END; $$"],
    ),
    ("sql-where", "WHERE a AND b", ["WHERE b", "WHERE a"]),
    ("sql-where", "select a from t where b", ["select a from t where true"]),
    (
        "sql-join",
        "SELECT 1 FROM t JOIN u ON t.a = u.a AND u.b WHERE c",
        ["SELECT 1 FROM t JOIN u ON u.b WHERE c", "SELECT 1 FROM t JOIN u ON t.a = u.a WHERE c"],
    ),
    (
        "sql-on-conflict",
        f"{INSERT} ON CONFLICT (a) DO NOTHING RETURNING a",
        [
            f"{INSERT}  RETURNING a",
            f"{INSERT} ON CONFLICT (a) DO UPDATE SET a = excluded.a RETURNING a",
        ],
    ),
    (
        "sql-on-conflict",
        f"{INSERT} ON CONFLICT ON CONSTRAINT k DO UPDATE SET a = 1, b = 2 WHERE c",
        [f"{INSERT} ", f"{INSERT} ON CONFLICT ON CONSTRAINT k DO NOTHING"],
    ),
    ("sql-on-conflict", f"{INSERT} ON CONFLICT DO NOTHING", [f"{INSERT} "]),
    ("sql-locking", SELECT, [SELECT.replace("FOR UPDATE SKIP LOCKED", "")]),
    (
        "sql-locking",
        "SELECT 1 FROM t, u FOR NO KEY UPDATE OF t, u NOWAIT",
        ["SELECT 1 FROM t, u "],
    ),
    ("sql-skip-locked", SELECT, [SELECT.replace(" SKIP LOCKED", "")]),
    (
        "sql-order-by",
        SELECT,
        [
            SELECT.replace("ORDER BY a, b", ""),
            SELECT.replace("ORDER BY a,", "ORDER BY a DESC,"),
        ],
    ),
    (
        "sql-order-by",
        "SELECT a FROM t ORDER BY a DESC NULLS LAST",
        ["SELECT a FROM t ", "SELECT a FROM t ORDER BY a NULLS LAST"],
    ),
    (
        "sql-order-by",
        "SELECT a FROM t ORDER BY a ASC",
        ["SELECT a FROM t ", "SELECT a FROM t ORDER BY a DESC"],
    ),
    ("sql-limit", SELECT, [SELECT.replace("LIMIT 3", "")]),
    (
        "sql-set",
        "UPDATE t AS u SET a = f(1, 2), b = CASE WHEN c THEN 1 ELSE 2 END WHERE d",
        [
            "UPDATE t AS u SET b = CASE WHEN c THEN 1 ELSE 2 END WHERE d",
            "UPDATE t AS u SET a = f(1, 2) WHERE d",
        ],
    ),
    ("sql-set", "UPDATE t SET a = 1 WHERE b", []),
    ("sql-boundary", SELECT, [SELECT.replace(">", ">=")]),
    ("sql-boundary", "SELECT a -> 'b', c <> 1, f(d => 2) FROM t", []),
]


def mutants(text: str, operator: str) -> list[str]:
    """Return the values of the strings that an operator makes of the one in a text."""
    made = [edit.apply(text) for edit in edits_of(text) if edit.operator == operator]
    return [value_of(mutant) for mutant in made]


def value_of(text: str) -> str:
    """Return the string of ``x = text(STRING)``; an insertion is in braces."""
    statement = ast.parse(text).body[0]
    assert isinstance(statement, ast.Assign)
    assert isinstance(statement.value, ast.Call)
    return str(ast.literal_eval(statement.value.args[0]))


@pytest.mark.parametrize(("operator", "sql", "expected"), CASES)
def test_clauses_change_in_exactly_these_ways(operator: str, sql: str, expected: list[str]) -> None:
    """Each clause has an example, with all mutants of it."""
    text = f"x = text({sql!r})"
    assert sorted(mutants(text, operator)) == sorted(expected)
    assert not any(same_bytecode(text, f"x = text({mutant!r})") for mutant in expected)


def test_sql_over_several_literals_keeps_their_quotes_and_comments() -> None:
    """A clause that begins in one literal and ends in another is removed from both."""
    text = 'x = text("SELECT a FROM t WHERE b"  # why\n  r\'\' " = 1 AND c")'
    [first, _] = [edit.apply(text) for edit in edits_of(text) if edit.operator == "sql-where"]
    assert first == 'x = text("SELECT a FROM t WHERE "  # why\n  r\'\' "c")'


def test_insertions_of_an_f_string_are_part_of_a_condition_or_a_clause() -> None:
    """An operand is removed with its condition; an inserted clause ends the one before it."""
    text = 'x = f"UPDATE {t} SET a = {1}, b = c {where} AND d WHERE {e} = 1 AND {f}"'
    made = {(e.operator, e.before(text)) for e in edits_of(text) if e.operator.startswith("sql")}
    assert made == {
        ("sql-set", "a = {1}, "),
        ("sql-set", ", b = c"),
        ("sql-where", "{e} = 1 AND "),
        ("sql-where", " AND {f}"),
    }


def test_sql_with_escapes_keeps_them() -> None:
    """An escape is one unit: a clause that ends before it leaves it whole."""
    text = r"x = text('SELECT a FROM t\nWHERE b = \'c\'\nORDER BY a\n')"
    assert mutants(text, "sql-order-by") == [
        "SELECT a FROM t\nWHERE b = 'c'\n\n",
        "SELECT a FROM t\nWHERE b = 'c'\nORDER BY a DESC\n",
    ]


@pytest.mark.parametrize(
    "text", ["Select a file", "Update the row where it is", "With one AND two", "where a"]
)
def test_prose_is_no_sql(text: str) -> None:
    """A sentence that begins with a word of SQL is an ordinary string."""
    assert {edit.operator for edit in edits_of(f"x = {text!r}")} == {"string"}


def test_sql_has_no_mutant_of_the_whole_string() -> None:
    """A statement with a wrong beginning only shows that it runs, which every mutant of it does."""
    assert edits_of("x = 'SELECT 1'") == []


@pytest.mark.parametrize("policy", ["USING (true)", "TO app USING (true)"])
def test_policy_for_update_has_no_lock(policy: str) -> None:
    """FOR UPDATE of a policy names a command and is no lock."""
    assert edits_of(f"x = 'CREATE POLICY p ON t FOR UPDATE {policy}'") == []
