"""The difference of two runs: each rule of a regression, and changes that are none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateproof_evidence.cli import main
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.judging.difference import compare, regressions, standings
from gateproof_evidence.judging.judgement import Ending, judge
from gateproof_evidence.judging.phase import phases
from gateproof_evidence.judging.result import roll_up
from gateproof_evidence.model import (
    Baseline,
    Falsification,
    Outcome,
    Proof,
    Record,
    Regression,
    RegressionRule,
    Result,
    Run,
    RunEvent,
    Severity,
    Verdict,
)
from gateproof_evidence.reports.terminal import gate_lines
from gateproof_evidence.verification.baseline import read_baseline
from tests.sample import WAIVERS, fixed_key, judged, sample_catalogue, sealed, stage

Change = Callable[[Verdict], dict[str, Any]]


@pytest.fixture
def released(tmp_path: Path) -> Run:
    """Provide a released run: four criteria, each with one proof."""
    run = judged(stage(tmp_path / "released", failing=False))
    assert run.result is Result.RELEASED, "premise"
    return run


def changed(run: Run, name: str = "RLS-02", **fields: Any) -> Run:
    """Return a run with another verdict on one criterion, rolled up again."""
    verdicts = tuple(
        Verdict.model_validate({**v.model_dump(), **fields}) if v.id == name else v
        for v in run.criteria
    )
    return with_criteria(run, verdicts)


def with_criteria(run: Run, verdicts: tuple[Verdict, ...]) -> Run:
    """Return a run with other verdicts, rolled up again."""
    rolled = roll_up(verdicts, falsify=run.falsify)
    return run.model_copy(update={"criteria": verdicts, **vars(rolled)})


def rules(before: Run, after: Run) -> list[tuple[str, str | None, bool]]:
    """Return rule, criterion and left-out of each regression of a criterion."""
    found = regressions(standings(before), after.criteria, falsify=after.falsify)
    return [(one.rule.value, one.criterion, one.left_out) for one in found]


def proof(run: Run, **fields: Any) -> tuple[Proof, ...]:
    """Return the proofs of the criterion, with its proof changed."""
    [one] = next(v for v in run.criteria if v.id == "RLS-02").proofs
    return (one.model_copy(update=fields),)


# --- the rules -------------------------------------------------------------------------------


def test_equal_runs_have_no_difference(released: Run) -> None:
    """A run compared with itself has no regression and no change."""
    found = compare(released, released)
    assert not any(vars(found).values())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "fail"}, [("outcome", False)]),
        ({"outcome": "error"}, [("outcome", False)]),
        ({"outcome": "inconclusive"}, [("outcome", False)]),
        ({"outcome": "notchecked"}, [("outcome", False)]),
        ({"outcome": "notapplicable"}, [("outcome", False)]),
        ({"outcome": "notselected"}, [("outcome", True)]),
        ({"outcome": "notdescribed"}, [("outcome", False)]),
        ({"outcome": "fail", "disposition": "waiver_expired"}, [("outcome", False)]),
        ({"outcome": "fail", "disposition": "waived"}, []),
        ({"severity": "medium"}, [("severity", False)]),
        ({"phase": "B0.5.2"}, [("phase", False)]),
        ({"phase": "B0.10"}, [("phase", False)]),
        ({"phase": "B0.3"}, []),
        ({"statement": "Another claim, in other words"}, []),
        ({"falsification": "blind"}, [("falsification", False)]),
        ({"proofs": (), "falsification": "unproven"}, [("proof", False)]),
    ],
)
def test_change_of_a_criterion_is_a_regression_by_its_rule(
    released: Run, fields: dict[str, Any], expected: list[tuple[str, bool]]
) -> None:
    """Each kind of change from a proven pass has its rule, or is not a regression."""
    found = rules(released, changed(released, **fields))
    assert found == [(rule, "RLS-02", left_out) for rule, left_out in expected]


@pytest.mark.parametrize(
    ("before", "after", "regressed"),
    [
        (("notapplicable", "none"), ("fail", "none"), True),
        (("notapplicable", "none"), ("pass", "none"), False),
        (("fail", "waived"), ("fail", "waiver_expired"), True),
        (("fail", "waived"), ("notapplicable", "none"), False),
        (("fail", "none"), ("error", "none"), False),
        (("notselected", "none"), ("fail", "none"), False),
    ],
)
def test_only_a_criterion_that_held_or_was_excused_can_regress(
    released: Run, before: tuple[str, str], after: tuple[str, str], *, regressed: bool
) -> None:
    """An open criterion cannot regress; an excused one that opens is a regression."""
    runs = [
        changed(released, outcome=outcome, disposition=disposition)
        for outcome, disposition in (before, after)
    ]
    assert [rule for rule, *_ in rules(*runs)] == (["outcome"] if regressed else [])


@pytest.mark.parametrize(
    ("falsify", "result", "left_out"),
    [
        ("all", Falsification.BLIND, False),
        ("all", Falsification.VOID, False),
        ("all", Falsification.UNPROVEN, False),
        ("some", Falsification.UNPROVEN, True),
        ("none", Falsification.UNPROVEN, True),
        ("some", Falsification.BLIND, False),
    ],
)
def test_proof_that_is_no_longer_proven_is_lost(
    released: Run, falsify: str, result: Falsification, *, left_out: bool
) -> None:
    """It is marked as left out only if the run did not request it."""
    after = changed(released, proofs=proof(released, result=result), falsification=result)
    after = after.model_copy(update={"falsify": falsify})
    assert rules(released, after) == [("proof", "RLS-02", left_out)]


def test_proof_that_the_check_no_longer_names_is_lost(
    released: Run,
) -> None:
    """A renamed falsifier is one lost and one gained; the criterion stays proven."""
    after = changed(released, proofs=proof(released, falsifier="another"))
    assert after.result is Result.RELEASED, "premise: the roll-up alone detects nothing"
    assert rules(released, after) == [("proof", "RLS-02", False)]
    found = compare(released, after)
    assert found.proofs_lost == ("RLS-02:drop-policy",)
    assert found.proofs_gained == ("RLS-02:another",)


def test_proofs_of_a_failing_criterion_are_not_listed(released: Run) -> None:
    """A failing criterion is one regression, not one for each falsifier."""
    void = proof(released, result=Falsification.VOID)
    after = changed(released, outcome="fail", proofs=void, falsification="void")
    assert rules(released, after) == [("outcome", "RLS-02", False)]


def test_removed_criterion_is_a_regression_and_a_new_one_is_not(released: Run) -> None:
    """A criterion that the later catalogue lacks is a regression, a new one is not."""
    fewer = with_criteria(released, released.criteria[1:])
    assert fewer.result is Result.RELEASED, "premise: the roll-up alone detects nothing"
    assert rules(released, fewer) == [("vanished", "RLS-01", False)]
    assert rules(fewer, released) == []
    assert compare(fewer, released).appeared == ("RLS-01",)
    assert compare(released, fewer).vanished == ("RLS-01",)


def test_lost_release_is_a_regression(released: Run) -> None:
    """A defect that belongs to no criterion loses the release, which is a regression."""
    rolled = roll_up(released.criteria, defects=["no account"])
    after = released.model_copy(update=vars(rolled))
    [found] = compare(released, after).regressions
    assert (found.rule, found.criterion) == (RegressionRule.RELEASE, None)
    assert str(found) == "released before, blocked now (exit status 103)"


def test_difference_shows_changed_bindings(released: Run) -> None:
    """Commit, versions and catalogue that changed are shown; nonce and times are not."""
    bindings = released.bindings.model_copy(
        update={"commit": "e" * 40, "nonce": "other", "versions": {"celery": "5.8.0"}}
    )
    found = compare(released, released.model_copy(update={"bindings": bindings}))
    assert [(one.name, one.before[:6], one.after[:6]) for one in found.bindings] == [
        ("commit", "cccccc", "eeeeee"),
        ("versions.celery", "5.7.0", "5.8.0"),
        ("versions.psycopg", "3.2", "none"),
    ]
    assert found.regressions == ()


# --- the ratchet -----------------------------------------------------------------------------


def with_baseline(before: Run, staging: Path) -> tuple[list[Record], Baseline]:
    """Return the journal of a released run with a baseline."""
    baseline = Baseline(
        attestation=before.catalogue_digest,
        signer=before.catalogue_digest,
        commit="a" * 40,
        criteria=standings(before),
    )
    records = list(read_journal([staging / "data/journal.jsonl"]))
    [end] = [r for r in records if isinstance(r, RunEvent) and r.event == "ended"]
    ending = Ending.model_validate({**end.data, "baseline": baseline})
    changed_end = end.model_copy(update={"data": ending.model_dump(mode="json")})
    return [changed_end if record is end else record for record in records], baseline


def test_baseline_blocks_a_run_that_the_roll_up_would_release(
    released: Run, tmp_path: Path
) -> None:
    """A severity that was higher before blocks with 100, and is derived from the journal."""
    stricter = changed(released, severity=Severity.HIGH)
    catalogue = sample_catalogue()
    weaker = tuple(
        c.model_copy(update={"severity": Severity.LOW}) if c.id == "RLS-02" else c
        for c in catalogue.criteria
    )
    records, baseline = with_baseline(stricter, tmp_path / "released")
    found = judge(weaker, records, WAIVERS)
    assert (found.result, found.exit_status) == (Result.BLOCKED, 100)
    assert found.reasons == ("baseline: RLS-02: severity high before, low now",)
    assert found.baseline is not None
    assert found.baseline.attestation == baseline.attestation
    same = judge(catalogue.criteria, records, WAIVERS)
    assert (same.result, same.baseline and same.baseline.regressions) == (Result.RELEASED, ())


def test_baseline_changes_no_worse_status_and_no_partial_run(released: Run) -> None:
    """A failure still exits with 1; a selection still makes a run partial."""
    lost = Regression(rule=RegressionRule.OUTCOME, criterion="RLS-02", message="m")
    failed = changed(released, outcome="fail", cause="gate_violation")
    rolled = roll_up(failed.criteria, regressions=[lost])
    assert (rolled.exit_status, rolled.reasons[-1]) == (1, "baseline: RLS-02: m")
    partial = changed(released, outcome=Outcome.NOTSELECTED)
    left_out = lost.model_copy(update={"left_out": True})
    rolled = roll_up(partial.criteria, regressions=[left_out])
    assert (rolled.result, rolled.exit_status) == (Result.PARTIAL, 100)
    assert not any("baseline" in reason for reason in rolled.reasons)


def test_baseline_regression_is_shown_and_blocks_its_phase(released: Run, tmp_path: Path) -> None:
    """The terminal names the regression; the phase that lost a criterion is not released."""
    records, _ = with_baseline(changed(released, severity=Severity.HIGH), tmp_path / "released")
    weaker = tuple(
        c.model_copy(update={"severity": Severity.LOW}) for c in sample_catalogue().criteria
    )
    found = judge(weaker, records, WAIVERS)
    run = released.model_copy(update=vars(found))
    lines = [line.plain for line in gate_lines(run)]
    assert "baseline: RLS-02: severity high before, low now" in lines
    [phase] = phases(run)
    assert phase.result is Result.BLOCKED
    assert "baseline: RLS-02: severity high before, low now" in phase.in_the_way


def test_baseline_is_read_only_from_a_bundle_that_the_key_signed(tmp_path: Path) -> None:
    """A baseline needs the signer's key; another key or an altered byte is bad input."""
    bundle = sealed(tmp_path)
    read = read_baseline(bundle, fixed_key().public_pem)
    assert read.signer == fixed_key().keyid
    assert [one.id for one in read.criteria] == list(sample_catalogue().ids)
    with pytest.raises(BadInputError, match="WRONG_SIGNER"):
        read_baseline(bundle, fixed_key(2).public_pem)
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    (altered / "data" / "run.json").write_bytes(b"{}")
    with pytest.raises(BadInputError, match=r"--baseline: got .*expected a bundle that verifies"):
        read_baseline(altered, fixed_key().public_pem)


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Path, Path]:
    """Provide a released bundle and one with failures."""
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    return (
        sealed(tmp_path / "good", failing=False),
        sealed(tmp_path / "bad", failing=True),
    )


def test_diff_exits_1_on_a_regression_and_names_it(bundles: tuple[Path, Path]) -> None:
    """The command lists lost passes, proofs and the release; a waived failure is none."""
    done = CliRunner().invoke(main, ["diff", *map(str, bundles)])
    assert done.exit_code == 1, done.output
    assert "  RLS-02: pass, proven before, fail now: tenant A: got 5 rows" in done.output
    assert "  released before, blocked now (exit status 1)" in done.output
    assert "not verified by this command" in done.output
    document = json.loads(CliRunner().invoke(main, ["diff", "--json", *map(str, bundles)]).output)
    assert document["regressed"] is True
    outcomes = [one["criterion"] for one in document["regressions"] if one["rule"] == "outcome"]
    assert outcomes == ["RLS-02", "DLQ-02"], "DLQ-01 fails under a valid waiver"


def test_diff_exits_0_without_a_regression(bundles: tuple[Path, Path]) -> None:
    """From bad to good there are changes, but no regression."""
    good, bad = bundles
    done = CliRunner().invoke(main, ["diff", str(bad), str(good)])
    assert done.exit_code == 0, done.output
    assert "no regression" in done.output.splitlines()
    assert "  RLS-02: outcome fail → pass" in done.output


def test_diff_of_something_else_is_bad_input(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    """A folder without a run, and a missing argument, exit with 4."""
    for arguments in ([str(bundles[0]), str(tmp_path / "nowhere")], [str(bundles[0])]):
        done = CliRunner().invoke(main, ["diff", *arguments])
        assert done.exit_code == 4, done.output
