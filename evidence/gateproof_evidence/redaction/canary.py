"""Canaries: generated secrets that test redaction. If a canary is found, redaction has failed.

Owns generating one, its encodings, and the search for it, raw and decoded. Leaves injecting it to
the harness. The encodings are listed here independently of
`gateproof_evidence.redaction.spelling`, so that an encoding that is missing there is not missing
here too.

Source: design, "Redaction".
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_to_bytes

from gateproof_evidence.errors import EvidenceError

_CORE_BYTES = 12
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{32,}")
"""A run that can hold a whole core: its 24 digits take 32 in base64, at any alignment."""
_HEX = re.compile(rb"[0-9a-fA-F]{48,}")
_LINE_END = re.compile(rb"(?:\r?\n|\\n)[ \t>]*")
_URLSAFE = bytes.maketrans(b"-_", b"+/")


class CanaryError(EvidenceError):
    """An injected canary was written to a file."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A generated secret."""

    core: str
    """Hexadecimal digits in its middle, unchanged in every encoding but base64 and hexadecimal."""

    @classmethod
    def make(cls) -> Canary:
        """Generate a new canary."""
        return cls(core=secrets.token_hex(_CORE_BYTES))

    @property
    def value(self) -> str:
        """The secret, with characters that URLs, JSON and markup encode."""
        return f"cánary/{self.core}+<&>\"'%"

    def forms(self) -> Mapping[str, str]:
        """Return the secret in every encoding in which secrets are known to appear."""
        value = self.value
        raw = value.encode()
        return {
            "plain": value,
            "url": quote(value, safe=""),
            "url-path": quote(value),
            "query": quote_plus(value),
            "base64": base64.b64encode(raw).decode(),
            "base64-after-1": base64.b64encode(b":" + raw + b"x").decode(),
            "base64-after-2": base64.b64encode(b"u:" + raw + b"xy").decode(),
            "base64-url": base64.urlsafe_b64encode(raw).decode(),
            "hex": raw.hex(),
            "hex-capitals": raw.hex().upper(),
            "json": json.dumps(value),
            "json-unicode": json.dumps(value, ensure_ascii=False),
            "python": repr(value),
            "markup": html.escape(value),
            "json-in-markup": html.escape(json.dumps(value)),
            "markup-in-markup": html.escape(html.escape(value)),
            "dsn": f"postgresql://user:{quote(value, safe='')}@host/db",
            "header": f"Authorization: Basic {base64.b64encode(b'u:' + raw).decode()}",
        }


def search(files: Iterable[Path], canaries: Iterable[Canary]) -> None:
    """Search files for canaries.

    Args:
        files: with any content, each small enough for memory; without canaries none is read.
        canaries: the canaries that must be in none of them.

    Raises:
        CanaryError: one is found; the message names the file and the encoding.

    """
    cores = [canary.core.encode() for canary in canaries]
    if not cores:
        return
    for path in files:
        for how, text in _views(path.read_bytes()):
            if any(core in text for core in cores):
                raise CanaryError(
                    f"{path}: redaction: got a canary ({how}), expected it to be redacted; the "
                    "run's own secrets may be in the file too: inspect it, then delete it"
                )


def _views(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a content unchanged, and decoded."""
    yield "not encoded", content
    if b"%" in content:
        yield "percent-decoded", unquote_to_bytes(content)
    joined = _LINE_END.sub(b"", content)
    for run in set(_BASE64.findall(joined)):
        if not _HEX.fullmatch(run):  # a digest: files have thousands, and they are decoded below
            yield "base64-decoded", _from_base64(run)
    for run in set(_HEX.findall(content)):
        yield "hex-decoded", _from_hex(run)


def _from_hex(run: bytes) -> bytes:
    """Decode a run from each of its first two digits: earlier text may be part of the match."""
    digits = run.decode("ascii")
    parts = (digits[start:] for start in range(2))
    return b"\0".join(bytes.fromhex(part[: len(part) // 2 * 2]) for part in parts)


def _from_base64(run: bytes) -> bytes:
    """Decode a run from each of its first four digits: earlier text may be part of the match."""
    plain = run.translate(_URLSAFE)
    decoded = []
    for start in range(4):
        part = plain[start:]
        try:
            decoded.append(base64.b64decode(part[: len(part) // 4 * 4]))
        except binascii.Error:
            continue
    return b"\0".join(decoded)
