"""All mutants of the reference system's files, which are real inputs of every form."""

from __future__ import annotations

import ast
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof.proof.mutation.code import Edit, edits_of

SYSTEM = Path(__file__).parents[4] / "system"
FILES = sorted(SYSTEM.rglob("*.py"))
STATEMENTS = SYSTEM / "transport/statements.py"
LONGEST_S = 20.0
"""Seconds of processor time for all files; it takes two."""


@cache
def read(path: Path) -> tuple[str, tuple[Edit, ...]]:
    """Return a file with its edits."""
    text = path.read_text(encoding="utf-8")
    return text, tuple(edits_of(text))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_mutant_of_the_system_parses_and_differs(data: st.DataObject) -> None:
    """Every edit applies to the text it was made for, and changes exactly its part."""
    text, edits = read(data.draw(st.sampled_from([path for path in FILES if read(path)[1]])))
    edit = data.draw(st.sampled_from(edits))
    mutant = edit.apply(text)
    ast.parse(mutant)
    assert mutant != text
    assert mutant.startswith(text[: edit.start] + edit.after)
    assert edit.before(text) == text[edit.start : edit.end]
    assert text.splitlines()[edit.line - 1][edit.column :].startswith(
        edit.before(text).split("\n")[0]
    )


@pytest.mark.parametrize("package", sorted({path.parent for path in FILES}))
def test_every_mutant_of_a_package_parses(package: Path) -> None:
    """No edit breaks the statement of the module in which it is."""
    for path in sorted(package.glob("*.py")):
        text, edits = read(path)
        for edit in edits:
            compile(_statement_of(text, edit), str(path), "exec", dont_inherit=True)


@cache
def _statements(text: str) -> list[tuple[int, int]]:
    """Return the offsets at which the module's statements begin and end, with decorators."""
    lines = text.splitlines(keepends=True)
    offsets = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    spans = []
    for statement in ast.parse(text).body:
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
        assert statement.end_lineno is not None
        spans.append((offsets[first - 1], offsets[statement.end_lineno]))
    return spans


def _statement_of(text: str, edit: Edit) -> str:
    [(start, end)] = [
        (start, end) for start, end in _statements(text) if start <= edit.start and edit.end <= end
    ]
    return text[start : edit.start] + edit.after + text[edit.end : end]


def test_edits_are_unique_ordered_and_stable() -> None:
    """A second reading gives the same edits, and no two of them make the same mutant."""
    for path in FILES:
        text, edits = read(path)
        assert tuple(edits_of(text)) == edits
        assert len({edit.apply(text) for edit in edits}) == len(edits)
        assert list(edits) == sorted(edits, key=lambda edit: (edit.start, edit.end, edit.after))


def test_all_files_of_the_system_take_seconds() -> None:
    """The mutants of a system are made while a person waits."""
    started = time.process_time()
    for path in FILES:
        edits_of(path.read_text(encoding="utf-8"))
    assert time.process_time() - started < LONGEST_S


def test_real_statements_have_mutants_of_each_clause() -> None:
    """The transport's SQL loses conditions, locks, orders, limits and columns, one at a time."""
    _, edits = read(STATEMENTS)
    counts = Counter(edit.operator for edit in edits if edit.operator.startswith("sql"))
    assert set(counts) == {
        "sql-boundary",
        "sql-limit",
        "sql-locking",
        "sql-on-conflict",
        "sql-order-by",
        "sql-set",
        "sql-skip-locked",
        "sql-where",
    }
    assert counts["sql-skip-locked"] == STATEMENTS.read_text(encoding="utf-8").count("SKIP LOCKED")
