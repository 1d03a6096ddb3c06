"""Revocation lists of SSH keys: KRLs, and files of public keys.

Owns refusing a list that ssh-keygen would read as shorter than it is, or that revokes no key.
Leaves asking whether a key is revoked to `gateproof_evidence.clients.ssh_keygen`.

Source: OpenSSH PROTOCOL.krl; ssh-keygen(1), KEY REVOCATION LISTS.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateproof_evidence.clients.ssh_key import KeyLineError, read_key
from gateproof_evidence.clients.ssh_keygen import PROGRAM, run
from gateproof_evidence.errors import BadInputError

KRL_MAGIC = b"SSHKRL\n\0"

_HEAD = len(KRL_MAGIC) + 4 + 8 + 8 + 8
"""Bytes before the two strings of the head: the format's version, number, time and flags."""
_KEY_SECTIONS = (2, 3, 5)
"""Keys as a whole, by SHA-1 and by SHA-256; the others are certificates and signatures."""


def check_revoked(content: bytes, *, name: str) -> None:
    """Refuse a revocation list that cannot be read, or that revokes no key.

    An empty list is most often a failed download or a wrong path: it must not pass as a list
    without the key that is searched for.

    Args:
        content: a KRL (``ssh-keygen -k``), or public keys, one a line.
        name: the name of the option, for the message.

    Raises:
        BadInputError: it is neither, or it is empty.

    """
    keys = _in_krl(content, name) if content.startswith(KRL_MAGIC) else _in_text(content, name)
    if keys == 0:
        raise BadInputError(
            f"{name}: revocation list: got no key ({len(content)} bytes), expected at least one; "
            f"leave {name} out if no key is revoked"
        )


def _in_krl(content: bytes, name: str) -> int:
    """Return how many sections of a KRL revoke plain keys."""
    with tempfile.TemporaryDirectory(prefix="gateproof-") as folder:
        path = Path(folder, "revoked")  # closed: Windows lets no other program read an open file
        path.write_bytes(content)
        done = run((PROGRAM, "-Q", "-l", "-f", str(path)), content=b"")
    if done.returncode:
        raise BadInputError(
            f"{name}: revocation list: got a KRL that cannot be read, expected a readable one; "
            "make it again with ssh-keygen -k"
        )
    rest = content[_HEAD:]
    for _ in range(2):  # the reserved string, and the comment
        rest = rest[4 + int.from_bytes(rest[:4], "big") :]
    found = 0
    while rest:
        length = int.from_bytes(rest[1:5], "big")
        found += rest[0] in _KEY_SECTIONS and length > 0
        rest = rest[5 + length :]
    return found


def _in_text(content: bytes, name: str) -> int:
    """Return the number of keys in a file of public keys."""
    found = 0
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            read_key(line.strip(), name=f"line {number}")
        except KeyLineError as error:
            raise BadInputError(
                f"{name}: revocation list: {error}; name a KRL, or a file of public keys"
            ) from error
        found += 1
    return found
