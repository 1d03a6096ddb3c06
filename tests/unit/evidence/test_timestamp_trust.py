"""Timestamps with chosen times and certificates: which of them verification trusts.

``openssl ts`` uses the clock of the machine, so the tokens are made with ``openssl cms``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from gateproof_evidence.additions.timestamp import (
    Stamped,
    TimestampError,
    check,
    parse_timestamp,
    place_of,
)
from gateproof_evidence.format.tree import File

Key = ec.EllipticCurvePrivateKey
STAMPED_AT = dt.datetime(2025, 6, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
DIGEST = hashlib.sha256(b"an attestation").digest()
STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
TST_INFO = "1.2.840.113549.1.9.16.1.4"
POLICY = bytes.fromhex("06042a030401")
SHA256 = bytes.fromhex("300d06096086480165030402010500")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """Return the certificate as DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def issue(
    issuer: Holder | None = None,
    *,
    name: str = "tsa",
    key: Key | None = None,
    years: tuple[int, int] = (2020, 2040),
    usage: Sequence[ObjectIdentifier] = (STAMPING,),
    is_critical: bool = True,
    is_ca: bool = False,
    serial: int | None = None,
) -> Holder:
    """Issue a certificate; without an issuer it is a self-signed root.

    Args:
        issuer: the issuer of the certificate.
        name: the common name of its subject.
        key: the key of its subject; by default a new one.
        years: January 1 of these years are the bounds of its validity.
        usage: its extended key usage; without any, the extension is omitted.
        is_critical: whether that extension is critical.
        is_ca: whether it may issue certificates.
        serial: its serial number; by default a random one.

    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(dt.datetime(years[0], 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(years[1], 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if usage and not is_ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=is_critical)
    return Holder(certificate=builder.sign(issuer.key if issuer else key, hashes.SHA256()), key=key)


@pytest.fixture(scope="module")
def root() -> Holder:
    """Provide the trusted root."""
    return issue(name="root", is_ca=True)


@dataclass(frozen=True, kw_only=True)
class Stamper:
    """Signs tokens with openssl."""

    folder: Path

    def stamp(
        self,
        signer: Holder,
        *,
        at: dt.datetime = STAMPED_AT,
        version: int = 1,
        extra: bytes = b"",
        options: str = "-cades",
        chain: Sequence[Holder] = (),
        status: int = 0,
    ) -> bytes:
        """Return an authority's response.

        Args:
            signer: the signer; its certificate is in the token.
            at: the time of the stamp.
            version: the version of the token's content; RFC 3161 has only 1.
            extra: fields (DER) at the end of the content.
            options: options of ``openssl cms``; ``-cades`` adds the signing certificate attribute.
            chain: further certificates in the token.
            status: the status of the response; 0 is granted.

        """
        files = {
            "info": token_content(at, version, extra),
            "signer.pem": signer.pem,
            "key.pem": private(signer.key),
            "chain.pem": b"".join(one.pem for one in chain),
        }
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        certificates = "-certfile chain.pem" if chain else ""
        command = f"openssl cms -sign -binary -nodetach -econtent_type {TST_INFO} {options}"
        command += f" -signer signer.pem -inkey key.pem {certificates} -in info -outform DER"
        done = subprocess.run(command.split(), cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return der(0x30, der(0x30, der(0x02, bytes([status]))), done.stdout)


@pytest.fixture
def stamper(tmp_path: Path) -> Stamper:
    """Provide a signer of tokens."""
    return Stamper(folder=tmp_path)


def test_certificate_is_judged_at_the_time_of_the_stamp(root: Holder, stamper: Stamper) -> None:
    """A certificate counts if it was valid at that time, even if it is expired today."""
    for years in ((2025, 2026), (2020, 2040)):
        assert trusted(stamper.stamp(issue(root, years=years)), root)
    assert trusted(stamper.stamp(issue(root, years=(2029, 2041)), at=NOW), root)


def test_root_is_judged_at_the_time_of_the_stamp(stamper: Stamper) -> None:
    """The authority's root may be expired today too."""
    expired = issue(name="root", is_ca=True, years=(2025, 2026))
    assert trusted(stamper.stamp(issue(expired, years=(2025, 2026))), expired)


@pytest.mark.parametrize(
    ("years", "message"),
    [
        ((2024, 2025), "certificate has expired"),
        ((2026, 2040), "certificate is not yet valid"),
    ],
)
def test_certificate_that_was_not_valid_at_the_time_of_the_stamp_is_refused(
    root: Holder, stamper: Stamper, years: tuple[int, int], message: str
) -> None:
    """A stamp from outside the validity is refused, even if the certificate is valid today."""
    assert message in refused(stamper.stamp(issue(root, years=years)), root)


def test_intermediate_certificate_comes_from_the_token_or_from_outside(
    root: Holder, stamper: Stamper
) -> None:
    """A response may contain two certificates; the root must come from outside."""
    between = issue(root, name="between", is_ca=True)
    signer = issue(between)
    assert trusted(stamper.stamp(signer, chain=(between,)), root)
    assert trusted(stamper.stamp(signer), root, between)
    assert "unable to get" in refused(stamper.stamp(signer), root)
    assert "signed certificate in" in refused(stamper.stamp(signer, chain=(between, root)), issue())


def test_intermediate_certificate_is_judged_at_the_time_of_the_stamp(
    root: Holder, stamper: Stamper
) -> None:
    """Each certificate of the chain must have been valid then, and may issue certificates."""
    between = issue(root, name="between", is_ca=True, years=(2026, 2040))
    found = refused(stamper.stamp(issue(between), chain=(between,)), root)
    assert "certificate is not yet valid" in found
    leaf = issue(root, name="leaf")
    assert "invalid CA certificate" in refused(stamper.stamp(issue(leaf), chain=(leaf,)), root)


def test_root_of_the_same_name_is_another_root(root: Holder, stamper: Stamper) -> None:
    """A root is trusted by its key, not by its name."""
    other = issue(name="root", is_ca=True)
    assert "certificate signature failure" in refused(stamper.stamp(issue(root)), other)


@pytest.mark.parametrize(
    ("usage", "is_critical"),
    [
        ((), True),
        ((STAMPING,), False),
        ((ExtendedKeyUsageOID.SERVER_AUTH,), True),
        ((STAMPING, ExtendedKeyUsageOID.SERVER_AUTH), True),
    ],
)
def test_certificate_that_is_not_only_for_stamping_is_refused(
    root: Holder, stamper: Stamper, usage: Sequence[ObjectIdentifier], is_critical: bool
) -> None:
    """Its extended key usage must be critical, and only time stamping (section 2.3)."""
    signer = issue(root, usage=usage, is_critical=is_critical)
    assert "unsuitable certificate purpose" in refused(stamper.stamp(signer), root)


def test_token_that_does_not_sign_for_its_certificate_is_refused(
    root: Holder, stamper: Stamper
) -> None:
    """The signature covers a digest of the signer's certificate (section 2.4.2)."""
    response = stamper.stamp(issue(root), options="")
    assert "missing signing certificate attribute" in refused(response, root)


def test_swapped_certificate_is_refused(root: Holder, stamper: Stamper) -> None:
    """A stamp with an expired certificate stays refused with a renewed one of the same key.

    The signature alone does not detect the exchange: it covers neither the certificates of a token
    nor the serial number of the signer's certificate.
    """
    expired, renewed = _same_length(root, expired=0x11223344, renewed=0x55667788)
    response = stamper.stamp(expired)
    assert "certificate has expired" in refused(response, root)
    swapped = response.replace(expired.der, renewed.der)
    number = der(0x02, (0x11223344).to_bytes(4))
    before, after = swapped.split(number, 1)
    swapped = before + der(0x02, (0x55667788).to_bytes(4)) + after
    assert swapped.count(renewed.der) == 1
    assert "ess cert id" in refused(swapped, root)


def _same_length(root: Holder, *, expired: int, renewed: int) -> tuple[Holder, Holder]:
    """Return an expired and a renewed certificate of one key and of the same length.

    Signatures differ by a byte or two, and a few lengths are rare, so both are made again.
    """
    key = issue(root).key
    for _ in range(1000):
        first = issue(root, key=key, years=(2020, 2022), serial=expired)
        second = issue(root, key=key, years=(2023, 2040), serial=renewed)
        if len(first.der) == len(second.der):
            return first, second
    raise AssertionError("got no two certificates of the same length, expected every third pair")


def test_token_in_another_name_is_refused(root: Holder, stamper: Stamper) -> None:
    """A token that names its authority must have a certificate with that name."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")])
    extra = der(0xA0, der(0xA4, name.public_bytes()))
    assert "tsa name mismatch" in refused(stamper.stamp(issue(root), extra=extra), root)


def test_token_of_an_unknown_version_is_refused(root: Holder, stamper: Stamper) -> None:
    """Only version 1 of a token is read."""
    with pytest.raises(TimestampError, match="got another token"):
        parse_timestamp(stamper.stamp(issue(root), version=2), path="")


def test_response_that_is_not_granted_is_refused(root: Holder, stamper: Stamper) -> None:
    """A granted response, also with modifications, is a timestamp; a rejection is not."""
    signer = issue(root)
    assert trusted(stamper.stamp(signer, status=1), root)
    with pytest.raises(TimestampError, match="timestamp: openssl"):
        parse_timestamp(stamper.stamp(signer, status=2), path="")


def test_token_in_basic_encoding_is_trusted(root: Holder, stamper: Stamper) -> None:
    """CMS allows indefinite lengths; the signed bytes are the same."""
    assert trusted(stamper.stamp(issue(root), options="-cades -stream"), root)


def test_stamp_over_other_bytes_is_refused(root: Holder, stamper: Stamper) -> None:
    """A stamp over one digest does not count for another."""
    found = judged(stamper.stamp(issue(root)), root, digest=hashlib.sha256(b"other").digest())
    assert [one.code.value for one in found.findings] == [
        "TIMESTAMP_OTHER_BUNDLE",
        "TIMESTAMP_MISSING",
    ]


# --- helpers -----------------------------------------------------------------------------------


def judged(response: bytes, *authority: Holder, digest: bytes = DIGEST) -> Stamped:
    """Check a response in the way of verification."""
    file = File(
        path=place_of(response),
        size=len(response),
        digest=f"sha256:{hashlib.sha256(response).hexdigest()}",
        content=response,
    )
    return check(
        [file],
        attestation=f"sha256:{digest.hex()}",
        sealed=None,
        authority=b"".join(one.pem for one in authority),
        now=NOW,
    )


def trusted(response: bytes, *authority: Holder) -> bool:
    """Return whether a response is trusted, without findings."""
    found = judged(response, *authority)
    assert found.findings == ()
    return found.is_trusted and len(found.timestamps) == 1


def refused(response: bytes, *authority: Holder) -> str:
    """Return why a response is not trusted; it can be parsed."""
    first, second = judged(response, *authority).findings
    assert (first.code, second.code) == ("TIMESTAMP_NOT_TRUSTED", "TIMESTAMP_MISSING")
    return first.message


def token_content(at: dt.datetime, version: int, extra: bytes) -> bytes:
    """Return the content of a token (section 2.4.2, TSTInfo) over `DIGEST`."""
    imprint = der(0x30, SHA256, der(0x04, DIGEST))
    moment = der(0x18, f"{at:%Y%m%d%H%M%SZ}".encode())
    return der(
        0x30, der(0x02, bytes([version])), POLICY, imprint, der(0x02, b"\x05"), moment, extra
    )


def der(tag: int, *content: bytes) -> bytes:
    """Return one DER value."""
    body = b"".join(content)
    size = len(body).to_bytes(2)
    length = size[1:] if len(body) < 128 else b"\x82" + size
    if 128 <= len(body) < 256:
        length = b"\x81" + size[1:]
    return bytes([tag]) + length + body


def private(key: Key) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
