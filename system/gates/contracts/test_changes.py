"""Gate contracts: a table of pairs of documents, each with the exact changes between them.

The command compares both directions of each pair in one interpreter. The falsifiers change the
comparison.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateproof import ProcessProbe, Sut, claim, criterion, falsified_by, source
from system.gates.calls import Command, Ended, run_commands

from .pairs import VERSIONS, cases, document, line

MODULE = "system.contracts"
SCHEMA, OPERATION, DOCUMENT = (
    f"system/contracts/comparison/{name}.py" for name in ("schema", "operation", "document")
)

CHANGES = "changes between the two versions"
STATUSES = "pairs whose exit status is another than that of their changes"
"""Names of claims that falsifiers predict."""


@criterion("CON-07")
@falsified_by(
    source("upper-bounds-not-compared", SCHEMA, "sorted(LOWER | UPPER)", "sorted(LOWER)"),
    expect=(CHANGES, "bound maxLength/changes", "got none"),
)
@falsified_by(
    source(
        "direction-of-a-narrowed-value-ignored",
        SCHEMA,
        "is_breaking = self.direction is Direction.REQUEST",
        "is_breaking = True",
    ),
    expect=(CHANGES, "bound minimum/changes", "breaking minimum-narrowed: POST /a/200"),
)
@falsified_by(
    source(
        "required-names-that-never-occur-count",
        SCHEMA,
        "for name in sorted(after - before - gone):",
        "for name in sorted(after - before):",
    ),
    expect=(CHANGES, "read-only field required/changes", "breaking required-added"),
)
@falsified_by(
    source(
        "growth-announced-too-late",
        SCHEMA,
        "announced = old.get(EXTENSIBLE)",
        "announced = new.get(EXTENSIBLE)",
    ),
    expect=(CHANGES, "enumeration that was announced not to grow/changes", "compatible enum"),
)
@falsified_by(
    source(
        "one-alternative-that-breaks-is-enough",
        SCHEMA,
        "if all(self._breaks(first",
        "if any(self._breaks(first",
    ),
    expect=(CHANGES, "alternatives reordered/changes", "alternative-removed"),
)
@falsified_by(
    source(
        "later-parameters-harmless",
        OPERATION,
        "            is_breaking=is_required,\n",
        "            is_breaking=False,\n",
    ),
    expect=(CHANGES, "required parameter added/changes", "compatible parameter-added"),
)
@falsified_by(
    source(
        "scopes-not-compared",
        OPERATION,
        "name in by and set(scopes) <= set(by[name]) for",
        "name in by for",
    ),
    expect=(CHANGES, "further scope demanded/changes", "got none"),
)
@falsified_by(
    source(
        "headers-of-answers-have-a-case",
        OPERATION,
        "now = {part.name.lower(): part for part in new.headers(after)}",
        "now = {part.name: part for part in new.headers(after)}",
    ),
    expect=(CHANGES, "header of a response becomes optional/back", "header-removed"),
)
@falsified_by(
    source(
        "base-path-compared-with-its-slash",
        DOCUMENT,
        '.path.rstrip("/")',
        ".path",
    ),
    expect=(CHANGES, "base path with a slash at its end/changes", "server-moved"),
)
@falsified_by(
    source(
        "breaks-anywhere-in-the-list",
        DOCUMENT,
        "return (not one.is_breaking, one.where,",
        "return (one.where,",
    ),
    expect=(CHANGES, "several changes/changes", "operation-added"),
)
@falsified_by(
    source(
        "breaks-do-not-end-with-1",
        "system/commands/contracts.py",
        "ctx.exit(EXIT_FINDINGS if breaks else 0)",
        "ctx.exit(0)",
    ),
    expect=(STATUSES, "table", "bound minimum"),
)
def test_changes_are_those_of_the_table(machine: ProcessProbe, sut: Sut, tmp_path: Path) -> None:
    """Each pair of the table has exactly its changes: kind, place, and whether a client breaks."""
    pairs = [(case, key) for case in cases() for key in VERSIONS]
    ended = run_commands(machine, sut, tmp_path, [_command(tmp_path, *pair) for pair in pairs])
    differing = []
    for (case, key), end in zip(pairs, ended, strict=False):
        on, expected = f"{case['name']}/{key}", case[key]
        claim(CHANGES, on=on, got=_changes(end), expected=expected)
        if end.status != any(one.startswith("breaking") for one in expected):
            differing.append(on)
    claim(STATUSES, on="table", got=differing, expected=[], over=ended)


def _command(folder: Path, case: Mapping[str, Any], key: str) -> Command:
    """Write both documents of a pair, and return the command that compares them."""
    words = ["diff", "--json"]
    for option, version in zip(("--old", "--new"), VERSIONS[key], strict=True):
        file = folder / f"{case['name'].replace('/', '-')} {version}.json"
        file.write_text(json.dumps(document(case, version)), encoding="utf-8")
        words += [option, str(file)]
    return Command(module=MODULE, words=words)


def _changes(end: Ended) -> list[str]:
    """Return the changes that a command printed, as lines of the table."""
    try:
        (changes,) = json.loads(end.output)["changes"].values()
        return [line(one) for one in changes]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"exit status {end.status}: {end.errors[-300:]}"]
