"""Arguments as JSON text: types are kept, secrets are masked."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.dead_letters import payload


def masking(*declared: str) -> payload.Masking:
    """Return the masking of a task that declares these keys."""
    return payload.masking_for(SimpleNamespace(sensitive_keys=declared))


def task(function: Any) -> SimpleNamespace:
    """Return a stand-in for a task that wraps a function."""
    return SimpleNamespace(name="a.task", run=function)


@pytest.mark.parametrize(
    "value",
    [
        uuid.UUID("6f3c1f0e-97a8-4b77-9a3c-2f1a1a6d1b11"),
        datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        date(2026, 1, 2),
        Decimal("12345678901234567890.000000001"),
        b"text",
        b"\x00\xff\xfe",
        "žluťoučký 🐎",
        "a\x00b",
        1e22,
        2**70,
        None,
        {"nested": [{"deep": Decimal("0.10")}]},
    ],
)
def test_serialization_keeps_the_value(value: Any) -> None:
    """A value is read back unchanged, with its type."""
    read = payload.loads(payload.dumps(value))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_serialization_keeps_numbers_that_json_lacks(value: float) -> None:
    """Infinities and NaN are read back from text that is strict JSON."""
    text = payload.dumps({"deep": [value]})
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = payload.loads(text)["deep"][0]
    assert str(read) == str(value)


def test_serialization_refuses_an_unknown_type() -> None:
    """A value without a JSON form is refused, instead of being written in another form."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        payload.dumps({"x": object()})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_serialization_is_ascii_json(value: Any) -> None:
    """Every payload is written as ASCII that a JSON parser accepts."""
    text = payload.dumps(value)
    assert text.isascii()
    json.loads(text)


@pytest.mark.parametrize(
    "key",
    [
        *("password", "PASSWORD", "user_password", "accessToken"),
        *("X-Authorization", "client.secret", "authToken2", "secrets"),
    ],
)
def test_sensitive_key_is_masked(key: str) -> None:
    """The value of a key that contains a sensitive word is masked, in any spelling."""
    assert masking().value({key: "hunter2"}) == {key: payload.MASK}


@pytest.mark.parametrize("key", ["passwordless", "max_tokens", "tokenizer", "secretary", "note"])
def test_other_key_is_kept(key: str) -> None:
    """A key that has a sensitive word only as a part of a longer word keeps its value."""
    assert masking().value({key: "hunter2"}) == {key: "hunter2"}


def test_declared_key_is_masked() -> None:
    """A key that a task declares as sensitive is masked for that task only."""
    assert masking("Card").value({"card": "4111"}) == {"card": payload.MASK}
    assert masking().value({"card": "4111"}) == {"card": "4111"}


def test_nested_value_is_masked() -> None:
    """A secret inside lists and objects is masked, and its neighbours are kept."""
    given_value = {"a": [{"token": {"inner": ["x-secret-x"]}, "b": 1}]}
    assert masking().value(given_value) == {"a": [{"token": payload.MASK, "b": 1}]}


def test_positional_argument_is_masked_by_its_name() -> None:
    """A positional argument is masked if the name of its parameter is sensitive."""

    def function(user: str, password: str, *rest: str) -> None: ...

    masked, named = masking().arguments(task(function), ["ann", "hunter2", "x"], {"token": "t-123"})
    assert masked == ["ann", payload.MASK, "x"]
    assert named == {"token": payload.MASK}


def test_masked_value_is_masked_in_the_error_text() -> None:
    """Values that are masked in the arguments are masked in the error's text too, and no others."""
    mask = masking()
    mask.value({"password": "hunter2", "token": {"deep": "tok-en"}, "user": "ann"})
    assert mask.text("ann: bad 'hunter2' and tok-en") == "ann: bad '[masked]' and [masked]"


def test_short_value_does_not_garble_the_text() -> None:
    """A masked value of one or two characters is not replaced inside other words."""
    mask = masking()
    mask.value({"password": "a"})
    assert mask.text("a bad day") == "a bad day"


def test_text_is_what_postgresql_stores() -> None:
    """NUL and lone surrogates, which a text column refuses, are written as escapes."""
    assert masking().text("a\x00b\ud800c") == "a\\x00b\\ud800c"
