"""RFC 3161 timestamps: proof by an authority that a bundle existed at a time.

Owns reading the files in ``timestamps/`` and checking them with openssl against an authority that
is named from outside. Leaves asking an authority to
`gateproof_evidence.additions.timestamp_request`. Not checked: whether the authority's certificate
was revoked.

Source: RFC 3161; openssl-ts(1); docs/reference/timestamps.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateproof_evidence.additions.addition import LARGEST, MOST
from gateproof_evidence.clients import openssl
from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.format.layout import TIMESTAMPS
from gateproof_evidence.format.tree import File
from gateproof_evidence.model import Digest
from gateproof_evidence.model.finding import Code, Finding

ENDING = ".tsr"

CLOCK_SKEW = dt.timedelta(minutes=5)
"""The allowed difference of the signer's clock, and of ours, from the authority's clock."""

_TOKEN = re.compile(
    r"^TST info:\nVersion: 1\nPolicy OID: [^\n]*\nHash Algorithm: (?P<hash>\S+)\nMessage data:\n"
    r"(?P<imprint>(?:    [0-9a-f]{4} - [^\n]*\n)+)"
    r"Serial number: [^\n]*\n"
    r"Time stamp: (?P<time>[^\n]*) GMT\n",
    re.MULTILINE,
)
_HEX = re.compile(r"    [0-9a-f]{4} - ((?:[0-9a-f]{2}[ -]){1,16})")
_FRACTION = re.compile(r"\.\d+")


class TimestampError(EvidenceError):
    """The bytes are not a timestamp over a SHA-256 digest."""


@dataclass(frozen=True, kw_only=True)
class Timestamp:
    """The answer of one authority."""

    path: str
    content: bytes
    imprint: Digest
    """The digest that was stamped."""
    at: dt.datetime
    """The time by the authority's clock."""


@dataclass(frozen=True, kw_only=True)
class Stamped:
    """The result of checking the timestamps of a bundle."""

    findings: tuple[Finding, ...] = ()
    timestamps: tuple[Timestamp, ...] = ()
    """The timestamps without findings, the earliest first."""
    is_trusted: bool = False
    """Whether they were checked against an authority from outside."""


def place_of(content: bytes) -> str:
    """Return the path of an answer inside a bundle; its content fixes all of the name."""
    return f"{TIMESTAMPS}{hashlib.sha256(content).hexdigest()[:16]}{ENDING}"


def parse_timestamp(content: bytes, *, path: str) -> Timestamp:
    """Read an answer, without deciding whether its authority is trusted.

    Raises:
        TimestampError: it is not one granted answer over a SHA-256 digest, or bytes follow it.

    """
    if not _is_one_value(content):
        raise TimestampError("timestamp: got other bytes, expected one DER value and nothing else")
    with tempfile.TemporaryDirectory(prefix="gateproof-") as folder:
        answer, token = Path(folder, "answer"), Path(folder, "token")
        answer.write_bytes(content)
        # Drop the authority's free text about its status, which could imitate the fields below.
        _openssl("-reply", "-in", answer, "-token_out", "-out", token)
        text = _openssl("-reply", "-in", token, "-token_in", "-text")
    match = _TOKEN.search(text)
    if not match or match["hash"] != "sha256":
        raise TimestampError("timestamp: got another token, expected one over a SHA-256 digest")
    imprint = "".join(re.sub(r"[ -]", "", part) for part in _HEX.findall(match["imprint"]))
    return Timestamp(
        path=path, content=content, imprint=f"sha256:{imprint}", at=_moment(match["time"])
    )


def check(
    files: Iterable[File],
    *,
    attestation: Digest | None,
    sealed: dt.datetime | None,
    authority: bytes | None,
    now: dt.datetime,
) -> Stamped:
    """Check every timestamp in a bundle.

    Args:
        files: the files in ``timestamps/``.
        attestation: digest of the bundle's attestation.
        sealed: when it was sealed, by the signer's clock; None where that cannot be trusted.
        authority: certificates (PEM) of the trusted authority, from outside the bundle; where they
            are given, at least one timestamp must be by them.
        now: the time by the verifier's clock.

    """
    findings: list[Finding] = []
    good: list[Timestamp] = []
    for file in files:
        try:
            one = _read(file)
        except TimestampError as error:
            findings.append(_finding(Code.TIMESTAMP_MALFORMED, file.path, str(error)))
            continue
        wrong = [*_compare(one, attestation, sealed, now)]
        if authority is not None and not wrong:
            wrong += _trust(one, authority)
        findings += wrong
        if not wrong:
            good.append(one)
    if authority is not None and not good:
        message = "got no timestamp by this authority, expected one"
        findings.append(_finding(Code.TIMESTAMP_MISSING, TIMESTAMPS.rstrip("/"), message))
    return Stamped(
        findings=tuple(findings),
        timestamps=tuple(sorted(good, key=lambda one: one.at)),
        is_trusted=authority is not None,
    )


def refusal(content: bytes, authority: bytes, *, imprint: Digest, at: dt.datetime) -> str | None:
    """Return why an answer is not by an authority, judged at the time that it states.

    A certificate that expired after the stamp was valid then; a timestamp exists for this case.

    Returns:
        None where it is, else the message of openssl.

    """
    with tempfile.TemporaryDirectory(prefix="gateproof-") as folder:
        answer, trusted = Path(folder, "answer"), Path(folder, "authority.pem")
        answer.write_bytes(content)
        trusted.write_bytes(authority)
        moment = str(int(at.timestamp()))
        digest = imprint.removeprefix("sha256:")
        try:
            _openssl(
                *("-verify", "-digest", digest, "-in", answer),
                *("-CAfile", trusted, "-attime", moment),
            )
        except TimestampError as error:
            return str(error)
    return None


def _read(file: File) -> Timestamp:
    if file.content is None:
        raise TimestampError(
            f"got {file.size} bytes, expected at most {LARGEST}, and {MOST} files in all"
        )
    if file.path != place_of(file.content):
        raise TimestampError(f"name: got {file.path}, expected {place_of(file.content)}")
    return parse_timestamp(file.content, path=file.path)


def _compare(
    one: Timestamp, attestation: Digest | None, sealed: dt.datetime | None, now: dt.datetime
) -> Iterator[Finding]:
    if one.imprint != attestation:
        message = f"stamps {one.imprint}, expected {attestation}: made for another bundle"
        yield _finding(Code.TIMESTAMP_OTHER_BUNDLE, one.path, message)
    elif sealed is not None and not sealed - CLOCK_SKEW <= one.at <= now + CLOCK_SKEW:
        message = f"got {one.at}, expected a time since {sealed} (sealed) and until {now} (now)"
        yield _finding(Code.TIMESTAMP_TIME, one.path, message)


def _trust(one: Timestamp, authority: bytes) -> Iterator[Finding]:
    why = refusal(one.content, authority, imprint=one.imprint, at=one.at)
    if why is not None:
        yield _finding(Code.TIMESTAMP_NOT_TRUSTED, one.path, f"not by the authority given: {why}")


def _finding(code: Code, path: str, message: str) -> Finding:
    return Finding(code=code, path=path, message=message)


def _is_one_value(content: bytes) -> bool:
    """Return whether one DER sequence fills the bytes; openssl would ignore what follows it."""
    if len(content) < 4 or content[0] != 0x30:
        return False
    count = content[1] & 0x7F if content[1] & 0x80 else 0
    length = int.from_bytes(content[2 : 2 + count], "big") if count else content[1]
    return len(content) == 2 + count + length


def _moment(text: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(f"{_FRACTION.sub('', text)} +0000", "%b %d %H:%M:%S %Y %z")
    except ValueError as error:
        raise TimestampError(f"timestamp: time: got {text!a}, expected one in GMT") from error


def _openssl(*words: str | Path) -> str:
    try:
        return openssl.ts(*words)
    except openssl.OpensslError as error:
        raise TimestampError(f"timestamp: openssl: {error}") from error
