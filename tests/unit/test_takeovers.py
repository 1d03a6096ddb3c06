"""The random changes of the search for stale results: each is one change, and compiles."""

from __future__ import annotations

import ast
import random

from tests.bench.takeovers import ROOT, draw, mutations_of

TEXT = '''"""A module."""
LIMIT = 3

def rate(name):
    """A docstring."""
    if name == "a":
        raise ValueError
    total = 1
    return total
'''


def test_changes_are_single_and_all_kinds_are_made() -> None:
    """Each differs from the module and from the others, and compiles."""
    found = list(mutations_of("one.py", TEXT))
    plain = ast.dump(ast.parse(TEXT))
    dumps = {ast.dump(ast.parse(one.text)) for one in found}
    assert len(dumps) == len(found) >= 8
    assert plain not in dumps
    assert {one.what for one in found} == {
        "3 plus 1",
        "1 plus 1",
        "another comparison",
        "a condition negated",
        "nothing returned",
        "a statement left out",
    }


def test_drawn_changes_depend_on_the_seed_alone() -> None:
    """Two draws with one seed are the same change, of a file of the system and of no gate."""
    one, other = draw(random.Random(7)), draw(random.Random(7))
    assert one == other
    assert (ROOT / one.path).is_file()
    assert one.path.startswith(("system/", "migrations/"))
    assert not one.path.startswith("system/gates/")
