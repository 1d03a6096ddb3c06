"""SSH signatures: read them, and let ssh-keygen check them and who may make them.

Owns the container format and the calls to ssh-keygen that verify. Leaves keys to
`gateproof_evidence.clients.ssh_key`, what was signed to `gateproof_evidence.additions.sign_off` and
making signatures to `gateproof_evidence.additions.countersignature`.

Source: OpenSSH PROTOCOL.sshsig; ssh-keygen(1), ALLOWED SIGNERS and KEY REVOCATION LISTS.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import os
import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gateproof_evidence.clients.ssh_key import KeyLineError, SshKey, key_line, read_key
from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format.public_key import BYTE_ORDER_MARK
from gateproof_evidence.model import Digest

PROGRAM = "ssh-keygen"
DEADLINE_S = 60.0

_ARMOUR = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n"
)
_MAGIC, _VERSION = b"SSHSIG", 1
_HASHES = (b"sha256", b"sha512")
_INCORRECT = "incorrect signature"
"""The reason of ssh-keygen for a signature over other bytes."""


class SignatureError(EvidenceError):
    """The bytes are not an SSH signature by a plain key."""


@dataclass(frozen=True, kw_only=True)
class SshSignature:
    """One signature with its own claims, not verified."""

    armoured: bytes
    namespace: str
    key_line: str
    """The key in the form of ``authorized_keys``: type and base64."""
    key: SshKey

    @property
    def keyid(self) -> Digest:
        """The id of the key."""
        return self.key.keyid

    @classmethod
    def from_bytes(cls, content: bytes) -> SshSignature:
        """Read an armoured signature.

        Raises:
            SignatureError: the content is not one signature of version 1 by a plain key.

        """
        match = _ARMOUR.fullmatch(content)
        if not match:
            marked = content.startswith(BYTE_ORDER_MARK)
            got = "a byte-order mark before it" if marked else "something else"
            raise SignatureError(f"signature: got {got}, expected an armoured SSH signature")
        try:
            blob = base64.b64decode(match[1].replace(b"\n", b""), validate=True)
        except binascii.Error as error:
            raise SignatureError(f"signature: got {error}, expected base64") from error
        key, namespace = _fields(blob)
        try:
            line = key_line(key, name="signature")
            read = read_key(line, name="signature")
        except KeyLineError as error:
            raise SignatureError(str(error)) from error
        return cls(
            armoured=content,
            namespace=namespace.decode("utf-8", "backslashreplace"),
            key_line=line,
            key=read,
        )


class Checker:
    """Checks signatures of one namespace with ssh-keygen.

    Use as a context manager: its files lie in a temporary folder that it removes at the end.

    Args:
        namespace: the namespace that signatures must name.
        allowed_signers: content of the allowed signers file, or None.
        revoked: content of a KRL or of a list of public keys, or None.

    """

    def __init__(
        self, *, namespace: str, allowed_signers: bytes | None = None, revoked: bytes | None = None
    ) -> None:
        self._namespace = namespace
        self._given = {"allowed": allowed_signers, "revoked": revoked}

    def __enter__(self) -> Checker:
        self._folder = tempfile.TemporaryDirectory(prefix="gateproof-")
        for name, content in self._given.items():
            if content is not None:
                (self._path / name).write_bytes(content)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @cached_property
    def _path(self) -> Path:
        return Path(self._folder.name)

    def invalid(self, signature: SshSignature, content: bytes) -> str | None:
        """Return why a signature is not valid for these bytes by the key that it contains.

        Returns:
            None where it is valid.

        """
        done = self._ask("check-novalidate", signature, content)
        if done.returncode == 0:
            return None
        why = _message(done, self._path)
        if _INCORRECT in why:
            return "the signature is not valid for the statement"
        return f"the signature could not be checked: ssh-keygen: {why or done.returncode}"

    def refusal(
        self, signature: SshSignature, content: bytes, *, who: str, at: dt.datetime
    ) -> str | None:
        """Return why the allowed signers do not let this person sign by this key at that time.

        Returns:
            None where they do, else the message of ssh-keygen, which may be empty.

        """
        moment = f"{at.astimezone(dt.UTC):%Y%m%d%H%M%S}"
        done = self._ask(
            "verify",
            signature,
            content,
            *("-f", str(self._path / "allowed"), "-I", who, f"-Overify-time={moment}"),
        )
        return None if done.returncode == 0 else _message(done, self._path)

    def is_known(self, signature: SshSignature) -> bool:
        """Return whether the allowed signers name the key at all, for any person and time."""
        path = self._path / "signature"
        path.write_bytes(signature.armoured)
        allowed = str(self._path / "allowed")
        command = (PROGRAM, "-Y", "find-principals", "-s", str(path), "-f", allowed)
        return run(command, content=b"").returncode == 0

    def is_revoked(self, signature: SshSignature, content: bytes) -> bool:
        """Return whether the key is revoked, for a valid signature.

        ssh-keygen gives no reason for a refusal. So the list of allowed signers here contains only
        this key, and the only possible reason is revocation.
        """
        if self._given["revoked"] is None:
            return False
        itself = self._path / "itself"
        itself.write_text(f"itself {signature.key_line}\n", encoding="ascii")
        revoked = ("-r", str(self._path / "revoked"))
        done = self._ask("verify", signature, content, "-f", str(itself), "-I", "itself", *revoked)
        return done.returncode != 0

    def _ask(
        self, action: str, signature: SshSignature, content: bytes, *more: str
    ) -> subprocess.CompletedProcess[bytes]:
        path = self._path / "signature"
        path.write_bytes(signature.armoured)
        command = (PROGRAM, "-Y", action, "-n", self._namespace, "-s", str(path), *more)
        return run(command, content=content)


def run(command: Sequence[str], *, content: bytes | None) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen, with times in UTC and messages in English.

    Args:
        command: program and arguments.
        content: standard input; with None it keeps the terminal, for a passphrase.

    Raises:
        BadInputError: ssh-keygen is not installed, or it did not exit in time.

    """
    try:
        return subprocess.run(
            command,
            input=content,
            capture_output=True,
            check=False,
            timeout=DEADLINE_S if content is not None else None,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInputError(
            f"{PROGRAM}: sign-offs: got {error}, expected it to run; install the OpenSSH client "
            "(8.9 or later)"
        ) from error


def _fields(blob: bytes) -> tuple[bytes, bytes]:
    """Return the key and the namespace from a signature's binary form."""
    if not blob.startswith(_MAGIC):
        raise SignatureError("signature: got another magic, expected SSHSIG")
    rest = blob[len(_MAGIC) :]
    if len(rest) < 4 or struct.unpack(">I", rest[:4])[0] != _VERSION:
        raise SignatureError("signature: got another version, expected 1")
    strings: list[bytes] = []
    rest = rest[4:]
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + length:
            raise SignatureError("signature: got a truncated field, expected all of it")
        strings.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    if len(strings) != 5 or strings[2] or strings[3] not in _HASHES:
        raise SignatureError("signature: got other fields, expected those of version 1")
    return strings[0], strings[1]


def _message(done: subprocess.CompletedProcess[bytes], folder: Path) -> str:
    """Return the message of ssh-keygen, without the paths of our temporary files."""
    text = done.stderr.decode("utf-8", "backslashreplace").replace(f"{folder}{os.sep}", "")
    return " ".join(text.split())[:300]
