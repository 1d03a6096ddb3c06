"""Which checks run with a mutant, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.proof.mutation.choosing.selection import (
    LIKELY,
    NEAR,
    POSSIBLE,
    SIMILAR,
    UNLIKELY,
    Chances,
    Recorded,
    changed_units,
    checks_of,
    read_recorded,
)
from gateproof.proof.mutation.generation import code_mutants
from gateproof.proof.mutation.judging.order import Order
from gateproof.proof.mutation.mutant import Candidate, Mutant, Outcome, Status, Tried
from gateproof.proof.mutation.store import Store, Task
from gateproof_evidence.errors import BadInputError

TEXT = "RATE = 3\n\n\ndef price(count):\n    return count > 3\n\n\ndef stock():\n    return 4\n"
FILE = "app/price.py"


def candidate(
    criterion: str,
    *,
    stack: bool = True,
    units: tuple[tuple[str, str], ...] = (),
    words: tuple[str, ...] = (),
) -> Candidate:
    """Return a check."""
    return Candidate(
        criterion=criterion,
        item=f"test.py::{criterion}",
        stack=stack,
        units=units,
        words=frozenset(words),
    )


def of_function(name: str) -> Mutant:
    """Return a mutant in a function of the text."""
    return next(one for one in code_mutants(TEXT, FILE) if one.function == name)


def test_changed_units_are_the_function_and_the_file() -> None:
    """A change in a function concerns nothing of the rest of the module."""
    assert changed_units(of_function("price"), TEXT) == {f"{FILE}:price"}
    assert changed_units(of_function(""), TEXT) == {f"{FILE}:"}


def test_checks_that_use_the_function_run() -> None:
    """Of the checks in the bundle, those run that used what changed; one that is new runs too."""
    recorded = Recorded(
        uses={
            "A-01": frozenset({f"{FILE}:price"}),
            "A-02": frozenset({f"{FILE}:stock", f"{FILE}:"}),
            "A-03": frozenset({FILE}),
            "A-04": frozenset({"other.py:"}),
        },
    )
    candidates = [candidate(f"A-0{number}") for number in range(1, 6)]
    found = checks_of(of_function("price"), TEXT, candidates, recorded)
    assert found == ("test.py::A-01", "test.py::A-05")


def test_schema_concerns_checks_on_a_migrated_database() -> None:
    """A check that works on no database, or migrates it itself, does not see the change."""
    mutant = Mutant(id="schema:x:y", kind="schema", operator="x", where="y", change="")
    found = checks_of(mutant, "", [candidate("A-01"), candidate("A-02", stack=False)], Recorded())
    assert found == ("test.py::A-01",)


def chances_of(
    mutant: Mutant, *candidates: Candidate, recorded: Recorded | None = None
) -> list[float]:
    """Return the chance of each check."""
    found = Chances(candidates=candidates, recorded=recorded or Recorded())
    return [found.of(one, mutant, TEXT) for one in candidates]


def test_chance_is_highest_for_a_check_with_a_falsifier_at_the_place() -> None:
    """First the same function, then the same file, then a check that uses little, then others."""
    many = frozenset({f"f{number}" for number in range(25)})
    found = chances_of(
        of_function("price"),
        candidate("A-05", units=((FILE, "price"),)),
        candidate("A-01", units=((FILE, "stock"),)),
        candidate("A-02", units=(("other.py", "price"),)),
        candidate("A-04"),
        recorded=Recorded(uses={"A-02": many, "A-03": frozenset()}),
    )
    assert found == [NEAR, LIKELY, pytest.approx(1 / 5), POSSIBLE]


def test_chance_in_a_variable_is_highest_for_a_check_with_a_falsifier_of_it() -> None:
    """Statements and tables are values of variables, which the whole module shares."""
    near, far = (candidate("A-01", units=((FILE, name),)) for name in ("RATE", "LIMIT"))
    assert chances_of(of_function(""), near, far) == [NEAR, LIKELY]


def test_chance_grows_with_rare_words_in_common() -> None:
    """A check that speaks of the changed line comes before one that has its usual words only."""
    mutant = of_function("price")  # return count > 3
    named = candidate("A-01", words=("price", "count", "return"))
    usual = candidate("A-02", words=("return",))
    other = candidate("A-03", words=("return", "tenant"))
    first, second, third = chances_of(mutant, named, usual, other)
    assert SIMILAR >= first > 2 * second
    assert second == third > POSSIBLE


def test_chance_for_the_schema_is_highest_for_a_check_with_a_falsifier_in_sql() -> None:
    """A check whose falsifiers change the database comes before one that only works on it."""
    with_sql = candidate("A-01").model_copy(update={"faults": ("source", "sql")})
    found = chances_of(schema_mutant("drop", 1), with_sql, candidate("A-02"))
    assert found == [POSSIBLE, UNLIKELY]


def test_second_call_in_a_folder_is_refused(tmp_path: Path) -> None:
    """Two calls at once would judge everything twice; after the first, the folder is free."""
    store = Store(folder=tmp_path)
    with store.locked(), pytest.raises(BadInputError, match="another mutation run"):
        store.locked().__enter__()
    with store.locked():
        pass


def test_bundle_without_a_journal_is_refused(tmp_path: Path) -> None:
    """A folder that is no bundle is bad input, and not a bundle without records."""
    with pytest.raises(BadInputError, match=r"--bundle: got no journal"):
        read_recorded(tmp_path)
    assert read_recorded(None) == Recorded()


def new_order(folder: Path, mutants: list[Mutant], durations_s: dict[str, float]) -> Order:
    """Return the order of three checks."""
    candidates = {one.item: one for one in map(candidate, ("A-01", "A-02", "A-03"))}
    groups = {one.id: one.group for one in mutants}
    return Order(
        store=Store(folder=folder), candidates=candidates, durations_s=durations_s, groups=groups
    )


def schema_mutant(operator: str, number: int) -> Mutant:
    """Return a mutant of the schema."""
    name = f"schema:{operator}:{number}"
    return Mutant(id=name, kind="schema", operator=operator, where="", change="")


def test_quickest_check_runs_first_without_experience(tmp_path: Path) -> None:
    """Of equal chances, the shortest time decides."""
    mutant = schema_mutant("drop", 1)
    times = {"test.py::A-01": 3.0, "test.py::A-02": 0.5, "test.py::A-03": 1.0}
    task = Task(mutant=mutant, checks=dict.fromkeys(times, 0.1))
    ordered = new_order(tmp_path, [mutant], times).of(task)
    assert ordered == ["test.py::A-02", "test.py::A-03", "test.py::A-01"]


def test_vain_tries_elsewhere_in_a_file_do_not_delay_a_check_with_a_falsifier_at_the_place(
    tmp_path: Path,
) -> None:
    """Only the checks without a falsifier there count other mutants of the file."""
    one, other, *_ = code_mutants(TEXT, FILE)
    times = {"test.py::A-01": 3.0, "test.py::A-02": 2.0, "test.py::A-03": 1.0}
    order = new_order(tmp_path, [one, other], times)
    names = ("A-01", "A-02")
    tried = tuple(Tried(criterion=name, outcome="pass", duration_s=1.0) for name in names)
    order.store.add(
        "gw1", Outcome(mutant=other.id, status=Status.SURVIVED, tried=tried, duration_s=2.0)
    )
    chances = {"test.py::A-01": NEAR, "test.py::A-02": LIKELY, "test.py::A-03": 0.1}
    assert order.of(Task(mutant=one, checks=chances)) == [
        "test.py::A-01",
        "test.py::A-03",
        "test.py::A-02",
    ]


def test_check_that_hung_with_a_mutant_keeps_its_usual_time(tmp_path: Path) -> None:
    """Its limit with the next mutant follows from its time without one."""
    order = new_order(tmp_path, [], {"test.py::A-01": 3.0})
    order.note("test.py::A-01", 30.0)
    assert order.usual_s("test.py::A-01") == 3.0


def test_check_that_killed_such_mutants_runs_first(tmp_path: Path) -> None:
    """Kills of another process move a slow check to the front, for mutants of that group only."""
    mutants = [schema_mutant("drop", number) for number in range(4)]
    other = schema_mutant("grant", 9)
    times = {"test.py::A-01": 3.0, "test.py::A-02": 0.5, "test.py::A-03": 1.0}
    order = new_order(tmp_path, [*mutants, other], times)
    for one in mutants[:3]:
        tried = tuple(
            Tried(criterion=name, outcome=end, duration_s=1.0)
            for name, end in (("A-02", "pass"), ("A-03", "pass"), ("A-01", "fail"))
        )
        outcome = Outcome(
            mutant=one.id, status=Status.KILLED, criterion="A-01", tried=tried, duration_s=3.0
        )
        Store(folder=tmp_path).add("another", outcome)
    checks = dict.fromkeys(times, 0.1)
    assert order.of(Task(mutant=mutants[3], checks=checks))[0] == "test.py::A-01"
    assert order.of(Task(mutant=other, checks=checks))[0] == "test.py::A-02"


def test_results_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    """A process that was killed while it wrote costs its last result, and no other."""
    store = Store(folder=tmp_path)
    for name in ("a", "b"):
        store.add("gw0", Outcome(mutant=name, status=Status.SURVIVED, duration_s=1.0))
    path = store.results / "gw0.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert [one.mutant for one in store.outcomes()] == ["a"]


def test_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    """A folder of another version is bad input that names the way out."""
    store = Store(folder=tmp_path)
    assert store.plan() is None
    store.plan_path.write_text('{"subject": 1, "more": 2}', encoding="utf-8")
    with pytest.raises(BadInputError, match=r"name another with --out"):
        store.plan()
