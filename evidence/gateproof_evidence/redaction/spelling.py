"""Every spelling in which a known secret may appear in a record.

Owns the list of encodings. Leaves searching and replacing to
`gateproof_evidence.redaction.redactor`. Not covered: base64 that is wrapped over lines,
compression, encryption, nested encodings beyond those below, and a secret that is split over
two pieces of text.

Source: design, "Redaction"; RFC 3986 section 2.1, RFC 4648 sections 4, 5 and 8.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

_PERCENT = re.compile(r"%[0-9A-F]{2}")


def spellings(value: str) -> frozenset[str]:
    """Return every spelling of a secret, including the plain one."""
    raw = value.encode("utf-8")
    found = {value, raw.hex(), raw.hex().upper()}
    found.update(_url(value))
    found.update(_escaped(value))
    found.update(_base64(raw))
    return frozenset(found)


def _url(value: str) -> Iterator[str]:
    every = "".join(f"%{byte:02X}" for byte in value.encode("utf-8"))
    for quoted in (quote(value), quote(value, safe=""), quote_plus(value), every):
        yield quoted
        yield _PERCENT.sub(lambda match: match[0].lower(), quoted)


def _escaped(value: str) -> Iterator[str]:
    """Yield the spellings inside JSON, Python literals and markup, alone and nested."""
    for text in (
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        repr(value.encode("utf-8"))[2:-1],
    ):
        yield text
        escaped = html.escape(text)
        yield html.escape(text, quote=False)
        yield escaped
        numbered = escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        yield numbered
        # pytest-html writes escaped markup into an attribute.
        yield from (html.escape(one) for one in (escaped, numbered))


def _base64(raw: bytes) -> Iterator[str]:
    """Yield the secret alone, and its fixed part at each alignment inside a larger text.

    A byte before or after shares a base64 digit with the secret's edge, so those digits are left
    out: the rest is the same with any neighbours.
    """
    for shift in (0, 1, 2):
        text = base64.b64encode(b"\0" * shift + raw).decode("ascii")
        first = -(-8 * shift // 6)
        last = 8 * (shift + len(raw)) // 6
        yield from _both_alphabets(text[first:last])
    alone = base64.b64encode(raw).decode("ascii")
    yield from _both_alphabets(alone)
    yield from _both_alphabets(alone.rstrip("="))


def _both_alphabets(text: str) -> tuple[str, str]:
    return text, text.replace("+", "-").replace("/", "_")
