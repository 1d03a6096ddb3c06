"""SSH signatures: read them, and let ssh-keygen check them and who may make them.

Owns the container format and the calls to ssh-keygen that verify. Leaves what was signed to
`gateproof_evidence.additions.sign_off` and making signatures to
`gateproof_evidence.additions.countersignature`. Certificates are refused: two of them may be for
one key.

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

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from gateproof_evidence.errors import BadInputError, EvidenceError
from gateproof_evidence.format.canonical import digest_of
from gateproof_evidence.model import Digest

PROGRAM = "ssh-keygen"
DEADLINE_S = 60.0
KRL_MAGIC = b"SSHKRL\n\0"

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
    keyid: Digest
    """The id of the key, independent of its encoding; a run's key has an id of the same form."""

    @classmethod
    def from_bytes(cls, content: bytes) -> SshSignature:
        """Read an armoured signature.

        Raises:
            SignatureError: the content is not one signature of version 1 by a plain key.

        """
        match = _ARMOUR.fullmatch(content)
        if not match:
            raise SignatureError(
                "signature: got something else, expected an armoured SSH signature"
            )
        try:
            blob = base64.b64decode(match[1].replace(b"\n", b""), validate=True)
        except binascii.Error as error:
            raise SignatureError(f"signature: got {error}, expected base64") from error
        key, namespace = _fields(blob)
        line = _key_line(key)
        return cls(
            armoured=content,
            namespace=namespace.decode("utf-8", "backslashreplace"),
            key_line=line,
            keyid=key_material(line, name="signature"),
        )


def key_material(line: str, *, name: str) -> Digest:
    """Return the id of a key in the form of ``authorized_keys``.

    Raises:
        SignatureError: it is not a public key, is of an unknown type, or is a certificate.

    """
    if "-cert-v01@" in line.split(" ", 1)[0]:
        raise SignatureError(f"{name}: key: got a certificate, expected a plain key")
    try:
        key = load_ssh_public_key(line.encode("utf-8"))
        return digest_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except (ValueError, UnsupportedAlgorithm, UnicodeEncodeError) as error:
        raise SignatureError(f"{name}: key: got {error}, expected an SSH public key") from error


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


def check_revoked(content: bytes, *, name: str) -> None:
    """Refuse a revocation list that ssh-keygen would understand only in part.

    Args:
        content: a KRL (``ssh-keygen -k``), or public keys, one a line.
        name: the name of the option, for the message.

    Raises:
        BadInputError: it is neither; an unreadable list must not count as an empty one.

    """
    if content.startswith(KRL_MAGIC):
        with tempfile.NamedTemporaryFile(prefix="gateproof-") as file:
            file.write(content)
            file.flush()
            done = run((PROGRAM, "-Q", "-l", "-f", file.name), content=b"")
        if done.returncode:
            raise BadInputError(
                f"{name}: revocation list: got a KRL that cannot be read, expected a readable one; "
                "make it again with ssh-keygen -k"
            )
        return
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                key_material(line.strip(), name=f"line {number}")
            except SignatureError as error:
                raise BadInputError(
                    f"{name}: revocation list: {error}; name a KRL, or a file of public keys"
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


def _key_line(blob: bytes) -> str:
    length = int.from_bytes(blob[:4], "big")
    kind = blob[4 : 4 + length]
    if not re.fullmatch(rb"[a-z0-9@.-]{1,64}", kind):
        raise SignatureError("signature: key: got another kind, expected an SSH public key")
    return f"{kind.decode('ascii')} {base64.b64encode(blob).decode('ascii')}"


def _message(done: subprocess.CompletedProcess[bytes], folder: Path) -> str:
    """Return the message of ssh-keygen, without the paths of our temporary files."""
    text = done.stderr.decode("utf-8", "backslashreplace").replace(f"{folder}/", "")
    return " ".join(text.split())[:300]
