"""A reviewer's sign-off: its content, and how those in a bundle are read.

Owns the statement, the names of its files, and the check that it is about this bundle. Leaves the
signature's container to `gateproof_evidence.clients.ssh_keygen`, who may sign and how many must to
`gateproof_evidence.additions.reviewer`.

Source: design, "Sign-off"; docs/reference/sign-off.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from gateproof_evidence.additions.addition import LARGEST, MOST
from gateproof_evidence.clients.ssh_keygen import SshSignature
from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format.attestation import Predicate
from gateproof_evidence.format.canonical import DuplicateKeyError, canonical_json, read_json
from gateproof_evidence.format.layout import SIGNOFFS
from gateproof_evidence.format.tree import File
from gateproof_evidence.judging.phase import find_phase
from gateproof_evidence.model import Digest, PhaseId, Result, Run, Value
from gateproof_evidence.model.finding import Code, Finding
from gateproof_evidence.model.problem import first_problem

NAMESPACE = "gateproof-signoff@v1"
STATEMENT, SIGNATURE = ".json", ".json.sig"
WHOLE = "whole"

CLOCK_SKEW = dt.timedelta(minutes=5)
"""The allowed difference of a reviewer's clock from the signer's clock, and from ours."""

Identity = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f-\x9f,\"*?!]{1,256}$")]
"""One name as in ``allowed_signers``, not a pattern."""
Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", min_length=10, max_length=2000)]


class SignOffError(EvidenceError):
    """A file is not a sign-off."""


class Statement(Value):
    """The statement that a reviewer signs."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal["https://gateproof.dev/signoff/v1"] = Field(
        default="https://gateproof.dev/signoff/v1", alias="schema"
    )
    attestation: Digest
    """The digest of the bundle's ``attestation.dsse.json``."""
    report: Digest
    """The digest of ``data/report.html``, which the reviewer could read."""
    phase: PhaseId | None
    """The phase that is signed off; None for the whole run."""
    result: Result
    """The result of the phase, or of the run."""
    signer: Identity
    at: AwareDatetime
    """The time of signing, by the reviewer's own clock."""
    reservations: Words | None
    """Why it is signed although something is open."""

    @property
    def subject(self) -> str:
        """Return the phase, or ``whole``."""
        return self.phase or WHOLE

    def covers(self, phase: str | None) -> bool:
        """Return whether this signs off a phase; a sign-off of the whole run covers every phase."""
        return self.phase is None or self.phase == phase


@dataclass(frozen=True, kw_only=True)
class SignOff:
    """A statement with its signature, as stored in a bundle."""

    path: str
    content: bytes
    statement: Statement
    signature: SshSignature


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The bundle that sign-offs must be about."""

    attestation: Digest | None
    report: Digest | None
    predicate: Predicate | None
    """The attested statement; None unless its signature is valid."""
    run: Run | None


def format_signoff(statement: Statement) -> bytes:
    """Return a statement in its canonical form."""
    return canonical_json(statement.model_dump(mode="json", by_alias=True))


def parse_signoff(content: bytes) -> Statement:
    """Read a statement; refuse every form but the canonical one of `format_signoff`.

    Raises:
        EvidenceError: duplicate keys, unknown or missing fields, or bytes that differ.

    """
    try:
        statement = Statement.model_validate(read_json(content))
    except ValidationError as error:
        problem = first_problem(error)
        raise SignOffError(f"sign-off: {problem}") from error
    if format_signoff(statement) != content:
        raise SignOffError("sign-off: bytes: got another form, expected the canonical one")
    return statement


def place_of(content: bytes, statement: Statement, key: Digest) -> str:
    """Return the path of a statement by a key, without suffix; the content fixes all of it."""
    prefix = hashlib.sha256(content + key.encode("ascii")).hexdigest()[:16]
    return f"{SIGNOFFS}{statement.subject}-{prefix}"


def result_of(run: Run, phase: str | None) -> Result:
    """Return the result of a phase, or of the whole run.

    Raises:
        BadInputError: the run has no such phase.

    """
    return run.result if phase is None else find_phase(run, phase).result


def read_signoffs(files: Iterable[File]) -> tuple[tuple[SignOff, ...], tuple[Finding, ...]]:
    """Read ``signoffs/``, which must contain only pairs of a statement and its signature."""
    by_path = {file.path: file for file in files}
    found: list[SignOff] = []
    findings: list[Finding] = []
    for path in sorted(by_path):
        if path.endswith(STATEMENT):
            try:
                found.append(_read(path, by_path))
            except DuplicateKeyError as error:
                findings.append(
                    Finding(code=Code.JSON_DUPLICATE_KEY, path=path, message=str(error))
                )
            except EvidenceError as error:
                findings.append(_malformed(path, str(error)))
        elif not path.endswith(SIGNATURE):
            findings.append(_malformed(path, "name: got another, expected .json or .json.sig"))
        elif path.removesuffix(SIGNATURE) + STATEMENT not in by_path:
            findings.append(_malformed(path, "a signature without its statement; remove it"))
    return tuple(found), tuple(findings)


def compare_signoff(
    signoff: SignOff, subject: Subject, own_keys: frozenset[Digest], now: dt.datetime
) -> Iterator[Finding]:
    """Compare a sign-off with the bundle that contains it.

    Args:
        signoff: as read.
        subject: the bundle.
        own_keys: ids of the run's own key: the signer of a run cannot review it.
        now: the time by the verifier's clock.

    """
    statement = signoff.statement
    for field, got, expected in (
        ("attestation", statement.attestation, subject.attestation),
        ("report", statement.report, subject.report),
    ):
        if got != expected:
            message = f"{field}: got {got}, expected {expected}: signed for another bundle"
            yield Finding(code=Code.SIGNOFF_OTHER_BUNDLE, path=signoff.path, message=message)
    if subject.run is not None:
        yield from _compare_result(signoff, subject.run)
    if subject.predicate is not None:
        yield from _compare_time(signoff, subject.predicate.sealed, now)
    if signoff.signature.keyid in own_keys:
        message = "signed by the run's own key, expected a reviewer's"
        yield Finding(code=Code.SIGNOFF_OWN_KEY, path=signoff.path, message=message)


def _compare_result(signoff: SignOff, run: Run) -> Iterator[Finding]:
    statement = signoff.statement
    try:
        expected = result_of(run, statement.phase)
    except BadInputError:
        message = f"phase: got {statement.phase}, a phase that no criterion names"
        yield Finding(code=Code.SIGNOFF_RESULT, path=signoff.path, message=message)
        return
    if statement.result is not expected:
        message = f"result of {statement.subject}: got {statement.result}, expected {expected}"
        yield Finding(code=Code.SIGNOFF_RESULT, path=signoff.path, message=message)
    elif statement.result is not Result.RELEASED and statement.reservations is None:
        message = f"{statement.subject} is {statement.result}: got no reservations, expected some"
        yield Finding(code=Code.SIGNOFF_RESULT, path=signoff.path, message=message)


def _compare_time(signoff: SignOff, sealed: dt.datetime, now: dt.datetime) -> Iterator[Finding]:
    at = signoff.statement.at
    if not sealed - CLOCK_SKEW <= at <= now + CLOCK_SKEW:
        message = f"at: got {at}, expected a time since {sealed} (sealed) and until {now} (now)"
        yield Finding(code=Code.SIGNOFF_TIME, path=signoff.path, message=message)


def _read(path: str, files: Mapping[str, File]) -> SignOff:
    content = _content(files.get(path), path)
    statement = parse_signoff(content)
    name = path.removesuffix(STATEMENT) + SIGNATURE
    signature = SshSignature.from_bytes(_content(files.get(name), name))
    expected = place_of(content, statement, signature.keyid) + STATEMENT
    if path != expected:
        raise SignOffError(f"name: got {path}, expected {expected}")
    return SignOff(path=path, content=content, statement=statement, signature=signature)


def _content(file: File | None, path: str) -> bytes:
    if file is None:
        raise SignOffError(f"{path}: got no such file, expected the signature over the statement")
    if file.content is None:
        raise SignOffError(
            f"{path}: got {file.size} bytes, expected at most {LARGEST}, and {MOST} files in all"
        )
    return file.content


def _malformed(path: str, message: str) -> Finding:
    return Finding(code=Code.SIGNOFF_MALFORMED, path=path, message=message)
