"""The expectations of a bundle: each has a case that meets it and one that does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.attestation import Predicate, parse_statement
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.model import Bound
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.bundle import verify
from gateproof_evidence.verification.expectation import (
    Expectation,
    answer,
    parse_age,
    parse_commit,
    read_previous,
)
from tests.sample import COMMIT, SEALED

from .support import ATTESTATION, codes, reseal
from .test_cli import gateproof

NOW = SEALED + timedelta(days=2)


@pytest.fixture
def predicate(bundle: Path) -> Predicate:
    """Provide the attested statement."""
    return parse_statement(Envelope.from_bytes((bundle / ATTESTATION).read_bytes()).payload)


def test_answer_expects_nothing_by_default(predicate: Predicate) -> None:
    """Without an expectation there is no finding, not even for an untrusted statement."""
    assert list(answer(Expectation(), predicate, now=NOW)) == []
    assert list(answer(Expectation(), None, now=NOW)) == []


@pytest.mark.parametrize(
    ("good", "bad", "code", "message"),
    [
        pytest.param(
            Expectation(commit=COMMIT),
            Expectation(commit="a" * 40),
            "COMMIT_MISMATCH",
            f"commit: got {COMMIT}, expected {'a' * 40}",
            id="commit",
        ),
        pytest.param(
            Expectation(max_age=timedelta(days=2)),
            Expectation(max_age=timedelta(days=2, seconds=-1)),
            "TOO_OLD",
            "got an age of 2 days, 0:00:00, expected at most 1 day, 23:59:59",
            id="age",
        ),
    ],
)
def test_answer_compares_the_statement_with_the_expectation(
    predicate: Predicate, good: Expectation, bad: Expectation, code: str, message: str
) -> None:
    """A met expectation gives no finding; an unmet one gives a finding with both values."""
    assert list(answer(good, predicate, now=NOW)) == []
    [finding] = answer(bad, predicate, now=NOW)
    assert (finding.code, finding.path) == (code, ATTESTATION)
    assert message in finding.message


@pytest.mark.parametrize(
    ("dirty", "message"),
    [(True, "got uncommitted changes"), (None, "got no commit to compare with")],
)
def test_answer_requires_a_tree_that_is_known_to_be_clean(
    predicate: Predicate, dirty: bool | None, message: str
) -> None:
    """A dirty tree is refused, and so is one of unknown state."""
    asked = Expectation(clean=True)
    assert list(answer(asked, predicate, now=NOW)) == []
    [finding] = answer(asked, predicate.model_copy(update={"dirty": dirty}), now=NOW)
    assert finding.code == "NOT_CLEAN"
    assert message in finding.message


def test_answer_refuses_a_time_in_the_future(predicate: Predicate) -> None:
    """A time of sealing in the future is refused, beyond minutes of clock skew."""
    asked = Expectation(max_age=timedelta(days=1))
    assert list(answer(asked, predicate, now=SEALED - timedelta(minutes=5))) == []
    [finding] = answer(asked, predicate, now=SEALED - timedelta(minutes=6))
    assert finding.code == "SEALED_IN_FUTURE"


def test_answer_follows_the_chain_to_the_previous_bundle(bundle: Path, key: RunKey) -> None:
    """The attested previous must be the digest of the named bundle's own attestation."""
    previous = read_previous(bundle)
    asked = Expectation(previous=previous)
    assert codes(verify(bundle, expect=asked)) == {("CHAIN_MISMATCH", ATTESTATION)}
    run = bundle / "data/run.json"
    run.write_text(run.read_text().replace('"previous": null', f'"previous": "{previous}"'))
    reseal(bundle, key, claims={"previous": previous})
    # The report does not show the previous bundle, which is the only remaining finding.
    assert codes(verify(bundle, expect=asked)) == {("REPORT_MISMATCH", "data/report.html")}


def test_answer_trusts_no_statement_with_an_invalid_signature(bundle: Path) -> None:
    """Every expectation of a bundle that another key signed has its own finding."""
    asked = Expectation(
        released=True,
        commit=COMMIT,
        clean=True,
        max_age=timedelta(days=3),
        previous=f"sha256:{'0' * 64}",
    )
    found = verify(bundle, key=RunKey.ephemeral().public_pem, expect=asked, now=NOW)
    unmet = {finding.code for finding in found.findings if "cannot be trusted" in finding.message}
    assert unmet == {
        "NOT_RELEASED",
        "COMMIT_MISMATCH",
        "NOT_CLEAN",
        "TOO_OLD",
        "SEALED_IN_FUTURE",
        "CHAIN_MISMATCH",
    }


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("30s", timedelta(seconds=30)),
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_age_is_a_number_and_a_unit(text: str, age: timedelta) -> None:
    """Each unit has its usual meaning."""
    assert parse_age(text) == age


@pytest.mark.parametrize(
    "text", ["", "7", "d", "0d", "-1d", "7 d", "7D", "1.5d", "7d7d", "9999999d"]
)
def test_age_refuses_any_other_form(text: str) -> None:
    """An ambiguous age, or an age of zero, is bad input."""
    with pytest.raises(BadInputError, match="--max-age: got"):
        parse_age(text)


@pytest.mark.parametrize("text", ["", "abc1234", "A" * 40, "g" * 40, f"{'a' * 40}\n"])
def test_commit_is_a_full_id(text: str) -> None:
    """An abbreviation is refused, because two commits could share it."""
    assert parse_commit(COMMIT) == COMMIT
    with pytest.raises(BadInputError, match="--expect-commit: got"):
        parse_commit(text)


def test_previous_is_read_through_no_link(bundle: Path, tmp_path: Path) -> None:
    """An attestation that is a link or is missing is bad input."""
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ATTESTATION).symlink_to(bundle / ATTESTATION)
    for folder in (tmp_path / "linked", tmp_path / "absent"):
        with pytest.raises(BadInputError, match="--previous: got"):
            read_previous(folder)


def test_verify_command_checks_the_expectations_of_its_options(bundle: Path) -> None:
    """Every option reaches its check, and all findings are reported at once."""
    commit = "a" * 40
    done = gateproof(
        *("verify", bundle, "--require-released", "--expect-commit", commit, "--require-clean"),
        *("--max-age", "1s", "--previous", bundle),
    )
    assert done.exit_code == 1
    found_codes = {
        line.partition(" ")[0] for line in done.output.splitlines() if ATTESTATION in line
    }
    assert found_codes == {"NOT_RELEASED", "COMMIT_MISMATCH", "TOO_OLD", "CHAIN_MISMATCH"}
    good = gateproof("verify", bundle, "--expect-commit", COMMIT, "--require-clean")
    assert good.exit_code == 0, good.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-age", "soon"), "--max-age: got 'soon'"),
        (("--expect-commit", "HEAD"), "--expect-commit: got 'HEAD'"),
        (("--previous", "no-such-bundle"), "no-such-bundle/attestation.dsse.json: --previous: got"),
    ],
)
def test_verify_command_refuses_invalid_expectations(
    bundle: Path, arguments: tuple[str, str], message: str
) -> None:
    """An expectation that cannot be read is bad input, never ignored."""
    done = gateproof("verify", bundle, *arguments)
    assert done.exit_code == 4
    assert message in done.stderr


OTHER_COMMIT = "a" * 40
EXPECTS = Expectation(commit=COMMIT, clean=True)
ORIGINS: dict[str, dict[str, object]] = {
    "other code": {"part": "other code", "path": "evil.py", "commit": OTHER_COMMIT},
    "installed checks": {
        "part": "checks",
        "path": "pack",
        "commit": None,
        "distribution": "pack",
        "version": "1.0",
        "record": f"sha256:{'2' * 64}",
    },
}


@pytest.mark.parametrize("kind", ORIGINS)
def test_answer_expects_what_judges_to_be_of_the_commit(predicate: Predicate, kind: str) -> None:
    """Other code of another commit, and checks of an installed pack, must be named."""
    digest = f"sha256:{'1' * 64}"
    fields = {"digest": digest, "files": 1, "dirty": False, **ORIGINS[kind]}
    bound = (*predicate.bound, Bound.model_validate(fields))
    changed = predicate.model_copy(update={"bound": bound})
    [finding] = answer(EXPECTS, changed, now=NOW)
    assert finding.code == "COMMIT_MISMATCH"
    assert f"got {bound[-1].title} of" in finding.message
    named = Expectation(commit=COMMIT, checks=(predicate.bound[0].digest, digest))
    assert list(answer(named, changed, now=NOW)) == []
    same = bound[-1].model_copy(update={"commit": COMMIT})
    of_the_commit = predicate.model_copy(update={"bound": (*predicate.bound, same)})
    assert list(answer(EXPECTS, of_the_commit, now=NOW)) == []


def test_answer_expects_a_commit_of_recorded_checks(predicate: Predicate) -> None:
    """A bundle that does not record its checks does not show that those of a commit judged."""
    [finding] = answer(
        Expectation(commit=COMMIT), predicate.model_copy(update={"bound": ()}), now=NOW
    )
    assert (finding.code, "does not record them" in finding.message) == ("COMMIT_MISMATCH", True)
