"""The vocabulary of the project: one word for one thing.

Owns the words and their meanings. The glossary of a report is made from them, and so is
docs/explanation/glossary.md: ``python -m gateproof_evidence.reports.glossary FILE`` writes it, and
a test compares the two.

Source: docs/reference/verdicts.md; outcomes are those of XCCDF 1.2, with TTCN-3's inconclusive.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Section:
    """Words that belong together."""

    title: str
    words: tuple[tuple[str, str], ...]
    """Word and meaning, in the order of reading."""
    in_report: bool = True


SECTIONS: tuple[Section, ...] = (
    Section(
        title="Claims and checks",
        words=(
            ("system under test", "The system that is judged. A `sut.toml` describes it."),
            ("criterion", "One claim about the system, with a permanent id and a severity."),
            ("catalogue", "The list of all criteria that a run is expected to judge."),
            ("gate", "The criteria of one subject, which block or release together."),
            (
                "feature",
                "A part of a system that its description has. A criterion names what it needs.",
            ),
            ("phase", "A stage of construction that is released and signed off as a whole."),
            ("check", "The pytest function that judges one criterion."),
            ("pack", "A set of gates that is shipped for one kind of system."),
        ),
    ),
    Section(
        title="Running and recording",
        words=(
            (
                "environment",
                "Where the system runs: `embedded` (child processes) or `containers`.",
            ),
            ("stack", "One database and the processes of the system that work on it."),
            ("probe", "The only way in which a check reads or acts on the system."),
            ("observation", "One timed record of what a probe sent and what came back."),
            ("capture", "The readable file of one observation. Its digest is signed."),
            ("redaction", "Replacing a secret by a placeholder, before anything is written."),
            ("canary", "A generated secret. A run that finds it in its evidence is refused."),
            ("writer", "One pytest process that runs checks and writes a journal."),
            ("journal", "The file of all records of a run. Every verdict follows from it."),
            ("shard", "The part of a run that one machine judges: checks with all their proofs."),
            ("merge", "Making one bundle of those of all shards. Verdicts are derived again."),
        ),
    ),
    Section(
        title="Outcomes",
        words=(
            ("pass", "The check ran to its end, observed the system and its claim held."),
            ("fail", "A claim of the check did not hold, or an assertion of its own failed."),
            (
                "error",
                "The check broke before it could judge. The cause names who is to blame.",
            ),
            (
                "inconclusive",
                "The check ended without a judgement, for example because a premise did not hold.",
            ),
            (
                "not applicable",
                "The system or the environment is known to lack what the check needs.",
            ),
            (
                "not checked",
                "No check came to an end for the criterion, or its shard is missing. It blocks.",
            ),
            (
                "not selected",
                "The run was asked for other criteria. The result is then partial at best.",
            ),
            (
                "not described",
                "The description lacks a key that the check needs. The message names it.",
            ),
        ),
    ),
    Section(
        title="Causes",
        words=(
            ("gate_violation", "Cause: the system under test breaks its claim."),
            ("harness_defect", "Cause: the tooling is wrong, the system was not judged."),
            ("environment_problem", "Cause: the place where the system runs did not answer."),
            ("to_investigate", "Cause: the records do not show who is to blame."),
        ),
    ),
    Section(
        title="Waivers",
        words=(
            (
                "waived",
                "A named person accepts this failure until a date. Only a fail can be waived.",
            ),
            ("waiver_expired", "The date has passed: the waiver covers nothing."),
        ),
    ),
    Section(
        title="Proofs",
        words=(
            (
                "premise",
                "A condition that must hold before a claim can be judged, such as seeded rows.",
            ),
            (
                "falsifier",
                "A change to a throw-away copy of the system that makes a criterion's claim false.",
            ),
            ("fault", "The part of a falsifier that makes the change."),
            ("landing", "The measured difference that shows that a fault took effect."),
            (
                "proof",
                "A check on a copy: green before the fault, red after it, as predicted.",
            ),
            ("proven", "The falsifier landed, and the check had the predicted finding."),
            ("blind", "The claim was made false and the check stayed green: it proves nothing."),
            (
                "void",
                "It does not count: no landing, no green baseline, or red for another reason.",
            ),
            ("unproven", "No falsifier ran: the check was not shown able to fail."),
            ("kill matrix", "Every check of a gate against every falsifier of that gate."),
            ("self-proof", "The proof of the harness itself, by specimens with a known result."),
        ),
    ),
    Section(
        title="Results",
        words=(
            (
                "released",
                "Each criterion is a proven pass, does not apply, or fails under a valid waiver.",
            ),
            ("partial", "Everything that ran is clean, but the run left checks or proofs out."),
            ("blocked", "At least one criterion or proof stands in the way of a release."),
        ),
    ),
    Section(
        title="Bundles",
        words=(
            ("bundle", "The signed folder that holds one run, its evidence and its report."),
            (
                "transcript",
                "The readable text of what one check or one proof observed, in order.",
            ),
            ("seal", "To list, sign and close a bundle. Nothing can be added afterwards."),
            ("attestation", "The signed statement of a bundle: files, criteria and result."),
            ("verify", "To check that a bundle is whole, who signed it, and that it agrees."),
            ("sign-off", "A reviewer's signature over a sealed bundle."),
            ("baseline", "An earlier bundle with which a run is compared."),
        ),
    ),
    Section(
        title="Reference system",
        in_report=False,
        words=(
            ("tenant", "The customer to whom a row belongs. Policies keep tenants apart."),
            ("dead-letter row", "A row in the table of failed tasks: a task that failed for good."),
            ("replay", "To publish the task of a dead-letter row again, under a new task id."),
            ("spool", "The folder for dead-letter rows that the database cannot take now."),
        ),
    ),
)

GLOSSARY: tuple[tuple[str, str], ...] = tuple(
    (word, meaning.replace("`", ""))
    for section in SECTIONS
    if section.in_report
    for word, meaning in section.words
)
"""Word and meaning, as a report shows them."""

_INTRODUCTION = """\
# Glossary

One word for one thing: code, messages, reports and documentation use these words in these senses.
In files the names of outcomes have no blank: `notapplicable`, `notchecked`, `notselected`,
`notdescribed`.

This page is generated by `python -m gateproof_evidence.reports.glossary`; edit the words there.
"""


def glossary_page() -> str:
    """Return the page of the documentation: one table for each section."""
    parts = [_INTRODUCTION]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n\n| word | meaning |\n| --- | --- |")
        parts += [f"| {word} | {meaning} |" for word, meaning in section.words]
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(glossary_page(), encoding="utf-8")
