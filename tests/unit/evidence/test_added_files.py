"""Files in signoffs/ and timestamps/ are untrusted: any bytes are parsed or refused."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof_evidence.additions.addition import add
from gateproof_evidence.additions.sign_off import Statement, format_signoff, parse_signoff
from gateproof_evidence.additions.timestamp import TimestampError, parse_timestamp
from gateproof_evidence.clients.ssh_keygen import SignatureError, SshSignature
from gateproof_evidence.errors import EvidenceError, NotWritableError
from gateproof_evidence.format.archive.folder import Folder

DIGEST = f"sha256:{'ab' * 32}"
STATEMENT = Statement.model_validate(
    {
        "attestation": DIGEST,
        "report": DIGEST,
        "phase": "B0.5.1",
        "result": "released",
        "signer": "ada@x.org",
        "at": "2026-03-01T12:00:00Z",
        "reservations": None,
    }
)


@pytest.fixture(scope="module")
def signature(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Provide a real signature in its binary form."""
    folder = tmp_path_factory.mktemp("signature")
    key, content = folder / "key", folder / "content"
    content.write_bytes(b"content")
    make = ("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(key))
    sign = ("ssh-keygen", "-Y", "sign", "-q", "-n", "x", "-f", str(key), str(content))
    for command in (make, sign):
        subprocess.run(command, check=True)
    return base64.b64decode("".join((folder / "content.sig").read_text().splitlines()[1:-1]))


def armoured(blob: bytes) -> bytes:
    """Return a binary form with its armour."""
    body = base64.b64encode(blob)
    return b"-----BEGIN SSH SIGNATURE-----\n" + body + b"\n-----END SSH SIGNATURE-----\n"


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_signature_of_any_bytes_is_read_or_refused(signature: bytes, data: st.DataObject) -> None:
    """A signature that is cut, changed or extended anywhere raises no other error."""
    assert SshSignature.from_bytes(armoured(signature)).namespace == "x", "premise: it is valid"
    changed = bytearray(signature)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    content = bytes(changed[:cut]) + data.draw(st.binary(max_size=8))
    try:
        read = SshSignature.from_bytes(armoured(content))
    except SignatureError:
        return
    assert read.keyid.startswith("sha256:")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an armoured SSH signature"),
        (armoured(b"SSHSIG") + b"more", "expected an armoured SSH signature"),
        (b"-----BEGIN SSH SIGNATURE-----\nA===\n-----END SSH SIGNATURE-----\n", "expected base64"),
        (armoured(b"OTHER!" + b"\0" * 20), "expected SSHSIG"),
        (armoured(b"SSHSIG\0\0\0\2"), "expected 1"),
        (armoured(b"SSHSIG\0\0\0\1\0\0\xff\xff"), "got a truncated field"),
        (armoured(b"SSHSIG\0\0\0\1" + b"\0" * 20), "expected those of version 1"),
    ],
)
def test_signature_error_names_the_problem(content: bytes, message: str) -> None:
    """The message has the actual and the expected value."""
    with pytest.raises(SignatureError, match=message):
        SshSignature.from_bytes(content)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_statement_of_any_bytes_is_canonical_or_refused(data: st.DataObject) -> None:
    """Only the canonical form is read: other valid bytes are another statement."""
    content = bytearray(format_signoff(STATEMENT))
    assert parse_signoff(bytes(content)) == STATEMENT
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from(b'0aZ"{}:,\\ \n\x00\xc3'))
    try:
        read = parse_signoff(bytes(content))
    except EvidenceError:
        return
    assert format_signoff(read) == bytes(content)


def _sequence(raw: bytes) -> bytes:
    """Wrap bytes as one DER sequence."""
    return b"\x30" + bytes([len(raw)]) + raw


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=64) | st.binary(max_size=120).map(_sequence))
def test_timestamp_of_any_bytes_is_refused(content: bytes) -> None:
    """Bytes without an authority's signature are not a timestamp, also as a DER sequence."""
    with pytest.raises(TimestampError):
        parse_timestamp(content, path="timestamps/x.tsr")


def test_statement_allows_no_pattern_and_no_space() -> None:
    """A signer is one name as in the list of allowed signers; a phase is one of our ids."""
    for change in ({"signer": "a b"}, {"signer": "*"}, {"signer": 'a"b'}, {"phase": "B/1"}):
        content = format_signoff(STATEMENT.model_copy(update=change))
        with pytest.raises(EvidenceError, match="sign-off: "):
            parse_signoff(content)


def test_add_leaves_nothing_if_it_cannot_write(tmp_path: Path) -> None:
    """Additions are written completely or not at all, also if the folder cannot be created."""
    (tmp_path / "signoffs").write_text("in the way")
    with pytest.raises(NotWritableError, match="adding to the bundle: got"):
        add(Folder(tmp_path), {"signoffs/a.json.sig": b"1", "signoffs/a.json": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["signoffs"]
