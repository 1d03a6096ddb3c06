"""The results of every verifier over the whole corpus, for docs/reference/corpus.md.

``python -m tests.corpus.table`` measures and prints the page.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.corpus import verifiers
from tests.corpus.case import Case, read_corpus
from tests.corpus.recipe import Made, make
from tests.corpus.workshop import Workshop

OURS = ("gateproof verify", "verify.sh")
COLUMNS = (*OURS, *verifiers.OTHERS)
WORDS = {True: "refuses", False: "accepts", None: "–"}

HEAD = """\
# Forged bundles, and which verifiers refuse them

`tests/corpus/` has a folder for each way in which a bundle may be wrong: what was done, why it must
fail, the findings of `gateproof verify`, and whether `verify.sh`, which has only a shell, openssl
and sha256sum, refuses it too. The folders whose names end in `_pass` are valid bundles. This page
is the output of `python -m tests.corpus.table`; the tests compare it.

Each of the others does its own job: `sha256sum -c` checks the files that a manifest lists, bagit
(1.9) a bag, securesystemslib (1.6) and node's crypto a DSSE signature by a given key. The table
shows what is missed by relying on one of them alone. A dash means that it has nothing to check: an
archive, or a pipe, for which bagit would wait.
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The answers of the verifiers on one case."""

    case: Case
    made: Made
    findings: tuple[str, ...]
    refuses: Mapping[str, bool | None]
    """Verifier to whether it refuses; node runs once for all cases."""


def measure(case: Case, shop: Workshop) -> Measured:
    """Make a case's bundle and run every verifier but node."""
    made = make(case.recipe, shop, shop.folder / case.name)
    findings = verifiers.gateproof(made)
    ours = {"gateproof verify": bool(findings), "verify.sh": verifiers.script(made)}
    refuses = {**ours, **verifiers.others(made)}
    return Measured(case=case, made=made, findings=findings, refuses=refuses)


def node_answers(measured: Sequence[Measured]) -> Mapping[str, bool | None]:
    """Run node on every case."""
    answers = verifiers.node([one.made for one in measured])
    return {one.case.name: answer for one, answer in zip(measured, answers, strict=True)}


def page(measured: Sequence[Measured], node: Mapping[str, bool | None]) -> str:
    """Return the page."""
    rows = [(one.case, {**one.refuses, "node": node[one.case.name]}) for one in measured]
    return "\n".join([HEAD, *_summary(rows), "", *_table(rows), ""])


Row = tuple[Case, Mapping[str, bool | None]]


def _summary(rows: Sequence[Row]) -> list[str]:
    bad = [answers for case, answers in rows if case.must_fail]
    good = [answers for case, answers in rows if not case.must_fail]
    lines = [
        f"{len(bad)} bundles must fail, {len(good)} must pass:",
        "",
        "| verifier | must fail: refuses | accepts | nothing to check | must pass: accepts |",
        "|---|---|---|---|---|",
    ]
    for name in COLUMNS:
        counts = [sum(answers[name] is answer for answers in bad) for answer in (True, False, None)]
        passed = sum(answers[name] is False for answers in good)
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {passed} of {len(good)} |")
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [f"| case | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for case, answers in rows:
        link = f"[{case.title}](../../tests/corpus/{case.name}/README.md)"
        lines.append(f"| {link} | {' | '.join(WORDS[answers[name]] for name in COLUMNS)} |")
    return lines


def read_node(content: str, cases: Sequence[Case]) -> Mapping[str, bool | None]:
    """Return node's answers from the committed page, for machines without node."""
    meaning = {word: answer for answer, word in WORDS.items()}
    cells = {
        case.name: line.split(" | ")
        for line in content.splitlines()
        for case in cases
        if f"/{case.name}/README.md)" in line
    }
    return {name: meaning[row[-1].removesuffix(" |")] for name, row in cells.items()}


def main() -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp())
    try:
        shop = Workshop.open(folder)
        measured = [measure(case, shop) for case in read_corpus()]
        sys.stdout.write(page(measured, node_answers(measured)))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
