"""Make a reviewer's sign-off: write the statement, and have ssh-keygen sign it.

Owns the refusals before signing. Leaves the content of a sign-off to
`gateproof_evidence.additions.sign_off`, and private keys to ssh-keygen and its agent: this module
never reads one. Verification never imports this module.

Source: design, "Sign-off"; ssh-keygen(1), ``-Y sign``.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gateproof_evidence.additions.addition import add
from gateproof_evidence.additions.sign_off import (
    NAMESPACE,
    SIGNATURE,
    STATEMENT,
    Statement,
    format_signoff,
    parse_signoff,
    place_of,
    result_of,
)
from gateproof_evidence.clients.ssh_keygen import PROGRAM, Checker, SshSignature, run
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.opening import open_source
from gateproof_evidence.format.archive.source import Source
from gateproof_evidence.format.attestation import parse_statement
from gateproof_evidence.format.canonical import digest_of, read_json
from gateproof_evidence.format.envelope import Envelope
from gateproof_evidence.format.layout import ATTESTATION, REPORT, RUN
from gateproof_evidence.format.public_key import BYTE_ORDER_MARK, MARKS
from gateproof_evidence.model import Digest, Result, Run
from gateproof_evidence.model.problem import first_problem
from gateproof_evidence.verification.bundle import Verification, verify

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
Clock = Callable[[], dt.datetime]

_FEW = 5
"""The most findings that a refusal names."""


@dataclass(frozen=True, kw_only=True)
class Reviewer:
    """A person who signs, and their key."""

    signer: str
    """The name in the list of allowed signers."""
    key: Path
    """An SSH private key, or a public key whose private key the SSH agent has."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A statement that can be signed, and the bundle that it is about."""

    bundle: Source
    statement: Statement
    run: Run
    verified: Verification
    key: Path
    fingerprint: str | None
    """The fingerprint of the reviewer's key as ``ssh-keygen -l`` prints it; None if unreadable."""

    @property
    def content(self) -> bytes:
        """The bytes that are signed."""
        return format_signoff(self.statement)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """The parts of a bundle that a reviewer signs."""

    attestation: Digest
    report: Digest
    run: Run


def draft(
    bundle: Path,
    reviewer: Reviewer,
    *,
    phase: str | None,
    reservations: str | None,
    run_key: bytes | None,
    clock: Clock,
) -> Draft:
    """Return what a reviewer would sign; nothing is signed or written.

    1. The bundle must verify, with the key of the run where it is given.
    2. The run or phase must be released, or reservations must give the reason for signing it.
    3. The statement names the attestation and the report of this bundle.

    Args:
        bundle: the folder or the ZIP archive.
        reviewer: the person who signs.
        phase: the phase to sign off; None for the whole run.
        reservations: why the reviewer signs although something is open; None for none.
        run_key: the run's public key from outside the bundle.
        clock: returns the time of signing.

    Raises:
        BadInputError: the bundle does not verify, or is not released.

    """
    source = open_source(bundle)
    # 1
    verified = _verified(source, run_key)
    # 2, 3
    read = _read(source, verified)
    return Draft(
        bundle=source,
        statement=_state(source.path, read, reviewer.signer, phase, reservations, clock()),
        run=read.run,
        verified=verified,
        key=reviewer.key,
        fingerprint=_fingerprint(reviewer.key),
    )


def sign(made: Draft) -> str:
    """Sign a draft, and put it into the bundle.

    1. ssh-keygen signs; the signature must be valid, by a strong key, and not by the run's own.
    2. Statement and signature are put into ``signoffs/``, or next to an archive.

    Returns:
        The path of the statement inside the bundle.

    Raises:
        BadInputError: the key cannot sign.
        NotWritableError: files cannot be added to the bundle.

    """
    # 1
    _refuse_mark(made.key)
    signature = _sign(made.key, made.content)
    _refuse_bad(signature, made)
    # 2
    place = place_of(made.content, made.statement, signature.keyid)
    contents = {place + SIGNATURE: signature.armoured, place + STATEMENT: made.content}
    add(made.bundle, contents)
    return place + STATEMENT


def countersign(
    bundle: Path,
    reviewer: Reviewer,
    *,
    phase: str | None,
    reservations: str | None,
    run_key: bytes | None,
    clock: Clock,
) -> tuple[Statement, str]:
    """Sign off a bundle at once: `draft` and `sign`.

    Returns:
        The statement that was signed, and its path inside the bundle.

    """
    made = draft(
        bundle, reviewer, phase=phase, reservations=reservations, run_key=run_key, clock=clock
    )
    return made.statement, sign(made)


def _verified(bundle: Source, run_key: bytes | None) -> Verification:
    verified = verify(bundle, key=run_key)
    if not verified.ok:
        named = ", ".join(f"{one.code} {one.path}" for one in verified.findings[:_FEW])
        raise BadInputError(
            f"{bundle.path}: sign-off: got {len(verified.findings)} findings ({named}), expected a "
            "bundle that verifies; gateproof verify lists all of them"
        )
    return verified


def _read(bundle: Source, verified: Verification) -> _Read:
    """Read the files to sign again, and refuse them if they changed since verification."""
    attestation = bundle.read(ATTESTATION)
    run = bundle.read(RUN)
    attested = parse_statement(Envelope.from_bytes(attestation).payload)
    digests = {file.path: file.digest for file in attested.files}
    if attested != verified.predicate or digests[RUN] != digest_of(run):
        raise BadInputError(
            f"{bundle.path}: sign-off: got a bundle that changed after its verification, expected "
            "the same bytes; sign a copy that nothing else writes to"
        )
    return _Read(
        attestation=digest_of(attestation),
        report=digests[REPORT],
        run=Run.model_validate(read_json(run)),
    )


def _state(
    bundle: Path,
    read: _Read,
    signer: str,
    phase: str | None,
    reservations: str | None,
    at: dt.datetime,
) -> Statement:
    result = result_of(read.run, phase)
    if result is not Result.RELEASED and reservations is None:
        raise BadInputError(
            f"{bundle}: sign-off: {phase or 'the run'} is {result}, expected released; give the "
            'reason for signing it nevertheless with --with-reservations "reason"'
        )
    try:
        statement = Statement(
            attestation=read.attestation,
            report=read.report,
            phase=phase,
            result=result,
            signer=signer,
            at=at.astimezone(dt.UTC).replace(microsecond=0),
            reservations=reservations,
        )
    except ValidationError as error:
        problem = first_problem(error)
        raise BadInputError(
            f"sign-off: {problem.field}: got {problem.value!a}: {problem.message}; a signer "
            "is one name without blanks, reservations are 10 to 2000 characters on one line"
        ) from error
    return parse_signoff(format_signoff(statement))


def _sign(key: Path, content: bytes) -> SshSignature:
    with tempfile.TemporaryDirectory(prefix="gateproof-") as folder:
        path = Path(folder) / "statement"
        path.write_bytes(content)
        command = (PROGRAM, "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(path))
        done = run(command, content=None)
        made = path.with_name(f"{path.name}.sig")
        if done.returncode or not made.exists():
            message = " ".join(done.stderr.decode("utf-8", "replace").replace("@", "").split())
            raise BadInputError(
                f"{key}: sign-off: got {message or done.returncode}, expected ssh-keygen to sign; "
                "name an SSH private key that only you can read"
            )
        return SshSignature.from_bytes(made.read_bytes())


def _refuse_bad(signature: SshSignature, made: Draft) -> None:
    key, run_keys = made.key, made.verified.run_keys
    if not run_keys or signature.keyid in run_keys:
        raise BadInputError(
            f"{key}: sign-off: got the key that sealed the run, expected a reviewer's own; the "
            "signer of a run cannot review it"
        )
    if signature.key.weakness:
        raise BadInputError(
            f"{key}: sign-off: {signature.key.weakness}; make another with ssh-keygen -t ed25519"
        )
    with Checker(namespace=NAMESPACE) as checker:
        why = checker.invalid(signature, made.content)
    if why is not None:
        raise BadInputError(
            f"{key}: sign-off: got {why}, expected a valid signature; try another key"
        )


def _fingerprint(key: Path) -> str | None:
    """Return the fingerprint of a key; ssh-keygen reads the file, and needs no passphrase."""
    done = run((PROGRAM, "-l", "-E", "sha256", "-f", str(key)), content=b"")
    found = _FINGERPRINT.search(done.stdout.decode("utf-8", "replace"))
    return found[0] if found and done.returncode == 0 else None


def _refuse_mark(key: Path) -> None:
    """Refuse a key file that an editor has rewritten: ssh-keygen would give no clear reason.

    Only the first bytes are read, which are no part of the key.
    """
    try:
        with key.open("rb") as file:
            head = file.read(len(BYTE_ORDER_MARK))
    except OSError:
        return  # ssh-keygen names the reason
    if head.startswith(MARKS):
        raise BadInputError(
            f"{key}: sign-off: got a byte-order mark before the key, expected the file as "
            "ssh-keygen wrote it; save it as UTF-8 without a mark"
        )
