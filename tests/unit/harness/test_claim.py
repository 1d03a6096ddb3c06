"""Claims of a check: recorded, redacted, and raised together at its end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateproof import PremiseError, claim, premise
from gateproof.base.errors import EnvironmentProblemError, HarnessError, LimitError
from gateproof.probes.claims.claim import FindingsError, claims_of_check
from gateproof.probes.claims.statement import recorded_claims
from gateproof.probes.recorder import Recorder, Scope
from gateproof.run.stage import categorise
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.judging.claim import PredictedClaim, is_false
from gateproof_evidence.model import ClaimEvent
from gateproof_evidence.redaction.redactor import Redactor

SECRET = "correct-horse-battery"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A recorder in the scope of a check, and the file of its journal."""

    journal: Journal
    path: Path

    def read(self) -> list[ClaimEvent]:
        """Return the recorded claims."""
        self.journal.close()
        return [one for one in read_journal([self.path]) if isinstance(one, ClaimEvent)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A recorder that knows a secret, in the scope of a check."""
    redactor = Redactor()
    redactor.add_secret("password", SECRET)
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, writer="main", clock=lambda: dt.datetime.now(dt.UTC))
    recorder = Recorder(journal, redactor, tmp_path)
    with recorder.in_scope(Scope(part="check", item="t.py::test", criterion="X-1", gate="x")):
        yield Bench(journal=journal, path=path)


def run(check: Callable[[], object]) -> None:
    """Run a check as the harness does."""
    with claims_of_check():
        check()


def test_claims_are_raised_together_at_the_end(bench: Bench) -> None:
    """A check continues after a false claim, and fails once with every finding."""

    def check() -> None:
        assert not claim("rows", on="events", got=0, expected=3)
        assert claim("rows", on="jobs", got=3, expected=3)
        claim("rows", on="results", got={"b", "a"}, expected=set())

    with pytest.raises(FindingsError) as caught:
        run(check)
    assert str(caught.value).splitlines() == [
        "rows: events: got 0, expected 3 (and 1 more finding)",
        "rows: results: got a, b, expected none",
    ]
    assert categorise(caught.value)[0] == "assertion"
    assert [one.holds for one in bench.read()] == [False, True, False]


def test_true_claims_raise_nothing(bench: Bench) -> None:
    """A check with claims that hold ends without an exception, and each claim is recorded."""
    with claims_of_check():
        claim("rows", on="events", got=3, expected=3, over=[1, 2, 3])
    [found] = bench.read()
    assert (found.name, found.on, found.got, found.expected) == ("rows", "events", "3", "3")
    assert (found.over, found.holds, found.part) == (3, True, "check")


@pytest.mark.parametrize(
    "error", [PremiseError("no seed"), KeyError("x"), LimitError("90 s"), AssertionError("bare")]
)
def test_finding_survives_the_exception_that_follows_it(error: Exception) -> None:
    """A premise or an error after a false claim is listed next to the finding, which stays."""

    def check() -> None:
        claim("rows", on="events", got=0, expected=3)
        raise error

    with pytest.raises(FindingsError) as caught:
        run(check)
    assert str(caught.value).startswith("rows: events: got 0, expected 3; then ")
    assert type(error).__name__ in str(caught.value)
    assert caught.value.__cause__ is error


def test_problem_of_the_environment_is_no_finding() -> None:
    """A claim that is false before the environment breaks does not hide that it broke."""

    def check() -> None:
        claim("rows", on="events", got=0, expected=3)
        raise EnvironmentProblemError("no space left")

    with pytest.raises(EnvironmentProblemError):
        run(check)


def test_exception_without_a_finding_stays_as_it_is() -> None:
    """A premise that fails while all claims hold is inconclusive."""

    def check() -> None:
        claim("rows", got=3, expected=3)
        premise("seeded rows", got=0, expected=3)

    with pytest.raises(PremiseError):
        run(check)


def test_claim_over_no_object_is_a_premise_that_fails() -> None:
    """A claim about each of no objects would always hold."""
    with pytest.raises(PremiseError, match="got a claim over no object, expected at least one"):
        claim("tables without a policy", got=[], expected=[], over=[])


def test_claim_outside_of_a_check_fails_at_once() -> None:
    """Where no check collects claims, a false one is raised immediately."""
    with pytest.raises(FindingsError, match="rows: got 0, expected 3"):
        claim("rows", got=0, expected=3)


def test_claim_is_redacted_and_can_be_judged_again(bench: Bench) -> None:
    """A secret in a value is not written, and the record gives the same judgement."""

    def check() -> None:
        claim("log line", got=f"dsn {SECRET}", relation="lacks", expected="dsn")
        claim("lines with a secret", got=[f"a {SECRET}"], expected=[f"a {SECRET}"])

    with pytest.raises(FindingsError):
        run(check)
    assert SECRET not in bench.path.read_text(encoding="utf-8")
    assert [is_false(one) for one in bench.read()] == [True, False]


ONE, TWO = (f"ghp_{one * 36}" for one in "Aa")
"""Two tokens that one rule redacts."""


def test_claim_between_two_secrets_of_one_kind_is_judged_from_its_record(bench: Bench) -> None:
    """Secrets that differ still differ after redaction, and the same secret is still the same.

    The values alone decide: a record that says that such a claim holds is not believed.
    """

    def check() -> None:
        claim("token", got=ONE, expected=TWO)
        claim("token", got=TWO, expected=TWO)
        claim("token", got=ONE, relation="differs", expected=TWO)
        claim("tokens", got=[ONE, TWO], expected=[TWO, ONE])
        claim("tokens", got=[ONE, TWO, ONE], expected=[ONE, TWO, ONE])
        claim("token", got=TWO, relation="one_of", expected=[ONE, TWO])
        claim("tokens", got=[ONE], relation="contains", expected=TWO)

    with pytest.raises(FindingsError):
        run(check)
    recorded = bench.read()
    text = bench.path.read_text(encoding="utf-8")
    assert ONE not in text
    assert TWO not in text
    believed = [one.model_copy(update={"holds": True}) for one in recorded]
    judged = [not is_false(one) for one in believed]
    assert judged == [False, True, True, False, True, True, False]
    assert recorded[0].got == '"[redacted:vendor-token]"'
    assert recorded[0].expected == '"[redacted:vendor-token#2]"'
    assert recorded[1].got == '"[redacted:vendor-token]"'  # a number means nothing in another claim


def test_premise_between_two_secrets_is_recorded_with_distinct_values(bench: Bench) -> None:
    """A premise has the form of a claim, and its record the same property."""
    with pytest.raises(PremiseError):
        premise("token", got=ONE, expected=TWO)
    bench.journal.close()
    [line] = bench.path.read_text(encoding="utf-8").splitlines()
    assert "[redacted:vendor-token]" in line
    assert "[redacted:vendor-token#2]" in line


def test_claim_that_redaction_would_change_is_refused(bench: Bench) -> None:
    """A claim that holds only between the values themselves could not be judged again."""
    with pytest.raises(HarnessError, match="got values that redaction changes"):
        claim("password", got=f"x{SECRET}", relation="contains", expected=SECRET[:7])
    assert bench.read() == []


def test_claim_between_values_without_that_relation_is_a_defect_of_the_check() -> None:
    """A comparison that does not exist is no finding about the system."""
    with pytest.raises(HarnessError, match="relation at_most: got None and 2"):
        claim("seconds", got=None, relation="at_most", expected=2)


def test_claims_of_a_part_of_a_run_can_be_collected(bench: Bench) -> None:
    """The claims that are recorded in a block are those of the journal."""
    found: list[ClaimEvent] = []

    def check() -> None:
        claim("before", got=1, expected=1)
        with recorded_claims() as claims:
            claim("rows", got=0, expected=3)
        found.extend(claims)

    with pytest.raises(FindingsError):
        run(check)
    assert [one.name for one in found] == ["rows"]
    assert [one.name for one in bench.read()] == ["before", "rows"]


def test_predicted_finding_ends_the_check_with_the_findings_so_far(bench: Bench) -> None:
    """The check ends at the finding that its falsifier predicted, whatever handlers it has."""

    def check() -> None:
        claim("rows", on="a", got=0, expected=3)
        with suppress(Exception):
            claim("rows", on="b", got=1, expected=3)
        claim("rows", on="c", got=2, expected=3)

    predicted = PredictedClaim(name="rows", on="b", text="got 1", target="")
    with (
        recorded_claims(predicted.is_met_by) as claims,
        pytest.raises(FindingsError, match="rows: a: got 0, expected 3 \\(and 1 more finding\\)"),
    ):
        run(check)
    assert [one.on for one in claims] == ["a", "b"]
    assert [one.on for one in bench.read()] == ["a", "b"]


@pytest.mark.parametrize(
    "predicted",
    [
        PredictedClaim(name="rows", on="a", text="", target=""),
        PredictedClaim(name="rows", on="b", text="got 2", target=""),
        PredictedClaim(name="row", on="b", text="", target=""),
        PredictedClaim(name="rows", on="*", text="", target="c"),
    ],
    ids=["it-holds", "another-value", "another-name", "another-target"],
)
def test_other_claims_do_not_end_the_check(bench: Bench, predicted: PredictedClaim) -> None:
    """A claim that holds, or is not the predicted one, leaves the check to its end."""

    def check() -> None:
        claim("rows", on="a", got=3, expected=3)
        claim("rows", on="b", got=1, expected=3)
        claim("last", got=1, expected=1)

    with recorded_claims(predicted.is_met_by), pytest.raises(FindingsError):
        run(check)
    assert [one.name for one in bench.read()] == ["rows", "rows", "last"]


def test_claim_of_a_thread_does_not_end_the_check(bench: Bench) -> None:
    """Only the main thread can end a check: a thread states its claim, and continues."""

    def check() -> None:
        with ThreadPoolExecutor() as pool:
            holds = pool.submit(claim, "rows", got=1, expected=3).result()
        claim("claim of the thread", got=holds, expected=False)

    predicted = PredictedClaim(name="rows", on="", text="", target="")
    with recorded_claims(predicted.is_met_by), pytest.raises(FindingsError):
        run(check)
    assert [one.name for one in bench.read()] == ["rows", "claim of the thread"]
