"""One canonical form for JSON and for digests, so that bytes can be compared.

Owns canonical writing and strict reading. Leaves models to `gateproof_evidence.model`.

Source: RFC 8785 (JSON canonicalisation); RFC 8259 section 4 leaves duplicate keys open, so they
are refused: Python keeps the last of two, other readers the first.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn

import rfc8785

from gateproof_evidence.errors import EvidenceError
from gateproof_evidence.model import Digest


class JsonError(EvidenceError):
    """The bytes are not one valid JSON value."""


class DuplicateKeyError(JsonError):
    """An object has a key twice, so that two parsers may return different values."""


def canonical_json(value: Any) -> bytes:
    """Return a JSON value in its canonical form, without a final newline.

    Args:
        value: objects, lists, strings, numbers, booleans and None only.

    Raises:
        JsonError: the value has no JSON form (NaN, a date, an integer above 2**53).

    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise JsonError(f"canonical JSON: got {error}, expected plain JSON values") from error


def read_json(content: bytes) -> Any:
    """Read one JSON value; refuse input that two parsers could read differently.

    Raises:
        DuplicateKeyError: an object has a key twice.
        JsonError: the content is not UTF-8 or not JSON, or has NaN or infinities.

    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise JsonError(f"JSON: got {error}, expected one JSON value in UTF-8") from error


def digest_of(content: bytes) -> Digest:
    """Return ``sha256:`` and the hexadecimal SHA-256 of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKeyError(f"JSON object: got the key {key!r} twice, expected it once")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError(f"JSON number: got {name}, expected a finite number")
