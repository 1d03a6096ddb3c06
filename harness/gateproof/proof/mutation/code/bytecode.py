"""Whether two source texts compile to the same code, which makes a mutant equivalent."""

from __future__ import annotations

import ast
from types import CodeType

_POSITION = {"lineno": 1, "end_lineno": 1, "col_offset": 0, "end_col_offset": 0}


def same_bytecode(before: str, after: str) -> bool:
    """Return whether two modules have equal code objects, recursively, apart from positions.

    Every node gets the same position before it is compiled: a code object holds line numbers, and
    since Python 3.13 the constants of a class do as well. A text that does not compile equals none.
    """
    first, second = _compiled(before), _compiled(after)
    return first is not None and first == second


def _compiled(text: str) -> CodeType | None:
    try:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if hasattr(node, "lineno"):
                vars(node).update(_POSITION)
        code = compile(tree, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    assert isinstance(code, CodeType)
    return code
