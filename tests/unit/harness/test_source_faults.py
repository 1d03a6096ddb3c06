"""Changes to code that apply exactly once, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.base.errors import HarnessError
from gateproof.faults.code.file import file
from gateproof.faults.code.source import change_file, source
from gateproof.faults.code.text import Addition, Body, Replacement
from gateproof_evidence.errors import BadInputError

CODE = '''"""A module."""

if True:
    def free(a):
        """Return it."""
        return a

class Health:
    @property
    def ask(self):
        first = 1
        return first

    def ask_again(self): return 2
'''


def test_replacement_changes_the_only_occurrence() -> None:
    """A text that occurs once is replaced."""
    assert Replacement(before="first = 1", after="first = 2").apply(CODE).count("first = 2") == 1


@pytest.mark.parametrize(("before", "count"), [("no such text", 0), ("return", 3)])
def test_replacement_of_a_text_that_does_not_occur_once_is_refused(before: str, count: int) -> None:
    """No occurrence and several occurrences are both refused."""
    with pytest.raises(HarnessError, match=f"got {count} of .*expected exactly 1"):
        Replacement(before=before, after="x").apply(CODE)


@pytest.mark.parametrize("function", ["free", "Health.ask"])
def test_body_replaces_that_of_one_function_and_nothing_else(function: str) -> None:
    """Decorators, signature and other functions stay unchanged, at any depth."""
    changed = Body(function=function, body="x = 41\nreturn x + 1").apply(CODE)
    namespace: dict[str, object] = {}
    exec(compile(changed, "changed", "exec"), namespace)
    changed_result = eval({"free": "free(7)", "Health.ask": "Health().ask"}[function], namespace)
    other = eval({"free": "Health().ask", "Health.ask": "free(7)"}[function], namespace)
    assert changed_result == 42
    assert other in (1, 7)


@pytest.mark.parametrize("function", ["ask", "Health.free", "Health"])
def test_body_of_a_function_that_is_not_there_is_refused(function: str) -> None:
    """A method needs the name of its class, and a class is not a function."""
    with pytest.raises(HarnessError, match=f"got 0 functions {function}"):
        Body(function=function, body="pass").apply(CODE)


def test_addition_is_at_the_end() -> None:
    """Added lines run last, whatever their indentation was."""
    changed = Addition(lines="\n        Health.ask = 3\n").apply(CODE)
    namespace: dict[str, object] = {}
    exec(compile(changed, "changed", "exec"), namespace)
    assert eval("Health.ask", namespace) == 3


def test_changed_file_is_newer_than_its_compiled_form(tmp_path: Path) -> None:
    """Python compares a compiled file with its source by whole seconds and size only."""
    path = tmp_path / "m.py"
    path.write_text("x = 1\n")
    before = path.stat()
    change_file(path, Replacement(before="x = 1", after="x = 2"))
    after = path.stat()
    assert after.st_size == before.st_size
    assert int(after.st_mtime) > int(before.st_mtime)
    assert list(tmp_path.iterdir()) == [path]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A fault on a missing file is refused."""
    with pytest.raises(HarnessError, match=r"got no m\.py in the copy"):
        change_file(tmp_path / "m.py", Addition(lines="x"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"before": "a", "after": "a"},
        {"before": "a", "append": "b"},
        {"before": "a", "function": "f", "body": "pass"},
    ],
)
def test_fault_that_names_no_change_or_several_is_refused(change: dict[str, str]) -> None:
    """It is refused when the gate is imported, not when the proof runs."""
    with pytest.raises(BadInputError, match="expected one of before with another after"):
        source("broken", "m.py", **change)  # type: ignore[arg-type]


def test_description_names_file_and_change() -> None:
    """The description has the file, the old text and the new text."""
    description = source("s", "m.py", "a = 1", "a = 2").describe()
    assert description == "in m.py: replace\na = 1\nby\na = 2"
    assert "body of f:\nreturn 1" in source("s", "m.py", function="f", body="return 1").describe()
    assert file("f", "w.yml", "if: always()\n", "").describe().endswith("by\n(nothing)")
