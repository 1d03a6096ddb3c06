"""The words of a report, explained where they are used.

Source: docs/reference/verdicts.md; outcomes are XCCDF 1.2's, with TTCN-3's inconclusive.
"""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("released", "Every criterion passes and nothing stands in the way."),
    ("partial", "What ran is clean, but a selection or missing proofs leave the rest unsaid."),
    ("blocked", "At least one criterion or proof stands in the way of a release."),
    ("pass", "The check ran to its end, observed the system and its claim held."),
    ("fail", "The check's claim did not hold: an assertion in the check itself failed."),
    ("error", "The check broke before it could judge: the harness or the environment is to blame."),
    ("inconclusive", "The check ended without a judgement, for one because its limit ran out."),
    ("not applicable", "The environment cannot do what the check needs; the message says what."),
    ("not checked", "The criterion has no check that came to an end. It blocks."),
    ("not selected", "The run was asked for other criteria. The result is then partial at best."),
    ("gate_violation", "Cause: the system under test breaks its claim."),
    ("harness_defect", "Cause: the tooling is wrong, the system was not judged."),
    ("environment_problem", "Cause: the place where the system runs did not answer."),
    ("to_investigate", "Cause: what was recorded does not say who is to blame."),
    ("waived", "A named person accepts this failure until a date. Only a fail can be waived."),
    ("waiver_expired", "The date has passed: the waiver covers nothing."),
    (
        "proven",
        "The falsifier landed, and the check went red with the predicted message.",
    ),
    ("blind", "The claim was made false and the check stayed green: it proves nothing."),
    (
        "void",
        "It does not count: no landing, no green baseline, or red for another reason.",
    ),
    ("unproven", "No falsifier ran: the check was not shown able to fail."),
    (
        "falsifier",
        "A change to a throw-away copy of the system under which a criterion's claim is false.",
    ),
    ("capture", "The readable record of one observation; its digest is part of what is signed."),
)
"""Word and meaning, in the order of reading."""
