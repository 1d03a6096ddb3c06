"""Which mutants are made of code and settings, and how a sample is drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gateproof.description.reading import load_sut
from gateproof.proof.mutation.generation import (
    code_mutants,
    draw,
    files_to_mutate,
    is_equivalent,
    setting_mutants,
)
from gateproof.proof.mutation.mutant import Mutant
from gateproof_evidence.errors import BadInputError

SUT = """
version = 2
name = "shop"
root = "."
sources = ["app", "migrations"]
env = { RETRIES = "3", DEBUG = "false", NAME = "shop", HOME_OF = "{fresh_folder}" }
"""
PRICE = """\
def price(count):
    if count > 10:
        return count * 2
    return count * 3
"""


def new_project(folder: Path) -> Path:
    """Write a small project and return the path of its description."""
    files = {
        "sut.toml": SUT,
        "app/price.py": PRICE,
        "app/gates/test_price.py": "def test_price():\n    assert 1 > 0\n",
        "app/tests/helper.py": "LIMIT = 3\n",
        "app/conftest.py": "LIMIT = 3\n",
        "migrations/env.py": "LIMIT = 3\n",
        "migrations/versions/first.py": "down_revision = None\nLIMIT = 3\n",
        "app/data.txt": "3\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "sut.toml"


def mutants(kind: str, operator: str, count: int) -> list[Mutant]:
    """Return mutants of one operator."""
    return [
        Mutant(
            id=f"{kind}:{operator}:{number}",
            kind=kind,
            operator=operator,
            where=str(number),
            change="",
        )
        for number in range(count)
    ]


def test_files_leave_out_gates_tests_and_migrations(tmp_path: Path) -> None:
    """Only code of the system itself is mutated."""
    sut = load_sut(new_project(tmp_path))
    assert files_to_mutate(sut, [tmp_path / "app" / "gates"]) == ["app/price.py"]


def test_code_mutant_names_its_place_and_shows_its_change() -> None:
    """A mutant has the function, the line, and a diff with the old and the new line."""
    found = [one for one in code_mutants(PRICE, "app/price.py") if one.operator == "boundary"]
    assert [(one.where, one.function) for one in found] == [("app/price.py:2", "price")]
    lines = found[0].change.splitlines()
    assert "-    if count > 10:" in lines
    assert "+    if count >= 10:" in lines


def test_code_mutant_keeps_its_id_when_other_lines_are_added() -> None:
    """A decision about a survivor stays valid when the file changes elsewhere."""
    moved = f"# a comment\n\n{PRICE}"
    before = {one.id for one in code_mutants(PRICE, "app/price.py")}
    assert before == {one.id for one in code_mutants(moved, "app/price.py")}
    assert len(before) > 5


def test_code_mutant_changes_its_id_with_its_line() -> None:
    """A decision about a survivor does not cover the mutant of another line."""
    other = PRICE.replace("count > 10", "count > 11")
    operator = "boundary"
    ids = [
        {one.id for one in code_mutants(text, "app/price.py") if one.operator == operator}
        for text in (PRICE, other)
    ]
    assert ids[0].isdisjoint(ids[1])


def test_same_lines_in_one_function_have_different_ids() -> None:
    """Two mutants never share an id, or one result would count for both."""
    text = "def f(a):\n    g(a)\n    g(a)\n    g(a)\n"
    ids = [one.id for one in code_mutants(text, "app/f.py")]
    assert len(ids) == len(set(ids))
    assert Counter(one.rpartition("-")[0] for one in ids if one.endswith(("-2", "-3")))


def test_equivalent_mutant_compiles_to_the_same_code() -> None:
    """A mutant without a difference is found without a run, and one with a difference is not."""
    found = next(iter(code_mutants(PRICE, "app/price.py")))
    same = found.model_copy(update={"start": 0, "end": 0, "after": "\n\n"})
    assert is_equivalent(same, PRICE)
    assert not is_equivalent(found, PRICE)


def test_exclusion_with_a_reason_is_kept_and_without_one_refused() -> None:
    """A person excludes a line with a reason, which the mutant then has."""
    line = "    if count > 10:"
    text = PRICE.replace(line, f"{line}  # no mutants: prices above ten are decided by law")
    found = {one.excluded for one in code_mutants(text, "app/price.py") if one.where.endswith(":2")}
    assert found == {"prices above ten are decided by law"}
    with pytest.raises(BadInputError, match="reason"):
        list(code_mutants(PRICE.replace(line, f"{line}  # no mutants:"), "app/price.py"))


def test_settings_are_switched_enlarged_and_emptied(tmp_path: Path) -> None:
    """Each described variable has mutants that fit its value; one that is filled in has none."""
    found = {one.id: one.variables for one in setting_mutants(load_sut(new_project(tmp_path)))}
    assert found == {
        "setting:empty-setting:DEBUG": (("DEBUG", ""),),
        "setting:empty-setting:NAME": (("NAME", ""),),
        "setting:empty-setting:RETRIES": (("RETRIES", ""),),
        "setting:larger-setting:RETRIES": (("RETRIES", "30"),),
        "setting:switched-setting:DEBUG": (("DEBUG", "true"),),
        "setting:zero-setting:RETRIES": (("RETRIES", "0"),),
    }


def test_sample_is_shared_among_kinds_and_operators() -> None:
    """An operator with many places leaves room for the others."""
    found = [
        *mutants("schema", "grant", 500),
        *mutants("schema", "drop", 3),
        *mutants("code", "string", 900),
        *mutants("code", "boundary", 40),
    ]
    drawn = draw(found, sample=40, seed="a")
    counts = Counter((one.kind, one.operator) for one in drawn)
    assert counts == {
        ("schema", "grant"): 17,
        ("schema", "drop"): 3,
        ("code", "string"): 10,
        ("code", "boundary"): 10,
    }


def test_sample_depends_on_the_seed_alone() -> None:
    """The same seed draws the same mutants, in whatever order they were made."""
    found = mutants("code", "string", 300)
    drawn = draw(found, sample=20, seed="a")
    assert drawn == draw(reversed(found), sample=20, seed="a")
    assert drawn != draw(found, sample=20, seed="b")


def test_sample_of_one_kind_has_no_other() -> None:
    """Only the chosen kinds are drawn; without a sample, all of them."""
    found = [*mutants("schema", "drop", 30), *mutants("code", "string", 30)]
    assert {one.kind for one in draw(found, sample=10, seed="a", kinds=("code",))} == {"code"}
    assert len(draw(found, sample=None, seed="a", kinds=("schema",))) == 30
