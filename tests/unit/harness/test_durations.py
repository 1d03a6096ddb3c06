"""The times of a run by step: they add up, and the file and the tables show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from gateproof.proof.durations import (
    durations_of,
    group_table,
    pace_line,
    step_table,
    wall_of,
    write_durations,
)
from gateproof.stack.stopwatch import ItemLabels, Reading, Stopwatch
from tests.unit.harness.test_run import result_of


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> Reading:
        """Return the moment; the processor is busy half of the time."""
        return Reading(self.at, self.at / 2, self.at * 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock that stopwatches read."""
    clock = Clock()
    monkeypatch.setattr(Reading, "now", clock.now)
    return clock


def proof(clock: Clock, watch: Stopwatch, falsifier: str, *, faulted_s: float) -> None:
    """Measure a proof: one second in pytest, two in its baseline, three of them in processes."""
    labels = ItemLabels(
        item=f"x.py::test_x[proof-{falsifier}]",
        gate="rls",
        criterion="RLS-01",
        falsifier=falsifier,
        fault_kind="sql",
    )
    with watch.item(labels):
        clock.at += 1
        with watch.step("baseline"):
            clock.at += 1
            with watch.step("processes"):
                clock.at += 3
            clock.at += 1
        with watch.step("faulted"):
            clock.at += faulted_s


@pytest.fixture
def content(clock: Clock) -> dict[str, Any]:
    """Give the durations of a check and of two proofs, in one process."""
    watch = Stopwatch()
    with watch.item(ItemLabels(item="self-proof::always-red")):
        clock.at += 0.5
    labels = ItemLabels(item="x.py::test_x", gate="rls", criterion="RLS-01")
    with watch.item(labels), watch.step("check"):
        clock.at += 2
    proof(clock, watch, "drop", faulted_s=4)
    proof(clock, watch, "disable", faulted_s=6)
    return durations_of([result_of(durations=tuple(watch.taken))], wall_s=30.0)


def texts(table: Table) -> dict[str, list[str]]:
    """Return the rows of a table by their first cell."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return {row[0]: list(row[1:]) for row in zip(*columns, strict=True)}


def test_time_of_a_step_excludes_the_steps_inside_it(content: dict[str, Any]) -> None:
    """The steps of an item add up to its time, for each of the three clocks."""
    slowest = content["items"][0]
    assert (slowest["falsifier"], wall_of(slowest)) == ("disable", 12.0)
    walls = {name: times["wall_s"] for name, times in slowest["steps"].items()}
    assert walls == {"pytest": 1.0, "processes": 3.0, "baseline": 2.0, "faulted": 6.0}
    assert sum(times["process_s"] for times in slowest["steps"].values()) == 6.0
    assert sum(times["machine_s"] for times in slowest["steps"].values()) == 24.0


def test_step_that_raises_ends_all_the_same(clock: Clock) -> None:
    """The time after an exception counts for the step outside."""
    watch = Stopwatch()

    def fail() -> None:
        with watch.step("baseline"):
            clock.at += 2
            raise ValueError("broken")

    with watch.item(ItemLabels(item="x")):
        with pytest.raises(ValueError, match="broken"):
            fail()
        clock.at += 1
    [taken] = watch.taken
    assert {name: times["wall_s"] for name, times in taken["steps"].items()} == {
        "pytest": 1.0,
        "baseline": 2.0,
    }


def test_step_outside_of_an_item_is_not_measured(clock: Clock) -> None:
    """The bring-up before the first item belongs to no item."""
    watch = Stopwatch()
    with watch.step("database"):
        clock.at += 5
    assert watch.taken == []


def test_real_clocks_move_forward() -> None:
    """On this machine, work takes wall time, time of the process and time of the machine."""
    before = Reading.now()
    while (after := Reading.now()).process_s < before.process_s + 0.05:
        sum(range(10_000))
    assert after.wall_s > before.wall_s
    assert after.machine_s > before.machine_s


def test_pace_is_the_wall_time_of_the_run_by_its_proofs(content: dict[str, Any]) -> None:
    """Checks and specimens count in the time and not in the number of proofs."""
    assert pace_line(content) == (
        "pace: 2 proofs in 30 s with 1 process: 15.00 s each; the slowest took 12.0 s "
        "(RLS-01:disable)"
    )


def test_tables_show_the_sums_by_step_kind_and_gate(content: dict[str, Any]) -> None:
    """Each step has the seconds of checks and proofs; each kind and gate those of its proofs."""
    steps = texts(step_table(content))
    assert steps["check"] == ["2.0", "0.0", "0.00", "0%", "0.0"]
    assert steps["faulted"] == ["0.0", "10.0", "5.00", "45%", "5.0"]
    assert "copy" not in steps
    groups = texts(group_table(content))
    assert list(groups) == ["kind sql", "gate rls"]
    assert groups["gate rls"] == ["2", "22.0", "11.00", "12.0"]


def test_tables_fit_into_80_columns(content: dict[str, Any]) -> None:
    """No cell is cut in the narrowest terminal that the summary is made for."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(step_table(content))
        console.print(group_table(content))
    assert "…" not in capture.get()


def test_file_has_every_item_with_its_process(content: dict[str, Any], tmp_path: Path) -> None:
    """The file is JSON: the slowest item first, each with the process that ran it."""
    path = tmp_path / "durations.json"
    write_durations(path, content)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert (read["processes"], read["checks"], read["proofs"], read["wall_s"]) == (1, 1, 2, 30.0)
    assert [item["process"] for item in read["items"]] == ["main"] * 4
    assert read["items"][-1]["item"] == "self-proof::always-red"
