"""Arguments as JSON text: values and types are kept."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.dead_letters import payload


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
