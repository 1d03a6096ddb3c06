"""Canonical JSON: one form is written, and ambiguous input is refused."""

from __future__ import annotations

import pytest

from gateproof_evidence.format.canonical import (
    DuplicateKeyError,
    JsonError,
    canonical_json,
    digest_of,
    read_json,
)


def test_canonical_json_has_one_form() -> None:
    """Keys are sorted, there are no spaces, and reading returns the value."""
    value = {"b": [1, None, "é"], "a": {"y": True, "x": 1.5}}
    content = canonical_json(value)
    assert content == '{"a":{"x":1.5,"y":true},"b":[1,null,"é"]}'.encode()
    assert read_json(content) == value


def test_canonical_json_refuses_what_json_cannot_express() -> None:
    """NaN has no form in JSON."""
    with pytest.raises(JsonError, match="canonical JSON: got"):
        canonical_json({"a": float("nan")})


def test_read_json_refuses_duplicate_keys_at_any_depth() -> None:
    """A duplicate key is refused, so that FAILED then PASSED is not read as PASSED."""
    assert read_json(b'[{"result":"FAILED"},{"result":"PASSED"}]')
    with pytest.raises(DuplicateKeyError, match="got the key 'result' twice"):
        read_json(b'[{"a":{"result":"FAILED","result":"PASSED"}}]')


@pytest.mark.parametrize("content", [b"", b"{} {}", b"\xff", b"NaN", b"[" * 100_000])
def test_read_json_refuses_invalid_json(content: bytes) -> None:
    """An empty text, two values, bytes, NaN and deep nesting raise the same error."""
    with pytest.raises(JsonError, match="JSON"):
        read_json(content)


def test_digest_names_its_algorithm() -> None:
    """A digest has the prefix of SHA-256."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of(b"") == f"sha256:{empty}"
