"""Gate taxonomy: a waiver releases a failure until its last day, and not a day longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateproof import claim, criterion, falsified_by, source

from .miniature import LIMIT_S, NO_PROOFS, MiniatureRunner

FAILING = """
@criterion("MIN-01")
def test_waived_once(commands, sut):
    observe(commands, sut)
    claim("sum of the miniature", got=1, expected=2)

@criterion("MIN-02")
def test_waived_still(commands, sut):
    observe(commands, sut)
    claim("sum of the miniature", got=1, expected=2)
"""

WAIVER = """
[[waiver]]
criterion = "{id}"
reason = "the miniature fails on purpose"
owner = "gate taxonomy"
expires = "{last_day}"
"""

EXPECTED = (("MIN-01", "expired waiver", "waiver_expired"), ("MIN-02", "valid waiver", "waived"))


@criterion("TAX-07", limit_s=LIMIT_S)
@falsified_by(
    source(
        "honour-a-waiver-for-ever",
        "gateproof_evidence/judging/verdict.py",
        "expired = date.fromisoformat(waiver.expires) < today",
        "expired = False",
        tree="harness",
    ),
    expect=("disposition of the failure", "expired waiver", "got waived"),
)
@falsified_by(
    source(
        "release-under-any-waiver",
        "gateproof_evidence/judging/result.py",
        "return RELEASED if verdict.disposition is Disposition.WAIVED else VIOLATION",
        "return RELEASED if verdict.disposition is not Disposition.NONE else VIOLATION",
        tree="harness",
    ),
    expect=("exit status of the run", "expired and valid waiver", "got 100"),
)
def test_expired_waiver_waives_nothing(miniatures: MiniatureRunner) -> None:
    """A failure is waived until its waiver's last day; with an expired waiver the run exits 1."""
    today = datetime.now(UTC).date()
    days = {"MIN-01": today - timedelta(days=1), "MIN-02": today + timedelta(days=1)}
    waivers = "".join(WAIVER.format(id=one, last_day=day) for one, day in days.items())
    ran = miniatures.run(FAILING, ids=tuple(days), arguments=NO_PROOFS, waivers=waivers)
    for identifier, what, expected in EXPECTED:
        disposition = ran.verdict(identifier).get("disposition")
        claim("disposition of the failure", on=what, got=disposition, expected=expected)
    claim(
        "exit status of the run", on="expired and valid waiver", got=ran.exit_status, expected=1
    )  # a violation
