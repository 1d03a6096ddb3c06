"""Gate dlq: masking leaves exactly what a table says; the falsifiers change the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateproof import ProcessProbe, Sut, claim, criterion, falsified_by, premise, source
from system.gates.tables.reading import cases_of

TABLE = Path(__file__).with_name("table.yaml")
PROGRAM = Path(__file__).with_name("program.py")
MASKING = "system/dead_letters/masking.py"
GIVEN = ("text", "args", "kwargs")

LEFT = "what masking leaves"
"""Name of a claim that falsifiers predict."""


@criterion("DLQ-30")
@falsified_by(
    source(
        "harmless-name-ends-the-search",
        MASKING,
        "not self.is_sensitive(name):\n                continue",
        "not self.is_sensitive(name):\n                break",
    ),
    expect=(LEFT, "harmless name before", "got user=bob password=hunter22 x"),
)
@falsified_by(
    source(
        "task-inside-ends-its-object",
        MASKING,
        "masked[key] = self._items(list(item), parameters)\n                continue",
        "masked[key] = self._items(list(item), parameters)\n                break",
    ),
    expect=(LEFT, "task inside", ""),
)
@falsified_by(
    source(
        "result-before-the-arguments-forgotten",
        MASKING,
        "later if self.is_sensitive(later) else first",
        "first",
    ),
    expect=(LEFT, "task inside", ""),
)
@falsified_by(
    source(
        "values-of-a-list-not-remembered",
        MASKING,
        "            for item in value:\n                self._remember(item)\n",
        "            pass\n",
    ),
    expect=(LEFT, "values of a list", ""),
)
@falsified_by(
    source(
        "repeated-as-it-is-alone",
        MASKING,
        "        lambda text: json.dumps(text)[1:-1],\n",
        "",
    ),
    expect=(LEFT, "value as JSON has it", ""),
)
@falsified_by(
    source("four-are-few", MASKING, "SHORTEST_SECRET = 4", "SHORTEST_SECRET = 5"),
    expect=(LEFT, "value of four", ""),
)
def test_masking_leaves_what_the_table_says(machine: ProcessProbe, sut: Sut) -> None:
    """Of each text and argument of the table exactly the secret is gone."""
    cases = cases_of(TABLE)
    program, given = PROGRAM.read_text(encoding="utf-8"), [_given(case) for case in cases]
    done = machine.run(
        [sut.interpreter, "-c", program, json.dumps(given)], env={}, folder=sut.folder
    )
    premise("exit status of the program", got=done.exit_status, expected=0)
    results = json.loads(bytes.fromhex(done.output.strip().splitlines()[-1]))
    premise("answers", got=len(results), expected=len(given))
    for case, got in zip(cases, results, strict=True):
        claim(LEFT, on=case["case"], got=got, expected=_left(case))


def _given(case: dict[str, Any]) -> dict[str, Any]:
    return {key: case[key] for key in (*GIVEN, "declared", "as") if key in case}


def _left(case: dict[str, Any]) -> Any:
    """Return the expected result in the form of the program's."""
    kind = next(key for key in GIVEN if key in case)
    left = case.get("left", case[kind])
    return left if kind == "text" else {kind: left}
