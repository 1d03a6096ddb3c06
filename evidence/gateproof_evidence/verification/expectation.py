"""The expectations of a verifier, in addition to integrity: step 10 of verification.

Owns the expectations and their check against the statement. A statement without a valid signature
meets none. The clock is passed in; the time of sealing is by the signer's clock.

Source: design, "Verification"; docs/reference/verification.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.format.catalogue import Catalogue
from gateproof_evidence.format.layout import ATTESTATION, JOURNAL, RUN
from gateproof_evidence.model import (
    OF_THE_COMMIT,
    Bound,
    CheckTakenOverEvent,
    Digest,
    Part,
    Record,
    Result,
    Run,
    TakenOverEvent,
)
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.model.text import duration, many, moment

CLOCK_SKEW = timedelta(minutes=5)
"""How far the signer's clock may be ahead of ours: machines of one team differ by seconds."""

LARGEST_ATTESTATION = 256 * 1024 * 1024
"""The most bytes of an earlier attestation that are read; 10,000 files take 3 MB."""

OTHER: Part = "other code"
"""The part of modules, ``conftest.py`` files and settings outside of the folders of checks."""

LISTED = 5
"""The most ids of a kind that a message lists."""

_AGE = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The expectations of a bundle; by default none."""

    released: bool = False
    """Whether a result other than ``released`` is a finding."""
    commit: str | None = None
    """The full id of the commit that must have been judged."""
    clean: bool = False
    """Whether a change in the judged tree, or in the files that judged it, is a finding."""
    max_age: timedelta | None = None
    """The highest age since sealing."""
    previous: Digest | None = None
    """Digest of the attestation of the bundle that must be the one before this."""
    catalogue: Catalogue | Digest | None = None
    """The criteria that the run must have been expected to judge, or their digest."""
    checks: tuple[Digest, ...] = ()
    """Digests of the folders of checks that must have judged the run, and no others; and of other
    code of any origin that is accepted."""
    thorough: bool = False
    """Whether a proof that shares a baseline is a finding; `answer_thorough` answers this."""
    fresh: bool = False
    """Whether something that was taken over is a finding; `answer_takeovers` answers this."""
    max_takeover_age: timedelta | None = None
    """The highest age of a check or proof that was taken over; `answer_takeovers` answers this."""
    report: bool = False
    """Whether a report that cannot be compared with its data is a finding; step 13 answers this."""


def parse_age(text: str, *, option: str = "--max-age") -> timedelta:
    """Read an age such as ``7d`` or ``12h``: a whole number of s, m, h, d or w.

    Args:
        text: the age.
        option: the option that it was given with, for the message.

    Raises:
        BadInputError: the text has another form.

    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise BadInputError(
            f"{option}: got {text!r}, expected a whole number and one of s, m, h, d, w, such as "
            "7d or 12h; correct it"
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_commit(text: str) -> str:
    """Return a full commit id unchanged.

    Raises:
        BadInputError: it is abbreviated, so that another commit could match, or not an id.

    """
    if _COMMIT.fullmatch(text) is None:
        raise BadInputError(
            f"--expect-commit: got {text!r}, expected a full id of 40 or 64 hexadecimal digits; "
            "git rev-parse HEAD prints it"
        )
    return text


def read_previous(bundle: Path) -> Digest:
    """Return the digest of an earlier bundle's attestation; that bundle is not verified here.

    Raises:
        BadInputError: the folder has no attestation that can be read.

    """
    path = bundle / ATTESTATION
    try:
        content = open_source(bundle).read(ATTESTATION, LARGEST_ATTESTATION + 1)
    except (OSError, BadInputError) as error:
        got = error.strerror if isinstance(error, OSError) else f"no bundle ({error})"
        raise BadInputError(
            f"{path}: --previous: got {got}, expected the attestation of a bundle; "
            "name the bundle before this one"
        ) from error
    if len(content) > LARGEST_ATTESTATION:
        raise BadInputError(
            f"{path}: --previous: got more than {LARGEST_ATTESTATION} bytes, expected an "
            "attestation; name the bundle before this one"
        )
    return digest_of(content)


def answer(
    expectation: Expectation, predicate: Predicate | None, *, now: datetime
) -> Iterator[Finding]:
    """Yield a finding for each expectation that the statement does not meet.

    Args:
        expectation: the expectations.
        predicate: the attested statement; None unless its signature is valid.
        now: the present time, aware.

    """
    for asked, code, judge in _QUESTIONS:
        if not asked(expectation):
            continue
        if predicate is None:
            message = "the statement cannot be trusted"
            yield Finding(code=code, path=ATTESTATION, message=message)
            continue
        message = judge(expectation, predicate, now)
        if message:
            yield Finding(code=code, path=ATTESTATION, message=message)


def answer_thorough(expectation: Expectation, run: Run | None) -> Iterator[Finding]:
    """Yield a finding if proofs share baselines and the expectation is that none does.

    Args:
        expectation: the expectations.
        run: the run as claimed, which step 9 derives again; None if it cannot be read.

    """
    if not expectation.thorough:
        return
    verdicts = run.criteria if run is not None else ()
    shared = [f"{v.id}:{p.falsifier}" for v in verdicts for p in v.proofs if p.baseline_of]
    if run is not None and run.falsify == "all" and not shared:
        return
    got = f"{len(shared)} proofs without one, such as {', '.join(shared[:LISTED])}"
    if run is None:
        got = "no run that can be read"
    elif run.falsify != "all":
        got = f"a run with {run.falsify} of the proofs"
    message = f"proofs with a baseline of their own: got {got}, expected all (--falsify=thorough)"
    yield Finding(code=Code.NOT_THOROUGH, path=RUN, message=message)


def answer_takeovers(
    expectation: Expectation, records: Iterable[Record] | None, *, now: datetime
) -> Iterator[Finding]:
    """Yield a finding if checks or proofs were taken over, or ran too long ago, against a wish.

    Args:
        expectation: the expectations.
        records: the journal; None if it cannot be read.
        now: the present time, aware.

    """
    if not expectation.fresh and expectation.max_takeover_age is None:
        return
    if records is None:
        message = "taken over: got no journal that can be read, expected one"
        yield Finding(code=Code.NOT_FRESH, path=JOURNAL, message=message)
        return
    ran = {_name(one): _ran(one) for one in records if isinstance(one, _TAKEN)}
    if expectation.fresh and ran:
        message = f"taken over: got {_some(ran)}, expected nothing (run with --fresh)"
        yield Finding(code=Code.NOT_FRESH, path=JOURNAL, message=message)
    limit = expectation.max_takeover_age
    old = {name: at for name, at in ran.items() if limit is not None and now - at > limit}
    if old:
        oldest = min(old.values())
        message = (
            f"taken over: got {_some(old)}, the oldest of {moment(oldest)}, expected at most "
            f"{limit} old"
        )
        yield Finding(code=Code.TAKEOVER_TOO_OLD, path=JOURNAL, message=message)


_TAKEN = (CheckTakenOverEvent, TakenOverEvent)


def _name(record: CheckTakenOverEvent | TakenOverEvent) -> str:
    proof = f":{record.falsifier}" if isinstance(record, TakenOverEvent) else ""
    return f"{record.criterion}{proof}"


def _ran(record: CheckTakenOverEvent | TakenOverEvent) -> datetime:
    return record.story.at if isinstance(record, TakenOverEvent) else record.ran


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{many(len(found), 'item')}, such as {', '.join(found[:LISTED])}"


# --- one function for each expectation; an empty message if it is met ---------------------------


def _released(_: Expectation, predicate: Predicate, __: datetime) -> str:
    if predicate.result is Result.RELEASED:
        return ""
    return f"got {predicate.result} (exit status {predicate.exit_status}), expected released"


def _commit(expectation: Expectation, predicate: Predicate, _: datetime) -> str:
    if predicate.commit != expectation.commit:
        return f"commit: got {predicate.commit or 'none'}, expected {expectation.commit}"
    if not _has_checks(predicate.bound):
        return f"checks: got a bundle that does not record them, expected {expectation.commit}"
    others = [one for one in predicate.bound if _is_of_another_commit(one, expectation)]
    got = ", ".join(f"{one.title} of {one.commit or 'no commit'}" for one in others)
    if not others:
        return ""
    advice = "; name the accepted checks, and other code that you accept, with --expect-checks"
    named = any(one.part in ("checks", OTHER) for one in others)
    return f"commit: got {got}, expected {expectation.commit}{advice * named}"


def _is_of_another_commit(bound: Bound, expectation: Expectation) -> bool:
    """Return whether a part belongs to the commit and is from another one, or from none.

    Installed checks are of no commit: anyone can make a distribution. Checks, other code and a
    catalogue that are expected by themselves may have any origin. The packages of gateproof and
    distributions with plugins belong to no commit of the system.
    """
    named = (
        (bound.part == "checks" and expectation.checks)
        or (bound.part == OTHER and bound.digest in expectation.checks)
        or (bound.part == "catalogue" and expectation.catalogue)
    )
    if named or bound.part not in (*OF_THE_COMMIT, OTHER):
        return False
    return bound.commit != expectation.commit


def _has_checks(bound: Iterable[Bound]) -> bool:
    return any(one.part == "checks" for one in bound)


def _clean(_: Expectation, predicate: Predicate, __: datetime) -> str:
    if predicate.dirty is not False:
        got = "uncommitted changes" if predicate.dirty else "no commit to compare with"
        return f"tree: got {got}, expected a clean tree"
    if not _has_checks(predicate.bound):
        return "checks: got a bundle that does not record them, expected files without changes"
    dirty = [one for one in predicate.bound if one.dirty is not False]
    got = ", ".join(f"{one.title} with {one.changes()}" for one in dirty)
    return f"files: got {got}, expected files without changes" if dirty else ""


def _catalogue(expectation: Expectation, predicate: Predicate, _: datetime) -> str:
    expected = expectation.catalogue
    assert expected is not None
    digest = expected if isinstance(expected, str) else expected.digest
    if predicate.catalogue_digest == digest:
        return ""
    message = f"catalogue: got {predicate.catalogue_digest}, expected {digest}"
    if isinstance(expected, str):
        return message
    return f"{message}: {_difference(predicate.criteria, expected.ids)}"


def _difference(got: Sequence[str], expected: Sequence[str]) -> str:
    """Return in words how the ids of a catalogue differ from those that were expected."""
    missing = [one for one in expected if one not in got]
    more = [one for one in got if one not in expected]
    parts = [
        f"{len(ids)} {word} ({', '.join(ids[:LISTED])}{', ...' if len(ids) > LISTED else ''})"
        for word, ids in (("missing", missing), ("not expected", more))
        if ids
    ]
    return ", ".join(parts) or "the same ids in another order, or with other words"


def _checks(expectation: Expectation, predicate: Predicate, _: datetime) -> str:
    accepted = {one.digest for one in predicate.bound if one.part == OTHER}
    got = sorted(one.digest for one in predicate.bound if one.part == "checks")
    expected = sorted(one for one in expectation.checks if one in got or one not in accepted)
    if got == expected:
        return ""
    return f"checks: got {', '.join(got) or 'none'}, expected {', '.join(expected)}"


def _max_age(expectation: Expectation, predicate: Predicate, now: datetime) -> str:
    assert expectation.max_age is not None
    age = now - predicate.sealed
    if age <= expectation.max_age:
        return ""
    return (
        f"sealed {moment(predicate.sealed)}: got an age of {duration(age)}, expected at most "
        f"{expectation.max_age}"
    )


def _future(_: Expectation, predicate: Predicate, now: datetime) -> str:
    if predicate.sealed - now <= CLOCK_SKEW:
        return ""
    return (
        f"sealed {moment(predicate.sealed)}: got a time in the future, expected one before "
        f"{moment(now)}"
    )


def _previous(expectation: Expectation, predicate: Predicate, _: datetime) -> str:
    if predicate.previous == expectation.previous:
        return ""
    got = predicate.previous or "none"
    return f"previous: got {got}, expected {expectation.previous}, the bundle that was named"


_Question = Callable[[Expectation, Predicate, datetime], str]
_QUESTIONS: tuple[tuple[Callable[[Expectation], bool], Code, _Question], ...] = (
    (lambda asked: asked.released, Code.NOT_RELEASED, _released),
    (lambda asked: asked.commit is not None, Code.COMMIT_MISMATCH, _commit),
    (lambda asked: asked.clean, Code.NOT_CLEAN, _clean),
    (lambda asked: asked.max_age is not None, Code.TOO_OLD, _max_age),
    (lambda asked: asked.max_age is not None, Code.SEALED_IN_FUTURE, _future),
    (lambda asked: asked.previous is not None, Code.CHAIN_MISMATCH, _previous),
    (lambda asked: asked.catalogue is not None, Code.CATALOGUE_MISMATCH, _catalogue),
    (lambda asked: bool(asked.checks), Code.CHECKS_MISMATCH, _checks),
)
