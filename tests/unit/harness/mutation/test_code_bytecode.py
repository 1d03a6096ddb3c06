"""Recognising mutants that change nothing: equal code, wherever it stands."""

from __future__ import annotations

import pytest

from gateproof.proof.mutation.code import same_bytecode

CLASS = 'class A:\n    """Doc."""\n    def f(self, a: int = 1):\n        return [b for b in a]\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CLASS, CLASS),
        (CLASS, f"# a comment\n\n\n{CLASS}"),
        (CLASS, CLASS.replace("\n    def", "\n\n    # why\n\n    def")),
        (CLASS, CLASS.replace("return [b", "return  [ b")),
        ("a = (1)", "a = 1"),
        ("for a in b:\n    continue", "for a in b:\n    pass"),
        ("a = 1 + 2", "a = 3"),
    ],
)
def test_equal_code_is_recognised(before: str, after: str) -> None:
    """Comments, blank lines, parentheses and folded constants make no difference."""
    assert same_bytecode(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1", "a = 2"),
        ("a = 1", "a = True"),
        ("a = 1", "a = 1.0"),
        ("a = 0.0", "a = -0.0"),
        (CLASS, CLASS.replace("= 1", "= 2")),
        (CLASS, CLASS.replace("f(self", "g(self")),
        (CLASS, CLASS.replace("[b for", "[-b for")),
        ("a = 1", "a = ="),
        ("a = =", "a = ="),
        ("a = 1", "return 1"),
    ],
)
def test_other_code_and_no_code_are_not_equal(before: str, after: str) -> None:
    """Types of constants count, at any depth; a text that does not compile equals none."""
    assert not same_bytecode(before, after)
