"""Run keys: loading, refused keys, and signatures."""

from __future__ import annotations

import base64
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateproof_evidence.errors import BadInputError, NotWritableError
from gateproof_evidence.format.public_key import keyid, load_public_key
from gateproof_evidence.sealing.run_key import RunKey, generate

PLAIN = NoEncryption()
ENCRYPTED = BestAvailableEncryption(b"open sesame")


def pem(
    form: PrivateFormat = PrivateFormat.PKCS8, encryption: KeySerializationEncryption = PLAIN
) -> bytes:
    """Return a new Ed25519 private key."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, encryption)


def encrypted_openssh() -> bytes:
    """Return an OpenSSH key with an encrypted private key, without a library to encrypt it."""

    def text(content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + content

    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    blob = (
        b"openssh-key-v1\0"
        + text(b"aes256-ctr")
        + text(b"bcrypt")
        + text(text(b"0123456789abcdef") + struct.pack(">I", 16))
        + struct.pack(">I", 1)
        + text(text(b"ssh-ed25519") + text(raw))
        + text(b"\0" * 32)
    )
    lines = base64.encodebytes(blob)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n%s-----END OPENSSH PRIVATE KEY-----\n" % lines


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Provide a function that writes a key file."""

    def do(content: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "key"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return do


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        pytest.param(pem(), None, id="pkcs8"),
        pytest.param(pem(PrivateFormat.OpenSSH), None, id="openssh"),
        pytest.param(pem(encryption=ENCRYPTED), b"open sesame", id="pkcs8-encrypted"),
    ],
)
def test_key_signs_what_its_public_key_verifies(
    write: Callable[..., Path], content: bytes, passphrase: bytes | None
) -> None:
    """A loaded key signs, and its public key accepts only that message."""
    key = RunKey.load(write(content), passphrase)
    public = load_public_key(key.public_pem, name="public")
    assert not key.is_ephemeral
    assert key.keyid == keyid(public)
    public.verify(key.sign(b"message"), b"message")
    with pytest.raises(InvalidSignature):
        public.verify(key.sign(b"message"), b"another")


def test_ephemeral_keys_differ_and_are_marked() -> None:
    """Two runs never share an ephemeral key."""
    first, second = RunKey.ephemeral(), RunKey.ephemeral()
    assert first.is_ephemeral
    assert first.keyid != second.keyid
    assert "PrivateKey" not in repr(first)


@pytest.mark.parametrize(
    ("content", "passphrase", "mode", "message"),
    [
        pytest.param(pem(), None, 0o640, r"got mode 0640.*chmod 600", id="group"),
        pytest.param(pem(), None, 0o604, r"got mode 0604.*chmod 600", id="others"),
        pytest.param(b"hello", None, 0o600, "got no private key that can be read", id="no-key"),
        pytest.param(b"", None, 0o600, "got no private key that can be read", id="empty"),
        pytest.param(
            pem(encryption=ENCRYPTED),
            None,
            0o600,
            "encrypted key and no passphrase.*GATEPROOF_SIGNING_KEY_PASSPHRASE",
            id="pkcs8-encrypted",
        ),
        pytest.param(
            encrypted_openssh(),
            None,
            0o600,
            "encrypted key and no passphrase.*GATEPROOF_SIGNING_KEY_PASSPHRASE",
            id="openssh-encrypted",
        ),
        pytest.param(
            pem(encryption=ENCRYPTED),
            b"wrong",
            0o600,
            "check GATEPROOF_SIGNING_KEY_PASSPHRASE",
            id="wrong-passphrase",
        ),
        pytest.param(
            pem(),
            b"needless",
            0o600,
            "not encrypted.*unset GATEPROOF_SIGNING_KEY_PASSPHRASE",
            id="needless",
        ),
        pytest.param(
            generate_private_key(SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, PLAIN
            ),
            None,
            0o600,
            "got .*, expected Ed25519; make one with gateproof keygen",
            id="other-algorithm",
        ),
    ],
)
def test_key_refuses_bad_input_in_one_line(
    write: Callable[..., Path], content: bytes, passphrase: bytes | None, mode: int, message: str
) -> None:
    """The error for a key that is readable by others, invalid or encrypted says what to do."""
    with pytest.raises(BadInputError, match=f"signing key: .*{message}") as error:
        RunKey.load(write(content, mode), passphrase)
    assert "\n" not in str(error.value)


def test_key_refuses_a_missing_file(tmp_path: Path) -> None:
    """A missing key is never replaced by an ephemeral one."""
    with pytest.raises(BadInputError, match="signing key: got No such file or directory"):
        RunKey.load(tmp_path / "key", None)


def test_generate_writes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """A generated key can be loaded, and its public key is next to it."""
    made = generate(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert RunKey.load(tmp_path / "key", None).keyid == made.keyid
    assert (tmp_path / "key.pub.pem").read_bytes() == made.public_pem


def test_generate_never_overwrites_a_key(tmp_path: Path) -> None:
    """An existing file is kept."""
    (tmp_path / "key").write_text("precious")
    with pytest.raises(NotWritableError, match="new key: got a file of that name"):
        generate(tmp_path / "key")
    assert (tmp_path / "key").read_text() == "precious"


def test_public_key_has_one_id_in_pem_and_openssh() -> None:
    """The key id does not depend on the key's encoding."""
    public = Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    block = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert keyid(load_public_key(line, name="a")) == keyid(load_public_key(block, name="b"))


def test_public_key_refuses_another_algorithm() -> None:
    """Only Ed25519 signs a run."""
    other = generate_private_key(SECP256R1()).public_key()
    content = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(BadInputError, match=r"k\.pem: public key: got .*, expected Ed25519"):
        load_public_key(content, name="k.pem")
