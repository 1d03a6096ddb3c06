"""Gate contracts: a table of folders with mistakes, each with the exact findings of the rules.

The command reads all folders in one interpreter. The falsifiers change the reading and the rules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateproof import ProcessProbe, Sut, claim, criterion, falsified_by, source
from system.gates.calls import Command, Ended, run_commands

from .folders import finding, folders, summary, write

MODULE = "system.contracts"
READING, RULES = "system/contracts/reading", "system/contracts/rules"

FOUND, READ = "findings in the folder", "documents that were read"
STATUS = "exit status of the command"
"""Names of claims that falsifiers predict."""
REFERENCES = "references that cannot be followed, and those that are none"
VERSIONS, HOUSE = "released versions", "breaches of the house rules"
EXAMPLES = "examples that their schemas forbid"
MISTAKES = "documents that are not valid, and mistakes of valid ones"
FILES = "files that cannot be read"
"""Names of folders."""


@criterion("CON-08")
@falsified_by(
    source(
        "alias-read-as-a-copy",
        f"{READING}/document.py",
        "isinstance(event, AliasEvent)",
        "isinstance(event, type(None))",
    ),
    expect=(FOUND, FILES, "unreadable at /"),
)
@falsified_by(
    source(
        "infinite-numbers-taken",
        f"{READING}/document.py",
        "if isinstance(value, float) and not math.isfinite(value):",
        "if isinstance(value, float) and math.isnan(value):",
    ),
    expect=(FOUND, FILES, "validity infinite"),
)
@falsified_by(
    source(
        "part-of-another-name-replaces",
        f"{READING}/bundle.py",
        "if name in parts and self.homes",
        "if False and self.homes",
    ),
    expect=(FOUND, REFERENCES, "schemas/K"),
)
@falsified_by(
    source(
        "index-after-the-last",
        f"{READING}/document.py",
        "int(key) < len(found)",
        "int(key) <= len(found)",
    ),
    expect=(FOUND, REFERENCES, "IndexError"),
)
@falsified_by(
    source(
        "data-followed-as-references",
        f"{READING}/reference.py",
        'LITERALS = frozenset({"example", "const", "enum", "default", "value"})',
        'LITERALS = frozenset({"example", "const", "default", "value"})',
    ),
    expect=(FOUND, REFERENCES, "schemas/P/enum"),
)
@falsified_by(
    source(
        "keyword-not-walked",
        f"{READING}/schema.py",
        '"unevaluatedProperties", "propertyNames"',
        '"propertyNames"',
    ),
    expect=(FOUND, MISTAKES, "unknown-keyword"),
)
@falsified_by(
    source(
        "errors-documented-for-bodies-only",
        f"{RULES}/house.py",
        '    "with security": ("401",),\n',
    ),
    expect=(FOUND, HOUSE, "error house"),
)
@falsified_by(
    source(
        "forbidden-in-lists-unseen",
        f"{RULES}/examples.py",
        function="_misplaced",
        body="return\nyield ''",
    ),
    expect=(FOUND, EXAMPLES, "error examples"),
)
@falsified_by(
    source(
        "two-errors-of-an-example",
        f"{RULES}/examples.py",
        "MOST_SHOWN = 3",
        "MOST_SHOWN = 2",
    ),
    expect=(FOUND, EXAMPLES, "error examples"),
)
@falsified_by(
    source(
        "versions-between-not-compared",
        f"{RULES}/compatibility.py",
        "for older, newer in pairwise(same):",
        "for older, newer in ():",
    ),
    expect=(FOUND, VERSIONS, "error compatibility"),
)
@falsified_by(
    source(
        "digests-of-present-files-only",
        f"{RULES}/compatibility.py",
        "sorted(recorded.keys() | present.keys())",
        "sorted(present.keys())",
    ),
    expect=(FOUND, VERSIONS, "error compatibility"),
)
@falsified_by(
    source(
        "warnings-are-errors",
        f"{RULES}/compatibility.py",
        '            severity="warning",\n',
    ),
    expect=(FOUND, VERSIONS, "error compatibility same-number"),
)
@falsified_by(
    source(
        "versions-in-the-order-of-texts",
        f"{READING}/contract.py",
        "int(match[2]), patch",
        "int(match[2][0]), patch",
    ),
    expect=(FOUND, VERSIONS, "baseline-version at baselines/v1.10.0"),
)
def test_folders_have_the_findings_of_the_table(
    machine: ProcessProbe, sut: Sut, tmp_path: Path
) -> None:
    """Each folder has exactly its findings: rule, kind, place, and what was got and expected."""
    commands = []
    for number, entry in enumerate(folders()):
        root = tmp_path / f"folder-{number}"
        write(entry, root)
        rule = ["--rule", entry["rule"]] if "rule" in entry else []
        words = ["check", "--json", "--folder", str(root), *rule]
        commands.append(Command(module=MODULE, words=words))
    ended = run_commands(machine, sut, tmp_path, commands)
    for entry, end in zip(folders(), ended, strict=False):
        documents, findings = _report(end)
        claim(READ, on=entry["name"], got=documents, expected=entry["documents"])
        got, expected = _different(findings, entry["findings"])
        claim(FOUND, on=entry["name"], got=got, expected=expected)
        claim(STATUS, on=entry["name"], got=end.status, expected=entry["exit"])


def _report(end: Ended) -> tuple[list[str], list[str]]:
    """Return what a command read, and its findings, as lines of the table."""
    try:
        report: dict[str, Any] = json.loads(end.output)
        documents = [summary(one) for one in report["documents"]]
        return documents, [finding(one) for one in report["findings"]]
    except (ValueError, KeyError, TypeError):
        return [], [f"exit status {end.status}: {end.errors[-300:]}"]


def _different(got: list[str], expected: list[str]) -> tuple[list[str], list[str]]:
    """Return both lists from the first line on in which they differ, with a few lines after it."""
    pairs = zip(got, expected, strict=False)
    same = next(
        (place for place, (one, other) in enumerate(pairs) if one != other),
        min(len(got), len(expected)),
    )
    return got[same : same + 5], expected[same : same + 5]
