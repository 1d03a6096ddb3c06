"""The figures of a mutation run, accepted survivors, the page, and the exit status."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateproof.proof.mutation.command import exit_status
from gateproof.proof.mutation.mutant import Mutant, Outcome, Status, Tried
from gateproof.proof.mutation.report.accepted import Accepted, load_accepted, unused
from gateproof.proof.mutation.report.page import lines, percent, render
from gateproof.proof.mutation.report.result import MutationResult, judged
from gateproof_evidence.errors import BadInputError

TODAY = date(2026, 11, 30)
DECISION = Accepted(
    mutant="code:string:*",
    reason="the texts of the command line are no promise",
    owner="platform",
    expires="2027-01-31",
)


def mutant(name: str, kind: str = "code", operator: str = "string") -> Mutant:
    """Return a mutant."""
    return Mutant(
        id=f"{kind}:{operator}:{name}",
        kind=kind,
        operator=operator,
        where=f"{name}.py:1",
        change=f"--- a\n+++ a\n-old {name}\n+new {name}",
    )


def outcome(of: Mutant, status: Status, seconds: float = 1.0) -> Outcome:
    """Return an outcome."""
    killed = {"criterion": "A-01", "claim": "price: got 1"} if status is Status.KILLED else {}
    return Outcome(mutant=of.id, status=status, duration_s=seconds, **killed)


def result(
    *pairs: tuple[Mutant, Status | None], decisions: tuple[Accepted, ...] = ()
) -> MutationResult:
    """Return the result of mutants with these states."""
    outcomes = [outcome(one, status) for one, status in pairs if status is not None]
    return MutationResult(
        system="shop <b>",
        commit="c" * 40,
        subject="s" * 64,
        environment="embedded",
        seed="",
        sample=None,
        shard="",
        bundle="",
        judged=judged([one for one, _ in pairs], outcomes, decisions, TODAY),
        refused={},
    )


def test_score_leaves_out_void_and_equivalent() -> None:
    """Three killed and one survivor are 75 %, whatever else there is."""
    found = result(
        *((mutant(f"k{number}"), Status.KILLED) for number in range(3)),
        (mutant("s"), Status.SURVIVED),
        (mutant("v"), Status.VOID),
        (mutant("e"), Status.EQUIVALENT),
        (mutant("m"), None),
    )
    total = found.total
    assert (total.mutants, total.killed, total.survived) == (7, 3, 1)
    assert (total.void, total.equivalent, total.missing) == (1, 1, 1)
    assert total.score == 0.75


def test_accepted_survivor_counts_as_survivor() -> None:
    """A decision changes which survivors are open, and no figure."""
    pairs = [(mutant("a"), Status.SURVIVED), (mutant("b", operator="number"), Status.SURVIVED)]
    found = result(*pairs, decisions=(DECISION,))
    assert found.total.survived == 2
    assert [one.mutant.id for one in found.open] == ["code:number:b"]
    assert found.total.score == 0.0


def test_expired_decision_accepts_nothing() -> None:
    """After its last day, a decision has no effect and is reported."""
    expired = DECISION.model_copy(update={"expires": "2026-11-29"})
    found = result((mutant("a"), Status.SURVIVED), decisions=(expired,))
    assert len(found.open) == 1
    assert unused([expired], ["code:string:a"], TODAY) == [
        "accepted code:string:*: expired on 2026-11-29"
    ]
    last_day = DECISION.model_copy(update={"expires": "2026-11-30"})
    assert not result((mutant("a"), Status.SURVIVED), decisions=(last_day,)).open


def test_decision_about_no_mutant_is_reported() -> None:
    """A decision that outlived its mutant is to be removed."""
    assert unused([DECISION], ["code:number:b"], TODAY) == [
        "accepted code:string:*: no mutant has this id; remove it"
    ]
    assert unused([DECISION], ["code:string:b"], TODAY) == []


def test_decision_matches_an_id_with_brackets() -> None:
    """The types of a function's arguments have brackets, which are no pattern here."""
    name = "schema:function-strictness:public.claim(uuid[],text)"
    decision = DECISION.model_copy(update={"mutant": name})
    assert decision.covers(name, TODAY)
    assert not decision.covers(name.replace("[]", "]"), TODAY)


def test_decisions_are_read_and_bad_ones_refused(tmp_path: Path) -> None:
    """A decision needs a reason of some length, an owner and a date."""
    path = tmp_path / "mutants.toml"
    assert load_accepted(path) == ()
    good = '[[accepted]]\nmutant = "a"\nreason = "a reason of more than twenty"\nowner = "b"\n'
    path.write_text(f"{good}expires = 2027-01-31\n", encoding="utf-8")
    assert load_accepted(path)[0].expires == "2027-01-31"
    for bad in (good, f'{good}expires = "soon"\n', f'{good}expires = "2027-01-31"\nmore = 1\n'):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(BadInputError):
            load_accepted(path)
    path.write_text(good.replace("a reason of more than twenty", "short"), encoding="utf-8")
    with pytest.raises(BadInputError, match="reason"):
        load_accepted(path)


@pytest.mark.parametrize(
    ("statuses", "fail_under", "limited", "expected"),
    [
        ([Status.KILLED, Status.VOID, Status.EQUIVALENT], None, False, 0),
        ([Status.KILLED, Status.SURVIVED], None, False, 1),
        ([Status.KILLED, Status.SURVIVED], 50.0, False, 0),
        ([Status.KILLED, Status.SURVIVED], 50.1, False, 1),
        ([Status.KILLED, None], None, True, 100),
        ([Status.KILLED, None], None, False, 103),
        ([Status.SURVIVED, None], None, True, 1),
        ([], 90.0, False, 0),
    ],
)
def test_exit_status(
    statuses: list[Status | None], fail_under: float | None, limited: bool, expected: int
) -> None:
    """A survivor fails the command, and a missing result is never a success."""
    found = result(*((mutant(str(number)), one) for number, one in enumerate(statuses)))
    assert exit_status(found, fail_under=fail_under, limited=limited) == expected


def test_percent_is_rounded_down() -> None:
    """100 % means that all are killed, and nothing else does."""
    assert percent(1999 / 2000) == "99.9 %"
    assert percent(1.0) == "100.0 %"
    assert percent(None) == "-"


def test_page_escapes_texts_of_the_system() -> None:
    """A name or a change of the system is text on the page, never markup."""
    hostile = mutant("<script>alert(1)</script>")
    page = render(result((hostile, Status.SURVIVED), (mutant("k"), Status.KILLED)))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "shop &lt;b&gt;" in page
    assert "A-01: price: got 1" in page


def test_lines_name_the_open_survivors_and_what_did_not_run() -> None:
    """A terminal shows where each open survivor is, and that the command continues."""
    unsettled = Outcome(
        mutant="code:string:u",
        status=Status.SURVIVED,
        duration_s=1.0,
        tried=(Tried(criterion="A-02", outcome="limit", duration_s=1.0, message="too long"),),
    )
    found = result((mutant("s"), Status.SURVIVED), (mutant("m"), None))
    with_unsettled = MutationResult(
        **{
            **found.__dict__,
            "judged": (*found.judged, *judged([mutant("u")], [unsettled], (), TODAY)),
        }
    )
    shown = "\n".join(lines(with_unsettled))
    assert "s.py:1: +new s (code:string:s)" in shown
    assert "with 1 of the survivors a check ended without a verdict" in shown
    assert "1 mutant not run; the same command continues" in shown
