"""Serialize a task's arguments as JSON with kombu's type tags, and mask sensitive values.

Owns the serialization and the masking rules of dead letters and log lines. `encryption` encrypts
the original of what is masked, for replays.

Celery's messages allow values that PostgreSQL's JSON and text refuse. NaN and the infinities are
stored as tagged values, NUL and lone surrogates as escapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kombu.utils import json as kombu_json

from system.connections.text import storable
from system.identity import arguments_by_name

MASK = "[masked]"
SENSITIVE = frozenset(
    {"password", "passwords", "passwd", "token", "secret", "secrets", "authorization"}
)
# Shorter values occur in any text: to replace them would garble it and hide nothing.
SHORTEST_SECRET = 4

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


def dumps(value: Any) -> str:
    """Return JSON text that keeps kombu's types (UUID, datetime, Decimal, bytes, …).

    Raises:
        TypeError: a value has no JSON form, tagged or not.

    """
    return kombu_json.dumps(_finite(value), allow_nan=False)


def loads(text: str) -> Any:
    """Return the value that `dumps` was given."""
    return kombu_json.loads(text)


@dataclass(frozen=True, kw_only=True)
class Masking:
    """The masking rules of one task, and the values that they matched in one failure."""

    words: frozenset[str]
    """Lower-case words; a key that contains one of them is sensitive."""
    keys: frozenset[str]
    """Whole keys, lower-case, which the task declares."""
    found: set[str] = field(default_factory=set)
    """Masked values."""

    def arguments(
        self, task: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return masked arguments; the key of a positional one is its parameter's name."""
        names = list(arguments_by_name(task, args, None))
        names += [""] * (len(args or ()) - len(names))
        masked = [self.value(item, key=name) for item, name in zip(args or (), names, strict=False)]
        return masked, {key: self.value(item, key=key) for key, item in (kwargs or {}).items()}

    def value(self, value: Any, *, key: str = "") -> Any:
        """Return a value with everything under sensitive keys masked, at any depth."""
        if self.is_sensitive(key) and value is not None:
            self._remember(value)
            return MASK
        if isinstance(value, Mapping):
            return {name: self.value(item, key=str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value

    def is_sensitive(self, key: str) -> bool:
        """Return whether a key is sensitive: by one of its words, or by the task."""
        words = {word.lower() for word in _WORD.findall(key)}
        return key.lower() in self.keys or not self.words.isdisjoint(words)

    def text(self, text: str) -> str:
        """Return text in a form that PostgreSQL stores, with the masked values replaced."""
        for secret in sorted(self.found, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return storable(text)

    def _remember(self, value: Any) -> None:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for item in value:
                self._remember(item)
        elif not isinstance(value, bool) and len(str(value)) >= SHORTEST_SECRET:
            self.found.update({str(value), repr(str(value))[1:-1]})


def masking_for(task: Any) -> Masking:
    """Return the rules of a task: the common words and its attribute `sensitive_keys`."""
    declared = getattr(task, "sensitive_keys", ())
    return Masking(words=SENSITIVE, keys=frozenset(key.lower() for key in declared))


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
