"""Canaries: generated secrets that test redaction. If a canary is found, redaction has failed.

Owns generating one, its encodings, and the search for it, raw and decoded. Leaves injecting it to
the harness. The encodings are listed here independently of
`gateproof_evidence.redaction.spelling`, so that an encoding that is missing there is not missing
here too.

Source: design, "Redaction".
"""

from __future__ import annotations

import base64
import html
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_to_bytes

from gateproof_evidence.errors import EvidenceError

PIECE, OVERLAP = 1 << 20, 1 << 12
"""How many bytes of a file are searched at once, since decoding takes several times as much memory,
and how many of them again with the next; any encoding of a canary is shorter."""

_CORE_BYTES = 12
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_BETWEEN_LINES = b"\r\n\t >"
"""Bytes that may be between the lines of wrapped base64; so may a line end as JSON has it."""


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
        files: with any content and of any size; without canaries none is read.
        canaries: the canaries that must be in none of them.

    Raises:
        CanaryError: one is found; the message names the file and the encoding.

    """
    cores = [_Core.of(canary.core.encode()) for canary in canaries]
    if not cores:
        return
    for path in files:
        how = next(filter(None, (_found(piece, cores) for piece in _pieces(path))), "")
        if how:
            raise CanaryError(
                f"{path}: redaction: got a canary ({how}), expected it to be redacted; the "
                "run's own secrets may be in the file too: inspect it, then delete it"
            )


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces, each with the end of the one before it.

    Not found: an encoded core of which the parts are more than `OVERLAP` apart.
    """
    before = b""
    with path.open("rb") as file:
        while read := file.read(PIECE):
            piece = before + read
            yield piece
            before = piece[-OVERLAP:]


@dataclass(frozen=True, kw_only=True)
class _Core:
    """The core of a canary, in each encoding that a content is searched for."""

    plain: bytes
    hexadecimal: bytes
    base64: tuple[bytes, ...]
    """Its digits at each alignment in a longer text, without those that its neighbours change."""

    @classmethod
    def of(cls, core: bytes) -> _Core:
        """Encode a core."""
        return cls(
            plain=core,
            hexadecimal=core.hex().encode(),
            base64=tuple(_base64_digits(core, shift) for shift in range(3)),
        )


def _base64_digits(core: bytes, shift: int) -> bytes:
    digits = base64.b64encode(b"\0" * shift + core)
    return digits[-(-8 * shift // 6) : 8 * (shift + len(core)) // 6]


def _found(content: bytes, cores: Sequence[_Core]) -> str:
    """Return in which form a content has a core; empty if it has none.

    To search for the encoded core finds what decoding finds, and takes a tenth of the time: a whole
    run has a hundred megabytes.
    """
    if any(core.plain in content for core in cores):
        return "not encoded"
    if b"%" in content:
        decoded = unquote_to_bytes(content)
        if any(core.plain in decoded for core in cores):
            return "percent-decoded"
    digits = content.replace(b"\\n", b"").translate(_URLSAFE, _BETWEEN_LINES)
    if any(form in digits for core in cores for form in core.base64):
        return "base64-decoded"
    digits = content.lower()
    return "hex-decoded" if any(core.hexadecimal in digits for core in cores) else ""
