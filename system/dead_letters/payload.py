"""Serialize a task's arguments as JSON with kombu's type tags.

Owns the serialization only: `masking` masks secrets, and `encryption` encrypts the original of what
is masked, for replays.

Celery's messages allow values that PostgreSQL's JSON and text refuse. NaN and the infinities are
stored as tagged values, NUL and lone surrogates as escapes.
"""

from __future__ import annotations

import math
from typing import Any

from kombu.utils import json as kombu_json


def dumps(value: Any) -> str:
    """Return JSON text that keeps kombu's types (UUID, datetime, Decimal, bytes, …).

    Raises:
        TypeError: a value has no JSON form, tagged or not.

    """
    return kombu_json.dumps(_finite(value), allow_nan=False)


def loads(text: str) -> Any:
    """Return the value that `dumps` was given."""
    return kombu_json.loads(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"__type__": "float", "__value__": repr(value)}
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


# Only the decoder is used: json.dumps calls no custom encoder for a float.
kombu_json.register_type(float, "float", repr, float)
