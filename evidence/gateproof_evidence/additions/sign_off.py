"""A reviewer's sign-off: what it says, and reading those that lie in a bundle.

Owns the statement, the names of its files, and whether it is about this bundle. Leaves the
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
from gateproof_evidence.format.problem import first_problem
from gateproof_evidence.format.tree import File
from gateproof_evidence.judging.phase import find_phase
from gateproof_evidence.model import Digest, Result, Run, Value
from gateproof_evidence.model.finding import Code, Finding

NAMESPACE = "gateproof-signoff@v1"
STATEMENT, SIGNATURE = ".json", ".json.sig"
WHOLE = "whole"

CLOCK_SKEW = dt.timedelta(minutes=5)
"""How far a reviewer's clock may be from the one that sealed, and from ours."""

Identity = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f-\x9f,\"*?!]{1,256}$")]
"""As in ``allowed_signers``: one name, no pattern."""
Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", min_length=10, max_length=2000)]


class SignOffError(EvidenceError):
    """A file is no sign-off."""


class Statement(Value):
    """What a reviewer signs."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal["https://gateproof.dev/signoff/v1"] = Field(
        default="https://gateproof.dev/signoff/v1", alias="schema"
    )
    attestation: Digest
    """Of the bundle's ``attestation.dsse.json``."""
    report: Digest
    """Of ``data/report.html``: what the reviewer could read."""
    phase: Annotated[str, Field(pattern=r"^B[0-9]{1,9}(\.[0-9]{1,9})+$")] | None
    """The phase that is signed off; None for the whole run."""
    result: Result
    """What the phase, or the run, came to."""
    signer: Identity
    at: AwareDatetime
    """By the reviewer's own clock."""
    reservations: Words | None
    """Why it is signed all the same, or what is left open."""

    @property
    def subject(self) -> str:
        """The phase, or ``whole``."""
        return self.phase or WHOLE

    def covers(self, phase: str | None) -> bool:
        """Say whether this is a sign-off of a phase, or of the whole: which covers every phase."""
        return self.phase is None or self.phase == phase


@dataclass(frozen=True, kw_only=True)
class SignOff:
    """A statement with its signature, as they lie in a bundle."""

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
    """What was attested; None unless the signature over it holds."""
    run: Run | None


def format_signoff(statement: Statement) -> bytes:
    """Write a statement in its one spelling."""
    return canonical_json(statement.model_dump(mode="json", by_alias=True))


def parse_signoff(content: bytes) -> Statement:
    """Read a statement, refusing every spelling but the one that `format_signoff` gives.

    Raises:
        EvidenceError: duplicate keys, unknown or missing fields, or bytes that differ.

    """
    try:
        statement = Statement.model_validate(read_json(content))
    except ValidationError as error:
        problem = first_problem(error)
        raise SignOffError(f"sign-off: {problem}") from error
    if format_signoff(statement) != content:
        raise SignOffError("sign-off: bytes: got another spelling, expected ours")
    return statement


def place_of(content: bytes, statement: Statement, key: Digest) -> str:
    """Return where a statement by a key lies, without the ending: nothing of the name is free."""
    mark = hashlib.sha256(content + key.encode("ascii")).hexdigest()[:16]
    return f"{SIGNOFFS}{statement.subject}-{mark}"


def result_of(run: Run, phase: str | None) -> Result:
    """Return what a phase, or the whole run, came to.

    Raises:
        BadInputError: the run has no such phase.

    """
    return run.result if phase is None else find_phase(run, phase).result


def read_signoffs(files: Iterable[File]) -> tuple[tuple[SignOff, ...], tuple[Finding, ...]]:
    """Read what lies in ``signoffs/``: pairs of a statement and its signature, and nothing else."""
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
    """Compare a sign-off with the bundle that it lies in.

    Args:
        signoff: as read.
        subject: the bundle.
        own_keys: ids of the run's own key: who ran cannot review.
        now: the verifier's clock.

    """
    said = signoff.statement
    for field, got, expected in (
        ("attestation", said.attestation, subject.attestation),
        ("report", said.report, subject.report),
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
    said = signoff.statement
    try:
        expected = result_of(run, said.phase)
    except BadInputError:
        message = f"phase: got {said.phase}, which no criterion names"
        yield Finding(code=Code.SIGNOFF_RESULT, path=signoff.path, message=message)
        return
    if said.result is not expected:
        message = f"result of {said.subject}: got {said.result}, expected {expected}"
        yield Finding(code=Code.SIGNOFF_RESULT, path=signoff.path, message=message)
    elif said.result is not Result.RELEASED and said.reservations is None:
        message = f"{said.subject} is {said.result}: got no reservations, expected them said"
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
